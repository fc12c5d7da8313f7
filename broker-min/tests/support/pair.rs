//! Two members of a mesh, and what they say to each other through whatever broker there is.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "several test files use it"
)]

use std::path::Path;
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::{Config, InviteOptions, MeshEntry, Peer, Received, Retry};
use tokio::time::timeout;

/// For how long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(60);

pub async fn peer(entry: &MeshEntry, dir: &Path) -> Peer {
    let builder = Peer::builder(entry).data_dir(dir).retry(Retry::Every(50));
    builder.connect().await.unwrap()
}

pub async fn two(url: &BrokerUrl, slug: &str) -> (MeshEntry, MeshEntry) {
    let mut ana = Config::in_memory();
    let ana = ana.create(slug, url, "ana").await.unwrap().mesh;
    let inviter = Peer::builder(&ana).in_memory().connect().await.unwrap();
    inviter.connected_within(SOON).await.unwrap();
    let link = inviter.invite(InviteOptions::default()).await.unwrap();
    let link = link.issued.link();
    inviter.close(SOON).await;
    let bob = Config::in_memory().join(&link, "bob").await.unwrap();
    (ana, bob)
}

pub async fn send(peer: &Peer, text: &str) {
    peer.connected_within(SOON).await.unwrap();
    let receipt = peer.send("bob", text).await.unwrap();
    timeout(SOON, receipt.accepted()).await.unwrap().unwrap();
}

pub async fn take(peer: &Peer, count: usize) -> Vec<Received> {
    let mut incoming = peer.incoming().await.unwrap();
    let mut all = Vec::new();
    while all.len() < count {
        let message = timeout(SOON, incoming.next()).await.unwrap().unwrap();
        // The last one that an earlier reader was shown and did not finish.
        if !message.again {
            all.push(message);
        }
    }
    all
}

pub fn texts(messages: &[Received]) -> Vec<String> {
    messages.iter().map(|m| m.text()).collect()
}
