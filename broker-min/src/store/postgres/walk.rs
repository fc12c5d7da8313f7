//! Expiring and forgetting: walks over whole tables, a piece in each commit.

use super::batch::{Batch, Gone};
use super::line::{Fault, get};
use super::{int, uint};
use crate::store::Outcome;
use crate::store::cache::STRIDE;
use crate::store::rows::{DEDUPE_MS, NOTICE_MS};

impl Batch<'_, '_> {
    /// Walks on from where the last walk stopped, once around at most.
    pub(super) fn expire(&mut self, now: u64, limit: u32) -> Result<Outcome, Fault> {
        const FIRST: (i64, i64, i64) = (i64::MIN, i64::MIN, i64::MIN);
        self.flush()?;
        let start = self.cache.expire_from.take();
        let mut from = start.unwrap_or(FIRST);
        let mut expired = Vec::new();
        let mut seen = 0;
        let mut around = start.is_none();
        'walk: while expired.len() < limit as usize && seen < STRIDE {
            let most = i64::try_from(STRIDE - seen).unwrap_or(i64::MAX);
            let rows = self.line.rows(
                "SELECT mailbox, class, seq, sender, size, expires FROM delivery
                 WHERE (mailbox, class, seq) > ($1, $2, $3) ORDER BY mailbox, class, seq LIMIT $4",
                &[&from.0, &from.1, &from.2, &most],
            )?;
            if rows.is_empty() {
                from = FIRST;
                if around {
                    break;
                }
                around = true;
                continue;
            }
            for row in &rows {
                seen += 1;
                from = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
                if get::<i64>(row, 5)? <= int(now) {
                    expired.push(Gone {
                        key: from,
                        sender: get(row, 3)?,
                        size: uint(get(row, 4)?),
                    });
                }
                let met = around && start.is_some_and(|start| from >= start);
                if met || expired.len() >= limit as usize {
                    break 'walk;
                }
            }
        }
        self.cache.expire_from = (from.0 != i64::MIN).then_some(from);
        self.fail(&expired, "expired", now)
    }

    pub(super) fn prune(&mut self, now: u64, limit: u32) -> Result<Outcome, Fault> {
        self.flush()?;
        // What was looked at may be forgotten now.
        self.taken.clear();
        self.messages.clear();
        self.forget(now, limit)?;
        super::values::prune(self.line, now)?;
        self.line.execute(
            "DELETE FROM notice WHERE (seq, mailbox) IN
             (SELECT seq, mailbox FROM notice WHERE at < $1 ORDER BY at LIMIT $2)",
            &[&int(now.saturating_sub(NOTICE_MS)), &i64::from(limit)],
        )?;
        super::channels::prune(self.line, now, limit)?;
        self.line
            .execute("UPDATE meta SET clock = $1", &[&int(now)])?;
        Ok(Outcome::Done)
    }

    /// Walks over the dedupe records like `expire` over the queue.
    fn forget(&mut self, now: u64, limit: u32) -> Result<(), Fault> {
        let before = int(now.saturating_sub(DEDUPE_MS));
        let start = self.cache.forget_from.take();
        let first = || (i64::MIN, Vec::new());
        let mut from = start.clone().unwrap_or_else(first);
        let (mut origins, mut ids) = (Vec::new(), Vec::new());
        let mut seen = 0;
        let mut around = start.is_none();
        'walk: while ids.len() < limit as usize && seen < STRIDE {
            let most = i64::try_from(STRIDE - seen).unwrap_or(i64::MAX);
            let rows = self.line.rows(
                "SELECT origin, id, at FROM accepted WHERE (origin, id) > ($1, $2)
                 ORDER BY origin, id LIMIT $3",
                &[&from.0, &from.1, &most],
            )?;
            if rows.is_empty() {
                from = first();
                if around {
                    break;
                }
                around = true;
                continue;
            }
            for row in &rows {
                seen += 1;
                from = (get(row, 0)?, get(row, 1)?);
                if get::<i64>(row, 2)? < before {
                    origins.push(from.0);
                    ids.push(from.1.clone());
                }
                let met = around && start.as_ref().is_some_and(|start| from >= *start);
                if met || ids.len() >= limit as usize {
                    break 'walk;
                }
            }
        }
        self.cache.forget_from = (from.0 != i64::MIN).then_some(from);
        if ids.is_empty() {
            return Ok(());
        }
        self.line.execute(
            "DELETE FROM accepted a USING unnest($1::BIGINT[], $2::BYTEA[]) AS g (origin, id)
             WHERE a.origin = g.origin AND a.id = g.id",
            &[&origins, &ids],
        )?;
        Ok(())
    }
}
