//! Real peers and a real broker over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use broker_min::{Broker, BrokerHandle};
use claudemesh_core::{BrokerUrl, Config, InviteOptions, Peer, Received, SendState};

const SOON: Duration = Duration::from_secs(5);

async fn broker(dir: &std::path::Path) -> BrokerHandle {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    Broker::builder()
        .data_dir(dir)
        .silent(Duration::ZERO)
        .serve(listener)
        .await
        .unwrap()
}

async fn next(incoming: &mut claudemesh_core::Incoming) -> Received {
    tokio::time::timeout(SOON, incoming.next())
        .await
        .expect("a message in time")
        .unwrap()
}

struct Mesh {
    dir: tempfile::TempDir,
    owner: Peer,
    url: BrokerUrl,
}

impl Mesh {
    async fn new(broker: &BrokerHandle, dir: tempfile::TempDir) -> Self {
        let mut config = Config::load(dir.path().join("ana")).unwrap();
        let created = config.create("team", &broker.url(), "ana").await.unwrap();
        let owner = Peer::connect(&created.mesh).await.unwrap();
        Self {
            dir,
            owner,
            url: broker.url(),
        }
    }

    async fn join(&self, name: &str) -> Peer {
        let invite = self.owner.invite(InviteOptions::default()).await.unwrap();
        let mut config = Config::load(self.dir.path().join(name)).unwrap();
        let mesh = config.join(&invite.issued.link(), name).await.unwrap();
        Peer::connect(&mesh).await.unwrap()
    }
}

#[tokio::test]
async fn first_contact_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(&dir.path().join("broker")).await;
    let mesh = Mesh::new(&broker, dir).await;
    let bob = mesh.join("bob").await;
    let mut at_bob = bob.incoming().await.unwrap();
    let mut at_ana = mesh.owner.incoming().await.unwrap();
    let receipt = mesh.owner.send("bob", "hello bob").await.unwrap();
    let message = next(&mut at_bob).await;
    assert_eq!(message.text(), "hello bob");
    assert!(message.from.verified);
    assert_eq!(message.from.name.as_ref().unwrap().as_str(), "ana");
    assert_eq!(message.id, *receipt.id());
    tokio::time::timeout(SOON, receipt.delivered())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(receipt.state(), SendState::Delivered);
    message.reply("hello ana").await.unwrap();
    let answer = next(&mut at_ana).await;
    assert_eq!(answer.text(), "hello ana");
    assert_eq!(answer.reply_to.as_ref(), Some(receipt.id()));
    let _ = &mesh.url;
}
