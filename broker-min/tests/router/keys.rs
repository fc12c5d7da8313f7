//! Channels' keys at the broker.

use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{Hash, KeyId, MeshId};
use serde_json::{Value, json};

use crate::channel_world::{Chan, bring, left, publish, without_channels};
use crate::world::{World, key};

fn get(world: &mut World, conn: u64, channel: &str, ids: Option<&[KeyId]>) -> Value {
    let mut ask = json!({"type": "channel_get", "channel": channel, "_reqId": "g"});
    if let Some(ids) = ids {
        ask["key_ids"] = ids.iter().map(KeyId::to_hex).collect::<Vec<_>>().into();
    }
    world.frame(conn, ask);
    let answer = world.last(conn);
    assert_eq!(answer["_reqId"], "g");
    answer
}

#[test]
fn a_key_is_made_told_and_handed_out() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    let (one, two, three) = (world.connect(1), world.connect(2), world.connect(3));
    let (second, deaf) = (world.connect(2), without_channels(&mut world, 3));
    let none = get(&mut world, two, "*", None);
    assert_eq!(none["type"], "channel_keys");
    assert!(none.get("current").is_none() && none["keys"] == json!([]));
    for conn in [one, two, three, second, deaf] {
        world.got(conn);
    }
    let rotation = chan.rotation(&world, 2);
    let answer = chan.publish(&mut world, two, &rotation);
    assert_eq!(
        (&answer["type"], &answer["_reqId"]),
        (&json!("channel_key_ok"), &json!("k"))
    );
    let copy_of = |n: u8| {
        let copy = rotation.copies.iter().find(|(of, _)| *of == key(n));
        Value::from(base64url(&copy.unwrap().1))
    };
    for (conn, n) in [(one, 1), (second, 2), (three, 3)] {
        let told = world.last(conn);
        assert_eq!(
            (&told["type"], &told["channel"]),
            (&json!("channel_key"), &json!("*"))
        );
        assert_eq!(told["e"], base64url(&rotation.statement.bytes));
        assert_eq!(told["copy"], copy_of(n));
    }
    assert!(world.got(deaf).is_empty() && world.got(two).is_empty());
    // The same again, after an answer that was lost.
    publish(&mut world, two, &rotation.statement, rotation.after);
    assert_eq!(world.last(two)["type"], "channel_key_ok");
    let mut after = world.restart();
    let three = after.connect(3);
    let answer = get(&mut after, three, "*", None);
    assert_eq!(answer["current"], chan.key_id().to_hex());
    assert_eq!(answer["keys"][0]["copy"], copy_of(3));
    assert_eq!(answer["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn one_of_two_wins() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    let (two, three) = (world.connect(2), world.connect(3));
    let (a, b) = (chan.rotation(&world, 2), chan.rotation(&world, 3));
    world.got(two);
    world.got(three);
    world.hold_commits = true;
    for (conn, rotation) in [(two, &a), (three, &b)] {
        bring(
            &mut world,
            conn,
            &rotation.statement.key_id(),
            &rotation.copies,
        );
        publish(&mut world, conn, &rotation.statement, rotation.after);
    }
    assert!(world.got(two).is_empty());
    world.release_commits();
    assert_eq!(world.last(two)["type"], "channel_key_ok");
    let frames = world.got(three);
    assert_eq!(frames[0]["type"], "channel_key");
    assert_eq!(
        (&frames[1]["code"], &frames[1]["_reqId"]),
        (&json!("key_conflict"), &json!("k"))
    );
    world.hold_commits = false;
    // And once it is known, at once.
    assert_eq!(chan.publish(&mut world, three, &b)["code"], "key_conflict");
}

#[test]
fn a_key_is_for_the_readers_of_now() {
    let mut world = World::of(4);
    let mut chan = Chan::of(&mut world, "#t", &[2, 3, 4]);
    let (two, three) = (world.connect(2), world.connect(3));
    let late = chan.rotation(&world, 2);
    chan.say(&mut world, three, 3, left(3));
    world.got(two);
    assert_eq!(chan.publish(&mut world, two, &late)["code"], "stale_epoch");
    let next = chan.rotation(&world, 2);
    assert_eq!(
        chan.publish(&mut world, two, &next)["type"],
        "channel_key_ok"
    );
    assert!(world.got_of(three, "channel_key").is_empty());
    // A removal from the mesh changes who reads at once.
    let late = chan.rotation(&world, 2);
    let owner = world.connect(1);
    let removal = world.remove(4);
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    assert_eq!(chan.publish(&mut world, two, &late)["code"], "stale_epoch");
    // Who left has what it had.
    let ids = [chan.taken[0].key_id(), chan.taken[1].key_id()];
    let answer = get(&mut world, three, "#t", Some(&ids));
    assert_eq!(answer["keys"].as_array().unwrap().len(), 1);
    assert_eq!(answer["keys"][0]["e"], base64url(&chan.taken[0].bytes));
    assert!(answer["keys"][0]["copy"].is_string());
    assert_eq!(get(&mut world, three, "#t", None)["code"], "forbidden");
    let both = get(&mut world, two, "#t", Some(&ids));
    assert_eq!(both["keys"].as_array().unwrap().len(), 2);
    // Who comes later sees the statements of before, without copies.
    chan.joins(&mut world, 1);
    let before = get(&mut world, owner, "#t", Some(&ids));
    assert!(before["keys"][1]["e"].is_string() && before["keys"][1].get("copy").is_none());
}

#[test]
fn one_key_an_hour_for_the_same_readers() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    chan.keyed(&mut world, 2);
    chan.keyed(&mut world, 2);
    let (two, three) = (world.connect(2), world.connect(3));
    let third = chan.rotation(&world, 2);
    let answer = chan.publish(&mut world, two, &third);
    assert_eq!(answer["code"], "rate_limit");
    assert_eq!(
        (&answer["limit"], &answer["retry_after_ms"]),
        (&json!(1), &json!(3_600_000))
    );
    // Another member may, and new readers make it free.
    let other = chan.rotation(&world, 3);
    assert_eq!(
        chan.publish(&mut world, three, &other)["type"],
        "channel_key_ok"
    );
    let removal = world.remove(3);
    let owner = world.connect(1);
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    let fresh = chan.rotation(&world, 2);
    assert_eq!(
        chan.publish(&mut world, two, &fresh)["type"],
        "channel_key_ok"
    );
}

#[test]
fn copies_are_checked() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    let (two, three) = (world.connect(2), world.connect(3));
    let good = chan.rotation(&world, 2);
    let (id, statement) = (good.statement.key_id(), &good.statement);
    let try_with = |world: &mut World, copies: &[_]| {
        bring(world, two, &id, copies);
        publish(world, two, statement, None);
        world.last(two)["code"].clone()
    };
    // None, one too few, one too many, one of another.
    assert_eq!(try_with(&mut world, &[]), "invalid");
    assert_eq!(try_with(&mut world, &good.copies[1..]), "invalid");
    let mut other = good.copies.clone();
    other[0].0 = key(99);
    assert_eq!(try_with(&mut world, &other), "invalid");
    other.extend(&good.copies);
    assert_eq!(try_with(&mut world, &other), "invalid");
    // Of another key, and on another connection.
    bring(&mut world, two, &KeyId([1; 16]), &good.copies);
    publish(&mut world, two, statement, None);
    assert_eq!(world.last(two)["code"], "invalid");
    bring(&mut world, three, &id, &good.copies);
    publish(&mut world, two, statement, None);
    assert_eq!(world.last(two)["code"], "invalid");
    world.got(two);
    for (key_id, copies) in [
        ("zz".to_owned(), "AAAA".to_owned()),
        (id.to_hex(), "not base64!".to_owned()),
        (id.to_hex(), base64url(&[0; 81])),
        (id.to_hex(), String::new()),
        (id.to_hex(), base64url(&vec![0; 501 * 80])),
        (id.to_hex(), "A".repeat(65_000)),
    ] {
        let frame = json!({"type": "channel_key_copies", "key_id": key_id, "copies": copies,
            "_reqId": "c"});
        world.frame(two, frame);
        let answer = world.last(two);
        assert_eq!(answer["code"], "invalid_argument", "{answer}");
        assert_eq!(answer["_reqId"], "c");
    }
    // More than there are members is kept for nobody.
    let many: Vec<_> = (0..200).map(|n| (key(n), [0; 48])).collect();
    bring(&mut world, two, &id, &many);
    assert_eq!(world.last(two)["code"], "invalid_argument");
    assert_eq!(
        chan.publish(&mut world, two, &good)["type"],
        "channel_key_ok"
    );
}

#[test]
fn statements_are_checked() {
    let mut world = World::of(4);
    let mut chan = Chan::of(&mut world, "#t", &[2, 3]);
    let other = Chan::of(&mut world, "#u", &[2, 4]);
    let (two, three, four) = (world.connect(2), world.connect(3), world.connect(4));
    let good = chan.rotation(&world, 2);
    let after = good.after;
    let refused = |world: &mut World, conn: u64, statement: &_, code: &str| {
        publish(world, conn, statement, after);
        let answer = world.last(conn);
        assert_eq!(
            (&answer["code"], &answer["_reqId"]),
            (&json!(code), &json!("k")),
            "{answer}"
        );
    };
    // Another's, a stranger's, of another mesh, of no channel, of another's channel.
    refused(&mut world, three, &good.statement, "forbidden");
    let by_four = Chan::changed(&good, 4, |it| it.author = key(4));
    refused(&mut world, four, &by_four, "forbidden");
    let mesh = MeshId::new("another").unwrap();
    let elsewhere = Chan::changed(&good, 2, |it| it.mesh = mesh);
    refused(&mut world, two, &elsewhere, "invalid");
    let name = claudemesh_core::id::ChannelName::new("#none").unwrap();
    let nowhere = Chan::changed(&good, 2, |it| it.channel = name);
    refused(&mut world, two, &nowhere, "not_found");
    let into = Chan::changed(&good, 3, |it| {
        it.author = key(3);
        it.channel = other.name.clone();
    });
    refused(&mut world, three, &into, "forbidden");
    // Made for another channel, with the right `after` there.
    let swapped = Chan::changed(&good, 2, |it| it.channel = other.name.clone());
    publish(&mut world, two, &swapped, Some(other.key_id()));
    assert_eq!(world.last(two)["code"], "invalid");
    // Other readers than the logs name, other heads, an epoch that was.
    for change in [
        (|it| it.audience = Hash([1; 32])) as fn(&mut claudemesh_core::channel::KeyStatement),
        |it| it.epoch = 1,
        |it| it.epoch = u64::MAX,
        |it| it.log = None,
        |it| it.channel_log = None,
        |it| it.log.as_mut().unwrap().hash = Hash([1; 32]),
        |it| it.channel_log.as_mut().unwrap().hash = Hash([1; 32]),
        |it| it.channel_log.as_mut().unwrap().seq = 0,
        |it| it.link = Some([0; 72]),
    ] {
        let statement = Chan::changed(&good, 2, change);
        refused(&mut world, two, &statement, "invalid");
    }
    let ahead = Chan::changed(&good, 2, |it| it.log.as_mut().unwrap().seq = 999);
    refused(&mut world, two, &ahead, "stale_epoch");
    let mut forged = good.statement.clone();
    forged.signature.0[3] ^= 1;
    refused(&mut world, two, &forged, "bad_signature");
    let mut cut = good.statement.clone();
    cut.bytes.pop();
    refused(&mut world, two, &cut, "malformed");
    cut.bytes = vec![0; 30_000];
    refused(&mut world, two, &cut, "malformed");
    for (e, sig, after) in [("?", "00", "00"), ("AA", "zz", "00"), ("AA", "00", "zz")] {
        let frame = json!({"type": "channel_key", "e": e, "sig": sig.repeat(64), "after": after});
        world.frame(two, frame);
        assert_eq!(world.last(two)["code"], "malformed");
    }
    // An older key again.
    assert_eq!(
        chan.publish(&mut world, two, &good)["type"],
        "channel_key_ok"
    );
    let first = chan.taken[0].clone();
    publish(&mut world, two, &first, Some(chan.key_id()));
    assert_eq!(world.last(two)["code"], "invalid");
    publish(&mut world, two, &first, None);
    assert_eq!(world.last(two)["code"], "key_conflict");
}

#[test]
fn a_private_channels_keys_are_nobody_elses() {
    let mut world = World::of(4);
    let mut chan = Chan::make(&mut world, 2, "#p", false);
    chan.keyed(&mut world, 2);
    let (four, owner) = (world.connect(4), world.connect(1));
    let ids = [chan.key_id()];
    for conn in [four, owner] {
        assert_eq!(get(&mut world, conn, "#p", None)["code"], "forbidden");
        assert_eq!(get(&mut world, conn, "#p", Some(&ids))["code"], "forbidden");
    }
    assert_eq!(get(&mut world, four, "#none", None)["code"], "not_found");
    assert_eq!(
        get(&mut world, four, "nothing", None)["code"],
        "invalid_argument"
    );
    let many = [KeyId([0; 16]); 33];
    assert_eq!(
        get(&mut world, four, "*", Some(&many))["code"],
        "invalid_argument"
    );
}

#[test]
fn a_key_that_is_not_kept_never_was() {
    let mut world = World::of(3);
    let mut chan = Chan::open("*");
    let two = world.connect(2);
    let rotation = chan.rotation(&world, 2);
    let path = String::new();
    world
        .fail
        .push_back(broker_min::store::StoreError::Full { path });
    assert_eq!(
        chan.publish(&mut world, two, &rotation)["code"],
        "store_unavailable"
    );
    assert!(get(&mut world, two, "*", None).get("current").is_none());
    assert_eq!(
        chan.publish(&mut world, two, &rotation)["type"],
        "channel_key_ok"
    );
}

#[test]
fn the_key_of_state_is_a_channels_key() {
    let mut world = World::of(3);
    let mut chan = Chan::open("$state");
    chan.keyed(&mut world, 2);
    let three = world.connect(3);
    let answer = get(&mut world, three, "$state", None);
    assert_eq!(answer["current"], chan.key_id().to_hex());
}
