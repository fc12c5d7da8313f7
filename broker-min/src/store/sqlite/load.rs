//! The reading side: a connection of its own that can change nothing.

use std::path::PathBuf;
use std::str::FromStr;

use claudemesh_core::id::{Hash, MeshId, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{fault, int, uint};
use crate::store::rows::class_number;
use crate::store::{
    InviteRow, MemberRow, MeshRow, MeshRows, PageRow, Query, Rows, SendOutcome, StoreError,
    StoreInfo, StoreReader,
};

pub(super) struct SqliteReader {
    conn: Connection,
    path: PathBuf,
}

impl SqliteReader {
    pub(super) fn new(conn: Connection, path: PathBuf) -> Self {
        Self { conn, path }
    }
}

impl StoreReader for SqliteReader {
    fn load(&self, query: &Query) -> Result<Rows, StoreError> {
        load(&self.conn, query).map_err(|error| fault(&self.path, error))
    }
}

fn load(conn: &Connection, query: &Query) -> rusqlite::Result<Rows> {
    // One transaction, so that an answer put together from several tables is of one moment. It
    // ends by rolling back nothing.
    let conn = &*conn.unchecked_transaction()?;
    Ok(match query {
        Query::Mesh(mesh) => Rows::Mesh(load_mesh(conn, mesh)?.map(Box::new)),
        Query::Page {
            mesh,
            address,
            class,
            after,
            limit,
            now,
        } => Rows::Page(
            // CROSS JOIN: the queue's order is the plan's order.
            conn.prepare_cached(
                "SELECT d.seq, p.key, m.tail, d.expires FROM delivery d
                 CROSS JOIN message m ON m.seq = d.seq CROSS JOIN party p ON p.id = d.sender
                 WHERE d.mailbox = (SELECT id FROM party WHERE mesh = ? AND key = ?)
                   AND d.class = ? AND d.seq > ? AND d.expires > ?
                 ORDER BY d.seq LIMIT ?",
            )?
            .query_map(
                (
                    mesh.as_str(),
                    address.as_bytes(),
                    class_number(*class),
                    int(*after),
                    int(*now),
                    limit,
                ),
                |row| {
                    Ok(PageRow {
                        seq: uint(row.get(0)?),
                        sender: PublicKey(row.get(1)?),
                        tail: row.get(2)?,
                        expires_at: uint(row.get(3)?),
                    })
                },
            )?
            .collect::<Result<_, _>>()?,
        ),
        Query::Counts { mesh, address } => {
            let mut counts = [0; 3];
            let mut statement = conn.prepare_cached(
                "SELECT class, count(*) FROM delivery
                 WHERE mailbox = (SELECT id FROM party WHERE mesh = ? AND key = ?)
                 GROUP BY class",
            )?;
            let mut rows = statement.query((mesh.as_str(), address.as_bytes()))?;
            while let Some(row) = rows.next()? {
                let class: u8 = row.get(0)?;
                let place = counts.get_mut(usize::from(class));
                *place.ok_or_else(|| bad(0, "class"))? = uint(row.get(1)?);
            }
            Rows::Counts(counts)
        }
        Query::Outcomes { sender, seqs } => {
            let head = info(conn)?.head;
            let outcomes = seqs.iter().map(|seq| outcome(conn, sender, *seq, head));
            Rows::Outcomes(outcomes.collect::<Result<_, _>>()?)
        }
        Query::Channel(query) => super::channels::load(conn, query)?,
        Query::Value(query) => Rows::Value(super::values::load(conn, query)?),
        Query::Audit { mesh, from, bytes } => {
            Rows::Audit(super::audit::load(conn, mesh, *from, *bytes)?)
        }
        Query::Info => Rows::Info(info(conn)?),
        Query::Totals => Rows::Totals(
            conn.prepare_cached(
                "SELECT (SELECT queued FROM meta), (SELECT count(*) FROM mesh),
                        (SELECT count(*) FROM member WHERE removed_at = 0)",
            )?
            .query_row([], |row| {
                Ok([uint(row.get(0)?), uint(row.get(1)?), uint(row.get(2)?)])
            })?,
        ),
    })
}

fn info(conn: &Connection) -> rusqlite::Result<StoreInfo> {
    conn.prepare_cached("SELECT store, id_secret, head, clock, audit_seed FROM meta")?
        .query_row([], |row| {
            Ok(StoreInfo {
                store: row.get(0)?,
                id_secret: row.get(1)?,
                head: uint(row.get(2)?),
                clock: uint(row.get(3)?),
                audit_seed: row.get(4)?,
            })
        })
}

fn outcome(
    conn: &Connection,
    sender: &PublicKey,
    seq: u64,
    head: u64,
) -> rusqlite::Result<SendOutcome> {
    if seq == 0 || seq > head {
        return Ok(SendOutcome::Unknown);
    }
    let waiting: Option<PublicKey> = conn
        .prepare_cached(
            "SELECT p.key FROM message m JOIN party p ON p.id = m.sender WHERE m.seq = ?",
        )?
        .query_row([int(seq)], |row| Ok(PublicKey(row.get(0)?)))
        .optional()?;
    if let Some(of) = waiting {
        return Ok(if of == *sender {
            SendOutcome::Queued
        } else {
            SendOutcome::Unknown
        });
    }
    let failed: Option<(PublicKey, String)> = conn
        .prepare_cached(
            "SELECT p.key, n.reason FROM notice n JOIN party p ON p.id = n.sender
             WHERE n.seq = ? ORDER BY n.at, n.reason LIMIT 1",
        )?
        .query_row([int(seq)], |row| Ok((PublicKey(row.get(0)?), row.get(1)?)))
        .optional()?;
    Ok(match failed {
        None => SendOutcome::Delivered,
        Some((of, reason)) if of == *sender => match super::channels::fanout(conn, int(seq))? {
            None => SendOutcome::Failed(reason),
            Some((of, failed)) => SendOutcome::FailedOf { reason, failed, of },
        },
        Some(_) => SendOutcome::Unknown,
    })
}

fn load_mesh(conn: &Connection, mesh: &MeshId) -> rusqlite::Result<Option<MeshRows>> {
    let found = conn
        .prepare_cached(
            "SELECT id, slug, owner, owner_name, owner_member, created_at FROM mesh
             WHERE name = ?",
        )?
        .query_row([mesh.as_str()], |row| {
            let row_id: i64 = row.get(0)?;
            Ok((
                row_id,
                MeshRow {
                    id: mesh.clone(),
                    slug: row.get(1)?,
                    owner: PublicKey(row.get(2)?),
                    owner_name: text(row, 3)?,
                    owner_member: text(row, 4)?,
                    created_at: uint(row.get(5)?),
                },
            ))
        })
        .optional()?;
    let Some((id, mesh_row)) = found else {
        return Ok(None);
    };
    let members = conn
        .prepare_cached(
            "SELECT key, member, name, role, logged, joined_at, last_seen, removed_at
             FROM member WHERE mesh = ? ORDER BY id",
        )?
        .query_map([id], |row| {
            Ok(MemberRow {
                mesh: mesh.clone(),
                key: PublicKey(row.get(0)?),
                id: text(row, 1)?,
                name: text(row, 2)?,
                role: text(row, 3)?,
                logged: row.get(4)?,
                joined_at: uint(row.get(5)?),
                last_seen: uint(row.get(6)?),
                removed_at: uint(row.get(7)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    let invites = conn
        .prepare_cached("SELECT token, invite, legacy_uses FROM invite WHERE mesh = ? ORDER BY id")?
        .query_map([id], |row| {
            Ok(InviteRow {
                mesh: mesh.clone(),
                token: row.get(0)?,
                invite: Hash(row.get(1)?),
                legacy_uses: uint(row.get(2)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    let entries = conn
        .prepare_cached(
            "SELECT entry, signature, cosignature FROM log WHERE mesh = ? ORDER BY seq",
        )?
        .query_map([id], |row| {
            Ok(SignedEntry {
                bytes: row.get(0)?,
                signature: Signature(row.get(1)?),
                cosignature: row.get::<_, Option<[u8; 64]>>(2)?.map(Signature),
            })
        })?
        .collect::<Result<_, _>>()?;
    let channels = super::channels::of_mesh(conn, mesh)?;
    Ok(Some((mesh_row, members, invites, entries, channels)))
}

/// Reads a validated text; one that does not pass means a damaged file.
pub(super) fn text<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|_| bad(column, "text"))?;
    text.parse().map_err(|_| bad(column, "text"))
}

/// A value that no broker wrote.
pub(super) fn bad(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, what.into())
}
