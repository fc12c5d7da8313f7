//! Topics and groups.

use std::sync::Arc;

use claudemesh_core::id::ChannelName;

use super::NativePeer;
use crate::error::NativeError;
use crate::runtime::CancelToken;
use crate::types::{ChannelMembers, HistoryPage, MeshChannel, key};

#[uniffi::export]
impl NativePeer {
    /// The topics and groups of this mesh, by name.
    ///
    /// # Errors
    /// `internal`.
    pub fn channels(&self) -> Result<Vec<MeshChannel>, NativeError> {
        Ok(self.peer.channels().iter().map(MeshChannel::of).collect())
    }

    /// A channel with its members, the newest if the broker can be reached.
    ///
    /// # Errors
    /// `no_such_channel`, `not_in_channel` for a private one of others.
    #[uniffi::method(default(cancel = None))]
    pub async fn channel(
        &self,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<ChannelMembers, NativeError> {
        self.run(cancel, |peer| async move {
            let view = peer.channel(&ChannelName::new(name)?).await?;
            Ok(ChannelMembers::of(&view))
        })
        .await
    }

    /// Makes a topic (`#name`) or a group (`@name`, always public), which this member leads.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`, `refused`.
    #[uniffi::method(default(cancel = None))]
    pub async fn create_channel(
        &self,
        name: String,
        public: bool,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            let name = ChannelName::new(name)?;
            Ok(peer.create_channel(&name, public).await?)
        })
        .await
    }

    /// Joins a public channel.
    ///
    /// # Errors
    /// `not_allowed`, `no_such_channel`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn join_channel(
        &self,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.join_channel(&ChannelName::new(name)?).await?)
        })
        .await
    }

    /// Leaves a channel: what is said there from now on cannot be read any more.
    ///
    /// # Errors
    /// `not_in_channel`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn leave_channel(
        &self,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.leave_channel(&ChannelName::new(name)?).await?)
        })
        .await
    }

    /// Takes a member into a channel, or makes it a lead or one no longer. For leads.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn add_to_channel(
        &self,
        name: String,
        member: String,
        lead: bool,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            let name = ChannelName::new(name)?;
            Ok(peer.add_to_channel(&name, key(&member)?, lead).await?)
        })
        .await
    }

    /// Takes a member out of a channel. For leads, the mesh's owner and admins.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn remove_from_channel(
        &self,
        name: String,
        member: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            let name = ChannelName::new(name)?;
            Ok(peer.remove_from_channel(&name, key(&member)?).await?)
        })
        .await
    }

    /// What was said in a topic, newest first, at most `limit` messages (200 at most), older than
    /// the item with the place `before`. Changes nothing in the inbox.
    ///
    /// # Errors
    /// `no_such_channel`, `not_in_channel`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn channel_history(
        &self,
        name: String,
        before: Option<String>,
        limit: u32,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<HistoryPage, NativeError> {
        self.run(cancel, |peer| async move {
            let name = ChannelName::new(name)?;
            let (said, more) = peer.channel_history(&name, before, limit).await?;
            Ok(HistoryPage::of(said, more))
        })
        .await
    }
}
