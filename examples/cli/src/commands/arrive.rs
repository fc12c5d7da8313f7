//! Waiting until all is here that waited at the broker.

use std::time::Duration;

use claudemesh_core::peer::{Events, Peer};
use claudemesh_core::session::Event;
use tokio::time::{Instant, timeout_at};

use crate::context::Context;

/// How long the broker is asked for news if nobody wants to wait.
const GLANCE: Duration = Duration::from_secs(2);
/// How long the keys of messages are waited for.
const KEYS: Duration = Duration::from_secs(1);
/// After so long without another one all messages are taken to be opened.
const QUIET: Duration = Duration::from_millis(100);

/// Waits until what waited at the broker is here, and opened as far as its keys can be had; at most
/// a moment, or until `until` if there is much. Says so if the broker is away.
pub(super) async fn arrived(
    context: &Context,
    peer: &Peer,
    events: &mut Events,
    wait: Option<Duration>,
) {
    let until = wait.map(|wait| Instant::now() + wait);
    let mut caught_up = peer.caught_up(GLANCE.min(wait.unwrap_or(GLANCE))).await;
    if let (Some(until), true) = (until, caught_up.is_err() && peer.is_connected()) {
        // A long queue, and time to fetch it.
        caught_up = peer
            .caught_up(until.saturating_duration_since(Instant::now()))
            .await;
    }
    match caught_up {
        Ok(()) => opened(events).await,
        Err(error) if !peer.is_connected() => context.out.warn(&format!(
            "this is what is stored here; there may be more: {error}"
        )),
        Err(_) => {}
    }
}

/// A message to a channel may be here before its key, which is asked for then: waits for those.
async fn opened(events: &mut Events) {
    let until = Instant::now() + KEYS;
    let (mut locked, mut caught_up, mut quiet) = (false, false, until);
    loop {
        // All that happened before is known once the catching up itself was told.
        let wait = if caught_up && !locked { return } else { quiet };
        match timeout_at(wait, events.next()).await {
            Ok(Some(Event::Locked { .. })) => locked = true,
            Ok(Some(Event::CaughtUp)) => caught_up = true,
            Ok(Some(Event::Received | Event::Rejected { .. })) if caught_up => {
                quiet = until.min(Instant::now() + QUIET);
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
