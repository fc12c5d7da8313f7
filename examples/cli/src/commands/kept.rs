//! How a value that the mesh keeps is shown: the same for state and memories.

use std::time::Duration;

use claudemesh_core::session::Kept;
use claudemesh_core::time::iso;
use serde_json::{Map, Value, json};

use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time};

/// How long a writing waits for the key it is sealed under: somebody else may have to renew it.
const PATIENCE: Duration = Duration::from_secs(15);
/// What helps where a key is missing.
pub(super) const WHO_HELPS: &str = "ask somebody who was in the mesh before you to run \
     `claudemesh listen` for some seconds, or to keep something there: that gives you the key";

/// Waits until something is sealed and kept, but not for ever.
pub(super) async fn in_time<T, E: Into<Failure>>(
    kept: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, kept).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Failure::new(
            Code::Failed,
            format!(
                "it is given up after {} s, as the key to seal it is not here; {WHO_HELPS}",
                PATIENCE.as_secs()
            ),
        )),
    }
}

/// What is not as it should be.
pub(super) fn marks(kept: &Kept) -> Vec<&'static str> {
    let unverified = !kept.verified && kept.body.is_ok();
    let all = [
        (!kept.protected, "unprotected"),
        (unverified, "unverified"),
        (!kept.newest, "not the newest"),
    ];
    let marks = all.into_iter().filter(|(is, _)| *is);
    marks.map(|(_, mark)| mark).collect()
}

/// The marks behind a line: ` [unprotected] [unverified]`, or nothing.
pub(super) fn marked(kept: &Kept) -> String {
    let marks = marks(kept).into_iter().map(|mark| format!(" [{mark}]"));
    marks.collect()
}

/// Who wrote it: a name and the beginning of a key, or what the broker says.
pub(super) fn writer(kept: &Kept) -> String {
    let name = clean_line(&kept.writer_name);
    match (&kept.writer, name.as_str()) {
        (Some(key), "") => key.short(),
        (Some(key), name) => format!("{name} ({})", key.short()),
        (None, "") => "nobody known".to_owned(),
        (None, name) => name.to_owned(),
    }
}

/// When it was written, for people.
pub(super) fn written(kept: &Kept) -> String {
    let at = kept.written_at.map(human_time);
    at.unwrap_or_else(|| "at an unknown time".to_owned())
}

/// What both have in JSON: who, when and the marks, and why it cannot be read.
pub(super) fn add_fields(kept: &Kept, mut object: Map<String, Value>) -> Value {
    let name = Some(&kept.writer_name).filter(|name| !name.is_empty());
    let fields = [
        ("writer", json!(name)),
        ("writer_pubkey", json!(kept.writer)),
        ("written_at", json!(kept.written_at.map(iso))),
        ("verified", json!(kept.verified)),
        ("protected", json!(kept.protected)),
        ("newest", json!(kept.newest)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    object.extend(fields);
    if let Err(why) = &kept.body {
        object.insert("unreadable".to_owned(), json!(why));
    }
    Value::Object(object)
}

/// The one that begins so, by its id.
pub(super) fn find<'a, T>(
    all: &'a [T],
    id: impl Fn(&T) -> &str,
    wanted: &str,
    what: &str,
    shown_by: &str,
) -> Result<&'a T, Failure> {
    if let Some(whole) = all.iter().find(|one| id(one) == wanted) {
        return Ok(whole);
    }
    let mut found = all.iter().filter(|one| id(one).starts_with(wanted));
    match (found.next(), found.count()) {
        (Some(one), 0) if !wanted.is_empty() => Ok(one),
        (Some(_), others) => Err(Failure::usage(format!(
            "{} of the {what} begin with {wanted:?}; write more of the id",
            others + 1
        ))),
        (None, _) => Err(Failure::new(
            Code::NotFound,
            format!(
                "none of the {what} has an id that begins with {wanted:?}; {shown_by} shows them"
            ),
        )),
    }
}
