//! What a store keeps of channels: their logs, their keys, and what was said in topics.

use std::sync::Arc;

use claudemesh_core::channel::{COPY_LEN, SignedKeyStatement};
use claudemesh_core::id::{ChannelName, KeyId, MeshId, PublicKey};
use claudemesh_core::membership::SignedEntry;

/// How long a topic's messages are kept: 90 days.
pub(super) const HISTORY_MS: u64 = 90 * 86_400_000;
/// For so long after a newer key was made the copies of a key are kept: what was sealed under it
/// at the last moment is in no history any more. Statements are kept for good.
pub(super) const COPIES_MS: u64 = 91 * 86_400_000;
/// Messages of one topic that are kept at most; the oldest go.
pub(super) const HISTORY_ROWS: u64 = 100_000;

/// Whether what is said in a channel is kept as its history.
pub(crate) fn is_topic(channel: &ChannelName) -> bool {
    channel.as_str().starts_with('#')
}

/// A member's copy of a key.
pub type KeyCopy = (PublicKey, [u8; COPY_LEN]);

/// A change to a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelOp {
    /// Appends one entry to a channel's log, whose first one has seq 1. Outcome:
    /// [`Outcome::Done`](super::Outcome::Done), [`Outcome::Conflict`](super::Outcome::Conflict)
    /// if `seq` is not the next place, or [`Outcome::NotThere`](super::Outcome::NotThere) if there
    /// is no such mesh.
    Append {
        /// The mesh.
        mesh: MeshId,
        /// The channel.
        channel: ChannelName,
        /// The place.
        seq: u64,
        /// The entry.
        entry: SignedEntry,
    },
    /// Makes a channel's next key, with all its copies. Outcome:
    /// [`Outcome::Done`](super::Outcome::Done),
    /// [`Outcome::KeyConflict`](super::Outcome::KeyConflict) if the current key is not `after` or
    /// the key is there already, or [`Outcome::NotThere`](super::Outcome::NotThere) if there is no
    /// such mesh.
    PutKey {
        /// The mesh.
        mesh: MeshId,
        /// The channel.
        channel: ChannelName,
        /// The key that must be the current one.
        after: Option<KeyId>,
        /// The statement.
        statement: SignedKeyStatement,
        /// Its epoch.
        epoch: u64,
        /// A copy for each of its audience.
        copies: Arc<[KeyCopy]>,
        /// Unix ms.
        now: u64,
    },
}

/// A question about a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelQuery {
    /// Keys by their ids, with one member's copies, in the order asked; those that are not there
    /// are left out. Answer: [`Rows::Keys`](super::Rows::Keys).
    Keys {
        /// The mesh.
        mesh: MeshId,
        /// The channel.
        channel: ChannelName,
        /// Which.
        ids: Vec<KeyId>,
        /// Whose copies.
        member: PublicKey,
    },
    /// What was said in a topic, newest first. Answer: [`Rows::History`](super::Rows::History).
    History {
        /// The mesh.
        mesh: MeshId,
        /// The channel.
        channel: ChannelName,
        /// Only rows below this seq.
        before: u64,
        /// Rows at most.
        limit: u32,
        /// Bytes of push texts at most; at least one row is given if there is one.
        bytes: u64,
    },
}

/// What is loaded of a channel with its mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRow {
    /// The channel.
    pub channel: ChannelName,
    /// Its log, in order; the first entry has seq 1.
    pub entries: Vec<SignedEntry>,
    /// The statement of its current key.
    pub current: Option<SignedKeyStatement>,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The statement.
    pub statement: SignedKeyStatement,
    /// The member's copy that was asked for, if there is one.
    pub copy: Option<[u8; COPY_LEN]>,
}

/// A message of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its place.
    pub seq: u64,
    /// Who sent it.
    pub sender: PublicKey,
    /// The push frame's text after the messageId.
    pub tail: String,
    /// Unix ms of acceptance.
    pub at: u64,
}

/// A page of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryRows {
    /// Newest first.
    pub rows: Vec<HistoryRow>,
    /// Whether there are older ones.
    pub more: bool,
}

/// How far a message to a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many {
    /// How many recipients it had.
    pub of: u32,
    /// For how many it failed.
    pub failed: u32,
    /// How many still wait.
    pub left: u32,
    /// Why the first one failed; said with the last recipient.
    pub reason: Option<String>,
}
