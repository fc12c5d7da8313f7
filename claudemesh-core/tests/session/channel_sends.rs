//! Messages to channels, by the session alone: sealed under a key that was made for those who are in,
//! and nothing else.

use claudemesh_core::id::{MessageId, Target};
use claudemesh_core::membership::{Body, ChannelBody};
use claudemesh_core::message::FORM;
use claudemesh_core::session::{Command, Event, Outgoing, Reply, SessionError};
use claudemesh_core::store::SendState;
use claudemesh_core::wire::{
    ClientFrame, Keys, KeysGet, LogAppended, NewKey, Push, Send, errors::code,
};

use super::keys::{self, Made, made};
use super::topic::*;
use crate::support::*;

fn published(rig: &mut Rig, made: &Made) {
    keys::published(rig, "#ops", made);
}

fn key_gets(rig: &mut Rig) -> Vec<KeysGet> {
    keys::gets(rig, "#ops")
}

fn show_keys(rig: &mut Rig, get: &KeysGet, member: u8, current: Option<&Made>) {
    keys::show(rig, get, member, current);
}

fn to_ops(rig: &mut Rig, text: &str) -> MessageId {
    let message = Outgoing {
        to: Target::Channel(ops()),
        ..outgoing(BEN, text)
    };
    let command = rig.command(Command::Send(Box::new(message)));
    match rig.answer(command) {
        Some(Ok(Reply::Queued(id, _))) => id.clone(),
        other => panic!("{other:?}"),
    }
}

fn out(rig: &mut Rig) -> Vec<Send> {
    let mut out = Vec::new();
    rig.sent.retain(|frame| match frame {
        ClientFrame::Send(send) => {
            out.push(send.clone());
            false
        }
        _ => true,
    });
    out
}

/// Answers the question for the log, then for the newest key.
fn show(rig: &mut Rig, topic: &Topic, member: u8, current: Option<&Made>) {
    for get in gets(rig) {
        rig.frame(topic.page(&get));
    }
    for get in key_gets(rig) {
        assert_eq!(get.key_ids, None);
        show_keys(rig, &get, member, current);
    }
}

fn failed(rig: &Rig, id: &MessageId) -> Option<String> {
    rig.events.iter().find_map(|event| match event {
        Event::Sent {
            id: of,
            state: SendState::Failed,
            reason,
            ..
        } if of == id => reason.clone(),
        _ => None,
    })
}

/// `#ops` with Ben and Cem; Ana has said something under its first key.
fn begin() -> (Rig, Topic, Made) {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, false);
    topic.add(CEM, false);
    let mut rig = online(&topic.mesh, ANA);
    let id = to_ops(&mut rig, "one");
    show(&mut rig, &topic, ANA, None);
    let key = made(&mut rig).unwrap();
    assert!(out(&mut rig).is_empty(), "not before the key is there");
    published(&mut rig, &key);
    assert_eq!(out(&mut rig).len(), 1);
    rig.frame(accepted(&id));
    rig.forget();
    (rig, topic, key)
}

#[test]
fn the_first_message_makes_a_key_for_those_who_are_in_and_goes_out_sealed_under_it() {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, false);
    let mut ana = online(&topic.mesh, ANA);
    let id = to_ops(&mut ana, "hello");
    assert!(out(&mut ana).is_empty());
    show(&mut ana, &topic, ANA, None);
    let first = made(&mut ana).unwrap();
    let mut readers = [key(ANA).0.to_vec(), key(BEN).0.to_vec()];
    readers.sort();
    assert_eq!(first.readers(), readers);
    assert_eq!(first.publish.after, None);
    assert!(out(&mut ana).is_empty());
    published(&mut ana, &first);
    let rekeyed = Event::ChannelRekeyed {
        channel: ops(),
        epoch: 1,
    };
    assert!(ana.events.contains(&rekeyed));
    let sent = out(&mut ana).pop().unwrap();
    assert_eq!(sent.client_message_id.as_deref(), Some(id.as_str()));
    assert_eq!(
        (sent.target_spec.as_str(), sent.form.as_deref()),
        ("#ops", Some(FORM))
    );
    assert!(!sent.ciphertext.contains("hello"));

    // Ben opens it, with the key that the broker shows him.
    let mut ben = online(&topic.mesh, BEN);
    ben.frame(Push {
        message_id: "broker-1".to_owned(),
        mesh_id: topic.mesh.id().as_str().to_owned(),
        sender_pubkey: key(ANA).to_hex(),
        sender_member_pubkey: Some(key(ANA).to_hex()),
        target: Some("#ops".to_owned()),
        priority: "next".into(),
        nonce: sent.nonce.clone(),
        ciphertext: sent.ciphertext.clone(),
        client_message_id: Some(id.as_str().to_owned()),
        form: Some(FORM.into()),
        ..Push::default()
    });
    for get in gets(&mut ben) {
        ben.frame(topic.page(&get));
    }
    let get = key_gets(&mut ben).pop().unwrap();
    assert_eq!(get.key_ids, Some(vec![first.key_id.clone()]));
    show_keys(&mut ben, &get, BEN, Some(&first));
    let read = ben.inbox();
    assert_eq!(read.len(), 1);
    assert_eq!(
        (read[0].message.sender, read[0].message.body.as_slice()),
        (key(ANA), &b"hello"[..])
    );
}

#[test]
fn the_next_message_asks_nothing_and_after_a_reconnect_logs_and_key_are_asked_for_again() {
    let (mut rig, topic, first) = begin();
    let two = to_ops(&mut rig, "two");
    assert!(gets(&mut rig).is_empty() && key_gets(&mut rig).is_empty());
    assert_eq!(out(&mut rig).len(), 1);
    rig.frame(accepted(&two));
    rig.broken();
    hello(&mut rig);
    to_ops(&mut rig, "three");
    // What was shown on another connection may be old by now.
    assert!(out(&mut rig).is_empty());
    let asked = gets(&mut rig);
    assert_eq!(asked.len(), 1);
    rig.frame(topic.page(&asked[0]));
    assert!(out(&mut rig).is_empty());
    let asked = key_gets(&mut rig);
    assert_eq!(asked.len(), 1);
    show_keys(&mut rig, &asked[0], ANA, Some(&first));
    assert_eq!(out(&mut rig).len(), 1);
    assert!(made(&mut rig).is_none());
}

#[test]
fn who_left_does_not_get_the_next_key_and_nothing_goes_out_before_it() {
    let (mut rig, mut topic, first) = begin();
    let gone = key(CEM);
    topic.say(CEM, ChannelBody::Left { key: gone });
    rig.frame(topic.news());
    to_ops(&mut rig, "two");
    show(&mut rig, &topic, ANA, Some(&first));
    assert!(out(&mut rig).is_empty());
    let second = made(&mut rig).unwrap();
    assert_eq!(second.publish.after.as_ref(), Some(&first.key_id));
    assert!(!second.readers().contains(&gone.0.to_vec()));
    assert_eq!(second.copies.len(), 2);
    published(&mut rig, &second);
    let sent = out(&mut rig).pop().unwrap();
    assert_eq!(sent.form.as_deref(), Some(FORM));
    assert!(key_gets(&mut rig).is_empty());
}

#[test]
fn who_removes_a_member_strikes_it_off_and_makes_the_next_key() {
    let (mut rig, mut topic, first) = begin();
    let (key, close_all) = (key(CEM), false);
    let body = Body::MemberRemoved { key, close_all };
    let invite_token = None;
    rig.command(Command::Append { body, invite_token });
    let append = added(&mut rig).pop().unwrap();
    topic.mesh.remove(ANA, CEM);
    rig.frame(LogAppended {
        head: topic.mesh.head(),
        req_id: append.req_id,
        ..LogAppended::default()
    });
    for get in gets(&mut rig) {
        rig.frame(topic.page(&get));
    }
    let strike = added(&mut rig).pop().unwrap();
    topic.say(ANA, ChannelBody::Left { key });
    let expected = topic.entries.last().unwrap();
    assert_eq!(strike.entry.e, blob(expected).e);
    rig.frame(topic.taken(&strike, 3));
    show(&mut rig, &topic, ANA, Some(&first));
    let second = made(&mut rig).unwrap();
    assert!(!second.readers().contains(&key.0.to_vec()));
    assert_eq!(second.publish.after.as_ref(), Some(&first.key_id));
    published(&mut rig, &second);
    assert!(added(&mut rig).is_empty() && made(&mut rig).is_none());
}

/// Ana wants to say something for which a key is to be made.
fn making() -> (Rig, Topic, Made, MessageId) {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, false);
    let mut rig = online(&topic.mesh, ANA);
    let id = to_ops(&mut rig, "one");
    show(&mut rig, &topic, ANA, None);
    let key = made(&mut rig).unwrap();
    (rig, topic, key, id)
}

#[test]
fn who_was_outrun_takes_the_key_of_who_was_faster() {
    let (mut ana, topic, mine, _) = making();
    let mut ben = online(&topic.mesh, BEN);
    to_ops(&mut ben, "faster");
    show(&mut ben, &topic, BEN, None);
    let theirs = made(&mut ben).unwrap();
    ana.refuse(mine.publish.req_id.as_ref(), code::KEY_CONFLICT, None);
    let get = key_gets(&mut ana).pop().unwrap();
    show_keys(&mut ana, &get, ANA, Some(&theirs));
    assert!(made(&mut ana).is_none(), "it was made for the same members");
    let sent = out(&mut ana).pop().unwrap();
    assert_eq!(sent.form.as_deref(), Some(FORM));
}

#[test]
fn after_three_conflicts_it_is_told_and_tried_less_often() {
    let (mut rig, _, mut key, id) = making();
    let contention = Event::ChannelContention { channel: ops() };
    for turn in 0..3 {
        rig.refuse(key.publish.req_id.as_ref(), code::KEY_CONFLICT, None);
        assert!(!rig.events.contains(&contention), "{turn}");
        let get = key_gets(&mut rig).pop().unwrap();
        show_keys(&mut rig, &get, ANA, None);
        key = made(&mut rig).unwrap();
    }
    for doublings in 1..=6_u32 {
        rig.refuse(key.publish.req_id.as_ref(), code::KEY_CONFLICT, None);
        assert!(key_gets(&mut rig).is_empty());
        let pause = 500 << doublings.min(5);
        rig.pass(pause - 1);
        assert!(key_gets(&mut rig).is_empty(), "{doublings}");
        rig.pass(pause / 4 + 1);
        let get = key_gets(&mut rig).pop().unwrap();
        show_keys(&mut rig, &get, ANA, None);
        key = made(&mut rig).unwrap();
    }
    let told = rig.events.iter().filter(|event| **event == contention);
    assert_eq!(told.count(), 1);
    published(&mut rig, &key);
    assert_eq!(rig.sends(), [id.as_str()]);
}

#[test]
fn a_key_that_is_refused_for_now_is_made_again_when_the_broker_says() {
    for (code, after, least) in [
        (code::BUSY, Some(20_000), 20_000),
        (code::RATE_LIMIT, Some(9_000), 9_000),
        (code::STORE_UNAVAILABLE, None, 5_000),
    ] {
        let (mut rig, _, key, id) = making();
        rig.events.clear();
        rig.refuse(key.publish.req_id.as_ref(), code, after);
        assert!(
            rig.events
                .iter()
                .any(|event| matches!(event, Event::Held { to, in_ms, .. }
                if *to == Target::Channel(ops()) && (least..=least + least / 4).contains(in_ms)))
        );
        rig.pass(least - 1);
        assert!(key_gets(&mut rig).is_empty());
        rig.pass(least / 4 + 1);
        let get = key_gets(&mut rig).pop().unwrap();
        show_keys(&mut rig, &get, ANA, None);
        let key = made(&mut rig).unwrap();
        published(&mut rig, &key);
        assert_eq!(rig.sends(), [id.as_str()]);
    }
}

#[test]
fn a_key_without_an_answer_may_be_there_and_is_looked_for() {
    let (mut rig, _, key, id) = making();
    rig.pass(10_000);
    rig.pass(6_250);
    let get = key_gets(&mut rig).pop().unwrap();
    show_keys(&mut rig, &get, ANA, Some(&key));
    assert!(made(&mut rig).is_none());
    assert_eq!(rig.sends(), [id.as_str()]);
}

#[test]
fn a_key_made_by_an_old_log_is_made_anew_by_the_newest() {
    let (mut rig, mut topic, key, id) = making();
    topic.add(CEM, false);
    rig.refuse(key.publish.req_id.as_ref(), code::STALE_EPOCH, None);
    // The mesh's log first, then the channel's.
    assert!(gets(&mut rig).is_empty());
    assert_eq!(rig.show_log(&topic.mesh), 1);
    show(&mut rig, &topic, ANA, None);
    let key = made(&mut rig).unwrap();
    assert_eq!(key.copies.len(), 3);
    published(&mut rig, &key);
    assert_eq!(rig.sends(), [id.as_str()]);
}

#[test]
fn a_message_under_a_key_that_is_old_is_sealed_anew_under_the_same_id() {
    let (mut rig, mut topic, first) = begin();
    let id = to_ops(&mut rig, "two");
    let before = out(&mut rig).pop().unwrap();
    let gone = key(CEM);
    topic.say(CEM, ChannelBody::Left { key: gone });
    rig.frame(refused(&id, code::STALE_EPOCH));
    assert!(out(&mut rig).is_empty());
    assert_eq!(rig.show_log(&topic.mesh), 1);
    show(&mut rig, &topic, ANA, Some(&first));
    let second = made(&mut rig).unwrap();
    assert!(!second.readers().contains(&gone.0.to_vec()));
    published(&mut rig, &second);
    let after = out(&mut rig).pop().unwrap();
    assert_eq!(after.client_message_id.as_deref(), Some(id.as_str()));
    assert_ne!(after.ciphertext, before.ciphertext);
    assert_eq!(failed(&rig, &id), None);
}

#[test]
fn who_is_not_in_a_channel_sends_nothing_there() {
    // By what the log says when it comes.
    let topic = Topic::new(Mesh::new(&[BEN, CEM]));
    let mut rig = online(&topic.mesh, BEN);
    let id = to_ops(&mut rig, "one");
    show(&mut rig, &topic, BEN, None);
    let why = SessionError::NotInChannel(ops()).to_string();
    assert_eq!(failed(&rig, &id), Some(why));
    assert!(made(&mut rig).is_none() && out(&mut rig).is_empty());
    // And by what is held of it.
    let message = Outgoing {
        to: Target::Channel(ops()),
        ..outgoing(ANA, "two")
    };
    let command = rig.command(Command::Send(Box::new(message)));
    let refused = Err(SessionError::NotInChannel(ops()));
    assert_eq!(rig.answer(command), Some(&refused));
    // By the broker, which does not show it.
    let mut rig = online(&topic.mesh, BEN);
    let id = to_ops(&mut rig, "one");
    let get = gets(&mut rig).pop().unwrap();
    rig.refuse(get.req_id.as_ref(), code::FORBIDDEN, None);
    assert!(failed(&rig, &id).is_some());
    assert!(made(&mut rig).is_none() && out(&mut rig).is_empty());
}

#[test]
fn a_copy_that_is_kept_back_is_told_and_does_not_stop_the_next_key() {
    let (mut rig, topic, first) = begin();
    // Ben is shown the key without his copy.
    let mut ben = online(&topic.mesh, BEN);
    to_ops(&mut ben, "mine");
    for get in gets(&mut ben) {
        ben.frame(topic.page(&get));
    }
    let get = key_gets(&mut ben).pop().unwrap();
    let mut record = first.record(BEN);
    record.copy = None;
    ben.frame(Keys {
        channel: "#ops".to_owned(),
        current: Some(first.key_id.clone()),
        keys: vec![record],
        req_id: get.req_id,
    });
    let told = ben.lies();
    assert_eq!(told.len(), 1);
    assert!(told[0].to_string().contains("#ops"), "{told:?}");
    let second = made(&mut ben).unwrap();
    published(&mut ben, &second);
    assert_eq!(out(&mut ben).len(), 1);
    // Ana takes it when she is told.
    rig.frame(NewKey {
        channel: "#ops".to_owned(),
        key: second.record(ANA),
    });
    to_ops(&mut rig, "next");
    show(&mut rig, &topic, ANA, Some(&second));
    assert_eq!(out(&mut rig).len(), 1);
    assert!(made(&mut rig).is_none());
}
