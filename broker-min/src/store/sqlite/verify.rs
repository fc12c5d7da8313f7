//! Checking the audit chains of a file that no broker uses.

use std::path::Path;

use claudemesh_core::audit::Place;
use claudemesh_core::id::{Hash, MeshId};
use rusqlite::{Connection, OpenFlags};

use super::audit::{place, record};
use super::load::text;
use super::{fault, int, lock, uint};
use crate::store::StoreError;
use crate::store::verify::{AuditReport, Walk};

/// Checks the chains of all meshes or of one.
pub(in crate::store) fn verify(
    dir: &Path,
    mesh: Option<&MeshId>,
    pinned: &[(MeshId, Place)],
) -> Result<Vec<AuditReport>, StoreError> {
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
    conn.and_then(|conn| chains(&conn, mesh, pinned))
        .map_err(|error| fault(&path, error))
}

fn chains(
    conn: &Connection,
    wanted: Option<&MeshId>,
    pinned: &[(MeshId, Place)],
) -> rusqlite::Result<Vec<AuditReport>> {
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
        .map(|(id, mesh, head, base)| walk(conn, id, Walk::new(&mesh, base, head, pinned), &mesh))
        .collect()
}

fn walk(
    conn: &Connection,
    chain: i64,
    mut walk: Walk<'_>,
    mesh: &MeshId,
) -> rusqlite::Result<AuditReport> {
    let mut statement = conn.prepare(
        "SELECT id, eventType, actorPeerId, targetPeerId, metadata, createdAt, n, hash, meshId
         FROM audit_log WHERE chain = ? ORDER BY n, id",
    )?;
    let mut rows = statement.query([chain])?;
    while let Some(row) = rows.next()? {
        let kept = record(row)?;
        let n = row.get::<_, Option<i64>>(6)?.map_or(0, uint);
        let hash = row.get(7).map(Hash).ok();
        let of_mesh = row.get_ref(8)?.as_str().is_ok_and(|of| of == mesh.as_str());
        if !walk.row(&kept, n, hash, of_mesh) {
            break;
        }
    }
    let unchained = match walk.first {
        None => None,
        Some(first) => conn.query_row(
            "SELECT min(id) FROM audit_log WHERE meshId = ? AND chain IS NULL AND id > ?",
            (mesh.as_str(), int(first)),
            |row| row.get::<_, Option<i64>>(0),
        )?,
    };
    Ok(walk.end(unchained.map(uint)))
}
