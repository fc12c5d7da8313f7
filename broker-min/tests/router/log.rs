//! The membership log at the broker.

use broker_min::store::StoreError;
use claudemesh_core::membership::{Body, Role};
use serde_json::json;

use crate::world::{World, hello, hex, key, message, pair};

#[test]
fn an_entry_is_told_to_all_and_acked_to_its_author() {
    let mut world = World::of(2);
    let (owner, conn, legacy) = (world.connect(1), world.connect(2), world.connect_legacy(2));
    let body = Body::InviteIssued {
        key: key(60),
        role: Role::Member,
        expires_at: world.now.wall + 1_000,
        max_uses: 1,
    };
    let entry = world.log.draft(world.now.wall, body).sign(&pair(1), None);
    for conn in [owner, conn, legacy] {
        world.got(conn);
    }
    world.append(owner, &entry, None);
    let acked = world.last(owner);
    assert_eq!(
        (&acked["type"], &acked["_reqId"]),
        (&json!("log_appended"), &json!("r"))
    );
    assert_eq!(acked["head"]["seq"], 3);
    assert!(acked.get("entry").is_none());
    let told = world.last(conn);
    assert_eq!(told["entry"]["e"], entry.to_base64url());
    assert!(world.got(legacy).is_empty());
    // The same again is no conflict; the page has all of it.
    world.append(owner, &entry, None);
    assert_eq!(world.last(owner)["type"], "log_appended");
    world.frame(
        conn,
        json!({"type": "log_get", "channel": "", "from": 1, "_reqId": "g"}),
    );
    let page = world.last(conn);
    assert_eq!(page["entries"].as_array().unwrap().len(), 3);
    assert_eq!(page["entries"][2]["e"], entry.to_base64url());
    assert_eq!((&page["from"], &page["_reqId"]), (&json!(1), &json!("g")));
}

#[test]
fn a_late_entry_is_a_conflict() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    let (two, three) = (world.remove(2), world.remove(3));
    world.hold_commits = true;
    world.append(owner, &two, None);
    world.append(owner, &three, None);
    world.got(owner);
    world.release_commits();
    let frames = world.got(owner);
    assert_eq!(frames[0]["type"], "log_appended");
    assert_eq!(frames[1]["code"], "log_conflict");
}

#[test]
fn an_entry_that_is_not_kept_never_was() {
    let mut world = World::of(3);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(owner);
    let two = world.remove(2);
    let path = String::from("broker.db");
    world
        .fail
        .push_back(StoreError::Full { path: path.clone() });
    world.append(owner, &two, None);
    assert_eq!(world.last(owner)["code"], "store_unavailable");
    assert!(!world.closed.contains_key(&conn));
    world.frame(owner, json!({"type": "log_get", "channel": "", "from": 0}));
    assert_eq!(world.last(owner)["head"]["seq"], 4);
    let three = world.remove(3);
    world.append(owner, &three, None);
    assert_eq!(world.last(owner)["type"], "log_appended");
    // When nobody knows, the mesh is asked for again.
    world.log.append(&three).unwrap();
    let two = world.remove(2);
    let why = String::from("fsync");
    world.fail.push_back(StoreError::Unknown { path, why });
    world.append(owner, &two, None);
    assert_eq!(world.closed[&owner].0, 1_013);
    let owner = world.connect(1);
    world.append(owner, &two, None);
    assert_eq!(world.last(owner)["type"], "log_appended");
}

#[test]
fn a_removal_closes_all_of_the_member_at_once() {
    let mut world = World::of(3);
    let (owner, other) = (world.connect(1), world.connect(3));
    let (a, b) = (world.connect(2), world.connect_legacy(2));
    let away = world.say(other, &hex(2), "x", "low")["messageId"].clone();
    world.got(other);
    let entry = world.remove(2);
    world.append(owner, &entry, None);
    for conn in [a, b] {
        assert_eq!(world.closed[&conn], (4_002, "banned".into()));
        let error = world.last(conn);
        assert_eq!(error["code"], "revoked");
        assert!(error["message"].as_str().unwrap().contains("\"team\""));
    }
    let frames = world.got(other);
    assert!(frames.iter().any(|f| f["event"] == "peer_left"));
    let receipt = frames.iter().find(|f| f["type"] == "receipt").unwrap();
    assert_eq!(receipt["messageId"], away);
    assert_eq!(
        (&receipt["state"], &receipt["reason"]),
        (&json!("failed"), &json!("removed"))
    );
    let back = world.enter(hello(&world.mesh(), 2, 900), |_| {});
    assert_eq!(world.closed[&back], (4_002, "banned".into()));
    let ack = world.say_frame(owner, message(&hex(2), "y", "now"));
    assert_eq!(ack["code"], "removed");
}

#[test]
fn entries_are_checked() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    let invite = |world: &World, signer: u8, at| {
        let body = Body::InviteIssued {
            key: key(60),
            role: Role::Member,
            expires_at: at + 1_000,
            max_uses: 1,
        };
        world.log.draft(at, body).sign(&pair(signer), None)
    };
    // Not by a member.
    let entry = invite(&world, 2, world.now.wall);
    world.append(conn, &entry, None);
    assert_eq!(world.last(conn)["code"], "forbidden");
    // Not from tomorrow.
    let entry = invite(&world, 1, world.now.wall + 86_400_000);
    world.append(owner, &entry, None);
    assert_eq!(world.last(owner)["code"], "timestamp_skew");
    // Not with another mesh's token.
    let entry = invite(&world, 1, world.now.wall);
    world.append(owner, &entry, Some("e30"));
    assert_eq!(world.last(owner)["code"], "invalid_argument");
    world.frame(
        owner,
        json!({"type": "log_append", "entry": {"e": "!", "sig": ""}}),
    );
    assert_eq!(world.last(owner)["code"], "malformed");
    world.frame(
        owner,
        json!({"type": "log_get", "channel": "#x", "from": 0, "_reqId": "c"}),
    );
    assert_eq!(world.last(owner)["code"], "not_found");
}
