//! A store in an SQLite file that several processes share.

mod fault;
mod ops;
mod queries;
mod schema;

use std::path::Path;

use rusqlite::Connection;

use self::fault::{Fault, commit_error, store_error};
use super::{Outcome, PeerOp, PeerStore, Query, Rows, StoreError};

/// Keeps everything in one file.
///
/// A transaction is on the disk when [`PeerStore::apply`] returns (WAL, `synchronous=FULL`). Any
/// number of processes and threads may have the file open, each with a store of its own; a writer
/// waits up to five seconds for the others. Only the file's owner can read it.
///
/// The file must be on a local disk: WAL needs shared memory.
#[derive(Debug)]
pub struct SqliteStore {
    conn: Connection,
    path: String,
    is_durable: bool,
}

impl SqliteStore {
    /// Opens the file, or makes it; its directory must be there. A file of an older format is
    /// migrated, after a copy of it was put beside it as `<name>.v<format>.bak`.
    ///
    /// # Errors
    /// [`StoreError::Newer`] and [`StoreError::Damaged`] (which a file of another program is, too)
    /// leave the file as it is. [`StoreError::Io`] and [`StoreError::Full`] as the system says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        Ok(Self {
            conn: schema::open(path, &name)?,
            path: name,
            is_durable: true,
        })
    }

    /// A store in memory, gone with this value.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is no memory.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        let name = ":memory:".to_owned();
        Ok(Self {
            conn: schema::open_in_memory(&name)?,
            path: name,
            is_durable: false,
        })
    }

    /// Lets the file grow to so many bytes at most; from then on what would make it larger is
    /// refused with [`StoreError::Full`]. Holds for this handle. The limit is never below the
    /// file's size of now; the write-ahead log beside it is not counted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn limit_size(&mut self, bytes: u64) -> Result<(), StoreError> {
        let set = || {
            let page: i64 = self
                .conn
                .query_row("PRAGMA page_size", [], |row| row.get(0))?;
            let pages = ops::int(bytes) / page.max(1);
            let pages = pages.clamp(1, i64::from(u32::MAX) - 1);
            let sql = format!("PRAGMA max_page_count = {pages}");
            self.conn.query_row(&sql, [], |row| row.get::<_, i64>(0))
        };
        set()
            .map(drop)
            .map_err(|error| store_error(&error, &self.path))
    }

    /// Copies everything as it was committed last into a file of its own, which must not be there;
    /// others may go on writing meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let io = |why: String| StoreError::Io {
            path: path.display().to_string(),
            why,
        };
        let target = path.to_str();
        let target = target.ok_or_else(|| io("its path is not UTF-8".to_owned()))?;
        schema::make_private(path).map_err(|error| io(error.to_string()))?;
        self.conn
            .execute("VACUUM INTO ?1", [target])
            .map(drop)
            .map_err(|error| store_error(&error, &self.path))
    }

    /// Ends the write-ahead log, so that the file is all there is; false if another handle has it
    /// open, here or in another process.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn settle(self) -> Result<bool, StoreError> {
        let settled = || -> rusqlite::Result<bool> {
            self.conn.busy_timeout(std::time::Duration::ZERO)?;
            let sql = "PRAGMA journal_mode = DELETE";
            let mode = self.conn.query_row(sql, [], |row| row.get::<_, String>(0));
            match mode {
                Ok(mode) => Ok(mode == "delete"),
                Err(error) if fault::is_busy(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        settled().map_err(|error| store_error(&error, &self.path))
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// After some errors SQLite has rolled back by itself.
    fn roll_back(&self) {
        if !self.conn.is_autocommit() {
            // Should it fail, the next transaction begins with another try.
            drop(self.execute("ROLLBACK"));
        }
    }

    fn fault(&self, fault: Fault) -> StoreError {
        fault.at(&self.path)
    }
}

impl PeerStore for SqliteStore {
    fn apply(&mut self, ops: &[PeerOp]) -> Result<Vec<Outcome>, StoreError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        self.roll_back();
        // The write lock is taken at once: a transaction that began by reading could not wait for
        // it, since what it read might be outdated by then.
        self.execute("BEGIN IMMEDIATE")
            .map_err(|error| store_error(&error, &self.path))?;
        let outcomes: Result<Vec<_>, _> = ops.iter().map(|op| ops::apply(&self.conn, op)).collect();
        let outcomes = outcomes.map_err(|fault| {
            self.roll_back();
            self.fault(fault)
        })?;
        self.execute("COMMIT").map_err(|error| {
            self.roll_back();
            commit_error(&error, &self.path)
        })?;
        Ok(outcomes)
    }

    fn read(&self, query: &Query) -> Result<Rows, StoreError> {
        // One snapshot, though an answer may take several statements.
        let snapshot = self
            .conn
            .unchecked_transaction()
            .map_err(|error| store_error(&error, &self.path))?;
        queries::answer(&snapshot, query).map_err(|fault| self.fault(fault))
    }

    fn version(&self) -> Result<u64, StoreError> {
        let version = || {
            let mut statement = self.conn.prepare_cached("PRAGMA data_version")?;
            statement.query_row([], |row| row.get::<_, i64>(0))
        };
        let version = version().map_err(|error| store_error(&error, &self.path))?;
        Ok(version.unsigned_abs())
    }

    fn is_durable(&self) -> bool {
        self.is_durable
    }
}
