//! The rows of a peer's store.

use zeroize::Zeroizing;

use crate::id::{
    ChannelName, Hash, KeyId, MessageId, Name, Priority, PublicKey, Signature, Target,
};
use crate::membership::SignedEntry;

/// How far a message that was sent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendState {
    /// In the own outbox; durable there.
    Queued,
    /// Committed at the broker.
    Accepted,
    /// Every recipient's client has it.
    Delivered,
    /// Will not be delivered.
    Failed,
}

impl SendState {
    /// As shown: `queued`, `accepted`, `delivered` or `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will change.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed)
    }
}

/// A message to be sent: sealed already; its text is not kept here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutbox {
    /// The message's id.
    pub id: MessageId,
    /// To whom.
    pub to: Target,
    /// The `send` frame's text; retries are byte for byte the same. For a channel it may be a draft,
    /// sealed for its sender alone until the channel's key is there ([`super::PeerOp::Seal`]).
    pub frame: String,
    /// How urgent.
    pub priority: Priority,
    /// Unix ms.
    pub created_at: u64,
    /// Unix ms; after this it is not delivered any more.
    pub expires_at: u64,
    /// The lane of the process that sends it.
    pub lane: u32,
    /// Whether it is handed to the network right after this is stored.
    pub sent: bool,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place: the order of sending within a lane.
    pub place: u64,
    /// As it was enqueued; lane and sent as they are now.
    pub message: NewOutbox,
    /// How far it has come.
    pub state: SendState,
    /// The broker's id, once accepted.
    pub broker_id: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What a received row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A message to this member.
    Direct,
    /// A message to a channel that this member is in.
    Channel,
    /// A direct message that was not taken: it did not open, or failed a check. It has no text,
    /// its reason stands in `body`; readers are not shown it.
    Rejected,
}

impl Kind {
    /// As shown: `direct`, `channel` or `rejected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Channel => "channel",
            Self::Rejected => "rejected",
        }
    }
}

/// How a received message got here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The broker's id of it.
    pub broker_id: String,
    /// By which it is known again: the message's id if it was authenticated, else
    /// `broker:<store>:<id>` or `nonce:<nonce>`. Unique together with the sender.
    pub dedupe: String,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInbox {
    /// What it is.
    pub kind: Kind,
    /// The channel it was said in; exactly where the kind is [`Kind::Channel`].
    pub channel: Option<ChannelName>,
    /// The session that it is for; none: the member, or a channel.
    pub to: Option<PublicKey>,
    /// The member whose device the sender is. Not kept: only rules are looked up by it.
    pub device_of: Option<PublicKey>,
    /// The authenticated sender, or who the broker says it is where `verified` is false.
    pub sender: PublicKey,
    /// The sender's name at the time of receipt.
    pub sender_name: Option<Name>,
    /// Whether the sender's signature held and the sender is a verified member.
    pub verified: bool,
    /// The message's id.
    pub id: MessageId,
    /// How it got here.
    pub delivery: Delivery,
    /// How urgent.
    pub priority: Priority,
    /// MIME type of the body.
    pub content_type: String,
    /// What was said.
    pub body: Vec<u8>,
    /// `name=value` texts.
    pub attributes: Vec<String>,
    /// The message this one answers.
    pub reply_to: Option<MessageId>,
    /// Unix ms by the sender's clock.
    pub sent_at: u64,
    /// Unix ms by this machine's clock.
    pub received_at: u64,
}

impl NewInbox {
    /// Whether it came in the form that its sender signs. Where this is false it was bare text:
    /// only the broker says who sent it, and when.
    pub fn is_protected(&self) -> bool {
        self.delivery.dedupe.starts_with("id:")
    }
}

/// A received message in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRow {
    /// Its place: the order of receipt.
    pub seq: u64,
    /// As it was received.
    pub message: NewInbox,
    /// The asking reader was offered it before and did not take it.
    pub again: bool,
    /// It was muted by a rule: it wakes nobody.
    pub muted: bool,
}

/// Whose reading position: 1–64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReaderName(pub String);

/// From where a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderStart {
    /// After what it took last; a new one after the last row that any reader took.
    Resume,
    /// After the last row that any reader took. What it was offered itself stays known as such.
    AfterAny,
}

/// An entry of the membership log as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place.
    pub seq: u64,
    /// Its bytes and signatures.
    pub entry: SignedEntry,
}

/// A remembered fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Under which name.
    pub name: String,
    /// The fact.
    pub value: String,
}

/// A message to a channel whose key is not here yet: kept as it came, outside of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLocked {
    /// The broker's id of it; unique among these.
    pub broker_id: String,
    /// The key it is sealed under.
    pub key_id: KeyId,
    /// The channel that its frame names.
    pub channel: ChannelName,
    /// The `push` frame's text.
    pub frame: String,
    /// Unix ms by this machine's clock.
    pub received_at: u64,
}

/// A locked message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRow {
    /// Its place: the order of receipt among these.
    pub place: u64,
    /// As it was received.
    pub message: NewLocked,
}

/// An entry of a channel's log as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChannelEntry {
    /// The channel.
    pub channel: ChannelName,
    /// Its place, from 1.
    pub seq: u64,
    /// Its bytes and signature.
    pub entry: SignedEntry,
}

/// A root as it is kept: only the owner of the store reads it. Zeroed on drop, and not shown. Boxed,
/// so that moving it leaves no copy.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptRoot(Box<Zeroizing<[u8; 32]>>);

impl KeptRoot {
    /// Takes the bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    /// Copies them from where they are kept, so that no other copy is left. None if they are not 32.
    #[cfg(feature = "sqlite")]
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut root = Box::new(Zeroizing::new([0; 32]));
        if bytes.len() != root.len() {
            return None;
        }
        root.copy_from_slice(bytes);
        Some(Self(root))
    }

    /// The bytes, exposed on purpose.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for KeptRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeptRoot")
    }
}

/// The statement that makes a channel's key, and the root, once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The channel.
    pub channel: ChannelName,
    /// The key's id.
    pub key_id: KeyId,
    /// Its epoch's number.
    pub epoch: u64,
    /// The statement's exact bytes.
    pub statement: Vec<u8>,
    /// The author's signature over them.
    pub signature: Signature,
    /// The root; none where this peer has no copy that fits.
    pub root: Option<KeptRoot>,
}

/// The newest version of a sealed value that this peer has seen: an older one is no longer
/// believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenValue {
    /// `state`, `memory` or `summary`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// Its number.
    pub version: u64,
    /// The hash of what was signed.
    pub hash: Hash,
}
