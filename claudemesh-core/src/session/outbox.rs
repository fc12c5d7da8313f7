//! Sending: seal once, store, transmit in order, follow up until the fate is known.

mod seal;

pub(super) use seal::{Framing, is_bare, send_frame};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::channels::{is_draft, sealed_under};
use super::keep::Pause;
use super::{CommandId, Event, LoadWork, Outgoing, Reply, Session, StoreWork};
use crate::id::{ChannelName, MessageId, Target};
use crate::store::{NewOutbox, OutboxRow, Outcome, PeerOp, Query, Rows, SendState, StoreError};
use crate::wire::{Receipt, ScheduleTaken};

/// Sends that wait for their ack at most; the rest waits in the store.
const MAX_UNANSWERED: usize = 256;
/// Rows of one page from the store.
const PAGE: usize = 128;
/// Milliseconds after which a send without an answer makes the connection suspect.
const ANSWER_MS: u64 = 30_000;

/// A message that is being written to the store.
pub(super) struct Enqueued {
    command: CommandId,
    /// For the recipient, and for each of its devices.
    rows: Vec<NewOutbox>,
    /// Whether it is unprotected.
    bare: bool,
    /// The connection on which it was to be transmitted at once.
    connection: u64,
}

/// Rows that are being marked as sent.
pub(super) struct Page {
    rows: Vec<OutboxRow>,
    connection: u64,
}

/// Which reading of the lane a page belongs to: pages of an earlier one say nothing about what the
/// later one has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scan(u64);

pub(super) struct Unanswered {
    pub(super) to: Target,
    pub(super) expires_at: u64,
    since: u64,
    /// The message, if it is for a channel: it may have to be sealed anew.
    pub(super) message: Option<Box<NewOutbox>>,
}

/// What is under way from the outbox.
pub(super) struct Outbox {
    /// Counts connections: what was stored for an earlier one is not transmitted on a later one.
    connection: u64,
    pub(super) unanswered: HashMap<MessageId, Unanswered>,
    /// Counts readings of the lane from its start.
    scan: u64,
    /// The last place that was read in this one.
    cursor: u64,
    /// There may be rows after the cursor.
    behind: bool,
    loading: bool,
    marking: bool,
    enqueuing: usize,
    /// Targets for which the broker took nothing, until when in ms of the clock.
    pub(super) held: BTreeMap<Target, u64>,
    /// How often in a row that was so.
    pub(super) refusals: HashMap<Target, u32>,
    /// Channels whose key is not here yet, or no longer good.
    waiting: BTreeSet<ChannelName>,
    pub(super) accepted: HashMap<String, MessageId>,
    /// Receipts of messages whose ack has not come yet, by the broker's id.
    pub(super) early: HashMap<String, Receipt>,
    /// Broker ids of messages that it had before they were sent again.
    pub(super) doubtful: Vec<String>,
    /// What was answered since the page under way was asked for, and may still stand in it.
    answered: HashSet<MessageId>,
    /// The store failed: nothing new is taken from it for a while.
    retry: Pause,
    /// Answers were lost: they are asked for again after a while.
    pub(super) recover: Pause,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            connection: 0,
            unanswered: HashMap::new(),
            scan: 0,
            cursor: 0,
            // What earlier processes left was not looked at yet.
            behind: true,
            loading: false,
            marking: false,
            enqueuing: 0,
            held: BTreeMap::new(),
            refusals: HashMap::new(),
            waiting: BTreeSet::new(),
            accepted: HashMap::new(),
            early: HashMap::new(),
            doubtful: Vec::new(),
            answered: HashSet::new(),
            retry: Pause::default(),
            recover: Pause::default(),
        }
    }
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
        self.waiting.clear();
        self.doubtful.clear();
        self.early.clear();
        // The next connection asks for every answer anyway.
        self.recover.worked();
        self.behind = true;
    }

    /// Reads the lane again from its start; what is under way is left out.
    pub(super) fn rescan(&mut self) {
        self.scan += 1;
        self.cursor = 0;
        self.behind = true;
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unanswered.is_empty()
            && !self.loading
            && !self.marking
            && self.enqueuing == 0
            && !self.behind
            && !self.recover.is_on()
            && self.held.is_empty()
            && self.waiting.is_empty()
    }

    /// What waits for this channel's key is looked at again.
    pub(super) fn release(&mut self, channel: &ChannelName) {
        if self.waiting.remove(channel) {
            self.rescan();
        }
    }

    /// What was refused for now, for some targets, is sent again at once.
    pub(super) fn release_if(&mut self, back: impl Fn(&Target) -> bool) {
        let held = self.held.len();
        self.held.retain(|target, _| !back(target));
        if self.held.len() < held {
            self.rescan();
        }
    }

    /// What was refused for now is sent again at once.
    pub(super) fn release_held(&mut self) {
        self.held.clear();
        self.refusals.clear();
        self.rescan();
    }

    /// Answers are awaited only on a connection that stands.
    pub(super) fn deadline(&self, ready: bool) -> Option<u64> {
        let answers = self.unanswered.values().map(|sent| sent.since + ANSWER_MS);
        let answers = answers.filter(|_| ready);
        let pauses = [self.retry.until(), self.recover.until()];
        (self.held.values().copied())
            .chain(answers)
            .chain(pauses.into_iter().flatten())
            .min()
    }

    /// Takes a send off the list of those without an answer.
    pub(super) fn answer(&mut self, id: &MessageId) -> Option<Unanswered> {
        let sent = self.unanswered.remove(id)?;
        if self.loading {
            self.answered.insert(id.clone());
        }
        Some(sent)
    }

    /// Whether what is stored next is next in line, too.
    fn in_line(&self, to: &Target) -> bool {
        let waits = to.channel().is_some_and(|name| self.waiting.contains(name));
        !self.behind && !self.loading && !self.marking && !waits && !self.held.contains_key(to)
    }
}

impl Session {
    pub(super) fn send(&mut self, command: CommandId, message: &Outgoing) {
        match self.seal_all(message) {
            Ok((mut rows, bare)) => {
                for row in &mut rows {
                    // Only what would be next in line goes out right away.
                    let ready = match &row.to {
                        Target::Peer(_) => !(self.has_no_log() && is_draft(&row.frame)),
                        Target::Channel(_) if bare => true,
                        Target::Channel(name) => self.is_sealed_for_now(name, &row.frame),
                    };
                    let outbox = &mut self.outbox;
                    row.sent = self.link.is_ready()
                        && ready
                        && outbox.in_line(&row.to)
                        && outbox.unanswered.len() + outbox.enqueuing < MAX_UNANSWERED;
                    outbox.enqueuing += 1;
                }
                let connection = self.outbox.connection;
                let ops = rows.iter().cloned().map(Box::new).map(PeerOp::Enqueue);
                let ops = ops.collect();
                let work = Enqueued {
                    command,
                    rows,
                    bare,
                    connection,
                };
                self.store(ops, StoreWork::Enqueued(work));
            }
            Err(error) => self.done(command, Err(error)),
        }
    }

    /// Whether a frame is sealed under the channel's newest key, and that is good.
    fn is_sealed_for_now(&mut self, name: &ChannelName, frame: &str) -> bool {
        let key = self.is_channel_ready(name);
        key.is_some() && key == sealed_under(frame)
    }

    /// Keeps what a schedule of this peer's own sends; the broker is told once it is kept.
    pub(super) fn enqueue_due(&mut self, rows: Vec<NewOutbox>, taken: ScheduleTaken) {
        self.outbox.enqueuing += rows.len();
        let ops = rows.iter().cloned().map(Box::new).map(PeerOp::Enqueue);
        let ops = ops.collect();
        let work = Enqueued {
            command: 0,
            rows,
            bare: false,
            connection: self.outbox.connection,
        };
        self.store(ops, StoreWork::Due(work, taken));
    }

    pub(super) fn due_enqueued(
        &mut self,
        work: Enqueued,
        taken: ScheduleTaken,
        result: Result<Vec<Outcome>, StoreError>,
    ) {
        self.outbox.enqueuing = self.outbox.enqueuing.saturating_sub(work.rows.len());
        match result {
            Ok(_) if self.link.is_ready() => self.transmit(taken),
            Ok(_) => {}
            // It is handed over again on the next connection.
            Err(error) => self.event(Event::StoreFailed(error)),
        }
        self.outbox.behind = true;
    }

    pub(super) fn enqueued(&mut self, work: Enqueued, result: Result<Vec<Outcome>, StoreError>) {
        self.outbox.enqueuing = self.outbox.enqueuing.saturating_sub(work.rows.len());
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Whether it was kept may not be known.
                self.outbox.behind = true;
                return self.done(work.command, Err(error.into()));
            }
        };
        let mut ids = work.rows.iter().map(|row| row.id.clone());
        if let Some(id) = ids.next() {
            let reply = match work.bare {
                true => Reply::QueuedBare(id),
                false => Reply::Queued(id, ids.collect()),
            };
            self.done(work.command, Ok(reply));
        }
        for (row, outcome) in work.rows.iter().zip(outcomes) {
            let place = match outcome {
                Outcome::Row(place) => place,
                // An id is made from fresh random bytes; it is not there twice.
                _ => 0,
            };
            // Rows that were stored before it may have turned up since it was sent to the store.
            let at_once = row.sent
                && self.link.is_ready()
                && work.connection == self.outbox.connection
                && self.outbox.in_line(&row.to);
            if at_once {
                self.outbox.cursor = self.outbox.cursor.max(place);
                self.hand_over(row);
            } else {
                self.outbox.behind = true;
            }
        }
    }

    fn hand_over(&mut self, row: &NewOutbox) {
        let to_channel = row.to.channel().is_some();
        let sent = Unanswered {
            to: row.to.clone(),
            expires_at: row.expires_at,
            since: self.now.mono,
            message: to_channel.then(|| Box::new(row.clone())),
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
        // Out of every pause, whether there is a connection or not: a deadline must not stay.
        let retried = self.outbox.retry.over(mono);
        if self.outbox.recover.over(mono) && self.link.is_ready() {
            self.recover();
        }
        if retried || !self.outbox.retry.is_on() {
            self.pump();
        }
    }

    fn pump(&mut self) {
        let outbox = &mut self.outbox;
        let room = MAX_UNANSWERED.saturating_sub(outbox.unanswered.len());
        let stuck = !self.link.is_ready() || !outbox.behind || outbox.loading || outbox.marking;
        if stuck || room == 0 {
            return;
        }
        outbox.loading = true;
        outbox.answered.clear();
        let waiting = outbox.waiting.iter().cloned().map(Target::Channel);
        let except = outbox.held.keys().cloned().chain(waiting).collect();
        let limit = u32::try_from(room.min(PAGE)).unwrap_or(1);
        let query = Query::Outbox {
            lane: self.config.lane,
            after: outbox.cursor,
            except,
            limit,
        };
        // Rows enqueued from here on are seen by the next page.
        outbox.behind = false;
        let scan = Scan(outbox.scan);
        self.load(query, LoadWork::OutboxPage(scan));
    }

    pub(super) fn outbox_page(&mut self, scan: Scan, result: Result<Rows, StoreError>) {
        self.outbox.loading = false;
        let rows = match result {
            Ok(Rows::Outbox(rows)) => rows,
            Ok(_) => return,
            Err(error) => {
                self.outbox.behind = true;
                self.outbox.retry.failed(self.now.mono);
                return self.event(Event::StoreFailed(error));
            }
        };
        if scan != Scan(self.outbox.scan) || !self.link.is_ready() {
            self.outbox.behind = true;
            return;
        }
        let Some(last) = rows.last().map(|row| row.place) else {
            return;
        };
        self.outbox.behind = true;
        self.outbox.cursor = self.outbox.cursor.max(last);
        let wall = self.now.wall;
        let (expired, rows): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .filter(|row| !self.outbox.unanswered.contains_key(&row.message.id))
            .filter(|row| !self.outbox.answered.contains(&row.message.id))
            .partition(|row| !row.message.sent && row.message.expires_at <= wall);
        let expired = expired.into_iter().map(|row| {
            let reason = Some("expired".to_owned());
            (row.message.id, SendState::Failed, reason)
        });
        self.finish(expired.collect());
        let (rows, mut ops) = self.prepare(rows);
        let fresh: Vec<MessageId> = (rows.iter())
            .filter(|row| !row.message.sent)
            .map(|row| row.message.id.clone())
            .collect();
        let page = Page {
            rows,
            connection: self.outbox.connection,
        };
        if fresh.is_empty() {
            self.outbox.retry.worked();
            self.hand_over_page(&page);
        } else {
            self.outbox.marking = true;
            ops.push(PeerOp::Sent(fresh));
            self.store(ops, StoreWork::SentMarked(page));
        }
    }

    /// Leaves out what waits for its channel's key, and seals what is a draft or was sealed under
    /// an earlier one; the operations store that before it goes out.
    fn prepare(&mut self, rows: Vec<OutboxRow>) -> (Vec<OutboxRow>, Vec<PeerOp>) {
        let (mut ready, mut ops, mut ends) =
            (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        for mut row in rows {
            // What was handed over once goes again as it was: the broker knows it by its bytes.
            if row.message.sent {
                ready.push(row);
                continue;
            }
            if let Some(why) = self.outdated(&row.message) {
                ends.push((row.message.id, SendState::Failed, Some(why)));
                continue;
            }
            let Target::Channel(name) = &row.message.to else {
                match self.for_peer_now(&row.message) {
                    Ok(None) => ready.push(row),
                    Ok(Some(frame)) => {
                        row.message.frame.clone_from(&frame);
                        let id = row.message.id.clone();
                        ops.push(PeerOp::Seal { id, frame });
                        ready.push(row);
                    }
                    Err(None) => {}
                    Err(why) => ends.push((row.message.id, SendState::Failed, why)),
                }
                continue;
            };
            if is_bare(&row.message.frame) {
                // In plain, as it was said; this broker is still one that serves nothing else.
                ready.push(row);
                continue;
            }
            let name = name.clone();
            if let Some(why) = self.channel_verdict(&name) {
                ends.push((row.message.id, SendState::Failed, Some(why)));
                continue;
            }
            let Some(key_id) = self.is_channel_ready(&name) else {
                self.outbox.waiting.insert(name);
                continue;
            };
            if sealed_under(&row.message.frame) != Some(key_id) {
                match self.reseal(&row.message, &name, &key_id) {
                    Ok(frame) => row.message.frame = frame,
                    Err(error) => {
                        ends.push((row.message.id, SendState::Failed, Some(error.to_string())));
                        continue;
                    }
                }
                let (id, frame) = (row.message.id.clone(), row.message.frame.clone());
                ops.push(PeerOp::Seal { id, frame });
            }
            ready.push(row);
        }
        self.finish(ends);
        let waiting: Vec<ChannelName> = self.outbox.waiting.iter().cloned().collect();
        for name in waiting {
            self.want_channel(&name);
        }
        (ready, ops)
    }

    /// The broker says that a message is sealed for somebody who is in the channel no longer: it
    /// is sealed anew, under the same id, once the next key is there.
    pub(super) fn stale(&mut self, row: &NewOutbox) {
        let Some(name) = row.to.channel().cloned() else {
            return;
        };
        match self.redraft(row, &name) {
            Ok(frame) => {
                let id = row.id.clone();
                self.outbox.enqueuing += 1;
                self.store(vec![PeerOp::Seal { id, frame }], StoreWork::Redrafted);
            }
            Err(error) => {
                let why = Some(error.to_string());
                self.finish(vec![(row.id.clone(), SendState::Failed, why)]);
            }
        }
        self.channel_stale(&name);
    }

    pub(super) fn redrafted(&mut self, result: Result<Vec<Outcome>, StoreError>) {
        self.outbox.enqueuing = self.outbox.enqueuing.saturating_sub(1);
        if let Err(error) = result {
            // It stands there as it was sent; the broker says once more that it is stale.
            self.outbox.retry.failed(self.now.mono);
            self.event(Event::StoreFailed(error));
        }
        self.outbox.rescan();
    }

    pub(super) fn sent_marked(&mut self, page: Page, result: Result<Vec<Outcome>, StoreError>) {
        match result {
            // The last operation marks them; those before it sealed some.
            Ok(outcomes) if outcomes.last() == Some(&Outcome::NotThere) => {
                // Some were given up while they were on their way here; which, the store knows.
                let ids = page.rows.iter().map(|row| row.message.id.clone());
                let query = Query::OutboxById(ids.collect());
                self.load(query, LoadWork::Marked(page));
            }
            Ok(_) => {
                self.outbox.marking = false;
                self.outbox.retry.worked();
                self.hand_over_page(&page);
            }
            Err(error) => self.page_failed(error),
        }
    }

    pub(super) fn marked_rows(&mut self, page: &Page, result: Result<Rows, StoreError>) {
        match result {
            Ok(Rows::Outbox(rows)) => {
                self.outbox.marking = false;
                let queued = rows
                    .into_iter()
                    .filter(|row| row.state == SendState::Queued);
                self.hand_over_page(&Page {
                    rows: queued.collect(),
                    connection: page.connection,
                });
            }
            Ok(_) => self.outbox.marking = false,
            Err(error) => self.page_failed(error),
        }
    }

    fn page_failed(&mut self, error: StoreError) {
        self.outbox.marking = false;
        self.outbox.retry.failed(self.now.mono);
        self.outbox.rescan();
        self.event(Event::StoreFailed(error));
    }

    fn hand_over_page(&mut self, page: &Page) {
        if !self.link.is_ready() || page.connection != self.outbox.connection {
            return self.outbox.rescan();
        }
        for row in &page.rows {
            // A recipient that is held by now is read again when it is not any more.
            if !self.outbox.held.contains_key(&row.message.to) {
                self.hand_over(&row.message);
            }
        }
    }
}
