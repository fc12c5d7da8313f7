//! Why a session does not do what was asked, or does not believe what it was shown.

use crate::channel::{StatementError, ValueError};
use crate::cron::CronError;
use crate::id::{ChannelName, PublicKey};
use crate::identity::SessionStatementError;
use crate::membership::{ChannelLogError, LogError};
use crate::message::MessageError;
use crate::store::StoreError;

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
