//! Messages to many.

use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::peer::{Events, Peer};
use claudemesh_core::session::SessionError;
use claudemesh_core::store::Kind;
use claudemesh_core::{Event, PeerError, SendError, Trust};

use super::existing::{Existing, Way};
use super::{next, peer, peer_with, read, soon, stated};

const TOPIC: &str = "T0pic00000000000000000000000Abc1";

/// Peers named so, connected, who know of each other that they take envelopes.
async fn people<const N: usize>(broker: &Existing, names: [&str; N]) -> [Peer; N] {
    let mut all = Vec::new();
    for (seed, name) in (1..).zip(names) {
        all.push(peer(&broker.member(name, seed)).await);
    }
    stated(broker, &all.iter().collect::<Vec<_>>()).await;
    all.try_into().unwrap()
}

/// Everybody in the first list trusts everybody in the second.
async fn trust(those: &[&Peer], others: &[&Peer]) {
    for one in those {
        for other in others {
            if one.key() != other.key() {
                one.trust(other.key()).await.unwrap();
            }
        }
    }
}

async fn locked(events: &mut Events) -> String {
    soon(async {
        loop {
            if let Some(Event::Locked { reason, .. }) = events.next().await {
                return reason;
            }
        }
    })
    .await
}

/// The direct messages that brought keys, by what is not the channel's own sends.
fn keys_to(broker: &Existing, from: &Peer, to: PublicKey) -> usize {
    let sends = broker.sent(from.key(), "send");
    sends
        .iter()
        .filter(|send| send["targetSpec"] == to.to_hex())
        .count()
}

#[tokio::test]
async fn a_channel_is_sealed_for_who_is_trusted_and_for_nobody_else() {
    let broker = Existing::start().await;
    let [ana, ben, cem, eve] = people(&broker, ["ana", "ben", "cem", "eve"]).await;
    let everyone = ChannelName::everyone();
    // Nobody is trusted: nothing goes out.
    let refused = ana.send(everyone.clone(), "canary-nobody").await;
    let Err(SendError::Peer(PeerError::Session(error))) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error, SessionError::NobodyTrusted(everyone.clone()));
    trust(&[&ana, &ben, &cem], &[&ana, &ben, &cem]).await;
    let mut lost = eve.events();
    let sent = ana.send(everyone.clone(), "canary-first").await.unwrap();
    assert!(sent.is_protected());
    let accepted = soon(sent.accepted()).await.unwrap();
    assert_eq!(accepted.recipients, Some(2));
    let skipped = accepted.skipped.unwrap();
    assert_eq!((skipped.untrusted, skipped.legacy), (1, 0));
    for peer in [&ben, &cem] {
        let came = read(peer).await;
        assert_eq!(
            (came.text().as_str(), came.kind),
            ("canary-first", Kind::Channel)
        );
        assert_eq!(came.channel.as_ref(), Some(&everyone));
        assert!(came.protected && !came.from.verified && !came.is_plaintext());
        assert_eq!(came.from.key, ana.key());
    }
    // Who is not trusted sees that there is something, and why it stays closed.
    assert!(locked(&mut lost).await.contains("not trusted"));
    assert_eq!(keys_to(&broker, &ana, eve.key()), 0);
    // One key for each reader, not for each message.
    ana.send(everyone.clone(), "canary-second").await.unwrap();
    assert_eq!(read(&ben).await.text(), "canary-second");
    assert_eq!(keys_to(&broker, &ana, ben.key()), 1);
    assert!(!broker.shows("canary"));
}

#[tokio::test]
async fn who_is_trusted_no_more_reads_no_more_and_who_is_new_reads_from_then_on() {
    let broker = Existing::start().await;
    let [ana, ben, cem] = people(&broker, ["ana", "ben", "cem"]).await;
    trust(&[&ana, &ben, &cem], &[&ana, &ben, &cem]).await;
    let everyone = ChannelName::everyone();
    let mut events = ana.events();
    let mut at_cem = cem.events();
    ana.send(everyone.clone(), "for all").await.unwrap();
    assert_eq!(read(&ben).await.text(), "for all");
    assert_eq!(read(&cem).await.text(), "for all");
    ana.distrust(cem.key()).await.unwrap();
    ana.send(everyone.clone(), "without cem").await.unwrap();
    assert_eq!(read(&ben).await.text(), "without cem");
    let dee = peer(&broker.member("dee", 4)).await;
    stated(&broker, &[&dee]).await;
    trust(&[&dee], &[&ana]).await;
    ana.trust(dee.key()).await.unwrap();
    ana.send(everyone.clone(), "with dee").await.unwrap();
    assert_eq!(read(&dee).await.text(), "with dee");
    assert_eq!(read(&ben).await.text(), "with dee");
    assert_eq!(keys_to(&broker, &ana, cem.key()), 1);
    locked(&mut at_cem).await;
    let mut epochs = Vec::new();
    while epochs.len() < 3 {
        if let Some(Event::ChannelRekeyed { epoch, .. }) = soon(events.next()).await {
            epochs.push(epoch);
        }
    }
    assert_eq!(epochs, [1, 2, 3]);
    assert_eq!(cem.outbox(true).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_came_before_its_author_was_trusted_opens_when_it_is() {
    let broker = Existing::start().await;
    let [ana, ben] = people(&broker, ["ana", "ben"]).await;
    trust(&[&ana], &[&ben]).await;
    let mut events = ben.events();
    ana.send(ChannelName::everyone(), "early").await.unwrap();
    assert!(locked(&mut events).await.contains("not trusted"));
    ben.trust(ana.key()).await.unwrap();
    let came = read(&ben).await;
    assert_eq!((came.text().as_str(), came.kind), ("early", Kind::Channel));
}

#[tokio::test]
async fn a_message_before_its_key_waits_for_it() {
    let broker = Existing::start().await;
    let [ana, ben] = people(&broker, ["ana", "ben"]).await;
    trust(&[&ana, &ben], &[&ana, &ben]).await;
    // The key is kept back.
    let (keep, kept) = std::sync::mpsc::channel();
    broker.script(ben.key(), move |way, frame| {
        let key = way == Way::ToPeer
            && frame["type"] == "push"
            && frame["senderPubkey"] != "system"
            && frame["senderMemberPubkey"].is_null();
        if key {
            keep.send(frame).unwrap();
            return Vec::new();
        }
        vec![frame]
    });
    let mut events = ben.events();
    ana.send(ChannelName::everyone(), "first").await.unwrap();
    assert_eq!(locked(&mut events).await, "its key is not here yet");
    broker.honest(ben.key());
    broker.tell(ben.key(), &kept.recv().unwrap());
    assert_eq!(read(&ben).await.text(), "first");
}

#[tokio::test]
async fn groups_and_topics_are_for_those_whom_the_broker_lists_there() {
    let broker = Existing::start().await;
    let [ana, ben, cem] = people(&broker, ["ana", "ben", "cem"]).await;
    trust(&[&ana, &ben, &cem], &[&ana, &ben, &cem]).await;
    let ops = ChannelName::new("@ops").unwrap();
    ben.join_channel(&ops).await.unwrap();
    ben.peers().await.unwrap();
    let sent = ana.send(ops.clone(), "to the group").await.unwrap();
    assert_eq!(soon(sent.accepted()).await.unwrap().recipients, Some(1));
    let came = read(&ben).await;
    assert_eq!(
        (came.text().as_str(), came.channel),
        ("to the group", Some(ops))
    );
    assert_eq!(keys_to(&broker, &ana, cem.key()), 0);
    // A topic is pushed in the form of a direct message, to whom something else is pushed.
    let topic = broker.topic(TOPIC, &[ana.key()]);
    cem.join_channel(&topic).await.unwrap();
    cem.peers().await.unwrap();
    let sent = ana.send(topic.clone(), "to the topic").await.unwrap();
    assert_eq!(soon(sent.accepted()).await.unwrap().recipients, Some(1));
    ana.send(cem.key(), "and directly").await.unwrap();
    let mut incoming = cem.incoming().await.unwrap();
    let mut came = [next(&mut incoming).await, next(&mut incoming).await];
    came.sort_by_key(|message| message.text());
    assert_eq!(came[0].text(), "and directly");
    assert_eq!(
        (came[1].text().as_str(), came[1].channel.as_ref()),
        ("to the topic", Some(&topic))
    );
    assert!(came.iter().all(|message| message.protected));
}

#[tokio::test]
async fn who_leaves_a_group_gets_no_later_key() {
    let broker = Existing::start().await;
    let [ana, ben, cem] = people(&broker, ["ana", "ben", "cem"]).await;
    trust(&[&ana, &ben, &cem], &[&ana, &ben, &cem]).await;
    let ops = ChannelName::new("@ops").unwrap();
    for peer in [&ben, &cem] {
        peer.join_channel(&ops).await.unwrap();
        peer.peers().await.unwrap();
    }
    let mut events = ana.events();
    let sent = ana.send(ops.clone(), "for both").await.unwrap();
    assert_eq!(soon(sent.accepted()).await.unwrap().recipients, Some(2));
    assert_eq!(read(&ben).await.text(), "for both");
    assert_eq!(read(&cem).await.text(), "for both");
    ben.leave_channel(&ops).await.unwrap();
    ben.peers().await.unwrap();
    // Of groups that broker tells nothing by itself.
    ana.peers().await.unwrap();
    let sent = ana.send(ops, "for one").await.unwrap();
    assert_eq!(soon(sent.accepted()).await.unwrap().recipients, Some(1));
    assert_eq!(read(&cem).await.text(), "for one");
    let mut epochs = Vec::new();
    while epochs.len() < 2 {
        if let Some(Event::ChannelRekeyed { epoch, .. }) = soon(events.next()).await {
            epochs.push(epoch);
        }
    }
    assert_eq!(epochs, [1, 2]);
    assert_eq!(keys_to(&broker, &ana, ben.key()), 1);
    // Nor does it help that the broker hands it on to who has left.
    let mut at_ben = ben.events();
    let seen = broker.seen().into_iter().rev();
    let mut to_cem = seen.filter(|seen| {
        let many = !seen.frame["senderMemberPubkey"].is_null();
        seen.who == cem.key() && seen.way == Way::ToPeer && seen.frame["type"] == "push" && many
    });
    broker.tell(ben.key(), &to_cem.next().unwrap().frame);
    assert_eq!(locked(&mut at_ben).await, "its key is not here yet");
}

#[tokio::test]
async fn who_takes_no_envelopes_is_skipped_and_that_is_said() {
    let broker = Existing::start().await;
    let ana = broker.member("ana", 1);
    // Cem's client shows no statement.
    let cem_key = claudemesh_core::crypto::KeyPair::from_seed(&[3; 32]).public();
    broker.script(ana.pubkey(), move |way, mut frame| {
        if way == Way::ToPeer && frame["type"] == "peers_list" {
            for record in frame["peers"].as_array_mut().unwrap() {
                if record["memberPubkey"] == cem_key.to_hex() {
                    record["profile"] = serde_json::json!({});
                }
            }
        }
        vec![frame]
    });
    let ben = peer(&broker.member("ben", 2)).await;
    let cem = peer(&broker.member("cem", 3)).await;
    let ana = peer_with(&ana, Trust::OnFirstUse, None).await;
    stated(&broker, &[&ben, &cem, &ana]).await;
    let sent = ana.send(ChannelName::everyone(), "hello").await.unwrap();
    let accepted = soon(sent.accepted()).await.unwrap();
    assert_eq!(accepted.recipients, Some(1));
    let skipped = accepted.skipped.unwrap();
    assert_eq!((skipped.untrusted, skipped.legacy), (0, 1));
    assert_eq!(keys_to(&broker, &ana, cem.key()), 0);
    assert_eq!(keys_to(&broker, &ana, ben.key()), 1);
}

#[tokio::test]
async fn what_is_trusted_and_the_keys_are_kept_over_restarts() {
    let broker = Existing::start().await;
    let (ana_entry, ben_entry) = (broker.member("ana", 1), broker.member("ben", 2));
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let ana = peer_with(&ana_entry, Trust::Named, Some(dirs[0].path())).await;
    let ben = peer_with(&ben_entry, Trust::Named, Some(dirs[1].path())).await;
    stated(&broker, &[&ana, &ben]).await;
    trust(&[&ana, &ben], &[&ana, &ben]).await;
    ana.send(ChannelName::everyone(), "one").await.unwrap();
    assert_eq!(read(&ben).await.text(), "one");
    // Of the key that ben got before nothing comes again while it is away.
    ben.close(super::existing::SOON).await;
    let ben = peer_with(&ben_entry, Trust::Named, Some(dirs[1].path())).await;
    let mut events = ana.events();
    let everyone = ChannelName::everyone();
    ana.send(everyone.clone(), "two").await.unwrap();
    let mut incoming = ben.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "two");
    ana.close(super::existing::SOON).await;
    let ana = peer_with(&ana_entry, Trust::Named, Some(dirs[0].path())).await;
    let sent = ana.send(everyone, "three").await.unwrap();
    soon(sent.accepted()).await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "three");
    while let Ok(Some(event)) = tokio::time::timeout(std::time::Duration::ZERO, events.next()).await
    {
        assert!(!matches!(event, Event::ChannelRekeyed { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_broker_that_takes_few_at_once_gets_keys_and_messages_in_time() {
    let broker = Existing::start().await;
    let [ana, ben, cem] = people(&broker, ["ana", "ben", "cem"]).await;
    trust(&[&ana, &ben, &cem], &[&ana, &ben, &cem]).await;
    // One key, and no more for now.
    broker.limit(1);
    let sent = ana.send(ChannelName::everyone(), "patience").await.unwrap();
    let limited = |b: &Existing| {
        let told = |seen: &super::existing::Seen| {
            seen.frame["error"]
                .as_str()
                .is_some_and(|error| error.starts_with("rate_limit"))
        };
        b.seen().iter().filter(|seen| told(seen)).count() >= 2
    };
    broker.until("it is limited", limited).await;
    broker.limit(100);
    soon(sent.accepted()).await.unwrap();
    for peer in [&ben, &cem] {
        assert_eq!(read(peer).await.text(), "patience");
    }
}
