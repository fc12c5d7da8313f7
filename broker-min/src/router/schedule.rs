//! What goes out later. The store knows all schedules; here is only when the next one is due, and
//! what was handed to whom.
//!
//! A one-shot is sent by the same code as any other message, in one commit with its end. What
//! comes again is handed to a session of its author, which seals and sends it itself.

mod due;
mod hand;
mod open;
mod request;

use std::collections::{HashMap, HashSet};

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::wire::{CancelScheduledAck, ScheduledAck, ScheduledList};

use super::Router;
use super::clock::{AGAIN_MS, TimerKey};
use super::types::ConnId;
use crate::store::{Outcome, ValueRows};
use request::record;

/// Bytes of a target, or of an id.
const TO_BYTES: usize = 256;
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
}
