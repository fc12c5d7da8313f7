//! How much at a time, and when: gates, windows, slow sockets, unanswered sends.

use broker_min::limits::Limits;
use broker_min::router::In;
use claudemesh_core::membership::Role;
use serde_json::json;

use crate::world::{World, error_of, hello, hex, message};

const MIB: usize = 1 << 20;

fn limited(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut world = World::with(limits);
    world.people(3);
    world
}

#[test]
fn nothing_comes_before_the_answer_to_the_hello() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.hold_loads = true;
    let conn = world.connect(2);
    world.say(owner, &hex(2), "kept", "next");
    let mut online = message(&hex(2), "online", "now");
    online["online"] = true.into();
    assert_eq!(world.say_frame(owner, online)["code"], "not_online");
    assert_eq!(world.got(conn), [] as [serde_json::Value; 0]);
    world.hold_loads = false;
    world.pump();
    let frames = world.got(conn);
    assert_eq!(frames[0]["type"], "hello_ack");
    assert_eq!(frames[1]["ciphertext"], "kept");
}

#[test]
fn who_waits_for_a_turn_to_load_gets_one() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let conns: Vec<_> = (0..150).map(|_| world.connect(2)).collect();
    for conn in &conns {
        world.frame(*conn, json!({"type": "set_status", "status": "dnd"}));
        world.got(*conn);
    }
    world.say(owner, &hex(2), "x", "next");
    world.hold_loads = true;
    for conn in &conns {
        world.frame(*conn, json!({"type": "set_status", "status": "idle"}));
    }
    assert_eq!(world.held_loads(), 64);
    world.hold_loads = false;
    world.pump();
    for conn in conns {
        assert_eq!(world.texts(conn), ["x"]);
    }
}

#[test]
fn a_gate_that_closes_while_a_page_loads_is_closed() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    let status = |world: &mut World, status: &str| {
        world.frame(conn, json!({"type": "set_status", "status": status}));
    };
    status(&mut world, "dnd");
    world.say(owner, &hex(2), "x", "next");
    world.hold_loads = true;
    status(&mut world, "idle");
    status(&mut world, "dnd");
    world.hold_loads = false;
    world.pump();
    assert!(world.texts(conn).is_empty());
    status(&mut world, "idle");
    assert_eq!(world.texts(conn), ["x"]);
}

#[test]
fn the_window_holds_also_for_a_page_that_was_asked_for_before() {
    let mut world = limited(|limits| limits.window = 2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.frame(conn, json!({"type": "set_status", "status": "dnd"}));
    for text in ["a", "b"] {
        world.say(owner, &hex(2), text, "next");
    }
    world.hold_loads = true;
    world.frame(conn, json!({"type": "set_status", "status": "idle"}));
    for text in ["n", "m"] {
        world.say(owner, &hex(2), text, "now");
    }
    assert_eq!(world.texts(conn), ["n", "m"]);
    world.hold_loads = false;
    world.pump();
    assert!(world.texts(conn).is_empty());
    for (ack, next) in [("n", "a"), ("m", "b")] {
        world.frame(conn, json!({"type": "client_ack", "clientMessageId": ack}));
        assert_eq!(world.texts(conn), [next]);
    }
}

#[test]
fn an_urgent_message_takes_nothing_of_what_was_asked_for() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    for text in ["a", "b", "c"] {
        world.say(owner, &hex(2), text, "low");
    }
    world.got(conn);
    world.hold_loads = true;
    world.frame(conn, json!({"type": "fetch", "priority": "low", "max": 2}));
    world.say(owner, &hex(2), "n", "now");
    world.hold_loads = false;
    world.pump();
    assert_eq!(world.texts(conn), ["n", "a", "b"]);
}

#[test]
fn a_settled_copy_frees_the_other_sessions() {
    let mut world = limited(|limits| limits.window = 1);
    let owner = world.connect(1);
    let durable = |world: &mut World, nonce: u64| {
        let mut hello = hello(&world.mesh(), 2, nonce);
        hello.durable = Some(true);
        world.enter(hello, |_| {})
    };
    let (one, two) = (durable(&mut world, 900), durable(&mut world, 901));
    world.say(owner, &hex(2), "a", "next");
    world.say(owner, &hex(2), "b", "next");
    assert_eq!(world.texts(two), ["a"]);
    world.frame(one, json!({"type": "client_ack", "clientMessageId": "a"}));
    assert_eq!(world.texts(two), ["b"]);
    world.pass(30_000);
    world.frame(one, json!({"type": "client_ack", "clientMessageId": "b"}));
    world.pass(120_000);
    assert!(world.closed.is_empty(), "nothing is left to ack");
}

#[test]
fn who_acks_is_not_taken_to_have_what_it_did_not_ack() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect_legacy(2));
    world.say(owner, &hex(2), "a", "next");
    world.say(owner, &hex(2), "b", "next");
    world.frame(conn, json!({"type": "client_ack", "clientMessageId": "a"}));
    world.pass(50_000);
    world.got(owner);
    world.pass(1_000);
    world.input(In::Pong { conn });
    world.pass(120_000);
    assert!(world.got_of(owner, "receipt").is_empty());
    let next = world.connect(2);
    assert_eq!(world.texts(next), ["b"]);
}

#[test]
fn slow_is_who_has_much_waiting_and_reads_nothing() {
    let mut world = World::of(3);
    let (owner, conn, other) = (world.connect(1), world.connect(2), world.connect(3));
    world.got(conn);
    let waits = |world: &mut World, conn, bytes| world.input(In::Waiting { conn, bytes });
    // As much as may wait is not too much.
    waits(&mut world, conn, MIB);
    world.pass(100_000);
    world.say(owner, &hex(2), "x", "now");
    assert_eq!(world.texts(conn), ["x"]);
    // Who reads a little each time is waited for.
    for n in 0..6 {
        waits(&mut world, conn, 2 * MIB - n);
        world.pass(20_000);
    }
    assert!(world.closed.is_empty());
    // The same once more is no progress.
    waits(&mut world, conn, 2 * MIB - 5);
    world.pass(10_000);
    assert_eq!(world.closed[&conn], (1_013, "slow_consumer".into()));
    // And there is an end to it at once.
    waits(&mut world, other, 16 * MIB);
    assert!(!world.closed.contains_key(&other));
    waits(&mut world, other, 16 * MIB + 1);
    assert_eq!(world.closed[&other], (1_013, "slow_consumer".into()));
}

#[test]
fn a_socket_is_not_read_while_much_is_unanswered() {
    let mut world = limited(|limits| limits.unanswered_sends = 4);
    let owner = world.connect(1);
    let say = |world: &mut World, n: usize| {
        world.frame(owner, message(&hex(2), &format!("m{n}"), "next"));
    };
    world.hold_commits = true;
    (0..4).for_each(|n| say(&mut world, n));
    assert_eq!(world.reading.get(&owner), None);
    say(&mut world, 4);
    assert_eq!(world.reading.remove(&owner), Some(false));
    // It is told once, and what was under way is taken.
    (5..32).for_each(|n| say(&mut world, n));
    assert_eq!(world.reading.get(&owner), None);
    assert!(world.closed.is_empty());
    world.release_commits();
    assert_eq!(world.reading.remove(&owner), Some(true));
    assert_eq!(world.acks[&owner].len(), 32);
    // Again, and who does not care is closed.
    (32..65).for_each(|n| say(&mut world, n));
    assert_eq!(world.closed[&owner].0, 1_013);
}

#[test]
fn an_id_names_one_content() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    assert_eq!(world.say(owner, &hex(2), "id", "next")["queued"], true);
    for n in 0..1_000 {
        let mut other = message(&hex(2), &format!("other {n}"), "next");
        other["client_message_id"] = "id".into();
        let ack = world.say_frame(owner, other);
        assert_eq!(ack["code"], "invalid", "{ack}");
        world.got(owner);
    }
}

#[test]
fn what_expires_while_its_page_loads_is_not_handed_over() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.frame(conn, json!({"type": "set_status", "status": "dnd"}));
    let mut short = message(&hex(2), "short", "next");
    short["expires_at"] = (world.now.wall + 10_000).into();
    world.say_frame(owner, short);
    world.say(owner, &hex(2), "long", "next");
    world.hold_loads = true;
    world.frame(conn, json!({"type": "set_status", "status": "idle"}));
    world.pass(10_000);
    world.hold_loads = false;
    world.pump();
    assert_eq!(world.texts(conn), ["long"]);
}

#[test]
fn so_much_waits_for_one_mesh_and_the_rest_is_told() {
    let mut world = World::of(2);
    let (token, _) = world.invite(103, Role::Member, 1);
    let mut world = world.restart();
    world.hold_loads = true;
    let (owner, other) = (world.connect(1), world.connect(2));
    for n in 2..4_096 {
        world.frame(owner, message(&hex(2), &format!("m{n}"), "next"));
    }
    let (status, code) = {
        let reply = world.join(&token, 3, None);
        let (status, code) = error_of(&reply);
        (status, code.to_owned())
    };
    assert_eq!((status, code.as_str()), (503, "busy"));
    assert!(world.closed.is_empty());
    // Nothing is left out in silence: who brings more goes, with all that it brought.
    world.frame(owner, message(&hex(2), "more", "next"));
    assert_eq!(world.closed[&owner].0, 1_013);
    assert_eq!(world.last(owner)["code"], "busy");
    world.hold_loads = false;
    world.pump();
    assert!(world.acks.get(&owner).is_none_or(Vec::is_empty));
    assert!(!world.closed.contains_key(&other));
    assert!(world.texts(other).is_empty());
}
