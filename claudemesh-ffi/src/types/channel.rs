//! Topics and groups, and what was said in them, as apps see them.

use std::time::SystemTime;

use claudemesh_core::id::PublicKey;
use claudemesh_core::peer::ChannelInfo;
use claudemesh_core::session::{ChannelView, Said};

use super::time;
use crate::message::Message;

/// A topic or group.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct MeshChannel {
    /// Its name with its mark: `#topic` or `@group`.
    pub name: String,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who made it.
    pub lead: String,
    /// When it was made.
    pub since: SystemTime,
}

impl MeshChannel {
    pub(crate) fn of(channel: &ChannelInfo) -> Self {
        Self {
            name: channel.name.as_str().to_owned(),
            public: channel.public,
            lead: channel.lead.to_hex(),
            since: time(channel.since),
        }
    }
}

/// One who is in a channel.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ChannelMember {
    /// Who.
    pub key: String,
    /// Whether it leads.
    pub lead: bool,
}

/// A channel with its members.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ChannelMembers {
    /// Its name.
    pub name: String,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who is in; without devices, which come with their members.
    pub members: Vec<ChannelMember>,
    /// The number of its newest key; 0: none yet.
    pub epoch: u64,
}

impl ChannelMembers {
    pub(crate) fn of(view: &ChannelView) -> Self {
        let member = |(key, lead): &(PublicKey, bool)| ChannelMember {
            key: key.to_hex(),
            lead: *lead,
        };
        Self {
            name: view.channel.as_str().to_owned(),
            public: view.public,
            members: view.members.iter().map(member).collect(),
            epoch: view.epoch,
        }
    }
}

/// A message of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HistoryItem {
    /// By which the next page is asked for.
    pub place: String,
    /// The message.
    pub message: Option<Message>,
    /// Why it is not shown.
    pub hidden: Option<String>,
}

/// A page of a topic's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HistoryPage {
    /// The messages.
    pub items: Vec<HistoryItem>,
    /// Whether there are older ones.
    pub more: bool,
}

impl HistoryPage {
    pub(crate) fn of(said: Vec<Said>, more: bool) -> Self {
        let items = said.into_iter().map(|said| {
            let (message, hidden) = match said.message {
                Ok(message) => (Some(Message::of_history(*message)), None),
                Err(why) => (None, Some(why)),
            };
            HistoryItem {
                place: said.broker_id,
                message,
                hidden,
            }
        });
        Self {
            items: items.collect(),
            more,
        }
    }
}
