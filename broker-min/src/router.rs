//! The pure middle of the broker: what comes in, what goes out, nothing else.
//!
//! A router owns the meshes of one shard: their rosters, the connections of their peers, presence,
//! windows and rate limits. It does no I/O and reads no clock; a seeded simulation can drive it.
//! What must be durable before it is told is not put out before the commit came back.

mod admit;
mod append;
mod asked;
mod audit;
mod bucket;
mod changes;
mod channel_entry;
mod channel_log;
mod channels;
mod claim;
mod clock;
mod committed;
mod conn;
mod entry;
mod history;
mod http;
mod join;
mod key_check;
mod keys;
mod legacy;
mod load;
mod log;
mod mesh;
mod multicast;
mod online;
mod presence;
mod push;
mod repost;
mod rules;
mod schedule;
mod send;
mod settle;
mod staging;
mod text;
mod types;
mod values;
mod welcome;
mod writer;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::crypto::{Drbg, KeyPair};
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{BrokerFrame, ClientFrame, CloseCode, ErrorFrame, reason};

use crate::limits::Limits;
use crate::message_id::{MessageIds, base62};
use crate::rules::Rules;
use clock::{Steady, Timer};
use conn::Conn;
use load::Asked;
use mesh::{Mesh, Slot};
pub use types::{
    Address, ApiAsk, ApiCall, Asker, ConnId, HttpCall, HttpReply, In, JoinCall, Kind, LinkInfo,
    MeshAsk, MeshCall, Now, Out, RouterConfig, StatusBy, StatusCall, Verified,
};
use writer::Writer;

/// The machine: [`Router::handle`] an input, then take outputs with [`Router::next`] until there
/// is none. Taking them after several inputs gives larger commits.
pub struct Router {
    limits: Limits,
    store: String,
    broker_id: String,
    silent_ms: u64,
    ids: MessageIds,
    rng: Drbg,
    now: Now,
    started: Option<u64>,
    steady: Steady,
    /// The newest seq that is known.
    head: u64,
    outs: VecDeque<Out>,
    meshes: HashMap<MeshId, Slot>,
    conns: HashMap<ConnId, Conn>,
    /// Connections whose hello waits for their mesh.
    parked: HashMap<ConnId, MeshId>,
    writer: Writer,
    loads: HashMap<u64, Asked>,
    next_load: u64,
    page_loads: usize,
    hungry: VecDeque<ConnId>,
    timers: BTreeMap<(u64, u64), Timer>,
    next_timer: u64,
    /// Deliveries to be settled again after the store failed.
    again: VecDeque<writer::Unit>,
    /// Copies of keys that connections have brought and not published.
    staged: usize,
    expiring: bool,
    values: values::Values,
    schedules: schedule::Schedules,
    /// Signs audit heads.
    audit_key: KeyPair,
    rules: Arc<Rules>,
    told_statuses: asked::ToldStatuses,
    stopping: bool,
    /// Counts how often everything was taken that was to be put out.
    turn: u64,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("meshes", &self.meshes.len())
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

impl Router {
    /// A router that knows no mesh yet; meshes are loaded when someone asks for them. `seed` is
    /// 32 random bytes, from which member and presence ids are made.
    pub fn new(config: RouterConfig, seed: [u8; 32]) -> Self {
        let RouterConfig {
            limits,
            store,
            broker_id,
            silent_ms,
        } = config;
        Self {
            limits,
            ids: MessageIds::new(store.store.clone(), store.id_secret),
            head: store.head,
            steady: Steady::new(store.clock),
            store: store.store.clone(),
            broker_id,
            silent_ms,
            rng: Drbg::new(seed),
            now: Now { mono: 0, wall: 0 },
            started: None,
            outs: VecDeque::new(),
            meshes: HashMap::new(),
            conns: HashMap::new(),
            parked: HashMap::new(),
            writer: Writer::default(),
            loads: HashMap::new(),
            next_load: 0,
            page_loads: 0,
            hungry: VecDeque::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            again: VecDeque::new(),
            staged: 0,
            expiring: false,
            values: values::Values::default(),
            schedules: schedule::Schedules::default(),
            audit_key: KeyPair::from_seed(&store.audit_seed),
            rules: Arc::default(),
            told_statuses: asked::ToldStatuses::default(),
            stopping: false,
            turn: 0,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: In) {
        self.set_clock(now);
        match input {
            In::Hello { conn, verified } => self.hello(conn, verified),
            In::Frame { conn, frame, size } => self.frame(conn, frame, size),
            In::Waiting { conn, bytes } => self.unwritten(conn, bytes),
            In::Pong { conn } => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    conn.pong_at = now.mono;
                }
            }
            In::Closed { conn } => self.closed(conn),
            In::Committed { batch, result } => self.committed(batch, result),
            In::Loaded { token, result } => self.loaded(token, result),
            In::Http { request, call } => self.http(request, call),
            In::Tick => self.tick(),
            In::Rules(rules) => self.take_rules(rules),
            In::Shutdown => self.shutdown(),
        }
        self.stop_if_done();
    }

    /// The next output, if there is one.
    #[allow(
        clippy::should_implement_trait,
        reason = "a machine is no iterator: there is a next output again after the next input"
    )]
    pub fn next(&mut self) -> Option<Out> {
        // The commit comes last: what several inputs left is one batch.
        let out = self.outs.pop_front().or_else(|| {
            self.writer
                .take()
                .map(|(batch, ops)| Out::Commit { batch, ops })
        });
        self.turn += u64::from(out.is_none());
        out
    }

    /// When [`In::Tick`] is due, in ms of [`Now::mono`]. The first is due at once: schedules may be
    /// late.
    pub fn deadline(&self) -> Option<u64> {
        if self.started.is_none() {
            return Some(0);
        }
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn frame(&mut self, conn: ConnId, frame: Box<ClientFrame>, size: usize) {
        if self.stopping {
            return;
        }
        if !self.conns.contains_key(&conn) {
            self.park_frame(conn, frame, size);
            return;
        }
        match *frame {
            ClientFrame::Send(send) => self.send(conn, &send),
            ClientFrame::ClientAck(ack) => self.client_ack(conn, &ack),
            ClientFrame::SetStatus(status) => self.set_status(conn, &status),
            ClientFrame::ListPeers(ask) => self.list_peers(conn, ask.req_id),
            ClientFrame::Fetch(fetch) => self.fetch(conn, &fetch),
            ClientFrame::Outcomes(ask) => self.outcomes(conn, ask),
            ClientFrame::LogGet(ask) => self.log_get(conn, ask),
            ClientFrame::LogAppend(append) => self.log_append(conn, append),
            ClientFrame::KeyCopies(copies) => self.key_copies(conn, copies),
            ClientFrame::PublishKey(key) => self.publish_key(conn, key),
            ClientFrame::KeysGet(ask) => self.keys_get(conn, ask),
            ClientFrame::HistoryGet(ask) => self.history_get(conn, ask),
            ClientFrame::SetState(set) => self.set_state(conn, set),
            ClientFrame::GetState(ask) => self.get_state(conn, ask),
            ClientFrame::ListState(ask) => self.list_state(conn, ask),
            ClientFrame::Remember(it) => self.remember(conn, it),
            ClientFrame::Recall(ask) => self.recall(conn, ask),
            ClientFrame::Forget(it) => self.forget_memory(conn, it),
            ClientFrame::SetSummary(it) => self.set_summary(conn, &it),
            ClientFrame::Schedule(it) => self.schedule(conn, it),
            ClientFrame::ListScheduled(ask) => self.list_scheduled(conn, ask),
            ClientFrame::CancelScheduled(it) => self.cancel_scheduled(conn, it),
            ClientFrame::ScheduleTaken(it) => self.schedule_taken(conn, it),
            ClientFrame::AuditGet(ask) => self.audit_get(conn, ask),
            ClientFrame::Hello(_) | ClientFrame::SessionHello(_) => {
                self.error(
                    conn,
                    "invalid",
                    "this connection has said hello already",
                    None,
                );
            }
            other => self.open_frame(conn, other),
        }
    }

    /// Writes a frame to one connection.
    fn reply(&mut self, conn: ConnId, frame: impl Into<BrokerFrame>) {
        self.outs.push_back(Out::Write {
            conns: vec![conn],
            text: Bytes::from(frame.into().encode()),
            kind: Kind::Reply,
        });
    }

    fn error(&mut self, conn: ConnId, code: &str, message: &str, req_id: Option<String>) {
        let mut error = ErrorFrame::new(code, message);
        error.req_id = req_id;
        self.reply(conn, error);
    }

    /// Closes a connection for a reason of ours, and forgets it.
    fn close(&mut self, conn: ConnId, code: CloseCode, why: &str) {
        if !self.conns.contains_key(&conn) {
            // Many sends of one connection may end in one commit.
            return;
        }
        self.outs.push_back(Out::Close {
            conn,
            code,
            reason: why.to_owned(),
        });
        self.gone(conn);
    }

    /// Refuses a connection that never came in.
    fn refuse(&mut self, conn: ConnId, code: &str, message: &str, close: CloseCode) {
        self.error(conn, code, message, None);
        let why = match close {
            CloseCode::BANNED => reason::BANNED,
            CloseCode::OVERLOAD => reason::OVERLOAD,
            _ => code,
        };
        self.outs.push_back(Out::Close {
            conn,
            code: close,
            reason: why.to_owned(),
        });
    }

    fn closed(&mut self, conn: ConnId) {
        if let Some(mesh) = self.parked.remove(&conn)
            && let Some(Slot::Loading(inputs)) = self.meshes.get_mut(&mesh)
        {
            inputs.retain(|input| match input {
                In::Hello { conn: other, .. } | In::Frame { conn: other, .. } => *other != conn,
                _ => true,
            });
        }
        self.gone(conn);
    }

    fn mesh(&self, id: &MeshId) -> Option<&Mesh> {
        match self.meshes.get(id) {
            Some(Slot::Ready(mesh)) => Some(mesh),
            _ => None,
        }
    }

    fn mesh_mut(&mut self, id: &MeshId) -> Option<&mut Mesh> {
        match self.meshes.get_mut(id) {
            Some(Slot::Ready(mesh)) => Some(mesh),
            _ => None,
        }
    }

    /// The mesh of a connection.
    fn mesh_of(&self, conn: ConnId) -> Option<Arc<MeshId>> {
        self.conns.get(&conn).map(|conn| Arc::clone(&conn.mesh))
    }

    /// A new id of 32 letters and digits.
    fn fresh_id(&mut self) -> String {
        let random: [u8; 32] = self.rng.bytes();
        random
            .chunks_exact(8)
            .map(|word| word.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b)))
            .map(|word| base62(word, 8))
            .collect()
    }
}
