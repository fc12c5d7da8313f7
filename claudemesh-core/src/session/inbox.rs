//! Receiving: open and check, store, then acknowledge.

use std::collections::HashMap;

use super::keep::Pause;
use super::{Event, Session, StoreWork};
use crate::id::{MessageId, Name, Priority, PublicKey};
use crate::message::{Expected, FORM, MessageError, Opened, SealedText, open_bare, open_direct};
use crate::store::{Delivery, Kind, NewInbox, Outcome, PeerOp, StoreError};
use crate::wire::{ClientAck, MAX_IDS_PER_FRAME, Push};

/// Messages that are held in memory at most. A broker keeps to a window of 256.
const MAX_PENDING: usize = 1_024;
/// Messages of one transaction.
const BATCH: usize = 256;
/// Bytes of frames that are held in memory at most.
const MAX_PENDING_BYTES: usize = 64 << 20;
/// Without a durable store: messages that nobody took yet, at most. What comes beyond stays at the
/// broker.
const MAX_UNTAKEN: usize = 8_192;
/// Bytes of a broker's message id; a push with a longer one is no push.
const MAX_BROKER_ID: usize = 128;
/// Rejected messages that are kept within [`REJECTED_MS`]: whoever sends rubbish fills no disk.
const MAX_REJECTED: u32 = 1_000;
const REJECTED_MS: u64 = 3_600_000;
/// How old a message may be at its receipt. A message may claim to be sent 10 minutes after its
/// receipt, and is remembered for 31 days from then: what would be taken later than it is
/// remembered could be given twice.
const MAX_AGE_MS: u64 = crate::message::MAX_AGE_MS - crate::message::MAX_AHEAD_MS;

/// What the broker is told once a message is kept.
#[derive(Debug, Clone)]
struct Receipt {
    broker_id: String,
    client_id: Option<String>,
}

#[derive(Debug)]
struct Pending {
    row: NewInbox,
    receipt: Receipt,
    /// Of the frame it came in.
    bytes: usize,
}

/// By which the store knows a message again.
type Key = (PublicKey, String);

/// Messages that are being written to the store.
pub(super) struct Batch {
    pending: Vec<Pending>,
    connection: u64,
}

/// What is under way into the inbox.
#[derive(Default)]
pub(super) struct Inbox {
    connection: u64,
    pending: Vec<Pending>,
    /// Of what is pending and of those below.
    bytes: usize,
    writing: bool,
    retry: Pause,
    /// Pushes of senders whom the log, as held, does not know: judged after it was fetched.
    unknown_sender: Vec<(Push, usize)>,
    /// What was stored before the broker took the hello: acknowledged after it.
    early: Vec<Receipt>,
    /// Without a durable store: what the broker is told once a message is taken, newest push
    /// first told; and which message a row's broker id means.
    untaken: HashMap<Key, Receipt>,
    untaken_ids: HashMap<String, Key>,
    /// Rejected messages kept since then, in ms of the clock.
    rejected: (u64, u32),
    caught_up: bool,
}

impl Inbox {
    pub(super) fn connection_closed(&mut self) {
        // What was not stored is pushed again; acks of the old connection mean nothing on a new one.
        self.connection += 1;
        self.pending.clear();
        self.unknown_sender.clear();
        self.early.clear();
        self.bytes = 0;
        self.retry.worked();
        self.caught_up = false;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty() && !self.writing && self.unknown_sender.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.retry.until()
    }
}

impl Session {
    /// Takes a push that came in a frame of so many bytes.
    pub(super) fn push(&mut self, push: Push, bytes: usize) {
        // Who does not want messages leaves them where they are, unless they are kept for others.
        let unwanted = !self.config.receive && !self.config.durable;
        let named = (1..=MAX_BROKER_ID).contains(&push.message_id.len());
        if unwanted || !named {
            return;
        }
        let inbox = &self.inbox;
        let full = inbox.pending.len() + inbox.unknown_sender.len() >= MAX_PENDING
            || inbox.bytes.saturating_add(bytes) > MAX_PENDING_BYTES;
        if full {
            return self.lose("the broker pushes more than it may");
        }
        if inbox.untaken.len() + inbox.pending.len() >= MAX_UNTAKEN {
            return;
        }
        let known = claimed_sender(&push).is_none_or(|key| {
            self.log
                .roster()
                .is_some_and(|r| r.member_or_former(&key).is_some())
        });
        if !known && self.log.may_be_behind() {
            self.inbox.bytes += bytes;
            self.inbox.unknown_sender.push((push, bytes));
            self.sync_log(None);
            return;
        }
        self.take(push, bytes);
    }

    /// The log was fetched, or could not be: who is unknown now is unknown.
    pub(super) fn judge_unknown_senders(&mut self) {
        for (push, bytes) in std::mem::take(&mut self.inbox.unknown_sender) {
            self.inbox.bytes -= bytes;
            self.take(push, bytes);
        }
    }

    fn take(&mut self, push: Push, bytes: usize) {
        let receipt = Receipt {
            broker_id: push.message_id.clone(),
            client_id: push.client_message_id.clone(),
        };
        let sender = claimed_sender(&push).unwrap_or(PublicKey([0; 32]));
        let row = match self.open(&push, sender) {
            Ok(row) => row,
            Err(reason) if self.may_keep_rejected() => self.rejected(&push, sender, &reason),
            Err(reason) => {
                self.event(Event::Rejected { sender, reason });
                return self.acknowledge_receipts(vec![receipt]);
            }
        };
        self.inbox.bytes += bytes;
        self.inbox.pending.push(Pending {
            row,
            receipt,
            bytes,
        });
    }

    fn may_keep_rejected(&mut self) -> bool {
        let (since, count) = &mut self.inbox.rejected;
        if self.now.mono.saturating_sub(*since) >= REJECTED_MS {
            (*since, *count) = (self.now.mono, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REJECTED
    }

    /// Opens a message by the form that its sender must use, or says why it is not taken.
    fn open(&mut self, push: &Push, sender: PublicKey) -> Result<NewInbox, String> {
        if push.mesh_id != self.config.mesh.as_str() {
            return Err("made for another mesh".to_owned());
        }
        let member = self
            .log
            .roster()
            .and_then(|roster| roster.member_or_former(&sender));
        let (name, logged, verified) = match member {
            Some(member) if member.removed_at.is_some() => {
                return Err("sender_removed".to_owned());
            }
            Some(member) => {
                let roster = self.log.roster();
                let name = roster.map(|roster| roster.shown_name(member));
                (name, true, member.is_verified())
            }
            None => (
                push.sender_name.as_deref().and_then(|n| Name::new(n).ok()),
                false,
                false,
            ),
        };
        let sealed = SealedText {
            nonce: push.nonce.clone(),
            ciphertext: push.ciphertext.clone(),
        };
        // A member with a log entry speaks in envelopes only: bare text from it is an error.
        if logged || push.form.as_deref() == Some(FORM) {
            let opened = self
                .open_envelope(push, sender, &sealed)
                .map_err(|e| e.to_string())?;
            if let Some(head) = opened.head.filter(|_| verified) {
                self.head_claimed(sender, head);
            }
            return Ok(self.row(push, &opened, name, verified));
        }
        self.open_text(push, sender, name, &sealed)
            .map_err(|error| error.to_string())
    }

    fn open_envelope(
        &mut self,
        push: &Push,
        sender: PublicKey,
        sealed: &SealedText,
    ) -> Result<Opened, MessageError> {
        let (mesh, recipient) = (self.config.mesh.clone(), self.config.key.public());
        let now = self.now.wall;
        let key = self
            .direct_key(&sender)
            .map_err(|_| MessageError::BadSignature)?;
        let frame_id = push.client_message_id.as_deref();
        let expected = Expected {
            mesh: &mesh,
            recipient: &recipient,
            sender: &sender,
            frame_id,
            now,
        };
        let opened = open_direct(expected, key, sealed)?;
        let time = opened.due.unwrap_or(opened.content.sent_at);
        if time < now.saturating_sub(MAX_AGE_MS) {
            return Err(MessageError::Time);
        }
        Ok(opened)
    }

    fn row(&self, push: &Push, opened: &Opened, name: Option<Name>, verified: bool) -> NewInbox {
        let content = opened.content.clone();
        NewInbox {
            kind: Kind::Direct,
            sender: opened.sender,
            sender_name: name,
            verified,
            delivery: Delivery {
                broker_id: push.message_id.clone(),
                dedupe: format!("id:{}", content.id),
            },
            id: content.id,
            priority: push.priority().unwrap_or_default(),
            content_type: content.content_type,
            body: content.body,
            attributes: content.attributes,
            reply_to: content.reply_to,
            sent_at: content.sent_at,
            received_at: self.now.wall,
        }
    }

    /// The bare form of a member without a log entry. The sender is who the broker says it is.
    fn open_text(
        &mut self,
        push: &Push,
        sender: PublicKey,
        name: Option<Name>,
        sealed: &SealedText,
    ) -> Result<NewInbox, MessageError> {
        let routing = PublicKey::from_hex(&push.sender_pubkey).unwrap_or(sender);
        let key = self
            .direct_key(&routing)
            .map_err(|_| MessageError::BadSignature)?;
        let text = open_bare(key, sealed)?;
        Ok(NewInbox {
            kind: Kind::Direct,
            sender,
            sender_name: name,
            verified: false,
            id: self.frame_id(push),
            delivery: Delivery {
                broker_id: push.message_id.clone(),
                dedupe: format!("nonce:{}", push.nonce),
            },
            priority: push.priority().unwrap_or_default(),
            content_type: crate::message::TEXT.to_owned(),
            body: text.into_bytes(),
            attributes: Vec::new(),
            reply_to: None,
            sent_at: self.now.wall,
            received_at: self.now.wall,
        })
    }

    fn rejected(&mut self, push: &Push, sender: PublicKey, reason: &str) -> NewInbox {
        let wall = self.now.wall;
        let broker_id: String = push.message_id.chars().take(128).collect();
        NewInbox {
            kind: Kind::Rejected,
            sender,
            sender_name: None,
            verified: false,
            id: self.frame_id(push),
            delivery: Delivery {
                dedupe: format!("broker:{broker_id}"),
                broker_id,
            },
            priority: Priority::Low,
            content_type: crate::message::TEXT.to_owned(),
            body: reason.as_bytes().to_vec(),
            attributes: Vec::new(),
            reply_to: None,
            sent_at: wall,
            received_at: wall,
        }
    }

    fn frame_id(&mut self, push: &Push) -> MessageId {
        let named = push
            .client_message_id
            .as_deref()
            .unwrap_or(&push.message_id);
        MessageId::new(named)
            .or_else(|_| MessageId::new(&push.message_id))
            .map_or_else(
                |_| MessageId::from_parts(self.now.wall, self.rng.bytes()),
                |id| id.base(),
            )
    }

    /// Writes what has gathered, unless a batch is being written: then it gathers on.
    pub(super) fn flush_inbox(&mut self) {
        self.inbox.retry.over(self.now.mono);
        if self.inbox.writing || self.inbox.retry.is_on() || self.inbox.pending.is_empty() {
            return self.tell_caught_up();
        }
        let count = self.inbox.pending.len().min(BATCH);
        let pending: Vec<Pending> = self.inbox.pending.drain(..count).collect();
        self.inbox.bytes -= pending.iter().map(|p| p.bytes).sum::<usize>();
        let ops = pending
            .iter()
            .map(|p| PeerOp::Insert(Box::new(p.row.clone())))
            .collect();
        self.inbox.writing = true;
        let batch = Batch {
            pending,
            connection: self.inbox.connection,
        };
        self.store(ops, StoreWork::Inserted(batch));
    }

    pub(super) fn inserted(&mut self, batch: Batch, result: Result<Vec<Outcome>, StoreError>) {
        self.inbox.writing = false;
        let same_connection = batch.connection == self.inbox.connection;
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Not acknowledged: it is tried again here, or pushed again on the next connection.
                if same_connection {
                    self.inbox.bytes += batch.pending.iter().map(|p| p.bytes).sum::<usize>();
                    self.inbox.pending.splice(0..0, batch.pending);
                    self.inbox.retry.failed(self.now.mono);
                }
                return self.event(Event::StoreFailed(error));
            }
        };
        self.inbox.retry.worked();
        let mut received = false;
        let mut settled = Vec::new();
        for (Pending { row, receipt, .. }, outcome) in batch.pending.into_iter().zip(outcomes) {
            let new = matches!(outcome, Outcome::Row(_));
            let direct = row.kind == Kind::Direct;
            received |= new && direct;
            if new && !direct {
                let reason = String::from_utf8_lossy(&row.body).into_owned();
                let sender = row.sender;
                self.event(Event::Rejected { sender, reason });
            }
            if self.config.durable || !direct || self.is_taken(new, row, &receipt) {
                settled.push(receipt);
            }
        }
        if same_connection {
            self.acknowledge_receipts(settled);
        }
        if received {
            self.event(Event::Received);
        }
    }

    /// Without a durable store a message is acknowledged when it was taken, however often it is
    /// pushed before that.
    fn is_taken(&mut self, new: bool, row: NewInbox, receipt: &Receipt) -> bool {
        let key = (row.sender, row.delivery.dedupe);
        if new {
            let id = row.delivery.broker_id;
            self.inbox.untaken_ids.insert(id, key.clone());
            self.inbox.untaken.insert(key, receipt.clone());
            return false;
        }
        match self.inbox.untaken.get_mut(&key) {
            Some(held) => {
                // Another broker may have another id for it.
                held.clone_from(receipt);
                false
            }
            None => true,
        }
    }

    /// Messages were taken, by the broker ids of their rows.
    pub(super) fn acknowledge(&mut self, broker_ids: Vec<String>) {
        let inbox = &mut self.inbox;
        let receipts = broker_ids
            .into_iter()
            .map(|broker_id| {
                let key = inbox.untaken_ids.remove(&broker_id);
                let latest = key.and_then(|key| inbox.untaken.remove(&key));
                latest.unwrap_or(Receipt {
                    broker_id,
                    client_id: None,
                })
            })
            .collect();
        self.acknowledge_receipts(receipts);
    }

    /// What was stored while the hello was still to be answered.
    pub(super) fn acknowledge_early(&mut self) {
        let early = std::mem::take(&mut self.inbox.early);
        self.acknowledge_receipts(early);
    }

    fn acknowledge_receipts(&mut self, receipts: Vec<Receipt>) {
        if !self.link.is_ready() {
            // On no connection there is nothing to say; some brokers push before they answer the
            // hello.
            if self.link.is_open() && self.inbox.early.len() < MAX_PENDING {
                self.inbox.early.extend(receipts);
            }
            return;
        }
        if self.link.has_delivery() {
            for chunk in receipts.chunks(MAX_IDS_PER_FRAME) {
                let ids = chunk
                    .iter()
                    .map(|receipt| receipt.broker_id.clone())
                    .collect();
                self.transmit(ClientAck {
                    broker_message_ids: Some(ids),
                    ..ClientAck::default()
                });
            }
        } else {
            for receipt in receipts {
                self.transmit(ClientAck {
                    client_message_id: receipt.client_id,
                    broker_message_id: Some(receipt.broker_id),
                    broker_message_ids: None,
                });
            }
        }
    }

    pub(super) fn caught_up(&mut self) {
        self.inbox.caught_up = true;
    }

    /// Told only once all that came before is stored.
    fn tell_caught_up(&mut self) {
        if self.inbox.caught_up && self.inbox.is_settled() {
            self.inbox.caught_up = false;
            self.event(Event::CaughtUp);
        }
    }
}

/// The member key that the frame names as the sender's. Only what opens under it is believed.
fn claimed_sender(push: &Push) -> Option<PublicKey> {
    let text = push
        .sender_member_pubkey
        .as_deref()
        .unwrap_or(&push.sender_pubkey);
    PublicKey::from_hex(text).ok()
}
