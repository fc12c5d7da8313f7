//! What goes out later. The store knows all schedules; here is only when the next one is due, and
//! what was handed to whom.
//!
//! A one-shot is sent by the same code as any other message, in one commit with its end. What
//! comes again is handed to a session of its author, which seals and sends it itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use claudemesh_core::encoding::{base64, unbase64};
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::wire::{
    CancelScheduled, CancelScheduledAck, ListScheduled, Receipt, ReceiptState, Schedule,
    ScheduleDue, ScheduleTaken, ScheduledAck, ScheduledList, ScheduledRecord, Send, errors::code,
};

use super::Router;
use super::clock::{AGAIN_MS, Timer, TimerKey};
use super::conn::Conn;
use super::send::{Sent, is_open};
use super::text::shown;
use super::types::{ConnId, In, Now};
use super::values::{self, is_id};
use crate::store::{Outcome, ScheduleRow, ValueOp, ValueQuery, ValueRows};
use claudemesh_core::cron::Cron;

/// Schedules that are looked at in one step.
const STEP: usize = 64;
/// After so long a schedule is looked at again whose mesh could not be loaded, ms.
const LATER_MS: u64 = 60_000;
/// A difference between the clocks that is followed, ms.
const MOVED_MS: u64 = 500;
/// Characters of what an author sealed for itself.
const SEALED_CHARS: usize = 61_440;
const TO_BYTES: usize = 256;
/// Bytes of a text in the open.
const OPEN_BYTES: usize = 16_384;
const INVALID_CRON: &str = "invalid_cron";

/// Whose schedule it is, for maps.
type Key = (MeshId, String);

/// What is known of schedules between two looks at the store.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    timer: Option<TimerKey>,
    /// The store is being asked.
    looking: bool,
    /// It is to be asked once more.
    again: bool,
    /// Being committed.
    firing: HashSet<Key>,
    /// Handed to a connection and not taken.
    handed: HashMap<Key, (ConnId, u64)>,
}

/// What follows a write.
#[derive(Debug)]
pub(super) enum Wrote {
    Set {
        conn: ConnId,
        ack: Box<ScheduledAck>,
    },
    Cancelled {
        conn: ConnId,
        ack: Box<CancelScheduledAck>,
    },
    /// Its author is no member any more.
    Dropped(Key),
    Due {
        key: Key,
        member: PublicKey,
        next: Option<u64>,
    },
    Taken {
        conn: ConnId,
    },
}

/// What a question was for.
#[derive(Debug)]
pub(super) enum Ask {
    List {
        conn: ConnId,
        req_id: Option<String>,
    },
    Pending(ConnId),
    Due {
        until: u64,
    },
}

impl Router {
    // ---- what members ask for

    pub(super) fn schedule(&mut self, id: ConnId, it: Schedule) {
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

    /// The row of a schedule in the open, which the broker itself makes a message of.
    fn open_row(
        &mut self,
        who: &values::Who,
        message: &str,
        it: &Schedule,
    ) -> Result<ScheduleRow, (&'static str, String)> {
        let now = self.now.wall;
        let invalid = |why: &str| (code::INVALID, why.to_owned());
        if who.envelope {
            let why = "a peer that lists envelope/1 seals what is sent later; give `send` or \
                       `sealed`";
            return Err((code::UNSUPPORTED, why.to_owned()));
        }
        if it.to.is_empty() || it.to.len() > TO_BYTES || message.len() > OPEN_BYTES {
            return Err(invalid(
                "a schedule has a target, and 16,384 bytes of text at most",
            ));
        }
        let key = PublicKey::from_hex(&it.to).ok();
        let closed = key.is_some_and(|key| {
            let mesh = self.mesh(&who.mesh);
            mesh.is_some_and(|mesh| !mesh.reads_open(&mesh.owner_of(&key)))
        });
        if closed {
            let why = "this member takes only what is sealed, and the broker cannot seal";
            return Err((code::UNSUPPORTED, why.to_owned()));
        }
        let due = match &it.cron {
            Some(cron) => {
                let parsed: Option<Cron> = cron.parse().ok();
                let why = || {
                    (
                        INVALID_CRON,
                        format!("Invalid cron expression: {}", shown(cron, 64)),
                    )
                };
                parsed.and_then(|cron| cron.next(now)).ok_or_else(why)?
            }
            None => it
                .deliver_at
                .ok_or_else(|| invalid("deliverAt is missing"))?,
        };
        if due > now.saturating_add(self.limits.schedule_ahead_ms) {
            let days = self.limits.schedule_ahead_ms / 86_400_000;
            return Err(invalid(&format!("a schedule is at most {days} days ahead")));
        }
        let random: [u8; 16] = self.rng.bytes();
        let hex = claudemesh_core::encoding::hex(&random);
        let part = |range| hex.get(range).unwrap_or_default();
        let id = format!(
            "{}-{}-4{}-8{}-{}",
            part(0..8),
            part(8..12),
            part(13..16),
            part(17..20),
            part(20..32)
        );
        let send = Send {
            target_spec: it.to.clone(),
            priority: Some("now".to_owned()),
            ciphertext: base64(message.as_bytes()),
            client_message_id: Some(id.clone()),
            subtype: it.subtype.clone(),
            ..Send::default()
        };
        let body = serde_json::to_string(&send).map_err(|_| invalid("the text is unreadable"))?;
        Ok(ScheduleRow {
            mesh: MeshId::clone(&who.mesh),
            id,
            member: who.member,
            to: it.to.clone(),
            due: Some(due),
            created_at: now,
            cron: it.cron.clone(),
            body,
            fired: 0,
            pending: None,
            failed: None,
        })
    }

    /// Sends what a schedule in the open repeats; says for how long to wait if it is too early.
    fn fire_again(&mut self, row: &ScheduleRow, due: u64) -> Result<(), u64> {
        let mut send: Send = serde_json::from_str(&row.body).unwrap_or_default();
        send.client_message_id = Some(format!("{}.{}", row.id, due / 60_000));
        let shared = Arc::new(row.mesh.clone());
        self.send_again(&shared, row.member, &row.id, &send)
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

    pub(super) fn list_scheduled(&mut self, id: ConnId, ask: ListScheduled) {
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

    pub(super) fn cancel_scheduled(&mut self, id: ConnId, it: CancelScheduled) {
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

    pub(super) fn schedule_taken(&mut self, id: ConnId, it: ScheduleTaken) {
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

    // ---- what the store says

    pub(super) fn schedule_wrote(&mut self, wrote: Wrote, outcome: Option<Outcome>) {
        match (wrote, outcome) {
            (Wrote::Set { conn, mut ack }, Some(Outcome::Kept(due))) => {
                ack.deliver_at = due;
                self.answer(conn, *ack);
                self.wake_at_wall(due);
            }
            (Wrote::Set { conn, ack }, outcome) => {
                self.not_written(conn, outcome.as_ref(), ack.req_id);
            }
            (Wrote::Cancelled { conn, mut ack }, Some(outcome)) => {
                ack.ok = outcome == Outcome::Done;
                if ack.ok
                    && let Some(mesh) = self.mesh_of(conn)
                {
                    self.unhand(&(MeshId::clone(&mesh), ack.scheduled_id.clone()));
                }
                self.answer(conn, *ack);
            }
            (Wrote::Cancelled { conn, ack }, None) => self.not_written(conn, None, ack.req_id),
            (Wrote::Dropped(key), outcome) => {
                self.schedules.firing.remove(&key);
                if outcome.is_none() {
                    self.wake_schedules(self.now.mono + AGAIN_MS);
                }
            }
            (Wrote::Due { key, member, next }, outcome) => {
                self.schedules.firing.remove(&key);
                match outcome {
                    Some(Outcome::Done) => {
                        if let Some(next) = next {
                            self.wake_at_wall(next);
                        }
                        let before = self.unhand(&key);
                        self.hand_to_another(&key.0, &member, before);
                    }
                    Some(_) => {}
                    None => self.wake_schedules(self.now.mono + AGAIN_MS),
                }
            }
            // A newer time has come meanwhile.
            (Wrote::Taken { conn }, Some(Outcome::Conflict { .. })) => self.ask_pending(conn),
            (Wrote::Taken { .. }, _) => {}
        }
    }

    pub(super) fn schedule_loaded(&mut self, ask: Ask, rows: Option<ValueRows>) {
        match (ask, rows) {
            (Ask::List { conn, req_id }, rows) => {
                let Some(asking) = self.conns.get_mut(&conn) else {
                    return;
                };
                asking.asking = asking.asking.saturating_sub(1);
                let Some(ValueRows::Schedules(rows)) = rows else {
                    return self.unreadable(conn, req_id);
                };
                let messages = rows.into_iter().map(record).collect();
                self.reply(conn, ScheduledList { messages, req_id });
            }
            (Ask::Pending(conn), Some(ValueRows::Schedules(rows))) => self.hand(conn, rows),
            (Ask::Pending(_), _) => {}
            (Ask::Due { until }, Some(ValueRows::Due(rows, next))) => {
                self.due(until, rows, next);
            }
            (Ask::Due { .. }, _) => {
                self.schedules.looking = false;
                self.wake_schedules(self.now.mono + AGAIN_MS);
            }
        }
    }

    // ---- what the clock says

    /// Looks at the store no later than at `mono`.
    pub(super) fn wake_schedules(&mut self, mono: u64) {
        if let Some(timer) = self.schedules.timer {
            if timer.0 <= mono {
                return;
            }
            self.timers.remove(&timer);
        }
        self.schedules.timer = Some(self.at(mono, Timer::Schedules));
    }

    fn wake_at_wall(&mut self, wall: u64) {
        let wait = wall.saturating_sub(self.now.wall);
        self.wake_schedules(self.now.mono.saturating_add(wait));
    }

    /// When the wall clock goes its own way, what is due is due at another time.
    pub(super) fn clock_moved(&mut self, before: Now) {
        let passed = self.now.mono.saturating_sub(before.mono);
        let expected = before.wall.saturating_add(passed);
        if self.started.is_some() && self.now.wall.abs_diff(expected) > MOVED_MS {
            self.wake_schedules(self.now.mono);
        }
    }

    pub(super) fn look_for_due(&mut self) {
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

    fn due(&mut self, until: u64, rows: Vec<(u64, ScheduleRow)>, next: Option<u64>) {
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
    pub(super) fn fired(&mut self, sent: &Sent, outcome: Option<&Outcome>) {
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

    // ---- handing over

    /// Asks for what waits for the author on a connection.
    pub(super) fn ask_pending(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.values) else {
            return;
        };
        let query = ValueQuery::Pending {
            mesh: MeshId::clone(&conn.mesh),
            member: conn.member,
        };
        self.ask_value(query, values::Ask::Schedule(Ask::Pending(id)));
    }

    fn hand(&mut self, id: ConnId, rows: Vec<ScheduleRow>) {
        for row in rows {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            if row.failed.is_some() {
                let send: Send = serde_json::from_str(&row.body).unwrap_or_default();
                let code = row.failed.as_deref().unwrap_or_default();
                self.reply(id, failure(send.client_message_id, code));
                continue;
            }
            let Some(due) = row.pending.filter(|_| !is_open(&row.id)) else {
                continue;
            };
            let key = (row.mesh, row.id);
            if self.schedules.handed.contains_key(&key) {
                continue;
            }
            conn.handed.push(key.1.clone());
            let frame = ScheduleDue {
                scheduled_id: key.1.clone(),
                to: row.to,
                due,
                sealed: row.body,
            };
            self.schedules.handed.insert(key, (id, due));
            self.reply(id, frame);
        }
    }

    /// Forgets to whom something was handed; gives the connection.
    fn unhand(&mut self, key: &Key) -> Option<ConnId> {
        let (id, _) = self.schedules.handed.remove(key)?;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.handed.retain(|handed| *handed != key.1);
        }
        Some(id)
    }

    /// What a connection that is gone had not taken goes to another one of its member.
    pub(super) fn hand_on(&mut self, mesh: &Arc<MeshId>, conn: &Conn) {
        if conn.handed.is_empty() {
            return;
        }
        for id in &conn.handed {
            let key = (MeshId::clone(mesh), id.clone());
            self.schedules.handed.remove(&key);
        }
        self.hand_to_another(mesh, &conn.member, None);
    }

    /// Hands what waits to a session of a member, rather not to the one that did not take it.
    fn hand_to_another(&mut self, mesh: &MeshId, member: &PublicKey, before: Option<ConnId>) {
        let Some(mesh) = self.mesh(mesh) else { return };
        let conns = mesh.conns_of.get(member).into_iter().flatten();
        let ready = |id: &&ConnId| {
            let conn = self.conns.get(*id);
            conn.is_some_and(|conn| conn.values && conn.counts_left == 0)
        };
        let chosen = conns.filter(ready).max_by_key(|id| Some(**id) != before);
        if let Some(id) = chosen.copied() {
            self.ask_pending(id);
        }
    }
}

/// Tells an author that a one-shot failed.
fn failure(client_message_id: Option<String>, code: &str) -> Receipt {
    Receipt {
        // It never was a message of the broker's.
        message_id: String::new(),
        client_message_id,
        state: ReceiptState::Failed,
        reason: Some(code.to_owned()),
        delivered: None,
        failed: None,
        of: None,
    }
}

fn record(row: ScheduleRow) -> ScheduledRecord {
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
