//! What the writer remembers, read from the file where it is not remembered yet.

use claudemesh_core::id::{MeshId, PublicKey};
use rusqlite::{Connection, OptionalExtension};

use super::uint;
use crate::store::cache::{Cache, Load, MeshLoad};

impl Cache {
    /// The number of a party, if it has one.
    pub(super) fn find(
        &mut self,
        conn: &Connection,
        mesh: &MeshId,
        key: &PublicKey,
    ) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.known(mesh, key) {
            return Ok(Some(id));
        }
        let id = conn
            .prepare_cached("SELECT id FROM party WHERE mesh = ? AND key = ?")?
            .query_row((mesh.as_str(), key.as_bytes()), |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            self.remember(id, mesh, key);
        }
        Ok(id)
    }

    /// The number of a party, which it gets now if it has none.
    pub(super) fn intern(
        &mut self,
        conn: &Connection,
        mesh: &MeshId,
        key: &PublicKey,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.find(conn, mesh, key)? {
            return Ok(id);
        }
        conn.prepare_cached("INSERT INTO party (mesh, key) VALUES (?, ?)")?
            .execute((mesh.as_str(), key.as_bytes()))?;
        let id = conn.last_insert_rowid();
        self.remember(id, mesh, key);
        Ok(id)
    }

    /// Whose number it is.
    pub(super) fn party(
        &mut self,
        conn: &Connection,
        id: i64,
    ) -> rusqlite::Result<(MeshId, PublicKey)> {
        if let Some(party) = self.known_party(id) {
            return Ok(party.clone());
        }
        let (mesh, key) = conn
            .prepare_cached("SELECT mesh, key FROM party WHERE id = ?")?
            .query_row([id], |row| Ok((super::load::text(row, 0)?, row.get(1)?)))?;
        let key = PublicKey(key);
        self.remember(id, &mesh, &key);
        Ok((mesh, key))
    }

    /// How full a mailbox is.
    pub(super) fn load(&mut self, conn: &Connection, mailbox: i64) -> rusqlite::Result<&Load> {
        if self.known_load(mailbox).is_none() {
            let senders = conn
                .prepare_cached(
                    "SELECT sender, count(*), sum(size) FROM delivery WHERE mailbox = ?
                     GROUP BY sender",
                )?
                .query_map([mailbox], |row| {
                    Ok((row.get(0)?, uint(row.get(1)?), uint(row.get(2)?)))
                })?
                .collect::<Result<Vec<_>, _>>()?;
            self.remember_load(mailbox, senders);
        }
        self.known_load(mailbox)
            .ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// How much waits in a mesh.
    pub(super) fn mesh_load(
        &mut self,
        conn: &Connection,
        mesh: &MeshId,
    ) -> rusqlite::Result<MeshLoad> {
        if let Some(load) = self.known_mesh_load(mesh) {
            return Ok(load);
        }
        // CROSS JOIN: the mailboxes of one mesh, not the queue of all.
        let load = conn
            .prepare_cached(
                "SELECT count(*), coalesce(sum(d.size), 0) FROM party p
                 CROSS JOIN delivery d ON d.mailbox = p.id WHERE p.mesh = ?",
            )?
            .query_row([mesh.as_str()], |row| {
                Ok(MeshLoad {
                    rows: uint(row.get(0)?),
                    bytes: uint(row.get(1)?),
                })
            })?;
        self.remember_mesh_load(mesh, load);
        Ok(load)
    }
}
