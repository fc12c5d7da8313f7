//! What the broker says about messages that were sent: acks, receipts, outcomes.

use super::requests::Asked;
use super::{Event, LoadWork, Reply, Session, StoreWork, clean};
use crate::id::{MessageId, Target};
use crate::store::{OutboxRow, Outcome, PeerOp, Query, Rows, SendState, StoreError};
use crate::wire::{
    Ack, OutcomeState, Outcomes, OutcomesResult, Receipt, ReceiptState, errors::code,
};

/// Accepted messages whose broker ids are kept in memory.
const MAX_ACCEPTED: usize = 8_192;
/// Receipts that are kept until the ack of their message comes.
const MAX_EARLY: usize = 1_024;
/// Rows of one question about outcomes.
const OUTCOMES: u32 = 256;
/// Bytes of a broker's message id; what is longer is none.
const MAX_BROKER_ID: usize = 128;
/// Characters of a reason that are kept.
const MAX_REASON: usize = 256;
/// Milliseconds of the longest pause before a held recipient is tried again.
const MAX_HOLD_MS: u64 = 60_000;

/// Which accepted messages are asked about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asking {
    /// Those after this place.
    pub(super) after: u64,
    /// How far they are is told, too: it may have been missed.
    pub(super) tell: bool,
}

impl Session {
    /// The answer to a send, or to another request that is answered in this form.
    pub(super) fn ack(&mut self, ack: &Ack) {
        match self.requests.take(ack.req_id.as_deref()) {
            Some(Asked::Forget(command)) => self.done(command, Ok(Reply::Done)),
            _ => self.acks(std::slice::from_ref(ack)),
        }
    }

    pub(super) fn acks(&mut self, acks: &[Ack]) {
        let (mut ops, mut events, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for ack in acks {
            let id = ack.client_message_id.as_deref().unwrap_or(&ack.id);
            let Ok(id) = MessageId::new(id) else { continue };
            if ack.queued && ack.message_id.len() > MAX_BROKER_ID {
                continue;
            }
            if self.online_ack(&id, ack) {
                continue;
            }
            let Some(sent) = self.outbox.answer(&id) else {
                self.tell_answered(&id, ack);
                continue;
            };
            if ack.queued {
                self.outbox.refusals.remove(&sent.to);
                if let Some(name) = sent.to.channel() {
                    self.channel_works(name);
                }
                self.know_accepted(&ack.message_id, &id);
                let told = self.existing_accepted(&sent, ack, &id);
                if ack.duplicate == Some(true) {
                    // It may have come to its end while nobody was there to be told.
                    self.outbox.doubtful.push(ack.message_id.clone());
                }
                ops.push(PeerOp::Accepted {
                    id: id.clone(),
                    broker_id: ack.message_id.clone(),
                });
                if let Some(receipt) = self.outbox.early.remove(&ack.message_id) {
                    ends.push(end_of(id.clone(), &receipt));
                }
                events.push(Event::Sent {
                    id,
                    state: SendState::Accepted,
                    reason: None,
                    recipients: ack.recipients.or(told),
                });
                continue;
            }
            let stale = ack.code.as_deref() == Some(code::STALE_EPOCH);
            if stale && let Some(message) = sent.message.filter(|m| m.expires_at > self.now.wall) {
                self.stale(&message);
                continue;
            }
            let lost = self.lost_at(&sent.to, ack.code.as_deref());
            let reason = if !is_retryable(ack) && !lost {
                refusal(ack)
            } else if sent.expires_at > self.now.wall {
                self.hold(sent.to, ack);
                continue;
            } else {
                // Refused, so nobody has it: it may end here. A broker that knows no expiry would
                // have it tried for ever.
                "expired".to_owned()
            };
            let (op, event) = self.ending(id, SendState::Failed, Some(reason));
            ops.push(op);
            events.push(event);
        }
        if !ops.is_empty() {
            self.store(ops, StoreWork::AnswerSaved(events));
        }
        self.finish(ends);
        self.ask_doubtful();
    }

    /// Asks about messages that the broker had before, one question at a time.
    fn ask_doubtful(&mut self) {
        let outbox = &mut self.outbox;
        let idle = self.link.is_ready() && !self.requests.asks_outcomes();
        if outbox.doubtful.is_empty() || !idle || !self.link.has_delivery() {
            return;
        }
        let count = outbox.doubtful.len().min(OUTCOMES as usize);
        let message_ids = outbox.doubtful.drain(..count).collect();
        let req_id = Some(self.ask(Asked::Outcomes(None)));
        self.transmit(Outcomes {
            message_ids,
            req_id,
        });
    }

    fn know_accepted(&mut self, broker_id: &str, id: &MessageId) {
        if self.outbox.accepted.len() < MAX_ACCEPTED {
            let broker_id = broker_id.to_owned();
            self.outbox.accepted.insert(broker_id, id.clone());
        }
    }

    /// A recipient for whom the broker takes nothing now: later rows for it wait, others go on.
    fn hold(&mut self, to: Target, ack: &Ack) {
        let asked = ack.retry_after_ms.unwrap_or(0).min(MAX_HOLD_MS);
        if let Some(until) = self.outbox.held.get_mut(&to) {
            // The rest of what was on its way when the first refusal came.
            *until = (*until).max(self.now.mono + asked);
            return;
        }
        let tries = self.outbox.refusals.entry(to.clone()).or_insert(0);
        let pause = (500u64 << (*tries).min(7)).min(MAX_HOLD_MS);
        *tries = tries.saturating_add(1);
        let in_ms = pause.max(asked) + self.rng.below(pause / 4 + 1);
        self.outbox.held.insert(to.clone(), self.now.mono + in_ms);
        let reason = refusal(ack);
        self.event(Event::Held { to, reason, in_ms });
    }

    fn ending(&self, id: MessageId, state: SendState, reason: Option<String>) -> (PeerOp, Event) {
        let op = PeerOp::Final {
            id: id.clone(),
            state,
            reason: reason.clone(),
            at: self.now.wall,
        };
        let event = Event::Sent {
            id,
            state,
            reason,
            recipients: None,
        };
        (op, event)
    }

    pub(super) fn finish(&mut self, ends: Vec<(MessageId, SendState, Option<String>)>) {
        let (ops, events): (Vec<_>, Vec<_>) = (ends.into_iter())
            .map(|(id, state, reason)| self.ending(id, state, reason))
            .unzip();
        if !ops.is_empty() {
            self.store(ops, StoreWork::AnswerSaved(events));
        }
    }

    /// Tells what is kept now. What changed nothing is looked up: another process may have been
    /// faster, and what the store says is what counts.
    pub(super) fn answer_saved(
        &mut self,
        events: Vec<Event>,
        result: Result<Vec<Outcome>, StoreError>,
    ) {
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // The answers are asked for again: by the same sends, whose ids the broker knows,
                // and by the outcomes of what was accepted.
                self.outbox.recover.failed(self.now.mono);
                return self.event(Event::StoreFailed(error));
            }
        };
        if !self.outbox.recover.is_on() {
            self.outbox.recover.worked();
        }
        let mut other = Vec::new();
        for (event, outcome) in events.into_iter().zip(outcomes) {
            match (outcome, event) {
                (Outcome::NotThere, Event::Sent { id, .. }) => other.push(id),
                (_, event) => self.event(event),
            }
        }
        if !other.is_empty() {
            self.load(Query::OutboxById(other), LoadWork::Tell);
        }
    }

    /// Asks once more for every answer that may have been lost on the way into the store.
    pub(super) fn recover(&mut self) {
        self.outbox.rescan();
        self.load_accepted(Asking {
            after: 0,
            tell: true,
        });
    }

    pub(super) fn receipt(&mut self, receipt: &Receipt) {
        let known = self.outbox.accepted.remove(&receipt.message_id);
        let known = known.or_else(|| {
            // An earlier answer may hold back the ack of this message: it may have ended by now.
            let early = &mut self.outbox.early;
            if receipt.client_message_id.is_none() && early.len() < MAX_EARLY {
                early.insert(receipt.message_id.clone(), receipt.clone());
            }
            None
        });
        let named = receipt
            .client_message_id
            .as_deref()
            .and_then(|id| MessageId::new(id).ok());
        // A receipt names a message by the broker's id; the sender's own id is only a help.
        if let Some(id) = known.or(named) {
            self.finish(vec![end_of(id, receipt)]);
        }
    }

    pub(super) fn load_accepted(&mut self, asking: Asking) {
        let query = Query::OutboxAccepted {
            after: asking.after,
            limit: OUTCOMES,
        };
        self.load(query, LoadWork::Accepted(asking));
    }

    /// After a reconnect: what became of what was accepted? One page at a time.
    pub(super) fn accepted_rows(&mut self, asking: Asking, result: Result<Rows, StoreError>) {
        let rows = match result {
            Ok(Rows::Outbox(rows)) => rows,
            Ok(_) => return,
            Err(error) => {
                self.outbox.recover.failed(self.now.mono);
                return self.event(Event::StoreFailed(error));
            }
        };
        if asking.tell {
            self.tell_rows(&rows);
        }
        let existing = self.is_existing();
        if !existing && (!self.link.is_ready() || !self.link.has_delivery()) {
            return;
        }
        let Some(after) = rows.last().map(|row| row.place) else {
            return;
        };
        let full = rows.len() >= OUTCOMES as usize;
        let next = full.then_some(Asking { after, ..asking });
        if existing {
            if let (true, Some(next)) = (self.poll_rows(&rows), next) {
                self.load_accepted(next);
            }
            return;
        }
        let message_ids: Vec<String> = rows.into_iter().filter_map(|row| self.asked(row)).collect();
        let req_id = Some(self.ask(Asked::Outcomes(next)));
        self.transmit(Outcomes {
            message_ids,
            req_id,
        });
    }

    fn asked(&mut self, row: OutboxRow) -> Option<String> {
        let broker_id = row.broker_id?;
        self.know_accepted(&broker_id, &row.message.id);
        Some(broker_id)
    }

    pub(super) fn outcomes_result(&mut self, result: &OutcomesResult) {
        let id = result.req_id.as_deref();
        let Some(Asked::Outcomes(next)) = self.requests.take(id) else {
            return;
        };
        let mut lost = false;
        let mut ends = Vec::new();
        for outcome in &result.outcomes {
            let state = match outcome.state {
                OutcomeState::Queued => continue,
                OutcomeState::Delivered => SendState::Delivered,
                OutcomeState::Failed => SendState::Failed,
                OutcomeState::Unknown => {
                    lost = true;
                    continue;
                }
            };
            if let Some(id) = self.outbox.accepted.remove(&outcome.message_id) {
                ends.push((id, state, told(outcome.reason.as_deref())));
            }
        }
        self.finish(ends);
        if lost {
            self.requeue();
        }
        match next {
            Some(next) => self.load_accepted(next),
            None => self.ask_doubtful(),
        }
    }

    /// The broker was busy, or did not answer: asked again after a while.
    pub(super) fn outcomes_failed(&mut self) {
        if self.link.is_ready() {
            self.outbox.doubtful.clear();
            self.outbox.recover.failed(self.now.mono);
        }
    }

    /// The broker is another one, or was restored from a backup: all that is not final goes again
    /// under its id; what did arrive is known there.
    pub(super) fn requeue(&mut self) {
        self.outbox.accepted.clear();
        self.store(vec![PeerOp::Requeue], StoreWork::Requeued);
    }

    pub(super) fn requeued(&mut self, result: Result<Vec<Outcome>, StoreError>) {
        match result {
            Ok(_) => self.outbox.rescan(),
            Err(error) => {
                // What stayed accepted is unknown to the broker, which says so when asked.
                self.outbox.recover.failed(self.now.mono);
                self.event(Event::StoreFailed(error));
            }
        }
    }
}

/// The end of a message as a receipt tells it.
fn end_of(id: MessageId, receipt: &Receipt) -> (MessageId, SendState, Option<String>) {
    match receipt.state {
        ReceiptState::Delivered => (id, SendState::Delivered, None),
        ReceiptState::Failed => (id, SendState::Failed, told(receipt.reason.as_deref())),
    }
}

/// Whether the same send may be taken later.
fn is_retryable(ack: &Ack) -> bool {
    let retryable = [
        code::RATE_LIMIT,
        code::QUEUE_FULL,
        code::BUSY,
        code::STORE_UNAVAILABLE,
    ];
    match ack.code.as_deref() {
        Some(code) => retryable.contains(&code),
        // A broker that names no code: its texts are known.
        None => ack
            .error
            .as_deref()
            .is_some_and(|e| e.starts_with("rate_limit") || e.starts_with("no connected peer")),
    }
}

fn refusal(ack: &Ack) -> String {
    let text = ack.error.as_deref().or(ack.code.as_deref());
    clean(text.unwrap_or("refused"), MAX_REASON)
}

fn told(reason: Option<&str>) -> Option<String> {
    reason.map(|reason| clean(reason, MAX_REASON))
}
