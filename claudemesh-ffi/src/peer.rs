//! One identity in one mesh.

mod channels;
mod members;
mod values;

use std::sync::Arc;
use std::time::Duration;

use claudemesh_core::id::{MessageId, PublicKey};
use claudemesh_core::{Outgoing, Peer, PeerError, Recipient};

use crate::error::NativeError;
use crate::listen::{self, EventListener, MessageListener, NativeSubscription};
use crate::message::{Message, NewMessage};
use crate::receipt::NativeReceipt;
use crate::runtime::{CancelToken, Work, run};
use crate::streams::{NativeEvents, NativeMessages};
use crate::types::{Attention, ConnectionState, MeshInfo, OutboxItem};

/// How often, and how long apart, a reader is asked for that another one is just letting go of.
const READER_TRIES: u32 = 25;
const READER_PAUSE: Duration = Duration::from_millis(20);

/// One identity in one mesh. It connects, and connects again, by itself; it ends with
/// [`NativePeer::shutdown`], or when it and everything made from it is released.
#[derive(Debug, uniffi::Object)]
pub struct NativePeer {
    peer: Peer,
}

impl NativePeer {
    pub(crate) fn new(peer: Peer) -> Arc<Self> {
        Arc::new(Self { peer })
    }

    /// Runs something on the runtime with a handle of the peer.
    fn run<T, F>(&self, cancel: Option<Arc<CancelToken>>, work: impl FnOnce(Peer) -> F) -> Work<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NativeError>> + Send + 'static,
    {
        run(cancel, work(self.peer.clone()))
    }
}

/// Whom a text means. A whole key is taken as it is, so that who was removed is told from who never
/// was here.
fn recipient(to: String) -> Recipient {
    match PublicKey::from_hex(to.trim()) {
        Ok(key) => Recipient::Key(key),
        Err(_) => Recipient::Text(to),
    }
}

/// The reader of a peer, waiting a moment for one that was just let go of.
async fn incoming(peer: &Peer) -> Result<claudemesh_core::Incoming, NativeError> {
    for _ in 0..READER_TRIES {
        match peer.incoming().await {
            Err(PeerError::AlreadyReading) => tokio::time::sleep(READER_PAUSE).await,
            other => return Ok(other?),
        }
    }
    Ok(peer.incoming().await?)
}

#[uniffi::export]
impl NativePeer {
    /// The mesh.
    pub fn mesh(&self) -> MeshInfo {
        MeshInfo::of(self.peer.mesh())
    }

    /// Who this peer is: its key, in hex.
    pub fn key(&self) -> String {
        self.peer.key().to_hex()
    }

    /// Where the connection stands now.
    pub fn connection(&self) -> ConnectionState {
        ConnectionState::of(&self.peer.connection())
    }

    /// Waits until the broker has taken this peer, at most for `limit`.
    ///
    /// # Errors
    /// `not_connected`, `removed`, `closed`.
    #[uniffi::method(default(cancel = None))]
    pub async fn connected(
        &self,
        limit: Duration,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.connected_within(limit).await?)
        })
        .await
    }

    /// Waits until all that waited at the broker was received, at most for `limit`.
    ///
    /// # Errors
    /// `not_connected`, `removed`, `closed`.
    #[uniffi::method(default(cancel = None))]
    pub async fn caught_up(
        &self,
        limit: Duration,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(
            cancel,
            |peer| async move { Ok(peer.caught_up(limit).await?) },
        )
        .await
    }

    /// Waits until the broker has answered for every message in the outbox, at most for `limit`.
    ///
    /// # Errors
    /// `not_connected`, `timeout`; nothing is lost.
    #[uniffi::method(default(cancel = None))]
    pub async fn flush(
        &self,
        limit: Duration,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move { Ok(peer.flush(limit).await?) })
            .await
    }

    /// Sends a text: to a member by name, key or an unambiguous beginning of its key, or to a
    /// channel (`#topic`, `@group`, `*` for everybody). When it returns the message is in the
    /// outbox, and goes out as soon as the broker can be reached; the receipt tells how far it is.
    ///
    /// # Errors
    /// `unknown_recipient`, `ambiguous_recipient`, `recipient_removed`, `message_too_large`,
    /// `not_in_channel`, `no_such_channel`, `removed`, `disk_full`.
    #[uniffi::method(default(cancel = None))]
    pub async fn send_text(
        &self,
        to: String,
        text: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<NativeReceipt>, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(NativeReceipt::new(peer.send(recipient(to), text).await?))
        })
        .await
    }

    /// As [`NativePeer::send_text`], with everything that can be said about a message.
    ///
    /// # Errors
    /// As [`NativePeer::send_text`]; `invalid_argument`.
    #[uniffi::method(default(cancel = None))]
    pub async fn send(
        &self,
        to: String,
        message: NewMessage,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<NativeReceipt>, NativeError> {
        self.run(cancel, |peer| async move {
            let receipt = peer
                .send_message(recipient(to), message.outgoing()?)
                .await?;
            Ok(NativeReceipt::new(receipt))
        })
        .await
    }

    /// Answers a message where it was said: in its channel, or to its sender.
    ///
    /// # Errors
    /// As [`NativePeer::send_text`].
    #[uniffi::method(default(cancel = None))]
    pub async fn reply(
        &self,
        message: Message,
        text: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<NativeReceipt>, NativeError> {
        self.run(cancel, |peer| async move {
            let answer = Outgoing::text(text).reply_to(MessageId::new(&message.id)?);
            let to = message.channel.unwrap_or(message.sender);
            Ok(NativeReceipt::new(
                peer.send_message(recipient(to), answer).await?,
            ))
        })
        .await
    }

    /// Gives up a message that was never handed to the network; false if it was, or is unknown.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn cancel_message(&self, id: String) -> Result<bool, NativeError> {
        self.run(None, |peer| async move {
            Ok(peer.cancel(MessageId::new(&id)?).await?)
        })
        .await
    }

    /// The outbox: what is not final, oldest first; with `all`, final messages too.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn outbox(&self, all: bool) -> Result<Vec<OutboxItem>, NativeError> {
        self.run(None, |peer| async move {
            let rows = peer.outbox(all).await?;
            Ok(rows.into_iter().map(OutboxItem::of).collect())
        })
        .await
    }

    /// The messages for this peer, one at a time. One reader at a time per peer.
    ///
    /// # Errors
    /// `already_reading`, `closed`, `store_failed`.
    pub async fn messages(&self) -> Result<Arc<NativeMessages>, NativeError> {
        self.run(None, |peer| async move {
            Ok(NativeMessages::new(incoming(&peer).await?))
        })
        .await
    }

    /// As [`NativePeer::messages`], by callback, until the handle is cancelled or released.
    ///
    /// # Errors
    /// As [`NativePeer::messages`].
    pub async fn listen_for_messages(
        &self,
        listener: Arc<dyn MessageListener>,
    ) -> Result<Arc<NativeSubscription>, NativeError> {
        self.run(None, |peer| async move {
            listen::messages(incoming(&peer).await?, listener)
        })
        .await
    }

    /// What happens from now on.
    pub fn events(&self) -> Arc<NativeEvents> {
        NativeEvents::new(self.peer.events())
    }

    /// As [`NativePeer::events`], by callback, until the handle is cancelled or released.
    ///
    /// # Errors
    /// `system`.
    pub fn listen_for_events(
        &self,
        listener: Arc<dyn EventListener>,
    ) -> Result<Arc<NativeSubscription>, NativeError> {
        listen::events(self.peer.events(), listener)
    }

    /// What is unread now, without taking it; needs no connection.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn unread(&self, limit: u32) -> Result<Vec<Message>, NativeError> {
        self.run(None, |peer| async move {
            Ok(peer.unread(limit).await?.iter().map(Message::of).collect())
        })
        .await
    }

    /// The newest received messages, read or not, in the order they came; takes nothing.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn history(&self, limit: u32) -> Result<Vec<Message>, NativeError> {
        self.run(None, |peer| async move {
            Ok(peer.history(limit).await?.iter().map(Message::of).collect())
        })
        .await
    }

    /// Says how attentive this peer is: what is not urgent waits while it is not idle.
    ///
    /// # Errors
    /// `closed`.
    pub async fn set_status(&self, status: Attention) -> Result<(), NativeError> {
        self.run(None, |peer| async move {
            Ok(peer.set_status(status.into()).await?)
        })
        .await
    }

    /// Says in a few words what this peer does, for members to see; empty: nothing.
    ///
    /// # Errors
    /// `closed`, `message_too_large`; `unserved` where the broker could read it.
    pub async fn set_summary(&self, text: String) -> Result<(), NativeError> {
        self.run(
            None,
            |peer| async move { Ok(peer.set_summary(text).await?) },
        )
        .await
    }

    /// Ends this peer: sends what is on its way, at most for `limit`, and closes the connection.
    /// Readers and subscriptions of it end. What is not answered by then stays in the outbox. A
    /// second call does nothing.
    ///
    /// # Errors
    /// `internal`.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), NativeError> {
        self.run(None, |peer| async move {
            peer.close(limit).await;
            Ok(())
        })
        .await
    }
}
