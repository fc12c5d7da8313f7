//! Messages that no try has dealt with: put aside, so that others are not held up, and listed.
//!
//! Only ids, senders and reasons are noted; the messages are in the inbox's history.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use claudemesh_core::config::MeshEntry;
use claudemesh_core::peer::Received;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::{clean_line, iso_time, table};

/// Rows that are kept for a session; older ones go.
const MOST: usize = 1_000;
/// Bytes of a file that are believed.
const MAX_FILE: u64 = 4 << 20;
const END: &str = ".parked.json";

/// A message that was put aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    message_id: String,
    from_name: Option<String>,
    from_pubkey: String,
    at: String,
    reason: String,
}

/// What a session has put aside.
pub(super) struct Parked {
    file: Option<PathBuf>,
}

impl Parked {
    pub(super) fn of(mesh: &MeshEntry, session: &str) -> Self {
        let dir = mesh.data_dir().map(|dir| dir.join("agents"));
        let file = dir.map(|dir| dir.join(format!("{session}{END}")));
        Self { file }
    }

    /// Notes a message, on disk.
    pub(super) fn add(&self, message: &Received, reason: &str) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut rows = read(file);
        rows.retain(|row| row.message_id != message.id.as_str());
        rows.push(Row {
            message_id: message.id.to_string(),
            from_name: message
                .from
                .name
                .as_ref()
                .map(|name| name.as_str().to_owned()),
            from_pubkey: message.from.key.to_hex(),
            at: iso_time(std::time::SystemTime::now()),
            reason: reason.to_owned(),
        });
        let surplus = rows.len().saturating_sub(MOST);
        rows.drain(..surplus);
        write(file, &rows).map_err(|error| {
            Failure::new(
                Code::Io,
                format!("{}: cannot be written: {error}", file.display()),
            )
        })
    }
}

fn read(file: &Path) -> Vec<Row> {
    let small = std::fs::metadata(file).is_ok_and(|about| about.len() <= MAX_FILE);
    let text = small.then(|| std::fs::read(file).ok()).flatten();
    let rows = text.and_then(|text| serde_json::from_slice(&text).ok());
    rows.unwrap_or_default()
}

fn write(file: &Path, rows: &[Row]) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(&serde_json::to_vec(rows)?)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// Lists what was put aside, of one session or of all.
pub(super) fn list(
    context: &Context,
    mesh: &MeshEntry,
    session: Option<&str>,
) -> Result<Code, Failure> {
    let dir = mesh.data_dir().map(|dir| dir.join("agents"));
    let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok());
    let mut all: Vec<(String, Row)> = Vec::new();
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(of) = name.strip_suffix(END) else {
            continue;
        };
        if session.is_none_or(|session| session == of) {
            let rows = read(&entry.path());
            all.extend(rows.into_iter().map(|row| (of.to_owned(), row)));
        }
    }
    all.sort_by(|a, b| (&a.1.at, &a.0).cmp(&(&b.1.at, &b.0)));
    let answer: Vec<serde_json::Value> = all
        .iter()
        .map(|(session, row)| {
            let mut value = serde_json::json!(row);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("session".to_owned(), serde_json::json!(session));
            }
            value
        })
        .collect();
    context.out.answer(&answer, || {
        if all.is_empty() {
            return "Nothing was put aside.\n".to_owned();
        }
        let cells = all.iter().map(|(session, row)| {
            let name = row.from_name.as_deref().unwrap_or_default();
            vec![
                session.clone(),
                row.message_id.clone(),
                clean_line(name),
                row.at.clone(),
                clean_line(&row.reason),
            ]
        });
        table(
            &["SESSION", "MESSAGE", "FROM", "AT", "REASON"],
            cells.collect(),
        )
    })?;
    if !all.is_empty() {
        context
            .out
            .note("Their texts: `claudemesh inbox --all`. Whoever sent them can send them again.");
    }
    Ok(Code::Ok)
}
