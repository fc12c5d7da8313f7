//! What is kept of channels.

use rusqlite::{Connection, params};

use super::{int, new_place, run};
use crate::id::KeyId;
use crate::store::sqlite::fault::Fault;
use crate::store::{MAX_LOCKED, NewLocked, Outcome, SeenValue, StoredChannelEntry, StoredKey};

pub(super) fn lock(conn: &Connection, message: &NewLocked) -> Result<Outcome, Fault> {
    let there = conn
        .prepare_cached("SELECT 1 FROM locked WHERE broker_id = ?1")?
        .exists([&message.broker_id])?;
    if there {
        return Ok(Outcome::Duplicate);
    }
    // Without a condition SQLite counts by whole pages of the smallest index.
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM locked")?
        .query_row([], |row| row.get(0))?;
    if count >= int(MAX_LOCKED) {
        return Ok(Outcome::NotThere);
    }
    run(
        conn,
        "INSERT INTO locked (broker_id, key_id, channel, frame, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            message.broker_id,
            message.key_id.0,
            message.channel.as_str(),
            message.frame,
            int(message.received_at),
        ],
    )?;
    Ok(new_place(conn))
}

pub(super) fn log(conn: &Connection, entry: &StoredChannelEntry) -> Result<Outcome, Fault> {
    let next: i64 = conn
        .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM channel_log WHERE channel = ?1")?
        .query_row([entry.channel.as_str()], |row| row.get(0))?;
    let seq = int(entry.seq);
    if seq == 0 || seq > next {
        return Ok(Outcome::NotThere);
    }
    if seq == next {
        let signed = &entry.entry;
        run(
            conn,
            "INSERT INTO channel_log (channel, seq, entry, signature, cosignature)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                entry.channel.as_str(),
                seq,
                signed.bytes,
                signed.signature.0,
                signed.cosignature.as_ref().map(|signature| signature.0),
            ],
        )?;
    }
    Ok(Outcome::Done)
}

pub(super) fn key(conn: &Connection, key: &StoredKey) -> Result<Outcome, Fault> {
    run(
        conn,
        "INSERT INTO channel_key (channel, key_id, epoch, statement, signature, root)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (channel, key_id) DO UPDATE SET root = excluded.root WHERE root IS NULL",
        params![
            key.channel.as_str(),
            key.key_id.0,
            int(key.epoch),
            key.statement,
            key.signature.0,
            key.root.as_ref().map(|root| root.expose().as_slice()),
        ],
    )?;
    Ok(Outcome::Done)
}

pub(super) fn drop_key(conn: &Connection, id: &KeyId) -> Result<Outcome, Fault> {
    let mut statement = conn.prepare_cached("DELETE FROM channel_key WHERE key_id = ?1")?;
    let dropped = statement.execute([id.0])?;
    Ok(if dropped == 0 {
        Outcome::NotThere
    } else {
        Outcome::Done
    })
}

pub(super) fn value(conn: &Connection, value: &SeenValue) -> Result<Outcome, Fault> {
    run(
        conn,
        "INSERT INTO seen_value (what, name, version, hash) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (what, name) DO UPDATE SET version = excluded.version, hash = excluded.hash",
        params![value.what, value.name, int(value.version), value.hash.0],
    )?;
    Ok(Outcome::Done)
}
