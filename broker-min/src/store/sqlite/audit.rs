//! The audit table as a chain per mesh.

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::{Hash, MeshId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{int, uint};
use crate::store::AuditPage;
use crate::store::chains::{Chains, Event};
use crate::store::values::page;

impl Chains {
    /// Writes an audit row. There is no column for content.
    pub(super) fn insert(
        &mut self,
        conn: &Connection,
        (mesh, event): (&MeshId, &str),
        (actor, target): (Option<&str>, Option<&str>),
        metadata: &str,
        at: u64,
    ) -> rusqlite::Result<()> {
        if self.last.is_none() {
            let last = conn
                .prepare_cached("SELECT coalesce(max(id), 0) FROM audit_log")?
                .query_row([], |row| row.get(0))?;
            self.last = Some(uint(last));
        }
        if !self.knows(mesh) {
            let (id, place) = load_end(conn, mesh)?;
            self.remember(mesh, id, place);
        }
        let created_at = int(at);
        let row = Event {
            event,
            actor,
            target,
            metadata,
            at: uint(created_at),
        };
        let Some(link) = self.link(mesh, row) else {
            return Ok(());
        };
        conn.prepare_cached(
            "INSERT INTO audit_log
                 (id, meshId, eventType, actorPeerId, targetPeerId, metadata, createdAt,
                  chain, n, hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            int(link.id),
            mesh.as_str(),
            event,
            actor,
            target,
            metadata,
            created_at,
            link.chain,
            int(link.place.n),
            link.place.hash.as_bytes(),
        ))?;
        Ok(())
    }

    /// Writes where the chains end that grew in this transaction.
    pub(super) fn save(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for (id, place) in self.grown() {
            conn.prepare_cached("UPDATE audit_chain SET n = ?, hash = ? WHERE id = ?")?
                .execute((int(place.n), place.hash.as_bytes(), id))?;
        }
        Ok(())
    }
}

fn load_end(conn: &Connection, mesh: &MeshId) -> rusqlite::Result<(i64, Place)> {
    let known = conn
        .prepare_cached("SELECT id, n, hash FROM audit_chain WHERE mesh = ?")?
        .query_row([mesh.as_str()], |row| Ok((row.get(0)?, place(row, 1)?)))
        .optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    let zero = Hash::ZERO;
    conn.prepare_cached(
        "INSERT INTO audit_chain (mesh, n, hash, base_n, base_hash) VALUES (?, 0, ?, 0, ?)",
    )?
    .execute((mesh.as_str(), zero.as_bytes(), zero.as_bytes()))?;
    Ok((conn.last_insert_rowid(), Place::START))
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
