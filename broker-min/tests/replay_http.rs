//! What the existing clients asked over HTTP in the recordings, asked of our broker: with its mesh for
//! theirs, a token of its operator's for theirs, and a link of its own where theirs let somebody in.
//! The answers' status, error and fields are compared; what differs is listed, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use broker_min::Tokens;
use broker_min::testing::{TestMesh, http};
use claudemesh_core::invite::InviteToken;
use serde_json::{Value, json};
use support::{invite, now};

/// A request that is answered otherwise: its method, its path, their status and ours, and why.
type Differs = (&'static str, &'static str, u64, u16, &'static str);

const ACCOUNTS: &str = "there are no accounts, and no device login";
const SIGNED: &str = "who asks for members or changes them signs the request";
const OWNER: &str =
    "a mesh begins with an entry that its owner signed, and ends by the owner's key";
const LINKS: &str = "links are made by members, who sign them";
const CODES: &str = "codes for links of version 2 are not exchanged";
const FILES: &str = "there are no files, and no gateways in the broker";
const ELSEWHERE: &str = "a token's signature is looked at first, then whether its mesh is here";
const MADE: &str = "a token of the operator's is for the meshes that were made with it";
const GARBAGE: &str = "a body that is no JSON is its sender's fault";
const WORDS: &str = "what is not there is said as JSON, not as a word";
const NOBODY: &str =
    "the session whose status is said is not connected in the replay: it waits, as theirs would";
const HOOKS: &str = "there are no webhooks with a secret in their path, and no clock for tests";

const DIFFERENCES: &[Differs] = &[
    ("POST", "/cli/device-code", 200, 501, ACCOUNTS),
    ("GET", "/cli/device-code/*", 200, 501, ACCOUNTS),
    ("POST", "/cli/device-code/*/approve", 200, 501, ACCOUNTS),
    ("POST", "/cli/token", 200, 501, ACCOUNTS),
    ("POST", "/cli/session/revoke", 200, 501, ACCOUNTS),
    ("GET", "/cli/sessions", 200, 501, ACCOUNTS),
    ("POST", "/cli-sync", 400, 501, ACCOUNTS),
    ("GET", "/cli/mesh/*/permissions", 200, 501, ACCOUNTS),
    ("GET", "/mesh/*/members", 200, 401, SIGNED),
    ("PATCH", "/mesh/*/member/*", 200, 401, SIGNED),
    ("PATCH", "/mesh/*/settings", 200, 401, SIGNED),
    ("POST", "/cli/mesh/create", 200, 501, OWNER),
    ("POST", "/cli/mesh/create", 400, 501, OWNER),
    ("DELETE", "/cli/mesh/*", 401, 401, OWNER),
    ("DELETE", "/cli/mesh/*", 200, 404, MADE),
    ("POST", "/cli/mesh/*/grants", 200, 404, MADE),
    ("POST", "/cli/mesh/*/invite", 200, 501, LINKS),
    ("POST", "/invites/*/claim", 200, 501, CODES),
    ("POST", "/invites/*/claim", 400, 501, CODES),
    ("POST", "/invites/*/claim", 404, 501, CODES),
    ("POST", "/invites/*/claim", 410, 501, CODES),
    ("POST", "/join", 400, 400, ELSEWHERE),
    ("POST", "/join", 500, 400, GARBAGE),
    ("POST", "/upload", 401, 501, FILES),
    ("GET", "/download/*", 401, 501, FILES),
    ("POST", "/tg/token", 400, 501, FILES),
    ("POST", "/hook/*/*", 200, 401, HOOKS),
    ("GET", "/test/clock", 200, 404, HOOKS),
];

/// A field that their answer has and ours has not: method, path, field, and why.
type Lacks = (&'static str, &'static str, &'static str, &'static str);

const LACKING: &[Lacks] = &[
    ("GET", "/nope", "", WORDS),
    ("POST", "/hook/set-status", ".presence_id", NOBODY),
];

/// The requests of all recordings with their answers, each once.
fn recorded() -> Vec<(Value, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../claudemesh-core/testdata/transcripts");
    let mut files: Vec<_> = (std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    files.sort();
    let (mut asked, mut pairs) = (BTreeMap::new(), Vec::new());
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["proto"] != "http" {
                continue;
            }
            let conn = record["conn"].as_str().unwrap().to_owned();
            if record["dir"] == "c2s" {
                asked.insert(conn, record);
            } else if let Some(request) = asked.remove(&conn) {
                pairs.push((request, record));
            }
        }
    }
    pairs
}

fn error_of(frame: &Value) -> String {
    let error = frame.get("error").and_then(Value::as_str);
    error.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn recorded_requests_are_answered_as_they_were_or_differ_on_purpose() {
    let mesh = TestMesh::start().await.unwrap();
    let bearer = Tokens::new(mesh.data_dir())
        .add("ana", now(&mesh), None)
        .unwrap();
    let link = invite(&mesh, 100, 600_000).await;
    let payload = InviteToken::parse(&link.token).unwrap();
    let (mut same, mut used, mut unexplained) = (0, BTreeSet::new(), Vec::new());
    let (mut retired, mut lacked) = (false, BTreeSet::new());
    for (request, theirs) in recorded() {
        let method = request["method"].as_str().unwrap();
        let url = request["url"].as_str().unwrap();
        let status = theirs["status"].as_u64().unwrap();
        let mut path = url.to_owned();
        if let Some(rest) = url.strip_prefix("/mesh/")
            && let Some((_, rest)) = rest.split_once('/')
        {
            path = format!("/mesh/{}/{rest}", mesh.id());
        }
        let mut body = request["frame"].clone();
        if path == "/join" && status == 200 {
            body["invite_token"] = json!(link.token);
            body["invite_payload"] = json!(payload);
        }
        retired |= path == "/cli/session/revoke";
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let recorded = request["headers"].as_object().unwrap();
        if recorded.contains_key("authorization") {
            // Theirs was taken back at the end.
            let token = if status == 401 { "retired" } else { &bearer };
            headers.push(("authorization", format!("Bearer {token}")));
        }
        if let Some(id) = recorded.get("x-member-id").and_then(Value::as_str) {
            headers.push(("x-member-id", id.to_owned()));
        }
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let text = match &body {
            Value::Null => String::new(),
            Value::String(raw) => raw.clone(),
            other => other.to_string(),
        };
        let ours = http(mesh.addr(), method, &path, &headers, &text)
            .await
            .unwrap();
        let json: Value = serde_json::from_str(&ours.body).unwrap_or_default();
        let what = format!(
            "{method} {path}: theirs {status} {:?}, ours {} {:?}",
            error_of(&theirs["frame"]),
            ours.status,
            error_of(&json)
        );
        if u64::from(ours.status) == status {
            let (before, now) = (error_of(&theirs["frame"]), error_of(&json));
            // What they look for is there; a sentence may be another one.
            let code = !before.is_empty() && !before.contains(' ');
            if !code || before == now {
                same += 1;
                missing("", &theirs["frame"], &json, &mut |path| {
                    let known = LACKING.iter().find(|(by, begins, field, _)| {
                        *by == method && is_path(url, begins) && *field == path
                    });
                    match known {
                        Some(known) => drop(lacked.insert(known)),
                        None => unexplained.push(format!("{what}: no {path}")),
                    }
                });
                continue;
            }
        } else {
            // What is refused is refused in words, with a code.
            assert!(ours.status >= 400 && !error_of(&json).is_empty(), "{what}");
            let said = json["message"].as_str().unwrap_or_default();
            assert!(said.len() > 20 || path == "/join", "{what}: {json}");
        }
        let known = DIFFERENCES.iter().find(|(by, begins, then, now, _)| {
            *by == method && is_path(url, begins) && *then == status && *now == ours.status
        });
        match known {
            Some(known) => {
                used.insert(known);
            }
            None => unexplained.push(what),
        }
    }
    assert!(retired && same >= 10, "{same} were answered as they were");
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let unmet: Vec<_> = DIFFERENCES.iter().filter(|it| !used.contains(it)).collect();
    assert!(unmet.is_empty(), "no longer so: {unmet:#?}");
    let there: Vec<_> = LACKING.iter().filter(|it| !lacked.contains(it)).collect();
    assert!(there.is_empty(), "there by now: {there:#?}");
}

/// Names the fields of theirs that ours has not, or has as something else. What is `null` there may
/// be anything here.
fn missing(path: &str, theirs: &Value, ours: &Value, found: &mut impl FnMut(&str)) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                let inner = format!("{path}.{name}");
                match b.get(name) {
                    Some(ours) => missing(&inner, value, ours, found),
                    None => found(&inner),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if let (Some(a), Some(b)) = (a.first(), b.first()) {
                missing(&format!("{path}[]"), a, b, found);
            }
        }
        (Value::Null, _)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => {}
        _ => found(path),
    }
}

/// `*` stands for what is between two slashes; what is asked behind the path is not looked at.
fn is_path(path: &str, pattern: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (path, pattern): (Vec<_>, Vec<_>) =
        (path.split('/').collect(), pattern.split('/').collect());
    let fits = |(part, want): (&&str, &&str)| *want == "*" || part == want;
    path.len() == pattern.len() && path.iter().zip(&pattern).all(fits)
}

#[test]
fn every_difference_is_in_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let document = std::fs::read_to_string(document).unwrap();
    let words = document.split_whitespace().collect::<Vec<_>>().join(" ");
    let lacking = LACKING.iter().map(|(.., reason)| reason);
    for reason in DIFFERENCES.iter().map(|(.., reason)| reason).chain(lacking) {
        assert!(words.contains(reason), "{reason}");
    }
}
