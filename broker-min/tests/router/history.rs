//! What was said in topics.

use serde_json::{Value, json};

use crate::channel_world::{Chan, left};
use crate::world::World;

fn history(world: &mut World, conn: u64, ask: Value) -> Value {
    let mut frame = json!({"type": "channel_history", "_reqId": "h"});
    for (name, value) in ask.as_object().unwrap() {
        frame[name] = value.clone();
    }
    world.frame(conn, frame);
    let answer = world.last(conn);
    assert_eq!(answer["_reqId"], "h");
    answer
}

fn texts(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|it| it["client_message_id"].as_str().unwrap())
        .collect()
}

#[test]
fn a_topic_is_read_page_by_page() {
    let mut world = World::of(3);
    let chan = Chan::of(&mut world, "#t", &[2, 3]);
    let (two, three) = (world.connect(2), world.connect(3));
    for n in 0..5 {
        let ack = chan.post(&mut world, two, &format!("m{n}"));
        assert_eq!(ack["queued"], true, "{ack}");
    }
    // A repeated one is there once; what was settled is there still.
    assert_eq!(chan.post(&mut world, two, "m4")["duplicate"], true);
    crate::channel_world::settle(&mut world, three);
    let page = history(&mut world, three, json!({"channel": "#t", "limit": 2}));
    assert_eq!(page["type"], "channel_messages");
    assert_eq!(
        (texts(&page), &page["more"]),
        (vec!["m4", "m3"], &json!(true))
    );
    let message = &page["messages"][0];
    assert_eq!(message["target"], "#t");
    assert_eq!(message["senderMemberPubkey"], crate::world::hex(2));
    assert!(message.get("type").is_none());
    let before = page["messages"][1]["messageId"].clone();
    let ask = json!({"channel": "#t", "before": before});
    let rest = history(&mut world, three, ask);
    assert_eq!(
        (texts(&rest), &rest["more"]),
        (vec!["m2", "m1", "m0"], &json!(false))
    );
    let mut after = world.restart();
    let three = after.connect(3);
    after.got(three);
    let all = history(&mut after, three, json!({"channel": "#t"}));
    assert_eq!(texts(&all).len(), 5);
}

#[test]
fn a_page_fits_its_frame() {
    let mut world = World::of(2);
    let chan = Chan::of(&mut world, "#t", &[2]);
    let two = world.connect(2);
    let mut large = chan.message("x");
    let head = large["ciphertext"].as_str().unwrap()[..24].to_owned();
    large["ciphertext"] = format!("{head}{}", "A".repeat(60_000)).into();
    for n in 0..5 {
        large["client_message_id"] = format!("m{n}").into();
        assert_eq!(world.say_frame(two, large.clone())["queued"], true);
    }
    let page = history(&mut world, two, json!({"channel": "#t", "limit": 1_000}));
    assert_eq!((texts(&page).len(), &page["more"]), (3, &json!(true)));
    assert!(page.to_string().len() < 262_144);
}

#[test]
fn only_who_is_in_reads() {
    let mut world = World::of(4);
    let mut chan = Chan::of(&mut world, "#t", &[2, 3]);
    let _group = Chan::of(&mut world, "@g", &[2, 3]);
    let (two, three, four) = (world.connect(2), world.connect(3), world.connect(4));
    chan.post(&mut world, two, "a");
    for (conn, ask, code) in [
        (four, json!({"channel": "#t"}), "forbidden"),
        (three, json!({"channel": "#none"}), "not_found"),
        (three, json!({"channel": "@g"}), "invalid_argument"),
        (three, json!({"channel": "*"}), "invalid_argument"),
        (three, json!({"channel": "$state"}), "invalid_argument"),
        (
            three,
            json!({"channel": "#t", "before": "é"}),
            "invalid_argument",
        ),
    ] {
        assert_eq!(
            history(&mut world, conn, ask.clone())["code"],
            code,
            "{ask}"
        );
    }
    assert_eq!(
        chan.say(&mut world, three, 3, left(3))["type"],
        "log_appended"
    );
    let answer = history(&mut world, three, json!({"channel": "#t"}));
    assert_eq!(answer["code"], "forbidden");
}

#[test]
fn many_questions_wait() {
    let mut world = World::of(2);
    let _chan = Chan::of(&mut world, "#t", &[2]);
    let two = world.connect(2);
    world.got(two);
    world.hold_loads = true;
    for _ in 0..17 {
        world.frame(two, json!({"type": "channel_history", "channel": "#t"}));
    }
    assert_eq!(world.last(two)["code"], "busy");
    for _ in 0..120 {
        world.frame(two, json!({"type": "channel_history", "channel": "#t"}));
    }
    assert_eq!(world.last(two)["code"], "rate_limit");
    world.hold_loads = false;
    world.pump();
    assert_eq!(world.got_of(two, "channel_messages").len(), 16);
}
