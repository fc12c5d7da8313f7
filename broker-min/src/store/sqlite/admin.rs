//! What an operator does to the file: look at meshes, delete and export them, tidy up, copy the
//! whole and put a copy in place.
//!
//! Looking and copying go on beside a running broker; what changes the file takes its lock.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use claudemesh_core::encoding::hex;
use claudemesh_core::id::MeshId;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

use super::{fault, int, io_fault, load, lock, schema, uint};
use crate::files::{copy_if_there, give_to_folder, private_dir};
use crate::rules::Rules;
use crate::store::StoreError;
use crate::store::tables::{DELETE, OF_MESH};

const FILE: &str = "broker.db";
/// What lies beside the file and belongs to it.
pub(in crate::store) const BESIDE: [&str; 2] = ["create-tokens.json", "mesh-rules.json"];
/// Pages that are copied in one step.
const PAGES: i32 = 4_096;

/// A mesh, as its operator may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshInfo {
    /// Its id.
    pub mesh: MeshId,
    /// Its short name.
    pub slug: String,
    /// The name that its owner has.
    pub owner_name: String,
    /// Unix ms.
    pub created_at: u64,
    /// When a member was seen last, unix ms.
    pub last_seen: u64,
    /// Members that were not removed.
    pub members: u64,
    /// Entries of its membership log.
    pub log_entries: u64,
    /// Topics and groups.
    pub channels: u64,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// Messages that are kept for topics.
    pub history: u64,
    /// Bytes of them.
    pub history_bytes: u64,
    /// Keys of state, memories, schedules, and what existing clients keep.
    pub values: u64,
}

/// What [`gc`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Meshes that were marked as deleted and are gone now.
    pub meshes: u64,
    /// Messages of topics that were older than their mesh keeps them.
    pub history: u64,
    /// Bytes of the file before and after.
    pub bytes: [u64; 2],
}

fn missing(path: &Path) -> StoreError {
    StoreError::Io {
        path: path.display().to_string(),
        why: "there is no broker's store here; is --data right?".into(),
    }
}

/// A connection that changes nothing, also beside a running broker.
fn look(dir: &Path) -> Result<Connection, StoreError> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Err(missing(&path));
    }
    schema::recognise(&path)?;
    // Read-write only so that a write-ahead log of a broker that died can be read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(&path, flags)
        .and_then(|conn| {
            conn.busy_timeout(Duration::from_secs(5))?;
            conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
            conn.pragma_update(None, "query_only", true)?;
            Ok(conn)
        })
        .map_err(|error| fault(&path, error))
}

/// All meshes of a broker's folder, by age. Goes on beside a running broker.
///
/// # Errors
/// [`StoreError`].
pub fn inspect(dir: &Path) -> Result<Vec<MeshInfo>, StoreError> {
    let conn = look(dir)?;
    infos(&conn).map_err(|error| fault(&dir.join(FILE), error))
}

fn infos(conn: &Connection) -> rusqlite::Result<Vec<MeshInfo>> {
    let conn = &*conn.unchecked_transaction()?;
    conn.prepare(
        "SELECT m.name, m.slug, m.owner_name, m.created_at,
            (SELECT coalesce(max(last_seen), 0) FROM member WHERE mesh = m.id),
            (SELECT count(*) FROM member WHERE mesh = m.id AND removed_at = 0),
            (SELECT count(*) FROM log WHERE mesh = m.id),
            (SELECT count(*) FROM channel WHERE mesh = m.name),
            (SELECT count(*) FROM party p CROSS JOIN delivery d ON d.mailbox = p.id
                WHERE p.mesh = m.name),
            (SELECT coalesce(sum(d.size), 0) FROM party p
                CROSS JOIN delivery d ON d.mailbox = p.id WHERE p.mesh = m.name),
            (SELECT count(*) FROM channel c CROSS JOIN history h ON h.channel = c.id
                WHERE c.mesh = m.name),
            (SELECT coalesce(sum(length(h.tail)), 0) FROM channel c
                CROSS JOIN history h ON h.channel = c.id WHERE c.mesh = m.name),
            (SELECT count(*) FROM state WHERE mesh = m.id)
                + (SELECT count(*) FROM memory WHERE mesh = m.id)
                + (SELECT count(*) FROM schedule WHERE mesh = m.id)
                + (SELECT count(*) FROM item WHERE mesh = m.id)
         FROM mesh m ORDER BY m.created_at, m.name",
    )?
    .query_map([], |row| {
        let number = |at: usize| row.get(at).map(uint);
        Ok(MeshInfo {
            mesh: load::text(row, 0)?,
            slug: row.get(1)?,
            owner_name: row.get(2)?,
            created_at: number(3)?,
            last_seen: number(4)?,
            members: number(5)?,
            log_entries: number(6)?,
            channels: number(7)?,
            waiting: number(8)?,
            waiting_bytes: number(9)?,
            history: number(10)?,
            history_bytes: number(11)?,
            values: number(12)?,
        })
    })?
    .collect()
}

/// Deletes meshes with all that is kept for them, in one transaction. Says how many were there.
pub(super) fn delete(conn: &Connection, meshes: &[MeshId]) -> rusqlite::Result<u64> {
    let all = conn.unchecked_transaction()?;
    let mut found = 0;
    for mesh in meshes {
        let there: bool = all.query_row(
            "SELECT EXISTS (SELECT 1 FROM mesh WHERE name = ?)",
            [mesh.as_str()],
            |row| row.get(0),
        )?;
        if !there {
            continue;
        }
        found += 1;
        for sql in DELETE {
            all.execute(sql, [mesh.as_str()])?;
        }
    }
    if found > 0 {
        all.execute(
            "UPDATE meta SET queued = (SELECT count(*) FROM delivery)",
            [],
        )?;
    }
    all.commit()?;
    Ok(found)
}

/// Deletes what is marked as deleted and what is older than its mesh keeps it, and gives the room
/// back to the system. The broker must be stopped.
///
/// # Errors
/// [`StoreError::InUse`] if it is not; [`StoreError`].
pub fn gc(dir: &Path, rules: &Rules, now: u64) -> Result<GcReport, StoreError> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Err(missing(&path));
    }
    let _lock = lock::take(dir)?;
    schema::recognise(&path)?;
    let size = || fs::metadata(&path).map_or(0, |meta| meta.len());
    let before = size();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let work = || {
        let conn = Connection::open_with_flags(&path, flags)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        let gone: Vec<MeshId> = rules
            .iter()
            .filter(|(_, rule)| rule.state == crate::rules::MeshState::Deleted)
            .map(|(mesh, _)| mesh.clone())
            .collect();
        let meshes = delete(&conn, &gone)?;
        let mut history = 0;
        for (mesh, rule) in rules.iter() {
            let Some(retention) = rule.retention_ms else {
                continue;
            };
            let rows = conn.execute(
                "DELETE FROM history WHERE at < ?
                 AND channel IN (SELECT id FROM channel WHERE mesh = ?)",
                (int(now.saturating_sub(retention)), mesh.as_str()),
            )?;
            history += rows as u64;
        }
        conn.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;")?;
        Ok((meshes, history))
    };
    let (meshes, history) = work().map_err(|error| fault(&path, error))?;
    Ok(GcReport {
        meshes,
        history,
        bytes: [before, size()],
    })
}

/// Writes all that the broker keeps for a mesh as lines of JSON, `{"table", "row"}`, bytes in hex.
/// It is what the broker itself can see: ciphertext and metadata; the tokens of invites are left
/// out. Goes on beside a running broker. Says how many rows there were.
///
/// # Errors
/// [`StoreError`]; also if `out` cannot be written.
pub fn export(dir: &Path, mesh: &MeshId, out: &mut dyn Write) -> Result<u64, StoreError> {
    let path = dir.join(FILE);
    let conn = look(dir)?;
    let sql = |error| fault(&path, error);
    let one = conn.unchecked_transaction().map_err(sql)?;
    let mut count = 0;
    for (table, query) in OF_MESH {
        let mut statement = one.prepare(query).map_err(sql)?;
        let names: Vec<String> = (statement.column_names()).map(str::to_owned).collect();
        let mut rows = statement.query([mesh.as_str()]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let mut fields = Map::new();
            for (at, name) in names.iter().enumerate() {
                let value = match row.get_ref(at).map_err(sql)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
                    ValueRef::Blob(bytes) => hex(bytes).into(),
                };
                fields.insert(name.clone(), value);
            }
            count += 1;
            let line = serde_json::json!({"table": table, "row": fields});
            writeln!(out, "{line}").map_err(|error| StoreError::Io {
                path: "the output".into(),
                why: error.to_string(),
            })?;
        }
    }
    Ok(count)
}

/// Copies a broker's folder to `to`, which must not be there; the broker may run meanwhile. The
/// copy is of one moment, is checked, and is complete if it is there at all. Gives its bytes.
///
/// # Errors
/// [`StoreError`].
pub fn backup(dir: &Path, to: &Path) -> Result<u64, StoreError> {
    let conn = look(dir)?;
    if to.exists() {
        return Err(StoreError::Io {
            path: to.display().to_string(),
            why: "it is there already; name a folder that is not".into(),
        });
    }
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let io = |error: io::Error| io_fault(part, &error);
    // What is left of a backup that was cut off.
    if part.exists() {
        fs::remove_dir_all(part).map_err(io)?;
    }
    private_dir(part).map_err(io)?;
    let copy = part.join(FILE);
    schema::create_private(&copy)?;
    copy_pages(&conn, &copy)?;
    check(&copy)?;
    for name in BESIDE {
        copy_if_there(&dir.join(name), &part.join(name)).map_err(io)?;
    }
    sync_dir(part).map_err(io)?;
    fs::rename(part, to).map_err(io)?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent).map_err(io)?;
    }
    fs::metadata(to.join(FILE))
        .map(|meta| meta.len())
        .map_err(|error| io_fault(to, &error))
}

/// Puts a backup in place as the folder of a broker that is stopped. The store gets a new id, by
/// which peers notice that what they sent since the backup may be missing, and send it again.
/// What was there is kept as `broker.db.before-restore`, if `replace` allows that there is
/// something. Gives the new id.
///
/// # Errors
/// [`StoreError`].
pub fn restore(from: &Path, dir: &Path, replace: bool) -> Result<String, StoreError> {
    let source = from.join(FILE);
    if !source.is_file() {
        return Err(StoreError::Io {
            path: source.display().to_string(),
            why: "there is no backup here; --from names the folder that `backup` made".into(),
        });
    }
    schema::recognise(&source)?;
    let io = |error: io::Error| io_fault(dir, &error);
    private_dir(dir).map_err(io)?;
    let _lock = lock::take(dir)?;
    let target = dir.join(FILE);
    if target.exists() && !replace {
        return Err(StoreError::Io {
            path: target.display().to_string(),
            why: "a store is here already; --replace sets it aside, or name another --data".into(),
        });
    }
    let part = dir.join("broker.db.part");
    for end in ["", "-wal", "-shm", "-journal"] {
        remove_if_there(&with_end(&part, end)).map_err(io)?;
    }
    fs::copy(&source, &part).map_err(io)?;
    let store = renew(&part)?;
    check(&part)?;
    give_to_folder(&part);
    if target.exists() {
        // A broker that was killed has its newest commits in the log beside the file: they are
        // moved into it before it is set aside.
        let conn = look(dir)?;
        let moved = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        moved.map_err(|error| fault(&target, error))?;
        drop(conn);
        fs::rename(&target, dir.join("broker.db.before-restore")).map_err(io)?;
    }
    for end in ["-wal", "-shm", "-journal"] {
        remove_if_there(&with_end(&target, end)).map_err(io)?;
    }
    for name in BESIDE {
        let to = dir.join(name);
        copy_if_there(&from.join(name), &to).map_err(io)?;
        give_to_folder(&to);
    }
    fs::rename(&part, &target).map_err(io)?;
    sync_dir(dir).map_err(io)?;
    Ok(store)
}

fn copy_pages(conn: &Connection, to: &Path) -> Result<(), StoreError> {
    let copied = || {
        let mut copy = Connection::open(to)?;
        // One moment for the whole: without it each commit of the broker begins the copy anew.
        let moment = conn.unchecked_transaction()?;
        moment.query_row("SELECT head FROM meta", [], |_| Ok(()))?;
        {
            let backup = Backup::new(&moment, &mut copy)?;
            loop {
                match backup.step(PAGES)? {
                    StepResult::Done => break,
                    StepResult::Busy | StepResult::Locked => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    _ => {}
                }
            }
        }
        // One file, with nothing beside it.
        copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
    };
    copied().map_err(|error| fault(to, error))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|error| io_fault(to, &error))
}

/// Gives a copied store an id of its own.
fn renew(file: &Path) -> Result<String, StoreError> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Io {
        path: file.display().to_string(),
        why: error.to_string(),
    })?;
    let id = hex(&id);
    let renewed = || {
        let conn = Connection::open(file)?;
        conn.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.execute("UPDATE meta SET store = ?", [&id])
    };
    renewed().map_err(|error| fault(file, error))?;
    Ok(id)
}

/// Whether a copy is whole.
fn check(file: &Path) -> Result<(), StoreError> {
    let checked = || {
        let conn = Connection::open(file)?;
        conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    };
    let said = checked().map_err(|error| fault(file, error))?;
    if said == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            path: file.display().to_string(),
            why: said,
        })
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn with_end(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}
