//! What members ask for: keeping what is sent later, listing it, giving it up.

use claudemesh_core::cron::Cron;
use claudemesh_core::encoding::unbase64;
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{
    CancelScheduled, CancelScheduledAck, ListScheduled, Schedule, ScheduleTaken, ScheduledAck,
    ScheduledRecord, Send, errors::code,
};

use super::{Ask, INVALID_CRON, TO_BYTES, Wrote};
use crate::router::Router;
use crate::router::send::is_open;
use crate::router::text::shown;
use crate::router::types::ConnId;
use crate::router::values::{self, is_id};
use crate::store::{ScheduleRow, ValueOp, ValueQuery};

/// Characters of what an author sealed for itself.
const SEALED_CHARS: usize = 61_440;

impl Router {
    pub(in crate::router) fn schedule(&mut self, id: ConnId, it: Schedule) {
        let Some(who) = self.asker(id, it.req_id.as_ref()) else {
            return;
        };
        let req_id = it.req_id.clone();
        let row = match self.row(&who, it) {
            Ok(row) => row,
            Err((code, why)) => return self.error(id, code, &why, req_id),
        };
        if !self.may_write(id, &who, req_id.as_ref()) {
            return;
        }
        let ack = ScheduledAck {
            scheduled_id: row.id.clone(),
            deliver_at: row.due.unwrap_or_default(),
            cron: row.cron.clone(),
            req_id,
        };
        let max = self.limits.schedules_per_member;
        let wrote = Wrote::Set {
            conn: id,
            ack: Box::new(ack),
        };
        let op = ValueOp::Schedule { row, max };
        self.write_value(op, values::Wrote::Schedule(wrote));
    }

    /// The row of a schedule, or what is wrong with it.
    fn row(
        &mut self,
        who: &values::Who,
        it: Schedule,
    ) -> Result<ScheduleRow, (&'static str, String)> {
        let now = self.now.wall;
        let invalid = |why: &str| (code::INVALID, why.to_owned());
        if let (Some(message), None, None) = (&it.message, &it.send, &it.sealed) {
            return self.open_row(who, message, &it);
        }
        if it.id.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(invalid("an id is 32 lower-case hex digits"));
        }
        if it.to.len() > TO_BYTES {
            return Err(invalid("the target is too long"));
        }
        let (due, body, to) = match (&it.send, &it.sealed, &it.cron) {
            (Some(send), None, None) => {
                let due = it
                    .deliver_at
                    .ok_or_else(|| invalid("deliverAt is missing"))?;
                let body = self.one_shot(send, due)?;
                if !it.to.is_empty() && it.to != send.target_spec {
                    return Err(invalid("`to` and the send's target differ"));
                }
                (due, body, send.target_spec.clone())
            }
            (None, Some(sealed), Some(cron)) => {
                if sealed.len() > SEALED_CHARS || unbase64(sealed).is_err() {
                    return Err(invalid("sealed is at most 61,440 characters of base64"));
                }
                let cron: Cron =
                    cron.parse()
                        .map_err(|error: claudemesh_core::cron::CronError| {
                            (INVALID_CRON, error.to_string())
                        })?;
                let due = cron.next(now);
                let due = due.ok_or((INVALID_CRON, "this time never comes".to_owned()))?;
                (due, sealed.clone(), it.to)
            }
            _ => {
                return Err(invalid(
                    "a schedule has either send and deliverAt, or sealed and cron",
                ));
            }
        };
        if due > now.saturating_add(self.limits.schedule_ahead_ms) {
            let days = self.limits.schedule_ahead_ms / 86_400_000;
            return Err(invalid(&format!("a schedule is at most {days} days ahead")));
        }
        Ok(ScheduleRow {
            mesh: MeshId::clone(&who.mesh),
            id: it.id.unwrap_or_else(|| self.fresh_id()),
            member: who.member,
            to,
            due: Some(due),
            created_at: now,
            cron: it.cron,
            body,
            fired: 0,
            pending: None,
            failed: None,
        })
    }

    /// A send that is to be kept, as text. Whom it reaches is asked when it is due.
    fn one_shot(&self, send: &Send, due: u64) -> Result<String, (&'static str, String)> {
        let invalid = |why: &str| (code::INVALID, why.to_owned());
        let id = send.client_message_id.as_deref().unwrap_or_default();
        if id.is_empty() || id.len() > TO_BYTES {
            return Err(invalid("the send needs a client_message_id of its own"));
        }
        if send.online == Some(true) {
            return Err(invalid("what is sent later is not online-only"));
        }
        if send.priority().is_err() {
            return Err(invalid("a priority is now, next or low"));
        }
        if send.target_spec.is_empty() || send.target_spec.len() > TO_BYTES {
            return Err(invalid("the send has no target"));
        }
        if send
            .expires_at
            .is_some_and(|at| at <= due.max(self.now.wall))
        {
            return Err(invalid("the send expires before it is due"));
        }
        let body = serde_json::to_string(send).map_err(|_| invalid("the send is unreadable"))?;
        if body.len() > self.limits.frame_bytes {
            let why = "the send is too long";
            return Err((code::TOO_LARGE, why.to_owned()));
        }
        Ok(body)
    }

    pub(in crate::router) fn list_scheduled(&mut self, id: ConnId, ask: ListScheduled) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let query = ValueQuery::Schedules {
            mesh: MeshId::clone(&who.mesh),
            member: who.member,
            bodies: !who.values,
        };
        let req_id = ask.req_id;
        let ask = Ask::List { conn: id, req_id };
        self.ask_value(query, values::Ask::Schedule(ask));
    }

    pub(in crate::router) fn cancel_scheduled(&mut self, id: ConnId, it: CancelScheduled) {
        let Some(who) = self.asker(id, it.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, it.req_id.as_ref()) {
            return;
        }
        let scheduled_id = shown(&it.scheduled_id, TO_BYTES);
        let op = ValueOp::Cancel {
            mesh: MeshId::clone(&who.mesh),
            member: who.member,
            id: scheduled_id.clone(),
            at: self.now.wall,
        };
        let wrote = Wrote::Cancelled {
            conn: id,
            ack: Box::new(CancelScheduledAck {
                scheduled_id,
                ok: false,
                req_id: it.req_id,
            }),
        };
        self.write_value(op, values::Wrote::Schedule(wrote));
    }

    pub(in crate::router) fn schedule_taken(&mut self, id: ConnId, it: ScheduleTaken) {
        let Some(who) = self.asker(id, None) else {
            return;
        };
        if !self.may_write(id, &who, None) {
            return;
        }
        let scheduled = shown(&it.scheduled_id, TO_BYTES);
        let key = (MeshId::clone(&who.mesh), scheduled.clone());
        let of = self.schedules.handed.get(&key).map(|(conn, _)| *conn);
        let own = of.is_some_and(|conn| {
            let conn = self.conns.get(&conn);
            conn.is_none_or(|conn| conn.member == who.member)
        });
        if own {
            self.unhand(&key);
        }
        let op = ValueOp::Taken {
            mesh: MeshId::clone(&who.mesh),
            member: who.member,
            id: scheduled,
            due: it.due,
        };
        let wrote = Wrote::Taken { conn: id };
        self.write_value(op, values::Wrote::Schedule(wrote));
    }
}

pub(super) fn record(row: ScheduleRow) -> ScheduledRecord {
    let repeats = row.cron.is_some();
    let open = is_open(&row.id).then(|| serde_json::from_str::<Send>(&row.body).ok());
    let text = open
        .flatten()
        .and_then(|send| unbase64(&send.ciphertext).ok());
    ScheduledRecord {
        id: row.id,
        to: row.to,
        message: text
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default(),
        deliver_at: row.due.or(row.pending).unwrap_or_default(),
        created_at: row.created_at,
        cron: row.cron,
        fired_count: repeats.then_some(row.fired),
        failed: row.failed,
    }
}
