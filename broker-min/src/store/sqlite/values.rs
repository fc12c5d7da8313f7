//! State, memory and schedules in their tables.

use claudemesh_core::id::{MeshId, PublicKey};
use rusqlite::{Connection, OptionalExtension, Row};

use super::commit::Batch;
use super::load::{bad, text};
use super::{int, uint};
use crate::store::values::{FAILED_MS, SEARCH_BYTES, page};
use crate::store::{
    AuditRow, Fire, ItemRow, MemoryRow, Op, Outcome, ScheduleRow, SetState, StateRow, ValueOp,
    ValueQuery, ValueRows,
};

const SCHEDULE: &str = "SELECT s.id, m.name, s.name, s.member, s.target, s.due, s.created, s.cron,
     s.body, s.fired, s.pending, s.failed FROM schedule s CROSS JOIN mesh m ON m.id = s.mesh";

const ITEM: &str = "SELECT m.name, i.kind, i.key, i.value, i.at
     FROM item i CROSS JOIN mesh m ON m.id = i.mesh";

impl Batch<'_> {
    pub(super) fn value(&mut self, op: &ValueOp) -> rusqlite::Result<Outcome> {
        match op {
            ValueOp::SetState(set) => self.set_state(set),
            ValueOp::Remember { mesh, row, max } => self.remember(mesh, row, *max),
            ValueOp::Forget {
                mesh,
                id,
                by,
                any,
                at,
            } => self.forget_memory((mesh, id), by, *any, *at),
            ValueOp::Schedule { row, max } => self.schedule(row, *max),
            ValueOp::Cancel {
                mesh,
                member,
                id,
                at,
            } => {
                let rows = self
                    .conn
                    .prepare_cached(
                        "DELETE FROM schedule
                         WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?
                           AND member = ?",
                    )?
                    .execute((mesh.as_str(), id, member.as_bytes()))?;
                self.if_changed(rows, mesh, "schedule_cancelled", member, None, *at)
            }
            ValueOp::Due {
                mesh,
                id,
                due,
                pending,
                next,
            } => {
                let rows = self
                    .conn
                    .prepare_cached(
                        "UPDATE schedule SET pending = ?, due = ?, fired = fired + 1
                         WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?
                           AND due = ? AND cron IS NOT NULL",
                    )?
                    .execute((int(*pending), next.map(int), mesh.as_str(), id, int(*due)))?;
                Ok(if rows > 0 {
                    Outcome::Done
                } else {
                    Outcome::NotThere
                })
            }
            ValueOp::Taken {
                mesh,
                member,
                id,
                due,
            } => self.taken((mesh, id), member, *due),
            ValueOp::Fire(fire) => self.fire(fire),
            ValueOp::Item { row, max, event } => self.item(row, *max, *event),
        }
    }

    fn mesh_row(&self, mesh: &MeshId) -> rusqlite::Result<Option<i64>> {
        self.conn
            .prepare_cached("SELECT id FROM mesh WHERE name = ?")?
            .query_row([mesh.as_str()], |row| row.get(0))
            .optional()
    }

    fn if_changed(
        &mut self,
        rows: usize,
        mesh: &MeshId,
        event: &'static str,
        actor: &PublicKey,
        size: Option<usize>,
        at: u64,
    ) -> rusqlite::Result<Outcome> {
        if rows == 0 {
            return Ok(Outcome::NotThere);
        }
        self.apply(&Op::Audit(AuditRow {
            mesh: mesh.clone(),
            event,
            actor: Some(actor.short()),
            target: None,
            size: size.map(|size| size as u64),
            priority: None,
            at,
        }))
    }

    fn set_state(&mut self, set: &SetState) -> rusqlite::Result<Outcome> {
        let Some(mesh) = self.mesh_row(&set.mesh)? else {
            return Ok(Outcome::NotThere);
        };
        let row = &set.row;
        let kept: Option<(u64, Option<[u8; 16]>)> = self
            .conn
            .prepare_cached("SELECT version, request FROM state WHERE mesh = ? AND key = ?")?
            .query_row((mesh, &row.key), |kept| {
                Ok((uint(kept.get(0)?), kept.get(1)?))
            })
            .optional()?;
        let version = kept.as_ref().map_or(0, |kept| kept.0);
        if set.request.is_some() && kept.as_ref().is_some_and(|kept| kept.1 == set.request) {
            return Ok(Outcome::Kept(version));
        }
        let lower = row.version != 0 && row.version < version;
        if lower || set.if_version.is_some_and(|wanted| wanted != version) {
            return Ok(Outcome::Conflict { head: version });
        }
        if kept.is_none() {
            let keys: i64 = self
                .conn
                .prepare_cached("SELECT count(*) FROM state WHERE mesh = ?")?
                .query_row([mesh], |row| row.get(0))?;
            if uint(keys) >= set.max {
                return Ok(Outcome::Full);
            }
        }
        let version = match row.version {
            0 => version.saturating_add(1),
            given => given,
        };
        let rows = self
            .conn
            .prepare_cached(
                "INSERT INTO state (mesh, key, value, version, writer, name, at, request)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (mesh, key) DO UPDATE SET
                     value = excluded.value, version = excluded.version,
                     writer = excluded.writer, name = excluded.name, at = excluded.at,
                     request = excluded.request",
            )?
            .execute((
                mesh,
                &row.key,
                &row.value,
                int(version),
                row.writer.as_bytes(),
                &row.name,
                int(row.at),
                set.request.as_ref().map(<[u8; 16]>::as_slice),
            ))?;
        let size = Some(row.value.len());
        self.if_changed(rows, &set.mesh, "state_set", &row.writer, size, row.at)?;
        Ok(Outcome::Kept(version))
    }

    fn item(
        &mut self,
        row: &ItemRow,
        max: u64,
        event: Option<(&'static str, PublicKey)>,
    ) -> rusqlite::Result<Outcome> {
        let Some(mesh) = self.mesh_row(&row.mesh)? else {
            return Ok(Outcome::NotThere);
        };
        let place = (mesh, &row.kind, &row.key);
        let rows = if row.value.is_empty() {
            self.conn
                .prepare_cached("DELETE FROM item WHERE mesh = ? AND kind = ? AND key = ?")?
                .execute(place)?
        } else {
            let (there, count): (bool, i64) = self
                .conn
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM item WHERE mesh = ?1 AND kind = ?2 AND key = ?3),
                            (SELECT count(*) FROM item WHERE mesh = ?1 AND kind = ?2)",
                )?
                .query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))?;
            if !there && uint(count) >= max {
                return Ok(Outcome::Full);
            }
            self.conn
                .prepare_cached(
                    "INSERT OR REPLACE INTO item (mesh, kind, key, value, at)
                     VALUES (?, ?, ?, ?, ?)",
                )?
                .execute((mesh, &row.kind, &row.key, &row.value, int(row.at)))?
        };
        match event {
            Some((event, actor)) => {
                let size = Some(row.value.len());
                self.if_changed(rows, &row.mesh, event, &actor, size, row.at)
            }
            None if rows == 0 => Ok(Outcome::NotThere),
            None => Ok(Outcome::Done),
        }
    }

    fn remember(&mut self, name: &MeshId, row: &MemoryRow, max: u64) -> rusqlite::Result<Outcome> {
        let Some(mesh) = self.mesh_row(name)? else {
            return Ok(Outcome::NotThere);
        };
        let kept = self
            .conn
            .prepare_cached(
                "SELECT name, content, tags, sealed, writer, author, at FROM memory
                 WHERE mesh = ? AND name = ?",
            )?
            .query_row((mesh, &row.id), memory_row)
            .optional()?;
        if let Some(kept) = kept {
            let same =
                (&kept.content, &kept.tags, kept.writer) == (&row.content, &row.tags, row.writer);
            return Ok(if same { Outcome::Done } else { Outcome::Reused });
        }
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM memory WHERE mesh = ?")?
            .query_row([mesh], |row| row.get(0))?;
        if uint(count) >= max {
            return Ok(Outcome::Full);
        }
        let tags = serde_json::to_string(&row.tags).unwrap_or_else(|_| "[]".to_owned());
        let rows = self
            .conn
            .prepare_cached(
                "INSERT INTO memory (mesh, name, content, tags, sealed, writer, author, at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                mesh,
                &row.id,
                &row.content,
                tags,
                row.sealed,
                row.writer.as_bytes(),
                &row.name,
                int(row.at),
            ))?;
        let size = Some(row.content.len());
        self.if_changed(rows, name, "memory_stored", &row.writer, size, row.at)
    }

    fn forget_memory(
        &mut self,
        (mesh, id): (&MeshId, &str),
        by: &PublicKey,
        any: bool,
        at: u64,
    ) -> rusqlite::Result<Outcome> {
        let kept: Option<(i64, PublicKey)> = self
            .conn
            .prepare_cached(
                "SELECT id, writer FROM memory
                 WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?",
            )?
            .query_row((mesh.as_str(), id), |row| {
                Ok((row.get(0)?, PublicKey(row.get(1)?)))
            })
            .optional()?;
        let Some((row, writer)) = kept else {
            return Ok(Outcome::NotThere);
        };
        if !any && writer != *by {
            return Ok(Outcome::Refused);
        }
        let rows = self
            .conn
            .prepare_cached("DELETE FROM memory WHERE id = ?")?
            .execute([row])?;
        self.if_changed(rows, mesh, "memory_forgotten", by, None, at)
    }

    fn schedule(&mut self, row: &ScheduleRow, max: u64) -> rusqlite::Result<Outcome> {
        let Some(mesh) = self.mesh_row(&row.mesh)? else {
            return Ok(Outcome::NotThere);
        };
        let due = row.due.unwrap_or_default();
        if let Some(kept) = self.scheduled(&row.mesh, &row.id)? {
            return Ok(
                if kept.is_same(row) || kept.failed.is_some() && kept.body == row.body {
                    Outcome::Kept(kept.due.unwrap_or(due))
                } else {
                    Outcome::Reused
                },
            );
        }
        let count: i64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM schedule WHERE mesh = ? AND member = ?")?
            .query_row((mesh, row.member.as_bytes()), |row| row.get(0))?;
        if uint(count) >= max {
            return Ok(Outcome::Full);
        }
        let rows = self
            .conn
            .prepare_cached(
                "INSERT INTO schedule (mesh, name, member, target, due, created, cron, body, fired)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            )?
            .execute((
                mesh,
                &row.id,
                row.member.as_bytes(),
                &row.to,
                row.due.map(int),
                int(row.created_at),
                &row.cron,
                &row.body,
            ))?;
        let (size, at) = (Some(row.body.len()), row.created_at);
        self.if_changed(rows, &row.mesh, "schedule_set", &row.member, size, at)?;
        Ok(Outcome::Kept(due))
    }

    fn scheduled(&self, mesh: &MeshId, id: &str) -> rusqlite::Result<Option<ScheduleRow>> {
        self.conn
            .prepare_cached(&format!("{SCHEDULE} WHERE m.name = ? AND s.name = ?"))?
            .query_row((mesh.as_str(), id), |row| Ok(schedule_row(row)?.1))
            .optional()
    }

    fn taken(
        &mut self,
        (mesh, id): (&MeshId, &str),
        member: &PublicKey,
        due: u64,
    ) -> rusqlite::Result<Outcome> {
        let kept = self.scheduled(mesh, id)?;
        let Some(kept) = kept.filter(|kept| kept.member == *member) else {
            return Ok(Outcome::NotThere);
        };
        let Some(pending) = kept.pending else {
            return Ok(Outcome::NotThere);
        };
        if kept.failed.is_none() && pending > due {
            return Ok(Outcome::Conflict { head: pending });
        }
        let sql = if kept.failed.is_some() || kept.due.is_none() {
            "DELETE FROM schedule WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?"
        } else {
            "UPDATE schedule SET pending = NULL
             WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?"
        };
        self.conn
            .prepare_cached(sql)?
            .execute((mesh.as_str(), id))?;
        Ok(Outcome::Done)
    }

    fn fire(&mut self, fire: &Fire) -> rusqlite::Result<Outcome> {
        let mesh = &fire.accept.mesh;
        let kept = self.scheduled(mesh, &fire.id)?;
        let open = |kept: &ScheduleRow| kept.due.is_some() && kept.cron.is_none();
        if !kept.is_some_and(|kept| open(&kept)) {
            return Ok(Outcome::NotThere);
        }
        let outcome = self.accept(&fire.accept)?;
        let Some(code) = fire.failure(&outcome) else {
            self.conn
                .prepare_cached(
                    "DELETE FROM schedule
                     WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?",
                )?
                .execute((mesh.as_str(), &fire.id))?;
            return Ok(outcome);
        };
        self.conn
            .prepare_cached(
                "UPDATE schedule SET due = NULL, pending = ?, failed = ?
                 WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?",
            )?
            .execute((int(fire.accept.now), code, mesh.as_str(), &fire.id))?;
        Ok(outcome)
    }
}

/// The schedules of a removed member go with it.
pub(super) fn drop_schedules(
    conn: &Connection,
    mesh: i64,
    member: &PublicKey,
) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM schedule WHERE mesh = ? AND member = ?")?
        .execute((mesh, member.as_bytes()))?;
    Ok(())
}

/// Failures that their author did not ask for in time.
pub(super) fn prune(conn: &Connection, now: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM schedule WHERE failed IS NOT NULL AND pending < ?")?
        .execute([int(now.saturating_sub(FAILED_MS))])?;
    Ok(())
}

pub(super) fn load(conn: &Connection, query: &ValueQuery) -> rusqlite::Result<ValueRows> {
    Ok(match query {
        ValueQuery::State { mesh, key } => {
            let row = conn
                .prepare_cached(
                    "SELECT key, value, version, writer, name, at FROM state
                     WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND key = ?",
                )?
                .query_row((mesh.as_str(), key), state_row)
                .optional()?;
            ValueRows::State(row.into_iter().collect(), false)
        }
        ValueQuery::States { mesh, after, bytes } => {
            let mut statement = conn.prepare_cached(
                "SELECT key, value, version, writer, name, at FROM state
                 WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND key > ? ORDER BY key",
            )?;
            let after = after.as_deref().unwrap_or_default();
            let rows = statement.query_map((mesh.as_str(), after), state_row)?;
            let (rows, more) = page(rows, *bytes, StateRow::weight)?;
            ValueRows::State(rows, more)
        }
        ValueQuery::Memories { mesh, after, bytes } => {
            let from: Option<i64> = match after {
                None => Some(i64::MAX),
                Some(after) => conn
                    .prepare_cached(
                        "SELECT id FROM memory
                         WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND name = ?",
                    )?
                    .query_row((mesh.as_str(), after), |row| row.get(0))
                    .optional()?,
            };
            let Some(from) = from else {
                return Ok(ValueRows::Unknown);
            };
            let mut statement = conn.prepare_cached(
                "SELECT name, content, tags, sealed, writer, author, at FROM memory
                 WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND id < ? ORDER BY id DESC",
            )?;
            let rows = statement.query_map((mesh.as_str(), from), memory_row)?;
            let (rows, more) = page(rows, *bytes, MemoryRow::weight)?;
            ValueRows::Memory(rows, more)
        }
        ValueQuery::Search { mesh, words, limit } => {
            let mut statement = conn.prepare_cached(
                "SELECT name, content, tags, sealed, writer, author, at FROM memory
                 WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND sealed = 0
                 ORDER BY id DESC",
            )?;
            let (mut found, mut seen) = (Vec::new(), 0);
            for row in statement.query_map([mesh.as_str()], memory_row)? {
                let row = row?;
                seen += row.weight();
                if found.len() >= *limit || seen > SEARCH_BYTES {
                    break;
                }
                if row.has(words) {
                    found.push(row);
                }
            }
            ValueRows::Memory(found, false)
        }
        ValueQuery::Schedules {
            mesh,
            member,
            bodies,
        } => {
            let mut rows = schedules(conn, "TRUE", mesh, member)?;
            for row in rows.iter_mut().filter(|_| !bodies) {
                row.body = String::new();
            }
            ValueRows::Schedules(rows)
        }
        ValueQuery::Pending { mesh, member } => {
            ValueRows::Schedules(schedules(conn, "s.pending IS NOT NULL", mesh, member)?)
        }
        ValueQuery::Items { mesh } => {
            let mut statement =
                conn.prepare_cached(&format!("{ITEM} WHERE m.name = ? ORDER BY i.kind, i.key"))?;
            let rows = statement.query_map([mesh.as_str()], item_row)?;
            ValueRows::Items(rows.collect::<Result<_, _>>()?)
        }
        ValueQuery::ItemsOf { kind, key } => {
            let mut statement =
                conn.prepare_cached(&format!("{ITEM} WHERE i.kind = ? AND i.key = ?"))?;
            let rows = statement.query_map((kind, key), item_row)?;
            ValueRows::Items(rows.collect::<Result<_, _>>()?)
        }
        ValueQuery::Due {
            until,
            after,
            limit,
        } => {
            let rows = conn
                .prepare_cached(&format!(
                    "{SCHEDULE} WHERE s.due <= ? AND (s.due, s.id) > (?, ?)
                     ORDER BY s.due, s.id LIMIT ?"
                ))?
                .query_map(
                    (int(*until), int(after.0), int(after.1), int(*limit as u64)),
                    schedule_row,
                )?
                .collect::<Result<_, _>>()?;
            let next: Option<i64> = conn
                .prepare_cached("SELECT min(due) FROM schedule WHERE due > ?")?
                .query_row([int(*until)], |row| row.get(0))?;
            ValueRows::Due(rows, next.map(uint))
        }
    })
}

fn item_row(row: &Row<'_>) -> rusqlite::Result<ItemRow> {
    Ok(ItemRow {
        mesh: text(row, 0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        value: row.get(3)?,
        at: uint(row.get(4)?),
    })
}

fn schedules(
    conn: &Connection,
    which: &str,
    mesh: &MeshId,
    member: &PublicKey,
) -> rusqlite::Result<Vec<ScheduleRow>> {
    conn.prepare_cached(&format!(
        "{SCHEDULE} WHERE m.name = ? AND s.member = ? AND {which}
         ORDER BY s.due IS NULL, s.due, s.id"
    ))?
    .query_map((mesh.as_str(), member.as_bytes()), |row| {
        Ok(schedule_row(row)?.1)
    })?
    .collect()
}

fn state_row(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    Ok(StateRow {
        key: row.get(0)?,
        value: row.get(1)?,
        version: uint(row.get(2)?),
        writer: PublicKey(row.get(3)?),
        name: row.get(4)?,
        at: uint(row.get(5)?),
    })
}

fn memory_row(row: &Row<'_>) -> rusqlite::Result<MemoryRow> {
    let tags = row.get_ref(2)?.as_str().map_err(|_| bad(2, "tags"))?;
    Ok(MemoryRow {
        id: row.get(0)?,
        content: row.get(1)?,
        tags: serde_json::from_str(tags).map_err(|_| bad(2, "tags"))?,
        sealed: row.get(3)?,
        writer: PublicKey(row.get(4)?),
        name: row.get(5)?,
        at: uint(row.get(6)?),
    })
}

fn schedule_row(row: &Row<'_>) -> rusqlite::Result<(u64, ScheduleRow)> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(uint));
    Ok((
        uint(row.get(0)?),
        ScheduleRow {
            mesh: text(row, 1)?,
            id: row.get(2)?,
            member: PublicKey(row.get(3)?),
            to: row.get(4)?,
            due: time(5)?,
            created_at: uint(row.get(6)?),
            cron: row.get(7)?,
            body: row.get(8)?,
            fired: uint(row.get(9)?),
            pending: time(10)?,
            failed: row.get(11)?,
        },
    ))
}
