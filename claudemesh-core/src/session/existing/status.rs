//! What became of a message to one peer: the existing broker says so only if it is asked.

use std::collections::HashMap;

use super::frames;
use crate::id::MessageId;
use crate::session::requests::Asked;
use crate::session::{Out, Session};
use crate::sorted::sorted;
use crate::store::{OutboxRow, SendState};

/// Milliseconds until it is asked the first time; each further pause is twice as long.
const FIRST_MS: u64 = 1_000;
/// Milliseconds of the longest pause.
const MAX_MS: u64 = 60_000;
/// Messages that are asked about on one connection, at the same time; the rest on a later one.
const MAX_POLLED: usize = 1_024;
/// Questions without an answer at most.
const MAX_ASKED: usize = 8;

struct Poll {
    id: MessageId,
    tries: u32,
    /// When it is asked next, in ms of the clock; none: it is being asked.
    at: Option<u64>,
}

/// Messages that were accepted and whose recipient has not taken them, by the broker's id.
#[derive(Default)]
pub(super) struct Polls {
    all: HashMap<String, Poll>,
}

impl Polls {
    pub(super) fn connection_closed(&mut self) {
        self.all.clear();
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        (self.asked() < MAX_ASKED)
            .then(|| self.all.values().filter_map(|poll| poll.at).min())
            .flatten()
    }

    fn asked(&self) -> usize {
        self.all.values().filter(|poll| poll.at.is_none()).count()
    }
}

impl Session {
    /// A message to one peer was accepted: whether it has arrived is asked from now on.
    pub(in crate::session) fn poll_status(&mut self, broker_id: &str, id: &MessageId) {
        let polls = &mut self.existing.polls.all;
        let known = polls.contains_key(broker_id);
        if broker_id.is_empty() || known || polls.len() >= MAX_POLLED {
            return;
        }
        let poll = Poll {
            id: id.clone(),
            tries: 0,
            at: Some(self.now.mono + FIRST_MS),
        };
        polls.insert(broker_id.to_owned(), poll);
    }

    /// As [`Self::poll_status`], for what was accepted on an earlier connection.
    /// Whether there is room for more.
    pub(in crate::session) fn poll_rows(&mut self, rows: &[OutboxRow]) -> bool {
        for row in rows {
            if let (Some(_), Some(id)) = (row.message.to.peer(), &row.broker_id) {
                self.poll_status(id, &row.message.id);
            }
        }
        self.existing.polls.all.len() < MAX_POLLED
    }

    pub(super) fn tick_status(&mut self) {
        let mono = self.now.mono;
        let polls = &mut self.existing.polls;
        let room = MAX_ASKED.saturating_sub(polls.asked());
        let due: Vec<(u64, String)> = (polls.all.iter())
            .filter_map(|(id, poll)| Some((poll.at.filter(|at| mono >= *at)?, id.clone())))
            .collect();
        for (_, broker_id) in sorted(due).into_iter().take(room) {
            if let Some(poll) = self.existing.polls.all.get_mut(&broker_id) {
                poll.at = None;
            }
            let req_id = self.ask(Asked::Status(broker_id.clone()));
            let frame = frames::message_status(&broker_id, &req_id);
            self.out.push_back(Out::Transmit(frame.encode()));
        }
    }

    pub(super) fn status_told(&mut self, broker_id: String, delivered: bool) {
        if !delivered {
            return self.status_failed(&broker_id, false);
        }
        self.outbox.accepted.remove(&broker_id);
        if let Some(poll) = self.existing.polls.all.remove(&broker_id) {
            self.finish(vec![(poll.id, SendState::Delivered, None)]);
        }
    }

    /// It has not arrived, or that is not known; asked again later, unless the broker has it no
    /// more.
    pub(in crate::session) fn status_failed(&mut self, broker_id: &str, gone: bool) {
        let mono = self.now.mono;
        let polls = &mut self.existing.polls.all;
        if gone {
            polls.remove(broker_id);
        } else if let Some(poll) = polls.get_mut(broker_id) {
            poll.tries = poll.tries.saturating_add(1);
            poll.at = Some(mono + (FIRST_MS << poll.tries.min(6)).min(MAX_MS));
        }
    }
}
