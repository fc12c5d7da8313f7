//! The file: how it is made, recognised and brought to the current format.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, commit_error, is_busy, store_error};
use crate::store::StoreError;

/// "CMPS" (claudemesh peer store) in SQLite's header, by which a file is known as ours.
const APPLICATION_ID: i64 = 0x434d_5053;
/// The format that this program reads and writes.
const FORMAT: u32 = STEPS.len() as u32;
/// `STEPS[n]` brings a file from format n to n + 1. Format 0 is the empty file.
const STEPS: &[&str] = &[
    include_str!("format1.sql"),
    include_str!("format2.sql"),
    include_str!("format3.sql"),
];
const BUSY: Duration = Duration::from_secs(5);

/// Held while a file is made. Closing a file drops every lock that this process has on it, those
/// of SQLite too: nobody may have opened it by then.
static MAKING: Mutex<()> = Mutex::new(());

/// Opens the file, makes it where it is missing, and migrates it where it is older.
pub(super) fn open(path: &Path, name: &str) -> Result<Connection, StoreError> {
    // SQLite would take a name that begins with `file:` for a URI; an absolute one does not.
    let path = &std::path::absolute(path).map_err(|error| io(name, &error))?;
    make_private(path).map_err(|error| io(name, &error))?;
    let sql = |error: rusqlite::Error| store_error(&error, name);
    let conn = connect(path).map_err(sql)?;
    // Looked at before anything is set: a file that is not ours is left as it is.
    let found = Found::in_file(&conn).map_err(sql)?;
    found.check(name)?;
    use_wal(&conn).map_err(sql)?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(sql)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)
        .map_err(sql)?;
    if found.needs_migration() {
        migrate(&conn, path, name)?;
    }
    Ok(conn)
}

/// A new database in memory.
pub(super) fn open_in_memory(name: &str) -> Result<Connection, StoreError> {
    let sql = |error: rusqlite::Error| store_error(&error, name);
    let conn = Connection::open_in_memory().map_err(sql)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(sql)?;
    for step in STEPS {
        conn.execute_batch(step).map_err(sql)?;
    }
    Ok(conn)
}

fn io(name: &str, error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { path: name.into() },
        _ => StoreError::Io {
            path: name.into(),
            why: error.to_string(),
        },
    }
}

/// Makes an empty file that only its owner can read; SQLite gives the files that it puts beside
/// it the same mode.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => {
            drop(file);
            sync_parent(path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A new name is durable once its directory is.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Not CREATE: SQLite would make the file readable for others.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_handler(Some(wait))?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(conn)
}

/// Waits for a lock, some five seconds in all. SQLite's own timeout soon asks only each 100 ms, and
/// one that writes without pause hardly leaves a gap: now and then another would get no turn.
/// Asking each millisecond, at uneven times, it does.
fn wait(times: i32) -> bool {
    let times = times.unsigned_abs();
    thread::sleep(Duration::from_micros(500 + u64::from(times) * 389 % 1_000));
    times < 5_000
}

/// Two that change a new file's mode at once are told so at once, without the busy timeout.
fn use_wal(conn: &Connection) -> rusqlite::Result<()> {
    let give_up = Instant::now() + BUSY;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| {
            row.get::<_, String>(0)
        }) {
            Err(error) if is_busy(&error) && Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(10));
            }
            other => return other.map(drop),
        }
    }
}

/// What kind of file it is.
struct Found {
    application: i64,
    format: i64,
    tables: i64,
}

impl Found {
    fn in_file(conn: &Connection) -> rusqlite::Result<Self> {
        // One statement, so that it sees one state of a file that another process is making.
        conn.query_row(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
             FROM pragma_application_id, pragma_user_version",
            [],
            |row| {
                Ok(Self {
                    application: row.get(0)?,
                    format: row.get(1)?,
                    tables: row.get(2)?,
                })
            },
        )
    }

    const fn is_new(&self) -> bool {
        self.application == 0 && self.format == 0 && self.tables == 0
    }

    fn check(&self, name: &str) -> Result<(), StoreError> {
        let ours = self.application == APPLICATION_ID && self.format >= 0;
        if !ours && !self.is_new() {
            let why = "it is a database of another program".into();
            return Err(StoreError::Damaged {
                path: name.into(),
                why,
            });
        }
        if self.format > i64::from(FORMAT) {
            let found = u32::try_from(self.format).unwrap_or(u32::MAX);
            return Err(StoreError::Newer {
                path: name.into(),
                found,
                supported: FORMAT,
            });
        }
        Ok(())
    }

    fn needs_migration(&self) -> bool {
        self.format < i64::from(FORMAT)
    }
}

/// Brings the file to the current format in one transaction; before that a file that has
/// something in it is copied to `<name>.v<format>.bak`.
fn migrate(conn: &Connection, path: &Path, name: &str) -> Result<(), StoreError> {
    let sql = |error: rusqlite::Error| store_error(&error, name);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(sql)?;
    let result = migrate_locked(conn, path, name);
    match result {
        Ok(()) => conn
            .execute_batch("COMMIT")
            .map_err(|error| commit_error(&error, name)),
        Err(error) => {
            // The error at hand says more than one of the rollback would.
            drop(conn.execute_batch("ROLLBACK"));
            Err(error)
        }
    }
}

fn migrate_locked(conn: &Connection, path: &Path, name: &str) -> Result<(), StoreError> {
    let sql = |error: rusqlite::Error| store_error(&error, name);
    // Looked at again: another process may have done it while this one waited for the lock.
    let found = Found::in_file(conn).map_err(sql)?;
    found.check(name)?;
    let from = usize::try_from(found.format).map_err(|_| Fault::Field("format").at(name))?;
    if from < STEPS.len() && !found.is_new() {
        back_up(path, from, name)?;
    }
    for step in STEPS.iter().skip(from) {
        conn.execute_batch(step).map_err(sql)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(sql)?;
    conn.pragma_update(None, "user_version", FORMAT)
        .map_err(sql)
}

/// Copies the file as it was committed last. The caller holds the write lock, so that it is still
/// in the old format.
fn back_up(path: &Path, format: usize, name: &str) -> Result<(), StoreError> {
    let with = |ending: &str| -> PathBuf {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        file.into()
    };
    let (part, whole) = (with(".bak.part"), with(&format!(".v{format}.bak")));
    let copy = || -> std::io::Result<Result<(), rusqlite::Error>> {
        match fs::remove_file(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => make_private(&part)?,
        }
        let Some(target) = part.to_str() else {
            return Err(std::io::Error::other(
                "its path is not UTF-8, so it cannot be copied",
            ));
        };
        let copied = connect(path).and_then(|conn| conn.execute("VACUUM INTO ?1", [target]));
        if let Err(error) = copied {
            return Ok(Err(error));
        }
        File::open(&part)?.sync_all()?;
        fs::rename(&part, &whole)?;
        sync_parent(&whole)?;
        Ok(Ok(()))
    };
    copy()
        .map_err(|error| io(name, &error))?
        .map_err(|error| store_error(&error, name))
}
