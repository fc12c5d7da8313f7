//! Forgetting what is no longer needed.

use rusqlite::{Connection, params};

use super::{class_code, int, run};
use crate::id::Priority;
use crate::store::sqlite::fault::Fault;
use crate::store::{FORGET_MS, KEEP_MS, PRUNE_STEP};

/// See [`crate::store::PeerOp::Prune`].
pub(super) fn prune(conn: &Connection, now: u64) -> Result<u64, Fault> {
    let now = int(now);
    let ago = |span: u64| now.saturating_sub(int(span)).max(0);
    forget_readers(conn, now, ago(KEEP_MS), ago(FORGET_MS))?;

    let before = ago(KEEP_MS);
    let mut count = run(
        conn,
        "DELETE FROM outbox WHERE place IN
             (SELECT place FROM outbox WHERE state >= 2 AND final_at < ?1 LIMIT ?2)",
        params![before, int(PRUNE_STEP)],
    )?;
    for class in Priority::ALL {
        count += run(
            conn,
            "DELETE FROM inbox WHERE seq IN
                 (SELECT seq FROM inbox
                  WHERE kind <> 1 AND held <> 2 AND priority = ?1 AND received_at < ?2
                        AND seq <= min(
                      (SELECT cursor FROM passed WHERE class = ?1),
                      coalesce((SELECT min(cursor) FROM reader WHERE class = ?1),
                               9223372036854775807))
                  ORDER BY seq LIMIT ?3)",
            params![class_code(class), before, int(PRUNE_STEP - count)],
        )?;
    }
    count += run(
        conn,
        "DELETE FROM inbox WHERE seq IN
             (SELECT seq FROM inbox WHERE kind = 1 AND received_at < ?1 LIMIT ?2)",
        params![before, int(PRUNE_STEP - count)],
    )?;
    count += run(
        conn,
        "DELETE FROM inbox WHERE seq IN
             (SELECT seq FROM inbox WHERE held = 2 AND received_at < ?1 LIMIT ?2)",
        params![before, int(PRUNE_STEP - count)],
    )?;
    count += run(
        conn,
        "DELETE FROM locked WHERE place IN
             (SELECT place FROM locked WHERE received_at < ?1 LIMIT ?2)",
        params![before, int(PRUNE_STEP - count)],
    )?;
    Ok(count)
}

fn forget_readers(conn: &Connection, now: i64, keep: i64, forget: i64) -> Result<(), Fault> {
    run(
        conn,
        "UPDATE reader SET idle_since = ?1 WHERE idle_since IS NULL",
        [now],
    )?;
    run(
        conn,
        "DELETE FROM reader WHERE idle_since < ?2 OR (idle_since < ?1 AND cursor <
             (SELECT cursor FROM passed WHERE passed.class = reader.class))",
        [keep, forget],
    )?;
    Ok(())
}
