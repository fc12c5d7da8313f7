//! Each [`PeerOp`] as statements. The caller has begun a transaction.

mod channels;
pub(super) mod policy;
mod prune;

use rusqlite::{Connection, Params, params};

use super::fault::Fault;
use crate::id::{ChannelName, MessageId, Priority};
use crate::store::policy::Keeping;
use crate::store::{
    CANCELLED, Kind, NewInbox, NewOutbox, Outcome, PeerOp, ReaderName, ReaderStart, SendState,
    StoredEntry,
};

/// A number as SQLite keeps it.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) const fn state_code(state: SendState) -> i64 {
    match state {
        SendState::Queued => 0,
        SendState::Accepted => 1,
        SendState::Delivered => 2,
        SendState::Failed => 3,
    }
}

pub(super) const fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Direct => 0,
        Kind::Rejected => 1,
        Kind::Channel => 2,
    }
}

pub(super) const fn class_code(class: Priority) -> i64 {
    match class {
        Priority::Now => 0,
        Priority::Next => 1,
        Priority::Low => 2,
    }
}

pub(super) fn apply(conn: &Connection, op: &PeerOp) -> Result<Outcome, Fault> {
    Ok(match op {
        PeerOp::Enqueue(message) => enqueue(conn, message)?,
        PeerOp::Sent(ids) => sent(conn, ids)?,
        PeerOp::Accepted { id, broker_id } => done_if(run(
            conn,
            "UPDATE outbox SET state = 1, sent = 1, broker_id = ?2 WHERE id = ?1 AND state = 0",
            params![id.as_str(), broker_id],
        )?),
        PeerOp::Final {
            id,
            state,
            reason,
            at,
        } if state.is_final() => done_if(run(
            conn,
            "UPDATE outbox SET state = ?2, reason = ?3, final_at = ?4 WHERE id = ?1 AND state < 2",
            params![id.as_str(), state_code(*state), reason, int(*at)],
        )?),
        PeerOp::Final { .. } => Outcome::NotThere,
        PeerOp::Requeue => Outcome::Count(run(
            conn,
            "UPDATE outbox SET state = 0, broker_id = NULL WHERE state < 2 AND state = 1",
            [],
        )?),
        PeerOp::Cancel { id, at } => done_if(run(
            conn,
            "UPDATE outbox SET state = 3, reason = ?2, final_at = ?3
             WHERE id = ?1 AND state = 0 AND sent = 0",
            params![id.as_str(), CANCELLED, int(*at)],
        )?),
        PeerOp::Seal { id, frame } => done_if(run(
            conn,
            "UPDATE outbox SET frame = ?2, sent = 0 WHERE id = ?1 AND state = 0",
            params![id.as_str(), frame],
        )?),
        PeerOp::Adopt { from, to } => Outcome::Count(run(
            conn,
            "UPDATE outbox SET lane = ?2 WHERE state = 0 AND lane = ?1 AND ?1 <> ?2",
            [from, to],
        )?),
        PeerOp::Insert(message) => insert(conn, message)?,
        PeerOp::Lock(message) => channels::lock(conn, message)?,
        PeerOp::Unlock(place) => done_if(run(
            conn,
            "DELETE FROM locked WHERE place = ?1",
            [int(*place)],
        )?),
        PeerOp::OpenReader { reader, start } => open_reader(conn, reader, *start)?,
        PeerOp::Offer { reader, class, seq } => {
            open_reader(conn, reader, ReaderStart::Resume)?;
            let seq = received(conn, *seq)?;
            run(
                conn,
                "UPDATE reader SET offered = max(offered, ?3) WHERE name = ?1 AND class = ?2",
                params![reader.0, class_code(*class), seq],
            )?;
            Outcome::Done
        }
        PeerOp::Take { reader, class, seq } => take(conn, reader, *class, *seq)?,
        PeerOp::Log(entry) => log(conn, entry)?,
        PeerOp::ChannelLog(entry) => channels::log(conn, entry)?,
        PeerOp::ChannelKey(key) => channels::key(conn, key)?,
        PeerOp::DropChannelKey(id) => channels::drop_key(conn, id)?,
        PeerOp::Value(value) => channels::value(conn, value)?,
        PeerOp::Pin(pin) => {
            run(
                conn,
                "INSERT INTO pin (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![pin.name, pin.value],
            )?;
            Outcome::Done
        }
        PeerOp::Unpin(name) => done_if(run(conn, "DELETE FROM pin WHERE name = ?1", [name])?),
        PeerOp::Answer { seq, accept } => policy::answer(conn, int(*seq), *accept)?,
        PeerOp::SetRule { who, rule } => policy::set_rule(conn, who, *rule)?,
        PeerOp::Prune { now } => Outcome::Count(prune::prune(conn, *now)?),
    })
}

fn run(conn: &Connection, sql: &str, params: impl Params) -> Result<u64, Fault> {
    Ok(conn.prepare_cached(sql)?.execute(params)? as u64)
}

const fn done_if(changed: u64) -> Outcome {
    if changed > 0 {
        Outcome::Done
    } else {
        Outcome::NotThere
    }
}

fn new_place(conn: &Connection) -> Outcome {
    Outcome::Row(conn.last_insert_rowid().unsigned_abs())
}

fn enqueue(conn: &Connection, message: &NewOutbox) -> Result<Outcome, Fault> {
    // Asked first rather than left to the constraint: a refused insert would use up a place.
    let there = conn
        .prepare_cached("SELECT 1 FROM outbox WHERE id = ?1")?
        .exists([message.id.as_str()])?;
    if there {
        return Ok(Outcome::Duplicate);
    }
    run(
        conn,
        "INSERT INTO outbox
             (id, recipient, channel, frame, priority, created_at, expires_at, lane, sent, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
        params![
            message.id.as_str(),
            message.to.peer().map_or([].as_slice(), |key| &key.0),
            message.to.channel().map(ChannelName::as_str),
            message.frame,
            class_code(message.priority),
            int(message.created_at),
            int(message.expires_at),
            message.lane,
            message.sent,
        ],
    )?;
    Ok(new_place(conn))
}

fn sent(conn: &Connection, ids: &[MessageId]) -> Result<Outcome, Fault> {
    let mut all = true;
    for id in ids {
        let sql = "UPDATE outbox SET sent = 1 WHERE id = ?1 AND state = 0";
        all &= run(conn, sql, [id.as_str()])? > 0;
    }
    Ok(if all {
        Outcome::Done
    } else {
        Outcome::NotThere
    })
}

fn insert(conn: &Connection, message: &NewInbox) -> Result<Outcome, Fault> {
    let there = conn
        .prepare_cached("SELECT 1 FROM inbox WHERE sender = ?1 AND dedupe = ?2")?
        .exists(params![message.sender.0, message.delivery.dedupe])?;
    if there {
        return Ok(Outcome::Duplicate);
    }
    let keeping = policy::keeping(conn, message)?;
    if keeping == Keeping::Dropped {
        return Ok(Outcome::Dropped);
    }
    let attributes =
        serde_json::to_string(&message.attributes).map_err(|_| Fault::Field("inbox.attributes"))?;
    run(
        conn,
        "INSERT INTO inbox
             (kind, sender, sender_name, verified, id, broker_id, dedupe, priority, content_type,
              body, attributes, reply_to, sent_at, received_at, channel, recipient, held)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        params![
            kind_code(message.kind),
            message.sender.0,
            message.sender_name.as_ref().map(|name| name.as_str()),
            message.verified,
            message.id.as_str(),
            message.delivery.broker_id,
            message.delivery.dedupe,
            class_code(message.priority),
            message.content_type,
            message.body,
            attributes,
            message.reply_to.as_ref().map(|id| id.as_str()),
            int(message.sent_at),
            int(message.received_at),
            message.channel.as_ref().map(ChannelName::as_str),
            message.to.map(|key| key.0),
            match keeping {
                Keeping::Muted => 1,
                Keeping::Held => 2,
                Keeping::Readable | Keeping::Dropped => 0,
            },
        ],
    )?;
    let place = conn.last_insert_rowid().unsigned_abs();
    Ok(match keeping {
        Keeping::Muted => Outcome::Muted(place),
        Keeping::Held => Outcome::Held(place),
        Keeping::Readable | Keeping::Dropped => Outcome::Row(place),
    })
}

/// Makes what is missing of a reader, and marks it as used.
fn open_reader(
    conn: &Connection,
    reader: &ReaderName,
    start: ReaderStart,
) -> Result<Outcome, Fault> {
    run(
        conn,
        "INSERT INTO reader (name, class, cursor, offered)
         SELECT ?1, class, cursor, 0 FROM passed WHERE true
         ON CONFLICT (name, class) DO NOTHING",
        [&reader.0],
    )?;
    run(
        conn,
        "UPDATE reader SET idle_since = NULL WHERE name = ?1 AND idle_since IS NOT NULL",
        [&reader.0],
    )?;
    if start == ReaderStart::AfterAny {
        run(
            conn,
            "UPDATE reader SET cursor = passed.cursor FROM passed
             WHERE reader.name = ?1 AND passed.class = reader.class",
            [&reader.0],
        )?;
    }
    Ok(Outcome::Done)
}

/// A place that was given out already: a position beyond it would skip what is yet to come.
fn received(conn: &Connection, seq: u64) -> Result<i64, Fault> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0)";
    let last: i64 = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(int(seq).min(last))
}

fn take(
    conn: &Connection,
    reader: &ReaderName,
    class: Priority,
    seq: u64,
) -> Result<Outcome, Fault> {
    open_reader(conn, reader, ReaderStart::Resume)?;
    let (class, seq) = (class_code(class), received(conn, seq)?);
    run(
        conn,
        "UPDATE reader SET cursor = max(cursor, ?3) WHERE name = ?1 AND class = ?2",
        params![reader.0, class, seq],
    )?;
    run(
        conn,
        "UPDATE passed SET cursor = max(cursor, ?2) WHERE class = ?1",
        [class, seq],
    )?;
    Ok(Outcome::Done)
}

fn log(conn: &Connection, entry: &StoredEntry) -> Result<Outcome, Fault> {
    let sql = "SELECT coalesce(max(seq) + 1, 0) FROM log";
    let length: i64 = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let seq = int(entry.seq);
    if seq > length {
        return Ok(Outcome::NotThere);
    }
    if seq == length {
        run(
            conn,
            "INSERT INTO log (seq, entry, signature, cosignature) VALUES (?1, ?2, ?3, ?4)",
            params![
                seq,
                entry.entry.bytes,
                entry.entry.signature.0,
                entry
                    .entry
                    .cosignature
                    .as_ref()
                    .map(|signature| signature.0),
            ],
        )?;
    }
    Ok(Outcome::Done)
}
