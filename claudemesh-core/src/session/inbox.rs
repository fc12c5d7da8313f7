//! Receiving: open and check, store, then acknowledge.

mod direct;

use std::collections::HashMap;

use super::channels::{Unopened, is_to_channel};
use super::keep::Pause;
use super::{Event, Session, StoreWork};
use crate::channel::CHANNEL_KEY;
use crate::id::{KeyId, PublicKey};
use crate::store::{Kind, NewInbox, NewLocked, Outcome, PeerOp, StoreError};
use crate::wire::{ClientAck, MAX_IDS_PER_FRAME, Push};
use direct::claimed_sender;

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

impl Receipt {
    /// None for what the broker does not keep: there is nothing to tell it.
    fn of(push: &Push) -> Option<Self> {
        (push.online != Some(true)).then(|| Self {
            broker_id: push.message_id.clone(),
            client_id: push.client_message_id.clone(),
        })
    }
}

#[derive(Debug)]
enum Entry {
    /// It was opened, or refused.
    Row(Box<NewInbox>),
    /// Its key is not here.
    Locked(Box<NewLocked>),
    /// It brought a channel's key; what the store does about that.
    Key(KeyId, Vec<PeerOp>),
    /// It was locked in the store at this place.
    Unlocked(Box<NewInbox>, u64),
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    /// None if the broker was told already, or keeps nothing of it.
    receipt: Option<Receipt>,
    /// Of the frame it came in.
    bytes: usize,
}

impl Pending {
    fn op_count(&self) -> usize {
        match &self.entry {
            Entry::Row(_) | Entry::Locked(_) => 1,
            Entry::Unlocked(..) => 2,
            Entry::Key(_, ops) => ops.len(),
        }
    }

    fn ops(&self) -> Vec<PeerOp> {
        match &self.entry {
            Entry::Row(row) => vec![PeerOp::Insert(row.clone())],
            Entry::Key(_, ops) => ops.clone(),
            Entry::Locked(message) => vec![PeerOp::Lock(message.clone())],
            Entry::Unlocked(row, place) => {
                vec![PeerOp::Insert(row.clone()), PeerOp::Unlock(*place)]
            }
        }
    }
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
    /// Pushes to channels of which earlier ones are not in the inbox yet.
    in_turn: Vec<(Push, usize)>,
    /// Without a durable store: what the broker is told of locked messages once they are taken.
    locked: HashMap<String, Receipt>,
    /// A key whose locked messages are looked up once more after those under way.
    unlock_next: Option<KeyId>,
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
        self.in_turn.clear();
        self.early.clear();
        self.bytes = 0;
        self.retry.worked();
        self.caught_up = false;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
            && !self.writing
            && self.unknown_sender.is_empty()
            && self.in_turn.is_empty()
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
        let waiting = inbox.unknown_sender.len() + inbox.in_turn.len();
        let full = inbox.pending.len() + waiting >= MAX_PENDING
            || inbox.bytes.saturating_add(bytes) > MAX_PENDING_BYTES;
        if full {
            return self.lose("the broker pushes more than it may");
        }
        if inbox.untaken.len() + inbox.pending.len() >= MAX_UNTAKEN {
            return;
        }
        if let Some(address) = &push.address {
            self.learn_address(address);
        }
        if is_to_channel(&push) || self.is_room_push(&push) {
            return self.take_from_channel(push, bytes);
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
            if is_to_channel(&push) || self.is_room_push(&push) {
                self.take_from_channel(push, bytes);
            } else {
                self.take(push, bytes);
            }
        }
    }

    /// A message to a channel: its sender stands inside.
    fn take_from_channel(&mut self, push: Push, bytes: usize) {
        // What was said first is read first: it waits behind what waits for a key.
        let channel = self.channel_of(&push);
        if let Some(channel) = channel.filter(|name| self.waits_its_turn(name)) {
            if let Some(key_id) = super::channels::key_of(&push) {
                self.want_key(&channel, key_id);
            }
            self.inbox.bytes += bytes;
            return self.inbox.in_turn.push((push, bytes));
        }
        let receipt = Receipt::of(&push);
        let entry = match self.open_channel_push(&push, self.now.wall) {
            Ok(row) => Entry::Row(Box::new(row)),
            Err(Unopened::UnknownSender) => {
                self.inbox.bytes += bytes;
                self.inbox.unknown_sender.push((push, bytes));
                return self.sync_log(None);
            }
            Err(Unopened::Rejected(sender, reason)) => {
                return self.reject(&push, sender, reason, bytes);
            }
            Err(Unopened::Locked {
                channel,
                key_id,
                why,
            }) => {
                let message = NewLocked {
                    broker_id: push.message_id.clone(),
                    key_id,
                    channel: channel.clone(),
                    frame: push.encode(),
                    received_at: self.now.wall,
                };
                self.event(Event::Locked {
                    channel: channel.clone(),
                    key_id,
                    reason: super::channels::in_words(why),
                });
                self.locks(&channel, true);
                self.want_key(&channel, key_id);
                Entry::Locked(Box::new(message))
            }
        };
        self.inbox.bytes += bytes;
        self.inbox.pending.push(Pending {
            entry,
            receipt,
            bytes,
        });
    }

    /// Those whose turn has come.
    pub(super) fn take_in_turn(&mut self) {
        if self.inbox.in_turn.is_empty() {
            return;
        }
        for (push, bytes) in std::mem::take(&mut self.inbox.in_turn) {
            self.inbox.bytes -= bytes;
            self.take_from_channel(push, bytes);
        }
    }

    /// A message that was locked is opened, or never will be: it moves into the inbox.
    pub(super) fn take_unlocked(&mut self, row: NewInbox, push: &Push, place: u64, bytes: usize) {
        let receipt = self.inbox.locked.remove(&push.message_id);
        self.inbox.bytes += bytes;
        self.inbox.pending.push(Pending {
            entry: Entry::Unlocked(Box::new(row), place),
            receipt,
            bytes,
        });
    }

    /// What stands there is no frame.
    pub(super) fn drop_locked(&mut self, place: u64) {
        self.keep(vec![PeerOp::Unlock(place)]);
    }

    /// There may be more under this key once those under way are moved.
    pub(super) fn inbox_unlock_next(&mut self, key_id: KeyId) {
        self.inbox.unlock_next = Some(key_id);
    }

    fn reject(&mut self, push: &Push, sender: PublicKey, reason: String, bytes: usize) {
        let receipt = Receipt::of(push);
        if self.may_keep_rejected() {
            let row = self.rejected(push, sender, &reason);
            self.inbox.bytes += bytes;
            self.inbox.pending.push(Pending {
                entry: Entry::Row(Box::new(row)),
                receipt,
                bytes,
            });
        } else {
            self.event(Event::Rejected { sender, reason });
            self.acknowledge_receipts(receipt.into_iter().collect());
        }
    }

    fn take(&mut self, push: Push, bytes: usize) {
        let sender = claimed_sender(&push).unwrap_or(PublicKey([0; 32]));
        match self.open(&push, sender) {
            Ok(row) if self.brings_key(&row) => self.take_key_message(&row, &push, bytes),
            Ok(row) => {
                self.inbox.bytes += bytes;
                self.inbox.pending.push(Pending {
                    entry: Entry::Row(Box::new(row)),
                    receipt: Receipt::of(&push),
                    bytes,
                });
            }
            Err(reason) => self.reject(&push, sender, reason, bytes),
        }
    }

    /// Whether a message brings a channel's key, which only happens without a log.
    fn brings_key(&self, row: &NewInbox) -> bool {
        self.has_no_log() && row.is_protected() && row.content_type == CHANNEL_KEY
    }

    fn take_key_message(&mut self, row: &NewInbox, push: &Push, bytes: usize) {
        match self.take_brought(row) {
            Ok((id, ops)) => {
                self.inbox.bytes += bytes;
                // Without a durable store the broker keeps it for the next process.
                let receipt = Receipt::of(push).filter(|_| self.config.durable);
                self.inbox.pending.push(Pending {
                    entry: Entry::Key(id, ops),
                    receipt,
                    bytes,
                });
            }
            Err(reason) => self.reject(push, row.sender, reason, bytes),
        }
    }

    fn may_keep_rejected(&mut self) -> bool {
        let (since, count) = &mut self.inbox.rejected;
        if self.now.mono.saturating_sub(*since) >= REJECTED_MS {
            (*since, *count) = (self.now.mono, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REJECTED
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
        let ops = pending.iter().flat_map(Pending::ops).collect();
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
        let mut outcomes = outcomes.into_iter();
        for pending in batch.pending {
            let outcome = outcomes.next();
            for _ in 1..pending.op_count() {
                outcomes.next();
            }
            let Pending { entry, receipt, .. } = pending;
            let new = matches!(
                outcome,
                Some(Outcome::Row(_) | Outcome::Muted(_) | Outcome::Held(_))
            );
            let wakes = matches!(outcome, Some(Outcome::Row(_)));
            match entry {
                Entry::Locked(message) => {
                    let full = outcome == Some(Outcome::NotThere);
                    settled.extend(self.locked(&message, receipt, full));
                }
                Entry::Key(id, _) => {
                    settled.extend(receipt);
                    self.unlock_room(id);
                }
                Entry::Row(row) | Entry::Unlocked(row, _) => {
                    received |= wakes && row.kind != Kind::Rejected;
                    if let Some(Outcome::Held(_)) = outcome {
                        self.event(Event::Asked { sender: row.sender });
                    }
                    if outcome == Some(Outcome::Dropped) {
                        // Nobody takes it: the broker is told that it is here, as of any other.
                        settled.extend(receipt);
                        continue;
                    }
                    settled.extend(self.inserted_row(new, *row, receipt));
                }
            }
        }
        if same_connection {
            self.acknowledge_receipts(settled);
        }
        if received {
            self.event(Event::Received);
        }
        if let Some(key_id) = self.inbox.unlock_next.take() {
            self.unlock(key_id);
        }
    }

    /// What the broker is told now that a row is kept.
    fn inserted_row(
        &mut self,
        new: bool,
        row: NewInbox,
        receipt: Option<Receipt>,
    ) -> Option<Receipt> {
        let rejected = row.kind == Kind::Rejected;
        if new && rejected {
            let reason = String::from_utf8_lossy(&row.body).into_owned();
            let sender = row.sender;
            self.event(Event::Rejected { sender, reason });
        }
        let receipt = receipt?;
        let done = self.config.durable || rejected || self.is_taken(new, row, &receipt);
        done.then_some(receipt)
    }

    /// What the broker is told now that a message is kept locked.
    fn locked(
        &mut self,
        message: &NewLocked,
        receipt: Option<Receipt>,
        full: bool,
    ) -> Option<Receipt> {
        self.locks(&message.channel, false);
        if full {
            let sender = PublicKey([0; 32]);
            let reason = "too many messages wait for keys that are not here".to_owned();
            self.event(Event::Rejected { sender, reason });
            return receipt;
        }
        // The key may have come while this was written.
        self.queue_unlock(message.key_id);
        let receipt = receipt?;
        if self.config.durable {
            return Some(receipt);
        }
        self.inbox.locked.insert(message.broker_id.clone(), receipt);
        None
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
