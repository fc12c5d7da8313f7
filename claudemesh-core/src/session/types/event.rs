//! What a session tells of its own accord.

use super::Lie;
use crate::id::{ChannelName, KeyId, MessageId, Name, PublicKey, SessionName, Target};
use crate::membership::{Head, Role};
use crate::store::{OutboxRow, SendState, StoreError};

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
    /// Somebody asked for a file or a folder of this machine, or for a call of a program on it, as
    /// the existing system lets peers do. It got no answer. Told once for each kind on a connection.
    NotAnswered {
        /// The type of the frame.
        kind: &'static str,
    },
    /// The log is at this head now.
    LogAt(Head),
    /// The broker did what it must not do.
    LiedTo(Lie),
    /// The store failed; what was received is not acknowledged and is tried again.
    StoreFailed(StoreError),
}

/// A row of the outbox as it stands, in an event.
pub(in crate::session) fn sent_event(row: &OutboxRow) -> Event {
    Event::Sent {
        id: row.message.id.clone(),
        state: row.state,
        reason: row.reason.clone(),
        recipients: None,
    }
}
