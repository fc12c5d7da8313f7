//! What an agent has not read yet, in portions that a model can take.

use claudemesh_core::peer::{Peer, PeerError, Received};
use serde_json::{Value, json};

use super::frame;

/// Messages in one portion at most.
const MOST: usize = 20;
/// Bytes of one message that are shown; the rest is fetched if it is wanted.
pub(crate) const PIECE: usize = 4_000;
/// Bytes of all texts in one portion, roughly.
const PORTION: usize = 8_000;

/// The next messages, in reading order. Nothing is taken yet.
pub(crate) struct Portion {
    /// To be taken once they were handed over.
    pub(crate) messages: Vec<Received>,
    /// Whether there are more behind them.
    pub(crate) more: bool,
}

impl Portion {
    /// The next messages of this peer's session, as far as they are here.
    pub(crate) async fn next(peer: &Peer) -> Result<Self, PeerError> {
        let limit = u32::try_from(MOST + 1).unwrap_or(u32::MAX);
        let mut messages = peer.unread(limit).await?;
        let mut bytes = 0;
        let mut fits = 0;
        for message in messages.iter().take(MOST) {
            bytes += message.body.len().min(PIECE);
            if fits > 0 && bytes > PORTION {
                break;
            }
            fits += 1;
        }
        let more = messages.len() > fits;
        messages.truncate(fits);
        Ok(Self { messages, more })
    }

    /// Whether one of them may begin a turn: those that a rule of the owner mutes may not.
    pub(crate) fn wakes(&self) -> bool {
        self.messages.iter().any(|message| !message.muted)
    }

    /// As a model reads it.
    pub(crate) fn text(&self) -> String {
        if self.messages.is_empty() {
            return "No unread messages.".to_owned();
        }
        let mut parts = vec![frame::NOTICE.to_owned()];
        for message in &self.messages {
            let body = frame::body(message);
            parts.push(frame::text(message, &frame::piece(&body, 0, PIECE)));
        }
        if self.more {
            parts.push("There are more: call check_messages again.".to_owned());
        }
        parts.join("\n\n")
    }

    /// As structured data.
    pub(crate) fn json(&self) -> Value {
        let messages = self.messages.iter().map(|message| {
            let body = frame::body(message);
            frame::json(message, &frame::piece(&body, 0, PIECE))
        });
        json!({ "messages": messages.collect::<Vec<_>>(), "more": self.more })
    }
}
