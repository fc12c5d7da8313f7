//! Sends that are refused, and stores that fail.

use broker_min::limits::Limits;
use broker_min::store::StoreError;
use claudemesh_core::wire::errors;
use serde_json::json;

use crate::world::{World, hex, key, message};

#[test]
fn refusals_say_why() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let unknown = key(99).to_hex();
    for (target, code) in [
        ("*", "unsupported"),
        ("@all", "unsupported"),
        ("#t", "unsupported"),
        ("#T", "invalid"),
        ("$state", "invalid"),
        (unknown.as_str(), "not_found"),
        ("bob", "invalid"),
    ] {
        for id in [true, false] {
            let mut send = message(target, "x", "next");
            if !id {
                send["client_message_id"].take();
            }
            let ack = world.say_frame(owner, send);
            assert_eq!(ack["queued"], false);
            assert_eq!(ack["code"], code, "{ack}");
            assert_eq!(ack["messageId"], "");
        }
    }
    assert_eq!(
        world.say(owner, &unknown, "y", "next")["error"],
        "not_found: unknown target"
    );
    let ack = world.say(owner, &hex(2), "z", "urgent");
    assert_eq!(ack["code"], "invalid");
    let mut late = message(&hex(2), "l", "now");
    late["expires_at"] = (world.now.wall - 1).into();
    assert_eq!(world.say_frame(owner, late)["code"], "expired");
    let mut large = message(&hex(2), "g", "now");
    large["ciphertext"] = "x".repeat(66_000).into();
    let ack = world.say_frame(owner, large);
    assert_eq!(ack["error"], errors::payload_too_large(66_065));
}

#[test]
fn the_rate_is_told_in_the_words_of_the_existing_system() {
    let mut world = World::with(Limits::reference());
    world.people(2);
    let owner = world.connect_legacy(1);
    for n in 0..10 {
        assert_eq!(
            world.say(owner, &hex(2), &format!("m{n}"), "next")["queued"],
            true
        );
    }
    let ack = world.say(owner, &hex(2), "over", "next");
    let text = "rate_limit: max 60 msg/min (burst 10) — slow down";
    assert_eq!(
        (&ack["queued"], &ack["error"]),
        (&json!(false), &json!(text))
    );
    assert_eq!(ack["retry_after_ms"], 1_000);
    // What was taken already is no new message.
    assert_eq!(world.say(owner, &hex(2), "m1", "next")["queued"], true);
    world.pass(1_000);
    assert_eq!(world.say(owner, &hex(2), "over", "next")["queued"], true);
}

#[test]
fn a_full_mailbox_refuses_its_sender() {
    let limits = {
        let mut limits = Limits::default();
        limits.mailbox_rows_per_sender = 2;
        limits
    };
    let mut world = World::with(limits);
    world.people(3);
    let (owner, other) = (world.connect(1), world.connect(3));
    world.say(owner, &hex(2), "a", "next");
    world.say(owner, &hex(2), "b", "next");
    let ack = world.say(owner, &hex(2), "c", "next");
    assert_eq!(ack["code"], "queue_full");
    assert!(ack["retry_after_ms"].is_u64());
    assert_eq!(world.say(other, &hex(2), "d", "next")["queued"], true);
}

#[test]
fn nothing_is_acked_or_pushed_before_the_commit() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(owner);
    world.got(conn);
    world.hold_commits = true;
    for n in 0..300 {
        world.frame(owner, message(&hex(2), &format!("m{n}"), "next"));
    }
    assert!(world.got(owner).is_empty() && world.got(conn).is_empty());
    // More than 256 are unanswered: the socket is not read until some are.
    assert_eq!(world.reading.get(&owner), Some(&false));
    world.release_commits();
    assert_eq!(world.reading.get(&owner), Some(&true));
    let frames = world.got(owner);
    let items: Vec<_> = frames
        .iter()
        .flat_map(|f| match f["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![f.clone()],
        })
        .map(|ack| ack["id"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<_> = (0..300).map(|n| format!("m{n}")).collect();
    assert_eq!(items, expected);
    assert!(frames.len() < 10, "acks come together");
    assert!(world.batches.iter().any(|ops| *ops > 100), "so do commits");
}

#[test]
fn a_refusal_waits_for_the_answers_before_it() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.got(owner);
    world.hold_commits = true;
    world.frame(owner, message(&hex(2), "a", "next"));
    let mut refused = message("*", "b", "next");
    refused["client_message_id"].take();
    world.frame(owner, refused);
    assert!(world.got(owner).is_empty());
    world.release_commits();
    let acks = world.got(owner)[0]["items"].clone();
    assert_eq!((&acks[0]["id"], &acks[1]["id"]), (&json!("a"), &json!("b")));
}

#[test]
fn a_full_disk_refuses_and_an_unknown_end_closes() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    let path = String::from("broker.db");
    world
        .fail
        .push_back(StoreError::Full { path: path.clone() });
    let ack = world.say(owner, &hex(2), "a", "next");
    assert_eq!(ack["code"], "store_unavailable");
    assert_eq!(ack["retry_after_ms"], 1_000);
    assert!(!errors::legacy_client_gives_up(
        ack["error"].as_str().unwrap()
    ));
    assert!(world.texts(conn).is_empty());
    assert_eq!(world.say(owner, &hex(2), "a", "next")["queued"], true);
    world.got(owner);
    let why = String::from("fsync");
    world.fail.push_back(StoreError::Unknown { path, why });
    world.frame(owner, message(&hex(2), "b", "next"));
    assert!(world.got(owner).is_empty(), "no ack");
    assert_eq!(world.closed[&owner].0, 1_013);
    assert!(!world.closed.contains_key(&conn));
}

#[test]
fn a_settle_that_failed_is_tried_again() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.say(owner, &hex(2), "a", "next");
    world.got(owner);
    let path = String::from("broker.db");
    world.fail.push_back(StoreError::Full { path });
    world.frame(conn, json!({"type": "client_ack", "clientMessageId": "a"}));
    assert!(world.got(owner).is_empty());
    world.pass(2_000);
    assert_eq!(world.last(owner)["state"], "delivered");
}

#[test]
fn any_text_is_an_id() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let mut send = message(&hex(2), "x", "next");
    send["client_message_id"] = "überlang / with spaces".into();
    let first = world.say_frame(owner, send.clone())["messageId"].clone();
    assert_eq!(world.say_frame(owner, send)["messageId"], first);
}

#[test]
fn what_is_not_served_is_said() {
    let mut world = World::of(2);
    let conn = world.connect_legacy(2);
    world.got(conn);
    world.frame(
        conn,
        json!({"type": "vault_list", "query": "x", "_reqId": "r7"}),
    );
    let error = world.last(conn);
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("error"), &json!("unsupported"))
    );
    assert_eq!(error["_reqId"], "r7");
    assert!(error["message"].as_str().unwrap().contains("`vault_list`"));
    world.frame(conn, json!({"type": "x".repeat(5_000)}));
    assert!(world.last(conn)["message"].as_str().unwrap().len() < 200);
}
