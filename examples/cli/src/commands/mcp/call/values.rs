//! `get_state`, `set_state`, `remember` and `recall`.

use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::{Kept, SessionError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Answer;
use crate::agent::frame::{self, NOTICE, quoted};
use crate::agent::unread::PIECE;
use crate::commands::{kept, state};
use crate::exit::{Code, Failure};

/// Keys, or memories, in one answer at most.
const MOST: usize = 200;
const MEMORIES: usize = 10;
/// Characters of a value in a list.
const SHORT: usize = 80;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    key: Option<String>,
}

pub(super) async fn get(peer: &Peer, args: Get) -> Result<Answer, Failure> {
    let Some(key) = args.key else {
        return keys(peer).await;
    };
    let Some(value) = peer.state(&key).await? else {
        let message = format!("there is nothing under {}", quoted(&key));
        return Err(Failure::new(Code::NotFound, message));
    };
    if let Err(why) = &value.body {
        let message = format!("it cannot be read: {why}; {}", kept::WHO_HELPS);
        return Err(Failure::new(Code::Failed, message));
    }
    let text = format!(
        "{NOTICE}\n\nversion {}, by {}{}\n{}",
        value.version,
        kept::writer(&value),
        kept::marked(&value),
        frame::marked(value.body.as_deref().unwrap_or_default())
    );
    Ok(Answer::new(text, state::as_json(&value)))
}

async fn keys(peer: &Peer) -> Result<Answer, Failure> {
    let all = peer.list_state().await?;
    let rows = all.iter().take(MOST).map(|value| {
        let shown = value.body.as_deref().unwrap_or("(cannot be read)");
        let shown = crate::format::short(shown, SHORT);
        (value, shown)
    });
    let rows: Vec<(&Kept, String)> = rows.collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(value, shown)| {
            let name = quoted(&value.name);
            format!(
                "{name}, version {}\n{}",
                value.version,
                frame::marked(shown)
            )
        })
        .collect();
    match lines.is_empty() {
        true => lines.push("Nothing is kept yet.".to_owned()),
        false => lines.insert(0, NOTICE.to_owned()),
    }
    let rows = rows.iter().map(
        |(value, shown)| json!({ "key": value.name, "version": value.version, "begins": shown }),
    );
    let json = json!({ "keys": rows.collect::<Vec<_>>(), "of": all.len() });
    Ok(Answer::new(lines.join("\n"), json))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    key: String,
    value: Value,
    if_version: Option<u64>,
}

pub(super) async fn set(peer: &Peer, args: Set) -> Result<Answer, Failure> {
    let body = args.value.to_string();
    let write = async {
        match peer.set_state(&args.key, body, args.if_version).await {
            Err(PeerError::Session(SessionError::StateConflict { current })) => Err(Failure::new(
                Code::Conflict,
                format!("nothing was kept: it has version {current} now"),
            )),
            other => Ok(other?),
        }
    };
    let version = kept::in_time(write).await?;
    let json = json!({ "key": args.key, "version": version });
    Ok(Answer::new(format!("Kept, version {version}."), json))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remember {
    text: String,
    #[serde(default)]
    tags: Vec<String>,
}

pub(super) async fn remember(peer: &Peer, args: Remember) -> Result<Answer, Failure> {
    if args.text.trim().is_empty() {
        return Err(Failure::usage("the text is empty"));
    }
    let id = kept::in_time(peer.remember(args.text, args.tags)).await?;
    let text = format!("Remembered: {id}");
    Ok(Answer::new(text, json!({ "id": id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recall {
    #[serde(default)]
    query: String,
    limit: Option<usize>,
}

pub(super) async fn recall(peer: &Peer, args: Recall) -> Result<Answer, Failure> {
    let found = peer.recall(&args.query).await?;
    let limit = args.limit.unwrap_or(MEMORIES).clamp(1, MOST);
    let shown: Vec<&Kept> = found.iter().take(limit).collect();
    let mut parts: Vec<String> = shown.iter().map(|memory| text(memory)).collect();
    match parts.is_empty() {
        true => parts.push("Nothing found.".to_owned()),
        false => parts.insert(0, NOTICE.to_owned()),
    }
    let rows: Vec<Value> = shown.iter().map(|memory| as_json(memory)).collect();
    let json = json!({ "found": rows, "of": found.len() });
    Ok(Answer::new(parts.join("\n\n"), json))
}

fn body(memory: &Kept) -> &str {
    memory.body.as_deref().unwrap_or("(cannot be read)")
}

fn text(memory: &Kept) -> String {
    let shown = frame::piece(body(memory), 0, PIECE);
    let cut = if shown.next.is_some() {
        "\n(cut here)"
    } else {
        ""
    };
    format!(
        "by {}, {}{}, id {}\n{}{cut}",
        kept::writer(memory),
        kept::written(memory),
        kept::marked(memory),
        quoted(&memory.name),
        frame::marked(shown.text)
    )
}

fn as_json(memory: &Kept) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(memory.name));
    let shown = frame::piece(body(memory), 0, PIECE);
    fields.insert("text".to_owned(), json!(shown.text));
    if shown.next.is_some() {
        fields.insert("cut".to_owned(), json!(true));
    }
    if !memory.tags.is_empty() {
        fields.insert("tags".to_owned(), json!(memory.tags));
    }
    kept::add_fields(memory, fields)
}
