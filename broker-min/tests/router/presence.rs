//! Who is here, and who may take whose place.

use broker_min::limits::Limits;
use broker_min::router::In;
use claudemesh_core::wire::SignedBlob;
use serde_json::{Value, json};

use crate::world::{World, hello, hex, key, message};

fn events(world: &mut World, conn: u64) -> Vec<(String, String)> {
    let pushes = world.got_of(conn, "push");
    pushes
        .iter()
        .filter(|push| push["subtype"] == "system")
        .map(|push| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&push["event"]), text(&push["eventData"]["pubkey"]))
        })
        .collect()
}

#[test]
fn a_short_absence_is_silent_and_a_long_one_is_told() {
    let mut world = World::of(2);
    let watcher = world.connect(1);
    let mesh = world.mesh();
    let mut first = hello(&mesh, 2, 900);
    first.session_id = Some("s".into());
    let conn = world.enter(first.clone(), |_| {});
    let id = world.got(conn)[0]["presenceId"].clone();
    assert_eq!(
        events(&mut world, watcher),
        [("peer_joined".into(), hex(2))]
    );
    world.close(conn);
    world.pass(80_000);
    let conn = world.enter(first, |_| {});
    assert_eq!(world.got(conn)[0]["presenceId"], id);
    world.pass(80_000);
    assert!(events(&mut world, watcher).is_empty());
    world.close(conn);
    world.frame(watcher, json!({"type": "list_peers", "_reqId": "l"}));
    let list = world.last(watcher);
    assert_eq!(
        list["peers"].as_array().unwrap().len(),
        2,
        "leased ones are listed"
    );
    world.pass(91_000);
    assert_eq!(events(&mut world, watcher), [("peer_left".into(), hex(2))]);
}

#[test]
fn the_list_tells_who_is_here() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    let mut shown = hello(&world.mesh(), 2, 900);
    shown.display_name = Some("bo\n".into());
    shown.cwd = Some("/home/b".into());
    shown.pid = Some(7);
    shown.groups = Some(json!([{"name": "g"}, null]));
    let conn = world.enter(shown, |_| {});
    world.frame(conn, json!({"type": "set_status", "status": "dnd"}));
    let mut hidden = hello(&world.mesh(), 3, 901);
    hidden.presence = Some(false);
    let hidden = world.enter(hidden, |_| {});
    world.got(owner);
    world.frame(owner, json!({"type": "list_peers", "_reqId": "l"}));
    let list = world.last(owner);
    assert_eq!(list["_reqId"], "l");
    assert_eq!(list["peers"].as_array().unwrap().len(), 2);
    let bo = &list["peers"][1];
    assert_eq!(
        (&bo["displayName"], &bo["pubkey"]),
        (&json!("bo"), &json!(hex(2)))
    );
    assert_eq!(
        (&bo["cwd"], &bo["status"]),
        (&json!("/home/b"), &json!("dnd"))
    );
    assert_eq!(bo["groups"], json!([{"name": "g"}]));
    assert_eq!(
        bo["peerRole"], "session",
        "so that existing clients find it"
    );
    let members = list["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    let online = members.iter().filter(|m| m["online"] == true).count();
    assert_eq!(online, 2);
    // The hidden one has its mailbox, and nobody heard of it.
    world.say(owner, &hex(3), "x", "next");
    assert_eq!(world.texts(hidden), ["x"]);
}

#[test]
fn who_only_sends_is_not_sent_anything() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let mut quiet = hello(&world.mesh(), 2, 900);
    quiet.receive = Some(false);
    let quiet = world.enter(quiet, |_| {});
    let kinds: Vec<_> = world.got(quiet).iter().map(|f| f["type"].clone()).collect();
    assert_eq!(kinds, ["hello_ack", "caught_up"]);
    world.say(owner, &hex(2), "x", "now");
    world.connect(1);
    assert!(world.got(quiet).is_empty());
    assert_eq!(world.say(quiet, &hex(1), "y", "now")["queued"], true);
}

#[test]
fn a_stolen_session_id_gains_nothing_and_disturbs_nobody() {
    let mut world = World::of(3);
    let mut victim = hello(&world.mesh(), 2, 900);
    victim.session_id = Some("s".into());
    let victim = world.enter(victim, |v| v.proven = false);
    let mut thief = hello(&world.mesh(), 3, 901);
    thief.session_id = Some("s".into());
    let thief = world.enter(thief, |_| {});
    assert!(world.closed.is_empty());
    let owner = world.connect(1);
    world.say(owner, &hex(2), "x", "now");
    assert_eq!(world.texts(victim), ["x"]);
    assert!(world.texts(thief).is_empty());
}

#[test]
fn the_same_session_comes_again_and_the_old_connection_is_closed() {
    let mut world = World::of(2);
    let watcher = world.connect(1);
    let mut again = hello(&world.mesh(), 2, 900);
    again.session_id = Some("s".into());
    let old = world.enter(again.clone(), |_| {});
    events(&mut world, watcher);
    world.say(watcher, &hex(2), "x", "now");
    let new = world.enter(again, |_| {});
    assert_eq!(world.closed[&old], (1_000, "session_replaced".into()));
    world.close(old);
    assert_eq!(world.texts(new), ["x"], "what was not acked comes again");
    world.pass(100_000);
    assert!(events(&mut world, watcher).is_empty());
}

#[test]
fn what_is_proven_yields_only_to_a_proof() {
    let mut world = World::of(2);
    let mut session = hello(&world.mesh(), 2, 900);
    session.session_id = Some("s".into());
    let proven = world.enter(session.clone(), |_| {});
    let mut other = session.clone();
    other.signature = format!("{:0128x}", 901);
    let legacy = world.enter(other, |v| v.proven = false);
    assert!(world.closed.is_empty(), "both live");
    let third = world.enter(session, |_| {});
    assert_eq!(world.closed[&proven].1, "session_replaced");
    assert!(!world.closed.contains_key(&legacy) && !world.closed.contains_key(&third));
    // The same with a session key.
    let mut keyed = hello(&world.mesh(), 2, 902);
    keyed.session_pubkey = Some(hex(50));
    let held = world.enter(keyed.clone(), |v| v.session_proven = true);
    let refused = world.enter(keyed, |v| v.proven = false);
    assert_eq!(world.closed[&refused], (1_008, "session_key_taken".into()));
    assert!(!world.closed.contains_key(&held));
}

#[test]
fn a_session_key_is_one_members() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    // Named by another member without proof, before its holder came.
    let mut squatter = hello(&world.mesh(), 3, 900);
    squatter.session_pubkey = Some(hex(50));
    let squatter = world.enter(squatter, |v| v.proven = false);
    let mut holder = hello(&world.mesh(), 2, 901);
    holder.session_pubkey = Some(hex(50));
    let holder = world.enter(holder, |v| v.session_proven = true);
    assert_eq!(world.closed[&squatter], (1_008, "session_key_taken".into()));
    world.say(owner, &hex(50), "x", "now");
    assert_eq!(world.texts(holder), ["x"]);
    // Named while its holder is away, and after.
    world.close(holder);
    world.pass(100_000);
    let mut thief = hello(&world.mesh(), 3, 902);
    thief.session_pubkey = Some(hex(50));
    let thief = world.enter(thief, |v| v.proven = false);
    assert_eq!(world.closed[&thief].1, "session_key_taken");
    // Another member's own key.
    let mut named = hello(&world.mesh(), 3, 903);
    named.session_pubkey = Some(hex(1));
    let named = world.enter(named, |v| v.session_proven = true);
    assert_eq!(world.closed[&named].1, "session_key_taken");
    assert_eq!(
        world.say(owner, &key(50).to_hex(), "y", "now")["code"],
        "not_found"
    );
}

#[test]
fn a_proof_takes_only_what_is_its_own() {
    let mut world = World::of(3);
    let keyed = |world: &mut World, member: u8, nonce: u64, proven: bool| {
        let mut hello = hello(&world.mesh(), member, nonce);
        hello.session_pubkey = Some(hex(50));
        world.enter(hello, |v| {
            v.proven = proven;
            v.session_proven = proven;
        })
    };
    // Of its own, what is not proven yields to what is not, and what is proven to a proof.
    let first = keyed(&mut world, 2, 900, false);
    let second = keyed(&mut world, 2, 901, false);
    assert_eq!(world.closed[&first].1, "session_replaced");
    let third = keyed(&mut world, 2, 902, true);
    assert_eq!(world.closed[&second].1, "session_replaced");
    let fourth = keyed(&mut world, 2, 903, true);
    assert_eq!(world.closed[&third].1, "session_replaced");
    // What another member has proven is taken by no proof.
    let thief = keyed(&mut world, 3, 904, true);
    assert_eq!(world.closed[&thief].1, "session_key_taken");
    // Nor by a word, of a key that was only named.
    let mut named = hello(&world.mesh(), 2, 905);
    named.session_pubkey = Some(hex(51));
    let named = world.enter(named, |v| v.proven = false);
    let mut other = hello(&world.mesh(), 3, 906);
    other.session_pubkey = Some(hex(51));
    let other = world.enter(other, |v| v.proven = false);
    assert_eq!(world.closed[&other].1, "session_key_taken");
    assert!(!world.closed.contains_key(&fourth) && !world.closed.contains_key(&named));
}

#[test]
fn who_is_hidden_takes_nobodys_place() {
    let mut world = World::of(2);
    let mut seen = hello(&world.mesh(), 2, 900);
    seen.session_id = Some("s".into());
    let held = world.enter(seen.clone(), |_| {});
    for (nonce, receive, presence) in [(901, true, false), (902, false, true)] {
        let mut hidden = seen.clone();
        hidden.signature = format!("{nonce:0128x}");
        hidden.receive = Some(receive);
        hidden.presence = Some(presence);
        world.enter(hidden, |_| {});
    }
    assert!(!world.closed.contains_key(&held));
}

#[test]
fn a_named_session_key_gets_only_what_comes_from_then_on() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    let mut holder = hello(&world.mesh(), 2, 900);
    holder.session_pubkey = Some(hex(50));
    let holder = world.enter(holder, |v| v.session_proven = true);
    world.say(owner, &hex(50), "old", "now");
    world.close(holder);
    // The broker starts anew and has forgotten whose key it was.
    let mesh = world.mesh();
    let mut world = world.restart();
    let mut claim = hello(&mesh, 3, 901);
    claim.session_pubkey = Some(hex(50));
    let claim = world.enter(claim, |v| v.proven = false);
    assert!(world.texts(claim).is_empty());
    let owner = world.connect(1);
    world.say_frame(owner, message(&hex(50), "new", "now"));
    assert_eq!(world.texts(claim), ["new"]);
}

#[test]
fn a_hello_without_proof_works_once() {
    let mut world = World::of(2);
    let once = hello(&world.mesh(), 2, 900);
    let first = world.enter(once.clone(), |v| v.proven = false);
    let replay = world.enter(once.clone(), |v| v.proven = false);
    assert_eq!(world.closed[&replay], (1_008, "bad_signature".into()));
    assert!(
        world.got(replay)[0]["message"]
            .as_str()
            .unwrap()
            .contains("replayed")
    );
    assert!(!world.closed.contains_key(&first));
    world.pass(121_000);
    let later = world.enter(once, |v| v.proven = false);
    assert!(!world.closed.contains_key(&later));
}

#[test]
fn a_proven_hello_does_not_work_without_its_proof() {
    let mut world = World::of(2);
    let hello = hello(&world.mesh(), 2, 900);
    let first = world.enter(hello.clone(), |v| v.proven = true);
    let stripped = world.enter(hello.clone(), |v| v.proven = false);
    assert_eq!(world.closed[&stripped], (1_008, "bad_signature".into()));
    assert!(!world.closed.contains_key(&first));
    // Two processes of one member may say the same in the same millisecond.
    let mut other = hello;
    other.session_id = Some("other".into());
    let other = world.enter(other, |v| v.proven = true);
    assert!(!world.closed.contains_key(&other));
}

#[test]
fn strangers_and_too_many_are_refused() {
    let limits = {
        let mut limits = Limits::default();
        limits.connections_per_mesh = 2;
        limits
    };
    let mut world = World::with(limits);
    world.pass(200_000);
    let stranger = world.enter(hello(&world.mesh(), 77, 900), |_| {});
    assert_eq!(
        world.got(stranger)[0]["message"],
        "pubkey not found in mesh"
    );
    assert_eq!(world.closed[&stranger], (1_008, "unauthorized".into()));
    let nowhere = claudemesh_core::id::MeshId::new("nowhere").unwrap();
    let lost = world.enter(hello(&nowhere, 1, 901), |v| v.mesh = nowhere.clone());
    assert_eq!(world.got(lost)[0]["code"], "unauthorized");
    world.connect(1);
    world.connect(1);
    let third = world.enter(hello(&world.mesh(), 1, 902), |_| {});
    assert_eq!(world.closed[&third].1, "capacity");
}

#[test]
fn a_durable_peer_must_ack_and_a_slow_one_must_read() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    let mut durable = hello(&world.mesh(), 2, 900);
    durable.durable = Some(true);
    let durable = world.enter(durable, |_| {});
    let slow = world.connect(3);
    world.say(owner, &hex(2), "x", "now");
    world.input(In::Waiting {
        conn: slow,
        bytes: 2 << 20,
    });
    world.say(owner, &hex(3), "y", "now");
    assert!(world.texts(slow).is_empty(), "nothing is put on top");
    world.pass(29_000);
    world.input(In::Waiting {
        conn: slow,
        bytes: (2 << 20) - 1,
    });
    world.pass(29_000);
    assert!(world.closed.is_empty());
    world.pass(3_000);
    assert_eq!(world.closed[&slow], (1_013, "slow_consumer".into()));
    assert_eq!(world.closed[&durable], (1_008, "ack_timeout".into()));
}

#[test]
fn a_slow_one_that_reads_again_gets_what_waited() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.input(In::Waiting {
        conn,
        bytes: 2 << 20,
    });
    world.say(owner, &hex(2), "y", "now");
    world.got(conn);
    world.input(In::Waiting { conn, bytes: 0 });
    assert_eq!(world.texts(conn), ["y"]);
}

#[test]
fn the_end_closes_everyone_after_the_last_commit() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.got(owner);
    world.hold_commits = true;
    world.frame(owner, message(&hex(2), "x", "now"));
    world.input(In::Shutdown);
    assert!(world.closed.is_empty());
    world.release_commits();
    assert_eq!(world.last(owner)["queued"], true);
    assert_eq!(world.closed[&owner], (1_001, "shutting down".into()));
}

#[test]
fn a_session_statement_is_shown_as_it_came() {
    let mut world = World::of(3);
    let watcher = world.connect(3);
    world.got(watcher);
    let statement = |e: String| SignedBlob {
        e,
        sig: "not checked here".into(),
        cosig: None,
    };
    for (member, size, shown) in [(1, 900, true), (2, 4_000, false)] {
        let mut hello = hello(&world.mesh(), member, 700 + u64::from(member));
        hello.statement = Some(statement("A".repeat(size)));
        world.enter(hello, |_| {});
        let told = world.got_of(watcher, "push").remove(0);
        let expected = json!({"e": "A".repeat(size), "sig": "not checked here"});
        let data = &told["eventData"];
        assert_eq!(data["statement"] == expected, shown);
        assert_eq!(data.get("statement").is_some(), shown);
    }
    world.frame(watcher, json!({"type": "list_peers"}));
    let peers = world.last(watcher)["peers"].clone();
    let with = peers
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["statement"].is_object());
    let with: Vec<_> = with.map(|it| &it["memberPubkey"]).collect();
    assert_eq!(with, [&json!(hex(1))]);
}
