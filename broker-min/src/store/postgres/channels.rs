//! Channels in PostgreSQL.

use claudemesh_core::channel::SignedKeyStatement;
use claudemesh_core::id::{ChannelName, KeyId, MeshId, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;

use super::line::{Fault, Line, bad, get};
use super::{array, int, key, meshes, parsed, text, uint};
use crate::store::channels::{COPIES_MS, HISTORY_MS, HISTORY_ROWS};
use crate::store::rows::NOTICE_MS;
use crate::store::{
    Accept, ChannelOp, ChannelQuery, ChannelRow, HistoryRow, HistoryRows, KeyRow, Outcome, Rows,
    is_topic,
};

pub(super) fn apply(line: &mut Line, op: &ChannelOp) -> Result<Outcome, Fault> {
    match op {
        ChannelOp::Append {
            mesh,
            channel,
            seq,
            entry,
        } => append(line, (mesh, channel), *seq, entry),
        ChannelOp::PutKey {
            mesh, channel, now, ..
        } => {
            if meshes::find(line, mesh)?.is_none() {
                return Ok(Outcome::NotThere);
            }
            let id = intern(line, mesh, channel)?;
            put_key(line, id, op, int(*now))
        }
    }
}

/// The number of a channel, if it has one.
fn find(line: &mut Line, mesh: &MeshId, channel: &ChannelName) -> Result<Option<i64>, Fault> {
    let row = line.row(
        "SELECT id FROM channel WHERE mesh = $1 AND name = $2",
        &[&mesh.as_str(), &channel.as_str()],
    )?;
    row.map(|row| get(&row, 0)).transpose()
}

/// The number of a channel, which it gets now if it has none.
fn intern(line: &mut Line, mesh: &MeshId, channel: &ChannelName) -> Result<i64, Fault> {
    if let Some(id) = find(line, mesh, channel)? {
        return Ok(id);
    }
    let row = line.one(
        "INSERT INTO channel (mesh, name, posts) VALUES ($1, $2, 0) RETURNING id",
        &[&mesh.as_str(), &channel.as_str()],
    )?;
    get(&row, 0)
}

fn append(
    line: &mut Line,
    (mesh, channel): (&MeshId, &ChannelName),
    seq: u64,
    entry: &SignedEntry,
) -> Result<Outcome, Fault> {
    if meshes::find(line, mesh)?.is_none() {
        return Ok(Outcome::NotThere);
    }
    let id = intern(line, mesh, channel)?;
    let row = line.one(
        "SELECT max(seq) FROM channel_log WHERE channel = $1",
        &[&id],
    )?;
    let head = uint(get::<Option<i64>>(&row, 0)?.unwrap_or(0));
    if seq != head + 1 {
        return Ok(Outcome::Conflict { head });
    }
    line.execute(
        "INSERT INTO channel_log (channel, seq, entry, signature) VALUES ($1, $2, $3, $4)",
        &[
            &id,
            &int(seq),
            &entry.bytes,
            &entry.signature.as_bytes().as_slice(),
        ],
    )?;
    Ok(Outcome::Done)
}

fn put_key(line: &mut Line, channel: i64, op: &ChannelOp, now: i64) -> Result<Outcome, Fault> {
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
    let newest = line.row(
        "SELECT id, key FROM channel_key WHERE channel = $1 ORDER BY id DESC LIMIT 1",
        &[&channel],
    )?;
    let current: Option<(i64, KeyId)> = match &newest {
        Some(row) => Some((get(row, 0)?, KeyId(array(row, 1)?))),
        None => None,
    };
    let id = statement.key_id();
    let known = line
        .row(
            "SELECT 1 FROM channel_key WHERE channel = $1 AND key = $2",
            &[&channel, &id.as_bytes().as_slice()],
        )?
        .is_some();
    if current.map(|(_, id)| id) != *after || known {
        let current = current.map(|(_, id)| id);
        return Ok(Outcome::KeyConflict { current });
    }
    // What is sealed under keys of `$state` is read through links: their copies stay.
    if let Some((last, _)) = current.filter(|_| name.as_str() != "$state") {
        line.execute(
            "UPDATE channel_key SET replaced_at = $1 WHERE id = $2",
            &[&now, &last],
        )?;
    }
    let row = line.one(
        "INSERT INTO channel_key (channel, key, epoch, statement, signature, made_at)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        &[
            &channel,
            &id.as_bytes().as_slice(),
            &int(*epoch),
            &statement.bytes,
            &statement.signature.as_bytes().as_slice(),
            &now,
        ],
    )?;
    let key: i64 = get(&row, 0)?;
    let members: Vec<&[u8]> = copies.iter().map(|it| it.0.as_bytes().as_slice()).collect();
    let boxes: Vec<&[u8]> = copies.iter().map(|it| it.1.as_slice()).collect();
    line.execute(
        "INSERT INTO channel_copy (key, member, copy)
         SELECT $1, * FROM unnest($2::BYTEA[], $3::BYTEA[])",
        &[&key, &members, &boxes],
    )?;
    Ok(Outcome::Done)
}

/// Notes what was said in a topic.
pub(super) fn say(line: &mut Line, accept: &Accept, seq: i64, sender: i64) -> Result<(), Fault> {
    let Some(topic) = accept.channel.as_ref().filter(|it| is_topic(it)) else {
        return Ok(());
    };
    let channel = intern(line, &accept.mesh, topic)?;
    line.execute(
        "INSERT INTO history (seq, channel, sender, tail, at) VALUES ($1, $2, $3, $4, $5)",
        &[
            &seq,
            &channel,
            &sender,
            &accept.tail.as_bytes(),
            &int(accept.now),
        ],
    )?;
    let row = line.one(
        "UPDATE channel SET posts = posts + 1 WHERE id = $1 RETURNING posts",
        &[&channel],
    )?;
    if uint(get(&row, 0)?) > HISTORY_ROWS {
        line.execute(
            "DELETE FROM history
             WHERE seq = (SELECT min(seq) FROM history WHERE channel = $1)",
            &[&channel],
        )?;
        line.execute(
            "UPDATE channel SET posts = posts - 1 WHERE id = $1",
            &[&channel],
        )?;
    }
    Ok(())
}

/// Forgets what is old: history, counts of failures, and the copies of one key.
pub(super) fn prune(line: &mut Line, now: u64, limit: u32) -> Result<(), Fault> {
    let limit = i64::from(limit);
    line.execute(
        "WITH gone AS (
             DELETE FROM history WHERE seq IN
                 (SELECT seq FROM history WHERE at < $1 ORDER BY at LIMIT $2)
             RETURNING channel
         )
         UPDATE channel c SET posts = c.posts - g.count
         FROM (SELECT channel, count(*) FROM gone GROUP BY channel) g WHERE c.id = g.channel",
        &[&int(now.saturating_sub(HISTORY_MS)), &limit],
    )?;
    line.execute(
        "DELETE FROM fanout
         WHERE seq IN (SELECT seq FROM fanout WHERE at < $1 ORDER BY at LIMIT $2)",
        &[&int(now.saturating_sub(NOTICE_MS)), &limit],
    )?;
    let unused = line.row(
        "SELECT k.id FROM channel_key k JOIN channel c ON c.id = k.channel
         WHERE k.replaced_at < $1 ORDER BY c.mesh, c.name, k.id LIMIT 1",
        &[&int(now.saturating_sub(COPIES_MS))],
    )?;
    if let Some(row) = unused {
        let key: i64 = get(&row, 0)?;
        line.execute("DELETE FROM channel_copy WHERE key = $1", &[&key])?;
        // It is not looked at again.
        line.execute(
            "UPDATE channel_key SET replaced_at = NULL WHERE id = $1",
            &[&key],
        )?;
    }
    Ok(())
}

fn statement(row: &tokio_postgres::Row, column: usize) -> Result<SignedKeyStatement, Fault> {
    Ok(SignedKeyStatement {
        bytes: get(row, column)?,
        signature: Signature(array(row, column + 1)?),
    })
}

/// The channels of a mesh that have entries or a key.
pub(super) fn of_mesh(line: &mut Line, mesh: &MeshId) -> Result<Vec<ChannelRow>, Fault> {
    let all = line.rows(
        "SELECT id, name FROM channel WHERE mesh = $1 ORDER BY name",
        &[&mesh.as_str()],
    )?;
    let entries = line.rows(
        "SELECT l.channel, l.entry, l.signature FROM channel c
         JOIN channel_log l ON l.channel = c.id WHERE c.mesh = $1 ORDER BY l.channel, l.seq",
        &[&mesh.as_str()],
    )?;
    let keys = line.rows(
        "SELECT DISTINCT ON (k.channel) k.channel, k.statement, k.signature FROM channel c
         JOIN channel_key k ON k.channel = c.id WHERE c.mesh = $1
         ORDER BY k.channel, k.id DESC",
        &[&mesh.as_str()],
    )?;
    let mut rows = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in &all {
        places.insert(get::<i64>(row, 0)?, rows.len());
        rows.push(ChannelRow {
            channel: parsed(row, 1)?,
            entries: Vec::new(),
            current: None,
        });
    }
    let of = |row: &tokio_postgres::Row| {
        let place = places.get(&get::<i64>(row, 0)?).copied();
        place.ok_or_else(|| bad("a channel"))
    };
    for row in &entries {
        let entry = SignedEntry {
            bytes: get(row, 1)?,
            signature: Signature(array(row, 2)?),
            cosignature: None,
        };
        if let Some(channel) = rows.get_mut(of(row)?) {
            channel.entries.push(entry);
        }
    }
    for row in &keys {
        let current = statement(row, 1)?;
        if let Some(channel) = rows.get_mut(of(row)?) {
            channel.current = Some(current);
        }
    }
    rows.retain(|row| !row.entries.is_empty() || row.current.is_some());
    Ok(rows)
}

pub(super) fn load(line: &mut Line, query: &ChannelQuery) -> Result<Rows, Fault> {
    match query {
        ChannelQuery::Keys {
            mesh,
            channel,
            ids,
            member,
        } => {
            let Some(channel) = find(line, mesh, channel)? else {
                return Ok(Rows::Keys(Vec::new()));
            };
            keys(line, channel, ids, member).map(Rows::Keys)
        }
        ChannelQuery::History {
            mesh,
            channel,
            before,
            limit,
            bytes,
        } => {
            let Some(channel) = find(line, mesh, channel)? else {
                return Ok(Rows::History(HistoryRows::default()));
            };
            history(line, channel, int(*before), (*limit, *bytes)).map(Rows::History)
        }
    }
}

fn keys(
    line: &mut Line,
    channel: i64,
    ids: &[KeyId],
    member: &PublicKey,
) -> Result<Vec<KeyRow>, Fault> {
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let rows = line.rows(
        "SELECT k.statement, k.signature, c.copy
         FROM unnest($2::BYTEA[]) WITH ORDINALITY AS w (key, place)
         JOIN channel_key k ON k.channel = $1 AND k.key = w.key
         LEFT JOIN channel_copy c ON c.key = k.id AND c.member = $3 ORDER BY w.place",
        &[&channel, &ids, &member.as_bytes().as_slice()],
    )?;
    rows.iter()
        .map(|row| {
            let copy: Option<&[u8]> = get(row, 2)?;
            Ok(KeyRow {
                statement: statement(row, 0)?,
                copy: copy
                    .map(|copy| copy.try_into().map_err(|_| bad("a copy of a key")))
                    .transpose()?,
            })
        })
        .collect()
}

fn history(
    line: &mut Line,
    channel: i64,
    before: i64,
    (limit, bytes): (u32, u64),
) -> Result<HistoryRows, Fault> {
    // One row more than can be given says whether there are older ones.
    let found = line.rows(
        "SELECT h.seq, p.key, h.tail, h.at FROM history h JOIN party p ON p.id = h.sender
         WHERE h.channel = $1 AND h.seq < $2 ORDER BY h.seq DESC LIMIT $3",
        &[&channel, &before, &(i64::from(limit) + 1)],
    )?;
    let mut page = HistoryRows::default();
    let mut size = 0;
    for row in &found {
        let tail = text(row, 2)?;
        size += tail.len() as u64;
        let full = page.rows.len() as u64 >= u64::from(limit);
        if full || (size > bytes && !page.rows.is_empty()) {
            page.more = true;
            break;
        }
        page.rows.push(HistoryRow {
            seq: uint(get(row, 0)?),
            sender: key(row, 1)?,
            tail,
            at: uint(get(row, 3)?),
        });
    }
    Ok(page)
}
