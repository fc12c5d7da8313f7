//! Messages and events by callback.
//!
//! A callback runs on a thread that may block; the next one waits for it. After the handle was
//! cancelled or released none begins.

use std::sync::Arc;

use claudemesh_core::{Events, Incoming};
use tokio::sync::watch;

use crate::error::NativeError;
use crate::message::Message;
use crate::runtime::{CancelToken, run, runtime};
use crate::types::MeshEvent;

/// Called with messages.
#[uniffi::export(with_foreign)]
pub trait MessageListener: Send + Sync {
    /// A message. Once this returns, the message is taken. If it fails the subscription ends, and
    /// the message is shown to the next one again.
    ///
    /// # Errors
    /// Whatever the app throws.
    fn on_message(&self, message: Message) -> Result<(), NativeError>;

    /// There will be no further message: the peer is closed, or a callback failed. Not called after
    /// a cancel.
    ///
    /// # Errors
    /// Ignored.
    fn on_end(&self, code: Option<String>) -> Result<(), NativeError>;
}

/// Called with events.
#[uniffi::export(with_foreign)]
pub trait EventListener: Send + Sync {
    /// An event. If this fails the subscription ends.
    ///
    /// # Errors
    /// Whatever the app throws.
    fn on_event(&self, event: MeshEvent) -> Result<(), NativeError>;

    /// There will be no further event: the peer is closed, or a callback failed. Not called after a
    /// cancel.
    ///
    /// # Errors
    /// Ignored.
    fn on_end(&self, code: Option<String>) -> Result<(), NativeError>;
}

/// A subscription: cancelling or releasing it ends it.
#[derive(Debug, uniffi::Object)]
pub struct NativeSubscription {
    cancelled: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

impl Drop for NativeSubscription {
    fn drop(&mut self) {
        self.cancelled.send_replace(true);
    }
}

#[uniffi::export]
impl NativeSubscription {
    /// Ends it. A callback under way runs to its end; none begins after it. [`Self::ended`] waits
    /// for that.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        !*self.ended.borrow() && !*self.cancelled.borrow()
    }

    /// Waits until nothing of it runs any more.
    ///
    /// # Errors
    /// `cancelled`.
    #[uniffi::method(default(cancel = None))]
    pub async fn ended(&self, cancel: Option<Arc<CancelToken>>) -> Result<(), NativeError> {
        let mut ended = self.ended.clone();
        run(cancel, async move {
            let _ = ended.wait_for(|ended| *ended).await;
            Ok(())
        })
        .await
    }
}

/// Both ends of a subscription.
fn subscription() -> (Arc<NativeSubscription>, Cancelled, watch::Sender<bool>) {
    let (ended, has_ended) = watch::channel(false);
    let cancelled = watch::Sender::new(false);
    let watched = Cancelled(cancelled.subscribe());
    let subscription = NativeSubscription {
        cancelled,
        ended: has_ended,
    };
    (Arc::new(subscription), watched, ended)
}

struct Cancelled(watch::Receiver<bool>);

impl Cancelled {
    async fn wait(&mut self) {
        // A handle that is gone was cancelled by that.
        let _ = self.0.wait_for(|cancelled| *cancelled).await;
    }

    fn now(&self) -> bool {
        *self.0.borrow()
    }
}

/// Calls back on a thread that may block.
async fn call(
    work: impl FnOnce() -> Result<(), NativeError> + Send + 'static,
) -> Result<(), NativeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(NativeError::internal()),
    }
}

pub(crate) fn messages(
    mut incoming: Incoming,
    listener: Arc<dyn MessageListener>,
) -> Result<Arc<NativeSubscription>, NativeError> {
    let (handle, mut cancelled, ended) = subscription();
    runtime()?.spawn(async move {
        let mut failed = None;
        loop {
            let message = tokio::select! {
                biased;
                () = cancelled.wait() => break,
                message = incoming.next() => message,
            };
            let Some(message) = message else { break };
            let (to, shown) = (Arc::clone(&listener), Message::of(&message));
            let done = call(move || to.on_message(shown)).await;
            // Taken now, so that a cancel in the meantime does not show it twice.
            if let Err(error) = match done {
                Ok(()) => message.taken().await.map_err(NativeError::from),
                Err(error) => Err(error),
            } {
                failed = Some(error.code().to_owned());
                break;
            }
        }
        drop(incoming);
        if !cancelled.now() {
            let to = Arc::clone(&listener);
            let _ = call(move || to.on_end(failed)).await;
        }
        drop(listener);
        ended.send_replace(true);
    });
    Ok(handle)
}

pub(crate) fn events(
    mut events: Events,
    listener: Arc<dyn EventListener>,
) -> Result<Arc<NativeSubscription>, NativeError> {
    let (handle, mut cancelled, ended) = subscription();
    runtime()?.spawn(async move {
        let mut failed = None;
        loop {
            let event = tokio::select! {
                biased;
                () = cancelled.wait() => break,
                event = events.next() => event,
            };
            let Some(event) = event else { break };
            let (to, event) = (Arc::clone(&listener), MeshEvent::of(event));
            if let Err(error) = call(move || to.on_event(event)).await {
                failed = Some(error.code().to_owned());
                break;
            }
        }
        if !cancelled.now() {
            let to = Arc::clone(&listener);
            let _ = call(move || to.on_end(failed)).await;
        }
        drop(listener);
        ended.send_replace(true);
    });
    Ok(handle)
}
