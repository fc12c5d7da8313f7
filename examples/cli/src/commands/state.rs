//! `claudemesh state`: values that all members share.

use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::{Kept, SessionError};
use serde_json::{Map, Value, json};

use super::{kept, state_watch};
use crate::cli::{SetState, StateCommand};
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{ago, clean, clean_line, short, table};
use crate::input;

/// Characters of a value in a list.
const SHORT: usize = 40;
/// Values that a list has at most.
const MOST: usize = 10_000;

pub(super) async fn run(context: &mut Context, command: StateCommand) -> Result<Code, Failure> {
    // What is to be kept is read first: somebody may be writing it.
    let body = match &command {
        StateCommand::Watch { key } => return state_watch::run(context, key.as_deref()).await,
        StateCommand::Set(args) => body(&input::text(&args.value)?, args.text)?,
        StateCommand::Get { .. } | StateCommand::List => String::new(),
    };
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        StateCommand::Get { key } => get(context, &peer, &key).await,
        StateCommand::Set(args) => set(context, &peer, &args, body).await,
        StateCommand::List => list(context, &peer).await,
        StateCommand::Watch { .. } => Ok(Code::Ok),
    };
    finish(&peer).await;
    result
}

/// What is kept: JSON as it was written, or a text as JSON.
fn body(text: &str, is_text: bool) -> Result<String, Failure> {
    let trimmed = text.trim();
    if !is_text && serde_json::from_str::<Value>(trimmed).is_ok() {
        return Ok(trimmed.to_owned());
    }
    let json = serde_json::to_string(text);
    json.map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

async fn get(context: &Context, peer: &Peer, key: &str) -> Result<Code, Failure> {
    let Some(value) = peer.state(key).await? else {
        return Err(Failure::new(
            Code::NotFound,
            format!("there is nothing under {key:?}; `claudemesh state list` shows what there is"),
        ));
    };
    if let Err(why) = &value.body {
        let message = format!(
            "what is under {key:?} cannot be read: {why}; {}",
            kept::WHO_HELPS
        );
        return Err(Failure::new(Code::Failed, message));
    }
    context
        .out
        .answer(&as_json(&value), || format!("{}\n", clean(&plain(&value))))?;
    if !context.out.is_json() {
        context.out.note(&head(&value));
    }
    warn(context, &value);
    Ok(Code::Ok)
}

/// Whatever is not as it should be, with what it means.
fn warn(context: &Context, value: &Kept) {
    for mark in kept::marks(value) {
        let meaning = match mark {
            "unprotected" => "it is not sealed: the broker can read it, and may have written it",
            "unverified" => "who wrote it is not proven to be a member now",
            _ => {
                "a newer one was seen before: the broker shows what was before; `claudemesh doctor` \
                 says what to do"
            }
        };
        context.out.warn(&format!("{mark}: {meaning}"));
    }
}

async fn set(
    context: &Context,
    peer: &Peer,
    args: &SetState,
    body: String,
) -> Result<Code, Failure> {
    let key = &args.key;
    let write = async {
        match peer.set_state(key, body, args.if_version).await {
            Err(PeerError::Session(SessionError::StateConflict { current })) => {
                Err(conflict(peer, args, current).await)
            }
            other => Ok(other?),
        }
    };
    let version = kept::in_time(write).await?;
    let answer = json!({ "key": key, "version": version });
    context.out.answer(&answer, || {
        format!("Kept under {}, version {version}.\n", clean_line(key))
    })?;
    Ok(Code::Ok)
}

async fn conflict(peer: &Peer, args: &SetState, mut current: u64) -> Failure {
    let key = &args.key;
    if args.if_version == Some(current) {
        // Somebody was faster between the look and the writing.
        if let Ok(Some(value)) = peer.state(key).await {
            current = value.version;
        }
    }
    let message = match current {
        0 => format!("nothing was kept: there is no value under {key:?}, so say --if-version 0"),
        current => format!(
            "nothing was kept: {key:?} has changed and has version {current} now; read it with \
             `claudemesh state get`, decide anew, and say --if-version {current}"
        ),
    };
    Failure::new(Code::Conflict, message)
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let all = peer.list_state().await?;
    let answer: Vec<Value> = all.iter().map(as_json).collect();
    context.out.answer(&answer, || {
        if all.is_empty() {
            return "Nothing is kept yet: `claudemesh state set KEY VALUE` keeps something.\n"
                .to_owned();
        }
        let cells = all.iter().map(|value| {
            vec![
                clean_line(&value.name),
                match &value.body {
                    Ok(body) => short(body, SHORT),
                    Err(why) => format!("(cannot be read: {})", clean_line(why)),
                },
                kept::writer(value),
                value.version.to_string(),
                value.written_at.map_or_else(|| "?".to_owned(), ago),
                kept::marks(value).join(", "),
            ]
        });
        table(
            &["KEY", "VALUE", "WRITER", "VERSION", "WRITTEN", ""],
            cells.collect(),
        )
    })?;
    if all.iter().any(|value| value.body.is_err()) {
        context
            .out
            .note(&format!("Some cannot be read: {}.", kept::WHO_HELPS));
    }
    if all.len() >= MOST {
        context
            .out
            .warn("there are more: a list has 10,000 at most");
    }
    Ok(Code::Ok)
}

/// A line about a value: which, who wrote it and when.
pub(super) fn head(value: &Kept) -> String {
    format!(
        "{}, version {}, by {}, {}{}",
        clean_line(&value.name),
        value.version,
        kept::writer(value),
        kept::written(value),
        kept::marked(value)
    )
}

/// As JSON has it.
pub(super) fn as_json(value: &Kept) -> Value {
    let fields = [
        ("key", json!(value.name)),
        ("value", value.body.as_deref().map_or(Value::Null, parsed)),
        ("version", json!(value.version)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    kept::add_fields(value, Map::from_iter(fields))
}

fn parsed(body: &str) -> Value {
    // What others keep need not be JSON.
    serde_json::from_str(body).unwrap_or_else(|_| json!(body))
}

/// A text as it is, other JSON as it was written.
pub(super) fn plain(value: &Kept) -> String {
    let body = value.body.as_deref().unwrap_or_default();
    match parsed(body) {
        Value::String(text) => text,
        _ => body.to_owned(),
    }
}
