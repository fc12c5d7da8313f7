//! The audit table as a chain per mesh.
//!
//! The hash of a row is made where the row is written, in the same commit; rows are never
//! changed. Where each chain ends is remembered between commits, and written once per commit.

use std::collections::HashMap;

use claudemesh_core::audit::{Place, Record, RowRef, row_hash};
use claudemesh_core::id::{Hash, MeshId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{int, uint};
use crate::store::AuditPage;
use crate::store::values::page;

/// Chains whose end is remembered.
const CHAINS: usize = 20_000;

#[derive(Debug)]
struct End {
    id: i64,
    place: Place,
    changed: bool,
}

/// Where chains end. It follows the open transaction; after a rollback it is thrown away.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The newest id of `audit_log`.
    last: Option<i64>,
    ends: HashMap<MeshId, End>,
    changed: Vec<MeshId>,
}

impl Chains {
    /// Keeps itself within its bounds. Called between commits.
    pub(super) fn trim(&mut self) {
        if self.ends.len() > CHAINS {
            self.ends.clear();
        }
    }

    /// Writes an audit row. There is no column for content.
    pub(super) fn insert(
        &mut self,
        conn: &Connection,
        (mesh, event): (&MeshId, &str),
        (actor, target): (Option<&str>, Option<&str>),
        metadata: &str,
        at: u64,
    ) -> rusqlite::Result<()> {
        let last = match self.last {
            Some(last) => last,
            None => conn
                .prepare_cached("SELECT coalesce(max(id), 0) FROM audit_log")?
                .query_row([], |row| row.get(0))?,
        };
        let id = last + 1;
        if !self.ends.contains_key(mesh) {
            let end = load_end(conn, mesh)?;
            self.ends.insert(mesh.clone(), end);
        }
        let Some(end) = self.ends.get_mut(mesh) else {
            return Ok(());
        };
        let created_at = int(at);
        let row = RowRef {
            id: uint(id),
            event,
            actor,
            target,
            metadata,
            created_at: uint(created_at),
        };
        let hash = row_hash(mesh, &end.place.hash, &row);
        let n = end.place.n + 1;
        conn.prepare_cached(
            "INSERT INTO audit_log
                 (id, meshId, eventType, actorPeerId, targetPeerId, metadata, createdAt,
                  chain, n, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            id,
            mesh.as_str(),
            event,
            actor,
            target,
            metadata,
            created_at,
            end.id,
            int(n),
            hash.as_bytes(),
        ))?;
        end.place = Place { n, hash };
        if !end.changed {
            end.changed = true;
            self.changed.push(mesh.clone());
        }
        self.last = Some(id);
        Ok(())
    }

    /// Writes where the chains end that grew in this transaction.
    pub(super) fn save(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for mesh in self.changed.drain(..) {
            if let Some(end) = self.ends.get_mut(&mesh) {
                end.changed = false;
                conn.prepare_cached("UPDATE audit_chain SET n = ?, hash = ? WHERE id = ?")?
                    .execute((int(end.place.n), end.place.hash.as_bytes(), end.id))?;
            }
        }
        Ok(())
    }
}

fn load_end(conn: &Connection, mesh: &MeshId) -> rusqlite::Result<End> {
    let known = conn
        .prepare_cached("SELECT id, n, hash FROM audit_chain WHERE mesh = ?")?
        .query_row([mesh.as_str()], |row| Ok((row.get(0)?, place(row, 1)?)))
        .optional()?;
    if let Some((id, place)) = known {
        return Ok(End {
            id,
            place,
            changed: false,
        });
    }
    let zero = Hash::ZERO;
    conn.prepare_cached(
        "INSERT INTO audit_chain (mesh, n, hash, base_n, base_hash) VALUES (?, 0, ?, 0, ?)",
    )?
    .execute((mesh.as_str(), zero.as_bytes(), zero.as_bytes()))?;
    Ok(End {
        id: conn.last_insert_rowid(),
        place: Place::START,
        changed: false,
    })
}

/// A place in two columns.
pub(super) fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<Place> {
    Ok(Place {
        n: uint(row.get(column)?),
        hash: Hash(row.get(column + 1)?),
    })
}

/// A row in six columns.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        id: uint(row.get(0)?),
        event: row.get(1)?,
        actor: row.get(2)?,
        target: row.get(3)?,
        metadata: row.get(4)?,
        created_at: uint(row.get(5)?),
    })
}

pub(super) fn load(
    conn: &Connection,
    mesh: &MeshId,
    from: u64,
    bytes: usize,
) -> rusqlite::Result<AuditPage> {
    let known: Option<(i64, Place, Place)> = conn
        .prepare_cached("SELECT id, n, hash, base_n, base_hash FROM audit_chain WHERE mesh = ?")?
        .query_row([mesh.as_str()], |row| {
            Ok((row.get(0)?, place(row, 1)?, place(row, 3)?))
        })
        .optional()?;
    let Some((id, head, kept)) = known else {
        let (base, head) = (Place::START, Place::START);
        let rows = Vec::new();
        return Ok(AuditPage { base, rows, head });
    };
    if bytes == 0 || from >= head.n {
        let rows = Vec::new();
        return Ok(AuditPage {
            base: head,
            rows,
            head,
        });
    }
    let base = if from <= kept.n {
        kept
    } else {
        let hash = conn
            .prepare_cached("SELECT hash FROM audit_log WHERE chain = ? AND n = ?")?
            .query_row((id, int(from)), |row| row.get(0))?;
        Place {
            n: from,
            hash: Hash(hash),
        }
    };
    let mut statement = conn.prepare_cached(
        "SELECT id, eventType, actorPeerId, targetPeerId, metadata, createdAt FROM audit_log
         WHERE chain = ? AND n > ? ORDER BY n",
    )?;
    let rows = statement.query_map((id, int(base.n)), record)?;
    let (rows, _) = page(rows, bytes, AuditPage::weight)?;
    Ok(AuditPage { base, rows, head })
}
