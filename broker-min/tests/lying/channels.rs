//! Lies about channels: who reads them, under which key, and what was said there.

use claudemesh_core::channel::{
    KeyStatement, Keyring, Root, Rotation, SignedKeyStatement, StatementError, audience_hash,
    seal_to_channel,
};
use claudemesh_core::crypto::{Drbg, KeyPair};
use claudemesh_core::encoding::{base64, base64url, unbase64url};
use claudemesh_core::id::{ChannelName, Hash, KeyId, MessageId};
use claudemesh_core::membership::{ChannelBody, ChannelLog, ChannelLogError, Head, SignedEntry};
use claudemesh_core::message::{Content, TEXT};
use claudemesh_core::wire::{LogHead, SignedBlob};

use super::*;
use support::{blob, key, now};

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// Owner, ana and ben, who know each other, all through the liar.
pub(super) async fn three(liar: &LyingBroker) -> [Peer; 3] {
    let peers = [
        liar.peer("owner").await,
        liar.peer("ana").await,
        liar.peer("ben").await,
    ];
    for peer in &peers {
        soon(async {
            while peer.members().len() != 3 {
                let _ = peer.sync().await;
            }
        })
        .await;
    }
    peers
}

/// A topic that all of them are in.
pub(super) async fn topic(name: &str, lead: &Peer, others: &[&Peer]) -> ChannelName {
    let name = channel(name);
    lead.create_channel(&name, true).await.unwrap();
    for other in others {
        other.sync().await.unwrap();
        other.join_channel(&name).await.unwrap();
    }
    name
}

pub(super) async fn say(peer: &Peer, to: &ChannelName, text: &str) {
    let receipt = peer.send(to.clone(), text).await.unwrap();
    soon(receipt.accepted()).await.unwrap();
}

/// Waits for the message with this text, and gives all that was there before.
async fn heard(incoming: &mut Incoming, text: &str) -> Vec<Received> {
    let mut before = Vec::new();
    loop {
        let message = next(incoming).await;
        if message.text() == text {
            return before;
        }
        before.push(message);
    }
}

async fn epoch(peer: &Peer, name: &ChannelName) -> u64 {
    peer.channel(name).await.unwrap().epoch
}

fn record(signed: &SignedKeyStatement, copy: Option<&[u8]>) -> Value {
    let blob = SignedBlob::new(&signed.bytes, &signed.signature, None);
    let mut record = serde_json::to_value(blob).unwrap();
    if let Some(copy) = copy {
        record["copy"] = base64url(copy).into();
    }
    record
}

/// A broker tells of a new key.
fn new_key(name: &str, signed: &SignedKeyStatement, copy: Option<&[u8]>) -> Value {
    let mut frame = record(signed, copy);
    frame["type"] = "channel_key".into();
    frame["channel"] = name.into();
    frame
}

fn statement_of(record: &Value) -> SignedKeyStatement {
    let blob: SignedBlob = serde_json::from_value(record.clone()).unwrap();
    SignedKeyStatement {
        bytes: blob.bytes().unwrap(),
        signature: blob.signature().unwrap(),
    }
}

/// The keys of a channel that a member was given, and their roots.
pub(super) fn keys_of(liar: &LyingBroker, who: &Peer, name: &str) -> Vec<(KeyId, Root)> {
    let pair = who.mesh().key_pair();
    let mut records = liar.all(who.key(), Way::ToPeer, "channel_key");
    for keys in liar.all(who.key(), Way::ToPeer, "channel_keys") {
        records.extend(keys["keys"].as_array().unwrap().iter().cloned());
    }
    let mut roots = Vec::new();
    for record in records {
        let (signed, copy) = (statement_of(&record), record["copy"].as_str());
        let Ok(statement) = signed.open() else {
            continue;
        };
        let (id, copy) = (signed.key_id(), unbase64url(copy.unwrap_or_default()));
        if statement.channel.as_str() == name
            && let Ok(root) = statement.open_copy(&id, pair, &copy.unwrap())
        {
            roots.push((id, root));
        }
    }
    roots
}

/// A key that this member makes by itself, with all copies.
fn rotation(who: &Peer, name: &ChannelName, channel_log: Option<&ChannelLog>) -> Rotation {
    let (pair, log) = (who.mesh().key_pair(), who.log().unwrap());
    let ring = Keyring::new(log.mesh().clone(), name.clone(), pair.public());
    ring.rotate(&mut Drbg::new([41; 32]), pair, &log, channel_log)
        .unwrap()
}

fn copy_for(rotation: &Rotation, key: PublicKey) -> &[u8] {
    let copy = rotation.copies.iter().find(|(member, _)| *member == key);
    &copy.unwrap().1
}

/// A message that its sender sealed under a key it has.
fn push(
    liar: &LyingBroker,
    name: &ChannelName,
    from: &KeyPair,
    (id, root): (&KeyId, &Root),
    text: &str,
) -> Value {
    let now = now(&liar.mesh);
    let content = Content {
        id: MessageId::from_parts(now, [text.len() as u8; 10]),
        sent_at: now,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: text.as_bytes().to_vec(),
    };
    let (mesh, secret) = (liar.mesh.id(), root.message_key(id));
    let sealed = seal_to_channel(&mesh, from, name, id, &secret, None, &content, [7; 24]).unwrap();
    json!({ "type": "push", "messageId": format!("made-{text}"), "meshId": mesh,
            "senderPubkey": from.public(), "senderMemberPubkey": from.public(),
            "target": name.as_str(), "form": "envelope/1", "priority": "now",
            "nonce": sealed.nonce, "ciphertext": sealed.ciphertext, "createdAt": "" })
}

async fn bad_key(events: &mut Events) -> StatementError {
    told(events, |event| match event {
        Event::LiedTo(Lie::BadChannelKey { error, .. }) => Some(error),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_key_for_other_readers_of_other_authors_or_channels_is_named_and_not_taken() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let (all, ops) = (ChannelName::everyone(), channel("@ops"));
    owner.create_channel(&ops, true).await.unwrap();
    ana.sync().await.unwrap();
    say(&owner, &all, "before").await;
    let mut incoming = ana.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "before");
    let (mut events, log) = (ana.events(), ana.log().unwrap());
    let held = epoch(&ana, &all).await;
    let (mesh, ghost) = (liar.mesh.id(), key(66));
    let mut readers = log.roster().audience_at(u64::MAX);
    let hash = |readers: &[PublicKey]| audience_hash(&mesh, &all, readers);
    let good = KeyStatement::parse(&rotation(&ben, &all, None).statement.bytes).unwrap();
    let good = |change: &dyn Fn(&mut KeyStatement)| {
        let mut other = good.clone();
        other.epoch = held + 1;
        change(&mut other);
        other
    };
    let (as_ben, as_ghost) = (ben.mesh().key_pair(), &ghost);
    let without_ana: Vec<PublicKey> = {
        let others = readers.iter().filter(|key| **key != ana.key());
        others.copied().collect()
    };
    readers.push(ghost.public());
    readers.sort_unstable();
    let cases = [
        // By somebody who is not in the audience.
        (
            good(&|s| s.author = ghost.public()).make(as_ghost),
            StatementError::NotInAudience,
        ),
        // A member that works with the broker adds a ghost, or leaves somebody out.
        (
            good(&|s| s.audience = hash(&readers)).make(as_ben),
            StatementError::OtherAudience,
        ),
        (
            good(&|s| s.audience = hash(&without_ana)).make(as_ben),
            StatementError::OtherAudience,
        ),
        // In another's name.
        (
            good(&|s| s.author = ana.key()).make(as_ben),
            StatementError::BadSignature,
        ),
        // Of another channel.
        (
            good(&|s| s.channel = ops.clone()).make(as_ben),
            StatementError::Elsewhere,
        ),
        // A number that leaves none for others.
        (
            good(&|s| s.epoch = u64::MAX).make(as_ben),
            StatementError::EpochStep,
        ),
        // From before a removal, by heads that run back.
        (
            good(&|s| {
                s.log = Some(Head {
                    seq: 1,
                    hash: log.hash_at(1).unwrap(),
                });
            })
            .make(as_ben),
            StatementError::HeadBack,
        ),
    ];
    for (signed, error) in cases {
        liar.tell(ana.key(), &new_key("*", &signed, Some(&[1; 48])));
        assert_eq!(bad_key(&mut events).await, error);
    }
    // Two logs: the author is said to hold another one.
    let (peer, seq) = (ben.key(), log.head().seq);
    let hash = Hash([6; 32]);
    let other = good(&|s| s.log = Some(Head { seq, hash })).make(as_ben);
    liar.tell(ana.key(), &new_key("*", &other, None));
    assert_eq!(lie(&mut events).await, Lie::HeadMismatch { peer, seq });
    assert_eq!(epoch(&ana, &all).await, held);
    say(&ana, &all, "still here").await;
    let mut at_owner = owner.incoming().await.unwrap();
    heard(&mut at_owner, "still here").await;
    assert!(epoch(&owner, &all).await >= held);
}

#[tokio::test]
async fn who_left_gets_nothing_though_the_old_key_is_served_as_the_current_one() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    let (mut at_ana, mut at_owner) = (
        ana.incoming().await.unwrap(),
        owner.incoming().await.unwrap(),
    );
    say(&owner, &name, "before").await;
    assert_eq!(next(&mut at_ana).await.text(), "before");
    let old = keys_of(&liar, &ana, "#plans").pop().unwrap().0;
    // Ana is shown that ben is out, and never a newer key.
    let newest = liar.all(ana.key(), Way::ToPeer, "channel_key").pop();
    let newest = newest.unwrap();
    liar.script(ana.key(), move |way, mut frame| {
        if way == Way::ToPeer && frame["type"] == "channel_key" {
            return Vec::new();
        }
        if way == Way::ToPeer && frame["type"] == "channel_keys" && frame["channel"] == "#plans" {
            frame["current"] = old.to_hex().into();
            frame["keys"] = json!([{ "e": newest["e"], "sig": newest["sig"],
                                     "copy": newest["copy"] }]);
        }
        vec![frame]
    });
    ben.leave_channel(&name).await.unwrap();
    say(&owner, &name, "without ben").await;
    let mut events = ana.events();
    let mark = liar.so_far();
    let receipt = ana.send(name.clone(), "not for ben").await.unwrap();
    let contended = Event::ChannelContention {
        channel: name.clone(),
    };
    told(&mut events, |event| (event == contended).then_some(())).await;
    // It tries to make the next key, at a bounded rate, and seals nothing under the old one.
    let made = liar.count(ana.key(), Way::ToBroker, "channel_key");
    assert!((1..=6).contains(&made), "{made}");
    let sent = liar.all(ana.key(), Way::ToBroker, "send");
    assert!(sent.is_empty(), "{sent:?}");
    assert!(liar.so_far() - mark < 200);
    liar.honest(ana.key());
    soon(receipt.accepted()).await.unwrap();
    heard(&mut at_owner, "not for ben").await;
    heard(&mut at_ana, "without ben").await;
    assert_eq!(ben.unread(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_copy_that_was_changed_is_named_and_the_next_key_is_made() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    let (mut events, mut at_ana) = (ana.events(), ana.incoming().await.unwrap());
    let mut at_owner = owner.incoming().await.unwrap();
    liar.script(ana.key(), |way, mut frame| {
        let spoilt = base64url(&[3; 48]);
        if way == Way::ToPeer && frame["type"] == "channel_key" && frame["channel"] == "#plans" {
            frame["copy"] = spoilt.clone().into();
        }
        if way == Way::ToPeer && frame["type"] == "channel_keys" && frame["channel"] == "#plans" {
            for key in frame["keys"].as_array_mut().unwrap() {
                key["copy"] = spoilt.clone().into();
            }
        }
        vec![frame]
    });
    say(&owner, &name, "first").await;
    let withheld = Event::KeyWithheld {
        channel: name.clone(),
        author: owner.key(),
    };
    told(&mut events, |event| (event == withheld).then_some(())).await;
    let before = epoch(&owner, &name).await;
    say(&ana, &name, "under mine").await;
    heard(&mut at_owner, "under mine").await;
    assert_eq!(epoch(&owner, &name).await, before + 1);
    // What was locked opens as soon as the truth is told.
    assert!(ana.unread(10).await.unwrap().is_empty());
    liar.honest(ana.key());
    liar.close(ana.key(), 1001, "");
    assert_eq!(next(&mut at_ana).await.text(), "first");
}

#[tokio::test]
async fn a_copy_that_is_kept_back_is_named_and_the_next_key_is_made() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    let (mut events, mut at_ana) = (ana.events(), ana.incoming().await.unwrap());
    let mut at_owner = owner.incoming().await.unwrap();
    liar.script(ana.key(), |way, mut frame| {
        if way == Way::ToPeer && frame["type"] == "channel_key" {
            frame.as_object_mut().unwrap().remove("copy");
        }
        if way == Way::ToPeer && frame["type"] == "channel_keys" {
            for key in frame["keys"].as_array_mut().unwrap() {
                key.as_object_mut().unwrap().remove("copy");
            }
        }
        vec![frame]
    });
    say(&owner, &name, "first").await;
    told(&mut events, |event| match event {
        Event::Locked { channel, .. } => (channel == name).then_some(()),
        _ => None,
    })
    .await;
    let receipt = ana.send(name.clone(), "under mine").await.unwrap();
    let told_so = Lie::CopyWithheld {
        channel: name.clone(),
    };
    told(&mut events, |event| {
        (event == Event::LiedTo(told_so.clone())).then_some(())
    })
    .await;
    soon(receipt.accepted()).await.unwrap();
    heard(&mut at_owner, "under mine").await;
    liar.honest(ana.key());
    liar.close(ana.key(), 1001, "");
    assert_eq!(next(&mut at_ana).await.text(), "first");
}

#[tokio::test]
async fn two_keys_of_one_number_are_named_and_each_opens_its_own() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let all = ChannelName::everyone();
    let mut incoming = ana.incoming().await.unwrap();
    say(&owner, &all, "under the first").await;
    assert_eq!(next(&mut incoming).await.text(), "under the first");
    let number = epoch(&ana, &all).await;
    assert_eq!(number, 1);
    // Ben made one of the same number, which the broker shows ana alone.
    let mut events = ana.events();
    let second = rotation(&ben, &all, None);
    let copy = copy_for(&second, ana.key());
    liar.tell(ana.key(), &new_key("*", &second.statement, Some(copy)));
    let fork = Event::ChannelFork {
        channel: all.clone(),
        epoch: number,
    };
    told(&mut events, |event| (event == fork).then_some(())).await;
    let (pair, id) = (ben.mesh().key_pair(), second.statement.key_id());
    let statement = second.statement.open().unwrap();
    let root = statement.open_copy(&id, pair, copy_for(&second, ben.key()));
    let root = root.unwrap();
    liar.tell(
        ana.key(),
        &push(&liar, &all, pair, (&id, &root), "under the second"),
    );
    let message = next(&mut incoming).await;
    assert_eq!(message.text(), "under the second");
    assert!(message.from.verified && message.from.key == ben.key());
    // What ana says goes under the one that came first, which everybody has.
    say(&ana, &all, "to all").await;
    let mut at_ben = ben.incoming().await.unwrap();
    heard(&mut at_ben, "to all").await;
}

/// Changes what a member is shown of a channel's log.
fn pages(
    liar: &LyingBroker,
    who: &Peer,
    mut change: impl FnMut(&mut Vec<Value>, &mut Value) + Send + 'static,
) {
    liar.script(who.key(), move |way, mut frame| {
        if way == Way::ToPeer && frame["type"] == "log_entries" && frame["channel"] == "#plans" {
            let mut entries = frame["entries"].as_array().unwrap().clone();
            let mut head = frame["head"].clone();
            change(&mut entries, &mut head);
            frame["entries"] = entries.into();
            frame["head"] = head;
        }
        // What is told unasked comes by the pages only.
        let told = way == Way::ToPeer && frame["type"] == "log_appended";
        let drop = told && frame["channel"] == "#plans" && frame["_reqId"].is_null();
        if drop { Vec::new() } else { vec![frame] }
    });
}

#[tokio::test]
async fn a_channels_log_that_is_cut_reordered_or_rolled_back_is_named() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    let mut events = ana.events();
    assert_eq!(ana.channel(&name).await.unwrap().members.len(), 2);
    let made = ana.log().unwrap().roster().channel(&name).unwrap().created;
    // Shorter.
    pages(&liar, &ana, move |entries, head| {
        entries.clear();
        *head = json!(LogHead::new(0, &made));
    });
    assert_eq!(ana.channel(&name).await.unwrap().members.len(), 2);
    let (channel, held, shown) = (name.clone(), 1, 0);
    let shorter = Lie::ChannelRollback {
        channel,
        held,
        shown,
    };
    assert_eq!(lie(&mut events).await, shorter);
    // The other way round.
    pages(&liar, &ana, |entries, _| entries.reverse());
    ben.sync().await.unwrap();
    ben.join_channel(&name).await.unwrap();
    ben.leave_channel(&name).await.unwrap();
    let _ = ana.channel(&name).await;
    let why = told(&mut events, |event| match event {
        Event::LiedTo(Lie::BadChannelEntry { error, .. }) => Some(error),
        Event::LiedTo(Lie::ChannelLogFork { .. }) => Some(ChannelLogError::NotNext { seq: 0 }),
        _ => None,
    })
    .await;
    assert!(matches!(why, ChannelLogError::NotNext { .. }), "{why}");
}

#[tokio::test]
async fn a_page_of_a_channels_log_that_ends_too_early_hides_nobody_for_long() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    ana.channel(&name).await.unwrap();
    // The head is told, and the entry is not shown: it is asked for once more, not for ever.
    pages(&liar, &ana, |entries, _| entries.truncate(1));
    ben.sync().await.unwrap();
    ben.join_channel(&name).await.unwrap();
    let before = liar.count(ana.key(), Way::ToBroker, "log_get");
    assert_eq!(ana.channel(&name).await.unwrap().members.len(), 2);
    let asked = liar.count(ana.key(), Way::ToBroker, "log_get") - before;
    assert!(asked <= 3, "{asked}");
    // Until it is shown ben gets nothing of ana's; the real broker refuses the old readers.
    liar.honest(ana.key());
    say(&ana, &name, "with ben").await;
    let mut at_ben = ben.incoming().await.unwrap();
    heard(&mut at_ben, "with ben").await;
}

/// The log of the topic, as its members have it.
fn topic_log(liar: &LyingBroker, peer: &Peer, name: &ChannelName) -> ChannelLog {
    let mesh = peer.log().unwrap();
    let mut log = ChannelLog::begin(&mesh, name).unwrap();
    for page in liar.all(peer.key(), Way::ToPeer, "log_entries") {
        if page["channel"] == name.as_str() {
            let entries = page["entries"].as_array().unwrap();
            let entries: Vec<SignedEntry> = entries
                .iter()
                .map(|entry| {
                    let text = |name: &str| entry[name].as_str().unwrap();
                    SignedEntry::from_text(text("e"), text("sig"), None).unwrap()
                })
                .collect();
            log.merge(page["from"].as_u64().unwrap(), &entries, &mesh)
                .unwrap();
        }
    }
    log
}

fn appended(name: &ChannelName, seq: u64, entry: &SignedEntry) -> Value {
    json!({ "type": "log_appended", "channel": name.as_str(), "entry": blob(entry),
            "head": LogHead::new(seq, &entry.hash()) })
}

#[tokio::test]
async fn another_log_of_a_channel_is_a_fork_and_nothing_is_sent_there() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    ana.channel(&name).await.unwrap();
    let mut events = ana.events();
    // The lead signed two entries for one place.
    let mesh = ana.log().unwrap();
    let start = ChannelLog::begin(&mesh, &name).unwrap();
    let (ben_key, lead) = (ben.key(), false);
    let body = ChannelBody::Added { key: ben_key, lead };
    let other = start.draft(now(&liar.mesh), &mesh, body);
    let other = other.sign(liar.mesh.owner());
    let shown = blob(&other);
    pages(&liar, &ana, move |entries, _| {
        if let Some(first) = entries.first_mut() {
            *first = shown.clone();
        }
    });
    let _ = ana.channel(&name).await;
    let fork = Lie::ChannelLogFork {
        channel: name.clone(),
        seq: 1,
    };
    assert_eq!(lie(&mut events).await, fork);
    let receipt = ana.send(name.clone(), "x").await;
    let refused = match receipt {
        Err(error) => error.to_string(),
        Ok(receipt) => soon(receipt.accepted()).await.unwrap_err().to_string(),
    };
    assert!(refused.contains("two versions"), "{refused}");
    assert!(ben.unread(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_removed_lead_adds_to_a_channel_afterwards_is_refused() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &ben, &[&ana]).await;
    owner.sync().await.unwrap();
    owner.join_channel(&name).await.unwrap();
    ana.channel(&name).await.unwrap();
    let (mut events, mesh) = (ana.events(), ana.log().unwrap());
    let log = topic_log(&liar, &ana, &name);
    // Ben, who led it, is out. With the broker's help it takes a ghost back in, in time, as it says.
    let ghost = liar.mesh.member("cem").await.unwrap();
    ana.sync().await.unwrap();
    let key = ghost.pubkey();
    let body = ChannelBody::Added { key, lead: true };
    let late = log.draft(now(&liar.mesh), &mesh, body);
    let early = late.sign(ben.mesh().key_pair());
    let mesh = ana.log().unwrap();
    let late = log.draft(now(&liar.mesh), &mesh, body);
    let late = late.sign(ben.mesh().key_pair());
    // What the honest ones say about it is kept from ana.
    pages(&liar, &ana, |entries, _| entries.truncate(1));
    owner.remove(ben.key(), true).await.unwrap();
    ana.sync().await.unwrap();
    let seq = log.head().seq + 1;
    for entry in [early, late] {
        liar.tell(ana.key(), &appended(&name, seq, &entry));
        let why = told(&mut events, |event| match event {
            Event::LiedTo(Lie::BadChannelEntry { error, .. }) => Some(error),
            _ => None,
        })
        .await;
        assert!(
            matches!(
                why,
                ChannelLogError::NoLongerAllowed
                    | ChannelLogError::NotAMember
                    | ChannelLogError::NotAllowed
            ),
            "{why}"
        );
    }
    liar.honest(ana.key());
    let view = ana.channel(&name).await.unwrap();
    assert!(view.members.iter().all(|(member, _)| *member != key));
}

#[tokio::test]
async fn an_entry_that_the_broker_said_it_took_and_did_not_is_found_out() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ben]).await;
    ana.sync().await.unwrap();
    ana.channel(&name).await.unwrap();
    let mut events = ana.events();
    liar.answer(ana.key(), "log_append", |frame| {
        let entry = &frame["entry"];
        let text = |name: &str| entry[name].as_str().unwrap();
        let entry = SignedEntry::from_text(text("e"), text("sig"), None).unwrap();
        let head = LogHead::new(2, &entry.hash());
        Some(
            json!({ "type": "log_appended", "channel": "#plans", "head": head,
                     "_reqId": frame["_reqId"] }),
        )
    });
    // The limit: it is believed at first.
    ana.join_channel(&name).await.unwrap();
    liar.honest(ana.key());
    let _ = ana.channel(&name).await;
    let (channel, held, shown) = (name.clone(), 2, 1);
    let shorter = Lie::ChannelRollback {
        channel,
        held,
        shown,
    };
    assert_eq!(lie(&mut events).await, shorter);
}

#[tokio::test]
async fn a_channel_message_is_taken_once_in_its_channel_and_as_its_senders() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    let other = topic("#other", &owner, &[&ana, &ben]).await;
    let (mut incoming, mut events) = (ana.incoming().await.unwrap(), ana.events());
    say(&owner, &name, "once").await;
    assert_eq!(next(&mut incoming).await.text(), "once");
    let real = liar.pushed(ana.key()).await;
    let with = |id: &str, changes: &[(&str, Value)]| {
        let mut push = real.clone();
        push["messageId"] = id.into();
        for (name, value) in changes {
            push[name] = value.clone();
        }
        push
    };
    // Again, and moved to another topic: it was taken already.
    liar.tell(ana.key(), &with("again", &[]));
    liar.tell(ana.key(), &with("moved", &[("target", "#other".into())]));
    // Under another id, of another mesh, without a channel, changed: named.
    for (id, field, value) in [
        ("id", "client_message_id", json!("other")),
        ("mesh", "meshId", json!("other")),
        ("direct", "target", json!(ana.key())),
        ("nonce", "nonce", json!(base64(&[1; 24]))),
        ("plain", "ciphertext", json!(base64(b"buy now"))),
    ] {
        liar.tell(ana.key(), &with(id, &[(field, value)]));
        let (_, reason) = rejected(&mut events).await;
        assert!(!reason.contains("once"), "{reason}");
    }
    // A new one: told as of another topic, and of another sender.
    let ben_key = ben.key();
    liar.change(ana.key(), "push", move |frame| {
        if frame["subtype"] != "system" {
            frame["target"] = "#other".into();
            frame["senderPubkey"] = json!(ben_key);
            frame["senderMemberPubkey"] = json!(ben_key);
            frame["senderName"] = "ben".into();
        }
    });
    say(&owner, &name, "moved").await;
    let message = next(&mut incoming).await;
    assert_eq!(
        (message.text().as_str(), message.channel.as_ref()),
        ("moved", Some(&name))
    );
    assert_eq!(message.from.key, owner.key());
    assert_eq!(message.from.name.as_ref().unwrap().as_str(), "owner");
    liar.honest(ana.key());
    // To somebody who is not in: kept locked, never opened.
    let mut at_ben = ben.events();
    liar.tell(ben.key(), &with("to-ben", &[]));
    let locked = told(&mut at_ben, |event| match event {
        Event::Locked { channel, .. } => Some(channel),
        _ => None,
    });
    assert_eq!(locked.await, name);
    say(&owner, &other, "the end").await;
    let mut at_ben = ben.incoming().await.unwrap();
    assert_eq!(next(&mut at_ben).await.text(), "the end");
    assert_eq!(next(&mut incoming).await.text(), "the end");
}

#[tokio::test]
async fn what_a_removed_member_says_under_an_old_key_is_not_delivered() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    say(&owner, &name, "before").await;
    let mut incoming = ana.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "before");
    liar.pushed(ben.key()).await;
    let (id, root) = keys_of(&liar, &ben, "#plans").pop().unwrap();
    let pair = ben.mesh().key_pair();
    // Who left the topic, and is a member still: *limit*, it can speak where it was as long as the
    // broker lets it.
    ben.leave_channel(&name).await.unwrap();
    ana.channel(&name).await.unwrap();
    liar.tell(ana.key(), &push(&liar, &name, pair, (&id, &root), "left"));
    let message = next(&mut incoming).await;
    assert!(message.from.key == ben.key() && message.from.verified);
    // Who is out of the mesh: not even under a key that it made in good time.
    let mut events = ana.events();
    owner.remove(ben.key(), true).await.unwrap();
    soon(async {
        while ana.members().len() != 2 {
            let _ = ana.sync().await;
        }
    })
    .await;
    let made = push(&liar, &name, pair, (&id, &root), "removed");
    liar.tell(ana.key(), &made);
    assert_eq!(
        rejected(&mut events).await,
        (ben.key(), "sender_removed".to_owned())
    );
    // Nor does it make keys.
    let old = SignedKeyStatement {
        signature: pair.sign(b"x"),
        bytes: b"x".to_vec(),
    };
    liar.tell(ana.key(), &new_key("#plans", &old, None));
    assert!(matches!(
        bad_key(&mut events).await,
        StatementError::Decode(_)
    ));
    let mut late = KeyStatement::parse(
        &rotation(&owner, &ChannelName::everyone(), None)
            .statement
            .bytes,
    );
    let late = late.as_mut().unwrap();
    late.author = ben.key();
    late.epoch = 9;
    liar.tell(ana.key(), &new_key("*", &late.make(pair), None));
    assert_eq!(bad_key(&mut events).await, StatementError::NotInAudience);
}

#[tokio::test]
async fn stale_epoch_for_ever_is_no_storm_and_loses_nothing() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    say(&ana, &name, "before").await;
    let mut at_owner = owner.incoming().await.unwrap();
    heard(&mut at_owner, "before").await;
    let mut events = ana.events();
    liar.answer(ana.key(), "send", |frame| {
        let id = &frame["client_message_id"];
        Some(
            json!({ "type": "ack", "id": id, "client_message_id": id, "messageId": "",
                     "queued": false, "code": "stale_epoch", "error": "stale_epoch" }),
        )
    });
    let before = liar.count(ana.key(), Way::ToBroker, "send");
    let receipt = ana.send(name.clone(), "patience").await.unwrap();
    let held = Event::ChannelContention {
        channel: name.clone(),
    };
    told(&mut events, |event| (event == held).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let sent = liar.count(ana.key(), Way::ToBroker, "send") - before;
    assert!((2..=8).contains(&sent), "{sent}");
    liar.honest(ana.key());
    soon(receipt.accepted()).await.unwrap();
    heard(&mut at_owner, "patience").await;
}

#[tokio::test]
async fn key_conflict_for_ever_is_no_storm_and_loses_nothing() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    let mut events = ana.events();
    liar.answer(ana.key(), "channel_key", |frame| {
        Some(
            json!({ "type": "error", "code": "key_conflict", "message": "key_conflict",
                     "_reqId": frame["_reqId"] }),
        )
    });
    let receipt = ana.send(name.clone(), "patience").await.unwrap();
    let held = Event::ChannelContention {
        channel: name.clone(),
    };
    told(&mut events, |event| (event == held).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let made = liar.count(ana.key(), Way::ToBroker, "channel_key");
    assert!((2..=8).contains(&made), "{made}");
    liar.honest(ana.key());
    soon(receipt.accepted()).await.unwrap();
    let mut at_owner = owner.incoming().await.unwrap();
    heard(&mut at_owner, "patience").await;
}

#[tokio::test]
async fn a_key_that_was_confirmed_and_not_kept_is_made_anew() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    let mut at_ben = ben.incoming().await.unwrap();
    let mut at_ana = ana.incoming().await.unwrap();
    // Once without any key before it, once with one.
    for text in ["first", "second"] {
        liar.answer(owner.key(), "channel_key", |frame| {
            let id = statement_of(frame).key_id();
            Some(
                json!({ "type": "channel_key_ok", "channel": "#plans", "key_id": id,
                         "_reqId": frame["_reqId"] }),
            )
        });
        let mark = liar.so_far();
        let receipt = owner.send(name.clone(), text).await.unwrap();
        liar.seen(mark, |seen| {
            seen.who == owner.key() && seen.frame["code"] == "stale_epoch"
        })
        .await;
        liar.honest(owner.key());
        soon(receipt.accepted()).await.unwrap();
        heard(&mut at_ana, text).await;
        if text == "first" {
            heard(&mut at_ben, text).await;
            ben.leave_channel(&name).await.unwrap();
            owner.channel(&name).await.unwrap();
        }
    }
    assert_eq!(epoch(&owner, &name).await, epoch(&ana, &name).await);
    let at_ben = ben.history(10).await.unwrap();
    assert!(at_ben.iter().all(|message| message.text() != "second"));
}

#[tokio::test]
async fn a_key_tells_of_an_entry_that_is_withheld() {
    let liar = LyingBroker::start().await;
    let owner = liar.peer("owner").await;
    let builder = liar.builder("ana").await;
    let ana = builder.log_patience(Duration::from_millis(200));
    let ana = ana.connect().await.unwrap();
    ana.connected_within(SOON).await.unwrap();
    ana.sync().await.unwrap();
    let mut events = ana.events();
    let head = ana.log().unwrap().head();
    // Neither the entry nor any message comes, only the key that was made for it.
    liar.script(ana.key(), move |way, mut frame| {
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        if way == Way::ToPeer && ["log_appended", "push"].contains(&kind.as_str()) {
            return Vec::new();
        }
        if way == Way::ToPeer && kind == "log_entries" && frame["channel"] == "" {
            let from = frame["from"].as_u64().unwrap();
            let entries = frame["entries"].as_array_mut().unwrap();
            entries.truncate((head.seq + 1 - from) as usize);
            frame["head"] = json!(LogHead::new(head.seq, &head.hash));
        }
        vec![frame]
    });
    liar.mesh.member("cem").await.unwrap();
    owner.sync().await.unwrap();
    say(&owner, &ChannelName::everyone(), "welcome, cem").await;
    let withheld = lie(&mut events).await;
    let named = matches!(withheld, Lie::LogWithheld { peer, .. } if peer == owner.key());
    assert!(named, "{withheld:?}");
}

#[tokio::test]
async fn a_broker_that_serves_no_sealing_gets_nothing_in_the_clear() {
    let liar = LyingBroker::start().await;
    let [owner, ana, _ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    say(&owner, &name, "sealed").await;
    let mut events = owner.events();
    liar.change(owner.key(), "hello_ack", |frame| {
        frame["capabilities"] = json!(["delivery/1", "log/1"]);
    });
    liar.close(owner.key(), 1001, "");
    back(&mut events).await;
    let mark = liar.so_far();
    let why = owner.send(name.clone(), "canary-clear").await.unwrap_err();
    assert!(why.to_string().contains("nothing was sent"), "{why}");
    let at = std::time::SystemTime::now() + Duration::from_secs(600);
    let later = claudemesh_core::Outgoing::text("canary-clear");
    let kept = [
        owner.set_state("k", "canary-clear", None).await.err(),
        owner.remember("canary-clear", Vec::new()).await.err(),
    ];
    for why in kept {
        let named = matches!(why, Some(PeerError::Session(SessionError::ValuesUnserved)));
        assert!(named, "{why:?}");
    }
    owner.schedule("ana", later, at).await.unwrap_err();
    owner.set_summary("canary-clear").await.unwrap();
    owner.sync().await.unwrap();
    let said = &liar.everything()[mark..];
    let leaked = said
        .iter()
        .find(|frame| frame.to_string().contains("canary-clear"));
    assert_eq!(leaked, None);
}
