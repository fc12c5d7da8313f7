//! The client side of every recording against a broker of ours with the numbers of the existing
//! system, with hellos that are signed anew; its answers are compared field by field. What differs
//! must be in the list of what differs on purpose, and all of that list must be met.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are not seen as tests"
)]

mod replay {
    pub(crate) mod compare;
    pub(crate) mod differences;
    pub(crate) mod lines;
    pub(crate) mod people;
}
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use broker_min::limits::Limits;
use broker_min::testing::TestMesh;
use claudemesh_core::wire::MAX_FRAME;
use replay::compare::{Known, compare, is_answer_to};
use replay::differences::{DIFFERENCES, Difference, reason_of};
use replay::lines::{Got, Line};
use replay::people::{People, millis};
use serde_json::{Value, json};

/// For how long a frame is waited for that is to come.
const SOON: Duration = Duration::from_secs(2);
/// And one that does not come, on purpose.
const NOT_LONG: Duration = Duration::from_millis(20);
/// More than this does not pass at once, ms: connections are pinged meanwhile.
const STEP: u64 = 15_000;
/// And so much of it really, so that what nobody is told of has happened, ms.
const SLEPT: u64 = 40;
/// After the last frame of a file, for what nobody waits for.
const AT_THE_END: Duration = Duration::from_millis(250);

/// The recordings, in their order: the name of each, and its lines.
fn recordings() -> Vec<(String, Vec<Value>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../claudemesh-core/testdata/transcripts");
    let mut files: Vec<_> = (std::fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, lines.collect())
    };
    files.iter().map(read).collect()
}

/// The recordings of one mesh, one after the other.
struct Replay<'a> {
    file: &'a str,
    /// When the last line was recorded.
    at: Option<i64>,
    people: &'a People,
    mesh: TestMesh,
    lines: BTreeMap<String, Line>,
    known: Known,
    /// The last hello of each connection, as it was recorded.
    hellos: BTreeMap<String, Value>,
    /// What differed, once each.
    found: BTreeSet<String>,
}

impl Replay<'_> {
    /// As much time passes as did then, by the broker's clock.
    async fn pace(&mut self, record: &Value) {
        let at = millis(record["ts"].as_str().unwrap_or_default());
        if let (Some(before), Some(at)) = (self.at, at) {
            let passed = u64::try_from(at - before).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(passed.min(SLEPT))).await;
            let mut left = passed;
            while left > 0 {
                let step = left.min(STEP);
                self.mesh.advance(Duration::from_millis(step));
                left -= step;
                if left > 0 {
                    tokio::time::sleep(Duration::from_millis(SLEPT)).await;
                }
            }
        }
        self.at = at;
    }

    async fn step(&mut self, record: &Value) {
        self.pace(record).await;
        let conn = record["conn"].as_str().unwrap_or_default().to_owned();
        let from_client = record["dir"] == "c2s";
        match (record["proto"].as_str(), from_client) {
            (Some("ws-open"), _) => {
                let line = Line::open(&self.mesh).await;
                self.lines.insert(conn, line);
            }
            (Some("ws-close"), true) => {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.close().await;
                }
            }
            (Some("ws-close"), false) => self.closed(&conn, record).await,
            (Some("ws"), true) => self.said(&conn, record).await,
            (Some("ws"), false) => self.answered(&conn, &record["frame"]).await,
            _ => {}
        }
    }

    async fn said(&mut self, conn: &str, record: &Value) {
        let frame = &record["frame"];
        let text = match frame {
            Value::Object(_) if is_hello(frame) => {
                let skew = self.people.skew(record);
                self.people
                    .hello(&self.mesh, &self.known, frame, skew)
                    .to_string()
            }
            Value::Object(_) => self.known.translate(frame).to_string(),
            Value::String(raw) => raw.clone(),
            other => other.to_string(),
        };
        if is_hello(frame) {
            self.hellos.insert(conn.to_owned(), frame.clone());
        }
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        line.send(&text).await;
        if text.len() > MAX_FRAME {
            self.again(conn).await;
        }
    }

    /// What is too large ends a connection of ours, and not one of theirs: it comes again.
    async fn again(&mut self, conn: &str) {
        let line = self.lines.get_mut(conn).unwrap();
        let got = line.take(SOON, |got| matches!(got, Got::Closed(..))).await;
        let Some(Got::Closed(code, _)) = got else {
            return;
        };
        self.found.insert(format!("close {code} more"));
        let mut line = Line::open(&self.mesh).await;
        let hello = self
            .people
            .hello(&self.mesh, &self.known, &self.hellos[conn], 0);
        line.send(&hello.to_string()).await;
        line.take(SOON, |got| got.is("hello_ack")).await.unwrap();
        self.lines.insert(conn.to_owned(), line);
    }

    async fn answered(&mut self, conn: &str, theirs: &Value) {
        let kind = kind_of(theirs);
        let missing = format!("{kind} missing");
        let wait = match reason_of(self.file, &missing) {
            Some(_) => NOT_LONG,
            None => SOON,
        };
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        let fits = |got: &Got| is_answer_to(got, theirs);
        match line.take(wait, fits).await {
            Some(Got::Frame(ours)) => {
                for difference in compare(theirs, &ours, &mut self.known) {
                    self.found.insert(format!("{kind} {difference}"));
                }
            }
            _ => {
                self.found.insert(missing);
            }
        }
    }

    async fn closed(&mut self, conn: &str, record: &Value) {
        let Some(line) = self.lines.get_mut(conn) else {
            return;
        };
        let theirs = json!([record["code"], record["reason"]]);
        if line.is_closed() {
            return;
        }
        let got = line.take(SOON, |got| matches!(got, Got::Closed(..))).await;
        let ours = match got {
            Some(Got::Closed(code, reason)) => json!([code, reason]),
            _ => json!("open"),
        };
        if ours != theirs {
            self.found.insert(format!("close {theirs} is {ours}"));
        }
    }

    /// What came and was not in the recording.
    async fn end(&mut self) {
        tokio::time::sleep(AT_THE_END).await;
        for line in self.lines.values_mut() {
            for got in line.rest() {
                self.found.insert(match got {
                    Got::Frame(frame) => format!("{} more", kind_of(&frame)),
                    Got::Closed(code, reason) => format!("close {code} {reason} more"),
                });
            }
        }
    }
}

fn is_hello(frame: &Value) -> bool {
    frame["type"] == "hello" || frame["type"] == "session_hello"
}

/// What a frame is, in one word.
fn kind_of(frame: &Value) -> String {
    let kind = frame["type"].as_str().unwrap_or("?");
    match (kind, frame["event"].as_str(), frame["code"].as_str()) {
        ("push", Some(event), _) => format!("push:{event}"),
        ("error", _, Some(code)) => format!("error:{code}"),
        ("ack", ..) if frame["queued"] == true => "ack:queued".to_owned(),
        ("ack", ..) if frame["error"].is_string() => "ack:refused".to_owned(),
        _ => kind.to_owned(),
    }
}

#[tokio::test]
async fn recordings_are_answered_as_they_were_or_differ_on_purpose() {
    let recordings = recordings();
    let people = People::of(&recordings);
    let mut used: BTreeSet<&Difference> = BTreeSet::new();
    let (mut unexplained, mut answers) = (Vec::new(), 0);
    let mut meshes: BTreeMap<String, Replay<'_>> = BTreeMap::new();
    for (file, records) in &recordings {
        let Some(mesh_id) = people.mesh_of(records) else {
            continue;
        };
        if !meshes.contains_key(&mesh_id) {
            let mesh = TestMesh::start_with(Limits::reference()).await.unwrap();
            let replay = Replay {
                file,
                at: None,
                people: &people,
                known: people.join(&mesh).await,
                mesh,
                lines: BTreeMap::new(),
                hellos: BTreeMap::new(),
                found: BTreeSet::new(),
            };
            meshes.insert(mesh_id.clone(), replay);
        }
        let replay = meshes.get_mut(&mesh_id).unwrap();
        replay.file = file;
        for record in records {
            replay.step(record).await;
            answers += usize::from(record["dir"] == "s2c" && record["proto"] == "ws");
        }
        replay.end().await;
        for found in std::mem::take(&mut replay.found) {
            match reason_of(file, &found) {
                Some(difference) => {
                    used.insert(difference);
                }
                None => unexplained.push(format!("{file}: {found}")),
            }
        }
    }
    assert!(answers > 300, "{answers} answers were compared");
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let unmet: Vec<_> = DIFFERENCES.iter().filter(|it| !used.contains(it)).collect();
    assert!(unmet.is_empty(), "no longer so: {unmet:#?}");
}

#[test]
fn every_difference_is_in_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let document = std::fs::read_to_string(document).unwrap();
    let words = document.split_whitespace().collect::<Vec<_>>().join(" ");
    for difference in DIFFERENCES {
        assert!(words.contains(difference.reason), "{}", difference.reason);
    }
}
