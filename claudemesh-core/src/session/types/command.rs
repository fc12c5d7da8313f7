//! What a session is asked for, and what it answers.

use super::{AuditReport, ChannelView, Kept, Said, Scheduled, WhoIsHere};
use crate::id::{ChannelName, Hash, MessageId, Name, Priority, PublicKey, Status, Target, Wake};
use crate::identity::SessionAddress;
use crate::membership::{Body, ChannelBody};
use crate::wire::{ApiKeyCreated, ApiKeyRecord, BanRecord};

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: Target,
    /// What is said, at most [`MAX_BODY`](crate::message::MAX_BODY) bytes.
    pub body: Vec<u8>,
    /// MIME type of it, at most 128 bytes.
    pub content_type: String,
    /// How urgent.
    pub priority: Priority,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// `name=value` texts, at most 16.
    pub attributes: Vec<String>,
    /// Milliseconds for which it waits for its recipient; 7 days if none, 30 days at most.
    pub expires_in: Option<u64>,
    /// Whether it may go, as bare text, to a member that has no log entry and is not known to
    /// understand more. It never does to anybody else.
    pub to_unverified: bool,
    /// Whether it may go to a channel in plain.
    pub protection: Protection,
}

/// How what is sent to a channel is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protection {
    /// Sealed for those who are in the channel; where that cannot be, nothing is sent.
    #[default]
    Sealed,
    /// In plain, as clients of the existing system send to many: the broker and whoever it shows
    /// it to can read it, change it, and say that somebody else sent it. Only to a channel, in a
    /// mesh without a membership log, on a connection whose broker serves neither logs nor
    /// encrypted channels; anywhere else the message is refused, not sealed instead. Only text,
    /// without attributes and without naming what it answers.
    ///
    /// A topic is addressed by its id there, `#` and the broker's id of it.
    LegacyPlaintext,
}

/// What somebody wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Send a message. Answer: [`Reply::Queued`] or [`Reply::QueuedBare`], once it is stored.
    Send(Box<Outgoing>),
    /// Hand a message to whoever is connected at this moment. It is kept nowhere and tried once;
    /// [`Outgoing::expires_in`] means nothing. Answer: [`Reply::Reached`], once the broker has
    /// answered.
    SendOnline(Box<Outgoing>),
    /// Who is here? Answer: [`Reply::Peers`].
    ListPeers,
    /// Get the newest log. Answer: [`Reply::Done`].
    SyncLog,
    /// Add to the log. Answer: [`Reply::Appended`].
    Append {
        /// What to say.
        body: Body,
        /// The token of an issued invite.
        invite_token: Option<String>,
    },
    /// Get the newest log of a channel. Answer: [`Reply::Channel`].
    SyncChannel(ChannelName),
    /// Add to a channel's log. Answer: [`Reply::Appended`].
    AppendChannel {
        /// Which.
        channel: ChannelName,
        /// What to say.
        body: ChannelBody,
    },
    /// What was said in a topic. Answer: [`Reply::History`].
    History {
        /// The topic.
        channel: ChannelName,
        /// The broker's id of a message: only older ones; none: the newest.
        before: Option<String>,
        /// Messages at most, 200.
        limit: u32,
    },
    /// Keep a value of the mesh's state. Answer: [`Reply::Kept`].
    SetState {
        /// Under which key.
        key: String,
        /// The value.
        body: Vec<u8>,
        /// The version that the kept value must have; 0: there must be none.
        if_version: Option<u64>,
    },
    /// A value of the mesh's state. Answer: [`Reply::Values`], with one or none.
    GetState(String),
    /// All values of the mesh's state, 10,000 at most. Answer: [`Reply::Values`].
    ListState,
    /// Keep a memory. Answer: [`Reply::Remembered`].
    Remember {
        /// What to keep.
        body: Vec<u8>,
        /// Tags, which the broker sees.
        tags: Vec<String>,
    },
    /// All memories, newest first, 10,000 at most. Answer: [`Reply::Values`].
    ListMemories,
    /// Forget a memory. Answer: [`Reply::Done`].
    Forget(String),
    /// Say what this session does, now and on every connection. Answer: [`Reply::Done`].
    SetSummary(String),
    /// Send a message at a time, also while this peer is away. Answer: [`Reply::Scheduled`].
    Schedule {
        /// The message.
        message: Box<Outgoing>,
        /// Unix ms.
        at: u64,
    },
    /// Send a message at each time that five fields name. Answer: [`Reply::Scheduled`].
    ScheduleCron {
        /// The message.
        message: Box<Outgoing>,
        /// Minute, hour, day of month, month, day of week; UTC.
        cron: String,
    },
    /// The own schedules. Answer: [`Reply::Schedules`].
    ListScheduled,
    /// Give up a schedule. Answer: [`Reply::Cancelled`].
    CancelScheduled(String),
    /// Check the broker's audit table; the owner's and admins' right. Answer: [`Reply::Audit`].
    Audit {
        /// From the oldest row that is kept on; else from where it was checked last.
        all: bool,
    },
    /// Take the broker's audit table as it is now, whatever it was before. Answer:
    /// [`Reply::Done`].
    AcceptAudit,
    /// Something that the broker does at the wish of an owner or admin. Answer: [`Reply::Served`].
    Service(Service),
    /// In a mesh without a log: this key is trusted, for good, also under the names that the broker
    /// showed it with in this process though they are known with others. Answer:
    /// [`Reply::Trusted`].
    Trust(PublicKey),
    /// In a mesh without a log: this key is not to be trusted. Answer: [`Reply::Done`].
    Distrust(PublicKey),
    /// In a mesh without a log: which keys are known, and what is held of them. Answer:
    /// [`Reply::KnownKeys`].
    KnownKeys,
    /// Say how attentive this session is. Answer: [`Reply::Done`].
    SetStatus(Status),
    /// Say how a message gets this session's attention. Answer: [`Reply::Done`].
    SetWake(Wake),
    /// The sessions whose addresses are known. Answer: [`Reply::Sessions`].
    KnownSessions,
    /// Give up a message that was never handed to the network. Answer: [`Reply::Cancelled`].
    Cancel(MessageId),
    /// These messages were taken (only where the store is not durable). Answer: [`Reply::Done`].
    Taken(Vec<String>),
    /// Take over the outbox of a process that is gone. Answer: [`Reply::Done`].
    Adopt(u32),
    /// Look up how far messages have come; an [`Event::Sent`](super::Event::Sent) follows for each. Answer:
    /// [`Reply::Done`].
    Refresh(Vec<MessageId>),
    /// Tell when nothing is under way any more: no send without its answer, nothing received
    /// that is not stored and acknowledged. Answer: [`Reply::Done`].
    Settle,
}

/// What a broker does for owners and admins beside the membership log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// End a member's connections for good.
    Kick(PublicKey),
    /// Shut out a member that is in no log.
    Ban(PublicKey),
    /// Let it in again.
    Unban(PublicKey),
    /// Who is out.
    Bans,
    /// Make a key for HTTP.
    CreateApiKey {
        /// What it is for.
        label: String,
        /// `send`, `read`, `state_write`, `admin`.
        capabilities: Vec<String>,
        /// Only these topics.
        topics: Option<Vec<String>>,
        /// Unix ms.
        expires_at: Option<u64>,
    },
    /// The keys for HTTP.
    ApiKeys,
    /// Take one back, by its id or the beginning of it.
    RevokeApiKey(String),
}

/// The broker's word that it did so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// Whose connections it ended, by name.
    Kicked(Vec<String>),
    /// Whom it shut out, by name.
    Banned(String),
    /// Whom it lets in again, by name.
    Unbanned(String),
    /// Who is out.
    Bans(Vec<BanRecord>),
    /// The key that it made, with its secret.
    ApiKey(Box<ApiKeyCreated>),
    /// The keys, without secrets.
    ApiKeys(Vec<ApiKeyRecord>),
    /// `revoked`, `not_found` or `not_unique`.
    ApiKeyRevoked(String),
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing to add.
    Done,
    /// The message is in the outbox under this id, and a copy for each of its recipient's devices
    /// under those.
    Queued(MessageId, Vec<MessageId>),
    /// The message is in the outbox under this id, unprotected: as bare text for a member without a
    /// log entry, or in plain for a channel of the existing system.
    QueuedBare(MessageId),
    /// The broker has handed the message to so many connections, one or more.
    Reached(u32),
    /// Who is here.
    Peers(Box<WhoIsHere>),
    /// Sessions whose addresses are known, hold now, and are of verified members.
    Sessions(Vec<SessionAddress>),
    /// The entry is in the log.
    Appended {
        /// Its place.
        seq: u64,
        /// Its hash.
        hash: Hash,
    },
    /// Whether the message was given up.
    Cancelled(bool),
    /// A channel as its log has it.
    Channel(Box<ChannelView>),
    /// What was said in a topic, newest first.
    History {
        /// The messages.
        messages: Vec<Said>,
        /// Whether there are older ones.
        more: bool,
    },
    /// A value is kept under this version.
    Kept(u64),
    /// Values.
    Values(Vec<Kept>),
    /// A memory is kept under this id.
    Remembered(String),
    /// A schedule is kept.
    Scheduled {
        /// Its id.
        id: String,
        /// When it is due (next), unix ms.
        due: u64,
    },
    /// The own schedules, by when they are due.
    Schedules(Vec<Scheduled>),
    /// The broker did what an owner or admin wished, by its word.
    Served(Served),
    /// What came of checking the audit table.
    Audit(Box<AuditReport>),
    /// The names that the key had come with, and that were known with other ones, in order.
    Trusted(Vec<Name>),
    /// The keys that are known, by their order.
    KnownKeys(Vec<crate::session::KnownKey>),
}
