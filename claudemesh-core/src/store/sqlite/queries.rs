//! Each [`Query`] as statements, and rows as they are read.

mod channels;

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::fault::Fault;
use super::ops::{class_code, int, policy};
use crate::id::{ChannelName, MessageId, Name, Priority, PublicKey, Signature, Target};
use crate::membership::SignedEntry;
use crate::store::{
    Delivery, InboxRow, KeptRule, Kind, NewInbox, NewOutbox, OutboxRow, Pin, Query, ReaderName,
    Rows, SendState, StoredEntry, Who,
};

macro_rules! outbox {
    ($rest:literal) => {
        concat!(
            "SELECT place, id, recipient, frame, priority, created_at, expires_at, lane, sent, ",
            "state, broker_id, reason, channel FROM outbox ",
            $rest
        )
    };
}

macro_rules! inbox {
    ($rest:literal) => {
        concat!(
            "SELECT seq, kind, sender, sender_name, verified, id, broker_id, dedupe, priority, ",
            "content_type, body, attributes, reply_to, sent_at, received_at, channel, recipient, ",
            "held FROM inbox ",
            $rest
        )
    };
}

pub(super) fn answer(conn: &Connection, query: &Query) -> Result<Rows, Fault> {
    Ok(match query {
        Query::Outbox {
            lane,
            after,
            except,
            limit,
        } => Rows::Outbox(queued(conn, *lane, *after, except, *limit)?),
        Query::OutboxById(ids) => {
            let mut found = Vec::new();
            for id in ids {
                let sql = outbox!("WHERE id = ?1");
                found.extend(collect(conn, sql, [id.as_str()], outbox_row)?);
            }
            Rows::Outbox(found)
        }
        Query::OutboxAccepted { after, limit } => {
            let sql =
                outbox!("WHERE state < 2 AND state = 1 AND place > ?1 ORDER BY place LIMIT ?2");
            Rows::Outbox(collect(conn, sql, params![int(*after), limit], outbox_row)?)
        }
        Query::OutboxList { all, limit } => {
            let sql = if *all {
                outbox!("ORDER BY place DESC LIMIT ?1")
            } else {
                outbox!("WHERE state < 2 ORDER BY place DESC LIMIT ?1")
            };
            let mut newest = collect(conn, sql, [limit], outbox_row)?;
            newest.reverse();
            Rows::Outbox(newest)
        }
        Query::Lanes => {
            let sql = "SELECT DISTINCT lane FROM outbox WHERE state = 0 ORDER BY lane";
            Rows::Lanes(collect(conn, sql, [], |row| lane(row, 0))?)
        }
        Query::Unread { reader, limit } => Rows::Inbox(unread(conn, reader, None, false, *limit)?),
        Query::UnreadOf {
            reader,
            session,
            waking,
            limit,
        } => Rows::Inbox(unread(conn, reader, session.as_ref(), *waking, *limit)?),
        Query::Held { limit } => {
            let sql = inbox!("WHERE held = 2 ORDER BY seq LIMIT ?1");
            Rows::Inbox(collect(conn, sql, [limit], |row| inbox_row(row, 0))?)
        }
        Query::Rules => {
            let sql = "SELECT who, rule, dropped FROM policy ORDER BY who";
            Rows::Rules(collect(conn, sql, [], |row| {
                let who = Who::from_text(&row.get::<_, String>(0)?);
                Ok(KeptRule::new(
                    who.ok_or(Fault::Field("policy.who"))?,
                    policy::rule_of(row.get(1)?)?,
                    number(row, 2, "policy.dropped")?,
                ))
            })?)
        }
        Query::Inbox { limit } => {
            let sql = inbox!("WHERE held <> 2 ORDER BY seq DESC LIMIT ?1");
            let mut newest = collect(conn, sql, [limit], |row| inbox_row(row, 0))?;
            newest.reverse();
            Rows::Inbox(newest)
        }
        Query::Log { from, limit } => {
            let sql = "SELECT seq, entry, signature, cosignature FROM log
                       WHERE seq >= ?1 ORDER BY seq LIMIT ?2";
            Rows::Log(collect(conn, sql, params![int(*from), limit], entry_row)?)
        }
        Query::Locked { key_id, limit } => {
            Rows::Locked(channels::locked(conn, key_id.as_ref(), *limit)?)
        }
        Query::ChannelLogs => Rows::ChannelLogs(channels::logs(conn)?),
        Query::ChannelKeys => Rows::ChannelKeys(channels::keys(conn)?),
        Query::Values => Rows::Values(channels::values(conn)?),
        Query::Pins => {
            let sql = "SELECT name, value FROM pin ORDER BY name";
            Rows::Pins(collect(conn, sql, [], |row| {
                Ok(Pin {
                    name: row.get(0)?,
                    value: row.get(1)?,
                })
            })?)
        }
    })
}

fn collect<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Rows to leave out are skipped here: their number is not bounded, that of SQL parameters is.
fn queued(
    conn: &Connection,
    lane: u32,
    after: u64,
    except: &[Target],
    limit: u32,
) -> Result<Vec<OutboxRow>, Fault> {
    let except: HashSet<&Target> = except.iter().collect();
    let mut statement = conn.prepare_cached(outbox!(
        "WHERE state = 0 AND lane = ?1 AND place > ?2 ORDER BY place"
    ))?;
    let mut rows = statement.query(params![lane, int(after)])?;
    let mut found = Vec::new();
    while found.len() < limit as usize
        && let Some(row) = rows.next()?
    {
        if !except.contains(&target(row)?) {
            found.push(outbox_row(row)?);
        }
    }
    Ok(found)
}

fn unread(
    conn: &Connection,
    reader: &ReaderName,
    session: Option<&PublicKey>,
    waking: bool,
    limit: u32,
) -> Result<Vec<InboxRow>, Fault> {
    let session = session.map(|key| key.0);
    let mut found = Vec::new();
    let mut wakes = false;
    for class in Priority::ALL {
        let class = class_code(class);
        let position: Option<(i64, i64)> = conn
            .prepare_cached("SELECT cursor, offered FROM reader WHERE name = ?1 AND class = ?2")?
            .query_row(params![reader.0, class], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (cursor, offered) = match position {
            Some(position) => position,
            None => conn
                .prepare_cached("SELECT cursor, 0 FROM passed WHERE class = ?1")?
                .query_row([class], |row| Ok((row.get(0)?, row.get(1)?)))?,
        };
        let rest = i64::from(limit) - found.len() as i64;
        let sql = inbox!(
            "WHERE kind <> 1 AND held <> 2 AND priority = ?1 AND seq > ?2
                 AND (recipient IS NULL OR recipient = ?4)
             ORDER BY seq LIMIT ?3"
        );
        let rows = collect(conn, sql, params![class, cursor, rest, session], |row| {
            inbox_row(row, offered)
        })?;
        // Beyond the limit there may be one, too.
        wakes = wakes || !waking || rows.iter().any(|row| !row.muted);
        if !wakes {
            let sql = "SELECT 1 FROM inbox WHERE kind <> 1 AND held = 0 AND priority = ?1
                           AND seq > ?2 AND (recipient IS NULL OR recipient = ?3)";
            wakes = conn
                .prepare_cached(sql)?
                .exists(params![class, cursor, session])?;
        }
        found.extend(rows);
    }
    if !wakes {
        found.clear();
    }
    Ok(found)
}

fn outbox_row(row: &Row<'_>) -> Result<OutboxRow, Fault> {
    Ok(OutboxRow {
        place: number(row, 0, "outbox.place")?,
        message: NewOutbox {
            id: message_id(&row.get::<_, String>(1)?, "outbox.id")?,
            to: target(row)?,
            frame: row.get(3)?,
            priority: priority(row, 4)?,
            created_at: number(row, 5, "outbox.created_at")?,
            expires_at: number(row, 6, "outbox.expires_at")?,
            lane: lane(row, 7)?,
            sent: row.get(8)?,
        },
        state: match row.get::<_, i64>(9)? {
            0 => SendState::Queued,
            1 => SendState::Accepted,
            2 => SendState::Delivered,
            3 => SendState::Failed,
            _ => return Err(Fault::Field("outbox.state")),
        },
        broker_id: row.get(10)?,
        reason: row.get(11)?,
    })
}

/// To whom an outbox row goes; see `format2.sql`.
fn target(row: &Row<'_>) -> Result<Target, Fault> {
    match row.get::<_, Option<String>>(12)? {
        Some(name) => channel(&name, "outbox.channel").map(Target::Channel),
        None => Ok(Target::Peer(PublicKey(row.get(2)?))),
    }
}

fn inbox_row(row: &Row<'_>, offered: i64) -> Result<InboxRow, Fault> {
    let name: Option<String> = row.get(3)?;
    let reply_to: Option<String> = row.get(12)?;
    let seq = number(row, 0, "inbox.seq")?;
    Ok(InboxRow {
        seq,
        message: NewInbox {
            kind: match row.get::<_, i64>(1)? {
                0 => Kind::Direct,
                1 => Kind::Rejected,
                2 => Kind::Channel,
                _ => return Err(Fault::Field("inbox.kind")),
            },
            channel: row
                .get::<_, Option<String>>(15)?
                .map(|name| channel(&name, "inbox.channel"))
                .transpose()?,
            to: row.get::<_, Option<[u8; 32]>>(16)?.map(PublicKey),
            device_of: None,
            sender: PublicKey(row.get(2)?),
            sender_name: name
                .map(|name| Name::new(name).map_err(|_| Fault::Field("inbox.sender_name")))
                .transpose()?,
            verified: row.get(4)?,
            id: message_id(&row.get::<_, String>(5)?, "inbox.id")?,
            delivery: Delivery {
                broker_id: row.get(6)?,
                dedupe: row.get(7)?,
            },
            priority: priority(row, 8)?,
            content_type: row.get(9)?,
            body: row.get(10)?,
            attributes: serde_json::from_str(&row.get::<_, String>(11)?)
                .map_err(|_| Fault::Field("inbox.attributes"))?,
            reply_to: reply_to
                .map(|id| message_id(&id, "inbox.reply_to"))
                .transpose()?,
            sent_at: number(row, 13, "inbox.sent_at")?,
            received_at: number(row, 14, "inbox.received_at")?,
        },
        again: int(seq) <= offered,
        muted: row.get::<_, i64>(17)? == 1,
    })
}

fn entry_row(row: &Row<'_>) -> Result<StoredEntry, Fault> {
    Ok(StoredEntry {
        seq: number(row, 0, "log.seq")?,
        entry: signed_entry(row, 1)?,
    })
}

/// Bytes, signature and cosignature, from this column on.
fn signed_entry(row: &Row<'_>, at: usize) -> Result<SignedEntry, Fault> {
    Ok(SignedEntry {
        bytes: row.get(at)?,
        signature: Signature(row.get(at + 1)?),
        cosignature: row.get::<_, Option<[u8; 64]>>(at + 2)?.map(Signature),
    })
}

fn number(row: &Row<'_>, at: usize, field: &'static str) -> Result<u64, Fault> {
    u64::try_from(row.get::<_, i64>(at)?).map_err(|_| Fault::Field(field))
}

fn lane(row: &Row<'_>, at: usize) -> Result<u32, Fault> {
    u32::try_from(row.get::<_, i64>(at)?).map_err(|_| Fault::Field("outbox.lane"))
}

fn message_id(text: &str, field: &'static str) -> Result<MessageId, Fault> {
    MessageId::new(text).map_err(|_| Fault::Field(field))
}

fn channel(text: &str, field: &'static str) -> Result<ChannelName, Fault> {
    ChannelName::new(text).map_err(|_| Fault::Field(field))
}

fn priority(row: &Row<'_>, at: usize) -> Result<Priority, Fault> {
    match row.get::<_, i64>(at)? {
        0 => Ok(Priority::Now),
        1 => Ok(Priority::Next),
        2 => Ok(Priority::Low),
        _ => Err(Fault::Field("priority")),
    }
}
