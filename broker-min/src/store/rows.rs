//! The rows of a broker's store.

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::{ChannelName, MemberId, MeshId, MessageId, Name, Priority, PublicKey};
use claudemesh_core::membership::{Role, SignedEntry};

use super::{ChannelRow, Many, json_len};

/// How long a send's id is remembered: 31 days.
pub(super) const DEDUPE_MS: u64 = 31 * 86_400_000;
/// How long a failure is told to its sender: 30 days.
pub(super) const NOTICE_MS: u64 = 30 * 86_400_000;

/// A class as it is stored; the most urgent sorts first.
pub(super) const fn class_number(class: Priority) -> i64 {
    match class {
        Priority::Now => 0,
        Priority::Next => 1,
        Priority::Low => 2,
    }
}

/// The class of a stored number.
pub(super) const fn priority(class: i64) -> Option<Priority> {
    match class {
        0 => Some(Priority::Now),
        1 => Some(Priority::Next),
        2 => Some(Priority::Low),
        _ => None,
    }
}

/// The `metadata` of an audit row, with only what applies. No part of it needs escaping.
pub(super) fn audit_metadata(
    size: Option<u64>,
    priority: Option<Priority>,
    timestamps: &[(&str, u64)],
) -> String {
    let mut parts = Vec::with_capacity(3);
    if let Some(size) = size {
        parts.push(format!(r#""size":{size}"#));
    }
    if let Some(priority) = priority {
        parts.push(format!(r#""priority":"{priority}""#));
    }
    if !timestamps.is_empty() {
        let times: Vec<_> = timestamps
            .iter()
            .map(|(name, at)| format!(r#""{name}":{at}"#))
            .collect();
        parts.push(format!(r#""timestamps":{{{}}}"#, times.join(",")));
    }
    format!("{{{}}}", parts.join(","))
}

/// How much a mailbox may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Deliveries.
    pub rows: u64,
    /// Bytes of their push texts.
    pub bytes: u64,
    /// Deliveries from one sender.
    pub rows_per_sender: u64,
    /// Deliveries in all mailboxes of the mesh.
    pub mesh_rows: u64,
    /// Bytes of push texts in all mailboxes of the mesh.
    pub mesh_bytes: u64,
}

/// A message to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The mesh.
    pub mesh: MeshId,
    /// The sender's member key.
    pub sender: PublicKey,
    /// The sender's id of it, unique per mesh and sender for 31 days; none: no dedupe.
    pub id: Option<MessageId>,
    /// A hash of target and content: the same id with another content is refused.
    pub content: u64,
    /// The mailboxes' addresses. One that is named twice counts once, at its first place; without
    /// any the message is accepted and thereby delivered.
    pub recipients: Vec<PublicKey>,
    /// Its class.
    pub class: Priority,
    /// The push frame's text after the messageId.
    pub tail: String,
    /// Unix ms of acceptance.
    pub now: u64,
    /// Unix ms.
    pub expires_at: u64,
    /// What each mailbox may hold.
    pub caps: Caps,
    /// Only find whether it was taken before: it will be refused otherwise.
    pub lookup_only: bool,
    /// The channel it was sent to: its end is told with counts, and what is said in a `#topic` is
    /// history with the same commit.
    pub channel: Option<ChannelName>,
}

/// A delivery: one message in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The mesh.
    pub mesh: MeshId,
    /// The mailbox's address.
    pub address: PublicKey,
    /// Its class.
    pub class: Priority,
    /// The message's place.
    pub seq: u64,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Which.
    pub delivery: Delivery,
    /// Who had sent it.
    pub sender: PublicKey,
    /// `expired`, `removed` or `session_gone`.
    pub reason: String,
    /// How far its message is, if that was sent to a channel.
    pub many: Option<Many>,
}

/// A delivery to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRow {
    /// The message's place.
    pub seq: u64,
    /// Who sent it.
    pub sender: PublicKey,
    /// The push frame's text after the messageId.
    pub tail: String,
    /// Unix ms.
    pub expires_at: u64,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// Waits for a recipient, also if another recipient's delivery failed already.
    Queued,
    /// Nothing is left of it and no failure was noted. The store keeps nothing of a delivered
    /// message, so this is said of each place up to the head that has neither rows nor notices:
    /// that the place was this sender's is shown by the message id's MAC, which the caller checks.
    Delivered,
    /// None waits any more and a delivery failed, for this (the first) reason.
    Failed(String),
    /// As `Failed`, of a message to a channel.
    FailedOf {
        /// The first reason.
        reason: String,
        /// For how many recipients it failed.
        failed: u32,
        /// How many it had.
        of: u32,
    },
    /// The place was not given yet, or what is there is another sender's.
    Unknown,
}

/// A mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshRow {
    /// Its id.
    pub id: MeshId,
    /// Its short name.
    pub slug: String,
    /// The owner's key.
    pub owner: PublicKey,
    /// The owner's display name, which makes the first member's row.
    pub owner_name: Name,
    /// The owner's member id.
    pub owner_member: MemberId,
    /// Unix ms.
    pub created_at: u64,
}

impl MeshRow {
    /// The owner's row, which comes with the mesh.
    pub(super) fn first_member(&self) -> MemberRow {
        MemberRow {
            mesh: self.id.clone(),
            key: self.owner,
            id: self.owner_member.clone(),
            name: self.owner_name.clone(),
            role: Role::Owner,
            logged: true,
            joined_at: self.created_at,
            last_seen: 0,
            removed_at: 0,
        }
    }
}

/// A member as the broker files it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// The mesh.
    pub mesh: MeshId,
    /// The member's key.
    pub key: PublicKey,
    /// The broker's id of it.
    pub id: MemberId,
    /// Display name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// Whether the membership log has it.
    pub logged: bool,
    /// Unix ms.
    pub joined_at: u64,
    /// Unix ms; 0 for never.
    pub last_seen: u64,
    /// Unix ms of its removal; 0 while it is a member.
    pub removed_at: u64,
}

/// An invite's token, as clients that write no log entry use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteRow {
    /// The mesh.
    pub mesh: MeshId,
    /// The token.
    pub token: String,
    /// The log entry that issued it.
    pub invite: claudemesh_core::id::InviteId,
    /// How often it was used without a log entry.
    pub legacy_uses: u64,
}

/// What follows from a log entry for the broker's own rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogChange {
    /// Someone is a member now.
    Join(Box<MemberRow>),
    /// Someone is out.
    Remove {
        /// Who.
        key: PublicKey,
        /// Unix ms.
        at: u64,
    },
    /// A token belongs to an invite.
    Token(Box<InviteRow>),
    /// An audit row.
    Audit(AuditRow),
}

/// A row of the audit table. It has no place for content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The mesh.
    pub mesh: MeshId,
    /// The kind of the log entry, or `member_joined` of a client that writes none; a device that
    /// falls with its member has a `member_removed` of its own;
    /// `peer_joined`, `peer_left`; `message_sent` is written by [`super::Op::Accept`], and what
    /// belongs to a [`super::ValueOp`] by that.
    pub event: &'static str,
    /// Fingerprint of who did it: 16 hex digits of the key.
    pub actor: Option<String>,
    /// Fingerprint of whom it was done to.
    pub target: Option<String>,
    /// Size in bytes, where there is one.
    pub size: Option<u64>,
    /// Priority, where there is one.
    pub priority: Option<Priority>,
    /// Unix ms.
    pub at: u64,
}

/// A part of a mesh's audit chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The place before the first of the rows, or, without rows, the newest one.
    pub base: Place,
    /// Rows in order.
    pub rows: Vec<Record>,
    /// The newest place.
    pub head: Place,
}

impl AuditPage {
    /// Bytes of a row in a list, at most.
    pub(super) fn weight(row: &Record) -> usize {
        160 + row.event.len() + json_len(&row.metadata)
    }
}

/// All of a mesh: its row, members, invites, log entries in order, channels that have entries or
/// a key, by name.
pub type MeshRows = (
    MeshRow,
    Vec<MemberRow>,
    Vec<InviteRow>,
    Vec<SignedEntry>,
    Vec<ChannelRow>,
);

/// What a store is.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// 32 hex digits, random, made with the store; a restored one gets a new one.
    pub store: String,
    /// Secret from which message ids are made provable. 32 bytes, made with the store.
    pub id_secret: [u8; 32],
    /// Seed of the key that signs audit heads. 32 bytes, made with the store, told to nobody.
    pub audit_seed: [u8; 32],
    /// The newest seq.
    pub head: u64,
    /// Unix ms at the last save of the clock.
    pub clock: u64,
}

/// Without its secrets.
impl std::fmt::Debug for StoreInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreInfo")
            .field("store", &self.store)
            .field("head", &self.head)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
