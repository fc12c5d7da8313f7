//! The rows of a broker's store.

use claudemesh_core::id::{MemberId, MeshId, MessageId, Name, Priority, PublicKey};
use claudemesh_core::membership::Role;

/// How much a mailbox may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Deliveries.
    pub rows: u64,
    /// Bytes of their push texts.
    pub bytes: u64,
    /// Deliveries from one sender.
    pub rows_per_sender: u64,
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
    /// The mailboxes' addresses.
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
    /// Waits for a recipient.
    Queued,
    /// Nothing is left of it and no failure was noted.
    Delivered,
    /// Why it failed.
    Failed(String),
    /// No message of this sender has this place.
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
    /// `mesh_created`, `member_joined`, `member_removed`, `invite_issued`, `invite_closed`,
    /// `peer_joined`, `peer_left`; `message_sent` is written by [`super::Op::Accept`].
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

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// 32 hex digits, random, made with the store; a restored one gets a new one.
    pub store: String,
    /// Secret from which message ids are made provable. 32 bytes, made with the store.
    pub id_secret: [u8; 32],
    /// The newest seq.
    pub head: u64,
    /// Unix ms at the last save of the clock.
    pub clock: u64,
}
