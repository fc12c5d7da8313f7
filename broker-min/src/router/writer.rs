//! What is to be committed, gathered into batches.

use std::collections::VecDeque;
use std::sync::Arc;

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::membership::SignedEntry;

use super::keys::Publishing;
use super::send::Sent;
use super::values::Wrote;
use crate::store::{ChannelOp, Delivery, MemberRow, Op};

/// Operations in one batch at most.
const BATCH_OPS: usize = 512;
/// Bytes of message texts in one batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// With so many operations waiting, a second batch goes out behind the first.
const SECOND_AT: usize = 128;

/// What is done when operations came back.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// A send is answered.
    Sent(Box<Sent>),
    /// Something is kept besides messages.
    Value(Box<Wrote>),
    /// A delivery is settled.
    Settled {
        delivery: Delivery,
        client_id: Option<Arc<str>>,
    },
    /// What expired is told.
    Expired,
    /// What waited for an address that is gone is told, and the rest is failed.
    Failed {
        mesh: Arc<MeshId>,
        address: PublicKey,
    },
    /// The pending log entry of a mesh is in its log.
    Appended(Arc<MeshId>),
    /// A mesh was made.
    Created {
        request: u64,
        entry: Box<SignedEntry>,
        member: String,
    },
    /// A member without a log entry was put in.
    Put {
        request: u64,
        row: Box<MemberRow>,
        token: String,
    },
    /// Something of a channel.
    Channel(Box<ThenChannel>),
}

/// What is done when a channel's operation came back.
#[derive(Debug)]
pub(super) enum ThenChannel {
    /// The pending entry of a channel is in its log.
    Appended {
        mesh: Arc<MeshId>,
        channel: ChannelName,
    },
    /// A channel's key was made.
    Published(Publishing),
}

/// Operations that belong together, and what follows.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) ops: Vec<Op>,
    pub(super) then: Then,
}

/// Batches under way, and what waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Writer {
    waiting: VecDeque<Unit>,
    ops: usize,
    flying: VecDeque<(u64, Vec<(usize, Then)>)>,
    next: u64,
}

impl Writer {
    /// Adds operations.
    pub(super) fn push(&mut self, ops: Vec<Op>, then: Then) {
        self.ops += ops.len();
        self.waiting.push_back(Unit { ops, then });
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }

    /// The next batch, if one may go out. While one is under way the next one gathers, so one
    /// fsync serves all that came meanwhile.
    pub(super) fn take(&mut self) -> Option<(u64, Vec<Op>)> {
        let may = match self.flying.len() {
            0 => !self.waiting.is_empty(),
            1 => self.ops >= SECOND_AT,
            _ => false,
        };
        if !may {
            return None;
        }
        let (mut ops, mut thens, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(unit) = self.waiting.front() {
            let size: usize = unit.ops.iter().map(size_of).sum();
            let full = ops.len() + unit.ops.len() > BATCH_OPS || bytes + size > BATCH_BYTES;
            if full && !ops.is_empty() {
                break;
            }
            let Some(unit) = self.waiting.pop_front() else {
                break;
            };
            bytes += size;
            self.ops -= unit.ops.len();
            thens.push((unit.ops.len(), unit.then));
            ops.extend(unit.ops);
        }
        let batch = self.next;
        self.next += 1;
        self.flying.push_back((batch, thens));
        Some((batch, ops))
    }

    /// What follows a batch that came back.
    pub(super) fn back(&mut self, batch: u64) -> Option<Vec<(usize, Then)>> {
        if self.flying.front()?.0 != batch {
            return None;
        }
        self.flying.pop_front().map(|(_, thens)| thens)
    }
}

fn size_of(op: &Op) -> usize {
    match op {
        Op::Accept(accept) => accept.tail.len(),
        Op::Channel(ChannelOp::PutKey { copies, .. }) => copies.len() * 80,
        Op::Value(op) => op.size(),
        _ => 0,
    }
}
