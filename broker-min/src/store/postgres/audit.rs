//! The audit table as a chain per mesh.

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::{Hash, MeshId};
use tokio_postgres::Row;

use super::line::{Fault, Line, bad, get};
use super::{array, int, uint};
use crate::store::AuditPage;
use crate::store::values::page;

/// The number of a mesh's chain, which it gets now if it has none, and where it ends.
pub(super) fn end(line: &mut Line, mesh: &MeshId) -> Result<(i64, Place), Fault> {
    let known = line.row(
        "SELECT id, n, hash FROM audit_chain WHERE mesh = $1",
        &[&mesh.as_str()],
    )?;
    if let Some(row) = known {
        return Ok((get(&row, 0)?, place(&row, 1)?));
    }
    let zero = Hash::ZERO;
    let row = line.one(
        "INSERT INTO audit_chain (mesh, n, hash, base_n, base_hash) VALUES ($1, 0, $2, 0, $2)
         RETURNING id",
        &[&mesh.as_str(), &zero.as_bytes().as_slice()],
    )?;
    Ok((get(&row, 0)?, Place::START))
}

/// A place in two columns.
pub(super) fn place(row: &Row, column: usize) -> Result<Place, Fault> {
    Ok(Place {
        n: uint(get(row, column)?),
        hash: Hash(array(row, column + 1)?),
    })
}

/// A row in six columns.
pub(super) fn record(row: &Row) -> Result<Record, Fault> {
    Ok(Record {
        id: uint(get(row, 0)?),
        event: get(row, 1)?,
        actor: get(row, 2)?,
        target: get(row, 3)?,
        metadata: get(row, 4)?,
        created_at: uint(get(row, 5)?),
    })
}

/// Rows that are fetched at once: a page holds fewer.
const STEP: i64 = 2_000;

pub(super) fn load(
    line: &mut Line,
    mesh: &MeshId,
    from: u64,
    bytes: usize,
) -> Result<AuditPage, Fault> {
    let known = line.row(
        "SELECT id, n, hash, base_n, base_hash FROM audit_chain WHERE mesh = $1",
        &[&mesh.as_str()],
    )?;
    let Some(known) = known else {
        return Ok(AuditPage {
            base: Place::START,
            rows: Vec::new(),
            head: Place::START,
        });
    };
    let (id, head, kept): (i64, _, _) = (get(&known, 0)?, place(&known, 1)?, place(&known, 3)?);
    if bytes == 0 || from >= head.n {
        return Ok(AuditPage {
            base: head,
            rows: Vec::new(),
            head,
        });
    }
    let base = if from <= kept.n {
        kept
    } else {
        let row = line
            .row(
                "SELECT hash FROM audit_log WHERE chain = $1 AND n = $2",
                &[&id, &int(from)],
            )?
            .ok_or_else(|| bad("an audit chain"))?;
        Place {
            n: from,
            hash: Hash(array(&row, 0)?),
        }
    };
    let rows = line.rows(
        r#"SELECT id, "eventType", "actorPeerId", "targetPeerId", metadata, "createdAt"
           FROM audit_log WHERE chain = $1 AND n > $2 ORDER BY n LIMIT $3"#,
        &[&id, &int(base.n), &STEP],
    )?;
    let (rows, _) = page(rows.iter().map(record), bytes, AuditPage::weight)?;
    Ok(AuditPage { base, rows, head })
}
