//! What goes into a session and what comes out.

use std::sync::Arc;

use crate::audit::{AuditError, Place, Record};
use crate::broker_url::BrokerUrl;
use crate::channel::{StatementError, ValueError};
use crate::cron::CronError;
use crate::crypto::KeyPair;
use crate::id::{
    ChannelName, Hash, KeyId, MemberId, MeshId, MessageId, Name, Priority, PublicKey, SessionName,
    Status, Target, Wake,
};
use crate::identity::{SessionAddress, SessionStatement, SessionStatementError};
use crate::membership::{Body, ChannelBody, ChannelLogError, Head, LogError, Role};
use crate::message::MessageError;
use crate::store::{NewInbox, OutboxRow, Outcome, PeerOp, Query, Rows, SendState, StoreError};
use crate::wire::{MemberRecord, PeerRecord};

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
    /// Look up how far messages have come; an [`Event::Sent`] follows for each. Answer:
    /// [`Reply::Done`].
    Refresh(Vec<MessageId>),
    /// Tell when nothing is under way any more: no send without its answer, nothing received
    /// that is not stored and acknowledged. Answer: [`Reply::Done`].
    Settle,
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
    /// What came of checking the audit table.
    Audit(Box<AuditReport>),
    /// The names that the key had come with, and that were known with other ones, in order.
    Trusted(Vec<Name>),
    /// The keys that are known, by their order.
    KnownKeys(Vec<super::KnownKey>),
}

/// A value that the mesh keeps, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Its name: a state key, a memory's id.
    pub name: String,
    /// What is kept, or why it is not shown.
    pub body: Result<String, String>,
    /// Who signed it; none if it is not sealed, or could not be opened.
    pub writer: Option<PublicKey>,
    /// The writer's name: by the log where it was opened, else what the broker says.
    pub writer_name: String,
    /// Whether the writer is a verified member now; not so for who was removed since.
    pub verified: bool,
    /// Whether it is sealed. What is not can be read, and was perhaps written, by the broker.
    pub protected: bool,
    /// Whether it is the newest that this peer has seen under its name; if not, somebody shows
    /// what was before, which was told as an event.
    pub newest: bool,
    /// Its number; 0 if none is known.
    pub version: u64,
    /// Unix ms by the writer's clock, or the broker's if it is not sealed.
    pub written_at: Option<u64>,
    /// Tags, which the broker sees.
    pub tags: Vec<String>,
}

impl Kept {
    /// Whether its text or tags have every word of `query`, in whatever case; what cannot be opened
    /// has only tags.
    pub fn has_words(&self, query: &str) -> bool {
        let text = self.body.as_deref().unwrap_or_default().to_lowercase();
        let tags: Vec<String> = self.tags.iter().map(|tag| tag.to_lowercase()).collect();
        let has = |word: &str| {
            let word = word.to_lowercase();
            text.contains(&word) || tags.iter().any(|tag| tag.contains(&word))
        };
        query.split_whitespace().all(has)
    }
}

/// A message that goes out later, as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scheduled {
    /// Its id.
    pub id: String,
    /// To whom: a key in hex, or a channel.
    pub to: String,
    /// When it is due (next), unix ms.
    pub due: u64,
    /// When again.
    pub cron: Option<String>,
    /// Why it could not be sent when it was due: a code.
    pub failed: Option<String>,
}

/// Who is here, as the broker says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WhoIsHere {
    /// The sessions, this one included.
    pub sessions: Vec<SessionHere>,
    /// The members, also those without a session; none if the broker does not say.
    pub members: Option<Vec<MemberRecord>>,
    /// Sessions that are away, as they were last shown; verified.
    pub away: Vec<SessionAddress>,
}

/// A session that the broker shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHere {
    /// As the broker has it. Nothing of it is proven.
    pub record: PeerRecord,
    /// What its member says of it, checked: the signature held, the time did when it was first
    /// seen on this connection, and the log has that member as verified. None where that is not
    /// so.
    pub statement: Option<SessionStatement>,
    /// Where it is reached, if it has a key of its own, in its member's and its own signed words:
    /// verified, as above.
    pub address: Option<SessionAddress>,
    /// In a mesh without a log: the name is known with another member key, and nobody has said
    /// that this one is fine ([`Command::Trust`]).
    pub key_changed: bool,
    /// In a mesh without a log: what is held of its key.
    pub trust: Option<super::KeyTrust>,
}

/// What came of checking the rows of the broker's audit table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// From where on they were checked.
    pub from: Place,
    /// Where the last row that was checked stands.
    pub to: Place,
    /// The newest of the rows that were checked, 10,000 at most. If they do not hold, those as far
    /// as they were read: what the broker says, and no more.
    pub rows: Vec<Record>,
    /// What does not hold; none: every row between both places is what the broker signed.
    pub fault: Option<AuditError>,
}

/// A channel as its log, and the mesh's, have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// The channel.
    pub channel: ChannelName,
    /// Whether anybody may join by itself.
    pub public: bool,
    /// Who is in, and whether it leads, in ascending order of keys; without those who are out of
    /// the mesh, and without devices, which come with their members.
    pub members: Vec<(PublicKey, bool)>,
    /// The newest epoch that this peer knows of; 0: none.
    pub epoch: u64,
}

/// A message of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The broker's id of it.
    pub broker_id: String,
    /// The message, or why it is not shown.
    pub message: Result<Box<NewInbox>, String>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The message cannot be sealed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The recipient is not in the membership log.
    #[error("{0} is not a member of this mesh")]
    NotAMember(PublicKey),
    /// The recipient was removed.
    #[error("{0} was removed from this mesh")]
    RecipientRemoved(PublicKey),
    /// Only the broker names the recipient: no entry of the log vouches for it.
    #[error(
        "{0} is unverified: the broker names it, and no entry of the membership log does; admit it \
         after comparing safety numbers, or say that this message may go to an unverified member"
    )]
    Unverified(PublicKey),
    /// In a mesh without a log: nobody said that this key is trusted.
    #[error(
        "only the broker says whose key {0} is, and you have not said that you trust it; nothing \
         was sent. Compare safety numbers and trust it, or say that this message may go to an \
         unverified member"
    )]
    NotTrusted(PublicKey),
    /// In a mesh without a log: the broker shows the recipient under a name that it showed with
    /// another key before.
    #[error(
        "{0} comes under a name that was known with another key; nothing was sent. Compare safety \
         numbers, then say that you trust this key"
    )]
    KeyChanged(PublicKey),
    /// In a mesh without a log: a message to a channel has no readers, for nobody who is in it is
    /// trusted and understands envelopes.
    #[error(
        "nobody in {0} is trusted by you and takes encrypted messages, so nothing was sent; trust \
         them one by one, or at first use, or say that this message may go in plain, readable by \
         the broker (Protection::LegacyPlaintext)"
    )]
    NobodyTrusted(ChannelName),
    /// So many keys are trusted or distrusted that no more can be kept.
    #[error("too many keys are trusted by name; at most 4,096 are kept")]
    TooManyTrusted,
    /// Whom to trust is said by the membership log.
    #[error("this mesh has a membership log: it says who is a member, nothing else does")]
    TrustedByLog,
    /// Only a membership log makes this possible; why, and what to do.
    #[error("this mesh has no membership log: {0}")]
    NoLog(&'static str),
    /// What a member without a log entry is sent holds text and nothing else.
    #[error(
        "an unverified member is sent plain text only: no other content type, no attributes, and \
         it cannot be named what the text answers"
    )]
    TextOnly,
    /// The session that it is for was not there for 30 days: nothing is kept for it any more.
    #[error("the session {0} was not there for 30 days; write to its member instead")]
    SessionGone(PublicKey),
    /// This member itself was removed.
    #[error("this member was removed from the mesh; ask its owner for a new invite")]
    Removed,
    /// The mesh's log has no such channel.
    #[error("this mesh has no channel {0}")]
    NoSuchChannel(ChannelName),
    /// This peer is not in the channel.
    #[error("you are not in {0}; join it, or ask one of its leads to add you")]
    NotInChannel(ChannelName),
    /// The channel's log does not allow it.
    #[error(transparent)]
    ChannelLog(#[from] ChannelLogError),
    /// The next key of a channel cannot be made.
    #[error(transparent)]
    ChannelKey(#[from] StatementError),
    /// The key of a channel is not to be had now: it was waited for 20 s.
    #[error(
        "the key of {0} is not here: a member who was in the mesh before you has to come online \
         once; try again then"
    )]
    NoKeyYet(ChannelName),
    /// The broker serves no channels; what is sent to one never goes out in plain instead.
    #[error("this broker serves no encrypted channels; nothing was sent")]
    ChannelsUnserved,
    /// The message was to go in plain, and does not.
    #[error("this message does not go in plain: {0}; nothing was sent")]
    PlaintextRefused(&'static str),
    /// The broker keeps no sealed state, memory, summaries or schedules.
    #[error(
        "this broker keeps no sealed state, memory, summaries or schedules, and could read and \
         change them, so nothing was sent; send a message instead, or use a mesh on a broker that \
         keeps them sealed"
    )]
    ValuesUnserved,
    /// The value cannot be sealed.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The kept value has another version than was asked for.
    #[error("the value has changed: it has version {current} now; read it and decide anew")]
    StateConflict {
        /// The version; 0: there is none.
        current: u64,
    },
    /// Not times that come again.
    #[error("{0}; write five fields: minute hour day month weekday, in UTC")]
    Cron(CronError),
    /// There is no connection to the broker.
    #[error("not connected to the broker: {0}")]
    NotConnected(String),
    /// The broker did not answer in time: 10 s for a question.
    #[error("the broker did not answer in time; try again")]
    Timeout,
    /// The broker refused.
    #[error("refused by the broker: {message} ({code})")]
    Refused {
        /// The stable code.
        code: String,
        /// What it said.
        message: String,
    },
    /// An online-only message reached nobody.
    #[error("nobody was reached: {0}")]
    NotReached(NotReached),
    /// No answer to an online-only message came, or the connection broke before it.
    #[error(
        "the broker did not answer: whether anybody was reached is not known, and what is for those \
         who are online is not sent again"
    )]
    OnlineUnknown,
    /// The broker serves no online-only messages.
    #[error("this broker serves no online-only messages; nothing was sent")]
    OnlineUnserved,
    /// Too many online-only messages wait for their answers.
    #[error("256 online-only messages wait for their answers; wait for some of them")]
    OnlineFull,
    /// The key for a channel is being fetched or made. What can wait is sent without being
    /// online-only.
    #[error("the key of {0} is on its way; try again in a moment")]
    KeyUnderWay(ChannelName),
    /// The log does not allow it.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The mesh has no membership log, or it has forked.
    #[error("the membership log of this mesh cannot be used: {0}")]
    LogUnusable(&'static str),
    /// Too many others added to the log at the same time (it was tried five times), or too many
    /// entries wait here.
    #[error("others keep changing the mesh at the same time; try again")]
    Contention,
    /// The store did not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an online-only message reached nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReached {
    /// No recipient is connected.
    NotOnline,
    /// Who is connected is busy, and takes only what is more urgent.
    Gated,
    /// Who is connected reads too slowly.
    Slow,
}

impl std::fmt::Display for NotReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotOnline => {
                "no recipient is connected; send it without online-only to have it kept"
            }
            Self::Gated => {
                "who is connected is busy; give it a higher priority, or send it to be kept"
            }
            Self::Slow => "who is connected reads too slowly; try again in a moment",
        })
    }
}

/// Why a member's word for a session, as the broker shows it, is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementFault {
    /// It is none, is of another mesh, or its signature or time does not hold.
    #[error(transparent)]
    Statement(#[from] SessionStatementError),
    /// It names another member, or another session key, than the broker does.
    #[error("it is another member's, or of another session")]
    OtherSession,
    /// The membership log says that its member is out.
    #[error("its member was removed")]
    Removed,
}

/// Something that a broker must not do, and did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lie {
    /// It shows a shorter log than this peer holds.
    #[error("the broker shows a membership log of {shown} entries; this peer holds {held}")]
    LogRollback {
        /// Entries held.
        held: u64,
        /// Entries shown.
        shown: u64,
    },
    /// It shows another log than this peer holds.
    #[error("the broker shows another membership log from entry {seq} on")]
    LogFork {
        /// The first entry that differs.
        seq: u64,
    },
    /// It shows an entry that is not valid.
    #[error("the broker shows a membership log with an invalid entry: {0}")]
    BadEntry(LogError),
    /// It shows no log for a mesh that has one.
    #[error("the broker shows no membership log for this mesh, which has one")]
    LogMissing,
    /// A member knows entries of the log that the broker has not shown for 30 s. Either the
    /// broker holds them back, or that member claims what is not there.
    #[error("{peer} knows the membership log up to entry {seq}; the broker does not show it")]
    LogWithheld {
        /// Who knows of it.
        peer: PublicKey,
        /// The entry.
        seq: u64,
    },
    /// A member holds another log than this peer: the broker shows them different ones, or that
    /// member claims what is not so.
    #[error("{peer} holds another membership log than this peer at entry {seq}")]
    HeadMismatch {
        /// Who holds it.
        peer: PublicKey,
        /// The entry.
        seq: u64,
    },
    /// What it shows as a member's word for a session does not hold. Where a clock is wrong, or a
    /// member signs nonsense, an honest broker shows such a thing too.
    #[error("the broker shows a statement of {peer} that does not hold: {error}")]
    BadStatement {
        /// Whose it is, by what the broker says beside it.
        peer: PublicKey,
        /// Why.
        error: StatementFault,
    },
    /// It shows a channel's log that is shorter than this peer holds.
    #[error("the broker shows a log of {channel} of {shown} entries; this peer holds {held}")]
    ChannelRollback {
        /// The channel.
        channel: ChannelName,
        /// Entries held.
        held: u64,
        /// Entries shown.
        shown: u64,
    },
    /// It shows another log of a channel than this peer holds.
    #[error("the broker shows another log of {channel} from entry {seq} on")]
    ChannelLogFork {
        /// The channel.
        channel: ChannelName,
        /// The first entry that differs.
        seq: u64,
    },
    /// It shows an entry of a channel's log that is not valid.
    #[error("the broker shows a log of {channel} with an invalid entry: {error}")]
    BadChannelEntry {
        /// The channel.
        channel: ChannelName,
        /// Why.
        error: ChannelLogError,
    },
    /// It shows a channel's key that is not valid.
    #[error("the broker shows a key of {channel} that is not valid: {error}")]
    BadChannelKey {
        /// The channel.
        channel: ChannelName,
        /// Why.
        error: StatementError,
    },
    /// It keeps this peer's copy of a channel's key to itself.
    #[error("the broker does not hand over this peer's copy of the key of {channel}")]
    CopyWithheld {
        /// The channel.
        channel: ChannelName,
    },
    /// In a mesh without a log it shows a known name with another key. Where two are called the
    /// same, or someone joined again with a new key, an honest broker does so too.
    #[error(
        "the broker shows {name:?} with the key {new}; it was {old} before. Compare safety numbers \
         before you trust it"
    )]
    KeyChanged {
        /// The name.
        name: Name,
        /// The key that was shown first.
        old: PublicKey,
        /// The one shown now.
        new: PublicKey,
    },
    /// It shows an older value than this peer has seen.
    #[error("the broker shows version {shown} of {what} {name:?}; this peer has seen {held}")]
    ValueRollback {
        /// `state` or `memory`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The newest version that was seen.
        held: u64,
        /// The version shown.
        shown: u64,
    },
    /// There are two values of one version: two wrote at the same time, or the broker shows
    /// different ones to different members.
    #[error("there are two values of version {version} of {what} {name:?}")]
    ValueFork {
        /// `state` or `memory`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The version.
        version: u64,
    },
    /// It signs its audit table with another key than before.
    #[error("the broker signs its audit table with another key than before")]
    AuditKeyChanged,
    /// Its audit table is not the one that it showed before: shorter, or with other rows.
    #[error(
        "the broker shows an audit table of {shown} rows that is not the one of {held} rows it showed before"
    )]
    AuditRollback {
        /// Rows of the newest head that was seen.
        held: u64,
        /// Rows of the one shown now.
        shown: u64,
    },
    /// It shows a head of its audit table that is not validly signed.
    #[error("the broker shows an audit head that does not hold: {0}")]
    BadAuditHead(AuditError),
    /// It shows no head of its audit table although it did before.
    #[error("the broker shows no audit head although it did before")]
    AuditMissing,
    /// The rows of its audit table are not those that it signed.
    #[error("the broker's audit table does not hold: {0}")]
    AuditAltered(AuditError),
    /// It sent no challenge although it did before.
    #[error("the broker sent no challenge although it did before; no hello was sent")]
    ChallengeMissing,
}

/// What a session tells of its own accord.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection stands.
    Connected,
    /// The connection is lost or could not be made.
    Reconnecting {
        /// Why.
        reason: String,
        /// Milliseconds until the next try.
        in_ms: u64,
    },
    /// The broker refused the hello. Tried again.
    Refused {
        /// The stable code.
        code: String,
        /// What it said.
        message: String,
    },
    /// This member is out. No further try.
    Removed {
        /// What is known of it.
        reason: String,
    },
    /// The connection was closed for good by the broker's operator. No further try.
    Kicked,
    /// New messages are in the inbox.
    Received,
    /// A message was not taken: it did not open, or failed a check.
    Rejected {
        /// Who the frame says sent it.
        sender: PublicKey,
        /// Why.
        reason: String,
    },
    /// In a mesh without a log: a message to a channel was sealed for some of those who are in it
    /// only. Told before it is accepted.
    Skipped {
        /// Which.
        id: MessageId,
        /// How many are not trusted.
        untrusted: u32,
        /// How many are trusted, and have never shown that they understand envelopes.
        legacy: u32,
    },
    /// A message that was sent, or the copy for a device, has come further.
    Sent {
        /// Which.
        id: MessageId,
        /// How far.
        state: SendState,
        /// Why it failed.
        reason: Option<String>,
        /// For [`SendState::Accepted`]: in how many mailboxes it is.
        recipients: Option<u32>,
    },
    /// A message waits for the owner's answer.
    Asked {
        /// Who sent it.
        sender: PublicKey,
    },
    /// This session has another name than it was given: a device of its member, or an older
    /// session, has that one.
    SessionRenamed {
        /// The name.
        name: SessionName,
    },
    /// A send was refused for now; it is tried again by itself.
    Held {
        /// To whom.
        to: Target,
        /// What the broker said.
        reason: String,
        /// Milliseconds until the next try.
        in_ms: u64,
    },
    /// All that waited at the broker was received and stored.
    CaughtUp,
    /// A peer came online, as the broker says.
    PeerOnline {
        /// Its routing key.
        key: String,
        /// Its name: as the session's statement says; without one that holds, as the log has the
        /// key; and where that has none, what the broker says.
        name: String,
        /// Whether a statement of a verified member, which holds, is of this session. That it is
        /// here now is the broker's word all the same.
        verified: bool,
    },
    /// A peer went offline, as the broker says.
    PeerOffline {
        /// Its routing key.
        key: String,
        /// Its name.
        name: String,
    },
    /// The log has grown: someone joined, was admitted, or is a further device of a member.
    MemberJoined {
        /// Who.
        key: PublicKey,
        /// Their name; a device's as `member/device`.
        name: Name,
    },
    /// The log has grown: someone has another role; also a pending member that was admitted.
    RoleChanged {
        /// Who.
        key: PublicKey,
        /// Which role.
        role: Role,
    },
    /// The log has grown: the mesh has another owner. The old one is an admin, or out.
    OwnerChanged {
        /// The new owner.
        key: PublicKey,
    },
    /// The log has grown: someone is out. A member's devices are told one by one.
    MemberRemoved {
        /// Who.
        key: PublicKey,
    },
    /// The broker had lost entries of a log, and has them again: this peer gave them back.
    Reposted {
        /// Whose log; none: the mesh's.
        channel: Option<ChannelName>,
        /// How many entries were given. Others may have given the same.
        entries: u64,
    },
    /// The broker has lost entries of a log, and does not take them back from this peer. Tried
    /// again on the next connection.
    RepostRefused {
        /// Whose log; none: the mesh's.
        channel: Option<ChannelName>,
        /// Why.
        reason: String,
    },
    /// The broker keeps another store than before: it is another one, or was set up anew. Its audit
    /// table is followed from this place on.
    AuditBegins {
        /// Rows that it had so far.
        n: u64,
    },
    /// A value of the mesh's state was set by another session, as the broker says.
    StateChanged {
        /// Its key.
        key: String,
    },
    /// A channel's log has grown: someone joined, was added, or left.
    ChannelChanged {
        /// The channel.
        channel: ChannelName,
    },
    /// An entry of a channel's log was not taken, nor what follows it: its signer may not say this
    /// any more, and nobody who may has built on it. It is taken once somebody has.
    ChannelEntryRefused {
        /// The channel.
        channel: ChannelName,
        /// Why.
        reason: String,
    },
    /// A channel has a new key; everything from here on is sealed for those who are in it now.
    ChannelRekeyed {
        /// The channel.
        channel: ChannelName,
        /// The number of the key.
        epoch: u64,
    },
    /// A channel has two keys of one number: somebody lies, or a broker let two authors win. Each
    /// opens what was sealed under it.
    ChannelFork {
        /// The channel.
        channel: ChannelName,
        /// The number.
        epoch: u64,
    },
    /// This peer's copy of a channel's key does not fit: its author, or the broker that hands it
    /// over, lies. This peer makes the next key before it sends.
    KeyWithheld {
        /// The channel.
        channel: ChannelName,
        /// Who.
        author: PublicKey,
    },
    /// Others keep making keys of a channel at the same time; what is to be sent waits a moment.
    ChannelContention {
        /// The channel.
        channel: ChannelName,
    },
    /// A message to a channel was received whose key is not here yet. It is kept, and shows up in
    /// the inbox when the key has come.
    Locked {
        /// The channel that its frame names.
        channel: ChannelName,
        /// The key.
        key_id: KeyId,
        /// Why it is not here.
        reason: String,
    },
    /// The log is at this head now.
    LogAt(Head),
    /// The broker did what it must not do.
    LiedTo(Lie),
    /// The store failed; what was received is not acknowledged and is tried again.
    StoreFailed(StoreError),
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

/// A row of the outbox as it stands, in an event.
pub(super) fn sent_event(row: &OutboxRow) -> Event {
    Event::Sent {
        id: row.message.id.clone(),
        state: row.state,
        reason: row.reason.clone(),
        recipients: None,
    }
}
