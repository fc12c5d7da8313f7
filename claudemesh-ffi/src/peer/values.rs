//! What the mesh keeps besides messages.

use std::sync::Arc;
use std::time::SystemTime;

use super::NativePeer;
use crate::error::NativeError;
use crate::message::NewMessage;
use crate::runtime::CancelToken;
use crate::types::{KeptValue, ScheduledMessage};

#[uniffi::export]
impl NativePeer {
    /// Keeps a value of the mesh's state under a key (1–256 bytes, which the broker sees), at most
    /// 32,768 bytes. With `if_version` only if the kept value has that version; 0: if there is
    /// none. Gives the new version.
    ///
    /// # Errors
    /// `state_conflict` with the version that is kept as detail; `not_connected`.
    #[uniffi::method(default(if_version = None, cancel = None))]
    pub async fn set_state(
        &self,
        key: String,
        value: String,
        if_version: Option<u64>,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<u64, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.set_state(&key, value, if_version).await?)
        })
        .await
    }

    /// A value of the mesh's state; none if there is none under this key.
    ///
    /// # Errors
    /// `not_connected`, `timeout`.
    #[uniffi::method(default(cancel = None))]
    pub async fn state(
        &self,
        key: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Option<KeptValue>, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.state(&key).await?.map(KeptValue::of))
        })
        .await
    }

    /// All values of the mesh's state by key.
    ///
    /// # Errors
    /// `not_connected`, `timeout`.
    #[uniffi::method(default(cancel = None))]
    pub async fn list_state(
        &self,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Vec<KeptValue>, NativeError> {
        self.run(cancel, |peer| async move {
            let all = peer.list_state().await?;
            Ok(all.into_iter().map(KeptValue::of).collect())
        })
        .await
    }

    /// Keeps a memory of at most 32,768 bytes, with at most 16 tags, which the broker sees. Gives
    /// its id.
    ///
    /// # Errors
    /// `message_too_large`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn remember(
        &self,
        text: String,
        tags: Vec<String>,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<String, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.remember(text, tags).await?)
        })
        .await
    }

    /// The memories of which text or tags have every word of `query`, newest first; all for an
    /// empty one.
    ///
    /// # Errors
    /// `not_connected`, `timeout`.
    #[uniffi::method(default(cancel = None))]
    pub async fn recall(
        &self,
        query: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Vec<KeptValue>, NativeError> {
        self.run(cancel, |peer| async move {
            let all = peer.recall(&query).await?;
            Ok(all.into_iter().map(KeptValue::of).collect())
        })
        .await
    }

    /// Forgets a memory: the own, or as owner or admin anybody's.
    ///
    /// # Errors
    /// `refused`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn forget(
        &self,
        id: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move { Ok(peer.forget(&id).await?) })
            .await
    }

    /// Sends a message at a time, also while this peer is away then.
    ///
    /// # Errors
    /// As [`NativePeer::send`]; `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn schedule(
        &self,
        to: String,
        message: NewMessage,
        at: SystemTime,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<ScheduledMessage, NativeError> {
        self.run(cancel, |peer| async move {
            let kept = peer.schedule(to, message.outgoing()?, at).await?;
            Ok(ScheduledMessage::of(kept))
        })
        .await
    }

    /// Sends a message at each time that five fields name (minute, hour, day of month, month, day
    /// of week; UTC), whenever this peer is there.
    ///
    /// # Errors
    /// As [`NativePeer::send`]; `invalid_argument`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn schedule_repeated(
        &self,
        to: String,
        message: NewMessage,
        cron: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<ScheduledMessage, NativeError> {
        self.run(cancel, |peer| async move {
            let kept = peer.schedule_cron(to, message.outgoing()?, &cron).await?;
            Ok(ScheduledMessage::of(kept))
        })
        .await
    }

    /// The own schedules, by when they are due.
    ///
    /// # Errors
    /// `not_connected`, `timeout`.
    #[uniffi::method(default(cancel = None))]
    pub async fn schedules(
        &self,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Vec<ScheduledMessage>, NativeError> {
        self.run(cancel, |peer| async move {
            let all = peer.schedules().await?;
            Ok(all.into_iter().map(ScheduledMessage::of).collect())
        })
        .await
    }

    /// Gives up a schedule; false if there is none.
    ///
    /// # Errors
    /// `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn cancel_schedule(
        &self,
        id: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<bool, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.cancel_schedule(&id).await?)
        })
        .await
    }
}
