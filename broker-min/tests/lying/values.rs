//! Lies about what a mesh keeps besides messages: state, memories, summaries, schedules.

use std::time::SystemTime;

use claudemesh_core::Outgoing;
use claudemesh_core::channel::{
    ExpectedValue, SealedValue, Value as Kept, What, open_value, seal_value,
};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::MeshId;
use claudemesh_core::session::Kept as Read;

use super::channels::{keys_of, three};
use super::*;
use support::now;

async fn read(peer: &Peer, key: &str) -> Read {
    soon(peer.state(key)).await.unwrap().unwrap()
}

/// The answer to the newest question about the state.
fn shown(liar: &LyingBroker, who: &Peer) -> Value {
    let mut all = liar.all(who.key(), Way::ToPeer, "state_result");
    all.pop().unwrap()
}

/// From now on this stands in every answer about a value.
fn serve(liar: &LyingBroker, who: &Peer, entry: Value) {
    liar.change(who.key(), "state_result", move |frame| {
        for name in ["key", "value", "updatedBy", "updatedAt", "version"] {
            frame[name] = entry[name].clone();
        }
    });
}

/// A value that somebody who holds the key of `$state` seals, as its readers would take it.
fn made(
    liar: &LyingBroker,
    who: &Peer,
    mesh: &MeshId,
    (what, name, version): (What, &str, u64),
    body: &str,
) -> SealedValue {
    let (id, root) = keys_of(liar, who, "$state").pop().unwrap();
    let (key, pair) = (root.message_key(&id), who.mesh().key_pair());
    let value = Kept {
        what,
        name: name.to_owned(),
        version,
        written_at: now(&liar.mesh),
        body: body.as_bytes().to_vec(),
    };
    let sealed = seal_value(mesh, pair, &id, &key, &value, [8; 24]).unwrap();
    let expected = ExpectedValue {
        mesh,
        what,
        name,
        key_id: &id,
        key: &key,
    };
    open_value(expected, &sealed).unwrap();
    sealed
}

fn entry(key: &str, value: &Value, version: u64) -> Value {
    json!({ "key": key, "value": value, "updatedBy": "owner", "version": version,
            "updatedAt": "2026-01-01T00:00:00.000Z" })
}

#[tokio::test]
async fn an_older_value_and_none_at_all_are_named() {
    let liar = LyingBroker::start().await;
    let [owner, ana, _ben] = three(&liar).await;
    owner.set_state("lock", "1", None).await.unwrap();
    assert_eq!(read(&ana, "lock").await.body.as_deref(), Ok("1"));
    let first = shown(&liar, &ana);
    owner.set_state("lock", "2", None).await.unwrap();
    assert_eq!(read(&ana, "lock").await.version, 2);
    let mut events = ana.events();
    let rollback = |shown| Lie::ValueRollback {
        what: "state",
        name: "lock".to_owned(),
        held: 2,
        shown,
    };
    serve(&liar, &ana, first);
    let old = read(&ana, "lock").await;
    assert_eq!((old.version, old.newest), (1, false));
    assert_eq!(lie(&mut events).await, rollback(1));
    let mut none = entry("lock", &Value::Null, 0);
    none["updatedBy"] = "".into();
    serve(&liar, &ana, none);
    assert_eq!(ana.state("lock").await.unwrap(), None);
    assert_eq!(lie(&mut events).await, rollback(0));
    liar.honest(ana.key());
    let value = read(&ana, "lock").await;
    assert!(value.newest && value.version == 2);
}

#[tokio::test]
async fn a_value_of_another_name_use_or_mesh_does_not_open() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    owner.set_state("a", "of a", None).await.unwrap();
    owner.set_state("b", "of b", None).await.unwrap();
    read(&ana, "b").await;
    let of_b = shown(&liar, &ana);
    // Under its own name, and under the one that was asked for.
    let mut renamed = of_b.clone();
    renamed["key"] = "a".into();
    for entry in [of_b, renamed] {
        serve(&liar, &ana, entry);
        let value = read(&ana, "a").await;
        assert_eq!(value.name, "a");
        let why = value.body.unwrap_err();
        assert!(why.contains("another mesh or name"), "{why}");
        assert!(!value.verified);
    }
    liar.honest(ana.key());
    // Ben, who holds the key, seals what is for elsewhere.
    read(&ben, "a").await;
    let here = liar.mesh.id();
    let other = MeshId::new("another-mesh").unwrap();
    for (mesh, what, name) in [
        (&other, What::State, "a".to_owned()),
        (&here, What::Memory, "0".repeat(32)),
        (&here, What::Summary, ben.key().to_hex()),
    ] {
        let sealed = made(&liar, &ben, mesh, (what, &name, 9), "x");
        serve(&liar, &ana, entry("a", &sealed.to_json(), 9));
        let value = read(&ana, "a").await;
        assert!(value.body.is_err() && !value.verified, "{value:?}");
    }
    liar.honest(ana.key());
    assert_eq!(read(&ana, "a").await.body.as_deref(), Ok("of a"));
}

#[tokio::test]
async fn a_value_of_a_removed_writer_is_marked_and_uses_up_no_numbers() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    owner.set_state("lock", "1", None).await.unwrap();
    read(&ana, "lock").await;
    read(&ben, "lock").await;
    // Ben is out, holds the key of then, and works with the broker.
    let late = (What::State, "lock", 1 << 50);
    let late = made(&liar, &ben, &liar.mesh.id(), late, "by ben").to_json();
    owner.remove(ben.key(), true).await.unwrap();
    soon(async {
        while ana.members().len() != 2 {
            let _ = ana.sync().await;
        }
    })
    .await;
    serve(&liar, &ana, entry("lock", &late, 1 << 50));
    let value = read(&ana, "lock").await;
    assert_eq!((value.writer, value.verified), (Some(ben.key()), false));
    liar.honest(ana.key());
    let mut events = ana.events();
    owner.set_state("lock", "2", None).await.unwrap();
    let value = read(&ana, "lock").await;
    assert_eq!(value.body.as_deref(), Ok("2"));
    assert!(value.newest && value.verified);
    // No lie was told of: the next is that of a real one.
    serve(&liar, &ana, entry("lock", &Value::Null, 0));
    ana.state("lock").await.unwrap();
    assert!(matches!(
        lie(&mut events).await,
        Lie::ValueRollback { held: 2, .. }
    ));
}

#[tokio::test]
async fn a_plain_value_in_place_of_a_sealed_one_is_marked() {
    let liar = LyingBroker::start().await;
    let [owner, ana, _ben] = three(&liar).await;
    owner.set_state("lock", "1", None).await.unwrap();
    assert!(read(&ana, "lock").await.protected);
    serve(&liar, &ana, entry("lock", &json!("mine"), 7));
    let value = read(&ana, "lock").await;
    assert_eq!(value.body.as_deref(), Ok("\"mine\""));
    assert!(!value.protected && !value.verified && value.writer.is_none());
    // What only looks like a sealed one is none.
    serve(&liar, &ana, entry("lock", &json!({ "$sealed": "zgI" }), 7));
    let value = read(&ana, "lock").await;
    assert!(value.body.is_err() && !value.verified);
    // A memory, too.
    owner.remember("sealed", Vec::new()).await.unwrap();
    liar.change(ana.key(), "memory_results", |frame| {
        frame["memories"][0]["content"] = "plain".into();
    });
    let memory = &ana.recall("").await.unwrap()[0];
    assert_eq!(memory.body.as_deref(), Ok("plain"));
    assert!(!memory.protected && !memory.verified);
}

#[tokio::test]
async fn memories_that_were_exchanged_do_not_open() {
    let liar = LyingBroker::start().await;
    let [owner, ana, _ben] = three(&liar).await;
    let one = owner.remember("one", vec!["infra".into()]).await.unwrap();
    owner.remember("two", Vec::new()).await.unwrap();
    assert_eq!(ana.recall("").await.unwrap().len(), 2);
    liar.change(ana.key(), "memory_results", |frame| {
        let content = frame["memories"][0]["content"].take();
        frame["memories"][0]["content"] = frame["memories"][1]["content"].take();
        frame["memories"][1]["content"] = content;
    });
    for memory in ana.recall("").await.unwrap() {
        let why = memory.body.unwrap_err();
        assert!(why.contains("another mesh or name"), "{why}");
    }
    // The limit: tags are in the open, and the broker's word.
    liar.change(ana.key(), "memory_results", |frame| {
        for memory in frame["memories"].as_array_mut().unwrap() {
            memory["tags"] = json!(["urgent"]);
        }
    });
    let found = ana.recall("urgent").await.unwrap();
    assert!(found.iter().any(|memory| memory.name == one));
}

#[tokio::test]
async fn a_summary_of_another_is_shown_for_nobody_and_a_plain_one_is_marked() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    ana.set_summary("reviewing").await.unwrap();
    ben.set_summary("deploying").await.unwrap();
    let of = async |peer: &Peer| {
        let peers = owner.peers().await.unwrap();
        let found = peers.into_iter().find(|shown| shown.key == peer.key());
        let found = found.unwrap();
        (found.summary, found.summary_protected)
    };
    soon(async {
        while of(&ana).await.0.as_deref() != Some("reviewing")
            || of(&ben).await.0.as_deref() != Some("deploying")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(of(&ana).await.1);
    let members = [ana.key(), ben.key()];
    liar.change(owner.key(), "peers_list", move |frame| {
        let peers = frame["peers"].as_array_mut().unwrap();
        let places: Vec<usize> = (0..peers.len())
            .filter(|n| members.iter().any(|key| peers[*n]["pubkey"] == json!(key)))
            .collect();
        let text = peers[places[0]]["summary"].take();
        peers[places[0]]["summary"] = peers[places[1]]["summary"].take();
        peers[places[1]]["summary"] = text;
    });
    for peer in [&ana, &ben] {
        assert_eq!(of(peer).await, (None, false));
    }
    liar.change(owner.key(), "peers_list", |frame| {
        for peer in frame["peers"].as_array_mut().unwrap() {
            peer["summary"] = "on holiday".into();
        }
    });
    // The limit: shown, as what the broker says.
    assert_eq!(of(&ana).await, (Some("on holiday".to_owned()), false));
}

/// What the owner's schedule with `* * * * *` comes back as, due in the last whole minute.
fn due(liar: &LyingBroker, who: PublicKey, id: &str) -> Value {
    let asked = liar.all(who, Way::ToBroker, "schedule");
    let asked = asked.iter().find(|frame| frame["id"] == id).unwrap();
    let due = now(&liar.mesh) / 60_000 * 60_000;
    json!({ "type": "schedule_due", "scheduledId": id, "to": asked["to"], "due": due,
            "sealed": asked["sealed"] })
}

async fn refused_due(events: &mut Events) -> String {
    rejected(events).await.1
}

#[tokio::test]
async fn a_schedule_goes_out_once_at_its_times_to_its_target_and_as_its_authors() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let (mut incoming, mut events) = (ana.incoming().await.unwrap(), owner.events());
    let every = Outgoing::text("stand-up");
    let every = owner
        .schedule_cron("ana", every, "* * * * *")
        .await
        .unwrap();
    let rare = Outgoing::text("yearly");
    let rare = owner.schedule_cron("ana", rare, "0 0 1 1 *").await.unwrap();
    // To another target than the author's, and twice.
    let mut first = due(&liar, owner.key(), &every.id);
    first["to"] = json!(ben.key());
    liar.tell(owner.key(), &first);
    assert_eq!(next(&mut incoming).await.text(), "stand-up");
    liar.tell(owner.key(), &first);
    // For a time that was before it.
    let mut earlier = first.clone();
    earlier["due"] = (first["due"].as_u64().unwrap() - 60_000).into();
    liar.tell(owner.key(), &earlier);
    // At times that are not its own, in the future, or as another schedule.
    let mut odd = first.clone();
    odd["due"] = (first["due"].as_u64().unwrap() + 1).into();
    let mut future = first.clone();
    future["due"] = (first["due"].as_u64().unwrap() + 3_600_000).into();
    let mut other = first.clone();
    other["scheduledId"] = rare.id.clone().into();
    let wrong_time = due(&liar, owner.key(), &rare.id);
    for frame in [odd, future, other, wrong_time] {
        liar.tell(owner.key(), &frame);
        let why = refused_due(&mut events).await;
        assert!(why.contains("not its own"), "{why}");
    }
    // Another author's, and rubbish.
    let theirs = Outgoing::text("ben's");
    let theirs = ben.schedule_cron("ana", theirs, "* * * * *").await.unwrap();
    liar.tell(owner.key(), &due(&liar, ben.key(), &theirs.id));
    refused_due(&mut events).await;
    for sealed in ["", "AAAA", "no base64"] {
        let mut frame = first.clone();
        frame["sealed"] = sealed.into();
        liar.tell(owner.key(), &frame);
        refused_due(&mut events).await;
    }
    // One that was given up, and comes back all the same.
    let gone = Outgoing::text("given up");
    let gone = owner.schedule_cron("ana", gone, "* * * * *").await.unwrap();
    assert!(owner.cancel_schedule(&gone.id).await.unwrap());
    liar.tell(owner.key(), &due(&liar, owner.key(), &gone.id));
    let taken = |seen: &lying::Seen| {
        seen.frame["type"] == "schedule_taken" && seen.frame["scheduledId"] == gone.id.as_str()
    };
    liar.seen(0, taken).await;
    only(&mut incoming, &owner, &ana).await;
    assert!(ben.unread(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_for_later_is_not_taken_before_its_time_nor_by_another() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let (mut incoming, mut events) = (ana.incoming().await.unwrap(), ana.events());
    let in_an_hour = SystemTime::now() + Duration::from_secs(3_600);
    let later = owner.schedule("ana", Outgoing::text("later"), in_an_hour);
    later.await.unwrap();
    let asked = liar.first(owner.key(), Way::ToBroker, "schedule").await;
    let send = &asked.frame["send"];
    let push = |id: &str| {
        json!({ "type": "push", "messageId": id, "meshId": liar.mesh.id(),
                "senderPubkey": owner.key(), "senderMemberPubkey": owner.key(),
                "client_message_id": send["client_message_id"], "form": "envelope/1",
                "priority": "now", "nonce": send["nonce"], "ciphertext": send["ciphertext"],
                "createdAt": "" })
    };
    liar.tell(ana.key(), &push("early"));
    let (_, why) = rejected(&mut events).await;
    assert!(!why.contains("later"), "{why}");
    let mut at_ben = ben.events();
    liar.tell(ben.key(), &push("astray"));
    rejected(&mut at_ben).await;
    only(&mut incoming, &owner, &ana).await;
}

/// The operator writes what it has as one who is not in the mesh.
#[tokio::test]
async fn who_is_not_in_the_mesh_writes_nothing_that_is_verified() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    owner.set_state("lock", "1", None).await.unwrap();
    read(&ben, "lock").await;
    let (id, root) = keys_of(&liar, &ben, "$state").pop().unwrap();
    // Ben has given it the key.
    let (key, stranger) = (root.message_key(&id), KeyPair::from_seed(&[66; 32]));
    let value = Kept {
        what: What::State,
        name: "lock".to_owned(),
        version: 5,
        written_at: now(&liar.mesh),
        body: b"by nobody".to_vec(),
    };
    let sealed = seal_value(&liar.mesh.id(), &stranger, &id, &key, &value, [8; 24]);
    serve(&liar, &ana, entry("lock", &sealed.unwrap().to_json(), 5));
    let value = read(&ana, "lock").await;
    assert_eq!(
        (value.writer, value.verified),
        (Some(stranger.public()), false)
    );
    liar.honest(ana.key());
    let value = read(&ana, "lock").await;
    assert!(value.verified && value.newest);
}
