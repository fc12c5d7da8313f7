//! Channels' logs at the broker.

use broker_min::limits::Limits;
use broker_min::store::StoreError;
use claudemesh_core::membership::{Body, ChannelBody};
use serde_json::{Value, json};

use crate::channel_world::{Chan, added, joined, left, without_channels};
use crate::world::{World, key, pair};

fn get(world: &mut World, conn: u64, channel: &str, from: u64) -> Value {
    world.frame(
        conn,
        json!({"type": "log_get", "channel": channel, "from": from, "_reqId": "g"}),
    );
    let answer = world.last(conn);
    assert_eq!(answer["_reqId"], "g");
    answer
}

#[test]
fn an_entry_is_told_to_all_who_may_see_it() {
    let mut world = World::of(4);
    let mut chan = Chan::make(&mut world, 2, "#deploys", true);
    let (two, other, deaf) = (
        world.connect(2),
        world.connect(4),
        without_channels(&mut world, 4),
    );
    let legacy = world.connect_legacy(3);
    let three = world.connect(3);
    for conn in [two, other, deaf, legacy, three] {
        world.got(conn);
    }
    assert_eq!(
        chan.say(&mut world, three, 3, joined(3))["type"],
        "log_appended"
    );
    for conn in [two, other] {
        let told = world.last(conn);
        assert_eq!(told["channel"], "#deploys");
        assert_eq!(told["head"]["seq"], 1);
        assert!(told["entry"]["e"].is_string());
    }
    assert!(world.got(deaf).is_empty() && world.got(legacy).is_empty());
    let page = get(&mut world, other, "#deploys", 0);
    assert_eq!(page["entries"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&page["from"], &page["head"]["seq"]),
        (&json!(1), &json!(1))
    );
    let none = get(&mut world, other, "#deploys", 2);
    assert!(none["entries"].as_array().unwrap().is_empty());
    let entry = chan.sign(&world, 3, left(3));
    world.append(three, &entry, None);
    assert_eq!(world.last(three)["head"]["seq"], 2);
    // The same again is no conflict.
    world.append(three, &entry, None);
    assert_eq!(world.last(three)["head"]["seq"], 2);
    assert_eq!(world.got_of(other, "log_appended").len(), 1);
}

#[test]
fn a_private_channel_is_seen_by_its_members_owner_and_admins() {
    let mut world = World::of(5);
    let role = claudemesh_core::membership::Role::Admin;
    let entry = world.sign(1, None, Body::RoleChanged { key: key(5), role });
    world.taken(&entry);
    let mut chan = Chan::make(&mut world, 2, "#secret", false);
    let conns: Vec<u64> = (1..=5).map(|n| world.connect(n)).collect();
    for conn in &conns {
        world.got(*conn);
    }
    let [owner, two, three, four, admin] = conns[..] else {
        panic!("five")
    };
    for (conn, seen) in [(owner, true), (two, true), (three, false), (admin, true)] {
        let answer = get(&mut world, conn, "#secret", 1);
        assert_eq!(answer["code"] != "forbidden", seen, "{answer}");
    }
    chan.say(&mut world, two, 2, added(3));
    assert_eq!(world.got_of(three, "log_appended").len(), 1);
    assert!(world.got_of(four, "log_appended").is_empty());
    assert_eq!(get(&mut world, three, "#secret", 1)["head"]["seq"], 1);
    // Who was taken out is told so, and no more.
    chan.say(&mut world, two, 2, left(3));
    assert_eq!(world.got_of(three, "log_appended").len(), 1);
    assert_eq!(get(&mut world, three, "#secret", 1)["code"], "forbidden");
    let alone = chan.sign(&world, 4, joined(4));
    world.append(four, &alone, None);
    assert_eq!(world.last(four)["code"], "forbidden");
    for (name, code) in [
        ("#none", "not_found"),
        ("*", "invalid_argument"),
        ("$state", "invalid_argument"),
        ("#X", "invalid_argument"),
    ] {
        assert_eq!(get(&mut world, four, name, 1)["code"], code, "{name}");
    }
}

#[test]
fn who_is_not_verified_sees_nothing() {
    let mut world = World::of(2);
    let (token, _) = world.invite(140, claudemesh_core::membership::Role::Member, 1);
    world.join(&token, 40, None);
    let _chan = Chan::make(&mut world, 2, "#open", true);
    let unlogged = world.connect(40);
    assert_eq!(get(&mut world, unlogged, "#open", 1)["code"], "forbidden");
}

#[test]
fn entries_are_checked() {
    let mut world = World::of(4);
    let mut chan = Chan::make(&mut world, 2, "#a", true);
    let (two, three) = (world.connect(2), world.connect(3));
    let refused = |world: &mut World, conn: u64, entry: &_, code: &str| {
        world.append(conn, entry, None);
        let answer = world.last(conn);
        assert_eq!(
            (&answer["code"], &answer["_reqId"]),
            (&json!(code), &json!("r"))
        );
    };
    // Not for somebody else, not twice, not for who is no member, not from tomorrow.
    let entry = chan.sign(&world, 3, joined(4));
    refused(&mut world, three, &entry, "forbidden");
    let entry = chan.sign(&world, 2, joined(2));
    refused(&mut world, two, &entry, "invalid");
    let entry = chan.sign(&world, 2, added(99));
    refused(&mut world, two, &entry, "invalid");
    let log = chan.log.as_ref().unwrap();
    let day = world.now.wall + 86_400_000;
    let entry = log.draft(day, &world.log, joined(3)).sign(&pair(3));
    refused(&mut world, three, &entry, "timestamp_skew");
    // Not signed by who it names, not on a place that nobody has, not elsewhere.
    let mut entry = chan.sign(&world, 3, joined(3));
    entry.signature.0[0] ^= 1;
    refused(&mut world, three, &entry, "malformed");
    let mut draft = log.draft(world.now.wall, &world.log, joined(3));
    draft.standing = 1_000;
    let entry = draft.sign(&pair(3));
    refused(&mut world, three, &entry, "log_conflict");
    let mut draft = log.draft(world.now.wall, &world.log, joined(3));
    draft.seq = 0;
    let entry = draft.sign(&pair(3));
    refused(&mut world, three, &entry, "log_conflict");
    let elsewhere = World::of(2);
    let other = claudemesh_core::id::MeshId::new("another").unwrap();
    let mut draft = log.draft(world.now.wall, &world.log, joined(3));
    draft.mesh = &other;
    let entry = draft.sign(&pair(3));
    refused(&mut world, three, &entry, "invalid");
    assert_eq!(elsewhere.mesh(), world.mesh());
    // The other entry was faster.
    let late = chan.sign(&world, 3, joined(3));
    chan.joins(&mut world, 4);
    refused(&mut world, three, &late, "log_conflict");
    // Who was removed from the mesh adds nothing, also where it stood when that counted.
    let old = chan.sign(&world, 2, added(3));
    let owner = world.connect(1);
    let removal = world.remove(2);
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    refused(&mut world, three, &old, "forbidden");
}

#[test]
fn so_many_entries_an_hour() {
    let mut limits = Limits::default();
    limits.channel_entries_per_hour = 6;
    let mut world = World::with(limits);
    world.people(3);
    let mut chan = Chan::make(&mut world, 2, "#a", true);
    let three = world.connect(3);
    for n in 0..6 {
        let body = if n % 2 == 0 { joined(3) } else { left(3) };
        let answer = chan.say(&mut world, three, 3, body);
        assert_eq!(answer["type"], "log_appended", "{answer}");
        // What is refused does not count.
        let twice = chan.say(&mut world, three, 3, body);
        assert_eq!(twice["code"], "invalid");
    }
    let answer = chan.say(&mut world, three, 3, joined(3));
    assert_eq!(answer["code"], "rate_limit");
    assert_eq!(
        (&answer["limit"], &answer["retry_after_ms"]),
        (&json!(6), &json!(600_000))
    );
    chan.joins_by_other(&mut world);
    world.pass(600_000);
    world.got(three);
    assert_eq!(
        chan.say(&mut world, three, 3, joined(3))["type"],
        "log_appended"
    );
}

impl Chan {
    fn joins_by_other(&mut self, world: &mut World) {
        let owner = world.connect(1);
        let answer = self.say(world, owner, 1, joined(1));
        assert_eq!(answer["type"], "log_appended");
    }
}

#[test]
fn entries_wait_for_each_other() {
    let mut world = World::of(4);
    let chan = Chan::make(&mut world, 2, "#a", true);
    let (three, four) = (world.connect(3), world.connect(4));
    let (a, b) = (
        chan.sign(&world, 3, joined(3)),
        chan.sign(&world, 4, joined(4)),
    );
    world.got(three);
    world.got(four);
    world.hold_commits = true;
    world.append(three, &a, None);
    world.append(four, &b, None);
    assert!(world.got(four).is_empty());
    world.release_commits();
    assert_eq!(world.last(three)["type"], "log_appended");
    let frames = world.got(four);
    assert_eq!(frames[0]["entry"]["e"], a.to_base64url());
    assert_eq!(frames[1]["code"], "log_conflict");
}

#[test]
fn an_entry_that_is_not_kept_never_was() {
    let mut world = World::of(3);
    let mut chan = Chan::make(&mut world, 2, "#a", true);
    let three = world.connect(3);
    let path = String::from("broker.db");
    let full = StoreError::Full { path: path.clone() };
    world.fail.push_back(full);
    let answer = chan.say(&mut world, three, 3, joined(3));
    assert_eq!(answer["code"], "store_unavailable");
    assert_eq!(get(&mut world, three, "#a", 1)["head"]["seq"], 0);
    assert_eq!(
        chan.say(&mut world, three, 3, joined(3))["type"],
        "log_appended"
    );
    let why = String::from("fsync");
    world.fail.push_back(StoreError::Unknown { path, why });
    let entry = chan.sign(&world, 3, left(3));
    world.append(three, &entry, None);
    assert_eq!(world.closed[&three].0, 1_013);
    let three = world.connect(3);
    assert_eq!(get(&mut world, three, "#a", 1)["head"]["seq"], 1);
    assert_eq!(
        chan.say(&mut world, three, 3, left(3))["type"],
        "log_appended"
    );
}

#[test]
fn a_restart_keeps_what_a_removed_lead_did() {
    let mut world = World::of(4);
    let mut chan = Chan::make(&mut world, 2, "#a", false);
    let two = world.connect(2);
    let body = ChannelBody::Added {
        key: key(3),
        lead: true,
    };
    chan.say(&mut world, two, 2, body);
    let owner = world.connect(1);
    let removal = world.remove(2);
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    let mut after = world.restart();
    let three = after.connect(3);
    assert_eq!(get(&mut after, three, "#a", 1)["head"]["seq"], 1);
    assert_eq!(
        chan.say(&mut after, three, 3, added(4))["type"],
        "log_appended"
    );
    assert_eq!(
        chan.say(&mut after, three, 3, left(2))["type"],
        "log_appended"
    );
    let mut again = after.restart();
    let four = again.connect(4);
    assert_eq!(get(&mut again, four, "#a", 1)["head"]["seq"], 3);
}

#[test]
fn nothing_stands_on_what_is_still_being_written() {
    let mut world = World::of(4);
    let mut chan = Chan::of(&mut world, "#a", &[2, 3]);
    let (owner, two) = (world.connect(1), world.connect(2));
    let removal = world.remove(4);
    world.got(two);
    world.hold_commits = true;
    world.append(owner, &removal, None);
    world.log.append(&removal).unwrap();
    let entry = chan.sign(&world, 2, added(1));
    world.append(two, &entry, None);
    assert_eq!(world.last(two)["code"], "busy");
    let rotation = chan.rotation(&world, 2);
    assert_eq!(chan.publish(&mut world, two, &rotation)["code"], "busy");
    world.release_commits();
    world.hold_commits = false;
    world.append(two, &entry, None);
    assert_eq!(world.last(two)["type"], "log_appended");
}
