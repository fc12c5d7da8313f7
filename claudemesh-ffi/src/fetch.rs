//! One visit to the broker, for a background task that gets some seconds.

use std::time::Duration;

use claudemesh_core::{MeshEntry, Retry};
use tokio::time::Instant;

use crate::error::NativeError;
use crate::message::Message;
use crate::types::{ConnectOptions, builder};

/// How many messages one visit shows at most.
const MAX_SHOWN: u32 = 1_000;
/// What is kept of the time to close properly.
const CLOSING: Duration = Duration::from_secs(1);

/// What a visit brought.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Fetched {
    /// What is unread now, at most 1,000 messages, none of them taken: the app shows them again
    /// when it reads.
    pub unread: Vec<Message>,
    /// Whether everything that waited at the broker was received.
    pub complete: bool,
    /// Messages of the own outbox that the broker has not confirmed; they go out next time.
    pub unsent: u32,
    /// Why it is not complete.
    pub reason: Option<String>,
}

pub(crate) async fn fetch_once(
    mesh: MeshEntry,
    options: ConnectOptions,
    deadline: Duration,
) -> Result<Fetched, NativeError> {
    let until = Instant::now() + deadline;
    let left = || until.saturating_duration_since(Instant::now());
    let peer = builder(&mesh, options)
        .presence(false)
        .retry(Retry::Every(500))
        .connect()
        .await?;
    // A tenth of the time, at most a second, is for closing.
    let closing = (deadline / 10).min(CLOSING);
    let visit = async {
        peer.caught_up(left().saturating_sub(closing)).await?;
        peer.flush(left().saturating_sub(closing)).await
    };
    let reason = visit.await.err().map(|error| error.to_string());
    let unread = peer.unread(MAX_SHOWN).await?;
    let unsent = peer.outbox(false).await?;
    let waiting = (unsent.iter())
        .filter(|row| row.broker_id.is_none())
        .count();
    peer.close(left()).await;
    Ok(Fetched {
        unread: unread.iter().map(Message::of).collect(),
        complete: reason.is_none(),
        unsent: u32::try_from(waiting).unwrap_or(u32::MAX),
        reason,
    })
}
