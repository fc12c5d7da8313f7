//! Writes that must be kept in the end, and when a store that failed is tried again.

use super::{Event, Session, StoreWork};
use crate::store::{Outcome, PeerOp, StoreError};

/// Milliseconds of the first pause after a failure.
const PAUSE_MS: u64 = 1_000;
/// Doublings of it at most: 32 s.
const DOUBLINGS: u32 = 5;

/// A pause after a failure, longer each time.
#[derive(Default)]
pub(super) struct Pause {
    until: Option<u64>,
    failures: u32,
}

impl Pause {
    pub(super) fn failed(&mut self, mono: u64) {
        self.until = Some(mono + (PAUSE_MS << self.failures.min(DOUBLINGS)));
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    pub(super) const fn until(&self) -> Option<u64> {
        self.until
    }

    pub(super) const fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Whether the pause is over just now; true once.
    pub(super) fn over(&mut self, mono: u64) -> bool {
        self.until.take_if(|until| mono >= *until).is_some()
    }
}

/// Operations that failed, in order.
#[derive(Default)]
pub(super) struct Keep {
    later: Vec<PeerOp>,
    pause: Pause,
}

impl Keep {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.pause.until()
    }
}

impl Session {
    /// Stores what nobody waits for and what must not be lost as long as the process lives: pins
    /// and the log, whose entries the store takes in order only.
    pub(super) fn keep(&mut self, ops: Vec<PeerOp>) {
        if self.keep.later.is_empty() {
            self.store(ops.clone(), StoreWork::Kept(ops));
        } else {
            self.keep.later.extend(ops);
        }
    }

    pub(super) fn kept(&mut self, ops: Vec<PeerOp>, result: Result<Vec<Outcome>, StoreError>) {
        let missing: Vec<PeerOp> = match result {
            Ok(outcomes) => (ops.into_iter().zip(outcomes))
                .filter(|(_, outcome)| *outcome == Outcome::NotThere)
                .map(|(op, _)| op)
                .collect(),
            Err(error) => {
                self.event(Event::StoreFailed(error));
                ops
            }
        };
        if missing.is_empty() {
            if self.keep.later.is_empty() {
                self.keep.pause.worked();
            }
        } else {
            self.keep.later.extend(missing);
            if !self.keep.pause.is_on() {
                self.keep.pause.failed(self.now.mono);
            }
        }
    }

    pub(super) fn tick_keep(&mut self) {
        if self.keep.pause.over(self.now.mono) {
            let ops = std::mem::take(&mut self.keep.later);
            if !ops.is_empty() {
                self.store(ops.clone(), StoreWork::Kept(ops));
            }
        }
    }
}
