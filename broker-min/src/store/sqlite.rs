//! The durable store: one SQLite file in a folder of the broker's own.

mod admin;
mod audit;
mod cache;
mod channels;
mod commit;
#[cfg(feature = "postgres")]
mod copy;
mod load;
mod lock;
mod meshes;
mod schema;
mod values;
mod verify;
mod wal;
mod walk;

use std::fs::{DirBuilder, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use claudemesh_core::id::MeshId;
use rusqlite::{Connection, ErrorCode, OpenFlags};

#[cfg(feature = "postgres")]
pub(super) use self::admin::BESIDE;
pub use self::admin::{GcReport, MeshInfo, backup, export, gc, inspect, restore};
pub(crate) use self::schema::format_of_file;
pub(super) use self::verify::verify;
use self::wal::Checkpoints;
use super::cache::Cache;
use super::{BrokerStore, Op, Outcome, StoreError, StoreReader};

/// What an accepted message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: each commit waits for the disk.
    #[default]
    Power,
    /// The end of the process by whatever means, not a power cut.
    Process,
}

/// A broker's store in `broker.db`. The folder is locked while it lives.
pub struct SqliteStore {
    // Dropped in this order: the lock goes last, when the file is closed.
    checkpoints: Checkpoints,
    conn: Connection,
    cache: Cache,
    path: PathBuf,
    durability: Durability,
    _lock: File,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the store in `dir`; folder and file are made where they are missing, readable by
    /// their owner alone. A file of an older format is copied to `broker.db.v<format>.bak` and
    /// brought up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another broker still holds the folder after two seconds,
    /// [`StoreError::Newer`], [`StoreError::Damaged`] (the file is left as it is),
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir).map_err(|error| io_fault(dir, &error))?;
        let lock = lock::take(dir)?;
        let path = dir.join("broker.db");
        schema::recognise(&path)?;
        schema::create_private(&path)?;
        let conn = connect(&path, durability).map_err(|error| fault(&path, error))?;
        schema::prepare(&conn, &path, schema::STEPS)?;
        schema::make_audit_key(&conn).map_err(|error| fault(&path, error))?;
        let second = connect(&path, durability).map_err(|error| fault(&path, error))?;
        Ok(Self {
            checkpoints: Checkpoints::start(&path, second),
            conn,
            cache: Cache::default(),
            path,
            durability,
            _lock: lock,
        })
    }

    /// Deletes meshes with all that is kept for them; ones that are not there are passed over.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is deleted.
    pub(crate) fn delete_meshes(&self, meshes: &[MeshId]) -> Result<(), StoreError> {
        admin::delete(&self.conn, meshes)
            .map(drop)
            .map_err(|error| fault(&self.path, error))
    }

    /// Makes the store usable again after a failed commit: nothing of it may linger, neither in
    /// an open transaction nor in the cache.
    fn recover(&mut self) {
        self.cache = Cache::default();
        if !self.conn.is_autocommit() && self.conn.execute_batch("ROLLBACK").is_err() {
            // A connection that cannot roll back is given up; if no other can be had, the next
            // commit fails in its turn and tries again.
            if let Ok(conn) = connect(&self.path, self.durability) {
                self.conn = conn;
            }
        }
    }
}

impl BrokerStore for SqliteStore {
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        self.cache.trim();
        let done = match commit::apply(&self.conn, &mut self.cache, ops) {
            Ok(outcomes) => match self.conn.execute_batch("COMMIT") {
                Ok(()) => Ok(outcomes),
                Err(error) => Err(match error.sqlite_error_code() {
                    // These two are found out before the commit mark is written.
                    Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => fault(&self.path, error),
                    _ => StoreError::Unknown {
                        path: self.path.display().to_string(),
                        why: error.to_string(),
                    },
                }),
            },
            Err(error) => Err(fault(&self.path, error)),
        };
        match done {
            Ok(_) => self.checkpoints.committed(&self.conn),
            Err(_) => self.recover(),
        }
        done
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        let conn = connect(&self.path, self.durability)
            .and_then(|conn| conn.pragma_update(None, "query_only", true).map(|()| conn))
            .map_err(|error| fault(&self.path, error))?;
        Ok(Box::new(load::SqliteReader::new(conn, self.path.clone())))
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let probe = "UPDATE meta SET clock = clock";
        self.conn
            .execute(probe, [])
            .map(drop)
            .map_err(|error| fault(&self.path, error))
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        wal::run(&self.conn, "PASSIVE").map_err(|error| fault(&self.path, error))
    }
}

fn connect(file: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    // No CREATE: the file was made with its owner's rights, and one that vanished stays away.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(128);
    let synchronous = match durability {
        Durability::Power => "FULL",
        Durability::Process => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    // Checkpoints have a thread of their own.
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", 16 << 20, |_| Ok(()))?;
    Ok(conn)
}

/// What a failure before COMMIT means: nothing was kept.
fn fault(path: &Path, error: rusqlite::Error) -> StoreError {
    let damaged = matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::QueryReturnedNoRows
    );
    let path = path.display().to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged {
            path,
            why: error.to_string(),
        },
        _ if damaged => StoreError::Damaged {
            path,
            why: error.to_string(),
        },
        _ => StoreError::Io {
            path,
            why: error.to_string(),
        },
    }
}

fn io_fault(path: &Path, error: &std::io::Error) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full { path },
        _ => StoreError::Io {
            path,
            why: error.to_string(),
        },
    }
}

/// SQLite's integers are signed: times far beyond any calendar become the last one.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other way round; no column holds a negative number (save hashes, which are not counted).
fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::sample;

    #[test]
    fn a_full_disk_keeps_nothing_and_is_got_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(dir.path(), Durability::Process).unwrap();
        let first = store.commit(&[Op::Accept(sample("a", "x"))]).unwrap();
        let pages: i64 = store
            .conn
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        store
            .conn
            .pragma_update_and_check(None, "max_page_count", pages + 1, |_| Ok(()))
            .unwrap();
        let large = "x".repeat(100_000);
        let ops = [
            Op::Accept(sample("b", "x")),
            Op::Accept(sample("c", &large)),
        ];
        assert!(matches!(store.commit(&ops), Err(StoreError::Full { .. })));
        store
            .conn
            .pragma_update_and_check(None, "max_page_count", 1 << 30, |_| Ok(()))
            .unwrap();
        let seq = |outcomes: &[Outcome]| match outcomes[0] {
            Outcome::Accepted { seq, .. } => seq,
            ref other => panic!("{other:?}"),
        };
        let second = store.commit(&ops[..1]).unwrap();
        assert_eq!(seq(&second), seq(&first) + 1);
    }
}
