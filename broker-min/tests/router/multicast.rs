//! Sends to channels.

use broker_min::limits::Limits;
use claudemesh_core::id::KeyId;
use serde_json::{Value, json};

use crate::channel_world::{Chan, ids, left, message_under, settle, without_channels};
use crate::world::{World, hex, message};

#[test]
fn a_message_goes_to_all_in_the_channel_but_the_sender() {
    let mut world = World::of(4);
    world.link_device(2, 120, 20);
    let chan = Chan::of(&mut world, "#t", &[2, 3]);
    let (two, again) = (world.connect(2), world.connect(2));
    let (device, three, four) = (world.connect(20), world.connect(3), world.connect(4));
    for conn in [two, again, device, three, four] {
        world.got(conn);
    }
    let before = (world.push_texts, world.batches.len());
    let ack = chan.post(&mut world, two, "a");
    assert_eq!(
        (&ack["queued"], &ack["recipients"]),
        (&json!(true), &json!(2))
    );
    assert!(ack.get("skipped").is_none());
    assert_eq!(
        (world.push_texts, world.batches.len()),
        (before.0 + 1, before.1 + 1),
        "one text and one commit for all"
    );
    let push = world.last(three);
    assert_eq!(
        (&push["target"], &push["form"]),
        (&json!("#t"), &json!("envelope/1"))
    );
    assert_eq!(push["senderMemberPubkey"], hex(2));
    assert_eq!(ids(&mut world, device), ["a"]);
    for conn in [again, four] {
        assert!(ids(&mut world, conn).is_empty());
    }
    // Once under the same id, to the same target.
    let ack = chan.post(&mut world, two, "a");
    assert_eq!(
        (&ack["duplicate"], &ack["recipients"]),
        (&json!(true), &json!(2))
    );
    let mut other = chan.message("a");
    other["nonce"] = "other".into();
    assert_eq!(world.say_frame(two, other)["code"], "invalid");
    // `@all` is `*`.
    let mut all = Chan::open("*");
    all.keyed(&mut world, 2);
    let frame = message_under("@all", &all.key_id(), "b");
    assert_eq!(world.say_frame(two, frame)["recipients"], 4);
    assert_eq!(world.got_of(four, "push")[0]["target"], "*");
}

#[test]
fn what_is_not_sealed_under_the_current_key_is_refused() {
    let mut world = World::of(4);
    let mut chan = Chan::of(&mut world, "#t", &[2, 3]);
    let bare = Chan::make(&mut world, 2, "#new", true);
    let (two, four) = (world.connect(2), world.connect(4));
    let code = |world: &mut World, conn: u64, frame: Value| {
        let ack = world.say_frame(conn, frame);
        assert_eq!(
            (&ack["queued"], &ack["messageId"]),
            (&json!(false), &json!(""))
        );
        ack["code"].as_str().unwrap().to_owned()
    };
    let id = chan.key_id();
    assert_eq!(
        code(&mut world, two, message("#t", "hello", "now")),
        "unsupported"
    );
    let mut formless = chan.message("x");
    formless["form"].take();
    assert_eq!(code(&mut world, two, formless), "unsupported");
    for ciphertext in [
        "",
        "zgE=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ééééééééééééé",
        "zgF!",
    ] {
        let mut frame = chan.message("x");
        frame["ciphertext"] = ciphertext.into();
        assert_eq!(code(&mut world, two, frame), "unsupported", "{ciphertext}");
    }
    for (conn, to, key, expected) in [
        (two, "$state", &id, "invalid"),
        (two, "#T", &id, "invalid"),
        (two, "#none", &id, "not_found"),
        (four, "#t", &id, "forbidden"),
        (two, "#t", &KeyId([9; 16]), "stale_epoch"),
        (two, bare.name.as_str(), &id, "stale_epoch"),
        (two, "*", &id, "stale_epoch"),
    ] {
        assert_eq!(
            code(&mut world, conn, message_under(to, key, "y")),
            expected,
            "{to}"
        );
    }
    // Who came later gets nothing of what is sealed for the ones before, and cannot seal for them.
    chan.joins(&mut world, 4);
    assert_eq!(chan.post(&mut world, two, "late")["recipients"], 1);
    assert_eq!(code(&mut world, four, chan.message("z")), "stale_epoch");
    // As soon as one of its readers is out, a key is stale; the next one serves.
    let three = world.connect(3);
    chan.say(&mut world, three, 3, left(3));
    assert_eq!(code(&mut world, two, chan.message("w")), "stale_epoch");
    assert_eq!(chan.post(&mut world, two, "late")["duplicate"], true);
    chan.keyed(&mut world, 2);
    assert_eq!(chan.post(&mut world, two, "w")["recipients"], 1);
    let old = message_under("#t", &id, "v");
    assert_eq!(code(&mut world, two, old), "stale_epoch");
    // So does a removal from the mesh, at once.
    let owner = world.connect(1);
    let removal = world.remove(4);
    world.append(owner, &removal, None);
    assert_eq!(code(&mut world, two, chan.message("u")), "stale_epoch");
}

#[test]
fn who_cannot_take_it_is_skipped() {
    let mut limits = Limits::default();
    limits.mailbox_rows_per_sender = 1;
    let mut world = World::with(limits);
    world.people(3);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 1);
    let owner = world.connect(1);
    assert_eq!(world.say(owner, &hex(2), "x", "now")["queued"], true);
    let ack = chan.post(&mut world, owner, "a");
    assert_eq!(
        (&ack["recipients"], &ack["skipped"]),
        (&json!(1), &json!({"queue_full": 1}))
    );
    let ack = chan.post(&mut world, owner, "b");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("queue_full"))
    );
    let three = world.connect(3);
    assert_eq!(ids(&mut world, three), ["a"]);
}

#[test]
fn who_was_not_seen_for_a_month_gets_nothing_of_what_goes_to_all() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 1);
    let topic = Chan::of(&mut world, "#t", &[1, 2, 3]);
    world.now.wall += 20 * 86_400_000;
    let three = world.connect(3);
    world.now.wall += 11 * 86_400_000;
    let owner = world.connect(1);
    let ack = chan.post(&mut world, owner, "a");
    assert_eq!(
        (&ack["recipients"], &ack["skipped"]),
        (&json!(1), &json!({"dormant": 1}))
    );
    assert_eq!(ids(&mut world, three), ["a"]);
    assert_eq!(topic.post(&mut world, owner, "b")["recipients"], 2);
}

#[test]
fn a_channel_has_so_many_readers() {
    let mut limits = Limits::default();
    limits.audience = 3;
    let mut world = World::with(limits);
    world.people(4);
    let mut chan = Chan::open("*");
    let owner = world.connect(1);
    let rotation = chan.rotation(&world, 1);
    let id = rotation.statement.key_id();
    crate::channel_world::bring(&mut world, owner, &id, &rotation.copies);
    assert_eq!(world.last(owner)["code"], "audience_too_large");
}

#[test]
fn deliveries_are_what_is_counted() {
    let mut limits = Limits::default();
    (limits.deliveries_per_s, limits.delivery_burst) = (2, 6);
    let mut world = World::with(limits);
    world.people(4);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 1);
    let owner = world.connect(1);
    for id in ["a", "b"] {
        assert_eq!(chan.post(&mut world, owner, id)["recipients"], 3);
    }
    let ack = chan.post(&mut world, owner, "c");
    assert_eq!(ack["code"], "rate_limit");
    world.pass(3_000);
    assert_eq!(chan.post(&mut world, owner, "c")["recipients"], 3);
    // More readers than come at once take a full bucket.
    limits_below_the_audience();
}

fn limits_below_the_audience() {
    let mut limits = Limits::default();
    (limits.deliveries_per_s, limits.delivery_burst) = (1, 2);
    let mut world = World::with(limits);
    world.people(5);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 1);
    let owner = world.connect(1);
    for id in ["a", "b"] {
        assert_eq!(chan.post(&mut world, owner, id)["recipients"], 4);
        let ack = chan.post(&mut world, owner, "c");
        assert_eq!(ack["code"], "rate_limit");
        world.pass(3_000);
    }
}

#[test]
fn who_knows_no_channels_leaves_it_to_its_other_connections() {
    let mut world = World::of(3);
    let chan = Chan::of(&mut world, "#t", &[2, 3]);
    let (two, deaf, legacy) = (
        world.connect(2),
        without_channels(&mut world, 3),
        world.connect_legacy(3),
    );
    chan.post(&mut world, two, "a");
    let late = without_channels(&mut world, 3);
    for conn in [deaf, legacy, late] {
        assert!(ids(&mut world, conn).is_empty());
    }
    world.pass(120_000);
    let able = world.connect(3);
    assert_eq!(ids(&mut world, able), ["a"]);
}

#[test]
fn its_end_is_told_once_with_counts() {
    let mut world = World::of(4);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 1);
    let (owner, two, three) = (world.connect(1), world.connect(2), world.connect(3));
    let all_well = chan.post(&mut world, owner, "a")["messageId"].clone();
    let one_lost = chan.post(&mut world, owner, "b")["messageId"].clone();
    world.got(owner);
    let four = world.connect(4);
    let first = world.got_of(four, "push")[0]["messageId"].clone();
    world.frame(
        four,
        json!({"type": "client_ack", "brokerMessageIds": [first]}),
    );
    settle(&mut world, two);
    assert!(world.got_of(owner, "receipt").is_empty());
    settle(&mut world, three);
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(
        receipts,
        [
            json!({"type": "receipt", "messageId": all_well, "client_message_id": "a",
            "state": "delivered", "delivered": 3, "failed": 0, "of": 3})
        ]
    );
    let removal = world.remove(4);
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(
        receipts,
        [
            json!({"type": "receipt", "messageId": one_lost, "state": "failed",
            "reason": "removed", "delivered": 2, "failed": 1, "of": 3})
        ]
    );
    world.frame(
        owner,
        json!({"type": "outcomes", "messageIds": [all_well, one_lost]}),
    );
    let outcomes = world.last(owner)["outcomes"].clone();
    assert_eq!(outcomes[0]["state"], "delivered");
    assert_eq!(
        (&outcomes[1]["state"], &outcomes[1]["reason"]),
        (&json!("failed"), &json!("removed"))
    );
    // The other way round: one fails first, the last one settles.
    chan.keyed(&mut world, 1);
    let mut short = chan.message("c");
    short["expires_at"] = (world.now.wall + 5_000).into();
    world.close(three);
    world.got(two);
    world.say_frame(owner, short);
    world.got(owner);
    settle(&mut world, two);
    assert!(world.got_of(owner, "receipt").is_empty());
    world.pass(10_000);
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        (&receipts[0]["reason"], &receipts[0]["delivered"]),
        (&json!("expired"), &json!(1))
    );
}

#[test]
fn a_topic_of_one_takes_a_post() {
    let mut world = World::of(2);
    let chan = Chan::of(&mut world, "#t", &[2]);
    let two = world.connect(2);
    world.got(two);
    let ack = chan.post(&mut world, two, "a");
    assert_eq!(
        (&ack["queued"], &ack["recipients"]),
        (&json!(true), &json!(0))
    );
    let frames = world.got(two);
    assert_eq!(frames[0]["type"], "ack");
    assert_eq!(
        frames[1],
        json!({"type": "receipt", "messageId": ack["messageId"], "client_message_id": "a",
            "state": "delivered", "delivered": 0, "failed": 0, "of": 0})
    );
    world.frame(
        two,
        json!({"type": "outcomes", "messageIds": [ack["messageId"]]}),
    );
    assert_eq!(world.last(two)["outcomes"][0]["state"], "delivered");
}
