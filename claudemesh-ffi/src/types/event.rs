//! What happens to a peer, as apps are told.

use std::time::{Duration, SystemTime};

use claudemesh_core::Event;
use claudemesh_core::id::Name;
use claudemesh_core::peer::Caught;

use super::{Role, target, time};
use crate::receipt::SendProgress;

/// Something that the broker must not do, and did.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BrokerLie {
    /// When it was found, by this machine's clock.
    pub at: SystemTime,
    /// What it was, in words. Names in it come from others.
    pub what: String,
}

impl BrokerLie {
    pub(crate) fn of(caught: Caught) -> Self {
        Self {
            at: time(caught.at),
            what: caught.what,
        }
    }
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum MeshEvent {
    /// The connection stands.
    Connected,
    /// The connection is lost or could not be made.
    Reconnecting {
        /// Why.
        reason: String,
        /// Until the next try.
        after: Duration,
    },
    /// The broker refused this peer; tried again.
    Refused {
        /// The broker's code.
        code: String,
        /// What it said.
        reason: String,
    },
    /// This member is out. No further try.
    Removed {
        /// What is known of it.
        reason: String,
    },
    /// The broker's operator ended the connection. No further try.
    Kicked,
    /// All that waited at the broker was received.
    CaughtUp,
    /// New messages are in the inbox.
    Received,
    /// A message was not taken: it did not open, or failed a check.
    Rejected {
        /// Who the broker says sent it.
        sender: String,
        /// Why.
        reason: String,
    },
    /// A message that was sent has come further.
    Sent {
        /// Which.
        id: String,
        /// How far.
        state: SendProgress,
        /// Why it failed.
        reason: Option<String>,
    },
    /// A message waits: the broker refused it for now.
    Held {
        /// To whom.
        to: String,
        /// What the broker said.
        reason: String,
        /// Until the next try.
        after: Duration,
    },
    /// A peer came online, as the broker says.
    PeerOnline {
        /// Its routing key.
        key: String,
        /// Its name.
        name: String,
        /// Whether a statement of a verified member, which holds, is of this session.
        verified: bool,
    },
    /// A peer went offline, as the broker says.
    PeerOffline {
        /// Its routing key.
        key: String,
        /// Its name.
        name: String,
    },
    /// Someone joined.
    MemberJoined {
        /// Who.
        key: String,
        /// Their name.
        name: String,
    },
    /// Someone has another role.
    RoleChanged {
        /// Who.
        key: String,
        /// Which.
        role: Role,
    },
    /// The mesh has another owner.
    OwnerChanged {
        /// Who.
        key: String,
    },
    /// Someone is out.
    MemberRemoved {
        /// Who.
        key: String,
    },
    /// A value of the mesh's state was set by another, as the broker says.
    StateChanged {
        /// Its key.
        key: String,
    },
    /// Someone joined or left a channel, or it has a new key.
    ChannelChanged {
        /// Which.
        channel: String,
    },
    /// The broker did what it must not do.
    LiedTo {
        /// What, in words.
        what: String,
    },
    /// The store failed; what was received is not lost, and is tried again.
    StoreFailed {
        /// Why.
        reason: String,
    },
    /// Anything else, in words.
    Other {
        /// What.
        what: String,
    },
}

impl MeshEvent {
    pub(crate) fn of(event: Event) -> Self {
        let name = |name: Name| name.as_str().to_owned();
        match event {
            Event::Connected => Self::Connected,
            Event::Reconnecting { reason, in_ms } => Self::Reconnecting {
                reason,
                after: Duration::from_millis(in_ms),
            },
            Event::Refused { code, message } => Self::Refused {
                code,
                reason: message,
            },
            Event::Removed { reason } => Self::Removed { reason },
            Event::Kicked => Self::Kicked,
            Event::CaughtUp => Self::CaughtUp,
            Event::Received => Self::Received,
            Event::Rejected { sender, reason } => Self::Rejected {
                sender: sender.to_hex(),
                reason,
            },
            Event::Sent {
                id, state, reason, ..
            } => Self::Sent {
                id: id.as_str().to_owned(),
                state: state.into(),
                reason,
            },
            Event::Held { to, reason, in_ms } => Self::Held {
                to: target(&to),
                reason,
                after: Duration::from_millis(in_ms),
            },
            Event::PeerOnline {
                key,
                name,
                verified,
            } => Self::PeerOnline {
                key,
                name,
                verified,
            },
            Event::PeerOffline { key, name } => Self::PeerOffline { key, name },
            Event::MemberJoined { key, name: called } => Self::MemberJoined {
                key: key.to_hex(),
                name: name(called),
            },
            Event::RoleChanged { key, role } => Self::RoleChanged {
                key: key.to_hex(),
                role: role.into(),
            },
            Event::OwnerChanged { key } => Self::OwnerChanged { key: key.to_hex() },
            Event::MemberRemoved { key } => Self::MemberRemoved { key: key.to_hex() },
            Event::StateChanged { key } => Self::StateChanged { key },
            Event::ChannelChanged { channel } | Event::ChannelRekeyed { channel, .. } => {
                Self::ChannelChanged {
                    channel: channel.as_str().to_owned(),
                }
            }
            Event::LiedTo(lie) => Self::LiedTo {
                what: lie.to_string(),
            },
            Event::StoreFailed(error) => Self::StoreFailed {
                reason: error.to_string(),
            },
            Event::Locked {
                channel, reason, ..
            } => Self::Other {
                what: format!("a message in {channel} cannot be read yet: {reason}"),
            },
            Event::ChannelFork { channel, epoch } => Self::Other {
                what: format!("{channel} has two keys of number {epoch}"),
            },
            Event::KeyWithheld { channel, author } => Self::Other {
                what: format!(
                    "{} gave no good copy of the key of {channel}",
                    author.short()
                ),
            },
            Event::ChannelContention { channel } => Self::Other {
                what: format!("others make keys of {channel} at the same time; a message waits"),
            },
            Event::LogAt(_) => Self::Other {
                what: "the membership log has grown".to_owned(),
            },
            Event::Asked { sender } => Self::Other {
                what: format!(
                    "a message of {} waits for the owner's answer",
                    sender.short()
                ),
            },
            Event::SessionRenamed { name } => Self::Other {
                what: format!("this session is called {name} now"),
            },
            // Events that came after this list; what they hold is not for people.
            _ => Self::Other {
                what: "something this version has no name for".to_owned(),
            },
        }
    }
}
