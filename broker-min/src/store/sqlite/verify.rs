//! Checking the audit chains of a file that no broker uses.

use std::path::Path;

use claudemesh_core::audit::Place;
use claudemesh_core::id::{Hash, MeshId};
use rusqlite::{Connection, OpenFlags};

use super::audit::{place, record};
use super::load::text;
use super::{fault, lock};
use crate::store::StoreError;

/// What was found in the chain of one mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// The mesh.
    pub mesh: MeshId,
    /// Rows that were checked.
    pub rows: u64,
    /// The newest place, as the file has it.
    pub head: Place,
    /// What is wrong, the first of it; none: the chain holds.
    pub fault: Option<AuditFault>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// A row is not what it was when it was written, or not where it was.
    #[error("row {id} was altered")]
    Altered {
        /// Its id.
        id: u64,
    },
    /// Rows are missing.
    #[error("{missing} rows are missing before row {id}")]
    Missing {
        /// The row after them.
        id: u64,
        /// How many.
        missing: u64,
    },
    /// The newest rows are missing.
    #[error("the {missing} newest rows are missing")]
    Cut {
        /// How many.
        missing: u64,
    },
    /// A row is in no chain, but newer than the first that is.
    #[error("row {id} was put in without a hash")]
    Unchained {
        /// Its id.
        id: u64,
    },
    /// The rows are whole, but the end of the chain says otherwise.
    #[error("the end of the chain was altered")]
    End,
}

/// Computes the audit chains of a broker's folder anew, of all meshes or of one, and says what does
/// not fit. Rows from before the table was a chain are passed over. The folder is locked
/// meanwhile, so that no broker writes to it.
///
/// # Errors
/// [`StoreError::InUse`] if a broker uses the folder; what [`SqliteStore::open`](super::SqliteStore::open)
/// gives for a file that cannot be read.
pub fn verify_audit(dir: &Path, mesh: Option<&MeshId>) -> Result<Vec<AuditReport>, StoreError> {
    let path = dir.join("broker.db");
    if !path.is_file() {
        return Err(StoreError::Io {
            path: path.display().to_string(),
            why: "there is no such file".into(),
        });
    }
    let _lock = lock::take(dir)?;
    super::schema::recognise(&path)?;
    // Read-write only so that a write-ahead log of a broker that died can be read.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags)
        .and_then(|conn| conn.pragma_update(None, "query_only", true).map(|()| conn));
    conn.and_then(|conn| verify(&conn, mesh))
        .map_err(|error| fault(&path, error))
}

fn verify(conn: &Connection, wanted: Option<&MeshId>) -> rusqlite::Result<Vec<AuditReport>> {
    let conn = &*conn.unchecked_transaction()?;
    let chains = conn
        .prepare("SELECT id, mesh, n, hash, base_n, base_hash FROM audit_chain ORDER BY mesh")?
        .query_map([], |row| {
            Ok((row.get(0)?, text(row, 1)?, place(row, 2)?, place(row, 4)?))
        })?
        .collect::<rusqlite::Result<Vec<(i64, MeshId, Place, Place)>>>()?;
    chains
        .into_iter()
        .filter(|(_, mesh, _, _)| wanted.is_none_or(|wanted| wanted == mesh))
        .map(|(id, mesh, head, base)| {
            let (rows, fault) = walk(conn, id, &mesh, base, head)?;
            Ok(AuditReport {
                mesh,
                rows,
                head,
                fault,
            })
        })
        .collect()
}

/// Rows that hold, and what is wrong with the next one.
fn walk(
    conn: &Connection,
    chain: i64,
    mesh: &MeshId,
    base: Place,
    head: Place,
) -> rusqlite::Result<(u64, Option<AuditFault>)> {
    let mut statement = conn.prepare(
        "SELECT id, eventType, actorPeerId, targetPeerId, metadata, createdAt, n, hash, meshId
         FROM audit_log WHERE chain = ? ORDER BY n, id",
    )?;
    let mut rows = statement.query([chain])?;
    let (mut place_now, mut count, mut first) = (base, 0, None);
    while let Some(row) = rows.next()? {
        let kept = record(row)?;
        let n = row.get::<_, Option<i64>>(6)?.map_or(0, super::uint);
        let hash = row.get(7).map(Hash).ok();
        let id = kept.id;
        let next = place_now.n + 1;
        if n > next {
            let missing = n - next;
            return Ok((count, Some(AuditFault::Missing { id, missing })));
        }
        let of_mesh = row.get_ref(8)?.as_str().is_ok_and(|of| of == mesh.as_str());
        place_now = place_now.after(mesh, &kept);
        if n < next || !of_mesh || Some(place_now.hash) != hash {
            return Ok((count, Some(AuditFault::Altered { id })));
        }
        first.get_or_insert(id);
        count += 1;
    }
    let fault = if place_now.n < head.n {
        Some(AuditFault::Cut {
            missing: head.n - place_now.n,
        })
    } else if place_now != head {
        Some(AuditFault::End)
    } else {
        unchained(conn, mesh, first)?
    };
    Ok((count, fault))
}

/// A row of the mesh that is in no chain although the chain had begun.
fn unchained(
    conn: &Connection,
    mesh: &MeshId,
    first: Option<u64>,
) -> rusqlite::Result<Option<AuditFault>> {
    let Some(first) = first else {
        return Ok(None);
    };
    let id: Option<i64> = conn.query_row(
        "SELECT min(id) FROM audit_log WHERE meshId = ? AND chain IS NULL AND id > ?",
        (mesh.as_str(), super::int(first)),
        |row| row.get(0),
    )?;
    Ok(id.map(|id| AuditFault::Unchained {
        id: super::uint(id),
    }))
}
