//! Real peers on a broker of the existing system, in a mesh without a membership log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod existing;

#[path = "existing/channels.rs"]
mod channels;
#[path = "existing/direct.rs"]
mod direct;
#[path = "existing/legacy.rs"]
mod legacy;
#[path = "existing/listens.rs"]
mod listens;
#[path = "existing/refusals.rs"]
mod refusals;

use claudemesh_core::peer::{Incoming, Received};
use claudemesh_core::{MeshEntry, Peer, Retry, Trust};
use existing::SOON;

/// A connected peer, with its store in a folder of its own if there is one.
async fn peer_with(entry: &MeshEntry, trust: Trust, dir: Option<&std::path::Path>) -> Peer {
    let builder = Peer::builder(entry).retry(Retry::Every(20)).trust(trust);
    let builder = match dir {
        Some(dir) => builder.data_dir(dir),
        None => builder.in_memory(),
    };
    let peer = builder.connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

async fn peer(entry: &MeshEntry) -> Peer {
    peer_with(entry, Trust::Named, None).await
}

/// What comes next, and is taken.
async fn next(incoming: &mut Incoming) -> Received {
    let came = tokio::time::timeout(SOON, incoming.next()).await;
    let came = came.expect("nothing came").unwrap();
    came.taken().await.unwrap();
    came
}

async fn read(peer: &Peer) -> Received {
    next(&mut peer.incoming().await.unwrap()).await
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

/// Waits until these peers have shown the broker their statements, and asks each of them for them.
async fn stated(broker: &existing::Existing, peers: &[&Peer]) {
    for peer in peers {
        let key = peer.key();
        let said = |b: &existing::Existing| !b.sent(key, "set_profile").is_empty();
        broker.until("a statement", said).await;
    }
    for peer in peers {
        peer.peers().await.unwrap();
    }
}
