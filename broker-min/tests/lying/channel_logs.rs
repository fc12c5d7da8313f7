//! Lies about the logs of channels: who is in.

use std::collections::BTreeMap;

use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::{ChannelBody, ChannelLog, ChannelLogError, SignedEntry};
use claudemesh_core::wire::LogHead;

use super::channels::*;
use super::*;
use support::{blob, now};

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

/// The log of the topic, as this peer has it: what it said itself, and what it was shown, in pages
/// and entry by entry.
fn topic_log(liar: &LyingBroker, peer: &Peer, name: &ChannelName) -> ChannelLog {
    let mesh = peer.log().unwrap();
    let mut log = ChannelLog::begin(&mesh, name).unwrap();
    let signed = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap();
        SignedEntry::from_text(text("e"), text("sig"), None).unwrap()
    };
    let ours = |frame: &Value| frame["channel"] == name.as_str();
    let mut shown = BTreeMap::new();
    for own in liar.all(peer.key(), Way::ToBroker, "log_append") {
        let entry = signed(&own["entry"]);
        if let Ok(decoded) = entry.decode_channel()
            && decoded.channel == *name
        {
            shown.insert(decoded.seq, entry);
        }
    }
    for page in liar.all(peer.key(), Way::ToPeer, "log_entries") {
        if ours(&page) {
            let entries = page["entries"].as_array().unwrap().iter().map(signed);
            shown.extend((page["from"].as_u64().unwrap()..).zip(entries));
        }
    }
    for told in liar.all(peer.key(), Way::ToPeer, "log_appended") {
        if ours(&told) && !told["entry"].is_null() {
            shown.insert(
                told["head"]["seq"].as_u64().unwrap(),
                signed(&told["entry"]),
            );
        }
    }
    let entries: Vec<SignedEntry> = shown.into_values().collect();
    log.merge(1, &entries, &mesh).unwrap();
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
            Event::LiedTo(Lie::BadChannelEntry { error, .. }) => Some(error.to_string()),
            Event::ChannelEntryRefused { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
        let refusals = [
            ChannelLogError::NoLongerAllowed,
            ChannelLogError::NotAMember,
            ChannelLogError::NotAllowed,
        ];
        assert!(
            refusals.map(|error| error.to_string()).contains(&why),
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
