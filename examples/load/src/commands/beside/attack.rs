//! What somebody without a key can do to a broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::identity::hello_bytes;
use claudemesh_core::wire::{ClientFrame, Hello, MAX_FRAME};
use claudemesh_core::{BrokerUrl, MeshId};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::error::{During as _, LoadError};
use crate::members::{Member, random, unix_ms};
use crate::wire;

/// Sockets without a hello that one attacker holds.
const HELD: usize = 32;
/// For how long an attack may take.
const LIMIT: Duration = Duration::from_secs(3);
/// For how long an attacker listens to what the broker says.
const LISTEN: Duration = Duration::from_millis(50);
/// The pause after each.
const PAUSE: Duration = Duration::from_millis(5);

/// Whom the wrong hellos claim to be.
#[derive(Clone)]
pub(super) struct Victim {
    id: String,
    key: String,
}

impl Victim {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            id: member.id.as_str().to_owned(),
            key: member.public().to_hex(),
        }
    }
}

/// How often each was done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    garbage: AtomicU64,
    oversized: AtomicU64,
    no_hello: AtomicU64,
    wrong_hello: AtomicU64,
    not_http: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(super) fn answer(&self) -> Value {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        json!({
            "garbage": count(&self.garbage),
            "oversized": count(&self.oversized),
            "no_hello": count(&self.no_hello),
            "wrong_hello": count(&self.wrong_hello),
            "not_http": count(&self.not_http),
            "not_done": count(&self.failed),
        })
    }
}

/// Attacks until it is aborted.
pub(super) async fn run(url: BrokerUrl, mesh: MeshId, victim: Victim, counts: Arc<Counts>) {
    let mut held = Vec::new();
    for turn in 0usize.. {
        let (attack, count): (_, &AtomicU64) = match turn % 5 {
            0 => (
                tokio::time::timeout(LIMIT, garbage(&url)).await,
                &counts.garbage,
            ),
            1 => (
                tokio::time::timeout(LIMIT, oversized(&url)).await,
                &counts.oversized,
            ),
            2 => {
                if held.len() >= HELD {
                    held.clear();
                }
                let opened = tokio::time::timeout(LIMIT, wire::open(&url)).await;
                let opened = opened.map(|opened| opened.map(|bare| held.push(bare)));
                (opened, &counts.no_hello)
            }
            3 => {
                let attack = wrong_hello(&url, &mesh, &victim);
                (
                    tokio::time::timeout(LIMIT, attack).await,
                    &counts.wrong_hello,
                )
            }
            _ => (
                tokio::time::timeout(LIMIT, not_http(&url)).await,
                &counts.not_http,
            ),
        };
        let done = matches!(attack, Ok(Ok(())));
        let count = if done { count } else { &counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Frames that are no frames, until the broker has enough.
async fn garbage(url: &BrokerUrl) -> Result<(), LoadError> {
    let mut socket = wire::open(url).await?.socket;
    let noise = random::<64>()?;
    for message in [
        Message::text("not JSON"),
        Message::text("{}"),
        Message::text("[[[[[[[[[["),
        Message::text(r#"{"type":"send","targetSpec":7}"#),
        Message::binary(noise.to_vec()),
        Message::text("\u{0}"),
        Message::text(r#"{"type":"client_ack","brokerMessageIds":["x"]}"#),
        Message::text("1e999"),
    ] {
        socket.send(message).await.during("garbage")?;
    }
    until_closed(socket).await;
    Ok(())
}

/// A frame of more than the broker takes.
async fn oversized(url: &BrokerUrl) -> Result<(), LoadError> {
    let mut socket = wire::open(url).await?.socket;
    // The broker may have closed before all of it is written.
    let _ = socket.send(Message::text("x".repeat(2 * MAX_FRAME))).await;
    until_closed(socket).await;
    Ok(())
}

/// A member's hello, signed by another key.
async fn wrong_hello(url: &BrokerUrl, mesh: &MeshId, victim: &Victim) -> Result<(), LoadError> {
    let mut socket = wire::open(url).await?.socket;
    let (mesh, now) = (mesh.as_str(), unix_ms());
    let forger = KeyPair::from_seed(&random()?);
    let signed = hello_bytes(mesh, &victim.id, &victim.key, now);
    let signature = forger.sign(signed.as_bytes()).to_hex();
    let hello = Hello::new(mesh, &*victim.id, &*victim.key, now, signature);
    let text = ClientFrame::from(hello).encode();
    socket
        .send(Message::text(text))
        .await
        .during("a wrong hello")?;
    until_closed(socket).await;
    Ok(())
}

/// Bytes that are not even HTTP.
async fn not_http(url: &BrokerUrl) -> Result<(), LoadError> {
    let mut stream = TcpStream::connect((url.host(), url.port()))
        .await
        .during("connecting")?;
    let _ = stream.write_all(&random::<256>()?).await;
    let _ = stream.write_all(b"\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LISTEN, stream.read_to_end(&mut answer)).await;
    Ok(())
}

/// Not for long: an attacker has more to do.
async fn until_closed(mut socket: WebSocketStream<TcpStream>) {
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(LISTEN, closed).await;
}
