//! What goes out later: once by the broker, again and again by its author.

use broker_min::limits::Limits;
use broker_min::store::StoreError;
use serde_json::{Value, json};

use crate::world::{START, World, hex};

const ID: &str = "00112233445566778899aabbccddeeff";

fn one_shot(to: &str, text: &str, at: u64) -> Value {
    json!({"type": "schedule", "to": to, "deliverAt": at, "_reqId": "s",
        "send": {"targetSpec": to, "client_message_id": text, "nonce": "n", "ciphertext": text,
            "priority": "now"}})
}

fn cron(cron: &str) -> Value {
    json!({"type": "schedule", "to": "#ops", "sealed": "c2VhbGVk", "cron": cron, "id": ID,
        "_reqId": "s"})
}

fn put(world: &mut World, conn: u64, frame: Value) -> Value {
    world.got(conn);
    world.frame(conn, frame);
    world.last(conn)
}

fn list(world: &mut World, conn: u64) -> Vec<Value> {
    let list = put(
        world,
        conn,
        json!({"type": "list_scheduled", "_reqId": "l"}),
    );
    list["messages"].as_array().unwrap().clone()
}

#[test]
fn a_one_shot_is_sent_once_at_its_time() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect(3));
    let ack = put(
        &mut world,
        author,
        one_shot(&hex(3), "later", START + 60_000),
    );
    let id = ack["scheduledId"].clone();
    assert_eq!(
        ack,
        json!({"type": "scheduled_ack", "scheduledId": id, "deliverAt": START + 60_000,
            "_reqId": "s"})
    );
    let row = json!({"id": id, "to": hex(3), "message": "", "deliverAt": START + 60_000,
        "createdAt": START});
    assert_eq!(list(&mut world, author), [row]);
    // It needs no session of its author.
    world.close(author);
    world.pass(59_990);
    assert!(world.texts(to).is_empty());
    world.pass(1_000);
    let pushes = world.got_of(to, "push");
    let push = pushes.iter().find(|it| it["subtype"] != "system").unwrap();
    assert_eq!(push["client_message_id"], "later");
    assert_eq!(push["senderMemberPubkey"], hex(2));
    assert_eq!(push["senderPubkey"], hex(2));
    assert_eq!(push["senderName"], "m2");
    assert_eq!(push["createdAt"], "2025-11-24T16:01:00.000Z");
    let author = world.connect_values(2);
    assert!(list(&mut world, author).is_empty());
    // The author's own try under the same id is the same message.
    let mut same = one_shot(&hex(3), "later", 0)["send"].clone();
    (same["type"], same["id"]) = ("send".into(), "x".into());
    let ack = world.say_frame(author, same);
    assert_eq!(ack["duplicate"], true);
    assert_eq!(ack["messageId"], push["messageId"]);
    world.pass(100_000);
    assert!(world.texts(to).is_empty());
}

#[test]
fn an_earlier_schedule_goes_before_a_later_one_and_a_past_one_at_once() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect(3));
    for (text, at) in [("c", 30_000), ("a", 10_000), ("b", 20_000)] {
        put(&mut world, author, one_shot(&hex(3), text, START + at));
    }
    put(&mut world, author, one_shot(&hex(3), "past", START - 5_000));
    world.pass(0);
    assert_eq!(world.texts(to), ["past"]);
    for text in ["a", "b", "c"] {
        world.pass(10_000);
        assert_eq!(world.texts(to), [text]);
    }
}

#[test]
fn what_is_late_is_sent_at_the_start() {
    let mut world = World::of(3);
    let author = world.connect_values(2);
    for n in 0..70 {
        put(
            &mut world,
            author,
            one_shot(&hex(3), &n.to_string(), START + 1_000),
        );
    }
    let mut again = world.restart();
    again.now.wall += 7 * 3_600_000;
    again.pass(10);
    // Nobody of the mesh was here; it is loaded for them.
    let to = again.connect(3);
    assert_eq!(again.texts(to).len(), 70);
}

#[test]
fn a_crash_at_any_moment_sends_it_once() {
    for early in [false, true] {
        let mut world = World::of(3);
        let (author, to) = (world.connect_values(2), world.connect(3));
        put(&mut world, author, one_shot(&hex(3), "x", START + 1_000));
        world.hold_commits = true;
        world.early = early;
        world.pass(2_000);
        assert!(world.texts(to).is_empty(), "not told before it is kept");
        let mut again = world.restart();
        again.now.wall += 5_000;
        again.pass(10);
        let to = again.connect(3);
        assert_eq!(again.texts(to), ["x"]);
        again.pass(100_000);
        assert!(again.texts(to).is_empty());
    }
}

#[test]
fn a_store_that_fails_is_tried_again() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect(3));
    put(&mut world, author, one_shot(&hex(3), "x", START + 500));
    for _ in 0..2 {
        world.fail.push_back(StoreError::Full { path: "x".into() });
    }
    world.pass(600);
    assert!(world.texts(to).is_empty());
    world.pass(5_000);
    assert_eq!(world.texts(to), ["x"]);
}

#[test]
fn a_refusal_is_told_to_the_author_until_it_takes_note() {
    let mut world = World::of(3);
    let author = world.connect_values(2);
    let id = put(&mut world, author, one_shot(&hex(3), "x", START + 1_000))["scheduledId"].clone();
    put(&mut world, author, one_shot(&hex(77), "y", START + 2_000));
    let owner = world.connect(1);
    let entry = world.remove(3);
    world.append(owner, &entry, None);
    world.got(author);
    world.pass(1_500);
    let failed = json!({"type": "receipt", "messageId": "", "client_message_id": "x",
        "state": "failed", "reason": "removed"});
    assert_eq!(
        world.got_of(author, "receipt"),
        std::slice::from_ref(&failed)
    );
    world.close(author);
    world.pass(1_000);
    // Also one that was away hears of it, each time that it comes, until it takes note.
    let author = world.connect_values(2);
    let told = world.got_of(author, "receipt");
    assert_eq!(told.len(), 2);
    assert!(told.contains(&failed));
    assert!(told.iter().any(|it| it["reason"] == "not_found"));
    let mut again = world.restart();
    let author = again.connect_values(2);
    assert_eq!(again.got_of(author, "receipt").len(), 2);
    let rows = list(&mut again, author);
    assert!(
        rows.iter()
            .any(|it| it["failed"] == "removed" && it["id"] == id)
    );
    again.frame(
        author,
        json!({"type": "schedule_taken", "scheduledId": id, "due": 0}),
    );
    let rows = list(&mut again, author);
    assert_eq!(rows.len(), 1);
    put(
        &mut again,
        author,
        json!({"type": "cancel_scheduled", "scheduledId": rows[0]["id"]}),
    );
    let author = again.connect_values(2);
    assert!(again.got_of(author, "receipt").is_empty());
}

#[test]
fn a_full_mailbox_and_a_passed_end_are_refusals() {
    let mut limits = Limits::default();
    limits.mailbox_rows = 1;
    let mut world = World::with(limits);
    world.people(3);
    let author = world.connect_values(2);
    world.say(author, &hex(3), "fills", "next");
    put(&mut world, author, one_shot(&hex(3), "full", START + 1_000));
    let mut ends = one_shot(&hex(3), "ends", START + 1_000);
    ends["send"]["expires_at"] = (START + 2_000).into();
    put(&mut world, author, ends);
    world.got(author);
    world.now.wall += 10_000;
    world.pass(1_000);
    let told = world.got_of(author, "receipt");
    let reasons: Vec<_> = told
        .iter()
        .map(|it| it["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["queue_full", "expired"]);
}

#[test]
fn what_is_given_up_is_not_sent() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect_values(3));
    let id = put(&mut world, author, one_shot(&hex(3), "x", START + 1_000))["scheduledId"].clone();
    let cancel = json!({"type": "cancel_scheduled", "scheduledId": id, "_reqId": "c"});
    // Nobody else can.
    assert_eq!(put(&mut world, to, cancel.clone())["ok"], false);
    assert!(list(&mut world, to).is_empty());
    let ack = put(&mut world, author, cancel.clone());
    assert_eq!(
        ack,
        json!({"type": "cancel_scheduled_ack", "scheduledId": id, "ok": true, "_reqId": "c"})
    );
    assert_eq!(put(&mut world, author, cancel)["ok"], false);
    world.pass(10_000);
    assert!(world.texts(to).is_empty());
}

#[test]
fn the_schedules_of_a_removed_member_go_with_it() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect(3));
    put(&mut world, author, one_shot(&hex(3), "x", START + 1_000));
    put(&mut world, author, cron("* * * * *"));
    let owner = world.connect(1);
    let entry = world.remove(2);
    world.append(owner, &entry, None);
    world.pass(200_000);
    assert!(world.texts(to).is_empty());
}

#[test]
fn a_repeated_request_is_answered_as_the_first_was() {
    let mut world = World::of(3);
    let (author, other) = (world.connect_values(2), world.connect_values(3));
    let mut frame = one_shot(&hex(3), "x", START + 1_000);
    frame["id"] = ID.into();
    let ack = put(&mut world, author, frame.clone());
    assert_eq!(ack["scheduledId"], ID);
    assert_eq!(put(&mut world, author, frame.clone()), ack);
    assert_eq!(list(&mut world, author).len(), 1);
    frame["deliverAt"] = (START + 2_000).into();
    assert_eq!(put(&mut world, author, frame.clone())["code"], "invalid");
    assert_eq!(put(&mut world, other, frame)["code"], "invalid");
}

#[test]
fn a_member_has_so_many_schedules() {
    let mut world = World::of(3);
    let (author, other) = (world.connect_values(2), world.connect_values(3));
    for n in 0..100 {
        let ack = put(
            &mut world,
            author,
            one_shot(&hex(3), &n.to_string(), START + 9_000),
        );
        assert_eq!(ack["type"], "scheduled_ack");
    }
    let full = put(&mut world, author, one_shot(&hex(3), "x", START + 9_000));
    assert_eq!(full["code"], "queue_full");
    let ack = put(&mut world, other, one_shot(&hex(2), "x", START + 9_000));
    assert_eq!(ack["type"], "scheduled_ack");
    assert_eq!(list(&mut world, author).len(), 100);
}

#[test]
fn what_is_no_schedule_is_refused() {
    let mut world = World::of(3);
    let author = world.connect_values(2);
    let year = 366 * 86_400_000;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut frame = one_shot(&hex(3), "x", START + 1_000);
        change(&mut frame);
        frame
    };
    let cases = [
        (
            json!({"type": "schedule", "to": hex(3), "message": "hi", "deliverAt": START,
            "_reqId": "s"}),
            "unsupported",
        ),
        (
            json!({"type": "schedule", "to": hex(3), "_reqId": "s"}),
            "invalid",
        ),
        (with(&|it| it["deliverAt"] = Value::Null), "invalid"),
        (
            with(&|it| it["deliverAt"] = (START + year + 1).into()),
            "invalid",
        ),
        (with(&|it| it["deliverAt"] = u64::MAX.into()), "invalid"),
        (with(&|it| it["cron"] = "* * * * *".into()), "invalid"),
        (with(&|it| it["sealed"] = "YQ==".into()), "invalid"),
        (with(&|it| it["id"] = "x".into()), "invalid"),
        (with(&|it| it["to"] = hex(2).into()), "invalid"),
        (
            with(&|it| it["send"]["client_message_id"] = Value::Null),
            "invalid",
        ),
        (
            with(&|it| it["send"]["client_message_id"] = "x".repeat(257).into()),
            "invalid",
        ),
        (with(&|it| it["send"]["online"] = true.into()), "invalid"),
        (
            with(&|it| it["send"]["priority"] = "urgent".into()),
            "invalid",
        ),
        (
            with(&|it| it["send"]["expires_at"] = (START + 1_000).into()),
            "invalid",
        ),
        (
            with(&|it| {
                it["to"] = "".into();
                it["send"]["targetSpec"] = "".into();
            }),
            "invalid",
        ),
        (
            with(&|it| it["send"]["ciphertext"] = "x".repeat(66_000).into()),
            "too_large",
        ),
        (cron("61 * * * *"), "invalid_cron"),
        (cron("* * * *"), "invalid_cron"),
        (cron("0 0 31 2 *"), "invalid_cron"),
        (cron(&"*,".repeat(1_000)), "invalid_cron"),
    ];
    for (frame, code) in cases {
        let answer = put(&mut world, author, frame.clone());
        assert_eq!(answer["code"], code, "{frame}");
        assert_eq!(answer["_reqId"], "s");
    }
    let mut long = cron("* * * * *");
    long["sealed"] = "A".repeat(61_444).into();
    assert_eq!(put(&mut world, author, long.clone())["code"], "invalid");
    long["sealed"] = "not base64".into();
    assert_eq!(put(&mut world, author, long)["code"], "invalid");
    assert!(list(&mut world, author).is_empty());
}

// ---- again and again

fn dues(world: &mut World, conn: u64) -> Vec<u64> {
    let frames = world.got_of(conn, "schedule_due");
    frames
        .iter()
        .map(|it| it["due"].as_u64().unwrap())
        .collect()
}

#[test]
fn what_comes_again_is_handed_to_one_session_of_its_author() {
    let mut world = World::of(3);
    let author = world.connect_values(2);
    let ack = put(&mut world, author, cron("*/5 * * * *"));
    assert_eq!(ack["deliverAt"], START + 300_000);
    assert_eq!(ack["cron"], "*/5 * * * *");
    let (sibling, plain, other) = (
        world.connect_values(2),
        world.connect(2),
        world.connect_values(3),
    );
    world.got(author);
    world.pass(300_500);
    let frame = json!({"type": "schedule_due", "scheduledId": ID, "to": "#ops",
        "due": START + 300_000, "sealed": "c2VhbGVk"});
    let handed: Vec<u64> = [author, sibling, plain, other]
        .into_iter()
        .filter(|conn| world.got_of(*conn, "schedule_due") == std::slice::from_ref(&frame))
        .collect();
    let [first] = handed[..] else {
        panic!("{handed:?}")
    };
    assert!([author, sibling].contains(&first));
    // The session goes without taking it: the other one has it now.
    world.close(first);
    let second = if first == author { sibling } else { author };
    assert_eq!(dues(&mut world, second), [START + 300_000]);
    let taken = json!({"type": "schedule_taken", "scheduledId": ID, "due": START + 300_000});
    world.frame(second, taken);
    let next = world.connect_values(2);
    assert!(dues(&mut world, next).is_empty());
    let rows = list(&mut world, next);
    assert_eq!(rows[0]["firedCount"], 1);
    assert_eq!(rows[0]["deliverAt"], START + 600_000);
    world.pass(300_000);
    let all = [dues(&mut world, second), dues(&mut world, next)].concat();
    assert_eq!(all, [START + 600_000]);
}

#[test]
fn what_was_missed_is_handed_once_for_all_times() {
    let mut world = World::of(2);
    let author = world.connect_values(2);
    put(&mut world, author, cron("* * * * *"));
    world.close(author);
    world.pass(10 * 60_000 + 30_000);
    let author = world.connect_values(2);
    assert_eq!(dues(&mut world, author), [START + 600_000]);
    // Also after the broker was away; without a session nobody gets it.
    let mut again = world.restart();
    again.now.wall = START + 20 * 60_000 + 1_000;
    again.pass(100);
    let plain = again.connect(2);
    assert!(dues(&mut again, plain).is_empty());
    let author = again.connect_values(2);
    assert_eq!(dues(&mut again, author), [START + 20 * 60_000]);
}

#[test]
fn a_newer_time_is_not_taken_by_the_answer_to_an_older_one() {
    let mut world = World::of(2);
    let author = world.connect_values(2);
    put(&mut world, author, cron("* * * * *"));
    world.got(author);
    world.pass(60_500);
    assert_eq!(dues(&mut world, author), [START + 60_000]);
    world.pass(60_000);
    assert_eq!(dues(&mut world, author), [START + 120_000]);
    let taken = |due: u64| json!({"type": "schedule_taken", "scheduledId": ID, "due": due});
    world.frame(author, taken(START + 60_000));
    assert_eq!(dues(&mut world, author), [START + 120_000]);
    world.frame(author, taken(START + 120_000));
    world.close(author);
    let author = world.connect_values(2);
    assert!(dues(&mut world, author).is_empty());
    // What nobody was handed, what is another's, what is not there: nothing happens.
    let other = world.connect_values(1);
    world.got(other);
    for frame in [taken(START), taken(u64::MAX)] {
        world.frame(other, frame);
    }
    assert!(world.got(other).is_empty());
    assert_eq!(list(&mut world, author).len(), 1);
}

#[test]
fn a_given_up_one_comes_no_more() {
    let mut world = World::of(2);
    let author = world.connect_values(2);
    put(&mut world, author, cron("* * * * *"));
    put(
        &mut world,
        author,
        json!({"type": "cancel_scheduled", "scheduledId": ID}),
    );
    world.got(author);
    world.pass(200_000);
    assert!(dues(&mut world, author).is_empty());
}

#[test]
fn a_clock_that_is_set_forward_is_followed() {
    let mut world = World::of(3);
    let (author, to) = (world.connect_values(2), world.connect(3));
    put(
        &mut world,
        author,
        one_shot(&hex(3), "x", START + 3_600_000),
    );
    world.now.wall += 4_000_000;
    world.input(broker_min::router::In::Tick);
    world.pass(10);
    assert_eq!(world.texts(to), ["x"]);
}
