//! A broker that lies: real peers talk to it, it talks to a real broker, and a test says what it
//! changes on the way.
//!
//! It is the broker as far as peers see: they dial its address, so their hello proofs name its
//! host, and the challenge it shows them is the one it was given by the real broker, which it asked
//! under its own host. What it can do is therefore what a broker's operator can do with the frames
//! of one connection: read, change, drop, keep back, repeat, reorder and invent them. HTTP is
//! passed through.
//!
//! Each member's frames go through one [`Script`], which gets a frame and gives those that go on
//! instead. Frames are JSON; a lie about something new (channels' keys, state, statements) needs
//! nothing but a script, and [`LyingBroker::tell`] for what comes unasked.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

mod line;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::id::PublicKey;
use claudemesh_core::peer::PeerBuilder;
use claudemesh_core::{MeshEntry, Peer, Retry};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// For how long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(10);

/// In which direction a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a peer.
    ToBroker,
    /// From the broker.
    ToPeer,
}

/// What becomes of a frame: those that go on, in this order. None: it is dropped.
pub type Script = Box<dyn FnMut(Way, Value) -> Vec<Value> + Send>;

/// A frame as it came, before any script.
#[derive(Debug, Clone)]
pub struct Seen {
    pub who: PublicKey,
    pub way: Way,
    pub frame: Value,
    /// Its exact text.
    pub text: String,
}

/// What is said about the challenge in the answer to an upgrade.
#[derive(Debug, Clone, Copy)]
pub enum Challenge {
    Passed,
    Stripped,
    Other([u8; 32]),
}

/// What is told to a connection that nobody asked for.
enum Told {
    ToPeer(Message),
    ToBroker(Message),
}

struct Shared {
    upstream: SocketAddr,
    addr: SocketAddr,
    scripts: Mutex<HashMap<PublicKey, Script>>,
    /// The newest connection of each member.
    lines: Mutex<HashMap<PublicKey, mpsc::UnboundedSender<Told>>>,
    seen: Mutex<Vec<Seen>>,
    changed: watch::Sender<usize>,
    challenge: Mutex<Challenge>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The broker that lies. Dropping it ends its connections with the test's runtime.
pub struct LyingBroker {
    pub mesh: TestMesh,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for LyingBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LyingBroker {
    /// Stands before the broker of a fresh mesh, and is honest until told otherwise.
    pub async fn start() -> Self {
        Self::before(TestMesh::start().await.unwrap()).await
    }

    pub async fn before(mesh: TestMesh) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            upstream: mesh.addr(),
            addr: listener.local_addr().unwrap(),
            scripts: Mutex::default(),
            lines: Mutex::default(),
            seen: Mutex::default(),
            changed: watch::Sender::new(0),
            challenge: Mutex::new(Challenge::Passed),
        });
        let task = tokio::spawn(line::accept(listener, Arc::clone(&shared)));
        Self { mesh, shared, task }
    }

    /// The address that peers dial.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.shared.addr)
    }

    /// A member whose broker is this one; it joined by the honest one.
    pub async fn member(&self, name: &str) -> MeshEntry {
        let mut entry = self.mesh.member(name).await.unwrap();
        entry.broker_url = self.url();
        entry
    }

    /// A builder of a peer that tries again at once when its connection is lost.
    pub async fn builder(&self, name: &str) -> PeerBuilder {
        let retry = Retry::Every(20);
        Peer::builder(&self.member(name).await).retry(retry)
    }

    /// A connected peer that dials this broker.
    pub async fn peer(&self, name: &str) -> Peer {
        let peer = self.builder(name).await.connect().await.unwrap();
        peer.connected_within(SOON).await.unwrap();
        peer
    }

    /// From now on this happens to the frames of a member.
    pub fn script(
        &self,
        who: PublicKey,
        script: impl FnMut(Way, Value) -> Vec<Value> + Send + 'static,
    ) {
        held(&self.shared.scripts).insert(who, Box::new(script));
    }

    /// From now on this happens to one kind of frames that the broker sends to a member.
    pub fn change(
        &self,
        who: PublicKey,
        kind: &'static str,
        mut change: impl FnMut(&mut Value) + Send + 'static,
    ) {
        self.script(who, move |way, mut frame| {
            if way == Way::ToPeer && frame["type"] == kind {
                change(&mut frame);
            }
            vec![frame]
        });
    }

    /// From now on one kind of frames does not come to a member.
    pub fn withhold(&self, who: PublicKey, kind: &'static str) {
        self.script(who, move |way, frame| {
            let dropped = way == Way::ToPeer && frame["type"] == kind;
            if dropped { Vec::new() } else { vec![frame] }
        });
    }

    /// No more lies to this member.
    pub fn honest(&self, who: PublicKey) {
        held(&self.shared.scripts).remove(&who);
    }

    /// What upgrades are answered from now on.
    pub fn challenge(&self, challenge: Challenge) {
        *held(&self.shared.challenge) = challenge;
    }

    /// Tells a member something that the broker did not say. It must have a connection.
    pub fn tell(&self, who: PublicKey, frame: &Value) {
        self.tell_raw(who, Message::text(frame.to_string()));
    }

    pub fn tell_raw(&self, who: PublicKey, message: Message) {
        self.line(who, Told::ToPeer(message));
    }

    /// Tells the broker something in the name of a member's connection.
    pub fn say(&self, who: PublicKey, frame: &Value) {
        self.line(who, Told::ToBroker(Message::text(frame.to_string())));
    }

    /// Closes a member's connection with this code.
    pub fn close(&self, who: PublicKey, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.tell_raw(who, Message::Close(Some(frame)));
    }

    fn line(&self, who: PublicKey, told: Told) {
        let lines = held(&self.shared.lines);
        let sent = lines.get(&who).expect("no connection").send(told);
        assert!(sent.is_ok(), "the connection is gone");
    }

    /// The first frame from the `after`th on that is so, waited for.
    pub async fn seen(&self, after: usize, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                let found = {
                    let seen = held(&self.shared.seen);
                    seen.iter().skip(after).find(|seen| wanted(seen)).cloned()
                };
                if let Some(found) = found {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("within 10 s")
    }

    /// The first frame of a kind from or to a member.
    pub async fn first(&self, who: PublicKey, way: Way, kind: &str) -> Seen {
        let wanted = |seen: &Seen| {
            (seen.who, seen.way, seen.frame["type"].as_str()) == (who, way, Some(kind))
        };
        self.seen(0, wanted).await
    }

    /// The first message that was pushed to a member.
    pub async fn pushed(&self, who: PublicKey) -> Value {
        let message = |seen: &Seen| {
            (seen.who, seen.way) == (who, Way::ToPeer)
                && seen.frame["type"] == "push"
                && seen.frame["subtype"] != "system"
        };
        self.seen(0, message).await.frame
    }

    /// Every frame of a kind from or to a member so far.
    pub fn all(&self, who: PublicKey, way: Way, kind: &str) -> Vec<Value> {
        let seen = held(&self.shared.seen);
        let same = seen
            .iter()
            .filter(|seen| (seen.who, seen.way) == (who, way));
        let frames = same.map(|seen| seen.frame.clone());
        frames.filter(|frame| frame["type"] == kind).collect()
    }

    /// Every frame so far, whoever it was from or to.
    pub fn everything(&self) -> Vec<Value> {
        let seen = held(&self.shared.seen);
        seen.iter().map(|seen| seen.frame.clone()).collect()
    }

    /// From now on one kind of requests of a member goes nowhere, and is answered by this instead.
    pub fn answer(
        &self,
        who: PublicKey,
        kind: &'static str,
        mut answer: impl FnMut(&Value) -> Option<Value> + Send + 'static,
    ) {
        // Any frame that goes on makes room for the answer.
        let mut answers = std::collections::VecDeque::new();
        self.script(who, move |way, frame| {
            if way == Way::ToBroker && frame["type"] == kind {
                if let Some(answer) = answer(&frame) {
                    answers.push_back(answer);
                    return vec![serde_json::json!({ "type": "list_peers", "_reqId": "room" })];
                }
                return vec![frame];
            }
            if way == Way::ToPeer && frame["_reqId"] == "room" {
                return answers.pop_front().into_iter().collect();
            }
            vec![frame]
        });
    }

    /// How many frames were seen so far.
    pub fn so_far(&self) -> usize {
        held(&self.shared.seen).len()
    }

    /// How many frames of a kind were seen from or to a member.
    pub fn count(&self, who: PublicKey, way: Way, kind: &str) -> usize {
        let seen = held(&self.shared.seen);
        let same = seen
            .iter()
            .filter(|seen| (seen.who, seen.way) == (who, way));
        same.filter(|seen| seen.frame["type"] == kind).count()
    }
}
