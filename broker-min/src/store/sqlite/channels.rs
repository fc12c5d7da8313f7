//! Channels in the durable store.

use claudemesh_core::channel::{COPY_LEN, SignedKeyStatement};
use claudemesh_core::id::{ChannelName, KeyId, MeshId, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;
use rusqlite::{Connection, OptionalExtension};

use super::{int, meshes, uint};
use crate::store::channels::{COPIES_MS, HISTORY_MS, HISTORY_ROWS};
use crate::store::rows::NOTICE_MS;
use crate::store::{
    Accept, ChannelOp, ChannelQuery, ChannelRow, HistoryRow, HistoryRows, KeyRow, Many, Outcome,
    Rows, is_topic,
};

pub(super) fn apply(conn: &Connection, op: &ChannelOp) -> rusqlite::Result<Outcome> {
    match op {
        ChannelOp::Append {
            mesh,
            channel,
            seq,
            entry,
        } => append(conn, (mesh, channel), *seq, entry),
        ChannelOp::PutKey {
            mesh, channel, now, ..
        } => {
            if meshes::find(conn, mesh)?.is_none() {
                return Ok(Outcome::NotThere);
            }
            let id = intern(conn, mesh, channel)?;
            put_key(conn, id, op, int(*now))
        }
    }
}

/// The number of a channel, if it has one.
fn find(conn: &Connection, mesh: &MeshId, channel: &ChannelName) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM channel WHERE mesh = ? AND name = ?")?
        .query_row((mesh.as_str(), channel.as_str()), |row| row.get(0))
        .optional()
}

/// The number of a channel, which it gets now if it has none.
fn intern(conn: &Connection, mesh: &MeshId, channel: &ChannelName) -> rusqlite::Result<i64> {
    if let Some(id) = find(conn, mesh, channel)? {
        return Ok(id);
    }
    conn.prepare_cached("INSERT INTO channel (mesh, name, posts) VALUES (?, ?, 0)")?
        .execute((mesh.as_str(), channel.as_str()))?;
    Ok(conn.last_insert_rowid())
}

fn append(
    conn: &Connection,
    (mesh, channel): (&MeshId, &ChannelName),
    seq: u64,
    entry: &SignedEntry,
) -> rusqlite::Result<Outcome> {
    if meshes::find(conn, mesh)?.is_none() {
        return Ok(Outcome::NotThere);
    }
    let id = intern(conn, mesh, channel)?;
    let head: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM channel_log WHERE channel = ?")?
        .query_row([id], |row| row.get(0))?;
    let head = uint(head.unwrap_or(0));
    if seq != head + 1 {
        return Ok(Outcome::Conflict { head });
    }
    conn.prepare_cached(
        "INSERT INTO channel_log (channel, seq, entry, signature) VALUES (?, ?, ?, ?)",
    )?
    .execute((id, int(seq), &entry.bytes, entry.signature.as_bytes()))?;
    Ok(Outcome::Done)
}

fn put_key(conn: &Connection, channel: i64, op: &ChannelOp, now: i64) -> rusqlite::Result<Outcome> {
    let ChannelOp::PutKey {
        channel: name,
        after,
        statement,
        epoch,
        copies,
        ..
    } = op
    else {
        return Ok(Outcome::NotThere);
    };
    let current: Option<(i64, KeyId)> = conn
        .prepare_cached(
            "SELECT id, key FROM channel_key WHERE channel = ? ORDER BY id DESC LIMIT 1",
        )?
        .query_row([channel], |row| Ok((row.get(0)?, KeyId(row.get(1)?))))
        .optional()?;
    let id = statement.key_id();
    let known = conn
        .prepare_cached("SELECT 1 FROM channel_key WHERE channel = ? AND key = ?")?
        .exists((channel, id.as_bytes()))?;
    if current.map(|(_, id)| id) != *after || known {
        let current = current.map(|(_, id)| id);
        return Ok(Outcome::KeyConflict { current });
    }
    // What is sealed under keys of `$state` is read through links: their copies stay.
    if let Some((last, _)) = current.filter(|_| name.as_str() != "$state") {
        conn.prepare_cached("UPDATE channel_key SET replaced_at = ? WHERE id = ?")?
            .execute((now, last))?;
    }
    conn.prepare_cached(
        "INSERT INTO channel_key (channel, key, epoch, statement, signature, made_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        channel,
        id.as_bytes(),
        int(*epoch),
        &statement.bytes,
        statement.signature.as_bytes(),
        now,
    ))?;
    let key = conn.last_insert_rowid();
    let mut insert =
        conn.prepare_cached("INSERT INTO channel_copy (key, member, copy) VALUES (?, ?, ?)")?;
    for (member, copy) in copies.iter() {
        insert.execute((key, member.as_bytes(), copy))?;
    }
    Ok(Outcome::Done)
}

/// Notes what was said in a topic.
pub(super) fn say(
    conn: &Connection,
    accept: &Accept,
    seq: i64,
    sender: i64,
) -> rusqlite::Result<()> {
    let Some(topic) = accept.channel.as_ref().filter(|it| is_topic(it)) else {
        return Ok(());
    };
    let channel = intern(conn, &accept.mesh, topic)?;
    conn.prepare_cached(
        "INSERT INTO history (seq, channel, sender, tail, at) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute((seq, channel, sender, &accept.tail, int(accept.now)))?;
    let posts: i64 = conn
        .prepare_cached("UPDATE channel SET posts = posts + 1 WHERE id = ? RETURNING posts")?
        .query_row([channel], |row| row.get(0))?;
    if uint(posts) > HISTORY_ROWS {
        conn.prepare_cached(
            "DELETE FROM history
             WHERE seq = (SELECT min(seq) FROM history WHERE channel = ?)",
        )?
        .execute([channel])?;
        conn.prepare_cached("UPDATE channel SET posts = posts - 1 WHERE id = ?")?
            .execute([channel])?;
    }
    Ok(())
}

/// Counts a failure of a message, if that was sent to a channel.
pub(super) fn failed_one(conn: &Connection, seq: i64, now: u64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO fanout (seq, of_many, failed, at)
         SELECT seq, of_many, 1, ?2 FROM message WHERE seq = ?1 AND of_many > 0
         ON CONFLICT (seq) DO UPDATE SET failed = failed + 1, at = excluded.at",
    )?
    .execute((seq, int(now)))?;
    Ok(())
}

/// How many recipients a message to a channel had, and for how many it failed, if for any.
pub(super) fn fanout(conn: &Connection, seq: i64) -> rusqlite::Result<Option<(u32, u32)>> {
    conn.prepare_cached("SELECT of_many, failed FROM fanout WHERE seq = ?")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// How far a message to a channel is.
pub(super) fn many(conn: &Connection, seq: i64, of: u32, left: u32) -> rusqlite::Result<Many> {
    let failed = fanout(conn, seq)?.map_or(0, |(_, failed)| failed);
    let reason = match (left, failed) {
        (0, 1..) => conn
            .prepare_cached("SELECT reason FROM notice WHERE seq = ? ORDER BY at, reason LIMIT 1")?
            .query_row([seq], |row| row.get(0))
            .optional()?,
        _ => None,
    };
    Ok(Many {
        of,
        failed,
        left,
        reason,
    })
}

/// Forgets what is old: history, counts of failures, and the copies of one key.
pub(super) fn prune(conn: &Connection, now: u64, limit: u32) -> rusqlite::Result<()> {
    let mut old = conn.prepare_cached(
        "DELETE FROM history WHERE seq IN
             (SELECT seq FROM history WHERE at < ? ORDER BY at LIMIT ?)
         RETURNING channel",
    )?;
    let gone = old
        .query_map((int(now.saturating_sub(HISTORY_MS)), limit), |row| {
            row.get(0)
        })?
        .collect::<Result<Vec<i64>, _>>()?;
    let mut count = conn.prepare_cached("UPDATE channel SET posts = posts - 1 WHERE id = ?")?;
    for channel in gone {
        count.execute([channel])?;
    }
    conn.prepare_cached(
        "DELETE FROM fanout WHERE seq IN (SELECT seq FROM fanout WHERE at < ? ORDER BY at LIMIT ?)",
    )?
    .execute((int(now.saturating_sub(NOTICE_MS)), limit))?;
    let unused: Option<i64> = conn
        .prepare_cached(
            "SELECT k.id FROM channel_key k JOIN channel c ON c.id = k.channel
             WHERE k.replaced_at < ? ORDER BY c.mesh, c.name, k.id LIMIT 1",
        )?
        .query_row([int(now.saturating_sub(COPIES_MS))], |row| row.get(0))
        .optional()?;
    if let Some(key) = unused {
        conn.prepare_cached("DELETE FROM channel_copy WHERE key = ?")?
            .execute([key])?;
        // It is not looked at again.
        conn.prepare_cached("UPDATE channel_key SET replaced_at = NULL WHERE id = ?")?
            .execute([key])?;
    }
    Ok(())
}

/// The channels of a mesh that have entries or a key.
pub(super) fn of_mesh(conn: &Connection, mesh: &MeshId) -> rusqlite::Result<Vec<ChannelRow>> {
    let all = conn
        .prepare_cached("SELECT id, name FROM channel WHERE mesh = ? ORDER BY name")?
        .query_map([mesh.as_str()], |row| {
            Ok((row.get(0)?, super::load::text(row, 1)?))
        })?
        .collect::<Result<Vec<(i64, ChannelName)>, _>>()?;
    let mut rows = Vec::new();
    for (id, channel) in all {
        let entries = conn
            .prepare_cached(
                "SELECT entry, signature FROM channel_log WHERE channel = ? ORDER BY seq",
            )?
            .query_map([id], |row| {
                Ok(SignedEntry {
                    bytes: row.get(0)?,
                    signature: Signature(row.get(1)?),
                    cosignature: None,
                })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let current = conn
            .prepare_cached(
                "SELECT statement, signature FROM channel_key WHERE channel = ?
                 ORDER BY id DESC LIMIT 1",
            )?
            .query_row([id], |row| {
                Ok(SignedKeyStatement {
                    bytes: row.get(0)?,
                    signature: Signature(row.get(1)?),
                })
            })
            .optional()?;
        if !entries.is_empty() || current.is_some() {
            rows.push(ChannelRow {
                channel,
                entries,
                current,
            });
        }
    }
    Ok(rows)
}

pub(super) fn load(conn: &Connection, query: &ChannelQuery) -> rusqlite::Result<Rows> {
    match query {
        ChannelQuery::Keys {
            mesh,
            channel,
            ids,
            member,
        } => {
            let Some(channel) = find(conn, mesh, channel)? else {
                return Ok(Rows::Keys(Vec::new()));
            };
            let mut rows = Vec::new();
            for id in ids {
                rows.extend(key(conn, channel, id, member)?);
            }
            Ok(Rows::Keys(rows))
        }
        ChannelQuery::History {
            mesh,
            channel,
            before,
            limit,
            bytes,
        } => {
            let Some(channel) = find(conn, mesh, channel)? else {
                return Ok(Rows::History(HistoryRows::default()));
            };
            history(conn, channel, int(*before), (*limit, *bytes)).map(Rows::History)
        }
    }
}

fn key(
    conn: &Connection,
    channel: i64,
    id: &KeyId,
    member: &PublicKey,
) -> rusqlite::Result<Option<KeyRow>> {
    conn.prepare_cached(
        "SELECT k.statement, k.signature, c.copy FROM channel_key k
         LEFT JOIN channel_copy c ON c.key = k.id AND c.member = ?3
         WHERE k.channel = ?1 AND k.key = ?2",
    )?
    .query_row((channel, id.as_bytes(), member.as_bytes()), |row| {
        Ok(KeyRow {
            statement: SignedKeyStatement {
                bytes: row.get(0)?,
                signature: Signature(row.get(1)?),
            },
            copy: row.get::<_, Option<[u8; COPY_LEN]>>(2)?,
        })
    })
    .optional()
}

fn history(
    conn: &Connection,
    channel: i64,
    before: i64,
    (limit, bytes): (u32, u64),
) -> rusqlite::Result<HistoryRows> {
    // CROSS JOIN: the history's order is the plan's order.
    let mut statement = conn.prepare_cached(
        "SELECT h.seq, p.key, h.tail, h.at FROM history h CROSS JOIN party p ON p.id = h.sender
         WHERE h.channel = ? AND h.seq < ? ORDER BY h.seq DESC",
    )?;
    let mut found = statement.query((channel, before))?;
    let mut page = HistoryRows::default();
    let mut size = 0;
    while let Some(row) = found.next()? {
        let tail: String = row.get(2)?;
        size += tail.len() as u64;
        let full = page.rows.len() as u64 >= u64::from(limit);
        if full || (size > bytes && !page.rows.is_empty()) {
            page.more = true;
            break;
        }
        page.rows.push(HistoryRow {
            seq: uint(row.get(0)?),
            sender: PublicKey(row.get(1)?),
            tail,
            at: uint(row.get(3)?),
        });
    }
    Ok(page)
}
