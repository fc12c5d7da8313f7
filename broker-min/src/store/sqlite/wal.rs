//! Keeps the write-ahead log short without making commits wait.
//!
//! A thread of its own moves the log into the file each second, which the writer does not notice.
//! Under a load that never pauses the log grows all the same, because it can begin anew only when
//! all of it has been moved: then the writer does that itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

/// The log's length at which the writer begins it anew.
const RESTART_AT: u64 = 64 << 20;
/// How many commits pass between two looks at the log's length.
const LOOK_EVERY: u32 = 32;
const PERIOD: Duration = Duration::from_secs(1);

/// The thread and the writer's side of it.
pub(super) struct Checkpoints {
    log: PathBuf,
    dirty: Arc<AtomicBool>,
    commits: u32,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Checkpoints {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(file: &Path, conn: Connection) -> Self {
        let dirty = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&dirty);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                    if seen.swap(false, Ordering::Relaxed) {
                        // What fails here fails again in the writer, which reports it.
                        let _ = run(&conn, "PASSIVE");
                    }
                }
            })
            .ok()
            .map(|thread| (stop, thread));
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        Self {
            log: log.into(),
            dirty,
            commits: 0,
            thread,
        }
    }

    /// To be called after each commit of the writer.
    pub(super) fn committed(&mut self, conn: &Connection) {
        self.dirty.store(true, Ordering::Relaxed);
        self.commits += 1;
        if self.commits >= LOOK_EVERY {
            self.commits = 0;
            if std::fs::metadata(&self.log).is_ok_and(|log| log.len() > RESTART_AT) {
                // The commit is done and safe; a log that stays long is no reason to fail it.
                let _ = run(conn, "RESTART");
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Moves what the log holds into the file.
pub(super) fn run(conn: &Connection, mode: &str) -> rusqlite::Result<()> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
