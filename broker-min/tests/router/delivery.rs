//! Messages arrive, in order, and are settled by who has them.

use serde_json::json;

use crate::world::{World, hex, message};

#[test]
fn first_contact() {
    let mut world = World::of(2);
    let conn = world.connect(2);
    let frames = world.got(conn);
    let ack = &frames[0];
    assert_eq!(ack["type"], "hello_ack");
    assert_eq!(ack["memberDisplayName"], "m2");
    assert_eq!(
        ack["capabilities"],
        json!([
            "delivery/1",
            "envelope/1",
            "log/1",
            "channels/1",
            "session/1",
            "values/1"
        ])
    );
    assert_eq!(ack["waiting"], json!({"now": 0, "next": 0, "low": 0}));
    assert_eq!(ack["log_head"]["seq"], 2);
    assert_eq!(ack["limits"]["window"], 256);
    assert_eq!(ack["lease_ms"], 90_000);
    assert_eq!(ack["services"], json!([]));
    assert_eq!(frames[1], json!({"type": "caught_up"}));
    assert_eq!(frames.len(), 2);
}

#[test]
fn what_comes_while_someone_is_away_waits_for_them() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    for (text, class) in [("a", "low"), ("b", "next"), ("c", "now"), ("d", "next")] {
        let ack = world.say(owner, &hex(2), text, class);
        assert_eq!(
            (&ack["queued"], &ack["recipients"]),
            (&json!(true), &json!(1))
        );
    }
    let conn = world.connect(2);
    let frames = world.got(conn);
    assert_eq!(frames[0]["waiting"], json!({"now": 1, "next": 2, "low": 1}));
    let order: Vec<_> = frames[1..]
        .iter()
        .map(|f| f["ciphertext"].clone())
        .collect();
    // Low waits for a fetch, and is not what catching up is about.
    assert_eq!(order, [json!("c"), json!("b"), json!("d"), json!(null)]);
    assert_eq!(frames[4]["type"], "caught_up");
    world.frame(conn, json!({"type": "fetch", "priority": "low"}));
    assert_eq!(world.texts(conn), ["a"]);
    // A legacy peer gets everything when it is idle.
    let legacy = world.connect_legacy(2);
    assert_eq!(world.texts(legacy), ["c", "b", "d", "a"]);
}

#[test]
fn a_push_says_who_and_what() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    let ack = world.say(owner, &hex(2), "a", "now");
    let push = world.last(conn);
    assert_eq!(push["messageId"], ack["messageId"]);
    assert_eq!(push["messageId"].as_str().unwrap().len(), 32);
    assert_eq!(push["senderPubkey"], hex(1));
    assert_eq!(push["senderMemberPubkey"], hex(1));
    assert_eq!(push["senderName"], "owner");
    assert_eq!(push["target"], hex(2));
    assert_eq!(push["client_message_id"], "a");
    assert_eq!(push["createdAt"], "2025-11-24T16:00:00.000Z");
}

#[test]
fn a_message_is_taken_once() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    let first = world.say(owner, &hex(2), "a", "next");
    let again = world.say(owner, &hex(2), "a", "next");
    assert_eq!(first["messageId"], again["messageId"]);
    assert_eq!(again["duplicate"], true);
    let mut other = message(&hex(2), "b", "next");
    other["client_message_id"] = "a".into();
    let ack = world.say_frame(owner, other);
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("invalid"))
    );
    assert_eq!(world.texts(conn), ["a"]);
}

#[test]
fn what_was_taken_is_acked_again_also_when_it_would_be_refused() {
    let mut world = World::of(3);
    let owner = world.connect(1);
    let first = world.say(owner, &hex(3), "a", "next");
    let entry = world.remove(3);
    world.append(owner, &entry, None);
    let again = world.say(owner, &hex(3), "a", "next");
    assert_eq!(first["messageId"], again["messageId"]);
    let ack = world.say(owner, &hex(3), "b", "next");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("removed"))
    );
}

#[test]
fn an_ack_settles_and_the_sender_is_told() {
    let mut world = World::of(3);
    let (owner, conn, other) = (world.connect(1), world.connect(2), world.connect(3));
    let ack = world.say(owner, &hex(2), "a", "next");
    let id = ack["messageId"].clone();
    world.got(owner);
    // Who was not pushed it, or names an id of nobody, does nothing.
    for conn in [owner, other] {
        world.frame(conn, json!({"type": "client_ack", "brokerMessageId": id}));
        world.frame(conn, json!({"type": "client_ack", "clientMessageId": "a"}));
    }
    world.frame(
        conn,
        json!({"type": "client_ack", "brokerMessageId": "x".repeat(32)}),
    );
    assert_eq!(world.got(owner), [] as [serde_json::Value; 0]);
    world.frame(
        conn,
        json!({"type": "client_ack", "brokerMessageIds": [id]}),
    );
    let receipt = world.last(owner);
    assert_eq!(receipt["type"], "receipt");
    assert_eq!(receipt["messageId"], id);
    assert_eq!(receipt["client_message_id"], "a");
    assert_eq!(receipt["state"], "delivered");
    let again = world.connect(2);
    assert!(world.texts(again).is_empty());
}

#[test]
fn a_legacy_ack_names_the_oldest() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect_legacy(2));
    world.say(owner, &hex(2), "a", "next");
    world.got(owner);
    world.frame(conn, json!({"type": "client_ack", "clientMessageId": "a"}));
    assert_eq!(world.last(owner)["state"], "delivered");
}

#[test]
fn who_never_acks_is_taken_to_have_it_when_it_was_there() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect_legacy(2));
    world.say(owner, &hex(2), "a", "next");
    world.got(owner);
    world.pass(61_000);
    assert_eq!(world.got_of(owner, "receipt").len(), 0);
    world.input(broker_min::router::In::Pong { conn });
    world.pass(5_000);
    assert_eq!(world.got_of(owner, "receipt").len(), 1);
}

#[test]
fn a_thousand_messages_come_in_order_through_the_window() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    for n in 0..500 {
        world.say(owner, &hex(2), &format!("m{n}"), "next");
        world.got(owner);
    }
    let conn = world.connect(2);
    let mut all = Vec::new();
    let mut sent = 500;
    let mut caught_up = 0;
    loop {
        let frames = world.got(conn);
        caught_up += frames.iter().filter(|f| f["type"] == "caught_up").count();
        let pushes: Vec<_> = frames.iter().filter(|f| f["type"] == "push").collect();
        assert!(pushes.len() <= 256);
        if pushes.is_empty() && sent == 1_000 {
            break;
        }
        let ids: Vec<_> = pushes.iter().map(|f| f["messageId"].clone()).collect();
        all.extend(
            pushes
                .iter()
                .map(|f| f["ciphertext"].as_str().unwrap().to_owned()),
        );
        // New ones come while the old ones are not all there.
        for _ in 0..50.min(1_000 - sent) {
            world.say(owner, &hex(2), &format!("m{sent}"), "next");
            sent += 1;
        }
        for ids in ids.chunks(100) {
            world.frame(conn, json!({"type": "client_ack", "brokerMessageIds": ids}));
        }
    }
    let expected: Vec<_> = (0..1_000).map(|n| format!("m{n}")).collect();
    assert_eq!(all, expected);
    assert_eq!(caught_up, 1);
    // 1,000 settled: nothing is left for the next one.
    let again = world.connect(2);
    assert!(world.texts(again).is_empty());
}

#[test]
fn a_row_that_comes_while_a_page_loads_is_not_lost() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.say(owner, &hex(2), "a", "next");
    let conn = world.connect_legacy(3);
    world.got(conn);
    let conn = world.connect(2);
    world.got(conn);
    world.frame(conn, json!({"type": "set_status", "status": "dnd"}));
    world.say(owner, &hex(2), "b", "next");
    world.hold_loads = true;
    world.frame(conn, json!({"type": "set_status", "status": "idle"}));
    // The page was asked for; now this is committed.
    world.say(owner, &hex(2), "c", "next");
    assert!(world.texts(conn).is_empty());
    world.hold_loads = false;
    world.pump();
    assert_eq!(world.texts(conn), ["b", "c"]);
    world.say(owner, &hex(2), "d", "next");
    assert_eq!(world.texts(conn), ["d"]);
}

#[test]
fn gates_follow_the_status() {
    let mut world = World::of(2);
    let (owner, conn) = (world.connect(1), world.connect(2));
    world.got(conn);
    world.frame(
        conn,
        json!({"type": "set_status", "status": "working", "ttl_ms": 5_000}),
    );
    world.say(owner, &hex(2), "a", "next");
    world.say(owner, &hex(2), "b", "now");
    assert_eq!(world.texts(conn), ["b"]);
    world.pass(4_000);
    assert!(world.texts(conn).is_empty());
    world.pass(1_000);
    assert_eq!(world.texts(conn), ["a"]);
    world.frame(conn, json!({"type": "set_status", "status": "dnd"}));
    world.say(owner, &hex(2), "c", "next");
    world.pass(7_200_000);
    assert!(world.texts(conn).is_empty());
    world.frame(conn, json!({"type": "set_status", "status": "idle"}));
    assert_eq!(world.texts(conn), ["c"]);
}

#[test]
fn low_is_counted_out_to_who_asks_for_a_number() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    for text in ["a", "b", "c"] {
        world.say(owner, &hex(2), text, "low");
    }
    let conn = world.connect(2);
    assert!(world.texts(conn).is_empty());
    world.frame(conn, json!({"type": "fetch", "priority": "low", "max": 2}));
    assert_eq!(world.texts(conn), ["a", "b"]);
    world.frame(conn, json!({"type": "fetch", "priority": "low", "max": 9}));
    assert_eq!(world.texts(conn), ["c"]);
    world.say(owner, &hex(2), "d", "low");
    assert!(world.texts(conn).is_empty());
}

#[test]
fn each_session_gets_a_copy() {
    let mut world = World::of(2);
    let (owner, a, b) = (world.connect(1), world.connect(2), world.connect(2));
    world.say(owner, &hex(2), "x", "next");
    assert_eq!(
        (world.texts(a), world.texts(b)),
        (vec!["x".into()], vec!["x".into()])
    );
    world.frame(a, json!({"type": "client_ack", "clientMessageId": "x"}));
    world.got(owner);
    // The other's ack finds nothing, and that is no fault: no timeout either.
    world.frame(b, json!({"type": "client_ack", "clientMessageId": "x"}));
    assert!(world.got(owner).is_empty());
}

#[test]
fn a_sealed_form_goes_only_to_who_can_open_it() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let legacy = world.connect_legacy(2);
    let mut send = message(&hex(2), "a", "next");
    send["form"] = "envelope/1".into();
    world.say_frame(owner, send);
    assert!(world.texts(legacy).is_empty());
    let later = world.connect_legacy(2);
    assert!(world.texts(later).is_empty());
    let conn = world.connect(2);
    assert_eq!(world.texts(conn), ["a"]);
}

#[test]
fn outcomes_are_told_to_the_sender_only() {
    let mut world = World::of(3);
    let (owner, conn, other) = (world.connect(1), world.connect(2), world.connect(3));
    let a = world.say(owner, &hex(2), "a", "next")["messageId"].clone();
    let b = world.say(owner, &hex(2), "b", "next")["messageId"].clone();
    world.frame(conn, json!({"type": "client_ack", "brokerMessageId": a}));
    world.got(owner);
    let ask = json!({"type": "outcomes", "messageIds": [a, "nope", b], "_reqId": "q"});
    world.frame(owner, ask.clone());
    let answer = world.last(owner);
    assert_eq!(answer["_reqId"], "q");
    let states: Vec<_> = (0..3)
        .map(|n| answer["outcomes"][n]["state"].clone())
        .collect();
    assert_eq!(states, ["delivered", "unknown", "queued"]);
    world.frame(other, ask);
    let answer = world.last(other);
    assert!((0..3).all(|n| answer["outcomes"][n]["state"] == "unknown"));
}

#[test]
fn what_expires_is_told() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let mut send = message(&hex(2), "a", "next");
    send["expires_at"] = (world.now.wall + 10_000).into();
    let id = world.say_frame(owner, send)["messageId"].clone();
    world.got(owner);
    world.pass(9_000);
    assert!(world.got(owner).is_empty());
    world.pass(3_000);
    let receipt = world.last(owner);
    assert_eq!(
        (&receipt["state"], &receipt["reason"]),
        (&json!("failed"), &json!("expired"))
    );
    assert_eq!(receipt["messageId"], id);
    let conn = world.connect(2);
    assert!(world.texts(conn).is_empty());
}

#[test]
fn a_row_that_a_page_had_before_its_commit_was_answered_is_pushed_once() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    world.say(owner, &hex(2), "a", "next");
    world.early = true;
    world.hold_commits = true;
    world.frame(owner, message(&hex(2), "b", "next"));
    let conn = world.connect(2);
    assert_eq!(world.texts(conn), ["a", "b"]);
    world.release_commits();
    assert!(world.texts(conn).is_empty());
    assert_eq!(world.ack(owner, &json!("b"))["queued"], true);
}
