//! What goes into a router and what comes out.

use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::id::{MeshId, PublicKey, Signature, Status};
use claudemesh_core::identity::{AddressError, SessionAddress, SignedAddress};
use claudemesh_core::membership::{Head, SignedEntry};
use claudemesh_core::wire::{ClientFrame, CloseCode, Send, SignedBlob};

use crate::limits::Limits;
use crate::rules::Rules;
use crate::store::{Op, Outcome, Query, Rows, StoreError, StoreInfo};

/// A connection. Never reused, so what comes late for a closed one is ignored.
pub type ConnId = u64;

/// The time, given with every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds since the broker started; never goes back.
    pub mono: u64,
    /// Unix milliseconds.
    pub wall: u64,
}

/// What a router is told at its start.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// All bounds.
    pub limits: Limits,
    /// What the store is: its id, the secret for message ids, its newest seq.
    pub store: StoreInfo,
    /// The broker's own id, shown in `hello_ack`: 32 hex digits, made anew at each start.
    pub broker_id: String,
    /// For how long after the start joins are not announced (90 s, 0 in tests), in ms.
    pub silent_ms: u64,
}

/// A hello whose signatures, times, challenge proof and shapes were checked by
/// [`crate::hello::verify`]. Whether its member exists is for the router to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The mesh.
    pub mesh: MeshId,
    /// The member key that signed, or that attests the session key.
    pub member: PublicKey,
    /// The session key, if the hello names one.
    pub session: Option<PublicKey>,
    /// Whether the session key is proven (attested and signed with, or by the hello proof), not
    /// only claimed.
    pub session_proven: bool,
    /// Where the session is reached, if it showed that; its own.
    pub address: Option<Arc<Address>>,
    /// Whether the hello carried a proof over this socket's challenge.
    pub proven: bool,
    /// Whether it came as `session_hello`.
    pub session_form: bool,
    /// The frame, for what is shown of the peer and what it can do.
    pub frame: ClientFrame,
}

/// A session's address whose signatures hold, with the text to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose session.
    pub member: PublicKey,
    /// Its key.
    pub session: PublicKey,
    /// When it was said, unix ms.
    pub made_at: u64,
    /// It holds before this unix ms.
    pub expires_at: u64,
    /// As it came.
    pub blob: SignedBlob,
}

impl Address {
    /// Reads an address of `mesh` and verifies it at `now` (unix ms). Whether its member is one is
    /// for the router to say.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn open(blob: &SignedBlob, mesh: &MeshId, now: u64) -> Result<Self, AddressError> {
        let signed = SignedAddress::try_from(blob)?;
        let address = SessionAddress::open(&signed, mesh, now)?;
        Ok(Self {
            member: address.member,
            session: address.session,
            made_at: address.made_at,
            expires_at: address.expires_at,
            blob: blob.clone(),
        })
    }
}

/// An input.
#[derive(Debug)]
#[non_exhaustive]
pub enum In {
    /// A connection said hello.
    Hello {
        /// Which.
        conn: ConnId,
        /// Checked.
        verified: Box<Verified>,
    },
    /// A frame after the hello.
    Frame {
        /// From which connection.
        conn: ConnId,
        /// Decoded.
        frame: Box<ClientFrame>,
        /// Bytes of its text.
        size: usize,
    },
    /// The bytes that wait for a socket have changed.
    Waiting {
        /// Which.
        conn: ConnId,
        /// Bytes handed over and not yet written.
        bytes: usize,
    },
    /// A WebSocket pong came.
    Pong {
        /// From which connection.
        conn: ConnId,
    },
    /// A connection is gone.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// A commit came back. Batches come back in the order they were put out.
    Committed {
        /// Which.
        batch: u64,
        /// An outcome per operation.
        result: Result<Vec<Outcome>, StoreError>,
    },
    /// A load came back.
    Loaded {
        /// Which.
        token: u64,
        /// The answer.
        result: Result<Rows, StoreError>,
    },
    /// A call by HTTP.
    Http {
        /// By which its answer is known.
        request: u64,
        /// What is asked.
        call: HttpCall,
    },
    /// What the operator says of single meshes; replaces what was said before.
    Rules(Arc<Rules>),
    /// The deadline has come.
    Tick,
    /// The broker goes down: announce nothing, close everyone with 1001.
    Shutdown,
}

/// How a frame may be treated when its socket is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An answer.
    Reply,
    /// A message.
    Push,
    /// May be dropped.
    Hint,
}

/// An output.
#[derive(Debug)]
#[non_exhaustive]
pub enum Out {
    /// Writes one text to connections, in this order on each.
    Write {
        /// To whom.
        conns: Vec<ConnId>,
        /// The frame's text (UTF-8).
        text: Bytes,
        /// How it may be treated.
        kind: Kind,
    },
    /// Closes a connection after what was written before.
    Close {
        /// Which.
        conn: ConnId,
        /// With which code.
        code: CloseCode,
        /// Why, at most 123 bytes.
        reason: String,
    },
    /// Stops or goes on reading from a connection.
    Reading {
        /// Which.
        conn: ConnId,
        /// Whether it is read.
        on: bool,
    },
    /// To be committed; answered by [`In::Committed`].
    Commit {
        /// By which the answer is known.
        batch: u64,
        /// In this order.
        ops: Vec<Op>,
    },
    /// To be loaded; answered by [`In::Loaded`]. A load sees every commit that came back before.
    Load {
        /// By which the answer is known.
        token: u64,
        /// What is asked.
        query: Query,
    },
    /// Answers a call by HTTP.
    Respond {
        /// Which.
        request: u64,
        /// The answer.
        reply: HttpReply,
    },
}

/// What is asked by HTTP.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpCall {
    /// `POST /mesh/create`.
    Create {
        /// Entry 0.
        entry: SignedEntry,
    },
    /// `POST /join`.
    Join(Box<JoinCall>),
    /// `GET /mesh/<id>/log`.
    Log {
        /// The mesh.
        mesh: MeshId,
        /// The key that proved itself: of an open invite, or of a member.
        key: PublicKey,
        /// From which seq.
        from: u64,
    },
    /// `POST /mesh/<id>/log`.
    Append {
        /// The mesh.
        mesh: MeshId,
        /// Whose signatures hold. They alone say by which right it is appended.
        entry: SignedEntry,
    },
    /// `GET /join/<token>`: what is known about a link. Tells no more than the token itself does,
    /// and whether it is still good.
    Link {
        /// The token's text.
        token: String,
    },
    /// How many connections, meshes loaded and so on, for /metrics.
    Gauges,
    /// Something that is asked of one mesh by one of its people.
    Mesh(Box<MeshCall>),
    /// `POST /hook/set-status`.
    Status(Box<StatusCall>),
    /// Something that is asked with an API key of a mesh.
    Api(Box<ApiCall>),
}

/// Something that is asked with an API key.
#[derive(Debug)]
pub struct ApiCall {
    /// The mesh, if that is known.
    pub mesh: Option<MeshId>,
    /// SHA-256 of the key, in hex.
    pub hash: String,
    /// What.
    pub ask: ApiAsk,
}

/// What an API key opens. All answers are [`HttpReply::Json`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ApiAsk {
    /// `POST /hook/<mesh>/<key>`: what is told to existing clients.
    Hook(serde_json::Value),
    /// `GET /api/v1/topics`.
    Topics,
    /// `GET /api/v1/topics/<name>/messages`.
    Messages {
        /// The topic's name or id.
        topic: String,
        /// Before this message.
        before: Option<String>,
        /// So many at most.
        limit: Option<u32>,
    },
    /// `POST /api/v1/messages`.
    Post {
        /// The topic's name or id.
        topic: String,
        /// What is sealed.
        send: Box<Send>,
    },
}

/// By which right something is asked by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// This key signed this very request; the signature, by which it is known again.
    Member(PublicKey, Signature),
    /// The mesh was made with the token that came with the request: as its owner, save for what
    /// only a key may do.
    Maker,
}

/// Something that is asked of one mesh.
#[derive(Debug)]
pub struct MeshCall {
    /// The mesh.
    pub mesh: MeshId,
    /// By which right.
    pub by: Asker,
    /// What.
    pub ask: MeshAsk,
}

/// What is asked of a mesh. All answers are [`HttpReply::Json`].
#[derive(Debug)]
#[non_exhaustive]
pub enum MeshAsk {
    /// `GET /mesh/<id>/members`.
    Members,
    /// What `GET /cli/meshes` says of one.
    About,
    /// Whether who asks may delete it.
    Delete,
    /// `PATCH /mesh/<id>/member/<member>`.
    Edit {
        /// The broker's id of the member.
        member: String,
        /// What is to be so.
        fields: serde_json::Map<String, serde_json::Value>,
    },
    /// `PATCH /mesh/<id>/settings`.
    Settings(serde_json::Map<String, serde_json::Value>),
    /// `POST /cli/mesh/<mesh>/grants`.
    Grants(serde_json::Map<String, serde_json::Value>),
}

/// `POST /hook/set-status`: how busy a session is, said by a program beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCall {
    /// By which right.
    pub by: StatusBy,
    /// The folder that the session works in.
    pub cwd: String,
    /// Its process, if that is known.
    pub pid: Option<i64>,
    /// Its id, if that is known.
    pub session: Option<String>,
    /// The status.
    pub status: Status,
}

/// Of whose sessions a status may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusBy {
    /// It was asked from the broker's own machine: of any.
    ThisMachine,
    /// Of this member, whose key signed the request.
    Member(PublicKey, Signature),
}

/// `POST /join`, its payload checked for shape and signature and equal to its token.
#[derive(Debug)]
pub struct JoinCall {
    /// The token's text.
    pub token: String,
    /// What the token says.
    pub payload: claudemesh_core::invite::InviteToken,
    /// The new member's key.
    pub key: PublicKey,
    /// Its display name, as wished.
    pub name: String,
    /// The `member_joined` or `device_linked` entry; none from clients of the existing system.
    pub entry: Option<SignedEntry>,
}

/// Whether a link is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkInfo {
    /// Someone may join by it.
    Open {
        /// Uses left.
        left: u64,
    },
    /// It is not, and why: `invite_expired`, `invite_exhausted`, `invite_revoked`,
    /// `invite_not_found`.
    Closed(&'static str),
}

/// What is answered by HTTP.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpReply {
    /// The mesh is there.
    Created {
        /// Its id.
        mesh: MeshId,
        /// The owner's member id.
        member: String,
        /// It was not there before.
        new: bool,
    },
    /// The key is a member.
    Joined {
        /// The broker's id of it.
        member: String,
        /// It was one before.
        already: bool,
        /// The log's head, in a mesh with one.
        head: Option<Head>,
    },
    /// The entry is in the log.
    Appended {
        /// The broker's id of the member that it is about, if that is one now.
        member: Option<String>,
        /// The log's head.
        head: Head,
    },
    /// A page of the log.
    Log {
        /// Entries from the place that was asked for.
        entries: Vec<SignedEntry>,
        /// The log's head.
        head: Head,
    },
    /// About a link.
    Link(LinkInfo),
    /// Connections, loaded meshes, unsettled pushes.
    Gauges([u64; 3]),
    /// An answer, as it is sent.
    Json(serde_json::Value),
    /// Refused.
    Error {
        /// The HTTP status.
        status: u16,
        /// A stable code; the reference's where it has one.
        code: &'static str,
        /// What is wrong and what to do next.
        message: String,
        /// When to try again.
        retry_after_ms: Option<u64>,
    },
}
