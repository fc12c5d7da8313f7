//! TLS in the broker's process, with a private certificate authority made here; who may make
//! meshes; who is counted behind a proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod tls;

use std::path::Path;
use std::time::Duration;

use broker_min::{Broker, BrokerError, BrokerHandle, CreatePolicy, TlsFiles, Tokens};
use claudemesh_core::{Config, InviteOptions, JoinError, Network, Peer, TransportError};
use tempfile::TempDir;
use tls::Authority;
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(10);

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    }
}

struct World {
    dir: TempDir,
    broker: BrokerHandle,
    url: claudemesh_core::BrokerUrl,
}

async fn world(authority: &Authority) -> World {
    let dir = tempfile::tempdir().unwrap();
    authority.issue(&files(dir.path()), &["localhost", "127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url: claudemesh_core::BrokerUrl = format!("wss://localhost:{port}/ws").parse().unwrap();
    let broker = Broker::builder()
        .data_dir(dir.path().join("data"))
        .public_url(url.clone())
        .tls(files(dir.path()))
        .serve(listener)
        .await
        .unwrap();
    World { dir, broker, url }
}

fn config(ca: Option<&Path>) -> Config {
    let mut config = Config::in_memory();
    let network = Network::new().direct();
    config.set_network(match ca {
        Some(ca) => network.ca(ca),
        None => network,
    });
    config
}

async fn refusal(world: &World, ca: Option<&Path>) -> String {
    match config(ca).create("team", &world.url, "ana").await {
        Err(JoinError::Transport(error @ TransportError::Tls { .. })) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was believed"),
    }
}

#[tokio::test]
async fn peers_with_the_private_authority_talk_and_others_are_told_what_to_do() {
    let authority = Authority::new("ours");
    let world = world(&authority).await;
    let ca = authority.file(world.dir.path(), "ca.pem");

    let mut ana = config(Some(&ca));
    let mesh = ana.create("team", &world.url, "ana").await.unwrap().mesh;
    // The entry remembers the authority: nothing else is said from here on.
    assert_eq!(mesh.ca_file().unwrap(), ca);
    let ana = Peer::builder(&mesh).in_memory().connect().await.unwrap();
    ana.connected_within(SOON).await.unwrap();
    let link = ana
        .invite(InviteOptions::default())
        .await
        .unwrap()
        .issued
        .link();
    assert!(link.starts_with("https://localhost:"), "{link}");
    let bob = config(Some(&ca)).join(&link, "bob").await.unwrap();
    let bob = Peer::builder(&bob).in_memory().connect().await.unwrap();
    bob.connected_within(SOON).await.unwrap();
    let receipt = ana.send("bob", "over TLS").await.unwrap();
    receipt.accepted().await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(incoming.next().await.unwrap().text(), "over TLS");

    let other = Authority::new("another").file(world.dir.path(), "other.pem");
    let why = refusal(&world, Some(&other)).await;
    assert!(
        why.contains("not issued by any authority in") && why.contains("other.pem"),
        "{why}"
    );
    let why = refusal(&world, None).await;
    assert!(
        why.contains("--ca FILE") && why.contains("SSL_CERT_FILE"),
        "{why}"
    );
    let missing = world.dir.path().join("missing.pem");
    let why = refusal(&world, Some(&missing)).await;
    assert!(why.contains("missing.pem"), "{why}");

    // A name that the certificate is not for.
    let mut wrong = World {
        url: format!("wss://127.0.0.2:{}/ws", world.broker.local_addr().port())
            .parse()
            .unwrap(),
        ..world
    };
    authority.issue(&files(wrong.dir.path()), &["elsewhere.example"]);
    wrong.broker.reload();
    wrong.url = format!("wss://localhost:{}/ws", wrong.broker.local_addr().port())
        .parse()
        .unwrap();
    let why = refusal(&wrong, Some(&ca)).await;
    assert!(why.contains("another name"), "{why}");
}

#[tokio::test]
async fn a_changed_pair_is_taken_and_a_bad_one_keeps_the_old() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let world = world(&old).await;
    let dir = world.dir.path();
    let (old_ca, new_ca) = (old.file(dir, "old.pem"), new.file(dir, "new.pem"));
    let works = async |ca: &Path| config(Some(ca)).create("t", &world.url, "a").await.is_ok();
    assert!(works(&old_ca).await);

    for broken in ["", "no pem at all"] {
        std::fs::write(files(dir).cert, broken).unwrap();
        world.broker.reload();
        assert!(works(&old_ca).await, "{broken:?}");
    }
    // A certificate without its key.
    let key = std::fs::read(files(dir).key).unwrap();
    new.issue(&files(dir), &["localhost"]);
    std::fs::write(files(dir).key, key).unwrap();
    world.broker.reload();
    assert!(works(&old_ca).await);

    new.issue(&files(dir), &["localhost"]);
    world.broker.reload();
    assert!(works(&new_ca).await);
    assert!(!works(&old_ca).await);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    Authority::new("ours").issue(&files(dir.path()), &["localhost"]);
    let mut limits = broker_min::limits::Limits::default();
    limits.http_ms = 300;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(dir.path().join("data"))
        .limits(limits)
        .tls(files(dir.path()))
        .serve(listener)
        .await
        .unwrap();
    let mut silent = tokio::net::TcpStream::connect(broker.local_addr())
        .await
        .unwrap();
    let mut byte = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut silent, &mut byte);
    let ended = tokio::time::timeout(SOON, read).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let world = world(&old).await;
    let new_ca = new.file(world.dir.path(), "new.pem");
    new.issue(&files(world.dir.path()), &["localhost"]);
    let noticed = async {
        while config(Some(&new_ca))
            .create("t", &world.url, "a")
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_an_error_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    Authority::new("ours").issue(&files(dir.path()), &["localhost"]);
    std::fs::write(files(dir.path()).key, "nothing").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let started = Broker::builder()
        .data_dir(dir.path().join("data"))
        .tls(files(dir.path()))
        .serve(listener)
        .await;
    match started {
        Err(BrokerError::Tls(error)) => assert!(error.to_string().contains("key.pem")),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

async fn asked(url: &claudemesh_core::BrokerUrl, token: Option<&str>) -> Result<(), String> {
    let token = token.map(|token| token.parse().unwrap());
    let mut config = config(None);
    match config.create_with("team", url, "ana", token.as_ref()).await {
        Ok(_) => Ok(()),
        Err(JoinError::Refused { code, message, .. }) => {
            assert!(
                message.contains("operator") || message.contains("last hour"),
                "{message}"
            );
            Err(code)
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn only_a_token_that_is_good_makes_a_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = Tokens::new(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut limits = broker_min::limits::Limits::default();
    limits.meshes_per_hour = 6;
    let broker = Broker::builder()
        .data_dir(dir.path())
        .limits(limits)
        .create(CreatePolicy::Token(tokens.clone()))
        .serve(listener)
        .await
        .unwrap();
    let url = broker.url();
    let token = tokens.add("ana", 1, None).unwrap();
    let old = tokens.add("old", 1, Some(2)).unwrap();
    assert_eq!(asked(&url, None).await, Err("token_required".to_owned()));
    assert_eq!(
        asked(&url, Some("guess")).await,
        Err("token_invalid".to_owned())
    );
    assert_eq!(
        asked(&url, Some(&old)).await,
        Err("token_invalid".to_owned())
    );
    assert_eq!(asked(&url, Some(&token)).await, Ok(()));
    tokens.revoke("ana").unwrap();
    assert_eq!(
        asked(&url, Some(&token)).await,
        Err("token_invalid".to_owned())
    );
    assert_eq!(
        asked(&url, Some("guess")).await,
        Err("token_invalid".to_owned())
    );
    // Guesses are counted as what they would make.
    assert_eq!(
        asked(&url, Some("guess")).await,
        Err("rate_limit".to_owned())
    );
}

#[tokio::test]
async fn a_closed_broker_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(dir.path())
        .create(CreatePolicy::Closed)
        .serve(listener)
        .await
        .unwrap();
    assert_eq!(
        asked(&broker.url(), Some("any")).await,
        Err("creation_closed".to_owned())
    );
}
