//! Lies about the keys of channels: for whom they are, who made them, which one is current.

use claudemesh_core::channel::{KeyStatement, StatementError, audience_hash};
use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{ChannelName, Hash};
use claudemesh_core::membership::Head;
use claudemesh_core::wire::LogHead;

use super::channels::*;
use super::*;
use support::key;

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
