//! State, memory and schedules in their tables.

use claudemesh_core::id::{MeshId, PublicKey};
use tokio_postgres::Row;

use super::batch::Batch;
use super::line::{Fault, Line, bad, get};
use super::{int, key, meshes, parsed, text, uint};
use crate::store::values::{FAILED_MS, SEARCH_BYTES};
use crate::store::{
    AuditRow, Fire, ItemRow, MemoryRow, Outcome, ScheduleRow, SetState, StateRow, ValueOp,
    ValueQuery, ValueRows,
};

/// Rows that are fetched at once where a page is bounded by bytes.
const STEP: i64 = 64;

macro_rules! schedule {
    ($end:literal) => {
        concat!(
            "SELECT s.id, m.name, s.name, s.member, s.target, s.due, s.created, s.cron, s.body,
                 s.fired, s.pending, s.failed FROM schedule s JOIN mesh m ON m.id = s.mesh ",
            $end
        )
    };
}

macro_rules! item {
    ($end:literal) => {
        concat!(
            "SELECT m.name, i.kind, i.key, i.value, i.at
             FROM item i JOIN mesh m ON m.id = i.mesh ",
            $end
        )
    };
}

impl<'ops> Batch<'_, 'ops> {
    pub(super) fn value(&mut self, op: &'ops ValueOp) -> Result<Outcome, Fault> {
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
                let rows = self.line.execute(
                    "DELETE FROM schedule
                     WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND name = $2
                       AND member = $3",
                    &[
                        &mesh.as_str(),
                        &id.as_bytes(),
                        &member.as_bytes().as_slice(),
                    ],
                )?;
                self.if_changed(rows, mesh, "schedule_cancelled", member, None, *at)
            }
            ValueOp::Due {
                mesh,
                id,
                due,
                pending,
                next,
            } => {
                let rows = self.line.execute(
                    "UPDATE schedule SET pending = $1, due = $2, fired = fired + 1
                     WHERE mesh = (SELECT id FROM mesh WHERE name = $3) AND name = $4
                       AND due = $5 AND cron IS NOT NULL",
                    &[
                        &int(*pending),
                        &next.map(int),
                        &mesh.as_str(),
                        &id.as_bytes(),
                        &int(*due),
                    ],
                )?;
                Ok(meshes::done(rows))
            }
            ValueOp::Taken {
                mesh,
                member,
                id,
                due,
            } => self.taken_by_author((mesh, id), member, *due),
            ValueOp::Fire(fire) => self.fire(fire),
            ValueOp::Item { row, max, event } => self.item(row, *max, *event),
        }
    }

    fn if_changed(
        &mut self,
        rows: u64,
        mesh: &MeshId,
        event: &'static str,
        actor: &PublicKey,
        size: Option<usize>,
        at: u64,
    ) -> Result<Outcome, Fault> {
        if rows == 0 {
            return Ok(Outcome::NotThere);
        }
        let row = AuditRow {
            mesh: mesh.clone(),
            event,
            actor: Some(actor.short()),
            target: None,
            size: size.map(|size| size as u64),
            priority: None,
            at,
        };
        meshes::audit(self, &row)?;
        Ok(Outcome::Done)
    }

    fn count(&mut self, sql: &'static str, mesh: i64) -> Result<u64, Fault> {
        let row = self.line.one(sql, &[&mesh])?;
        Ok(uint(get(&row, 0)?))
    }

    fn set_state(&mut self, set: &SetState) -> Result<Outcome, Fault> {
        let Some(mesh) = meshes::find(self.line, &set.mesh)? else {
            return Ok(Outcome::NotThere);
        };
        let row = &set.row;
        let found = self.line.row(
            "SELECT version, request FROM state WHERE mesh = $1 AND key = $2",
            &[&mesh, &row.key.as_bytes()],
        )?;
        let kept: Option<(u64, Option<Vec<u8>>)> = match &found {
            Some(kept) => Some((uint(get(kept, 0)?), get(kept, 1)?)),
            None => None,
        };
        let version = kept.as_ref().map_or(0, |kept| kept.0);
        let request = set.request.as_ref().map(<[u8; 16]>::as_slice);
        if request.is_some()
            && kept
                .as_ref()
                .is_some_and(|kept| kept.1.as_deref() == request)
        {
            return Ok(Outcome::Kept(version));
        }
        let lower = row.version != 0 && row.version < version;
        if lower || set.if_version.is_some_and(|wanted| wanted != version) {
            return Ok(Outcome::Conflict { head: version });
        }
        if kept.is_none()
            && self.count("SELECT count(*) FROM state WHERE mesh = $1", mesh)? >= set.max
        {
            return Ok(Outcome::Full);
        }
        let version = match row.version {
            0 => version.saturating_add(1),
            given => given,
        };
        let rows = self.line.execute(
            "INSERT INTO state (mesh, key, value, version, writer, name, at, request)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (mesh, key) DO UPDATE SET
                 value = excluded.value, version = excluded.version,
                 writer = excluded.writer, name = excluded.name, at = excluded.at,
                 request = excluded.request",
            &[
                &mesh,
                &row.key.as_bytes(),
                &row.value.as_bytes(),
                &int(version),
                &row.writer.as_bytes().as_slice(),
                &row.name.as_bytes(),
                &int(row.at),
                &request,
            ],
        )?;
        let size = Some(row.value.len());
        self.if_changed(rows, &set.mesh, "state_set", &row.writer, size, row.at)?;
        Ok(Outcome::Kept(version))
    }

    fn item(
        &mut self,
        row: &ItemRow,
        max: u64,
        event: Option<(&'static str, PublicKey)>,
    ) -> Result<Outcome, Fault> {
        let Some(mesh) = meshes::find(self.line, &row.mesh)? else {
            return Ok(Outcome::NotThere);
        };
        let (kind, key) = (row.kind.as_str(), row.key.as_bytes());
        let rows = if row.value.is_empty() {
            self.line.execute(
                "DELETE FROM item WHERE mesh = $1 AND kind = $2 AND key = $3",
                &[&mesh, &kind, &key],
            )?
        } else {
            let found = self.line.one(
                "SELECT EXISTS (SELECT 1 FROM item WHERE mesh = $1 AND kind = $2 AND key = $3),
                        (SELECT count(*) FROM item WHERE mesh = $1 AND kind = $2)",
                &[&mesh, &kind, &key],
            )?;
            let there: bool = get(&found, 0)?;
            if !there && uint(get(&found, 1)?) >= max {
                return Ok(Outcome::Full);
            }
            self.line.execute(
                "INSERT INTO item (mesh, kind, key, value, at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (mesh, kind, key)
                     DO UPDATE SET value = excluded.value, at = excluded.at",
                &[&mesh, &kind, &key, &row.value.as_bytes(), &int(row.at)],
            )?
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

    fn remember(&mut self, name: &MeshId, row: &MemoryRow, max: u64) -> Result<Outcome, Fault> {
        let Some(mesh) = meshes::find(self.line, name)? else {
            return Ok(Outcome::NotThere);
        };
        let kept = self.line.row(
            "SELECT id, name, content, tags, sealed, writer, author, at FROM memory
             WHERE mesh = $1 AND name = $2",
            &[&mesh, &row.id.as_bytes()],
        )?;
        if let Some(kept) = kept {
            let (_, kept) = memory_row(&kept)?;
            let same =
                (&kept.content, &kept.tags, kept.writer) == (&row.content, &row.tags, row.writer);
            return Ok(if same { Outcome::Done } else { Outcome::Reused });
        }
        if self.count("SELECT count(*) FROM memory WHERE mesh = $1", mesh)? >= max {
            return Ok(Outcome::Full);
        }
        let tags = serde_json::to_vec(&row.tags).unwrap_or_else(|_| b"[]".to_vec());
        let rows = self.line.execute(
            "INSERT INTO memory (mesh, name, content, tags, sealed, writer, author, at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &mesh,
                &row.id.as_bytes(),
                &row.content.as_bytes(),
                &tags,
                &row.sealed,
                &row.writer.as_bytes().as_slice(),
                &row.name.as_bytes(),
                &int(row.at),
            ],
        )?;
        let size = Some(row.content.len());
        self.if_changed(rows, name, "memory_stored", &row.writer, size, row.at)
    }

    fn forget_memory(
        &mut self,
        (mesh, id): (&MeshId, &str),
        by: &PublicKey,
        any: bool,
        at: u64,
    ) -> Result<Outcome, Fault> {
        let kept = self.line.row(
            "SELECT id, writer FROM memory
             WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND name = $2",
            &[&mesh.as_str(), &id.as_bytes()],
        )?;
        let Some(kept) = kept else {
            return Ok(Outcome::NotThere);
        };
        if !any && key(&kept, 1)? != *by {
            return Ok(Outcome::Refused);
        }
        let row: i64 = get(&kept, 0)?;
        let rows = self
            .line
            .execute("DELETE FROM memory WHERE id = $1", &[&row])?;
        self.if_changed(rows, mesh, "memory_forgotten", by, None, at)
    }

    fn schedule(&mut self, row: &ScheduleRow, max: u64) -> Result<Outcome, Fault> {
        let Some(mesh) = meshes::find(self.line, &row.mesh)? else {
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
        let count = self.line.one(
            "SELECT count(*) FROM schedule WHERE mesh = $1 AND member = $2",
            &[&mesh, &row.member.as_bytes().as_slice()],
        )?;
        if uint(get(&count, 0)?) >= max {
            return Ok(Outcome::Full);
        }
        let rows = self.line.execute(
            "INSERT INTO schedule (mesh, name, member, target, due, created, cron, body, fired)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
            &[
                &mesh,
                &row.id.as_bytes(),
                &row.member.as_bytes().as_slice(),
                &row.to.as_bytes(),
                &row.due.map(int),
                &int(row.created_at),
                &row.cron.as_ref().map(String::as_bytes),
                &row.body.as_bytes(),
            ],
        )?;
        let (size, at) = (Some(row.body.len()), row.created_at);
        self.if_changed(rows, &row.mesh, "schedule_set", &row.member, size, at)?;
        Ok(Outcome::Kept(due))
    }

    fn scheduled(&mut self, mesh: &MeshId, id: &str) -> Result<Option<ScheduleRow>, Fault> {
        let row = self.line.row(
            schedule!("WHERE m.name = $1 AND s.name = $2"),
            &[&mesh.as_str(), &id.as_bytes()],
        )?;
        row.map(|row| Ok(schedule_row(&row)?.1)).transpose()
    }

    fn taken_by_author(
        &mut self,
        (mesh, id): (&MeshId, &str),
        member: &PublicKey,
        due: u64,
    ) -> Result<Outcome, Fault> {
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
        if kept.failed.is_some() || kept.due.is_none() {
            self.drop_schedule(mesh, id)?;
        } else {
            self.line.execute(
                "UPDATE schedule SET pending = NULL
                 WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND name = $2",
                &[&mesh.as_str(), &id.as_bytes()],
            )?;
        }
        Ok(Outcome::Done)
    }

    fn drop_schedule(&mut self, mesh: &MeshId, id: &str) -> Result<(), Fault> {
        self.line.execute(
            "DELETE FROM schedule
             WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND name = $2",
            &[&mesh.as_str(), &id.as_bytes()],
        )?;
        Ok(())
    }

    fn fire(&mut self, fire: &'ops Fire) -> Result<Outcome, Fault> {
        let mesh = &fire.accept.mesh;
        let kept = self.scheduled(mesh, &fire.id)?;
        let open = |kept: &ScheduleRow| kept.due.is_some() && kept.cron.is_none();
        if !kept.is_some_and(|kept| open(&kept)) {
            return Ok(Outcome::NotThere);
        }
        let outcome = self.accept(&fire.accept)?;
        let Some(code) = fire.failure(&outcome) else {
            self.drop_schedule(mesh, &fire.id)?;
            return Ok(outcome);
        };
        self.line.execute(
            "UPDATE schedule SET due = NULL, pending = $1, failed = $2
             WHERE mesh = (SELECT id FROM mesh WHERE name = $3) AND name = $4",
            &[
                &int(fire.accept.now),
                &code,
                &mesh.as_str(),
                &fire.id.as_bytes(),
            ],
        )?;
        Ok(outcome)
    }
}

/// The schedules of a removed member go with it.
pub(super) fn drop_schedules(line: &mut Line, mesh: i64, member: &PublicKey) -> Result<(), Fault> {
    line.execute(
        "DELETE FROM schedule WHERE mesh = $1 AND member = $2",
        &[&mesh, &member.as_bytes().as_slice()],
    )?;
    Ok(())
}

/// Failures that their author did not ask for in time.
pub(super) fn prune(line: &mut Line, now: u64) -> Result<(), Fault> {
    line.execute(
        "DELETE FROM schedule WHERE failed IS NOT NULL AND pending < $1",
        &[&int(now.saturating_sub(FAILED_MS))],
    )?;
    Ok(())
}

pub(super) fn load(line: &mut Line, query: &ValueQuery) -> Result<ValueRows, Fault> {
    Ok(match query {
        ValueQuery::State { mesh, key } => {
            let row = line.row(
                "SELECT key, value, version, writer, name, at FROM state
                 WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND key = $2",
                &[&mesh.as_str(), &key.as_bytes()],
            )?;
            let row = row.map(|row| state_row(&row)).transpose()?;
            ValueRows::State(row.into_iter().collect(), false)
        }
        ValueQuery::States { mesh, after, bytes } => {
            let mut from = after.clone().unwrap_or_default().into_bytes();
            let mut page = Page::new(*bytes);
            loop {
                let rows = line.rows(
                    "SELECT key, value, version, writer, name, at FROM state
                     WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND key > $2
                     ORDER BY key LIMIT $3",
                    &[&mesh.as_str(), &from, &STEP],
                )?;
                let Some(last) = rows.last() else { break };
                from = get(last, 0)?;
                for row in &rows {
                    let row = state_row(row)?;
                    page.add(row.weight(), row);
                }
                if page.more {
                    break;
                }
            }
            ValueRows::State(page.rows, page.more)
        }
        ValueQuery::Memories { mesh, after, bytes } => {
            let mut from = match after {
                None => i64::MAX,
                Some(after) => {
                    let row = line.row(
                        "SELECT id FROM memory
                         WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND name = $2",
                        &[&mesh.as_str(), &after.as_bytes()],
                    )?;
                    match row {
                        Some(row) => get(&row, 0)?,
                        None => return Ok(ValueRows::Unknown),
                    }
                }
            };
            let mut page = Page::new(*bytes);
            loop {
                let rows = line.rows(
                    "SELECT id, name, content, tags, sealed, writer, author, at FROM memory
                     WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND id < $2
                     ORDER BY id DESC LIMIT $3",
                    &[&mesh.as_str(), &from, &STEP],
                )?;
                if rows.is_empty() || page.more {
                    break;
                }
                for row in &rows {
                    let (id, row) = memory_row(row)?;
                    from = id;
                    page.add(row.weight(), row);
                }
            }
            ValueRows::Memory(page.rows, page.more)
        }
        ValueQuery::Search { mesh, words, limit } => search(line, mesh, words, *limit)?,
        ValueQuery::Schedules {
            mesh,
            member,
            bodies,
        } => {
            let rows = line.rows(
                schedule!(
                    "WHERE m.name = $1 AND s.member = $2 ORDER BY s.due IS NULL, s.due, s.id"
                ),
                &[&mesh.as_str(), &member.as_bytes().as_slice()],
            )?;
            let mut rows = schedules(&rows)?;
            for row in rows.iter_mut().filter(|_| !bodies) {
                row.body = String::new();
            }
            ValueRows::Schedules(rows)
        }
        ValueQuery::Items { mesh } => {
            let rows = line.rows(
                item!("WHERE m.name = $1 ORDER BY i.kind, i.key"),
                &[&mesh.as_str()],
            )?;
            ValueRows::Items(rows.iter().map(item_row).collect::<Result<_, _>>()?)
        }
        ValueQuery::ItemsOf { kind, key } => {
            let rows = line.rows(
                item!("WHERE i.kind = $1 AND i.key = $2"),
                &[&kind.as_str(), &key.as_bytes()],
            )?;
            ValueRows::Items(rows.iter().map(item_row).collect::<Result<_, _>>()?)
        }
        ValueQuery::Pending { mesh, member } => {
            let rows = line.rows(
                schedule!(
                    "WHERE m.name = $1 AND s.member = $2 AND s.pending IS NOT NULL
                     ORDER BY s.due IS NULL, s.due, s.id"
                ),
                &[&mesh.as_str(), &member.as_bytes().as_slice()],
            )?;
            ValueRows::Schedules(schedules(&rows)?)
        }
        ValueQuery::Due {
            until,
            after,
            limit,
        } => {
            let rows = line.rows(
                schedule!(
                    "WHERE s.due <= $1 AND (s.due, s.id) > ($2, $3) ORDER BY s.due, s.id LIMIT $4"
                ),
                &[
                    &int(*until),
                    &int(after.0),
                    &int(after.1),
                    &int(*limit as u64),
                ],
            )?;
            let rows = rows.iter().map(schedule_row).collect::<Result<_, _>>()?;
            let next = line.one(
                "SELECT min(due) FROM schedule WHERE due > $1",
                &[&int(*until)],
            )?;
            ValueRows::Due(rows, get::<Option<i64>>(&next, 0)?.map(uint))
        }
    })
}

fn search(
    line: &mut Line,
    mesh: &MeshId,
    words: &[String],
    limit: usize,
) -> Result<ValueRows, Fault> {
    let (mut found, mut seen, mut from) = (Vec::new(), 0, i64::MAX);
    'all: loop {
        let rows = line.rows(
            "SELECT id, name, content, tags, sealed, writer, author, at FROM memory
             WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND NOT sealed AND id < $2
             ORDER BY id DESC LIMIT $3",
            &[&mesh.as_str(), &from, &STEP],
        )?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let (id, row) = memory_row(row)?;
            from = id;
            seen += row.weight();
            if found.len() >= limit || seen > SEARCH_BYTES {
                break 'all;
            }
            if row.has(words) {
                found.push(row);
            }
        }
    }
    Ok(ValueRows::Memory(found, false))
}

/// Rows while they fit into so many bytes, at least one.
struct Page<T> {
    rows: Vec<T>,
    left: Option<usize>,
    more: bool,
}

impl<T> Page<T> {
    fn new(bytes: usize) -> Self {
        Self {
            rows: Vec::new(),
            left: Some(bytes),
            more: false,
        }
    }

    fn add(&mut self, weight: usize, row: T) {
        self.left = self.left.and_then(|left| left.checked_sub(weight));
        self.more |= self.left.is_none() && !self.rows.is_empty();
        if !self.more {
            self.rows.push(row);
        }
    }
}

fn state_row(row: &Row) -> Result<StateRow, Fault> {
    Ok(StateRow {
        key: text(row, 0)?,
        value: text(row, 1)?,
        version: uint(get(row, 2)?),
        writer: key(row, 3)?,
        name: text(row, 4)?,
        at: uint(get(row, 5)?),
    })
}

fn memory_row(row: &Row) -> Result<(i64, MemoryRow), Fault> {
    let tags: &[u8] = get(row, 3)?;
    let memory = MemoryRow {
        id: text(row, 1)?,
        content: text(row, 2)?,
        tags: serde_json::from_slice(tags).map_err(|_| bad("tags"))?,
        sealed: get(row, 4)?,
        writer: key(row, 5)?,
        name: text(row, 6)?,
        at: uint(get(row, 7)?),
    };
    Ok((get(row, 0)?, memory))
}

fn item_row(row: &Row) -> Result<ItemRow, Fault> {
    Ok(ItemRow {
        mesh: parsed(row, 0)?,
        kind: get(row, 1)?,
        key: text(row, 2)?,
        value: text(row, 3)?,
        at: uint(get(row, 4)?),
    })
}

fn schedules(rows: &[Row]) -> Result<Vec<ScheduleRow>, Fault> {
    rows.iter().map(|row| Ok(schedule_row(row)?.1)).collect()
}

fn schedule_row(row: &Row) -> Result<(u64, ScheduleRow), Fault> {
    let time = |column| Ok::<_, Fault>(get::<Option<i64>>(row, column)?.map(uint));
    let cron: Option<Vec<u8>> = get(row, 7)?;
    let schedule = ScheduleRow {
        mesh: parsed(row, 1)?,
        id: text(row, 2)?,
        member: key(row, 3)?,
        to: text(row, 4)?,
        due: time(5)?,
        created_at: uint(get(row, 6)?),
        cron: cron
            .map(|cron| String::from_utf8(cron).map_err(|_| bad("a schedule")))
            .transpose()?,
        body: text(row, 8)?,
        fired: uint(get(row, 9)?),
        pending: time(10)?,
        failed: get(row, 11)?,
    };
    Ok((uint(get(row, 0)?), schedule))
}
