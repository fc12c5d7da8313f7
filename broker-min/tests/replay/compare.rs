//! Two answers side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::lines::Got;

/// What of ours stands for what of theirs.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, String>);

/// Fields whose values must be the same, not only their kind.
const EXACT: [&str; 33] = [
    "type",
    "_reqId",
    "code",
    "queued",
    "error",
    "delivered",
    "created",
    "event",
    "subtype",
    "ok",
    "priority",
    "senderPubkey",
    "ciphertext",
    "nonce",
    "client_message_id",
    "request_fingerprint",
    "status",
    "role",
    "visibility",
    "key",
    "value",
    "name",
    "tags",
    "content",
    "groups",
    "title",
    "memberCount",
    "peerRole",
    "targetSpec",
    "capabilities",
    "topicScopes",
    "bodyVersion",
    "valid",
];

impl Known {
    pub(crate) fn learn(&mut self, theirs: &str, ours: &str) {
        self.0
            .entry(theirs.to_owned())
            .or_insert_with(|| ours.to_owned());
    }

    /// What they said, in our words.
    fn word(&self, text: &str) -> String {
        if let Some(ours) = self.0.get(text) {
            return ours.clone();
        }
        let (mark, rest) = match text.strip_prefix('#') {
            Some(rest) => ("#", rest),
            None => ("", text),
        };
        // Ids may be named by their first letters.
        let whole = (rest.len() >= 8).then(|| {
            let mut all = self.0.range(rest.to_owned()..);
            all.next().filter(|(theirs, _)| theirs.starts_with(rest))
        });
        match whole.flatten() {
            Some((theirs, ours)) if rest.len() < theirs.len() => {
                format!("{mark}{}", ours.get(..rest.len()).unwrap_or(ours))
            }
            Some((_, ours)) => format!("{mark}{ours}"),
            None => text.to_owned(),
        }
    }

    pub(crate) fn translate(&self, theirs: &Value) -> Value {
        match theirs {
            Value::String(text) => Value::String(self.word(text)),
            Value::Array(all) => all.iter().map(|it| self.translate(it)).collect(),
            Value::Object(all) => {
                let all = all.iter();
                let fields = all.map(|(name, it)| (name.clone(), self.translate(it)));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

fn is_id(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric());
    let uuid = text.len() == 36 && text.bytes().filter(|b| *b == b'-').count() == 4;
    (text.len() == 32 && letters) || uuid
}

/// Whether a frame of ours is in the place of one of theirs.
pub(crate) fn is_answer_to(got: &Got, theirs: &Value) -> bool {
    let Got::Frame(ours) = got else { return false };
    for id in ["_reqId", "id"] {
        let asked = theirs[id].as_str().filter(|it| !it.is_empty());
        // Topics' errors have the request in `id`.
        if let Some(asked) = asked
            && (id == "_reqId" || ["ack", "error"].contains(&theirs["type"].as_str().unwrap_or("")))
        {
            return ours["_reqId"] == asked || ours["id"] == asked;
        }
    }
    let same = |field: &str| ours[field] == theirs[field];
    match theirs["type"].as_str() {
        Some("push") if theirs["subtype"] == "system" => same("type") && same("event"),
        Some("push") => same("type") && same("ciphertext") && same("nonce"),
        Some("state_change") => same("type") && same("key"),
        _ => same("type"),
    }
}

/// The fields that say which one of a list an object is.
fn identity(it: &Value) -> Option<&'static [&'static str]> {
    let all: [&'static [&'static str]; 6] = [
        &["pubkey", "displayName"],
        &["pubkey", "name"],
        &["id"],
        &["pubkey"],
        &["key"],
        &["label"],
    ];
    let has = |fields: &&&'static [&'static str]| fields.iter().all(|name| it[name].is_string());
    all.iter().find(has).copied()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// What differs: fields that only one of them has, that are of another kind, or whose value is
/// another where it matters. Learns which ids of ours stand for theirs.
pub(crate) fn compare(theirs: &Value, ours: &Value, known: &mut Known) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk("", theirs, ours, known, &mut found);
    found
}

fn walk(path: &str, theirs: &Value, ours: &Value, known: &mut Known, found: &mut BTreeSet<String>) {
    let field = path.rsplit('.').next().unwrap_or_default();
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let open = field == "value" || field == "payload" || field == "data";
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let inner = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(theirs), Some(ours)) => walk(&inner, theirs, ours, known, found),
                    _ if open => drop(found.insert(format!("{path} differs"))),
                    (Some(_), None) => drop(found.insert(format!("{inner} is not there"))),
                    (None, _) => drop(found.insert(format!("{inner} is new"))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            let inner = format!("{path}[]");
            let (mut a, mut b) = (a.clone(), b.clone());
            a.sort_by_key(|it| it.as_str().map(str::to_owned));
            b.sort_by_key(|it| it.as_str().map(str::to_owned));
            for (n, theirs) in a.iter().enumerate() {
                // Each is compared with its own, if there is one.
                let ours = match identity(theirs) {
                    Some(fields) => {
                        let said = known.translate(theirs);
                        b.iter()
                            .find(|it| fields.iter().all(|name| it[name] == said[name]))
                    }
                    None => b.get(n),
                };
                if let Some(ours) = ours {
                    walk(&inner, theirs, ours, known, found);
                }
            }
        }
        (Value::String(a), Value::String(b)) if is_id(a) && !known.0.contains_key(a) => {
            known.learn(a, b);
        }
        _ if kind(theirs) != kind(ours) => {
            let (a, b) = (kind(theirs), kind(ours));
            found.insert(format!("{path} is {b}, not {a}"));
        }
        _ if EXACT.contains(&field.trim_end_matches("[]")) && known.translate(theirs) != *ours => {
            found.insert(format!("{path} is {ours}, not {theirs}"));
        }
        _ => {}
    }
}
