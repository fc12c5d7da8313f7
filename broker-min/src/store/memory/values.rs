//! State, memory and schedules of the store in memory.

use std::collections::BTreeMap;

use claudemesh_core::id::{MeshId, PublicKey};

use super::State;
use crate::store::values::{FAILED_MS, SEARCH_BYTES, page};
use crate::store::{
    AuditRow, Fire, ItemRow, MemoryRow, Outcome, ScheduleRow, SetState, StateRow, ValueOp,
    ValueQuery, ValueRows,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    state: BTreeMap<String, (StateRow, Option<[u8; 16]>)>,
    memories: BTreeMap<u64, MemoryRow>,
    schedules: BTreeMap<u64, ScheduleRow>,
    /// By kind and key.
    items: BTreeMap<(String, String), ItemRow>,
}

impl Values {
    /// The schedules of a removed member go with it.
    pub(super) fn drop_schedules(&mut self, member: &PublicKey) {
        self.schedules.retain(|_, row| row.member != *member);
    }

    fn scheduled(&mut self, id: &str) -> Option<(u64, &mut ScheduleRow)> {
        let mut rows = self.schedules.iter_mut();
        rows.find(|(_, row)| row.id == id)
            .map(|(number, row)| (*number, row))
    }
}

impl State {
    pub(super) fn value(&mut self, op: &ValueOp) -> Outcome {
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
                let values = self.values.entry(mesh.clone()).or_default();
                let found = values.scheduled(id);
                let Some((number, _)) = found.filter(|(_, row)| row.member == *member) else {
                    return Outcome::NotThere;
                };
                values.schedules.remove(&number);
                self.noted(mesh, "schedule_cancelled", member, None, *at)
            }
            ValueOp::Due {
                mesh,
                id,
                due,
                pending,
                next,
            } => {
                let values = self.values.entry(mesh.clone()).or_default();
                match values.scheduled(id) {
                    Some((_, row)) if row.due == Some(*due) && row.cron.is_some() => {
                        row.pending = Some(*pending);
                        row.due = *next;
                        row.fired += 1;
                        Outcome::Done
                    }
                    _ => Outcome::NotThere,
                }
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

    fn noted(
        &mut self,
        mesh: &MeshId,
        event: &'static str,
        actor: &PublicKey,
        size: Option<usize>,
        at: u64,
    ) -> Outcome {
        self.audit.row(&AuditRow {
            mesh: mesh.clone(),
            event,
            actor: Some(actor.short()),
            target: None,
            size: size.map(|size| size as u64),
            priority: None,
            at,
        });
        Outcome::Done
    }

    fn item(
        &mut self,
        row: &ItemRow,
        max: u64,
        event: Option<(&'static str, PublicKey)>,
    ) -> Outcome {
        if !self.meshes.contains_key(&row.mesh) {
            return Outcome::NotThere;
        }
        let items = &mut self.values.entry(row.mesh.clone()).or_default().items;
        let key = (row.kind.clone(), row.key.clone());
        if row.value.is_empty() {
            if items.remove(&key).is_none() {
                return Outcome::NotThere;
            }
        } else {
            let count = items.keys().filter(|(kind, _)| *kind == row.kind).count();
            if !items.contains_key(&key) && count as u64 >= max {
                return Outcome::Full;
            }
            items.insert(key, row.clone());
        }
        match event {
            Some((event, actor)) => {
                let size = Some(row.value.len());
                self.noted(&row.mesh, event, &actor, size, row.at)
            }
            None => Outcome::Done,
        }
    }

    fn set_state(&mut self, set: &SetState) -> Outcome {
        if !self.meshes.contains_key(&set.mesh) {
            return Outcome::NotThere;
        }
        let values = self.values.entry(set.mesh.clone()).or_default();
        let kept = values.state.get(&set.row.key);
        let version = kept.map_or(0, |(row, _)| row.version);
        if set.request.is_some() && kept.is_some_and(|(_, request)| *request == set.request) {
            return Outcome::Kept(version);
        }
        let lower = set.row.version != 0 && set.row.version < version;
        if lower || set.if_version.is_some_and(|wanted| wanted != version) {
            return Outcome::Conflict { head: version };
        }
        if kept.is_none() && values.state.len() as u64 >= set.max {
            return Outcome::Full;
        }
        let mut row = set.row.clone();
        if row.version == 0 {
            row.version = version.saturating_add(1);
        }
        let version = row.version;
        let (size, writer, at) = (row.value.len(), row.writer, row.at);
        values.state.insert(row.key.clone(), (row, set.request));
        self.noted(&set.mesh, "state_set", &writer, Some(size), at);
        Outcome::Kept(version)
    }

    fn remember(&mut self, mesh: &MeshId, row: &MemoryRow, max: u64) -> Outcome {
        if !self.meshes.contains_key(mesh) {
            return Outcome::NotThere;
        }
        let values = self.values.entry(mesh.clone()).or_default();
        if let Some(kept) = values.memories.values().find(|kept| kept.id == row.id) {
            let same =
                (&kept.content, &kept.tags, kept.writer) == (&row.content, &row.tags, row.writer);
            return if same { Outcome::Done } else { Outcome::Reused };
        }
        if values.memories.len() as u64 >= max {
            return Outcome::Full;
        }
        self.next_number += 1;
        values.memories.insert(self.next_number, row.clone());
        let size = Some(row.content.len());
        self.noted(mesh, "memory_stored", &row.writer, size, row.at)
    }

    fn forget_memory(
        &mut self,
        (mesh, id): (&MeshId, &str),
        by: &PublicKey,
        any: bool,
        at: u64,
    ) -> Outcome {
        let values = self.values.entry(mesh.clone()).or_default();
        let found = values.memories.iter().find(|(_, kept)| kept.id == id);
        let Some((number, kept)) = found else {
            return Outcome::NotThere;
        };
        if !any && kept.writer != *by {
            return Outcome::Refused;
        }
        let number = *number;
        values.memories.remove(&number);
        self.noted(mesh, "memory_forgotten", by, None, at)
    }

    fn schedule(&mut self, row: &ScheduleRow, max: u64) -> Outcome {
        if !self.meshes.contains_key(&row.mesh) {
            return Outcome::NotThere;
        }
        let values = self.values.entry(row.mesh.clone()).or_default();
        let due = row.due.unwrap_or_default();
        if let Some((_, kept)) = values.scheduled(&row.id) {
            let same = kept.is_same(row);
            return if same || kept.failed.is_some() && kept.body == row.body {
                Outcome::Kept(kept.due.unwrap_or(due))
            } else {
                Outcome::Reused
            };
        }
        let own = values.schedules.values();
        if own.filter(|kept| kept.member == row.member).count() as u64 >= max {
            return Outcome::Full;
        }
        self.next_number += 1;
        values.schedules.insert(self.next_number, row.clone());
        let (size, at) = (Some(row.body.len()), row.created_at);
        self.noted(&row.mesh, "schedule_set", &row.member, size, at);
        Outcome::Kept(due)
    }

    fn taken(&mut self, (mesh, id): (&MeshId, &str), member: &PublicKey, due: u64) -> Outcome {
        let values = self.values.entry(mesh.clone()).or_default();
        let found = values.scheduled(id);
        let Some((number, row)) = found.filter(|(_, row)| row.member == *member) else {
            return Outcome::NotThere;
        };
        let Some(pending) = row.pending else {
            return Outcome::NotThere;
        };
        if row.failed.is_none() && pending > due {
            return Outcome::Conflict { head: pending };
        }
        if row.failed.is_some() || row.due.is_none() {
            values.schedules.remove(&number);
        } else {
            row.pending = None;
        }
        Outcome::Done
    }

    fn fire(&mut self, fire: &Fire) -> Outcome {
        let mesh = &fire.accept.mesh;
        let values = self.values.entry(mesh.clone()).or_default();
        let found = values.scheduled(&fire.id);
        let Some((number, _)) = found.filter(|(_, row)| row.due.is_some() && row.cron.is_none())
        else {
            return Outcome::NotThere;
        };
        let outcome = self.accept(&fire.accept);
        let values = self.values.entry(mesh.clone()).or_default();
        match fire.failure(&outcome) {
            None => {
                values.schedules.remove(&number);
            }
            Some(code) => {
                if let Some(row) = values.schedules.get_mut(&number) {
                    row.due = None;
                    row.pending = Some(fire.accept.now);
                    row.failed = Some(code.to_owned());
                }
            }
        }
        outcome
    }

    pub(super) fn prune_values(&mut self, now: u64) {
        let before = now.saturating_sub(FAILED_MS);
        for values in self.values.values_mut() {
            values
                .schedules
                .retain(|_, row| row.failed.is_none() || row.pending.is_none_or(|at| at >= before));
        }
    }

    pub(super) fn load_value(&self, query: &ValueQuery) -> ValueRows {
        let empty = Values::default();
        let of = |mesh: &MeshId| self.values.get(mesh).unwrap_or(&empty);
        match query {
            ValueQuery::State { mesh, key } => {
                let row = of(mesh).state.get(key).map(|(row, _)| row.clone());
                ValueRows::State(row.into_iter().collect(), false)
            }
            ValueQuery::States { mesh, after, bytes } => {
                let after = after.as_deref().unwrap_or_default();
                let rows = of(mesh)
                    .state
                    .iter()
                    .filter(|(key, _)| key.as_str() > after);
                let rows = rows.map(|(_, (row, _))| Ok::<_, ()>(row.clone()));
                let (rows, more) = page(rows, *bytes, StateRow::weight).unwrap_or_default();
                ValueRows::State(rows, more)
            }
            ValueQuery::Memories { mesh, after, bytes } => {
                let memories = &of(mesh).memories;
                let from = match after {
                    None => Some(u64::MAX),
                    Some(after) => {
                        let found = memories.iter().find(|(_, row)| row.id == *after);
                        found.map(|(number, _)| *number)
                    }
                };
                let Some(from) = from else {
                    return ValueRows::Unknown;
                };
                let rows = memories.range(..from).rev();
                let rows = rows.map(|(_, row)| Ok::<_, ()>(row.clone()));
                let (rows, more) = page(rows, *bytes, MemoryRow::weight).unwrap_or_default();
                ValueRows::Memory(rows, more)
            }
            ValueQuery::Search { mesh, words, limit } => {
                let rows = of(mesh).memories.values().rev().filter(|row| !row.sealed);
                let mut seen = 0;
                let near = rows.take_while(|row| {
                    seen += row.weight();
                    seen <= SEARCH_BYTES
                });
                let found = near.filter(|row| row.has(words)).take(*limit).cloned();
                ValueRows::Memory(found.collect(), false)
            }
            ValueQuery::Schedules {
                mesh,
                member,
                bodies,
            } => {
                let mut rows = own_schedules(of(mesh), member);
                for row in rows.iter_mut().filter(|_| !bodies) {
                    row.body = String::new();
                }
                ValueRows::Schedules(rows)
            }
            ValueQuery::Pending { mesh, member } => {
                let mut rows = own_schedules(of(mesh), member);
                rows.retain(|row| row.pending.is_some());
                ValueRows::Schedules(rows)
            }
            ValueQuery::Items { mesh } => {
                ValueRows::Items(of(mesh).items.values().cloned().collect())
            }
            ValueQuery::ItemsOf { kind, key } => {
                let wanted = (kind.clone(), key.clone());
                let all = self.values.values();
                let found = all.filter_map(|values| values.items.get(&wanted));
                ValueRows::Items(found.cloned().collect())
            }
            ValueQuery::Due {
                until,
                after,
                limit,
            } => {
                let all = self.values.values().flat_map(|values| &values.schedules);
                let mut rows: Vec<(u64, u64, &ScheduleRow)> = all
                    .filter_map(|(number, row)| Some((row.due?, *number, row)))
                    .collect();
                rows.sort_by_key(|(due, number, _)| (*due, *number));
                let next = rows.iter().map(|(due, _, _)| *due).find(|due| due > until);
                rows.retain(|(due, number, _)| due <= until && (*due, *number) > *after);
                let due = rows.into_iter().take(*limit);
                ValueRows::Due(due.map(|(_, n, row)| (n, row.clone())).collect(), next)
            }
        }
    }
}

/// By when they are due; what is not due again comes last.
fn own_schedules(values: &Values, member: &PublicKey) -> Vec<ScheduleRow> {
    let own = values
        .schedules
        .values()
        .filter(|row| row.member == *member);
    let mut rows: Vec<_> = own.cloned().collect();
    rows.sort_by_key(|row| (row.due.is_none(), row.due));
    rows
}
