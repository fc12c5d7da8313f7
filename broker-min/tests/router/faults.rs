//! Stores whose end nobody knows, clocks that jump, brokers that start and end.

use broker_min::router::In;
use broker_min::store::StoreError;
use serde_json::json;

use crate::world::{START, World, hello, hex, message};

const HOUR: u64 = 3_600_000;

fn unknown() -> StoreError {
    StoreError::Unknown {
        path: "broker.db".into(),
        why: "fsync".into(),
    }
}

fn until(text: &str, at: u64) -> serde_json::Value {
    let mut send = message(&hex(2), text, "next");
    send["expires_at"] = at.into();
    send
}

#[test]
fn what_was_kept_without_a_word_is_not_passed_by() {
    let mut world = World::of(3);
    let (owner, conn, other) = (world.connect(1), world.connect(2), world.connect(3));
    world.got(conn);
    world.kept = true;
    world.fail.push_back(unknown());
    world.frame(owner, message(&hex(2), "a", "next"));
    assert_eq!(world.closed[&owner].0, 1_013);
    // The next one does not come before it.
    world.say(other, &hex(2), "b", "next");
    assert_eq!(world.texts(conn), ["a", "b"]);
    let owner = world.connect(1);
    assert_eq!(world.say(owner, &hex(2), "a", "next")["duplicate"], true);
    assert!(world.texts(conn).is_empty());
}

#[test]
fn a_settling_whose_end_is_unknown_is_asked_about() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    let id = world.say(owner, &hex(2), "a", "next")["messageId"].clone();
    world.kept = true;
    world.fail.push_back(unknown());
    world.frame(conn, json!({"type": "client_ack", "clientMessageId": "a"}));
    // Its sender was not told; so everyone comes anew, and asks.
    for conn in [owner, conn] {
        assert_eq!(world.closed[&conn].0, 1_013);
        world.close(conn);
    }
    world.pass(5_000);
    let (owner, conn) = (world.connect(1), world.connect(2));
    assert!(world.texts(conn).is_empty());
    world.frame(owner, json!({"type": "outcomes", "messageIds": [id]}));
    assert_eq!(world.last(owner)["outcomes"][0]["state"], "delivered");
}

#[test]
fn a_clock_that_jumps_expires_nothing() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.say_frame(owner, until("a", START + HOUR));
    world.got(owner);
    // Forward and back: nothing is lost.
    world.now.wall += 2 * HOUR;
    world.pass(5_000);
    world.now.wall -= 2 * HOUR;
    world.pass(5_000);
    assert!(world.got_of(owner, "receipt").is_empty());
    let conn = world.connect(2);
    assert_eq!(world.texts(conn), ["a"]);
    world.close(conn);
    // Forward for good: it is believed after an hour.
    world.now.wall += 2 * HOUR;
    world.pass(HOUR - 5_000);
    assert!(world.got_of(owner, "receipt").is_empty());
    world.pass(10_000);
    assert_eq!(world.last(owner)["reason"], "expired");
}

#[test]
fn a_clock_that_is_corrected_by_an_hour_is_believed() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.say_frame(owner, until("a", START + HOUR));
    world.got(owner);
    world.now.wall += HOUR;
    world.pass(3_000);
    assert_eq!(world.last(owner)["reason"], "expired");
}

#[test]
fn a_broker_that_starts_days_later_does_not_believe_it_at_once() {
    for (days, at_once) in [(1, true), (2, false)] {
        let mut world = World::of(2);
        let owner = world.connect(1);
        world.say_frame(owner, until("a", START + HOUR));
        // The clock is saved each minute.
        world.pass(61_000);
        let wall = world.now.wall;
        let mut world = world.restart();
        world.now.wall = wall + days * 24 * HOUR - 10_000;
        let owner = world.connect(1);
        world.got(owner);
        world.pass(5_000);
        assert_eq!(!world.got_of(owner, "receipt").is_empty(), at_once);
        world.pass(HOUR);
        assert_ne!(!world.got_of(owner, "receipt").is_empty(), at_once);
    }
}

#[test]
fn what_waits_for_a_removed_one_fails_also_after_a_crash_in_between() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    world.say(owner, &hex(3), "a", "next");
    // The entry is committed; the broker ends before the mailbox is emptied.
    world.early = true;
    world.hold_commits = true;
    let entry = world.remove(3);
    world.append(owner, &entry, None);
    let mut world = world.restart();
    let owner = world.connect(1);
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0]["reason"], "removed");
}

#[test]
fn what_waits_for_a_session_of_a_removed_one_fails() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let mut session = hello(&world.mesh(), 2, 900);
    session.session_pubkey = Some(hex(50));
    world.enter(session, |verified| verified.session_proven = true);
    assert_eq!(world.say(owner, &hex(50), "a", "next")["queued"], true);
    let entry = world.remove(2);
    world.append(owner, &entry, None);
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0]["reason"], "removed");
}

#[test]
fn frames_wait_until_their_mesh_is_there() {
    let mut world = World::of(2).restart();
    world.hold_loads = true;
    let owner = world.connect(1);
    world.frame(owner, message(&hex(2), "a", "next"));
    assert!(world.got(owner).is_empty());
    world.hold_loads = false;
    world.pump();
    assert_eq!(world.ack(owner, &json!("a"))["queued"], true);
}

#[test]
fn a_mesh_that_nobody_uses_leaves_the_memory() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let loads = world.mesh_loads;
    world.pass(2_000_000);
    world.say(owner, &hex(2), "a", "next");
    assert_eq!(world.mesh_loads, loads, "it is in use");
    world.close(owner);
    world.pass(800_000);
    let conn = world.connect(2);
    assert_eq!(world.mesh_loads, loads + 1);
    assert_eq!(world.texts(conn), ["a"]);
}

#[test]
fn after_a_start_nobody_is_told_who_comes_back() {
    let mut world = World::of(3).restart_silent(90_000);
    let owner = world.connect(1);
    world.got(owner);
    world.connect(2);
    world.pass(89_000);
    assert!(world.got(owner).is_empty());
    world.pass(1_000);
    world.connect(3);
    assert_eq!(world.last(owner)["event"], "peer_joined");
}

#[test]
fn the_end_does_not_wait_for_a_store_for_ever() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.hold_commits = true;
    world.frame(owner, message(&hex(2), "a", "next"));
    world.input(In::Shutdown);
    world.pass(4_999);
    assert!(world.closed.is_empty());
    world.pass(1);
    assert_eq!(world.closed[&owner].0, 1_001);
}
