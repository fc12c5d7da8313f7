//! The durable store in PostgreSQL.
//!
//! One broker uses one schema at a time: it holds an advisory lock, on the connection that writes,
//! for as long as it runs. A connection that is lost is made anew by the next call; what the writer
//! remembers is thrown away then. If another broker had the schema meanwhile, this one does not go
//! on: what its router knows is no longer true.

pub(crate) mod admin;
mod audit;
mod batch;
mod channels;
mod copy;
mod line;
mod load;
mod meshes;
mod passfile;
mod pending;
mod schema;
pub(crate) mod source;
mod tls;
mod values;
mod walk;

use std::str::FromStr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use claudemesh_core::crypto::sha256;
use claudemesh_core::id::PublicKey;
use tokio_postgres::Row;

use self::line::{Fault, Line, Target, bad, get};
use super::cache::Cache;
use super::postgres_url::PostgresUrl;
use super::{BrokerStore, Durability, Op, Outcome, StoreError, StoreReader};

/// A broker that was just stopped may need this long to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// For how long a server that could not be reached is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A broker's store in a schema of a PostgreSQL database, which is locked while it lives.
pub struct PostgresStore {
    target: Arc<Target>,
    line: Option<Line>,
    cache: Cache,
    /// The number of this use of the schema: each broker that opens it takes the next one.
    holder: i64,
    /// The server's process of the connection that held the lock last.
    process: i32,
    /// Until when it is not tried again, and why.
    away: Option<(Instant, String)>,
    superseded: bool,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("at", &self.target.label)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the store; schema and tables are made where they are missing, and tables of an older
    /// format are brought up to date in one transaction. With [`Durability::Process`] what was
    /// accepted in the last second before PostgreSQL itself dies may be lost.
    ///
    /// # Errors
    /// [`StoreError::Away`] if PostgreSQL cannot be reached, [`StoreError::Held`] if another broker
    /// still holds the schema after two seconds, [`StoreError::Newer`], [`StoreError::Damaged`],
    /// [`StoreError::Io`], also for a file that the URL names and that cannot be read.
    pub fn open(url: &PostgresUrl, durability: Durability) -> Result<Self, StoreError> {
        let target = Arc::new(target(url, durability)?);
        let mut store = Self {
            target: target.clone(),
            line: None,
            cache: Cache::default(),
            holder: 0,
            process: 0,
            away: None,
            superseded: false,
        };
        store.begin().map_err(|fault| fault.told(&target.label))?;
        Ok(store)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let mut line = Line::open(&self.target, true)?;
        self.process = lock(&mut line, &self.target, 0)?;
        schema::prepare(&mut line, &self.target, schema::STEPS)?;
        let row = line.one("UPDATE meta SET holder = holder + 1 RETURNING holder", &[])?;
        self.holder = get(&row, 0)?;
        let fsync: String = get(&line.one("SHOW fsync", &[])?, 0)?;
        if fsync != "on" {
            tracing::warn!(
                store = %self.target.label,
                "PostgreSQL runs with fsync = {fsync}: what is accepted may be lost with its machine"
            );
        }
        self.line = Some(line);
        Ok(())
    }

    /// Makes the connection anew if it is gone.
    fn connect(&mut self) -> Result<&mut Line, Fault> {
        if self.superseded {
            return Err(Fault::Store(self.no_longer_ours()));
        }
        if self.line.as_ref().is_some_and(Line::is_closed) {
            self.let_go();
        }
        if self.line.is_none() {
            if let Some((until, why)) = &self.away
                && Instant::now() < *until
            {
                return Err(Fault::Lost(why.clone()));
            }
            let opened = Line::open(&self.target, true).and_then(|mut line| {
                // Another one that has the schema now, or had it, is seen without its lock.
                let mut holder = holder(&mut line)?;
                if holder == self.holder {
                    self.process = lock(&mut line, &self.target, self.process)?;
                    holder = self::holder(&mut line)?;
                }
                Ok((line, holder))
            });
            let (line, holder) = match opened {
                Ok(opened) => opened,
                Err(fault) => {
                    if let Fault::Lost(why) = &fault {
                        self.away = Some((Instant::now() + RETRY_AFTER, why.clone()));
                    }
                    return Err(fault);
                }
            };
            if holder != self.holder {
                self.superseded = true;
                return Err(Fault::Store(self.no_longer_ours()));
            }
            tracing::warn!(store = %self.target.label, "connected again");
            self.away = None;
            self.line = Some(line);
        }
        self.line.as_mut().ok_or_else(|| bad("a connection"))
    }

    fn no_longer_ours(&self) -> StoreError {
        StoreError::Unknown {
            path: self.target.label.clone(),
            why: "another broker has used it meanwhile".to_owned(),
        }
    }

    fn let_go(&mut self) {
        self.line = None;
        self.cache = Cache::default();
    }

    fn try_commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, Fault> {
        self.connect()?;
        let Some(line) = &mut self.line else {
            return Err(bad("a connection"));
        };
        let outcomes = match batch::apply(line, &mut self.cache, ops) {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                self.cache = Cache::default();
                let lost = matches!(fault, Fault::Lost(_));
                if lost || line.batch("ROLLBACK").is_err() {
                    self.let_go();
                }
                return Err(fault);
            }
        };
        match line.batch("COMMIT") {
            Ok(()) => Ok(outcomes),
            Err(Fault::Lost(why)) => {
                // It may have come before the end or not; the next call finds out, by beginning
                // from what is there.
                self.let_go();
                Err(Fault::Store(StoreError::Unknown {
                    path: self.target.label.clone(),
                    why,
                }))
            }
            Err(fault) => {
                self.let_go();
                Err(fault)
            }
        }
    }
}

impl BrokerStore for PostgresStore {
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        self.cache.trim();
        let kept = self.line.is_some();
        let mut done = self.try_commit(ops);
        // A connection that died while it was idle: nothing was sent to be committed yet.
        if kept && matches!(done, Err(Fault::Lost(_))) {
            done = self.try_commit(ops);
        }
        done.map_err(|fault| fault.told(&self.target.label))
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(load::PostgresReader::new(self.target.clone())))
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let kept = self.line.is_some();
        let probe = |store: &mut Self| {
            let done = store
                .connect()
                .and_then(|line| line.execute("UPDATE meta SET clock = clock", &[]));
            if matches!(done, Err(Fault::Lost(_))) {
                store.let_go();
            }
            done.map(drop)
        };
        let mut done = probe(self);
        if kept && matches!(done, Err(Fault::Lost(_))) {
            done = probe(self);
        }
        done.map_err(|fault| fault.told(&self.target.label))
    }

    fn goes_on(&self) -> bool {
        !self.superseded
    }
}

fn target(url: &PostgresUrl, durability: Durability) -> Result<Target, StoreError> {
    Target::new(url, durability).map_err(|error| StoreError::Io {
        path: url.to_string(),
        why: error.to_string(),
    })
}

/// Who uses the schema, or used it last.
fn holder(line: &mut Line) -> Result<i64, Fault> {
    get(&line.one("SELECT holder FROM meta", &[])?, 0)
}

/// Takes the advisory lock of the schema; it is held until the connection ends. A connection of
/// our own that the server has not missed yet, its process being `before`, is ended. Gives the
/// server's process.
fn lock(line: &mut Line, target: &Target, before: i32) -> Result<i32, Fault> {
    let key = lock_key(&target.schema);
    let until = Instant::now() + PATIENCE;
    loop {
        let row = line.one("SELECT pg_try_advisory_lock($1), pg_backend_pid()", &[&key])?;
        if get(&row, 0)? {
            return get(&row, 1);
        }
        if before != 0 {
            line.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_locks
                 WHERE locktype = 'advisory' AND pid = $1 AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND (classid::BIGINT << 32 | objid::BIGINT) = $2",
                &[&before, &key],
            )?;
        }
        if Instant::now() >= until {
            return Err(Fault::Store(StoreError::Held {
                path: target.label.clone(),
            }));
        }
        sleep(PAUSE);
    }
}

/// Advisory locks are numbers, per database.
fn lock_key(schema: &str) -> i64 {
    let hash = sha256(format!("claudemesh broker {schema}").as_bytes()).0;
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

/// PostgreSQL's integers are signed: times far beyond any calendar become the last one.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other way round; no column holds a negative number (save hashes, which are not counted).
fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Bytes of a fixed length.
fn array<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], Fault> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| bad("a column of bytes"))
}

fn key(row: &Row, column: usize) -> Result<PublicKey, Fault> {
    array(row, column).map(PublicKey)
}

/// A text that is kept as its bytes.
fn text(row: &Row, column: usize) -> Result<String, Fault> {
    String::from_utf8(get(row, column)?).map_err(|_| bad("a column of text"))
}

/// A text that has been checked before it was kept.
fn parsed<T: FromStr>(row: &Row, column: usize) -> Result<T, Fault> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| bad("a column of text"))
}
