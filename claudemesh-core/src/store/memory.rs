//! A store that lives as long as the process.

mod channels;
mod policy;
mod readers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use self::channels::Channels;
use self::policy::Rules;
use self::readers::Readers;
use super::policy::Keeping;
use super::{
    CANCELLED, DENIED, InboxRow, KEEP_MS, Kind, MAX_HELD, MAX_HELD_OF_ONE, MAX_NUMBER, NewInbox,
    NewOutbox, OutboxRow, Outcome, PRUNE_STEP, PeerOp, PeerStore, Pin, Query, ReaderName, Rows,
    SendState, StoreError, StoredEntry,
};
use crate::id::{MessageId, Priority, PublicKey, Target};

const INBOX_ROWS: usize = 10_000;
const INBOX_BYTES: usize = 64 << 20;
const DEDUPE_KEYS: usize = 65_536;
const FINAL_ROWS: usize = 1_000;

/// Keeps everything in memory, for tests and for peers that are not to leave traces.
///
/// It is bounded by what it may forget, oldest first:
/// - beyond 10,000 inbox rows or 64 MiB of bodies, rows that some reader has taken and rejected
///   rows (a reader further behind another than this misses those between);
/// - beyond 1,000, outbox rows that are final;
/// - beyond the newest 65,536, the keys by which repeated messages are known.
///
/// It takes no more locked messages beyond 10,000 or 64 MiB of frames. What no reader has taken and what is not final is never forgotten.
#[derive(Debug, Default)]
pub struct MemoryStore {
    outbox: BTreeMap<u64, Sending>,
    places: HashMap<MessageId, u64>,
    last_place: u64,
    finals: BTreeSet<u64>,
    inbox: BTreeMap<u64, NewInbox>,
    inbox_bytes: usize,
    last_seq: u64,
    /// Places of the rows that readers are shown, by priority, and of rejected rows.
    readable: [BTreeSet<u64>; 3],
    rejected: BTreeSet<u64>,
    /// Those that wake nobody, and those that wait for the owner's answer.
    muted: BTreeSet<u64>,
    held: BTreeSet<u64>,
    rules: Rules,
    known: HashSet<(PublicKey, String)>,
    known_order: VecDeque<(PublicKey, String)>,
    readers: Readers,
    log: Vec<StoredEntry>,
    channels: Channels,
    pins: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Sending {
    row: OutboxRow,
    final_at: u64,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn change(&mut self, op: &PeerOp) -> Outcome {
        match op {
            PeerOp::Enqueue(message) => self.enqueue(message),
            PeerOp::Sent(ids) => {
                let mut all = true;
                for id in ids {
                    match self.queued(id) {
                        Some(sending) => sending.row.message.sent = true,
                        None => all = false,
                    }
                }
                done_if(all)
            }
            PeerOp::Accepted { id, broker_id } => done_if(
                self.queued(id)
                    .map(|sending| {
                        sending.row.state = SendState::Accepted;
                        sending.row.message.sent = true;
                        sending.row.broker_id = Some(broker_id.clone());
                    })
                    .is_some(),
            ),
            PeerOp::Final {
                id,
                state,
                reason,
                at,
            } => done_if(state.is_final() && self.finish(id, *state, reason.clone(), *at)),
            PeerOp::Requeue => {
                let mut count = 0;
                for Sending { row, .. } in self.outbox.values_mut() {
                    if row.state == SendState::Accepted {
                        row.state = SendState::Queued;
                        row.broker_id = None;
                        count += 1;
                    }
                }
                Outcome::Count(count)
            }
            PeerOp::Cancel { id, at } => {
                let unsent = self
                    .queued(id)
                    .is_some_and(|sending| !sending.row.message.sent);
                done_if(unsent && self.finish(id, SendState::Failed, Some(CANCELLED.into()), *at))
            }
            PeerOp::Seal { id, frame } => done_if(
                self.queued(id)
                    .map(|sending| {
                        sending.row.message.frame.clone_from(frame);
                        sending.row.message.sent = false;
                    })
                    .is_some(),
            ),
            PeerOp::Adopt { from, to } => self.adopt(*from, *to),
            PeerOp::Insert(message) => self.insert(message),
            PeerOp::Lock(message) => self.channels.lock(message),
            PeerOp::Unlock(place) => done_if(self.channels.unlock(*place)),
            PeerOp::OpenReader { reader, start } => {
                self.readers.open(reader, *start);
                Outcome::Done
            }
            PeerOp::Offer { reader, class, seq } => {
                self.readers
                    .offer(reader, *class, (*seq).min(self.last_seq));
                Outcome::Done
            }
            PeerOp::Take { reader, class, seq } => {
                self.readers.take(reader, *class, (*seq).min(self.last_seq));
                Outcome::Done
            }
            PeerOp::Log(entry) => {
                let length = self.log.len() as u64;
                if entry.seq == length {
                    self.log.push(entry.as_ref().clone());
                }
                done_if(entry.seq <= length)
            }
            PeerOp::ChannelLog(entry) => done_if(self.channels.log(entry)),
            PeerOp::ChannelKey(key) => {
                self.channels.key(key);
                Outcome::Done
            }
            PeerOp::DropChannelKey(id) => done_if(self.channels.drop_key(id)),
            PeerOp::Value(value) => {
                self.channels.value(value);
                Outcome::Done
            }
            PeerOp::Pin(pin) => {
                self.pins.insert(pin.name.clone(), pin.value.clone());
                Outcome::Done
            }
            PeerOp::Unpin(name) => done_if(self.pins.remove(name).is_some()),
            PeerOp::Answer { seq, accept } => self.answer(*seq, *accept),
            PeerOp::SetRule { who, rule } => done_if(self.rules.set(*who, *rule)),
            PeerOp::Prune { now } => Outcome::Count(self.prune(*now)),
        }
    }

    fn enqueue(&mut self, message: &NewOutbox) -> Outcome {
        if self.places.contains_key(&message.id) {
            return Outcome::Duplicate;
        }
        self.last_place += 1;
        let place = self.last_place;
        self.places.insert(message.id.clone(), place);
        let row = OutboxRow {
            place,
            message: NewOutbox {
                created_at: message.created_at.min(MAX_NUMBER),
                expires_at: message.expires_at.min(MAX_NUMBER),
                ..message.clone()
            },
            state: SendState::Queued,
            broker_id: None,
            reason: None,
        };
        self.outbox.insert(place, Sending { row, final_at: 0 });
        Outcome::Row(place)
    }

    fn queued(&mut self, id: &MessageId) -> Option<&mut Sending> {
        let sending = self.outbox.get_mut(self.places.get(id)?)?;
        (sending.row.state == SendState::Queued).then_some(sending)
    }

    fn finish(
        &mut self,
        id: &MessageId,
        state: SendState,
        reason: Option<String>,
        at: u64,
    ) -> bool {
        let place = self.places.get(id).copied().unwrap_or_default();
        match self.outbox.get_mut(&place) {
            Some(sending) if !sending.row.state.is_final() => {
                sending.row.state = state;
                sending.row.reason = reason;
                sending.final_at = at.min(MAX_NUMBER);
                self.finals.insert(place);
                true
            }
            _ => false,
        }
    }

    fn adopt(&mut self, from: u32, to: u32) -> Outcome {
        let mut count = 0;
        for Sending { row, .. } in self.outbox.values_mut() {
            if from != to && row.message.lane == from && row.state == SendState::Queued {
                row.message.lane = to;
                count += 1;
            }
        }
        Outcome::Count(count)
    }

    fn insert(&mut self, message: &NewInbox) -> Outcome {
        let key = (message.sender, message.delivery.dedupe.clone());
        if self.known.contains(&key) {
            return Outcome::Duplicate;
        }
        let own = self.held.iter().filter_map(|seq| self.inbox.get(seq));
        let own = own.filter(|held| held.sender == message.sender).count() as u64;
        let full = self.held.len() as u64 >= MAX_HELD || own >= MAX_HELD_OF_ONE;
        let keeping = self.rules.keeping(message, full);
        if keeping == Keeping::Dropped {
            return Outcome::Dropped;
        }
        self.known.insert(key.clone());
        self.known_order.push_back(key);
        self.last_seq += 1;
        let seq = self.last_seq;
        match (keeping, message.kind) {
            (Keeping::Held, _) => self.held.insert(seq),
            (_, Kind::Direct | Kind::Channel) => {
                self.readable[message.priority as usize].insert(seq)
            }
            (_, Kind::Rejected) => self.rejected.insert(seq),
        };
        if keeping == Keeping::Muted {
            self.muted.insert(seq);
        }
        self.inbox_bytes += message.body.len();
        let message = NewInbox {
            sent_at: message.sent_at.min(MAX_NUMBER),
            received_at: message.received_at.min(MAX_NUMBER),
            device_of: None,
            ..message.clone()
        };
        self.inbox.insert(seq, message);
        match keeping {
            Keeping::Muted => Outcome::Muted(seq),
            Keeping::Held => Outcome::Held(seq),
            Keeping::Readable | Keeping::Dropped => Outcome::Row(seq),
        }
    }

    /// The owner has answered about a held message.
    fn answer(&mut self, seq: u64, accept: bool) -> Outcome {
        if !self.held.remove(&seq) {
            return Outcome::NotThere;
        }
        let Some(mut message) = self.inbox.remove(&seq) else {
            return Outcome::NotThere;
        };
        if !accept {
            self.inbox_bytes -= message.body.len();
            message.kind = Kind::Rejected;
            message.body = DENIED.as_bytes().to_vec();
            self.inbox_bytes += message.body.len();
            self.rejected.insert(seq);
            self.inbox.insert(seq, message);
            return Outcome::Done;
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        self.readable[message.priority as usize].insert(seq);
        self.inbox.insert(seq, message);
        Outcome::Row(seq)
    }

    fn prune(&mut self, now: u64) -> u64 {
        self.readers.forget_idle(now.min(MAX_NUMBER));
        let before = now.min(MAX_NUMBER).saturating_sub(KEEP_MS);
        let old: Vec<u64> = self
            .finals
            .iter()
            .copied()
            .filter(|place| self.outbox.get(place).is_some_and(|s| s.final_at < before))
            .take(PRUNE_STEP as usize)
            .collect();
        old.iter().for_each(|place| self.drop_final(*place));
        let mut read: Vec<u64> = Vec::new();
        for class in Priority::ALL {
            let passed = self.readers.passed_by_all(class);
            read.extend(self.readable[class as usize].range(..=passed));
        }
        read.extend(&self.rejected);
        read.extend(&self.held);
        read.retain(|seq| self.inbox.get(seq).is_some_and(|m| m.received_at < before));
        read.truncate(PRUNE_STEP as usize - old.len());
        for seq in &read {
            // The row's key goes with it, as in a file.
            if let Some(message) = self.drop_inbox(*seq) {
                self.known
                    .remove(&(message.sender, message.delivery.dedupe));
            }
        }
        self.known_order.retain(|key| self.known.contains(key));
        let pruned = old.len() + read.len();
        let locked = self.channels.prune(before, PRUNE_STEP as usize - pruned);
        (pruned + locked) as u64
    }

    fn drop_final(&mut self, place: u64) {
        self.finals.remove(&place);
        if let Some(sending) = self.outbox.remove(&place) {
            self.places.remove(&sending.row.message.id);
        }
    }

    fn drop_inbox(&mut self, seq: u64) -> Option<NewInbox> {
        let message = self.inbox.remove(&seq)?;
        self.inbox_bytes -= message.body.len();
        self.readable[message.priority as usize].remove(&seq);
        self.rejected.remove(&seq);
        self.muted.remove(&seq);
        self.held.remove(&seq);
        Some(message)
    }

    /// Keeps the bounds; see [`MemoryStore`].
    fn trim(&mut self) {
        while self.finals.len() > FINAL_ROWS
            && let Some(place) = self.finals.first().copied()
        {
            self.drop_final(place);
        }
        while self.known_order.len() > DEDUPE_KEYS
            && let Some(key) = self.known_order.pop_front()
        {
            self.known.remove(&key);
        }
        while self.inbox.len() > INBOX_ROWS || self.inbox_bytes > INBOX_BYTES {
            let taken = Priority::ALL.into_iter().filter_map(|class| {
                let first = self.readable[class as usize].first().copied();
                first.filter(|seq| *seq <= self.readers.passed_by_any(class))
            });
            let Some(seq) = taken.chain(self.rejected.first().copied()).min() else {
                break;
            };
            self.drop_inbox(seq);
        }
    }

    fn sending(
        &self,
        after: u64,
        limit: u32,
        wanted: impl Fn(&OutboxRow) -> bool,
    ) -> Vec<OutboxRow> {
        let rows = self
            .outbox
            .range(after.saturating_add(1)..)
            .map(|(_, sending)| &sending.row);
        rows.filter(|row| wanted(row))
            .take(limit as usize)
            .cloned()
            .collect()
    }

    fn unread<'a>(
        &'a self,
        reader: &'a ReaderName,
        session: Option<PublicKey>,
    ) -> impl Iterator<Item = InboxRow> + 'a {
        let mine = move |row: &InboxRow| row.message.to.is_none() || row.message.to == session;
        let rows = Priority::ALL.into_iter().flat_map(move |class| {
            let (cursor, offered) = self.readers.position(reader, class);
            let seqs = self.readable[class as usize].range(cursor.saturating_add(1)..);
            seqs.filter_map(move |seq| self.received(*seq, *seq <= offered))
        });
        rows.filter(mine)
    }

    fn received(&self, seq: u64, again: bool) -> Option<InboxRow> {
        let message = self.inbox.get(&seq)?.clone();
        Some(InboxRow {
            seq,
            message,
            again,
            muted: self.muted.contains(&seq),
        })
    }
}

const fn done_if(changed: bool) -> Outcome {
    if changed {
        Outcome::Done
    } else {
        Outcome::NotThere
    }
}

impl PeerStore for MemoryStore {
    fn apply(&mut self, ops: &[PeerOp]) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = ops.iter().map(|op| self.change(op)).collect();
        self.trim();
        Ok(outcomes)
    }

    fn read(&self, query: &Query) -> Result<Rows, StoreError> {
        Ok(match query {
            Query::Outbox {
                lane,
                after,
                except,
                limit,
            } => {
                let except: HashSet<&Target> = except.iter().collect();
                Rows::Outbox(self.sending(*after, *limit, |row| {
                    row.state == SendState::Queued
                        && row.message.lane == *lane
                        && !except.contains(&row.message.to)
                }))
            }
            Query::OutboxById(ids) => {
                let places = ids.iter().filter_map(|id| self.places.get(id));
                let rows = places.filter_map(|place| self.outbox.get(place));
                Rows::Outbox(rows.map(|sending| sending.row.clone()).collect())
            }
            Query::OutboxAccepted { after, limit } => {
                Rows::Outbox(self.sending(*after, *limit, |row| row.state == SendState::Accepted))
            }
            Query::OutboxList { all, limit } => {
                let rows = self.outbox.values().rev().map(|sending| &sending.row);
                let wanted = rows.filter(|row| *all || !row.state.is_final());
                let mut newest: Vec<OutboxRow> = wanted.take(*limit as usize).cloned().collect();
                newest.reverse();
                Rows::Outbox(newest)
            }
            Query::Lanes => {
                let rows = self.outbox.values().map(|sending| &sending.row);
                let queued = rows.filter(|row| row.state == SendState::Queued);
                let lanes: BTreeSet<u32> = queued.map(|row| row.message.lane).collect();
                Rows::Lanes(lanes.into_iter().collect())
            }
            Query::Unread { reader, limit } => {
                Rows::Inbox(self.unread(reader, None).take(*limit as usize).collect())
            }
            Query::UnreadOf {
                reader,
                session,
                waking,
                limit,
            } => {
                let unread = || self.unread(reader, *session);
                let rows = if !waking || unread().any(|row| !row.muted) {
                    unread().take(*limit as usize).collect()
                } else {
                    Vec::new()
                };
                Rows::Inbox(rows)
            }
            Query::Held { limit } => {
                let rows = self.held.iter().take(*limit as usize);
                Rows::Inbox(rows.filter_map(|seq| self.received(*seq, false)).collect())
            }
            Query::Rules => Rows::Rules(self.rules.all()),
            Query::Inbox { limit } => {
                let seqs = self.inbox.keys().rev();
                let seqs = seqs.filter(|seq| !self.held.contains(seq));
                let seqs = seqs.take(*limit as usize);
                let mut rows: Vec<InboxRow> =
                    seqs.filter_map(|seq| self.received(*seq, false)).collect();
                rows.reverse();
                Rows::Inbox(rows)
            }
            Query::Log { from, limit } => {
                let from = usize::try_from(*from).unwrap_or(usize::MAX);
                let entries = self.log.iter().skip(from).take(*limit as usize);
                Rows::Log(entries.cloned().collect())
            }
            Query::Locked { key_id, limit } => {
                Rows::Locked(self.channels.locked(key_id.as_ref(), *limit))
            }
            Query::ChannelLogs => Rows::ChannelLogs(self.channels.logs()),
            Query::ChannelKeys => Rows::ChannelKeys(self.channels.keys()),
            Query::Values => Rows::Values(self.channels.values()),
            Query::Pins => {
                let pins = self.pins.iter();
                Rows::Pins(
                    pins.map(|(name, value)| Pin {
                        name: name.clone(),
                        value: value.clone(),
                    })
                    .collect(),
                )
            }
        })
    }

    fn version(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
