//! Channels: making them, who is in them, what was said in them.

use super::{PATIENCE, Peer, PeerError};
use crate::id::{ChannelName, PublicKey};
use crate::membership::{Body, ChannelBody};
use crate::session::{ChannelView, Command, Reply, Said};

/// A channel, as the mesh's log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its name, with its mark: `#topic` or `@group`.
    pub name: ChannelName,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who made it.
    pub lead: PublicKey,
    /// Unix ms of its making.
    pub since: u64,
}

impl Peer {
    /// The topics and groups of this mesh, by name, as the log that is held has them; private ones,
    /// too: their names are no secret among members. `*`, everybody, is not listed.
    pub fn channels(&self) -> Vec<ChannelInfo> {
        let Some(log) = self.log() else {
            return Vec::new();
        };
        let all = log.roster().channels();
        all.map(|channel| ChannelInfo {
            name: channel.name.clone(),
            public: channel.public,
            lead: channel.lead,
            since: channel.at,
        })
        .collect()
    }

    /// A channel with its members. Waits up to 5 s for the connection to have the newest; without
    /// one, what is held is told.
    ///
    /// # Errors
    /// [`PeerError::Session`] with [`NoSuchChannel`](crate::session::SessionError::NoSuchChannel),
    /// or [`NotInChannel`](crate::session::SessionError::NotInChannel) for a private one of others.
    pub async fn channel(&self, name: &ChannelName) -> Result<ChannelView, PeerError> {
        // What is held is better than nothing.
        let _ = self.connected_within(PATIENCE).await;
        match self.command(Command::SyncChannel(name.clone())).await? {
            Reply::Channel(view) => Ok(*view),
            _ => Err(PeerError::Closed),
        }
    }

    /// Makes a topic (`#name`) or a group (`@name`), which this peer's member leads. Needs the
    /// broker. At most 10 a day.
    ///
    /// # Errors
    /// [`PeerError`]; [`SessionError::Log`](crate::session::SessionError::Log) if there is one of
    /// this name, or a group is to be private.
    pub async fn create_channel(&self, name: &ChannelName, public: bool) -> Result<(), PeerError> {
        self.append(Body::ChannelCreated {
            channel: name.clone(),
            public,
        })
        .await
    }

    /// Joins a public channel; with all devices of this person. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`]; [`SessionError::ChannelLog`](crate::session::SessionError::ChannelLog) if it is
    /// private, or this member is in already.
    pub async fn join_channel(&self, name: &ChannelName) -> Result<(), PeerError> {
        let key = self.person();
        self.append_channel(name, ChannelBody::Joined { key }).await
    }

    /// Leaves a channel. What is said there from now on cannot be read any more. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn leave_channel(&self, name: &ChannelName) -> Result<(), PeerError> {
        let key = self.person();
        self.append_channel(name, ChannelBody::Left { key }).await
    }

    /// Takes a member into a channel, or makes it a lead or one no longer. For leads, and the mesh's
    /// owner. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn add_to_channel(
        &self,
        name: &ChannelName,
        member: PublicKey,
        lead: bool,
    ) -> Result<(), PeerError> {
        let body = ChannelBody::Added { key: member, lead };
        self.append_channel(name, body).await
    }

    /// Takes a member out of a channel: what is said there from now on it cannot read. For leads,
    /// the mesh's owner and admins. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn remove_from_channel(
        &self,
        name: &ChannelName,
        member: PublicKey,
    ) -> Result<(), PeerError> {
        self.append_channel(name, ChannelBody::Left { key: member })
            .await
    }

    /// What was said in a topic, newest first, at most `limit` messages (200 at most), older than the
    /// one with the broker's id `before`; and whether there are older ones. What cannot be opened
    /// says why. Needs the broker, which keeps 90 days; changes nothing in the inbox.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn channel_history(
        &self,
        name: &ChannelName,
        before: Option<String>,
        limit: u32,
    ) -> Result<(Vec<Said>, bool), PeerError> {
        self.connected_within(PATIENCE).await?;
        let command = Command::History {
            channel: name.clone(),
            before,
            limit,
        };
        match self.command(command).await? {
            Reply::History { messages, more } => Ok((messages, more)),
            _ => Err(PeerError::Closed),
        }
    }

    async fn append_channel(&self, name: &ChannelName, body: ChannelBody) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        let channel = name.clone();
        let command = Command::AppendChannel { channel, body };
        self.command(command).await.map(|_| ())
    }

    /// Whose device this is, or itself: in channels are people.
    fn person(&self) -> PublicKey {
        let key = self.key();
        self.log().map_or(key, |log| log.roster().person(&key))
    }
}
