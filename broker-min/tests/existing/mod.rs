//! A small broker as the existing system has it: members by key, no logs, no capabilities, opaque
//! ciphertext. It does what its clients are known to rely on, with its texts and its weaknesses: one
//! row a send, whoever connects first drains it, nothing is pushed again by itself.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

mod line;
mod route;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claudemesh_core::MeshEntry;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{ChannelName, MemberId, MeshId, PublicKey};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// For how long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(10);
pub const MESH: &str = "MESHID00000000000000000000000001";

/// Unix ms of this machine's clock, by which hellos are judged.
fn wall() -> u64 {
    let now = std::time::SystemTime::now();
    let past = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(past.as_millis()).unwrap()
}

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToBroker,
    ToPeer,
}

/// A frame that went over a line.
#[derive(Debug, Clone)]
pub struct Seen {
    pub who: PublicKey,
    pub way: Way,
    pub frame: Value,
}

/// What a test changes of the frames of one member, both ways.
type Script = Box<dyn FnMut(Way, Value) -> Vec<Value> + Send>;

/// A connection that said its hello.
struct Presence {
    member: PublicKey,
    routing: String,
    /// `control-plane` or `session`, by its hello.
    role: &'static str,
    name: String,
    session_id: String,
    groups: Vec<Value>,
    profile: Value,
    status: String,
    /// Unix ms.
    since: u64,
    line: mpsc::UnboundedSender<Value>,
    close: watch::Sender<bool>,
}

/// A row of the queue.
#[derive(Clone)]
struct Row {
    id: String,
    target: String,
    sender: String,
    frame: Value,
    claimed: Option<u64>,
    delivered: bool,
}

#[derive(Default)]
struct State {
    members: BTreeMap<PublicKey, String>,
    presences: BTreeMap<u64, Presence>,
    rows: Vec<Row>,
    topics: HashMap<String, BTreeSet<PublicKey>>,
    seen: Vec<Seen>,
    /// Hellos that were taken.
    hellos: Vec<(PublicKey, Value)>,
    /// Members that are pushed nothing until their next connection.
    held: BTreeSet<PublicKey>,
    scripts: HashMap<PublicKey, Script>,
    numbers: u64,
    /// Sends that each member has left, where that is limited.
    tokens: Option<HashMap<PublicKey, u32>>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<usize>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker. It ends with its last connection.
pub struct Existing {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

impl Existing {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        tokio::spawn(line::accept(listener, Arc::clone(&shared)));
        Self { shared, addr }
    }

    /// What a broker of the existing system that shows nobody else's key shows of a member: its
    /// connections, as `peers_list` has them.
    pub fn routes(&self, who: PublicKey) -> Vec<(String, &'static str)> {
        let state = self.shared.state();
        let own = state.presences.values().filter(|p| p.member == who);
        own.map(|presence| (presence.routing.clone(), presence.role))
            .collect()
    }

    /// The hellos of a member that were taken.
    pub fn seen_hellos(&self, who: PublicKey) -> Vec<Value> {
        let state = self.shared.state();
        let own = state.hellos.iter().filter(|(key, _)| *key == who);
        own.map(|(_, frame)| frame.clone()).collect()
    }

    /// How many messages a member was pushed.
    pub fn pushed(&self, who: PublicKey) -> usize {
        let seen = self.seen().into_iter();
        seen.filter(|seen| {
            let push = seen.way == Way::ToPeer && seen.frame["type"] == "push";
            seen.who == who && push && seen.frame["subtype"] != "system"
        })
        .count()
    }

    /// Keeps what comes for a member until its next connection.
    pub fn hold(&self, who: PublicKey) {
        self.shared.state().held.insert(who);
    }

    /// Lets a member in: its program has the key made from `seed`.
    pub fn member(&self, name: &str, seed: u8) -> MeshEntry {
        let pair = Arc::new(KeyPair::from_seed(&[seed; 32]));
        self.shared
            .state()
            .members
            .insert(pair.public(), name.to_owned());
        let id = MemberId::new(format!("MEMBERID0000000000000000000000{seed:02}")).unwrap();
        let url = format!("ws://{}/ws", self.addr);
        let mesh = MeshId::new(MESH).unwrap();
        let mut entry = MeshEntry::new(mesh, id, "acme", pair, url, "2026-01-01T00:00:00.000Z");
        entry.display_name = Some(name.to_owned());
        entry
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }

    /// A topic with these members, by the broker's id of it.
    pub fn topic(&self, id: &str, members: &[PublicKey]) -> ChannelName {
        let members = members.iter().copied().collect();
        self.shared.state().topics.insert(id.to_owned(), members);
        ChannelName::new(format!("#{id}")).unwrap()
    }

    /// Takes so many sends of each member at once, and no more.
    pub fn limit(&self, sends: u32) {
        let mut state = self.shared.state();
        let keys: Vec<PublicKey> = state.members.keys().copied().collect();
        state.tokens = Some(keys.into_iter().map(|key| (key, sends)).collect());
    }

    /// From now on a member has been there for an hour.
    pub fn has_been_here(&self, who: PublicKey) {
        let mut state = self.shared.state();
        let own = state.presences.values_mut().filter(|p| p.member == who);
        own.for_each(|presence| presence.since = presence.since.saturating_sub(3_600_000));
    }

    /// Changes the frames of one member from now on.
    pub fn script(
        &self,
        who: PublicKey,
        script: impl FnMut(Way, Value) -> Vec<Value> + Send + 'static,
    ) {
        self.shared.state().scripts.insert(who, Box::new(script));
    }

    pub fn honest(&self, who: PublicKey) {
        self.shared.state().scripts.remove(&who);
    }

    /// Breaks the lines of a member.
    pub fn cut(&self, who: PublicKey) {
        let state = self.shared.state();
        let lines = state.presences.values().filter(|p| p.member == who);
        lines.for_each(|presence| {
            presence.close.send_replace(true);
        });
    }

    /// All frames so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// The frames of a type that a member sent.
    pub fn sent(&self, who: PublicKey, kind: &str) -> Vec<Value> {
        let ours = |seen: &Seen| {
            seen.who == who && seen.way == Way::ToBroker && seen.frame["type"] == kind
        };
        let seen = self.seen().into_iter().filter(ours);
        seen.map(|seen| seen.frame).collect()
    }

    /// Whether a text went over any line, as it is or in base64.
    pub fn shows(&self, text: &str) -> bool {
        let coded = claudemesh_core::encoding::base64(text.as_bytes());
        let coded = coded.trim_end_matches('=');
        self.seen().iter().any(|seen| {
            let frame = seen.frame.to_string();
            frame.contains(text) || frame.contains(coded)
        })
    }

    /// Waits until what went over the lines is so.
    pub async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = tokio::time::timeout(SOON, async {
            while !done(self) {
                let _ = tokio::time::timeout(Duration::from_millis(50), changed.changed()).await;
            }
        });
        assert!(reached.await.is_ok(), "{what}");
    }

    /// Says something to every line of a member.
    pub fn tell(&self, who: PublicKey, frame: &Value) {
        let state = self.shared.state();
        let lines = state.presences.values().filter(|p| p.member == who);
        lines.for_each(|presence| {
            let _ = presence.line.send(frame.clone());
        });
    }
}
