//! What goes into a session and what comes out.

mod command;
mod error;
mod event;
mod lie;
mod view;

pub use command::{Command, Outgoing, Protection, Reply, Served, Service};
pub use error::{NotReached, SessionError, StatementFault};
pub use event::Event;
pub(super) use event::sent_event;
pub use lie::Lie;
pub use view::{AuditReport, ChannelView, Kept, Said, Scheduled, SessionHere, WhoIsHere};

use std::sync::Arc;

use crate::broker_url::BrokerUrl;
use crate::crypto::KeyPair;
use crate::id::{MemberId, MeshId, Name, Status};
use crate::store::{Outcome, PeerOp, Query, Rows, StoreError};

/// The time, given with every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back.
    pub mono: u64,
    /// Unix milliseconds.
    pub wall: u64,
}

/// When to try again after a connection was lost or not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// First within a second, then under 1, 2, 4 … 30 s with full jitter.
    Backoff,
    /// At this interval, in ms: for a program that runs for seconds.
    Every(u64),
}

/// What a peer tells the mesh about itself. Nothing of it is proven, and nothing is told by
/// default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The last component of its folder.
    pub cwd: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// `ai`, `human` or `connector`.
    pub peer_type: Option<String>,
    /// The program's name.
    pub channel: Option<String>,
    /// The model's name.
    pub model: Option<String>,
}

/// What a session is told at its start.
#[derive(Clone)]
pub struct SessionConfig {
    /// The mesh.
    pub mesh: MeshId,
    /// The broker's id of this member.
    pub member_id: MemberId,
    /// The member's key.
    pub key: Arc<KeyPair>,
    /// The member's display name.
    pub name: Option<Name>,
    /// Where the broker is; the hello proof binds its host.
    pub broker: BrokerUrl,
    /// By which this process is told from others of the same member. A newer connection with the
    /// same one replaces the older.
    pub session_id: String,
    /// Whether messages are received.
    pub receive: bool,
    /// Whether the mesh sees this session.
    pub presence: bool,
    /// Whether the store survives the process.
    pub durable: bool,
    /// The lane in the outbox that this process sends from.
    pub lane: u32,
    /// When to try again.
    pub retry: Retry,
    /// Whether the mesh has a membership log: then there is no doing without.
    pub has_log: bool,
    /// What is told about this peer.
    pub about: About,
    /// The status at the start.
    pub status: Status,
}

/// By which a command's answer is known.
pub type CommandId = u64;
/// By which the answer to a store's output is known.
pub type StoreToken = u64;

/// An input.
#[derive(Debug)]
#[non_exhaustive]
pub enum In {
    /// The socket is open.
    Opened {
        /// The broker's challenge, if it sent one.
        challenge: Option<[u8; 32]>,
        /// The broker's clock, unix ms, if it told it.
        date: Option<u64>,
    },
    /// A text frame came.
    Frame(String),
    /// Anything came, a ping for example: the broker is there.
    Alive,
    /// The socket could not be opened, or is closed.
    Closed {
        /// The close code; none if the connection broke or was not made.
        code: Option<u16>,
        /// Why.
        reason: String,
    },
    /// The store has applied operations.
    Stored(StoreToken, Result<Vec<Outcome>, StoreError>),
    /// The store has answered.
    Loaded(StoreToken, Result<Rows, StoreError>),
    /// Somebody wants something.
    Command(CommandId, Command),
    /// Another process has changed the store: there may be more to send.
    Changed,
    /// The deadline has come.
    Tick,
}

/// An output.
#[derive(Debug)]
#[non_exhaustive]
pub enum Out {
    /// Open the socket.
    Connect,
    /// Write a text frame.
    Transmit(String),
    /// Close the socket with this code.
    Close(u16),
    /// Apply operations; answered by [`In::Stored`].
    Store(StoreToken, Vec<PeerOp>),
    /// Ask the store; answered by [`In::Loaded`].
    Load(StoreToken, Query),
    /// A command is answered.
    Done(CommandId, Result<Reply, SessionError>),
    /// Something happened.
    Event(Event),
}
