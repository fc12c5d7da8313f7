//! `claudemesh recall`: what was remembered.

use claudemesh_core::session::Kept;
use serde_json::{Map, Value, json};

use super::kept;
use crate::cli::Recall;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, indented};

pub(super) async fn run(context: &Context, args: Recall) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let all = peer.recall("").await;
    finish(&peer).await;
    show(context, &args, all?)
}

fn show(context: &Context, args: &Recall, all: Vec<Kept>) -> Result<Code, Failure> {
    let words = args.words.join(" ");
    let unread = |memory: &&Kept| memory.body.is_err() && !memory.has_words(&words);
    let unread = all.iter().filter(unread).count();
    let found: Vec<Kept> = all.into_iter().filter(|m| m.has_words(&words)).collect();
    let shown: Vec<&Kept> = found.iter().take(args.limit as usize).collect();
    let answer: Vec<Value> = shown.iter().map(|memory| as_json(memory)).collect();
    context.out.answer(&answer, || {
        let texts: Vec<String> = shown.iter().map(|memory| as_text(memory)).collect();
        texts.join("\n")
    })?;
    let out = &context.out;
    if shown.iter().any(|memory| memory.body.is_err()) {
        out.note(&format!("Some cannot be read: {}.", kept::WHO_HELPS));
    }
    if unread > 0 {
        out.warn(&format!(
            "{unread} more may fit and cannot be read; `claudemesh recall` without words says why"
        ));
    }
    if shown.is_empty() && !out.is_json() {
        out.note("Nothing found.");
    }
    if shown.len() < found.len() {
        let rest = found.len() - shown.len();
        out.note(&format!(
            "There are {rest} more, older ones: -n shows more."
        ));
    }
    Ok(Code::Ok)
}

fn as_json(memory: &Kept) -> Value {
    let fields = [
        ("memory_id", json!(memory.name)),
        ("text", json!(memory.body.as_ref().ok())),
        ("tags", json!(memory.tags)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    kept::add_fields(memory, Map::from_iter(fields))
}

fn as_text(memory: &Kept) -> String {
    let body = match &memory.body {
        Ok(text) => indented(text),
        Err(why) => indented(&format!("(cannot be read: {why})")),
    };
    let tags: String = (memory.tags.iter())
        .map(|tag| format!(" +{}", clean_line(tag)))
        .collect();
    format!(
        "{}, {}{}\n{body}\n  id {}{tags}\n",
        kept::writer(memory),
        kept::written(memory),
        kept::marked(memory),
        clean_line(&memory.name)
    )
}
