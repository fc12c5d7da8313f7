//! After the push: acks settle, `fetch` opens the gate of low messages, `outcomes` tells.

use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{
    ClientAck, ErrorFrame, Fetch, Outcome as Told, OutcomeState, Outcomes, OutcomesResult,
    errors::code,
};

use super::Router;
use super::load::Asked;
use super::text::shown;
use super::types::ConnId;
use super::writer::Then;
use crate::message_id::seq_of;
use crate::store::{Delivery, Op, Query, SendOutcome};

/// Low messages that may be asked for by number.
const FETCH_MAX: u32 = 10_000;
/// Questions about outcomes of one connection at a time.
pub(super) const ASKING_MAX: usize = 16;

/// Questions of one connection at once, and a second.
pub(super) const QUESTIONS_BURST: u64 = 100;
const QUESTIONS_PER_S: u64 = 20;

impl Router {
    /// Whether a connection may ask again; if not, it is told when. Answers may be a thousand
    /// times as long as their questions.
    pub(super) fn may_ask(&mut self, id: ConnId, req_id: Option<&String>) -> bool {
        let now = self.now.mono;
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        let taken = conn
            .questions
            .take(now, QUESTIONS_BURST, QUESTIONS_PER_S, 1_000);
        let Err(wait) = taken else { return true };
        let why =
            format!("rate_limit: max {QUESTIONS_PER_S} questions/s (burst {QUESTIONS_BURST})");
        let mut error = ErrorFrame::new(code::RATE_LIMIT, why);
        error.req_id = req_id.cloned();
        error.retry_after_ms = Some(wait);
        error.limit = Some(QUESTIONS_PER_S);
        self.reply(id, error);
        false
    }

    /// Settles what a connection acks, if it was pushed to this connection; anything else does
    /// nothing.
    pub(super) fn client_ack(&mut self, id: ConnId, ack: &ClientAck) {
        let many = ack.broker_message_ids.iter().flatten();
        let mut keys: Vec<(u64, u8)> = Vec::new();
        for text in many.chain(&ack.broker_message_id) {
            keys.extend(self.pushed_as(id, text));
        }
        if keys.is_empty()
            && let Some(client_id) = ack.client_message_id.as_deref()
            && let Some(conn) = self.conns.get(&id)
        {
            let oldest = conn
                .window
                .iter()
                .find(|(_, pushed)| pushed.client_id.as_deref() == Some(client_id))
                .map(|(key, _)| *key);
            // Some clients put the broker's id here when there is no other.
            keys.extend(oldest.or_else(|| self.pushed_as(id, client_id)));
        }
        if keys.is_empty() {
            return;
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.acks_itself = true;
        }
        for key in keys {
            self.settle(id, key);
        }
        self.fill(id);
    }

    /// The unsettled push to a connection that a message id names.
    fn pushed_as(&self, id: ConnId, text: &str) -> Option<(u64, u8)> {
        let conn = self.conns.get(&id)?;
        let seq = seq_of(text)?;
        let (key, pushed) = conn.window.range((seq, 0)..=(seq, u8::MAX)).next()?;
        self.ids.check(text, &pushed.sender)?;
        Some(*key)
    }

    /// Settles a push to a connection.
    pub(super) fn settle(&mut self, id: ConnId, key: (u64, u8)) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Some(pushed) = conn.window.remove(&key) else {
            return;
        };
        let Some(drain) = conn.drains.get(usize::from(key.1)) else {
            return;
        };
        let delivery = Delivery {
            mesh: MeshId::clone(&conn.mesh),
            address: drain.address,
            class: pushed.class,
            seq: key.0,
        };
        let then = Then::Settled {
            delivery: delivery.clone(),
            client_id: pushed.client_id,
        };
        self.writer.push(vec![Op::Settle(delivery)], then);
    }

    pub(super) fn fetch(&mut self, id: ConnId, ask: &Fetch) {
        if ask.priority != "low" {
            let why = "only messages of priority low wait for a fetch";
            self.error(id, code::INVALID_ARGUMENT, why, None);
            return;
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        match ask.max {
            Some(max) => conn.low_budget = conn.low_budget.saturating_add(max).min(FETCH_MAX),
            None => conn.low_standing = true,
        }
        self.fill(id);
    }

    pub(super) fn outcomes(&mut self, id: ConnId, ask: Outcomes) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.asking >= ASKING_MAX {
            let why = "too many questions at a time; wait for their answers";
            self.error(id, code::BUSY, why, ask.req_id);
            return;
        }
        conn.asking += 1;
        let sender = conn.member;
        let mut seqs = Vec::new();
        let ids: Vec<(String, bool)> = ask
            .message_ids
            .into_iter()
            .map(|text| {
                let seq = self.ids.check(&text, &sender);
                seqs.extend(seq);
                (shown(&text, 64), seq.is_some())
            })
            .collect();
        let asked = Asked::Outcomes {
            conn: id,
            ids,
            req_id: ask.req_id,
        };
        self.load(Query::Outcomes { sender, seqs }, asked);
    }

    pub(super) fn outcomes_loaded(
        &mut self,
        id: ConnId,
        ids: Vec<(String, bool)>,
        req_id: Option<String>,
        rows: Option<Vec<SendOutcome>>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.asking = conn.asking.saturating_sub(1);
        let Some(rows) = rows else {
            let why = "the broker cannot read its store now; try again in a moment";
            self.error(id, "store_unavailable", why, req_id);
            return;
        };
        let mut rows = rows.into_iter();
        let outcomes = ids
            .into_iter()
            .map(|(message_id, own)| {
                let row = if own { rows.next() } else { None };
                let (state, reason) = match row {
                    Some(SendOutcome::Queued) => (OutcomeState::Queued, None),
                    Some(SendOutcome::Delivered) => (OutcomeState::Delivered, None),
                    Some(SendOutcome::Failed(why)) => (OutcomeState::Failed, Some(why)),
                    Some(SendOutcome::Unknown) | None => (OutcomeState::Unknown, None),
                };
                Told {
                    message_id,
                    state,
                    reason,
                }
            })
            .collect();
        self.reply(id, OutcomesResult { outcomes, req_id });
    }
}
