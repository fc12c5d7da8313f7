//! What a broker keeps: meshes, members, membership logs, the queue, the audit table.
//!
//! A store commits operations in one transaction and answers questions. It holds ciphertext and
//! metadata; its types cannot express a key or a text. Every implementation passes the one suite
//! in [`conformance`].

mod cache;
mod chains;
mod channels;
pub mod conformance;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod postgres_url;
mod rows;
mod sqlite;
mod tables;
mod values;
mod verify;

pub(crate) use channels::is_topic;
pub use channels::{
    ChannelOp, ChannelQuery, ChannelRow, HistoryRow, HistoryRows, KeyCopy, KeyRow, Many,
};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "postgres")]
pub(crate) use postgres::admin as postgres_admin;
#[cfg(feature = "postgres")]
pub(crate) use postgres::source::read as postgres_source;
pub use postgres_url::{PostgresUrl, PostgresUrlError, StoreText, StoreTls};
pub use rows::{
    Accept, AuditPage, AuditRow, Caps, Delivery, Expired, InviteRow, LogChange, MemberRow, MeshRow,
    MeshRows, PageRow, SendOutcome, StoreInfo,
};
pub(crate) use sqlite::format_of_file;
pub use sqlite::{
    Durability, GcReport, MeshInfo, SqliteStore, backup, export, gc, inspect, restore,
};
pub(crate) use values::json_len;
pub use values::{
    Fire, ItemRow, MemoryRow, ScheduleRow, SetState, StateRow, ValueOp, ValueQuery, ValueRows,
};
pub use verify::{AuditFault, AuditReport, verify_audit, verify_audit_pinned};

use claudemesh_core::id::{KeyId, MeshId, Name, Priority, PublicKey};
use claudemesh_core::membership::SignedEntry;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full. Nothing of the call is kept.
    #[error("{path}: the disk is full; make room, then the broker goes on by itself")]
    Full {
        /// The store's file.
        path: String,
    },
    /// The file cannot be read or written. Nothing of the call is kept.
    #[error("{path}: {why}")]
    Io {
        /// The store's file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Written by a newer broker.
    #[error("{path}: format {found} is newer than this broker's {supported}; update broker-min")]
    Newer {
        /// The store's file.
        path: String,
        /// The file's format.
        found: u32,
        /// The newest format that this broker knows.
        supported: u32,
    },
    /// The file is damaged or is not a broker's.
    #[error(
        "{path}: not a broker's file, or damaged ({why}); restore a backup or use an empty folder"
    )]
    Damaged {
        /// The store's file.
        path: String,
        /// What does not fit.
        why: String,
    },
    /// Another broker uses the folder.
    #[error(
        "{path} is in use by another broker (process {pid}); stop it, or choose another --data"
    )]
    InUse {
        /// The folder.
        path: String,
        /// The other's process id, where it could be read, else 0.
        pid: u32,
    },
    /// The file cannot be written any more. Nothing of the call is kept.
    #[error(
        "{path}: it is read-only; give it back to the broker's user, or mount its disk for writing"
    )]
    ReadOnly {
        /// The store's file.
        path: String,
    },
    /// Another broker uses the schema of a database.
    #[error(
        "{path} is in use by another broker; stop it, or choose another schema with ?schema=NAME"
    )]
    Held {
        /// Where it is.
        path: String,
    },
    /// The database cannot be reached. Nothing of the call is kept.
    #[error("{path} cannot be reached ({why}); the broker goes on by itself when it is back")]
    Away {
        /// Where it should be.
        path: String,
        /// What was said of it.
        why: String,
    },
    /// Whether the transaction was kept is not known: nothing may be acknowledged.
    #[error("{path}: it is not known whether the last write was kept: {why}")]
    Unknown {
        /// The store's file.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// One change. A refused one is an [`Outcome`] and fails no other of the same commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Takes a message for its recipients, or finds that it was taken before. Writes its audit
    /// row. Outcomes: [`Outcome::Accepted`], [`Outcome::Duplicate`], [`Outcome::Reused`],
    /// [`Outcome::Full`], or [`Outcome::Refused`] if `lookup_only` is set and it was not taken.
    Accept(Box<Accept>),
    /// A recipient's client has a message: its delivery goes, and with the last one the message.
    /// Outcomes: [`Outcome::Settled`], [`Outcome::NotThere`].
    Settle(Delivery),
    /// Removes deliveries with `expires_at <= now`, at most `limit`, and notes the failure for
    /// their senders (kept 30 days). A large queue is walked piece by piece: each call goes on
    /// where the last one stopped and looks at a few thousand rows, so an empty answer does not
    /// mean that nothing is left; called once a second it is round in time. Outcome:
    /// [`Outcome::Expired`].
    Expire {
        /// Unix ms.
        now: u64,
        /// Rows at most.
        limit: u32,
    },
    /// Fails what waits for an address that is gone, at most `limit` rows, and notes it for the
    /// senders. Outcome: [`Outcome::Expired`].
    FailMailbox {
        /// The mesh.
        mesh: MeshId,
        /// The address.
        address: PublicKey,
        /// `removed` or `session_gone`.
        reason: String,
        /// Unix ms.
        now: u64,
        /// Rows at most.
        limit: u32,
    },
    /// Makes a mesh from its first entry, which names the owner as its first member. Outcome:
    /// [`Outcome::Done`], or [`Outcome::NotThere`] if the mesh is there already (nothing changes).
    CreateMesh {
        /// The mesh's row and its first member.
        mesh: Box<MeshRow>,
        /// Entry 0.
        entry: Box<SignedEntry>,
    },
    /// Makes a mesh that has no log, nor will have one: it comes from the existing system. Its
    /// members follow by [`Op::PutMember`]. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if
    /// the mesh is there already (nothing changes).
    ImportMesh(Box<MeshRow>),
    /// Appends one entry at `seq` and makes the changes that follow from it. Outcome:
    /// [`Outcome::Done`], [`Outcome::Conflict`] if `seq` is not the next place, or
    /// [`Outcome::NotThere`] if there is no such mesh.
    AppendLog {
        /// The mesh.
        mesh: MeshId,
        /// The place.
        seq: u64,
        /// The entry.
        entry: Box<SignedEntry>,
        /// What follows from it.
        changes: Vec<LogChange>,
    },
    /// Inserts or replaces a member that came without a log entry. Outcome: [`Outcome::Done`], or
    /// [`Outcome::NotThere`] if there is no such mesh.
    PutMember(Box<MemberRow>),
    /// Gives a member without a log entry another name, and leaves the rest of its row as it is by
    /// then. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if there is no such member, or its
    /// name stands in the log.
    NameMember {
        /// The mesh.
        mesh: MeshId,
        /// The member.
        member: PublicKey,
        /// Its name.
        name: Name,
    },
    /// Counts a use of an invite by a client that writes no log entry. Outcome:
    /// [`Outcome::Done`], or [`Outcome::NotThere`] if no such token is known.
    UseInvite {
        /// The mesh.
        mesh: MeshId,
        /// The invite's token.
        token: String,
    },
    /// When a member was seen last; an earlier time than the known one changes nothing. Outcome:
    /// [`Outcome::Done`], or [`Outcome::NotThere`] if there is no such member.
    Seen {
        /// The mesh.
        mesh: MeshId,
        /// The member.
        member: PublicKey,
        /// Unix ms.
        at: u64,
    },
    /// A change to a channel.
    Channel(ChannelOp),
    /// An audit row of its own. Outcome: [`Outcome::Done`].
    Audit(AuditRow),
    /// A change of what is kept besides messages. Outcomes: see [`ValueOp`].
    Value(ValueOp),
    /// Forgets dedupe records older than 31 days, notices older than 30, what was said in topics
    /// more than 90 days ago, at most `limit` of each, and the copies of a key that was replaced
    /// 91 days ago (save those of `$state`), and saves the broker's clock. Walks the records piece by piece like [`Op::Expire`].
    /// Outcome: [`Outcome::Done`].
    Prune {
        /// Unix ms.
        now: u64,
        /// Rows at most.
        limit: u32,
    },
}

/// What came of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// The message is stored under `seq` for these of its recipients (indices into
    /// [`Accept::recipients`]); the others' mailboxes were full.
    Accepted {
        /// Its place in the broker's one order.
        seq: u64,
        /// Recipients whose mailbox was full.
        full: Vec<usize>,
    },
    /// It was taken before, under `seq`, by so many recipients.
    Duplicate {
        /// Its place.
        seq: u64,
        /// How many recipients it had then.
        recipients: u32,
    },
    /// The id was used before for another content.
    Reused,
    /// Every recipient's mailbox is full.
    Full,
    /// It was only looked up, and is not known.
    Refused,
    /// The place is taken: the log's head is at `head`.
    Conflict {
        /// The newest seq.
        head: u64,
    },
    /// A delivery is settled.
    Settled {
        /// Who had sent it.
        sender: PublicKey,
        /// Deliveries of the same message that are still open.
        left: u32,
        /// How far it is, if it was sent to a channel.
        many: Option<Many>,
    },
    /// Another key is the channel's current one.
    KeyConflict {
        /// Which, if there is one.
        current: Option<KeyId>,
    },
    /// It is kept: a value under this version, a schedule for this time (unix ms).
    Kept(u64),
    /// There was nothing to change.
    NotThere,
    /// Deliveries that failed.
    Expired(Vec<Expired>),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// A mesh with its members, invites and log. Answer: [`Rows::Mesh`].
    Mesh(MeshId),
    /// Unsettled deliveries of a mailbox in one class, by seq. Answer: [`Rows::Page`].
    Page {
        /// The mesh.
        mesh: MeshId,
        /// The address.
        address: PublicKey,
        /// The class.
        class: Priority,
        /// Only rows after this seq.
        after: u64,
        /// Rows at most.
        limit: u32,
        /// Unix ms: rows that expired by then are left out.
        now: u64,
    },
    /// How many unsettled deliveries a mailbox has, per class `now`, `next`, `low`; expired ones
    /// count until [`Op::Expire`] came by. Answer: [`Rows::Counts`].
    Counts {
        /// The mesh.
        mesh: MeshId,
        /// The address.
        address: PublicKey,
    },
    /// What became of messages of one sender. Answer: [`Rows::Outcomes`], in the same order.
    Outcomes {
        /// Who sent them.
        sender: PublicKey,
        /// Which.
        seqs: Vec<u64>,
    },
    /// Something of a channel.
    Channel(ChannelQuery),
    /// About what is kept besides messages. Answer: [`Rows::Value`].
    Value(ValueQuery),
    /// The end of a mesh's audit chain, and rows of it. Answer: [`Rows::Audit`].
    Audit {
        /// The mesh.
        mesh: MeshId,
        /// Only rows after this place.
        from: u64,
        /// Bytes of rows at most, but at least one row; 0: none.
        bytes: usize,
    },
    /// What the store is. Answer: [`Rows::Info`].
    Info,
    /// Numbers for /metrics: rows in the queue, meshes, members (without removed ones). Answer:
    /// [`Rows::Totals`].
    Totals,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rows {
    /// The mesh, or none: row, members, invites, log entries in order, channels.
    Mesh(Option<Box<MeshRows>>),
    /// Deliveries.
    Page(Vec<PageRow>),
    /// Per class.
    Counts([u64; 3]),
    /// Per message.
    Outcomes(Vec<SendOutcome>),
    /// Keys of a channel.
    Keys(Vec<KeyRow>),
    /// What was said in a topic.
    History(HistoryRows),
    /// What is kept besides messages.
    Value(ValueRows),
    /// Of the audit chain.
    Audit(AuditPage),
    /// The store.
    Info(StoreInfo),
    /// Queue rows, meshes, members.
    Totals([u64; 3]),
}

/// The writing side of a store: one of it per broker, used from one thread.
pub trait BrokerStore: Send + 'static {
    /// Commits all operations in one transaction, in order; durable on return. Gives an outcome
    /// for each.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this call is kept (save after [`StoreError::Unknown`]).
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError>;

    /// A reading side, to be used on another thread. It sees every commit that returned before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;

    /// Tries whether it can be written, without changing anything.
    ///
    /// # Errors
    /// [`StoreError`].
    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether it can be used after a [`StoreError::Unknown`]: its next commit begins from what was
    /// kept, whatever that is.
    fn goes_on(&self) -> bool {
        false
    }

    /// Moves what the write-ahead log holds into the file, where there is one. The store does so
    /// itself in time; this is for one who wants to copy the file.
    ///
    /// # Errors
    /// [`StoreError`].
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The reading side of a store.
pub trait StoreReader: Send + 'static {
    /// Answers a question.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self, query: &Query) -> Result<Rows, StoreError>;
}
