//! Sending: seal once, store, transmit in order, follow up until the fate is known.

use std::collections::HashMap;

use super::requests::Asked;
use super::{CommandId, Event, LoadWork, Outgoing, Reply, Session, SessionError, StoreWork};
use crate::id::{MessageId, PublicKey};
use crate::message::{Content, FORM, MessageError, seal_direct};
use crate::store::{NewOutbox, OutboxRow, Outcome, PeerOp, Query, Rows, SendState, StoreError};
use crate::wire::{
    Ack, ClientFrame, MAX_FRAME, OutcomeState, Outcomes, OutcomesResult, Receipt, ReceiptState,
    Send, errors::code,
};

/// Sends that wait for their ack at most; the rest waits in the store.
const MAX_UNANSWERED: usize = 256;
/// Rows of one page from the store.
const PAGE: usize = 128;
/// Accepted messages whose broker ids are kept in memory.
const MAX_ACCEPTED: usize = 8_192;
/// Milliseconds after which a send without an answer makes the connection suspect.
const ANSWER_MS: u64 = 30_000;
/// Milliseconds for which a message waits by default: 7 days.
const EXPIRES_MS: u64 = 7 * 86_400_000;
/// Milliseconds for which a message may wait: 30 days.
const MAX_EXPIRES_MS: u64 = 30 * 86_400_000;
/// Milliseconds of the longest pause before a held recipient is tried again.
const MAX_HOLD_MS: u64 = 60_000;

/// A message that is being written to the store.
pub(super) struct Enqueued {
    command: CommandId,
    row: NewOutbox,
    /// The connection on which it was to be transmitted at once.
    connection: u64,
}

/// Rows that are being marked as sent.
pub(super) struct Page {
    rows: Vec<OutboxRow>,
    connection: u64,
}

struct Unanswered {
    to: PublicKey,
    since: u64,
}

/// What is under way from the outbox.
#[derive(Default)]
pub(super) struct Outbox {
    /// Counts connections: what was stored for an earlier one is not transmitted on a later one.
    connection: u64,
    unanswered: HashMap<MessageId, Unanswered>,
    /// The last place that was read for this connection.
    cursor: u64,
    /// There may be rows after the cursor.
    behind: bool,
    loading: bool,
    marking: bool,
    enqueuing: usize,
    /// Recipients for whom the broker took nothing, until when in ms of the clock.
    held: HashMap<PublicKey, u64>,
    /// How often in a row that was so.
    refusals: HashMap<PublicKey, u32>,
    accepted: HashMap<String, MessageId>,
}

impl Outbox {
    pub(super) fn connection_opened(&mut self) {
        self.connection += 1;
        self.rescan();
    }

    pub(super) fn connection_closed(&mut self) {
        self.connection += 1;
        self.unanswered.clear();
        self.held.clear();
        self.refusals.clear();
        self.behind = true;
    }

    /// Reads the lane again from its start; what is under way is left out.
    pub(super) fn rescan(&mut self) {
        self.cursor = 0;
        self.behind = true;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
            && !self.loading
            && !self.marking
            && self.enqueuing == 0
            && !self.behind
            && self.held.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let answers = self.unanswered.values().map(|sent| sent.since + ANSWER_MS);
        self.held.values().copied().chain(answers).min()
    }
}

impl Session {
    pub(super) fn send(&mut self, command: CommandId, message: &Outgoing) {
        match self.seal(message) {
            Ok(mut row) => {
                let outbox = &mut self.outbox;
                // Only what would be next in line goes out right away.
                row.sent = self.link.is_ready()
                    && !outbox.behind
                    && !outbox.loading
                    && !outbox.marking
                    && !outbox.held.contains_key(&row.to)
                    && outbox.unanswered.len() + outbox.enqueuing < MAX_UNANSWERED;
                outbox.enqueuing += 1;
                let connection = outbox.connection;
                let op = PeerOp::Enqueue(Box::new(row.clone()));
                let work = Enqueued {
                    command,
                    row,
                    connection,
                };
                self.store(vec![op], StoreWork::Enqueued(work));
            }
            Err(error) => self.done(command, Err(error)),
        }
    }

    fn seal(&mut self, message: &Outgoing) -> Result<NewOutbox, SessionError> {
        if self.link.is_ended() {
            return Err(SessionError::Removed);
        }
        let log = self
            .log
            .held()
            .ok_or(SessionError::NotAMember(message.to))?;
        let recipient = log.roster().member_or_former(&message.to);
        match recipient {
            None => return Err(SessionError::NotAMember(message.to)),
            Some(member) if member.removed_at.is_some() => {
                return Err(SessionError::RecipientRemoved(message.to));
            }
            Some(_) => {}
        }
        let head = Some(log.head());
        let wall = self.now.wall;
        let id = MessageId::from_parts(wall, self.rng.bytes());
        let nonce = self.rng.bytes();
        let content = Content {
            id: id.clone(),
            sent_at: wall,
            reply_to: message.reply_to.clone(),
            content_type: message.content_type.clone(),
            attributes: message.attributes.clone(),
            body: message.body.clone(),
        };
        let config = self.config.clone();
        let key = self
            .direct_key(&message.to)
            .map_err(|_| SessionError::NotAMember(message.to))?;
        let sealed = seal_direct(
            &config.mesh,
            &config.key,
            &message.to,
            head,
            &content,
            key,
            nonce,
        )?;
        let lasts = message.expires_in.unwrap_or(EXPIRES_MS).min(MAX_EXPIRES_MS);
        let expires_at = wall.saturating_add(lasts);
        let frame = ClientFrame::from(Send {
            id: Some(id.as_str().to_owned()),
            target_spec: message.to.to_hex(),
            priority: Some(message.priority.as_str().to_owned()),
            nonce: sealed.nonce,
            ciphertext: sealed.ciphertext,
            client_message_id: Some(id.as_str().to_owned()),
            expires_at: Some(expires_at),
            form: Some(FORM.to_owned()),
            ..Send::default()
        })
        .encode();
        if frame.len() > MAX_FRAME {
            return Err(MessageError::TooLarge(message.body.len()).into());
        }
        Ok(NewOutbox {
            id,
            to: message.to,
            frame,
            priority: message.priority,
            created_at: wall,
            expires_at,
            lane: config.lane,
            sent: false,
        })
    }

    pub(super) fn enqueued(&mut self, work: Enqueued, result: Result<Vec<Outcome>, StoreError>) {
        self.outbox.enqueuing = self.outbox.enqueuing.saturating_sub(1);
        let place = match result {
            Ok(outcomes) => match outcomes.first() {
                Some(Outcome::Row(place)) => *place,
                // An id is made from fresh random bytes; it is not there twice.
                _ => 0,
            },
            Err(error) => {
                self.outbox.behind = true;
                return self.done(work.command, Err(error.into()));
            }
        };
        self.done(work.command, Ok(Reply::Queued(work.row.id.clone())));
        let at_once = work.row.sent
            && self.link.is_ready()
            && work.connection == self.outbox.connection
            && !self.outbox.behind;
        if at_once {
            self.outbox.cursor = self.outbox.cursor.max(place);
            self.hand_over(&work.row);
        } else {
            self.outbox.behind = true;
        }
    }

    fn hand_over(&mut self, row: &NewOutbox) {
        let sent = Unanswered {
            to: row.to,
            since: self.now.mono,
        };
        self.outbox.unanswered.insert(row.id.clone(), sent);
        self.out.push_back(super::Out::Transmit(row.frame.clone()));
    }

    pub(super) fn tick_outbox(&mut self) {
        let mono = self.now.mono;
        if self.link.is_ready()
            && self
                .outbox
                .unanswered
                .values()
                .any(|sent| mono >= sent.since + ANSWER_MS)
        {
            return self.lose("the broker has not answered a send for 30 s");
        }
        let held = self.outbox.held.len();
        self.outbox.held.retain(|_, until| mono < *until);
        if self.outbox.held.len() < held {
            self.outbox.rescan();
        }
        self.pump();
    }

    fn pump(&mut self) {
        let outbox = &mut self.outbox;
        let room = MAX_UNANSWERED.saturating_sub(outbox.unanswered.len());
        let stuck = !self.link.is_ready() || !outbox.behind || outbox.loading || outbox.marking;
        if stuck || room == 0 {
            return;
        }
        outbox.loading = true;
        let except = outbox.held.keys().copied().collect();
        let limit = u32::try_from(room.min(PAGE)).unwrap_or(1);
        let query = Query::Outbox {
            lane: self.config.lane,
            after: outbox.cursor,
            except,
            limit,
        };
        // Rows enqueued from here on are seen by the next page.
        outbox.behind = false;
        self.load(query, LoadWork::OutboxPage);
    }

    pub(super) fn outbox_page(&mut self, result: Result<Rows, StoreError>) {
        self.outbox.loading = false;
        let rows = match result {
            Ok(Rows::Outbox(rows)) => rows,
            Ok(_) => return,
            Err(error) => {
                self.outbox.behind = true;
                return self.event(Event::StoreFailed(error));
            }
        };
        let Some(last) = rows.last().map(|row| row.place) else {
            return;
        };
        self.outbox.behind = true;
        if !self.link.is_ready() {
            return;
        }
        self.outbox.cursor = self.outbox.cursor.max(last);
        let wall = self.now.wall;
        let (expired, rows): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .filter(|row| !self.outbox.unanswered.contains_key(&row.message.id))
            .partition(|row| !row.message.sent && row.message.expires_at <= wall);
        for row in expired {
            self.finish(
                row.message.id,
                SendState::Failed,
                Some("expired".to_owned()),
            );
        }
        let fresh: Vec<MessageId> = (rows.iter())
            .filter(|row| !row.message.sent)
            .map(|row| row.message.id.clone())
            .collect();
        let page = Page {
            rows,
            connection: self.outbox.connection,
        };
        if fresh.is_empty() {
            self.hand_over_page(&page);
        } else {
            self.outbox.marking = true;
            self.store(vec![PeerOp::Sent(fresh)], StoreWork::SentMarked(page));
        }
    }

    pub(super) fn sent_marked(&mut self, page: Page, result: Result<Vec<Outcome>, StoreError>) {
        self.outbox.marking = false;
        match result {
            Ok(_) => self.hand_over_page(&page),
            Err(error) => {
                self.outbox.rescan();
                self.event(Event::StoreFailed(error));
            }
        }
    }

    fn hand_over_page(&mut self, page: &Page) {
        if !self.link.is_ready() || page.connection != self.outbox.connection {
            return self.outbox.rescan();
        }
        for row in &page.rows {
            self.hand_over(&row.message);
        }
    }

    pub(super) fn acks(&mut self, acks: &[Ack]) {
        let mut ops = Vec::new();
        let mut events = Vec::new();
        for ack in acks {
            let id = ack.client_message_id.as_deref().unwrap_or(&ack.id);
            let Ok(id) = MessageId::new(id) else { continue };
            let Some(sent) = self.outbox.unanswered.remove(&id) else {
                continue;
            };
            if ack.queued {
                self.outbox.refusals.remove(&sent.to);
                if self.outbox.accepted.len() < MAX_ACCEPTED {
                    self.outbox
                        .accepted
                        .insert(ack.message_id.clone(), id.clone());
                }
                let broker_id = ack.message_id.clone();
                ops.push(PeerOp::Accepted {
                    id: id.clone(),
                    broker_id,
                });
                events.push(Event::Sent {
                    id,
                    state: SendState::Accepted,
                    reason: None,
                    recipients: ack.recipients,
                });
            } else if is_retryable(ack) {
                self.hold(sent.to, ack);
            } else {
                let reason = refusal(ack);
                let (state, at) = (SendState::Failed, self.now.wall);
                ops.push(PeerOp::Final {
                    id: id.clone(),
                    state,
                    reason: reason.clone(),
                    at,
                });
                events.push(Event::Sent {
                    id,
                    state,
                    reason,
                    recipients: None,
                });
            }
        }
        if !ops.is_empty() {
            self.store(ops, StoreWork::AnswerSaved(events));
        }
        self.pump();
    }

    /// A recipient for whom the broker takes nothing now: later rows for it wait, others go on.
    fn hold(&mut self, to: PublicKey, ack: &Ack) {
        let tries = self.outbox.refusals.entry(to).or_insert(0);
        let pause = (500u64 << (*tries).min(7)).min(MAX_HOLD_MS);
        *tries = tries.saturating_add(1);
        let asked = ack.retry_after_ms.unwrap_or(0).min(MAX_HOLD_MS);
        let in_ms = pause.max(asked) + self.rng.below(pause / 4 + 1);
        self.outbox.held.insert(to, self.now.mono + in_ms);
        let reason = refusal(ack).unwrap_or_default();
        self.event(Event::Held { to, reason, in_ms });
    }

    fn finish(&mut self, id: MessageId, state: SendState, reason: Option<String>) {
        let at = self.now.wall;
        let op = PeerOp::Final {
            id: id.clone(),
            state,
            reason: reason.clone(),
            at,
        };
        let event = Event::Sent {
            id,
            state,
            reason,
            recipients: None,
        };
        self.store(vec![op], StoreWork::AnswerSaved(vec![event]));
    }

    pub(super) fn receipt(&mut self, receipt: &Receipt) {
        let known = self.outbox.accepted.remove(&receipt.message_id);
        let named = receipt
            .client_message_id
            .as_deref()
            .and_then(|id| MessageId::new(id).ok());
        // A receipt names a message by the broker's id; the sender's own id is only a help.
        let Some(id) = known.or(named) else { return };
        let (state, reason) = match receipt.state {
            ReceiptState::Delivered => (SendState::Delivered, None),
            ReceiptState::Failed => (SendState::Failed, receipt.reason.clone()),
        };
        self.finish(id, state, reason);
    }

    /// After a reconnect: what became of what was accepted?
    pub(super) fn ask_outcomes(&mut self, rows: Vec<OutboxRow>) {
        if !self.link.is_ready() || !self.link.has_delivery() || rows.is_empty() {
            return;
        }
        let after = rows.last().map_or(0, |row| row.place);
        let full = rows.len() >= 256;
        let mut message_ids = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(broker_id) = row.broker_id {
                if self.outbox.accepted.len() < MAX_ACCEPTED {
                    self.outbox
                        .accepted
                        .insert(broker_id.clone(), row.message.id);
                }
                message_ids.push(broker_id);
            }
        }
        let req_id = Some(self.ask(Asked::Outcomes));
        self.transmit(Outcomes {
            message_ids,
            req_id,
        });
        if full {
            self.load(
                Query::OutboxAccepted { after, limit: 256 },
                LoadWork::Accepted,
            );
        }
    }

    pub(super) fn outcomes_result(&mut self, result: &OutcomesResult) {
        if !matches!(
            self.requests.take(result.req_id.as_deref()),
            Some(Asked::Outcomes)
        ) {
            return;
        }
        let mut lost = false;
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
                self.finish(id, state, outcome.reason.clone());
            }
        }
        if lost {
            self.requeue();
        }
    }

    /// The broker is another one, or was restored from a backup: all that is not final goes again
    /// under its id; what did arrive is known there.
    pub(super) fn requeue(&mut self) {
        self.outbox.accepted.clear();
        self.store(vec![PeerOp::Requeue], StoreWork::Requeued);
    }
}

/// Whether the same send may be taken later.
fn is_retryable(ack: &Ack) -> bool {
    let retryable = [
        code::RATE_LIMIT,
        code::QUEUE_FULL,
        code::BUSY,
        "store_unavailable",
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

fn refusal(ack: &Ack) -> Option<String> {
    let text = ack
        .error
        .as_deref()
        .or(ack.code.as_deref())
        .unwrap_or("refused");
    Some(text.chars().filter(|c| !c.is_control()).take(256).collect())
}
