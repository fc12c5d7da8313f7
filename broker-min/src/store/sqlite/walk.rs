//! Expiring and forgetting: walks over whole tables, a piece in each commit.
//!
//! Neither table has an index by time, which would cost each message two or three row operations.

use super::commit::{Batch, Gone};
use super::{int, uint};
use crate::store::Outcome;
use crate::store::cache::STRIDE;
use crate::store::rows::{DEDUPE_MS, NOTICE_MS};

impl Batch<'_> {
    /// Walks on from where the last walk stopped, once around at most.
    pub(super) fn expire(&mut self, now: u64, limit: u32) -> rusqlite::Result<Outcome> {
        let start = self.cache.expire_from.take();
        let mut from = start.unwrap_or((i64::MIN, i64::MIN, i64::MIN));
        let mut expired = Vec::new();
        let mut seen = 0;
        let mut around = start.is_none();
        let mut statement = self.conn.prepare_cached(
            "SELECT mailbox, class, seq, sender, size, expires FROM delivery
             WHERE (mailbox, class, seq) > (?, ?, ?) ORDER BY mailbox, class, seq",
        )?;
        let mut rows = statement.query(from)?;
        while expired.len() < limit as usize && seen < STRIDE {
            let Some(row) = rows.next()? else {
                if around {
                    from = (i64::MIN, i64::MIN, i64::MIN);
                    break;
                }
                around = true;
                drop(rows);
                rows = statement.query((i64::MIN, i64::MIN, i64::MIN))?;
                continue;
            };
            seen += 1;
            from = (row.get(0)?, row.get(1)?, row.get(2)?);
            if row.get::<_, i64>(5)? <= int(now) {
                expired.push(Gone {
                    key: from,
                    sender: row.get(3)?,
                    size: uint(row.get(4)?),
                });
            }
            if around && start.is_some_and(|start| from >= start) {
                break;
            }
        }
        drop(rows);
        drop(statement);
        self.cache.expire_from = (from.0 != i64::MIN).then_some(from);
        self.fail(&expired, "expired", now)
    }

    pub(super) fn prune(&mut self, now: u64, limit: u32) -> rusqlite::Result<Outcome> {
        self.forget(now, limit)?;
        super::values::prune(self.conn, now)?;
        self.conn
            .prepare_cached(
                "DELETE FROM notice WHERE (seq, mailbox) IN
                 (SELECT seq, mailbox FROM notice WHERE at < ? ORDER BY at LIMIT ?)",
            )?
            .execute((int(now.saturating_sub(NOTICE_MS)), limit))?;
        super::channels::prune(self.conn, now, limit)?;
        self.conn
            .prepare_cached("UPDATE meta SET clock = ?")?
            .execute([int(now)])?;
        Ok(Outcome::Done)
    }

    /// Walks over the dedupe records like `expire` over the queue.
    fn forget(&mut self, now: u64, limit: u32) -> rusqlite::Result<()> {
        let before = int(now.saturating_sub(DEDUPE_MS));
        let start = self.cache.forget_from.take();
        let first = || (i64::MIN, Vec::new());
        let mut from = start.clone().unwrap_or_else(first);
        let mut old = Vec::new();
        let mut seen = 0;
        let mut around = start.is_none();
        let mut statement = self.conn.prepare_cached(
            "SELECT origin, id, at FROM accepted WHERE (origin, id) > (?, ?) ORDER BY origin, id",
        )?;
        let mut rows = statement.query((from.0, &from.1))?;
        while old.len() < limit as usize && seen < STRIDE {
            let Some(row) = rows.next()? else {
                if around {
                    from = first();
                    break;
                }
                around = true;
                drop(rows);
                rows = statement.query((i64::MIN, [0u8; 0]))?;
                continue;
            };
            seen += 1;
            from = (row.get(0)?, row.get(1)?);
            if row.get::<_, i64>(2)? < before {
                old.push(from.clone());
            }
            if around && start.as_ref().is_some_and(|start| from >= *start) {
                break;
            }
        }
        drop(rows);
        self.cache.forget_from = (from.0 != i64::MIN).then_some(from);
        let mut delete = self
            .conn
            .prepare_cached("DELETE FROM accepted WHERE origin = ? AND id = ?")?;
        for key in &old {
            delete.execute((key.0, &key.1))?;
        }
        Ok(())
    }
}
