//! A connection: who it is, what it may be sent, what it has not answered yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use claudemesh_core::audit::Place;
use claudemesh_core::id::{MemberId, MeshId, Priority, PublicKey, Status};
use claudemesh_core::wire::Ack;

use super::bucket::Bucket;
use super::clock::TimerKey;
use super::staging::Staged;
use super::types::{Address, ConnId};

/// Bytes waiting for a socket above which no message is added.
pub(super) const SLOW_BYTES: usize = 1 << 20;
/// Bytes waiting for a socket above which hints are dropped.
pub(super) const HINT_BYTES: usize = 256 << 10;

/// A place in a mailbox's class up to which a connection was sent everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    /// Everything up to here was sent, or is not for this connection.
    pub(super) after: u64,
    /// There may be rows after it.
    pub(super) behind: bool,
    /// A row came while a page was asked for: the page may lack it.
    pub(super) overtaken: bool,
}

/// A mailbox that a connection drains.
#[derive(Debug)]
pub(super) struct Drain {
    /// Its address.
    pub(super) address: PublicKey,
    /// Its key was proven; if not, only what is sealed in no form of ours is handed over.
    pub(super) proven: bool,
    /// Per class.
    pub(super) classes: [Cursor; 3],
}

impl Drain {
    /// A mailbox from which everything after `after` is to be sent.
    pub(super) fn new(address: PublicKey, after: u64, proven: bool) -> Self {
        let cursor = Cursor {
            after,
            behind: true,
            overtaken: false,
        };
        Self {
            address,
            proven,
            classes: [cursor; 3],
        }
    }

    pub(super) fn cursor(&mut self, class: Priority) -> &mut Cursor {
        let [now, next, low] = &mut self.classes;
        match class {
            Priority::Now => now,
            Priority::Next => next,
            Priority::Low => low,
        }
    }

    pub(super) fn is_behind(&self, class: Priority) -> bool {
        let [now, next, low] = &self.classes;
        match class {
            Priority::Now => now.behind,
            Priority::Next => next.behind,
            Priority::Low => low.behind,
        }
    }
}

/// A message that was sent to a connection and is not acked by it.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) class: Priority,
    pub(super) sender: PublicKey,
    pub(super) client_id: Option<Arc<str>>,
    /// When, ms of the monotonic clock.
    pub(super) at: u64,
}

/// A connection after its hello.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) mesh: Arc<MeshId>,
    pub(super) member: PublicKey,
    pub(super) member_id: MemberId,
    /// The name it shows.
    pub(super) name: String,
    /// The session key, if it has one.
    pub(super) session: Option<PublicKey>,
    /// Where that is reached, as it said.
    pub(super) address: Option<Arc<Address>>,
    /// Its presence in the mesh, if it has one.
    pub(super) presence: Option<u64>,
    /// Speaks delivery/1.
    pub(super) modern: bool,
    /// Speaks envelope/1.
    pub(super) envelope: bool,
    /// Speaks log/1.
    pub(super) log: bool,
    /// Speaks channels/1.
    pub(super) channels: bool,
    /// Copies of a key that it is about to publish.
    pub(super) staged: Option<Staged>,
    /// Speaks values/1.
    pub(super) values: bool,
    /// Where its mesh's audit chain ends, once that is loaded.
    pub(super) audit: Option<Place>,
    /// The program, as it calls itself.
    pub(super) channel: Option<String>,
    /// Streams that it gets.
    pub(super) streams: BTreeSet<String>,
    /// Schedules that were handed to it and not taken, by id.
    pub(super) handed: Vec<String>,
    /// Keeps what it is given.
    pub(super) durable: bool,
    /// Takes messages and hints.
    pub(super) receive: bool,
    pub(super) status: Status,
    /// The timer after which `working` lapses.
    pub(super) working: Option<TimerKey>,
    /// Low messages are sent whenever it is idle.
    pub(super) low_standing: bool,
    /// So many low messages were asked for.
    pub(super) low_budget: u32,
    pub(super) drains: Vec<Drain>,
    /// What is sent and not acked, by seq and mailbox.
    pub(super) window: BTreeMap<(u64, u8), Pushed>,
    /// A timer looks after the window.
    pub(super) watched: bool,
    /// The load that is under way, if one is.
    pub(super) load: Option<u64>,
    /// It waits for a load slot.
    pub(super) hungry: bool,
    /// Counts that `hello_ack` waits for; messages flow when there is none left.
    pub(super) counts_left: usize,
    pub(super) waiting_rows: [u64; 3],
    /// Questions about outcomes that are under way.
    pub(super) asking: usize,
    pub(super) told_caught_up: bool,
    /// It has acked something: its acks are what settles.
    pub(super) acks_itself: bool,
    pub(super) pong_at: u64,
    /// Bytes waiting for its socket, and since when there was no progress.
    pub(super) unwritten: usize,
    /// Bytes of online-only messages that it was handed in a turn: its socket has not reported
    /// those of the turn that is under way.
    pub(super) online_bytes: (u64, usize),
    pub(super) progress_at: u64,
    /// A timer looks whether it is slow.
    pub(super) slow_watched: bool,
    /// What it may ask.
    pub(super) questions: Bucket,
    /// It came by `session_hello`.
    pub(super) session_form: bool,
    /// Sends in order; answered ones at the front are told.
    pub(super) sends: VecDeque<Option<Ack>>,
    /// The number of the first of `sends`.
    pub(super) first_send: u64,
    pub(super) reading: bool,
}

impl Conn {
    /// The key it is addressed by.
    pub(super) fn routing_key(&self) -> PublicKey {
        self.session.unwrap_or(self.member)
    }

    /// Whether messages of a class are sent to it now.
    pub(super) fn open(&self, class: Priority) -> bool {
        let idle = self.status == Status::Idle;
        match class {
            Priority::Now => true,
            Priority::Next => idle,
            Priority::Low => self.low_at_will() || self.low_budget > 0,
        }
    }

    /// Whether low messages are sent without being counted.
    pub(super) fn low_at_will(&self) -> bool {
        self.status == Status::Idle && (!self.modern || self.low_standing)
    }

    /// How many more messages it may be sent.
    pub(super) fn room(&self, window: usize) -> usize {
        if self.counts_left > 0 || self.unwritten > SLOW_BYTES {
            return 0;
        }
        window.saturating_sub(self.window.len())
    }

    /// Bytes of online-only messages that it was handed in the turn that is under way.
    pub(super) fn online_in(&self, turn: u64) -> usize {
        let (at, bytes) = self.online_bytes;
        if at == turn { bytes } else { 0 }
    }

    /// Notes the answer of the send numbered `number`.
    pub(super) fn answer(&mut self, number: u64, ack: Ack) {
        let place = number
            .checked_sub(self.first_send)
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.sends.get_mut(place));
        if let Some(slot) = place {
            *slot = Some(ack);
        }
    }

    /// Takes the answers that are next in order.
    pub(super) fn take_answers(&mut self) -> Vec<Ack> {
        let mut answers = Vec::new();
        while let Some(slot) = self.sends.front_mut() {
            let Some(ack) = slot.take() else { break };
            answers.push(ack);
            self.sends.pop_front();
            self.first_send += 1;
        }
        answers
    }
}
