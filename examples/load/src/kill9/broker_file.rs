//! The killed broker's file, looked at in a copy: opening the file itself would repair it before
//! the broker can.

use std::ffi::OsString;
use std::path::Path;

use claudemesh_core::wire::join_push;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::error::{During as _, LoadError};
use crate::wire::Frame;

/// `PRAGMA integrity_check`.
pub(super) fn check(file: &Path) -> Result<(), LoadError> {
    let (_dir, copy) = copy(file)?;
    let found: String = copy
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .during("checking the broker's file")?;
    if found == "ok" {
        Ok(())
    } else {
        Err(LoadError::step("the broker's file is damaged", found))
    }
}

/// The ids of the messages that wait in it.
pub(super) fn waiting(file: &Path) -> Result<Vec<String>, LoadError> {
    let what = "reading the broker's file";
    let (_dir, copy) = copy(file)?;
    let mut query = copy.prepare("SELECT tail FROM message").during(what)?;
    let tails = query
        .query_map([], |row| row.get::<_, String>(0))
        .during(what)?;
    let mut ids = Vec::new();
    for tail in tails {
        let text = join_push("x", &tail.during(what)?);
        ids.extend(Frame::read(&text)?.id.map(str::to_owned));
    }
    Ok(ids)
}

fn copy(file: &Path) -> Result<(TempDir, Connection), LoadError> {
    let what = "copying the broker's file";
    let dir = tempfile::tempdir().during(what)?;
    let to = dir.path().join("broker.db");
    std::fs::copy(file, &to).during(what)?;
    let mut log = OsString::from(file);
    log.push("-wal");
    if Path::new(&log).exists() {
        std::fs::copy(&log, dir.path().join("broker.db-wal")).during(what)?;
    }
    let connection = Connection::open(&to).during(what)?;
    Ok((dir, connection))
}
