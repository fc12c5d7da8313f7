//! What somebody who is out can read of what is sealed afterwards: nothing, though it kept its
//! socket, its keys and its whole store, and is given the broker's files and every frame that ever
//! passed it. It still opens what was sealed before, which was really its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lying;
mod support;

#[path = "removed/opener.rs"]
mod opener;

use std::path::Path;
use std::time::{Duration, SystemTime};

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::{Outgoing, Peer};
use lying::{LyingBroker, SOON};
use opener::{Pool, open};
use support::online;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

async fn knows(peer: &Peer, members: usize) {
    soon(async {
        while peer.members().len() != members {
            let _ = peer.sync().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

async fn say(peer: &Peer, to: &str, text: String) {
    let receipt = peer.send(to, text).await.unwrap();
    soon(receipt.accepted()).await.unwrap();
}

fn later(minutes: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(minutes * 60)
}

/// Says and keeps something of every kind; each text is the phase and the kind.
async fn everything(phase: &str, owner: &Peer, to: &str) {
    let text = |kind: &str| format!("{phase}-{kind}.");
    say(owner, to, text("direct")).await;
    for (channel, kind) in [("*", "all"), ("#plans", "topic"), ("@oncall", "group")] {
        say(owner, channel, text(kind)).await;
        let message = Outgoing::text(text(&format!("later-{kind}")));
        owner.schedule(channel, message, later(60)).await.unwrap();
    }
    let state = owner.set_state("key", text("state"), None);
    soon(state).await.unwrap();
    let memory = owner.remember(text("memory"), Vec::new());
    soon(memory).await.unwrap();
    owner.set_summary(text("summary")).await.unwrap();
    let message = Outgoing::text(text("later-direct"));
    owner.schedule(to, message, later(60)).await.unwrap();
    let message = Outgoing::text(text("again"));
    let again = owner.schedule_cron(to, message, "0 0 1 1 *");
    again.await.unwrap();
    // Answered after all that came before it.
    owner.sync().await.unwrap();
}

/// The kinds that more than the author and one other can read.
const SHARED: [&str; 9] = [
    "all",
    "topic",
    "group",
    "later-all",
    "later-topic",
    "later-group",
    "state",
    "memory",
    "summary",
];
/// All kinds.
const ALL: [&str; 12] = [
    "all",
    "topic",
    "group",
    "later-all",
    "later-topic",
    "later-group",
    "state",
    "memory",
    "summary",
    "direct",
    "later-direct",
    "again",
];

struct Found(Vec<Vec<u8>>);

impl Found {
    fn has(&self, text: &str) -> bool {
        let mut texts = self.0.iter();
        texts.any(|found| {
            found
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }

    fn kinds(&self, phase: &str) -> Vec<&'static str> {
        let kinds = ALL.into_iter();
        let found = kinds.filter(|kind| self.has(&format!("{phase}-{kind}.")));
        found.collect()
    }
}

fn copied(dir: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// What the broker and a member have, together.
fn pool(liar: &LyingBroker, stores: &[&Path]) -> Pool {
    let mut pool = Pool::default();
    for frame in liar.everything() {
        pool.json(&frame);
    }
    for store in stores {
        let copy = copied(store);
        for entry in std::fs::read_dir(copy.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "db") {
                pool.database(&path);
            }
        }
    }
    pool
}

fn found(liar: &LyingBroker, store: &Path, pair: &KeyPair, publics: &[PublicKey]) -> Found {
    Found(open(
        &pool(liar, &[liar.mesh.data_dir(), store]),
        pair,
        publics,
    ))
}

#[tokio::test]
async fn who_is_out_opens_nothing_that_is_sealed_afterwards() {
    let liar = LyingBroker::start().await;
    let owner = liar.peer("owner").await;
    let (ana, ben) = (liar.peer("ana").await, liar.peer("ben").await);
    for peer in [&owner, &ana, &ben] {
        knows(peer, 3).await;
    }
    for name in ["#plans", "@oncall", "#left"] {
        owner.create_channel(&channel(name), true).await.unwrap();
        for peer in [&ana, &ben] {
            peer.sync().await.unwrap();
            peer.join_channel(&channel(name)).await.unwrap();
        }
    }
    everything("before", &owner, "ana").await;
    say(&owner, "ben", "never-for-ana.".to_owned()).await;
    say(&owner, "#left", "left-before.".to_owned()).await;
    // Every member has read all, so that its store has every key that it ever gets.
    for peer in [&ana, &ben] {
        let state = soon(peer.state("key")).await.unwrap().unwrap();
        assert_eq!(state.body.as_deref(), Ok("before-state."));
        soon(async {
            while peer.unread(100).await.unwrap().len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    // A socket that says nothing and only listens.
    let mut socket = online(&liar.mesh, ana.mesh().key_pair()).await;
    // Ben leaves a topic; ana is removed.
    ben.leave_channel(&channel("#left")).await.unwrap();
    say(&owner, "#left", "left-after.".to_owned()).await;
    owner.remove(ana.key(), true).await.unwrap();
    knows(&ben, 2).await;
    let (code, _) = socket.closed().await;
    assert_eq!(code, 4002);
    everything("after", &owner, "ben").await;
    let state = soon(ben.state("key")).await.unwrap().unwrap();
    assert_eq!(state.body.as_deref(), Ok("after-state."));
    soon(async {
        while ben.unread(100).await.unwrap().len() < 9 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    let publics: Vec<PublicKey> = [&owner, &ana, &ben].map(Peer::key).to_vec();
    let stores = [&owner, &ana, &ben].map(|peer| peer.mesh().data_dir().unwrap());
    let pairs = [&owner, &ana, &ben].map(|peer| peer.mesh().key_pair().clone());
    for peer in [&owner, &ana, &ben] {
        peer.close(SOON).await;
    }
    liar.mesh.stop_broker().await.unwrap();
    let of = |who: usize| found(&liar, stores[who], &pairs[who], &publics);

    // The opener is good: who wrote all of it opens all of it, with the same means.
    let of_owner = of(0);
    assert_eq!(of_owner.kinds("before"), ALL);
    assert_eq!(of_owner.kinds("after"), ALL);
    assert!(of_owner.has("left-after.") && of_owner.has("never-for-ana."));
    // Who is out: all that was for it, and nothing since.
    let of_ana = of(1);
    assert_eq!(of_ana.kinds("after"), [""; 0]);
    assert!(!of_ana.has("never-for-ana."));
    let before = of_ana.kinds("before");
    for kind in SHARED.iter().chain(&["direct", "later-direct"]) {
        assert!(before.contains(kind), "{kind}: {before:?}");
    }
    assert!(!before.contains(&"again"), "sealed for its author alone");
    // Who left a topic: all but what was said there since.
    let of_ben = of(2);
    assert!(of_ben.has("left-before.") && !of_ben.has("left-after."));
    let after = of_ben.kinds("after");
    for kind in SHARED.iter().chain(&["direct", "later-direct"]) {
        assert!(after.contains(kind), "{kind}: {after:?}");
    }
    assert!(!after.contains(&"again"));
}
