//! Messages for those who are connected: handed on, kept nowhere.

use broker_min::limits::Limits;
use broker_min::router::In;
use serde_json::{Value, json};

use crate::world::{World, hex, message};

fn online(to: &str, text: &str, priority: &str) -> Value {
    let mut send = message(to, text, priority);
    send["online"] = true.into();
    send
}

#[test]
fn each_connection_is_handed_it_and_nothing_is_kept() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let (one, two) = (world.connect(2), world.connect(2));
    world.got(one);
    world.got(two);
    let ack = world.say_frame(owner, online(&hex(2), "a", "next"));
    assert_eq!(
        (&ack["queued"], &ack["online"], &ack["reached"]),
        (&json!(true), &json!(true), &json!(2))
    );
    assert_eq!(ack.get("recipients"), None);
    for conn in [one, two] {
        let push = world.last(conn);
        assert_eq!(push["online"], true);
        assert_eq!(push["messageId"], ack["messageId"]);
        assert_eq!(push["senderMemberPubkey"], hex(1));
        assert_eq!(push["target"], hex(2));
    }
    // Nothing waits, nothing can be settled, nothing is known of it.
    let id = ack["messageId"].clone();
    world.frame(one, json!({"type": "client_ack", "brokerMessageIds": [id]}));
    let asked = json!({"type": "outcomes", "messageIds": [id], "_reqId": "r"});
    world.frame(owner, asked);
    assert_eq!(world.last(owner)["outcomes"][0]["state"], "unknown");
    assert!(world.got_of(owner, "receipt").is_empty());
    world.close(one);
    world.close(two);
    let back = world.connect(2);
    assert!(world.texts(back).is_empty());
}

#[test]
fn a_repeated_one_is_a_new_one() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    let send = online(&hex(2), "a", "now");
    let first = world.say_frame(owner, send.clone());
    let second = world.say_frame(owner, send);
    assert_ne!(first["messageId"], second["messageId"]);
    assert_eq!(second.get("duplicate"), None);
    assert_eq!(world.texts(conn), ["a", "a"]);
}

#[test]
fn who_is_not_reached_is_told_why() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let refused = |world: &mut World, priority: &str| {
        let ack = world.say_frame(owner, online(&hex(2), "a", priority));
        assert_eq!(
            (&ack["queued"], &ack["reached"], &ack["messageId"]),
            (&json!(false), &json!(0), &json!(""))
        );
        ack["code"].clone()
    };
    assert_eq!(refused(&mut world, "now"), "not_online");
    // A presence without its socket is nobody.
    let gone = world.connect(2);
    world.close(gone);
    assert_eq!(refused(&mut world, "now"), "not_online");
    let conn = world.connect(2);
    world.frame(conn, json!({"type": "set_status", "status": "working"}));
    assert_eq!(refused(&mut world, "next"), "gated");
    assert_eq!(refused(&mut world, "low"), "gated");
    let ack = world.say_frame(owner, online(&hex(2), "urgent", "now"));
    assert_eq!(ack["reached"], 1);
    // What waits for its socket counts, and what was handed to it a moment ago.
    world.input(In::Waiting {
        conn,
        bytes: 256 << 10,
    });
    assert_eq!(refused(&mut world, "now"), "slow");
    world.input(In::Waiting { conn, bytes: 0 });
    let ack = world.say_frame(owner, online(&hex(2), "again", "now"));
    assert_eq!(ack["reached"], 1);
    // Nothing of all this waits for it.
    assert_eq!(world.texts(conn), ["urgent", "again"]);
}

#[test]
fn a_burst_does_not_fill_a_socket_before_it_can_report() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    let frame = |n: u32| {
        let mut send = online(&hex(2), &format!("m{n}"), "now");
        send["ciphertext"] = "x".repeat(40_000).into();
        send
    };
    // All of them before anything is put out.
    for n in 0..10 {
        let frame = claudemesh_core::wire::ClientFrame::decode(&frame(n).to_string()).unwrap();
        let (frame, size) = (Box::new(frame), 40_000);
        let conn = owner;
        world
            .router
            .handle(world.now, In::Frame { conn, frame, size });
    }
    world.pump();
    let acks = world.acks.get(&owner).unwrap().clone();
    let reached = acks.iter().filter(|ack| ack["reached"] == 1).count();
    let slow = acks.iter().filter(|ack| ack["code"] == "slow").count();
    assert_eq!((reached, slow), (6, 4));
}

#[test]
fn bad_targets_and_floods_are_refused_as_ever() {
    let mut limits = Limits::default();
    (limits.deliveries_per_s, limits.delivery_burst) = (1, 3);
    let mut world = World::with(limits);
    world.people(2);
    let owner = world.connect(1);
    let unknown = crate::world::key(99).to_hex();
    for (to, code) in [
        (unknown.as_str(), "not_found"),
        ("#t", "unsupported"),
        ("bob", "invalid"),
    ] {
        let ack = world.say_frame(owner, online(to, "a", "now"));
        assert_eq!(ack["code"], code, "{ack}");
        assert_eq!(ack["queued"], false);
    }
    let ack = world.say_frame(owner, online(&hex(2), "b", "now"));
    assert_eq!(ack["code"], "rate_limit", "{ack}");
}

#[test]
fn its_answer_keeps_its_place_behind_a_commit() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    world.hold_commits = true;
    world.frame(owner, message(&hex(2), "kept", "now"));
    world.frame(owner, online(&hex(2), "not kept", "now"));
    assert_eq!(world.texts(conn), ["not kept"]);
    assert!(world.acks.get(&owner).is_none_or(Vec::is_empty));
    world.hold_commits = false;
    world.release_commits();
    let acks = world.acks.get(&owner).unwrap();
    let reached: Vec<_> = acks.iter().map(|ack| ack["reached"].clone()).collect();
    assert_eq!(reached, [json!(null), json!(1)]);
}
