//! What happens by the clock: timers, expiry, closing what is slow or silent, the end.

use std::sync::Arc;

use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{CloseCode, reason};

use super::Router;
use super::conn::SLOW_BYTES;
use super::mesh::Slot;
use super::types::{ConnId, Now, Out};
use super::writer::Then;
use crate::store::{Delivery, Op};

/// After so long without anyone a mesh is dropped from memory, ms.
pub(super) const MESH_IDLE_MS: u64 = 600_000;
/// Between two looks at what expired, ms.
const EXPIRE_MS: u64 = 1_000;
/// Rows that expire in one step.
const EXPIRE_STEP: u32 = 500;
/// Between two looks at what can be forgotten, ms.
const PRUNE_MS: u64 = 60_000;
/// Rows that are forgotten in one step.
const PRUNE_STEP: u32 = 5_000;
/// After so long a peer that never acks is taken to have a message, ms.
const ASSUME_MS: u64 = 60_000;
/// For so long the end waits for the store, ms.
const STOP_MS: u64 = 5_000;
/// Bytes waiting for a socket after which it is not waited for.
const FAR_BEHIND_BYTES: usize = 16 << 20;
/// Between two tries at a store that failed, ms.
pub(super) const AGAIN_MS: u64 = 1_000;

/// By which a timer is taken back: when it is due, and a number.
pub(super) type TimerKey = (u64, u64);

/// What a timer is for.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    Lease(Arc<MeshId>, u64),
    Working(ConnId),
    Window(ConnId),
    Slow(ConnId),
    Fill(ConnId),
    MeshIdle(Arc<MeshId>),
    Expire,
    Prune,
    Again,
    Schedules,
    Stop,
}

/// Whether the wall clock can be believed when something is thrown away by it.
#[derive(Debug)]
pub(super) struct Steady {
    saved: u64,
    last: Option<Now>,
    until: u64,
}

impl Steady {
    /// A steady clock jumps by less, ms.
    const JUMP_MS: u64 = 3_600_000;
    /// At the start it is as near to the saved one, ms.
    const START_MS: u64 = 86_400_000;

    /// `saved` is the clock as it was last saved, or 0.
    pub(super) const fn new(saved: u64) -> Self {
        Self {
            saved,
            last: None,
            until: 0,
        }
    }

    fn see(&mut self, now: Now) {
        let jumped = match self.last {
            Some(last) => {
                let expected = last.wall.saturating_add(now.mono.saturating_sub(last.mono));
                now.wall.abs_diff(expected) > Self::JUMP_MS
            }
            None => self.saved != 0 && now.wall.abs_diff(self.saved) > Self::START_MS,
        };
        if jumped {
            self.until = now.mono.saturating_add(Self::JUMP_MS);
        }
        self.last = Some(now);
    }

    const fn is_steady(&self, mono: u64) -> bool {
        mono >= self.until
    }
}

impl Router {
    /// Sets a timer.
    pub(super) fn at(&mut self, mono: u64, timer: Timer) -> TimerKey {
        let number = self.next_timer;
        self.next_timer += 1;
        self.timers.insert((mono, number), timer);
        (mono, number)
    }

    pub(super) fn set_clock(&mut self, now: Now) {
        let before = self.now;
        self.now = Now {
            mono: now.mono.max(self.now.mono),
            wall: now.wall,
        };
        self.clock_moved(before);
        self.steady.see(self.now);
        if self.started.is_none() {
            self.started = Some(now.mono);
            self.at(now.mono + EXPIRE_MS, Timer::Expire);
            self.at(now.mono + PRUNE_MS, Timer::Prune);
            self.wake_schedules(now.mono);
        }
    }

    /// Whether joins and leaves are told: not for a while after the start, when all come back.
    pub(super) fn announces(&self) -> bool {
        let start = self.started.unwrap_or_default();
        !self.stopping && self.now.mono >= start.saturating_add(self.silent_ms)
    }

    pub(super) fn tick(&mut self) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > self.now.mono {
                break;
            }
            let timer = entry.remove();
            self.fire(timer);
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Lease(mesh, presence) => self.lease_over(&mesh, presence),
            Timer::Working(conn) => self.working_over(conn),
            Timer::Window(conn) => self.watch_window(conn),
            Timer::Slow(conn) => self.watch_slow(conn),
            Timer::Fill(conn) => self.fill(conn),
            Timer::MeshIdle(mesh) => self.drop_mesh(&mesh),
            Timer::Expire => self.expire(),
            Timer::Prune => {
                if self.steady.is_steady(self.now.mono) && !self.stopping {
                    let (now, limit) = (self.now.wall, PRUNE_STEP);
                    self.writer
                        .push(vec![Op::Prune { now, limit }], Then::Nothing);
                }
                self.at(self.now.mono + PRUNE_MS, Timer::Prune);
            }
            Timer::Again => {
                for unit in std::mem::take(&mut self.again) {
                    self.writer.push(unit.ops, unit.then);
                }
            }
            Timer::Schedules => self.look_for_due(),
            Timer::Stop => self.stop_now(),
        }
    }

    fn expire(&mut self) {
        if !self.expiring && !self.stopping && self.steady.is_steady(self.now.mono) {
            self.expiring = true;
            let (now, limit) = (self.now.wall, EXPIRE_STEP);
            self.writer
                .push(vec![Op::Expire { now, limit }], Then::Expired);
        }
        self.at(self.now.mono + EXPIRE_MS, Timer::Expire);
    }

    fn drop_mesh(&mut self, id: &Arc<MeshId>) {
        let now = self.now.mono;
        let Some(mesh) = self.mesh_mut(id) else {
            return;
        };
        mesh.idle_watched = false;
        if !mesh.is_idle() {
            // Set again when the last one leaves.
            return;
        }
        let due = mesh.idle_since.saturating_add(MESH_IDLE_MS);
        if due <= now {
            self.meshes.remove(&**id);
        } else {
            mesh.idle_watched = true;
            self.at(due, Timer::MeshIdle(Arc::clone(id)));
        }
    }

    pub(super) fn unwritten(&mut self, id: ConnId, bytes: usize) {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if bytes > FAR_BEHIND_BYTES {
            self.close(id, CloseCode::OVERLOAD, reason::SLOW_CONSUMER);
            return;
        }
        let (before, slow) = (conn.unwritten, conn.unwritten > SLOW_BYTES);
        conn.unwritten = bytes;
        if bytes < before || !slow {
            conn.progress_at = now;
        }
        if bytes > SLOW_BYTES && !slow && !conn.slow_watched {
            conn.slow_watched = true;
            self.at(now + self.limits.slow_ms, Timer::Slow(id));
        } else if slow && bytes <= SLOW_BYTES {
            self.fill(id);
        }
    }

    fn watch_slow(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.slow_watched = false;
        if conn.unwritten <= SLOW_BYTES {
            return;
        }
        conn.slow_watched = true;
        let due = conn.progress_at + self.limits.slow_ms;
        if due <= self.now.mono {
            self.close(id, CloseCode::OVERLOAD, reason::SLOW_CONSUMER);
        } else {
            self.at(due, Timer::Slow(id));
        }
    }

    /// Looks at what a connection has not acked. A durable peer must ack in time; what a peer got
    /// that never acks is settled once it was surely there.
    fn watch_window(&mut self, id: ConnId) {
        let now = self.now.mono;
        let ack_ms = self.limits.ack_ms;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.watched = false;
        let must_ack = conn.modern && conn.durable;
        let assumed = !conn.modern && !conn.acks_itself;
        if must_ack {
            let late = conn
                .window
                .values()
                .any(|pushed| pushed.at.saturating_add(ack_ms) <= now);
            if late {
                self.close(id, CloseCode::POLICY, reason::ACK_TIMEOUT);
                return;
            }
        } else if assumed {
            let pong = conn.pong_at;
            let got = |at: u64| at.saturating_add(ASSUME_MS) <= now && pong > at;
            let keys: Vec<_> = conn
                .window
                .iter()
                .filter(|(_, pushed)| got(pushed.at))
                .map(|(key, _)| *key)
                .collect();
            for key in keys {
                self.settle(id, key);
            }
            self.fill(id);
        }
        self.watch(id);
    }

    /// Sets the timer that looks after a window, if one is needed and none is set.
    pub(super) fn watch(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let after = match (conn.modern, conn.durable, conn.acks_itself) {
            (true, true, _) => self.limits.ack_ms,
            (false, _, false) => ASSUME_MS,
            _ => return,
        };
        if conn.watched {
            return;
        }
        let Some(oldest) = conn.window.values().map(|pushed| pushed.at).min() else {
            return;
        };
        conn.watched = true;
        // Not before a moment from now: a pong may still be missing.
        let due = oldest
            .saturating_add(after)
            .max(self.now.mono.saturating_add(1_000));
        let due = if conn.modern {
            oldest.saturating_add(after)
        } else {
            due
        };
        self.at(due, Timer::Window(id));
    }

    /// Tries operations once more in a while, after the store failed. What does not fit is left
    /// to the next connection or the next start.
    pub(super) fn try_again(&mut self, delivery: Delivery, then: Then) {
        if self.again.len() >= 65_536 {
            return;
        }
        if self.again.is_empty() {
            self.at(self.now.mono + AGAIN_MS, Timer::Again);
        }
        self.again.push_back(super::writer::Unit {
            ops: vec![Op::Settle(delivery)],
            then,
        });
    }

    pub(super) fn shutdown(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        for conn in std::mem::take(&mut self.parked).into_keys() {
            self.outs.push_back(Out::Close {
                conn,
                code: CloseCode::GOING_AWAY,
                reason: reason::SHUTTING_DOWN.to_owned(),
            });
        }
        self.at(self.now.mono + STOP_MS, Timer::Stop);
    }

    /// Once nothing is under way, everyone is closed.
    pub(super) fn stop_if_done(&mut self) {
        if self.stopping && self.writer.is_idle() {
            self.stop_now();
        }
    }

    fn stop_now(&mut self) {
        for conn in std::mem::take(&mut self.conns).into_keys() {
            self.outs.push_back(Out::Close {
                conn,
                code: CloseCode::GOING_AWAY,
                reason: reason::SHUTTING_DOWN.to_owned(),
            });
        }
        self.meshes
            .retain(|_, slot| matches!(slot, Slot::Loading(_)));
    }
}
