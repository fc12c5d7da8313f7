//! Rules about senders, and messages that wait for the owner's answer.

use rusqlite::{Connection, OptionalExtension, params};

use super::{done_if, run};
use crate::store::policy::{Keeping, asked_in_turn};
use crate::store::sqlite::fault::Fault;
use crate::store::{MAX_HELD, MAX_HELD_OF_ONE, MAX_RULES, NewInbox, Outcome, Rule, Who};

pub(super) const fn rule_code(rule: Rule) -> i64 {
    match rule {
        Rule::Allow => 0,
        Rule::Ask => 1,
        Rule::Mute => 2,
        Rule::Block => 3,
    }
}

pub(in crate::store::sqlite) fn rule_of(code: i64) -> Result<Rule, Fault> {
    match code {
        0 => Ok(Rule::Allow),
        1 => Ok(Rule::Ask),
        2 => Ok(Rule::Mute),
        3 => Ok(Rule::Block),
        _ => Err(Fault::Field("policy.rule")),
    }
}

/// How a message is kept by the rules of now. What is dropped is counted here.
pub(super) fn keeping(conn: &Connection, message: &NewInbox) -> Result<Keeping, Fault> {
    for who in asked_in_turn(message) {
        let who = who.to_text();
        let found: Option<i64> = conn
            .prepare_cached("SELECT rule FROM policy WHERE who = ?1")?
            .query_row([&who], |row| row.get(0))
            .optional()?;
        let Some(code) = found else { continue };
        let mut keeping = Keeping::by(rule_of(code)?, message.kind);
        if keeping == Keeping::Held && is_full(conn, message)? {
            keeping = Keeping::Dropped;
        }
        if keeping == Keeping::Dropped {
            let sql = "UPDATE policy SET dropped = dropped + 1 WHERE who = ?1";
            run(conn, sql, [&who])?;
        }
        return Ok(keeping);
    }
    Ok(Keeping::Readable)
}

fn is_full(conn: &Connection, message: &NewInbox) -> Result<bool, Fault> {
    let sql = "SELECT count(*), coalesce(sum(sender = ?1), 0) FROM inbox WHERE held = 2";
    let (all, own): (u64, u64) =
        conn.prepare_cached(sql)?
            .query_row([message.sender.0], |row| {
                Ok((
                    row.get::<_, i64>(0)?.unsigned_abs(),
                    row.get::<_, i64>(1)?.unsigned_abs(),
                ))
            })?;
    Ok(all >= MAX_HELD || own >= MAX_HELD_OF_ONE)
}

/// Lets a held message through, at the end of the inbox, or rejects it.
pub(super) fn answer(conn: &Connection, seq: i64, accept: bool) -> Result<Outcome, Fault> {
    if !accept {
        let sql = "UPDATE inbox SET kind = 1, held = 0, body = ?2 WHERE seq = ?1 AND held = 2";
        return Ok(done_if(run(
            conn,
            sql,
            params![seq, crate::store::DENIED.as_bytes()],
        )?));
    }
    let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0)";
    let last: i64 = conn.prepare_cached(last)?.query_row([], |row| row.get(0))?;
    let place = last.saturating_add(1);
    let moved = run(
        conn,
        "UPDATE inbox SET seq = ?2, held = 0 WHERE seq = ?1 AND held = 2",
        [seq, place],
    )?;
    if moved == 0 {
        return Ok(Outcome::NotThere);
    }
    // Places are counted there; without this one the row would lie beyond all of them.
    let sql = "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'inbox'";
    run(conn, sql, [place])?;
    Ok(Outcome::Row(place.unsigned_abs()))
}

pub(super) fn set_rule(conn: &Connection, who: &Who, rule: Option<Rule>) -> Result<Outcome, Fault> {
    let who = who.to_text();
    let Some(rule) = rule else {
        let sql = "DELETE FROM policy WHERE who = ?1";
        return Ok(done_if(run(conn, sql, [&who])?));
    };
    let changed = run(
        conn,
        "INSERT INTO policy (who, rule)
         SELECT ?1, ?2 WHERE (SELECT count(*) FROM policy WHERE who <> ?1) < ?3
         ON CONFLICT (who) DO UPDATE SET rule = excluded.rule",
        params![who, rule_code(rule), super::int(MAX_RULES)],
    )?;
    Ok(done_if(changed))
}
