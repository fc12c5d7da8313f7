//! What is kept of channels.

use rusqlite::{Connection, Row, params};

use super::{channel, collect, number, signed_entry};
use crate::id::{ChannelName, Hash, KeyId, Signature};
use crate::store::sqlite::fault::Fault;
use crate::store::{KeptRoot, LockedRow, NewLocked, SeenValue, StoredChannelEntry, StoredKey};

macro_rules! locked {
    ($rest:literal) => {
        concat!(
            "SELECT place, broker_id, key_id, channel, frame, received_at FROM locked ",
            $rest
        )
    };
}

pub(super) fn locked(
    conn: &Connection,
    key_id: Option<&KeyId>,
    limit: u32,
) -> Result<Vec<LockedRow>, Fault> {
    match key_id {
        Some(key_id) => {
            let sql = locked!("WHERE key_id = ?1 ORDER BY place LIMIT ?2");
            collect(conn, sql, params![key_id.0, limit], locked_row)
        }
        None => collect(
            conn,
            locked!("ORDER BY place LIMIT ?1"),
            [limit],
            locked_row,
        ),
    }
}

pub(super) fn logs(conn: &Connection) -> Result<Vec<StoredChannelEntry>, Fault> {
    let sql = "SELECT channel, seq, entry, signature, cosignature FROM channel_log
               ORDER BY channel, seq";
    collect(conn, sql, [], |row| {
        Ok(StoredChannelEntry {
            channel: name(row, 0, "channel_log.channel")?,
            seq: number(row, 1, "channel_log.seq")?,
            entry: signed_entry(row, 2)?,
        })
    })
}

pub(super) fn keys(conn: &Connection) -> Result<Vec<StoredKey>, Fault> {
    let sql = "SELECT channel, key_id, epoch, statement, signature, root FROM channel_key
               ORDER BY channel, epoch, place";
    collect(conn, sql, [], |row| {
        Ok(StoredKey {
            channel: name(row, 0, "channel_key.channel")?,
            key_id: KeyId(row.get(1)?),
            epoch: number(row, 2, "channel_key.epoch")?,
            statement: row.get(3)?,
            signature: Signature(row.get(4)?),
            root: root(row, 5)?,
        })
    })
}

pub(super) fn values(conn: &Connection) -> Result<Vec<SeenValue>, Fault> {
    let sql = "SELECT what, name, version, hash FROM seen_value ORDER BY what, name";
    collect(conn, sql, [], |row| {
        Ok(SeenValue {
            what: row.get(0)?,
            name: row.get(1)?,
            version: number(row, 2, "seen_value.version")?,
            hash: Hash(row.get(3)?),
        })
    })
}

fn locked_row(row: &Row<'_>) -> Result<LockedRow, Fault> {
    Ok(LockedRow {
        place: number(row, 0, "locked.place")?,
        message: NewLocked {
            broker_id: row.get(1)?,
            key_id: KeyId(row.get(2)?),
            channel: name(row, 3, "locked.channel")?,
            frame: row.get(4)?,
            received_at: number(row, 5, "locked.received_at")?,
        },
    })
}

fn name(row: &Row<'_>, at: usize, field: &'static str) -> Result<ChannelName, Fault> {
    channel(&row.get::<_, String>(at)?, field)
}

/// Read in place: rusqlite's own conversions would leave copies behind.
fn root(row: &Row<'_>, at: usize) -> Result<Option<KeptRoot>, Fault> {
    let bytes = row.get_ref(at)?.as_blob_or_null();
    let bytes = bytes.map_err(|_| Fault::Field("channel_key.root"))?;
    bytes
        .map(|bytes| KeptRoot::from_slice(bytes).ok_or(Fault::Field("channel_key.root")))
        .transpose()
}
