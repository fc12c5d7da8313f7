//! Messages and events, one at a time, on demand.
//!
//! A call that is cancelled at the very moment of its answer loses that answer. So each item has a
//! number, and stays until the next call names it: only then is it taken, and the next one given.

use std::sync::Arc;

use claudemesh_core::{Event, Events, Incoming, Received};
use tokio::sync::{Mutex, watch};

use crate::error::NativeError;
use crate::message::Message;
use crate::runtime::{CancelToken, run, runtime};
use crate::types::MeshEvent;

/// A message, and its number in this reader.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NextMessage {
    /// By which the next call says that this one was dealt with.
    pub place: u64,
    /// The message.
    pub message: Message,
}

/// An event, and its number in this reader.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct NextEvent {
    /// By which the next call says that this one was seen.
    pub place: u64,
    /// The event.
    pub event: MeshEvent,
}

/// Where items come from.
pub(crate) trait Source: Send + 'static {
    type Item: Clone + Send;
    fn next(&mut self) -> impl Future<Output = Option<Self::Item>> + Send;
}

impl Source for Incoming {
    type Item = Received;
    fn next(&mut self) -> impl Future<Output = Option<Received>> + Send {
        Self::next(self)
    }
}

impl Source for Events {
    type Item = Event;
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send {
        Self::next(self)
    }
}

struct Inside<S: Source> {
    source: Option<S>,
    shown: Option<(u64, S::Item)>,
    count: u64,
}

/// A source that is read with numbers.
struct Numbered<S: Source> {
    inside: Arc<Mutex<Inside<S>>>,
    stopped: watch::Sender<bool>,
}

impl<S: Source> Numbered<S> {
    fn new(source: S) -> Self {
        let inside = Inside {
            source: Some(source),
            shown: None,
            count: 0,
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            stopped: watch::Sender::new(false),
        }
    }

    async fn next(
        &self,
        seen: u64,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Option<(u64, S::Item)>, NativeError> {
        let inside = Arc::clone(&self.inside);
        let mut stopped = self.stopped.subscribe();
        run(cancel, async move {
            let mut inside = inside.lock().await;
            let inside = &mut *inside;
            if let Some((place, item)) = &inside.shown
                && *place != seen
            {
                return Ok(Some((*place, item.clone())));
            }
            let Some(source) = inside.source.as_mut() else {
                return Ok(None);
            };
            let stop = async {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let item = tokio::select! {
                biased;
                () = stop => None,
                item = source.next() => item,
            };
            // No pause from here on: what came is kept before anybody can drop this.
            let Some(item) = item else {
                inside.source = None;
                inside.shown = None;
                return Ok(None);
            };
            inside.count += 1;
            inside.shown = Some((inside.count, item.clone()));
            Ok(Some((inside.count, item)))
        })
        .await
    }

    fn stop(&self) {
        self.stopped.send_replace(true);
        let release = |inside: &mut Inside<S>| {
            inside.source = None;
            inside.shown = None;
        };
        if let Ok(mut inside) = self.inside.try_lock() {
            release(&mut inside);
        } else if let Ok(runtime) = runtime() {
            // A call is under way: it sees the stop, and then lets go.
            let inside = Arc::clone(&self.inside);
            runtime.spawn(async move { release(&mut *inside.lock().await) });
        }
    }
}

/// The messages for a peer. One reader at a time; releasing it ends it and loses nothing.
#[derive(uniffi::Object)]
pub struct NativeMessages {
    messages: Numbered<Incoming>,
}

impl NativeMessages {
    pub(crate) fn new(incoming: Incoming) -> Arc<Self> {
        Arc::new(Self {
            messages: Numbered::new(incoming),
        })
    }
}

#[uniffi::export]
impl NativeMessages {
    /// The message after the one numbered `taken` (0 at the start), which is taken by that: it is
    /// not shown again, whatever happens. With any other number the last message is given once
    /// more. None when the peer is closed, its member removed, or the reader stopped.
    ///
    /// # Errors
    /// `cancelled`: nothing is lost.
    #[uniffi::method(default(cancel = None))]
    pub async fn next(
        &self,
        taken: u64,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Option<NextMessage>, NativeError> {
        let next = self.messages.next(taken, cancel).await?;
        Ok(next.map(|(place, message)| NextMessage {
            place,
            message: Message::of(&message),
        }))
    }

    /// Says that the message numbered so is dealt with, without asking for the next one.
    ///
    /// # Errors
    /// `store_failed`, `closed`: then it is shown again.
    pub async fn taken(&self, place: u64) -> Result<(), NativeError> {
        let inside = Arc::clone(&self.messages.inside);
        run(None, async move {
            let shown = inside.lock().await.shown.clone();
            match shown {
                Some((shown, message)) if shown == place => Ok(message.taken().await?),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Ends the reader: a call under way answers none, and another reader may begin. What was shown
    /// last and not taken is shown to that one again.
    pub fn stop(&self) {
        self.messages.stop();
    }
}

/// What happens to a peer, from when this was made. One that is 1,024 events behind misses the
/// oldest.
#[derive(uniffi::Object)]
pub struct NativeEvents {
    events: Numbered<Events>,
}

impl NativeEvents {
    pub(crate) fn new(events: Events) -> Arc<Self> {
        Arc::new(Self {
            events: Numbered::new(events),
        })
    }
}

#[uniffi::export]
impl NativeEvents {
    /// The event after the one numbered `seen` (0 at the start). None when the peer is closed, or
    /// the reader stopped.
    ///
    /// # Errors
    /// `cancelled`: nothing is lost.
    #[uniffi::method(default(cancel = None))]
    pub async fn next(
        &self,
        seen: u64,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Option<NextEvent>, NativeError> {
        let next = self.events.next(seen, cancel).await?;
        Ok(next.map(|(place, event)| NextEvent {
            place,
            event: MeshEvent::of(event),
        }))
    }

    /// Ends the reader: a call under way answers none.
    pub fn stop(&self) {
        self.events.stop();
    }
}
