//! What happens to a peer, as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::broadcast;

use crate::session::Event;

/// Events as a stream; see [`super::Peer::events`].
pub struct Events {
    work: Option<EventWork>,
}

type EventWork = Pin<Box<dyn Future<Output = (broadcast::Receiver<Event>, Option<Event>)> + Send>>;

async fn next_event(
    mut receiver: broadcast::Receiver<Event>,
) -> (broadcast::Receiver<Event>, Option<Event>) {
    loop {
        match receiver.recv().await {
            Ok(event) => return (receiver, Some(event)),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return (receiver, None),
        }
    }
}

impl Events {
    pub(super) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self {
            work: Some(Box::pin(next_event(receiver))),
        }
    }

    /// The next event; none when the peer is gone.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        match work.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((receiver, event)) => {
                self.work = event.is_some().then(|| {
                    let next: EventWork = Box::pin(next_event(receiver));
                    next
                });
                Poll::Ready(event)
            }
        }
    }
}
