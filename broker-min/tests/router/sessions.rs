//! Sessions with an address of their own: their mailboxes, and what is shown of them.

use std::sync::Arc;

use broker_min::router::Address;
use claudemesh_core::id::{SessionName, Wake};
use claudemesh_core::identity::{ADDRESS_MAX_TTL_MS, SessionAddress};
use claudemesh_core::wire::SignedBlob;
use serde_json::{Value, json};

use super::world::{World, hello, hex, key, message, pair};

/// Where session `n` of a member is reached, as both say at a time.
fn said(world: &World, member: u8, n: u8, name: &str, at: u64) -> SignedBlob {
    let address = SessionAddress {
        mesh: world.mesh(),
        member: key(member),
        session: key(n),
        name: SessionName::new(name).unwrap(),
        wake: Wake::None,
        since: 1,
        made_at: at,
        expires_at: at + ADDRESS_MAX_TTL_MS,
    };
    SignedBlob::from(&address.make(&pair(member), &pair(n)).unwrap())
}

/// A connection of session `n` of a member.
fn enter(world: &mut World, member: u8, n: u8) -> u64 {
    let nonce = world.fresh();
    let mut hello = hello(&world.mesh(), member, nonce);
    hello.session_pubkey = Some(hex(n));
    let shown = said(world, member, n, "api", world.now.wall);
    let address = Address::open(&shown, &world.mesh(), world.now.wall).unwrap();
    world.enter(hello, |verified| {
        verified.session_proven = true;
        verified.address = Some(Arc::new(address));
    })
}

/// A message in our form to session `n`.
fn to(n: u8, text: &str, address: Option<&SignedBlob>) -> Value {
    let mut frame = message(&hex(n), text, "now");
    frame["form"] = "envelope/1".into();
    if let Some(address) = address {
        frame["address"] = json!(address);
    }
    frame
}

#[test]
fn a_session_that_is_away_is_written_to_by_its_address() {
    let mut world = World::of(3);
    let ana = world.connect(2);
    let shown = said(&world, 3, 50, "api", world.now.wall);
    let ack = world.say_frame(ana, to(50, "a", None));
    assert_eq!(ack["code"], "not_found");
    let ack = world.say_frame(ana, to(50, "b", Some(&shown)));
    assert_eq!(ack["queued"], true, "{ack}");
    // It is known from now on, until the broker is another process.
    let ack = world.say_frame(ana, to(50, "c", None));
    assert_eq!(ack["queued"], true, "{ack}");
    let mut world = world.restart();
    let ana = world.connect(2);
    let ack = world.say_frame(ana, to(50, "d", None));
    assert_eq!(ack["code"], "not_found");
    let ack = world.say_frame(ana, to(50, "e", Some(&shown)));
    assert_eq!(ack["queued"], true, "{ack}");
    // Its member gets none of it, it gets all.
    let bob = world.connect(3);
    assert!(world.texts(bob).is_empty());
    let api = enter(&mut world, 3, 50);
    assert_eq!(world.texts(api), ["b", "c", "e"]);
}

#[test]
fn an_address_that_does_not_hold_makes_no_mailbox() {
    let mut world = World::of(4);
    let ana = world.connect(2);
    let now = world.now.wall;
    let good = said(&world, 3, 50, "api", now);
    let mut altered = good.clone();
    altered.cosig = Some(altered.sig.clone());
    let removed = world.remove(4);
    let owner = world.connect(1);
    world.append(owner, &removed, None);
    for (n, (address, code)) in [
        (altered, "invalid"),
        (said(&world, 3, 51, "api", now), "invalid"),
        (said(&world, 3, 50, "api", now + 600_001), "invalid"),
        (
            said(&world, 3, 50, "api", now - ADDRESS_MAX_TTL_MS),
            "session_gone",
        ),
        (said(&world, 9, 50, "api", now), "not_found"),
        (said(&world, 4, 50, "api", now), "removed"),
    ]
    .into_iter()
    .enumerate()
    {
        let ack = world.say_frame(ana, to(50, &format!("m{n}"), Some(&address)));
        assert_eq!(ack["code"], code, "{n}: {ack}");
        assert_eq!(ack["queued"], false);
    }
    // One that is known and whose time is over is gone, until it shows itself again.
    let ack = world.say_frame(ana, to(50, "first", Some(&good)));
    assert_eq!(ack["queued"], true);
    world.now.wall += ADDRESS_MAX_TTL_MS;
    let ack = world.say_frame(ana, to(50, "late", None));
    assert_eq!(ack["code"], "session_gone", "{ack}");
    let newer = said(&world, 3, 50, "api", world.now.wall);
    let ack = world.say_frame(ana, to(50, "newer", Some(&newer)));
    assert_eq!(ack["queued"], true, "{ack}");
}

#[test]
fn nobody_makes_mailboxes_without_end_by_making_keys() {
    use claudemesh_core::crypto::KeyPair;
    let mut world = World::of(4);
    let ana = world.connect(2);
    let known = |world: &mut World, member: u8, n: u16| {
        let mut seed = [200; 32];
        seed[..2].copy_from_slice(&n.to_be_bytes());
        let session = KeyPair::from_seed(&seed);
        let address = SessionAddress {
            mesh: world.mesh(),
            member: key(member),
            session: session.public(),
            name: SessionName::new("x").unwrap(),
            wake: Wake::None,
            since: 1,
            made_at: world.now.wall,
            expires_at: world.now.wall + 1_000_000,
        };
        let address = address.make(&pair(member), &session).unwrap();
        let mut frame = to(
            0,
            &format!("{member}-{n}"),
            Some(&SignedBlob::from(&address)),
        );
        frame["targetSpec"] = json!(session.public());
        world.pass(1_000);
        world.say_frame(ana, frame)["code"].clone()
    };
    for n in 0..256 {
        assert_eq!(known(&mut world, 3, n), Value::Null, "{n}");
    }
    assert_eq!(known(&mut world, 3, 256), "queue_full");
    assert_eq!(known(&mut world, 4, 257), Value::Null);
}

#[test]
fn what_a_session_says_is_shown_with_its_address() {
    let mut world = World::of(3);
    let (ana, api) = (world.connect(2), enter(&mut world, 3, 50));
    let joined = world.got_of(ana, "push");
    let joined = joined.iter().find(|push| push["event"] == "peer_joined");
    let first = json!(said(&world, 3, 50, "api", world.now.wall));
    assert_eq!(joined.unwrap()["eventData"]["address"], first);
    world.say_frame(api, to(50, "to itself", None));
    world.say(api, &hex(2), "hello", "now");
    let pushes = world.got_of(ana, "push");
    // What is in it opens by the member key.
    assert_eq!(pushes[0]["senderPubkey"], hex(3));
    assert_eq!(pushes[0]["address"], first);
    let listed = |world: &mut World| {
        world.frame(ana, json!({ "type": "list_peers" }));
        let list = world.got_of(ana, "peers_list").pop().unwrap();
        let peers = list["peers"].as_array().unwrap();
        let record = peers.iter().find(|record| record["pubkey"] == hex(50));
        (
            record.map(|record| record["address"].clone()),
            list["away"].clone(),
        )
    };
    assert_eq!(listed(&mut world), (Some(first), Value::Null));
    // It says another name; not another session's.
    world.pass(1_000);
    let second = said(&world, 3, 50, "web", world.now.wall);
    let status = json!({ "type": "set_status", "status": "idle", "address": second });
    world.got(api);
    world.frame(api, status);
    assert!(world.got_of(api, "error").is_empty());
    for (member, n) in [(3, 51), (2, 50)] {
        let other = said(&world, member, n, "x", world.now.wall + 1);
        let status = json!({ "type": "set_status", "status": "dnd", "address": other });
        world.frame(api, status);
        assert_eq!(world.last(api)["code"], "invalid_argument");
    }
    let second = json!(second);
    assert_eq!(listed(&mut world), (Some(second.clone()), Value::Null));
    // When it is gone for good its address is shown still, and it is written to.
    world.close(api);
    world.pass(91_000);
    assert_eq!(listed(&mut world), (None, json!([second])));
    let ack = world.say_frame(ana, to(50, "while away", None));
    assert_eq!(ack["queued"], true, "{ack}");
}

#[test]
fn what_is_sealed_for_a_session_waits_for_who_proved_the_key() {
    let mut world = World::of(4);
    let ana = world.connect(2);
    // A client that only names the key gets what was not sealed in our form.
    let nonce = world.fresh();
    let mut named = hello(&world.mesh(), 4, nonce);
    named.session_pubkey = Some(hex(50));
    let named = world.enter(named, |verified| verified.proven = false);
    world.got(named);
    world.say_frame(ana, to(50, "sealed", None));
    world.say(ana, &hex(50), "bare", "now");
    assert_eq!(world.texts(named), ["bare"]);
    let api = enter(&mut world, 3, 50);
    assert_eq!(world.closed[&named].1, "session_key_taken");
    assert!(world.texts(api).contains(&"sealed".to_owned()));
}
