//! What an operator does to the tables: look at meshes, delete and export them, tidy up, check the
//! audit chains, copy the whole.
//!
//! Looking goes on beside a running broker; what changes something takes its lock.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use claudemesh_core::audit::Place;
use claudemesh_core::encoding::hex;
use claudemesh_core::id::{Hash, MeshId};
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use super::line::{Fault, Line, Target, bad, get};
use super::{PostgresStore, audit, copy, int, lock, parsed, schema, target, uint};
use crate::files::{copy_if_there, give_to_folder, private_dir};
use crate::rules::{MeshState, Rules};
use crate::store::tables::Value as Cell;
use crate::store::tables::{DELETE, Kind, LATER, META, OF_MESH, TABLES, Table};
use crate::store::verify::Walk;
use crate::store::{
    AuditReport, Durability, GcReport, MeshInfo, PostgresUrl, SqliteStore, StoreError,
};

/// A connection without bounds in time, for a store that must be there.
fn look(url: &PostgresUrl) -> Result<(Target, Line), StoreError> {
    let target = target(url, Durability::Power)?;
    let opened = Line::open(&target, false).and_then(|mut line| {
        let found = schema::recognise(&mut line, &target, schema::STEPS)?;
        Ok((line, found))
    });
    let (line, found) = opened.map_err(|fault| fault.told(&target.label))?;
    let missing = |why: &str| StoreError::Io {
        path: target.label.clone(),
        why: why.to_owned(),
    };
    match found {
        schema::Found::Nothing => Err(missing(
            "there is no broker's store here; is the URL right?",
        )),
        schema::Found::Format(format) if format < schema::format_of(schema::STEPS) => Err(missing(
            "it is of an older format; start the broker once, which brings it up to date",
        )),
        schema::Found::Format(_) => Ok((target, line)),
    }
}

/// What the server, the way to it and the schema are like: `Ok` has what is good and what is
/// doubtful (true) about it. Changes nothing.
pub(crate) fn survey(url: &PostgresUrl) -> Result<Vec<(bool, String)>, StoreError> {
    let target = target(url, Durability::Power)?;
    let look = || -> Result<Vec<(bool, String)>, Fault> {
        let mut line = Line::open(&target, true)?;
        let mut said = Vec::new();
        let row = line.one(
            "SELECT current_setting('server_version'),
                 coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE),
                 current_setting('fsync'), current_setting('full_page_writes'),
                 pg_is_in_recovery()",
            &[],
        )?;
        let (version, tls): (String, bool) = (get(&row, 0)?, get(&row, 1)?);
        let how = if tls { "with TLS" } else { "without TLS" };
        said.push((
            false,
            format!("{} answers {how}: PostgreSQL {version}", target.label),
        ));
        for (column, name) in [(2, "fsync"), (3, "full_page_writes")] {
            if get::<String>(&row, column)? != "on" {
                said.push((
                    true,
                    format!("PostgreSQL runs with {name} = off: what is accepted may be lost"),
                ));
            }
        }
        if get(&row, 4)? {
            return Err(Fault::Store(StoreError::ReadOnly {
                path: target.label.clone(),
            }));
        }
        match schema::recognise(&mut line, &target, schema::STEPS)? {
            schema::Found::Nothing => {
                let row = line.one(
                    "SELECT EXISTS (SELECT 1 FROM pg_namespace n WHERE n.nspname = $1
                             AND has_schema_privilege(n.oid, 'CREATE'))
                         OR (NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)
                             AND has_database_privilege(current_database(), 'CREATE'))",
                    &[&target.schema],
                )?;
                if !get::<bool>(&row, 0)? {
                    let schema = &target.schema;
                    return Err(Fault::Store(StoreError::Io {
                        path: target.label.clone(),
                        why: format!(
                            "this user may not make tables; let the database's owner say: \
                             CREATE SCHEMA {schema} AUTHORIZATION <the user>"
                        ),
                    }));
                }
                said.push((false, "there is no store yet; it will be made".to_owned()));
            }
            schema::Found::Format(found) => {
                let newest = schema::format_of(schema::STEPS);
                said.push((false, if found < newest {
                    format!("the store has format {found}; the next start brings it to {newest}: pg_dump it before")
                } else {
                    format!("the store has format {found}")
                }));
            }
        }
        Ok(said)
    };
    look().map_err(|fault| fault.told(&target.label))
}

/// All meshes, by age.
pub(crate) fn inspect(url: &PostgresUrl) -> Result<Vec<MeshInfo>, StoreError> {
    let (target, mut line) = look(url)?;
    infos(&mut line).map_err(|fault| fault.told(&target.label))
}

fn infos(line: &mut Line) -> Result<Vec<MeshInfo>, Fault> {
    let rows = line.rows(
        "SELECT m.name, m.slug, m.owner_name, m.created_at,
            (SELECT coalesce(max(last_seen), 0) FROM member WHERE mesh = m.id),
            (SELECT count(*) FROM member WHERE mesh = m.id AND removed_at = 0),
            (SELECT count(*) FROM log WHERE mesh = m.id),
            (SELECT count(*) FROM channel WHERE mesh = m.name),
            coalesce(w.count, 0), coalesce(w.bytes, 0), coalesce(h.count, 0), coalesce(h.bytes, 0),
            (SELECT count(*) FROM state WHERE mesh = m.id)
                + (SELECT count(*) FROM memory WHERE mesh = m.id)
                + (SELECT count(*) FROM schedule WHERE mesh = m.id)
                + (SELECT count(*) FROM item WHERE mesh = m.id)
         FROM mesh m
         LEFT JOIN (SELECT p.mesh, count(*) AS count, sum(d.size)::BIGINT AS bytes
             FROM delivery d JOIN party p ON p.id = d.mailbox GROUP BY p.mesh) w ON w.mesh = m.name
         LEFT JOIN (SELECT c.mesh, count(*) AS count, sum(length(h.tail))::BIGINT AS bytes
             FROM history h JOIN channel c ON c.id = h.channel GROUP BY c.mesh) h ON h.mesh = m.name
         ORDER BY m.created_at, m.name",
        &[],
    )?;
    let info = |row: &tokio_postgres::Row| {
        let number = |at| get(row, at).map(uint);
        Ok(MeshInfo {
            mesh: parsed(row, 0)?,
            slug: get(row, 1)?,
            owner_name: get(row, 2)?,
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
    };
    rows.iter().map(info).collect()
}

/// Deletes meshes with all that is kept for them, in one transaction. Says how many were there.
pub(super) fn delete(line: &mut Line, meshes: &[MeshId]) -> Result<u64, Fault> {
    line.batch("BEGIN; SET LOCAL statement_timeout = 0")?;
    let done = (|| -> Result<u64, Fault> {
        let mut found = 0;
        for mesh in meshes {
            if super::meshes::find(line, mesh)?.is_none() {
                continue;
            }
            found += 1;
            for sql in DELETE {
                line.execute_once(&sql.replace('?', "$1"), &[&mesh.as_str()])?;
            }
        }
        if found > 0 {
            line.batch("UPDATE meta SET queued = (SELECT count(*) FROM delivery)")?;
        }
        Ok(found)
    })();
    line.batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

impl PostgresStore {
    /// Deletes meshes with all that is kept for them; ones that are not there are passed over.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is deleted.
    pub(crate) fn delete_meshes(&mut self, meshes: &[MeshId]) -> Result<(), StoreError> {
        if meshes.is_empty() {
            return Ok(());
        }
        let target = self.target.clone();
        let done = self.connect().and_then(|line| delete(line, meshes));
        self.let_go();
        done.map(drop).map_err(|fault| fault.told(&target.label))
    }
}

/// Deletes what is marked as deleted and what is older than its mesh keeps it, and has PostgreSQL
/// tidy the tables up. The broker must be stopped.
pub(crate) fn gc(url: &PostgresUrl, rules: &Rules, now: u64) -> Result<GcReport, StoreError> {
    let (target, mut line) = look(url)?;
    let work = |line: &mut Line| -> Result<GcReport, Fault> {
        lock(line, &target, 0)?;
        let before = bytes(line, &target)?;
        let gone: Vec<MeshId> = (rules.iter())
            .filter(|(_, rule)| rule.state == MeshState::Deleted)
            .map(|(mesh, _)| mesh.clone())
            .collect();
        let meshes = delete(line, &gone)?;
        let mut history = 0;
        for (mesh, rule) in rules.iter() {
            let Some(retention) = rule.retention_ms else {
                continue;
            };
            history += line.execute(
                "DELETE FROM history WHERE at < $1
                 AND channel IN (SELECT id FROM channel WHERE mesh = $2)",
                &[&int(now.saturating_sub(retention)), &mesh.as_str()],
            )?;
        }
        for table in TABLES.iter().chain(&LATER) {
            line.batch(&format!("VACUUM (FULL, ANALYZE) {}", table.0))?;
        }
        Ok(GcReport {
            meshes,
            history,
            bytes: [before, bytes(line, &target)?],
        })
    };
    work(&mut line).map_err(|fault| fault.told(&target.label))
}

/// Bytes of all tables with their indexes.
fn bytes(line: &mut Line, target: &Target) -> Result<u64, Fault> {
    let row = line.one(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::BIGINT FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'",
        &[&target.schema],
    )?;
    Ok(uint(get(&row, 0)?))
}

/// Writes all that the broker keeps for a mesh as lines of JSON, as it is done for SQLite.
pub(crate) fn export(
    url: &PostgresUrl,
    mesh: &MeshId,
    out: &mut dyn Write,
) -> Result<u64, StoreError> {
    let (target, line) = look(url)?;
    let mut count = 0;
    let mut work = || -> Result<(), Fault> {
        line.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        for (table, sql) in OF_MESH {
            for row in line.rows_once(&sql.replace('?', "$1"), &[&mesh.as_str()])? {
                let mut fields = Map::new();
                for (at, column) in row.columns().iter().enumerate() {
                    let value = cell(&row, at, column.type_(), is_free(table, column.name()))?;
                    fields.insert(column.name().to_owned(), value);
                }
                count += 1;
                let json = serde_json::json!({"table": table, "row": fields});
                writeln!(out, "{json}").map_err(|error| {
                    Fault::Store(StoreError::Io {
                        path: "the output".into(),
                        why: error.to_string(),
                    })
                })?;
            }
        }
        Ok(())
    };
    work().map_err(|fault| fault.told(&target.label))?;
    Ok(count)
}

/// Whether a column holds a text as its bytes.
fn is_free(table: &str, column: &str) -> bool {
    let table = (TABLES.iter().chain(&LATER)).find(|it| it.0 == table);
    let columns = table.map(|it| it.1).unwrap_or_default();
    columns.contains(&(column, Kind::Free))
}

fn cell(row: &tokio_postgres::Row, at: usize, kind: &Type, free: bool) -> Result<Value, Fault> {
    Ok(match *kind {
        Type::INT8 => get::<Option<i64>>(row, at)?.map_or(Value::Null, Value::from),
        // As SQLite has it.
        Type::BOOL => get::<Option<bool>>(row, at)?.map_or(Value::Null, |it| i64::from(it).into()),
        Type::TEXT => get::<Option<String>>(row, at)?.map_or(Value::Null, Value::from),
        Type::BYTEA => match get::<Option<&[u8]>>(row, at)? {
            None => Value::Null,
            Some(bytes) if free => String::from_utf8_lossy(bytes).into_owned().into(),
            Some(bytes) => hex(bytes).into(),
        },
        _ => return Err(bad("a column")),
    })
}

/// Checks the audit chains as of one moment, also beside a running broker.
pub(crate) fn verify(
    url: &PostgresUrl,
    wanted: Option<&MeshId>,
    pinned: &[(MeshId, Place)],
) -> Result<Vec<AuditReport>, StoreError> {
    let (target, mut line) = look(url)?;
    chains(&mut line, wanted, pinned).map_err(|fault| fault.told(&target.label))
}

fn chains(
    line: &mut Line,
    wanted: Option<&MeshId>,
    pinned: &[(MeshId, Place)],
) -> Result<Vec<AuditReport>, Fault> {
    line.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let rows = line.rows(
        "SELECT id, mesh, n, hash, base_n, base_hash FROM audit_chain ORDER BY mesh",
        &[],
    )?;
    let mut reports = Vec::new();
    for row in &rows {
        let mesh: MeshId = parsed(row, 1)?;
        if wanted.is_some_and(|wanted| *wanted != mesh) {
            continue;
        }
        let (chain, head, base) = (
            get::<i64>(row, 0)?,
            audit::place(row, 2)?,
            audit::place(row, 4)?,
        );
        let mut walk = Walk::new(&mesh, base, head, pinned);
        let select = format!(
            r#"SELECT id, "eventType", "actorPeerId", "targetPeerId", metadata, "createdAt", n,
                   hash, "meshId" FROM audit_log WHERE chain = {chain} ORDER BY n NULLS FIRST, id"#
        );
        copy::each(line, &select, |row| {
            let kept = audit::record(row)?;
            let n = get::<Option<i64>>(row, 6)?.map_or(0, uint);
            let hash = get::<Option<&[u8]>>(row, 7)?.and_then(|hash| hash.try_into().ok());
            let of_mesh = get::<&str>(row, 8)? == mesh.as_str();
            Ok(walk.row(&kept, n, hash.map(Hash), of_mesh))
        })?;
        let unchained = match walk.first {
            None => None,
            Some(first) => {
                let row = line.one(
                    r#"SELECT min(id) FROM audit_log
                       WHERE "meshId" = $1 AND chain IS NULL AND id > $2"#,
                    &[&mesh.as_str(), &int(first)],
                )?;
                get::<Option<i64>>(&row, 0)?
            }
        };
        reports.push(walk.end(unchained.map(uint)));
    }
    Ok(reports)
}

/// Where rows come from.
type Source<'a> = &'a mut dyn FnMut(&Table, &mut Taker<'_>) -> Result<(), StoreError>;
/// What takes the rows of one table.
type Taker<'a> = dyn FnMut(crate::store::tables::Rows) -> Result<(), StoreError> + 'a;

/// Takes all rows of another store into a schema that holds nothing yet, in one transaction; with
/// `store` as its new id, or with its old one.
fn take_all(url: &PostgresUrl, store: Option<&str>, source: Source<'_>) -> Result<(), StoreError> {
    let target = target(url, Durability::Power)?;
    let label = target.label.clone();
    let told = |fault: Fault| fault.told(&label);
    let mut line = Line::open(&target, false).map_err(told)?;
    lock(&mut line, &target, 0).map_err(told)?;
    schema::prepare(&mut line, &target, schema::STEPS).map_err(told)?;
    let row = line
        .one(
            "SELECT head = 0 AND NOT EXISTS (SELECT 1 FROM mesh)
                 AND NOT EXISTS (SELECT 1 FROM audit_log) FROM meta",
            &[],
        )
        .map_err(told)?;
    if !get::<bool>(&row, 0).map_err(told)? {
        return Err(StoreError::Io {
            path: label,
            why: "it holds a store already; name an empty database, or another schema with \
                  ?schema=NAME"
                .to_owned(),
        });
    }
    line.batch("BEGIN; SET LOCAL statement_timeout = 0; DELETE FROM meta")
        .map_err(told)?;
    for table in [META].iter().chain(&TABLES).chain(&LATER) {
        source(table, &mut |mut rows| {
            if let (true, Some(store)) = (table.0 == "meta", store)
                && let Some(cell) = rows.first_mut().and_then(|row| row.get_mut(1))
            {
                *cell = Cell::Text(store.to_owned());
            }
            copy::write_rows(&line, table, rows).map_err(told)
        })?;
    }
    let format = schema::format_of(schema::STEPS);
    let mut last = format!("UPDATE meta SET format = {format};");
    for table in schema::NUMBERED {
        last.push_str(&format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'),
                 (SELECT coalesce(max(id), 0) + 1 FROM {table}), FALSE);"
        ));
    }
    line.batch(&format!("{last} COMMIT; ANALYZE")).map_err(told)
}

/// Moves the store of a folder into PostgreSQL: everything keeps its number and id, and the store
/// its own. The file stays as `broker.db.moved`. No broker may use either meanwhile.
pub(crate) fn move_in(dir: &Path, url: &PostgresUrl) -> Result<(), StoreError> {
    let file = dir.join("broker.db");
    let io = |why: String| StoreError::Io {
        path: file.display().to_string(),
        why,
    };
    if !file.is_file() {
        return Err(io(
            "there is no broker's store here; is --data right?".to_owned()
        ));
    }
    let moved = dir.join("broker.db.moved");
    if moved.exists() {
        let why = format!("{} is there already; put it elsewhere", moved.display());
        return Err(io(why));
    }
    let store = SqliteStore::open(dir, Durability::Power)?;
    take_all(url, None, &mut |table, take| store.read_table(table, take))?;
    // Closing moves its write-ahead log into the file.
    drop(store);
    fs::rename(&file, &moved).map_err(|error| {
        io(format!(
            "all is in PostgreSQL now, but the file could not be renamed to broker.db.moved \
             ({error}); do that by hand, so that no broker uses it again"
        ))
    })
}

/// A new id of a store.
fn new_id() -> Result<String, StoreError> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Io {
        path: "random bytes".to_owned(),
        why: error.to_string(),
    })?;
    Ok(hex(&id))
}

/// A folder beside another that is gone with the value.
struct Beside(PathBuf);

impl Beside {
    fn new(dir: &Path, end: &str) -> Self {
        let mut name = dir.as_os_str().to_owned();
        name.push(end);
        Self(name.into())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What stays is in the way of the next try, which says so.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fills a schema that holds nothing yet from a backup, under a new id; tokens and rules go into the
/// folder. Gives the id.
pub(crate) fn restore(from: &Path, dir: &Path, url: &PostgresUrl) -> Result<String, StoreError> {
    let io = |error: std::io::Error| StoreError::Io {
        path: dir.display().to_string(),
        why: error.to_string(),
    };
    private_dir(dir).map_err(io)?;
    // A copy is opened, not the backup: that may be of an older format, and stays as it is.
    let part = Beside::new(&dir.join("restore"), ".part");
    let store = crate::store::restore(from, &part.0, true)?;
    let copy = SqliteStore::open(&part.0, Durability::Process)?;
    take_all(url, Some(&store), &mut |table, take| {
        copy.read_table(table, take)
    })?;
    for name in crate::store::sqlite::BESIDE {
        let to = dir.join(name);
        copy_if_there(&from.join(name), &to).map_err(io)?;
        give_to_folder(&to);
    }
    Ok(store)
}

/// Copies all rows, tokens and rules into a new folder, as of one moment, also beside a running
/// broker. The folder is complete if it is there at all. Gives the bytes of its file.
pub(crate) fn backup(url: &PostgresUrl, dir: &Path, to: &Path) -> Result<u64, StoreError> {
    let io = |error: std::io::Error| StoreError::Io {
        path: to.display().to_string(),
        why: error.to_string(),
    };
    if to.exists() {
        let why = "it is there already; name a folder that is not".to_owned();
        return Err(io(std::io::Error::other(why)));
    }
    let (target, mut line) = look(url)?;
    let part = Beside::new(to, ".part");
    if part.0.exists() {
        fs::remove_dir_all(&part.0).map_err(io)?;
    }
    let store = SqliteStore::open(&part.0, Durability::Power)?;
    let work = |line: &mut Line| -> Result<(), Fault> {
        line.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        store.begin_rows().map_err(Fault::Store)?;
        for table in [META].iter().chain(&TABLES).chain(&LATER) {
            copy::read_table(line, table, |rows| {
                store.write_rows(table, &rows).map_err(Fault::Store)
            })?;
        }
        store.end_rows().map_err(Fault::Store)
    };
    work(&mut line).map_err(|fault| fault.told(&target.label))?;
    // Closing moves its write-ahead log into the file.
    drop(store);
    let _ = fs::remove_file(part.0.join("broker.lock"));
    for name in crate::store::sqlite::BESIDE {
        copy_if_there(&dir.join(name), &part.0.join(name)).map_err(io)?;
    }
    fs::File::open(part.0.join("broker.db"))
        .and_then(|file| file.sync_all())
        .map_err(io)?;
    fs::rename(&part.0, to).map_err(io)?;
    fs::metadata(to.join("broker.db"))
        .map(|meta| meta.len())
        .map_err(io)
}

/// Gives the store a new id, after other tools have put a backup in place. Gives the id.
pub(crate) fn renew(url: &PostgresUrl) -> Result<String, StoreError> {
    let (target, mut line) = look(url)?;
    let store = new_id()?;
    lock(&mut line, &target, 0)
        .and_then(|_| line.execute("UPDATE meta SET store = $1", &[&store]))
        .map_err(|fault| fault.told(&target.label))?;
    Ok(store)
}
