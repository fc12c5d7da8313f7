//! `check_messages`.

use std::time::Duration;

use claudemesh_core::peer::{Peer, Received};
use serde::Deserialize;
use serde_json::json;

use super::super::link::Joined;
use super::Answer;
use crate::agent::frame;
use crate::agent::unread::{PIECE, Portion};
use crate::exit::{Code, Failure};

/// How long what waits at the broker is waited for, right after the start.
const ARRIVE: Duration = Duration::from_secs(2);
/// Received messages among which a long one is looked for.
const LOOK_AT: u32 = 500;
/// Bytes of a piece of a long message.
const LONG_PIECE: usize = 4 * PIECE;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    read: Option<String>,
    #[serde(default)]
    offset: usize,
}

pub(super) async fn check(joined: &Joined, args: Check) -> Result<Answer, Failure> {
    let peer = &joined.peer;
    if let Some(id) = &args.read {
        return read_on(peer, id, args.offset).await;
    }
    // Without the broker, what is here is shown.
    let away = peer.caught_up(ARRIVE).await.err();
    let in_turn = joined.mood.reads(peer).await;
    let portion = Portion::next(peer).await;
    if in_turn {
        joined.mood.goes_on(peer).await;
    }
    let portion = portion?;
    let (mut text, mut json) = (portion.text(), portion.json());
    if let Some(away) = away.filter(|_| !peer.is_connected()) {
        text.push_str(&format!(
            "\n\nThe broker is away, there may be more there: {away}"
        ));
        if let Some(fields) = json.as_object_mut() {
            fields.insert("away".to_owned(), json!(away.to_string()));
        }
    }
    Ok(Answer {
        text,
        json,
        handed: portion.messages,
    })
}

/// A piece of a message that was shown in part, read or not. Takes nothing.
async fn read_on(peer: &Peer, id: &str, offset: usize) -> Result<Answer, Failure> {
    let wanted = id.trim();
    let shown = |message: &Received| message.id.as_str() == wanted;
    let all = peer.history(LOOK_AT).await?;
    let Some(message) = all.into_iter().rev().find(shown) else {
        let message = format!(
            "no message {} is among the newest {LOOK_AT} here; ask its sender to send it again",
            frame::quoted(id)
        );
        return Err(Failure::new(Code::NotFound, message));
    };
    let body = frame::body(&message);
    let piece = frame::piece(&body, offset, LONG_PIECE);
    let text = format!("{}\n\n{}", frame::NOTICE, frame::text(&message, &piece));
    Ok(Answer::new(text, frame::json(&message, &piece)))
}
