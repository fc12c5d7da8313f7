//! What a peer keeps: outbox, inbox, reading positions, membership log, channels, pins.
//!
//! A store is a plain object that applies operations in one transaction and answers queries. It
//! knows nothing of networks or keys. Every implementation passes the one suite in
//! [`conformance`]; [`MemoryStore`] and [`SqliteStore`] are two.

pub mod conformance;
mod memory;
mod policy;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryStore;
pub use policy::{KeptRule, MAX_HELD, MAX_HELD_OF_ONE, MAX_RULES, Rule, Who};
pub use rows::{
    Delivery, InboxRow, KeptRoot, Kind, LockedRow, NewInbox, NewLocked, NewOutbox, OutboxRow, Pin,
    ReaderName, ReaderStart, SeenValue, SendState, StoredChannelEntry, StoredEntry, StoredKey,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::id::{KeyId, MessageId, Priority, PublicKey, Target};

/// How long settled rows are kept: as long as a broker may deliver a message again.
const KEEP_MS: u64 = 31 * 24 * 60 * 60 * 1_000;
/// After this long without use a reading position goes, wherever it stands.
const FORGET_MS: u64 = 366 * 24 * 60 * 60 * 1_000;
/// Rows that one prune removes at most, so that no writer waits long for it.
const PRUNE_STEP: u64 = 10_000;
/// The largest number that every store can keep; larger ones are kept as this.
const MAX_NUMBER: u64 = i64::MAX.unsigned_abs();
/// Why a cancelled message failed.
const CANCELLED: &str = "cancelled";
/// Why a message that was held is rejected.
const DENIED: &str = "refused by this peer's owner";
/// Locked messages that are kept at most.
const MAX_LOCKED: u64 = 10_000;

/// Why a store did not do what it was asked.
///
/// After an error from [`PeerStore::apply`] nothing of that call is kept, as far as the store can
/// tell; after [`StoreError::Unknown`] it cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full.
    #[error("{path}: the disk is full; make room, nothing was lost that had been confirmed")]
    Full {
        /// The store's file.
        path: String,
    },
    /// The file cannot be read or written.
    #[error("{path}: {why}")]
    Io {
        /// The store's file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Written by a newer program.
    #[error("{path}: format {found} is newer than this program's {supported}; update claudemesh")]
    Newer {
        /// The store's file.
        path: String,
        /// The file's format.
        found: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// The file is damaged.
    #[error("{path}: the file is damaged ({why}); move it aside to start with an empty one")]
    Damaged {
        /// The store's file.
        path: String,
        /// What does not fit.
        why: String,
    },
    /// Whether the transaction was kept is not known.
    #[error("{path}: it is not known whether the last write was kept: {why}")]
    Unknown {
        /// The store's file.
        path: String,
        /// What the system said.
        why: String,
    },
}

/// One change. All operations of one [`PeerStore::apply`] are kept together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerOp {
    /// A message to be sent. Outcome: [`Outcome::Row`] with its place, or
    /// [`Outcome::Duplicate`] if the id is there already (then nothing changes).
    Enqueue(Box<NewOutbox>),
    /// These messages are about to be handed to the network for the first time: from now on they
    /// are neither cancelled nor expired locally. Outcome: [`Outcome::Done`], or
    /// [`Outcome::NotThere`] if one of them is no longer queued (another process may have
    /// cancelled it): then the others are marked all the same, and the caller asks which they are
    /// before it sends.
    Sent(Vec<MessageId>),
    /// The broker accepted a message; so it was sent, too. Only a queued row changes. Outcome:
    /// [`Outcome::Done`], or [`Outcome::NotThere`] if it is unknown or not queued.
    Accepted {
        /// The message.
        id: MessageId,
        /// The broker's id of it.
        broker_id: String,
    },
    /// A message's fate is known. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if it is
    /// unknown or final already, or if `state` is not final; then nothing changes.
    Final {
        /// The message.
        id: MessageId,
        /// [`SendState::Delivered`] or [`SendState::Failed`].
        state: SendState,
        /// Why it failed.
        reason: Option<String>,
        /// Unix ms.
        at: u64,
    },
    /// Everything accepted and not final is to be sent again: the broker lost it or is another
    /// one. Rows keep their place and lane, and forget the broker's id. Outcome:
    /// [`Outcome::Count`].
    Requeue,
    /// Gives up a message that was never handed to the network: it fails as `cancelled`. Outcome: [`Outcome::Done`], or
    /// [`Outcome::NotThere`] if it is unknown, sent or final.
    Cancel {
        /// The message.
        id: MessageId,
        /// Unix ms.
        at: u64,
    },
    /// Replaces the frame of a queued message, which was sealed now, or sealed anew after a refusal:
    /// it counts as not sent. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if it is unknown
    /// or not queued.
    Seal {
        /// The message.
        id: MessageId,
        /// The `send` frame's text from now on.
        frame: String,
    },
    /// Takes over the queued rows of another lane; they keep their places. Outcome:
    /// [`Outcome::Count`].
    Adopt {
        /// The lane whose process is gone.
        from: u32,
        /// The lane of this process.
        to: u32,
    },
    /// A message that was received. The rules that are kept say how: see [`Rule`]. Outcome:
    /// [`Outcome::Row`], [`Outcome::Muted`], [`Outcome::Held`] or [`Outcome::Dropped`] (by a rule,
    /// or because too many wait for an answer), or [`Outcome::Duplicate`] if one with the same
    /// sender and dedupe key is there.
    Insert(Box<NewInbox>),
    /// The owner has answered about a message that is held: it becomes unread as if it came now, or
    /// it is rejected. Outcome: [`Outcome::Row`] or [`Outcome::Done`]; [`Outcome::NotThere`] if none
    /// is held at this place.
    Answer {
        /// Its place.
        seq: u64,
        /// Whether it is let through.
        accept: bool,
    },
    /// Sets a rule, or takes it back. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if 10,000
    /// are kept already, or there was none to take back.
    SetRule {
        /// Whom it is about.
        who: Who,
        /// The rule; none: the general one counts again.
        rule: Option<Rule>,
    },
    /// A message to a channel that cannot be opened yet. Outcome: [`Outcome::Row`],
    /// [`Outcome::Duplicate`] if one with the same broker's id is there, or [`Outcome::NotThere`] if
    /// 10,000 are there, or there is no room for more: then it is not kept.
    Lock(Box<NewLocked>),
    /// Takes out the locked message at this place: it was opened, which inserts it in the same
    /// call, or it never will be. Outcome: [`Outcome::Done`] or [`Outcome::NotThere`].
    Unlock(u64),
    /// Makes a reading position, or moves an existing one as `start` says. A reader that was not
    /// opened is treated as if it were opened with [`ReaderStart::Resume`] at its first offer or
    /// take. Outcome: [`Outcome::Done`].
    OpenReader {
        /// Whose position.
        reader: ReaderName,
        /// From where it reads.
        start: ReaderStart,
    },
    /// A message is about to be shown to a reader. Shown again after this, it is marked as
    /// repeated. Outcome: [`Outcome::Done`].
    Offer {
        /// Whose position.
        reader: ReaderName,
        /// The row's priority.
        class: Priority,
        /// The row.
        seq: u64,
    },
    /// A reader has taken a message, and all before it of that priority. Never moves back, nor
    /// beyond what was received. Outcome: [`Outcome::Done`].
    Take {
        /// Whose position.
        reader: ReaderName,
        /// The row's priority.
        class: Priority,
        /// The row.
        seq: u64,
    },
    /// A verified entry of the membership log; entries come in order from 0. One that is there is
    /// not changed. Outcome: [`Outcome::Done`], or [`Outcome::NotThere`] if the entry before it is
    /// missing; then it is not kept.
    Log(Box<StoredEntry>),
    /// A verified entry of a channel's log; the entries of a channel come in order from 1. One that
    /// is there is not changed. Outcome: as [`PeerOp::Log`]; nothing is kept at place 0.
    ChannelLog(Box<StoredChannelEntry>),
    /// A verified statement of a channel's key. One that is there is not changed, save that a root
    /// is added where there was none. Outcome: [`Outcome::Done`].
    ChannelKey(Box<StoredKey>),
    /// Forgets a channel's key: newer ones of its author have taken its place. Outcome:
    /// [`Outcome::Done`], or [`Outcome::NotThere`].
    DropChannelKey(KeyId),
    /// The newest version of a value that was seen; replaces what is kept for it. Outcome:
    /// [`Outcome::Done`].
    Value(Box<SeenValue>),
    /// Remembers a fact under a name. Outcome: [`Outcome::Done`].
    Pin(Pin),
    /// Forgets the fact of this name. Outcome: [`Outcome::Done`] or [`Outcome::NotThere`].
    Unpin(String),
    /// Forgets what is no longer needed, 10,000 rows at most: outbox rows final for 31 days, inbox
    /// rows received 31 days ago that every reader has passed, rejected, held and locked ones of
    /// that age. What no reader has taken is never forgotten. Outcome: [`Outcome::Count`] of these rows;
    /// 10,000 means that there may be more.
    ///
    /// A reader that was neither opened, offered anything nor took anything for 31 days (as seen
    /// by these calls) would hold up everything: where others are ahead of it, its position goes,
    /// and it starts like a new one should it come back.
    Prune {
        /// Unix ms.
        now: u64,
    },
}

/// What came of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was stored at this place.
    Row(u64),
    /// It was stored at this place, and wakes nobody.
    Muted(u64),
    /// It was stored at this place, and waits for the owner's answer.
    Held(u64),
    /// A rule says that it is not kept. It was counted.
    Dropped,
    /// It was there already.
    Duplicate,
    /// There was nothing to change.
    NotThere,
    /// So many rows changed.
    Count(u64),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// Queued messages of a lane in the order they were enqueued, without those for `except`.
    Outbox {
        /// Which lane.
        lane: u32,
        /// Only rows after this place.
        after: u64,
        /// Targets to leave out for now.
        except: Vec<Target>,
        /// Rows at most.
        limit: u32,
    },
    /// Messages of the outbox by id, in any state, in the order asked; unknown ones are left out.
    OutboxById(Vec<MessageId>),
    /// Messages accepted and not final, oldest first.
    OutboxAccepted {
        /// Only rows after this place.
        after: u64,
        /// Rows at most.
        limit: u32,
    },
    /// Every message of the outbox that is not final, oldest first; with `all` also final ones.
    OutboxList {
        /// Final ones too.
        all: bool,
        /// Rows at most (the newest).
        limit: u32,
    },
    /// Lanes that have queued rows, ascending.
    Lanes,
    /// What a reader has not taken, in reading order: `now`, `next`, `low`, by place within each.
    /// Without rejected rows. One that was not opened reads like a new one.
    Unread {
        /// Whose position.
        reader: ReaderName,
        /// Rows at most.
        limit: u32,
    },
    /// As [`Query::Unread`], which shows what is for the member and for channels.
    UnreadOf {
        /// Whose position.
        reader: ReaderName,
        /// The session that reads: it is shown what is for it, too.
        session: Option<PublicKey>,
        /// Nothing at all, unless there is something among it that is not muted.
        waking: bool,
        /// Rows at most.
        limit: u32,
    },
    /// Messages that wait for the owner's answer, in the order they came.
    Held {
        /// Rows at most.
        limit: u32,
    },
    /// The rules, by whom they are about.
    Rules,
    /// The newest received messages in the order they came, rejected ones too.
    Inbox {
        /// Rows at most (the newest).
        limit: u32,
    },
    /// Entries of the membership log from a place on.
    Log {
        /// From this seq.
        from: u64,
        /// Entries at most.
        limit: u32,
    },
    /// Locked messages in the order they came: those under one key, or all.
    Locked {
        /// Only those under this key.
        key_id: Option<KeyId>,
        /// Rows at most.
        limit: u32,
    },
    /// The entries of all channels' logs, by channel and seq.
    ChannelLogs,
    /// The keys of all channels, by channel and epoch; those of one epoch in the order they were
    /// kept.
    ChannelKeys,
    /// The versions of values that were seen, by what they are and name.
    Values,
    /// All remembered facts, by name.
    Pins,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rows {
    /// Outbox rows.
    Outbox(Vec<OutboxRow>),
    /// Inbox rows; `again` is set where the asking reader was offered the row before.
    Inbox(Vec<InboxRow>),
    /// Lane numbers.
    Lanes(Vec<u32>),
    /// Log entries.
    Log(Vec<StoredEntry>),
    /// Locked messages.
    Locked(Vec<LockedRow>),
    /// Entries of channels' logs.
    ChannelLogs(Vec<StoredChannelEntry>),
    /// Keys of channels.
    ChannelKeys(Vec<StoredKey>),
    /// Versions of values.
    Values(Vec<SeenValue>),
    /// Facts.
    Pins(Vec<Pin>),
    /// Rules.
    Rules(Vec<KeptRule>),
}

/// Where a peer keeps what must not be lost. Used from one thread at a time.
///
/// Places grow and are not given twice. Times above 2^63 − 1 are kept as that number.
pub trait PeerStore: Send {
    /// Applies all operations in one transaction, in order; durable on return. Gives an outcome
    /// for each.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of this call is kept (save after [`StoreError::Unknown`]).
    fn apply(&mut self, ops: &[PeerOp]) -> Result<Vec<Outcome>, StoreError>;

    /// Answers a question.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self, query: &Query) -> Result<Rows, StoreError>;

    /// A number that changes when another process, or another handle of this one, has changed the
    /// store. Only its change means something.
    ///
    /// # Errors
    /// [`StoreError`].
    fn version(&self) -> Result<u64, StoreError>;

    /// Whether what was applied survives the process.
    fn is_durable(&self) -> bool;
}
