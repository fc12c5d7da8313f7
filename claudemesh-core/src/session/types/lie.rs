//! What a broker must not do, and did.

use super::StatementFault;
use crate::audit::AuditError;
use crate::channel::StatementError;
use crate::id::{ChannelName, Name, PublicKey};
use crate::membership::{ChannelLogError, LogError};

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
