//! What the clock says: what is due is looked up and sent, or handed to its author.

use std::sync::Arc;

use claudemesh_core::cron::Cron;
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{Send, errors::code};

use super::hand::failure;
use super::{Ask, Key, Wrote};
use crate::router::Router;
use crate::router::clock::{AGAIN_MS, Timer};
use crate::router::send::{Sent, is_open};
use crate::router::types::{In, Now};
use crate::router::values;
use crate::store::{Outcome, ScheduleRow, ValueOp, ValueQuery};

/// Schedules that are looked at in one step.
const STEP: usize = 64;
/// After so long a schedule is looked at again whose mesh could not be loaded, ms.
const LATER_MS: u64 = 60_000;
/// A difference between the clocks that is followed, ms.
const MOVED_MS: u64 = 500;

impl Router {
    /// Looks at the store no later than at `mono`.
    pub(in crate::router) fn wake_schedules(&mut self, mono: u64) {
        if let Some(timer) = self.schedules.timer {
            if timer.0 <= mono {
                return;
            }
            self.timers.remove(&timer);
        }
        self.schedules.timer = Some(self.at(mono, Timer::Schedules));
    }

    pub(super) fn wake_at_wall(&mut self, wall: u64) {
        let wait = wall.saturating_sub(self.now.wall);
        self.wake_schedules(self.now.mono.saturating_add(wait));
    }

    /// When the wall clock goes its own way, what is due is due at another time.
    pub(in crate::router) fn clock_moved(&mut self, before: Now) {
        let passed = self.now.mono.saturating_sub(before.mono);
        let expected = before.wall.saturating_add(passed);
        if self.started.is_some() && self.now.wall.abs_diff(expected) > MOVED_MS {
            self.wake_schedules(self.now.mono);
        }
    }

    pub(in crate::router) fn look_for_due(&mut self) {
        self.schedules.timer = None;
        if self.stopping {
            return;
        }
        if self.schedules.looking {
            self.schedules.again = true;
            return;
        }
        self.schedules.looking = true;
        self.look(self.now.wall, (0, 0));
    }

    fn look(&mut self, until: u64, after: (u64, u64)) {
        let query = ValueQuery::Due {
            until,
            after,
            limit: STEP,
        };
        self.ask_value(query, values::Ask::Schedule(Ask::Due { until }));
    }

    pub(super) fn due(&mut self, until: u64, rows: Vec<(u64, ScheduleRow)>, next: Option<u64>) {
        let last = rows
            .last()
            .map(|(number, row)| (row.due.unwrap_or(until), *number));
        let full = rows.len() >= STEP;
        for (_, row) in rows {
            self.one_due(row);
        }
        if let Some(last) = last.filter(|_| full && !self.stopping) {
            self.look(until, last);
            return;
        }
        self.schedules.looking = false;
        if let Some(next) = next {
            self.wake_at_wall(next);
        }
        if std::mem::take(&mut self.schedules.again) {
            self.wake_schedules(self.now.mono);
        }
    }

    fn one_due(&mut self, row: ScheduleRow) {
        let key = (row.mesh.clone(), row.id.clone());
        if self.stopping || self.schedules.firing.contains(&key) {
            return;
        }
        let Some(mesh) = self.mesh(&row.mesh) else {
            // Looked at again when the mesh is there; and later, should it not come.
            self.wake_schedules(self.now.mono + LATER_MS);
            self.park(row.mesh, In::Tick);
            return;
        };
        let is_member = mesh.member(&row.member).is_some();
        let (Some(due), true) = (row.due, is_member) else {
            self.schedules.firing.insert(key.clone());
            let op = ValueOp::Cancel {
                mesh: row.mesh,
                member: row.member,
                id: row.id,
                at: self.now.wall,
            };
            return self.write_value(op, values::Wrote::Schedule(Wrote::Dropped(key)));
        };
        let Some(cron) = &row.cron else {
            return self.fire_one_shot(key, &row);
        };
        let (pending, next) = match cron.parse::<Cron>() {
            Ok(cron) => (cron.last(due, self.now.wall), cron.next(self.now.wall)),
            Err(_) => (due, None),
        };
        if is_open(&row.id)
            && let Err(wait) = self.fire_again(&row, pending)
        {
            return self.wake_schedules(self.now.mono + wait);
        }
        self.schedules.firing.insert(key.clone());
        let op = ValueOp::Due {
            mesh: row.mesh,
            id: row.id,
            due,
            pending,
            next,
        };
        let wrote = Wrote::Due {
            key,
            member: row.member,
            next,
        };
        self.write_value(op, values::Wrote::Schedule(wrote));
    }

    fn fire_one_shot(&mut self, key: Key, row: &ScheduleRow) {
        // What is in the store was checked when it came; should it be unreadable, it is refused
        // as any send without a target.
        let send: Send = serde_json::from_str(&row.body).unwrap_or_default();
        let shared = Arc::new(row.mesh.clone());
        self.schedules.firing.insert(key.clone());
        if let Err(wait) = self.send_scheduled(&shared, row.member, &row.id, &send) {
            self.schedules.firing.remove(&key);
            self.wake_schedules(self.now.mono + wait);
        }
    }

    /// A message that a schedule sent came back from the store; without an outcome it failed.
    pub(in crate::router) fn fired(&mut self, sent: &Sent, outcome: Option<&Outcome>) {
        let Some(id) = sent.schedule.as_ref().filter(|_| !sent.repeats) else {
            return;
        };
        let key = (MeshId::clone(&sent.mesh), id.clone());
        self.schedules.firing.remove(&key);
        let code = match outcome {
            None => return self.wake_schedules(self.now.mono + AGAIN_MS),
            Some(Outcome::Full) => code::QUEUE_FULL,
            Some(Outcome::Reused) => code::INVALID,
            Some(Outcome::Refused) => {
                let code = sent.refusal.as_ref().and_then(|ack| ack.code.as_deref());
                code.unwrap_or(code::INVALID)
            }
            Some(_) => return,
        };
        let receipt = failure(sent.client_id.as_deref().map(str::to_owned), code);
        self.tell_sender(&sent.mesh, &sent.sender, &receipt);
    }
}
