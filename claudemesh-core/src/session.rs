//! A peer's connection to one mesh as a machine without I/O.
//!
//! [`Session::handle`] takes an input, [`Session::poll`] gives the outputs until there is none,
//! [`Session::deadline`] says when [`In::Tick`] is due. The machine has no clock, socket, file or
//! randomness of its own: the time comes with each input, random bytes from a seed. So the same
//! machine runs under tokio, in a simulation and behind foreign bindings.
//!
//! What needs durability is not put out before the store has answered: a message is handed to the
//! network after it is in the outbox, and acknowledged to the broker after it is in the inbox.

mod addresses;
mod answers;
mod audit;
mod bare;
mod channels;
mod existing;
mod first_use;
mod gossip;
mod inbox;
mod keep;
mod legacy;
mod link;
mod log;
mod online;
mod outbox;
mod repost;
mod requests;
mod service;
mod standing;
mod statements;
mod types;
mod unserved;
mod values;

pub use addresses::OwnSession;
pub use existing::{KeyTrust, KnownKey, Trust};
pub use legacy::{LEGACY_KEY_CHANGED, LEGACY_PLAINTEXT};
#[cfg(feature = "client")]
pub(crate) use link::{PIN_CHALLENGE, PIN_STORE};
pub use types::{
    About, AuditReport, ChannelView, Command, CommandId, Event, In, Kept, Lie, NotReached, Now,
    Out, Outgoing, Protection, Reply, Retry, Said, Scheduled, Served, Service, SessionConfig,
    SessionError, SessionHere, StatementFault, StoreToken, WhoIsHere,
};
#[cfg(feature = "client")]
pub(crate) use values::{SUMMARY_LOCKED, SUMMARY_PROTECTED};

use std::collections::{HashMap, VecDeque};

use serde::Deserialize as _;

use crate::crypto::{DirectKey, Drbg, KeyError, X25519Secret};
use crate::id::{KeyId, PublicKey, Status};
use crate::membership::Log;
use crate::store::{OutboxRow, Outcome, PeerOp, Pin, Query, Rows, StoreError};
use crate::wire::{
    Ack, Acks, AuditRows, CancelScheduledAck, CaughtUp, ErrorFrame, Frame, HelloAck, HistoryPage,
    KeyPublished, Keys, LogAppended, LogEntries, MemoryResults, MemoryStored, NewKey,
    OutcomesResult, PeersList, Push, Receipt, ScheduleDue, ScheduleTaken, ScheduledAck,
    ScheduledList, SignedBlob, StateChange, StateList, StateResult, StateSaved, WireError,
    frame_type,
};

/// Shared keys kept at most; making one costs a key agreement.
const MAX_DIRECT_KEYS: usize = 1_024;

/// Writes under way beyond which no more frames are to be handed in.
const MAX_STORING: usize = 1_024;
/// Those who wait for everything to be settled, at most.
const MAX_SETTLING: usize = 1_024;

/// What the session does with the answer of the store.
enum StoreWork {
    Enqueued(outbox::Enqueued),
    SentMarked(outbox::Page),
    /// One event for each operation; told if it changed something.
    AnswerSaved(Vec<Event>),
    Inserted(inbox::Batch),
    Cancelled {
        command: CommandId,
        id: crate::id::MessageId,
    },
    Adopted(CommandId),
    Requeued,
    Redrafted,
    /// What a schedule of this peer's own has sent.
    Due(outbox::Enqueued, ScheduleTaken),
    Answered(CommandId, Reply),
    /// A key that this peer made for a channel, without a log.
    RoomKey(crate::id::ChannelName, KeyId),
    /// Must be kept in the end: tried again if it fails.
    Kept(Vec<PeerOp>),
}

enum LoadWork {
    OutboxPage(outbox::Scan),
    /// Rows of which some were given up while they were marked as sent.
    Marked(outbox::Page),
    Accepted(answers::Asking),
    /// How far these messages are is to be told.
    Tell,
    Refresh(CommandId),
    /// Locked messages under this key; none: all, whose keys are to be asked for.
    Locked(Option<KeyId>),
    /// What another process of this peer trusts, and the keys that it got.
    Pins,
    RoomKeys,
    /// Entries of the log that the broker has lost.
    Repost(u64),
    /// Entries of channels' logs that it has lost.
    ChannelReposts,
}

/// The machine. See the module's text.
pub struct Session {
    config: SessionConfig,
    secret: X25519Secret,
    rng: Drbg,
    now: Now,
    out: VecDeque<Out>,
    next_token: StoreToken,
    storing: HashMap<StoreToken, StoreWork>,
    loading: HashMap<StoreToken, LoadWork>,
    keys: HashMap<PublicKey, DirectKey>,
    /// As `keys`, with the session's own secret.
    session_keys: HashMap<PublicKey, DirectKey>,
    pins: HashMap<String, String>,
    status: Status,
    link: link::Link,
    outbox: outbox::Outbox,
    inbox: inbox::Inbox,
    online: online::Online,
    log: log::LogSync,
    repost: repost::Repost,
    audit: audit::Audit,
    gossip: gossip::Gossip,
    statements: statements::Statements,
    addresses: addresses::Addresses,
    first_use: first_use::FirstUse,
    existing: existing::Existing,
    unserved: unserved::Unserved,
    requests: requests::Requests,
    keep: keep::Keep,
    channels: channels::Channels,
    values: values::Values,
    settling: VecDeque<CommandId>,
}

impl Session {
    /// A session that begins to connect at its first tick. `seed` is 32 bytes from the system's
    /// random source; `log` and `pins` are what the store holds.
    pub fn new(config: SessionConfig, seed: [u8; 32], log: Option<Log>, pins: Vec<Pin>) -> Self {
        let secret = X25519Secret::of(&config.key);
        let status = config.status;
        let mut session = Self {
            secret,
            status,
            rng: Drbg::new(seed),
            now: Now { mono: 0, wall: 0 },
            out: VecDeque::new(),
            next_token: 0,
            storing: HashMap::new(),
            loading: HashMap::new(),
            keys: HashMap::new(),
            session_keys: HashMap::new(),
            pins: pins.into_iter().map(|pin| (pin.name, pin.value)).collect(),
            link: link::Link::default(),
            outbox: outbox::Outbox::default(),
            inbox: inbox::Inbox::default(),
            online: online::Online::default(),
            log: log::LogSync::new(log),
            repost: repost::Repost::default(),
            audit: audit::Audit::default(),
            gossip: gossip::Gossip::default(),
            statements: statements::Statements::default(),
            addresses: addresses::Addresses::default(),
            first_use: first_use::FirstUse::default(),
            existing: existing::Existing::default(),
            unserved: unserved::Unserved::default(),
            requests: requests::Requests::default(),
            keep: keep::Keep::default(),
            channels: channels::Channels::default(),
            values: values::Values::default(),
            settling: VecDeque::new(),
            config,
        };
        session.restore_addresses();
        session
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: In) {
        self.now = now;
        match input {
            In::Opened { challenge, date } => self.opened(challenge, date),
            // After the socket was given up nothing that still comes from it counts.
            In::Frame(text) if self.link.is_open() => {
                self.link.heard(now.mono);
                self.frame(&text);
            }
            In::Frame(_) => {}
            In::Alive => self.link.heard(now.mono),
            In::Closed { code, reason } => self.closed(code, reason),
            In::Stored(token, result) => self.stored(token, result),
            In::Loaded(token, result) => self.loaded(token, result),
            In::Command(id, command) => self.command(id, command),
            In::Changed => {
                self.outbox.rescan();
                self.look_soon();
            }
            In::Tick => {}
        }
        self.tick();
        self.take_in_turn();
        self.flush_inbox();
        self.check_settled();
    }

    /// The next output, if there is one.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// When [`In::Tick`] is due, in ms of [`Now::mono`].
    pub fn deadline(&self) -> Option<u64> {
        [
            self.link.deadline(),
            self.addresses.deadline(self.link.is_ready()),
            self.outbox.deadline(self.link.is_ready()),
            self.inbox.deadline(),
            self.requests.deadline(),
            self.online.deadline(),
            self.gossip.deadline(),
            self.repost.deadline(),
            self.audit.deadline(),
            self.keep.deadline(),
            self.channels.deadline(),
            self.values.deadline(),
            self.existing.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether the next frame may be handed in. While this is false the store is behind: whoever
    /// reads the socket waits, so that a broker that sends faster than the disk writes fills no
    /// memory.
    pub fn wants_frames(&self) -> bool {
        self.storing.len() < MAX_STORING
    }

    /// Whether the broker has taken the hello.
    pub fn is_ready(&self) -> bool {
        self.link.is_ready()
    }

    /// The membership log, if there is one.
    pub fn membership(&self) -> Option<&Log> {
        self.log.held()
    }

    fn tick(&mut self) {
        self.tick_link();
        self.tick_addresses();
        self.tick_requests();
        self.tick_online();
        self.tick_gossip();
        self.tick_repost();
        self.tick_audit();
        self.tick_keep();
        self.tick_channels();
        self.tick_values();
        self.tick_existing();
        self.tick_outbox();
    }

    fn frame(&mut self, text: &str) {
        // A frame that does not decode is the broker's fault and changes nothing here.
        drop(self.read_frame(text));
    }

    /// Not by way of [`BrokerFrame`](crate::wire::BrokerFrame), which knows more than a peer asks for.
    fn read_frame(&mut self, text: &str) -> Result<(), WireError> {
        match frame_type(text)?.as_str() {
            HelloAck::TYPE => self.hello_ack(&HelloAck::read(text)?),
            ErrorFrame::TYPE => self.error_frame(&ErrorFrame::read(text)?),
            Ack::TYPE => self.ack(&Ack::read(text)?),
            Acks::TYPE => self.acks(&Acks::read(text)?.items),
            Push::TYPE => {
                let push = Push::read(text)?;
                // Any other subtype is the sender's word, and the message is one like all others.
                if push.is_event() {
                    self.broker_event(&push);
                } else {
                    self.push(push, text.len());
                }
            }
            Receipt::TYPE => self.receipt(&Receipt::read(text)?),
            OutcomesResult::TYPE => self.outcomes_result(&OutcomesResult::read(text)?),
            LogEntries::TYPE => self.log_entries(&LogEntries::read(text)?),
            LogAppended::TYPE => self.log_appended(&LogAppended::read(text)?),
            AuditRows::TYPE => self.audit_rows(AuditRows::read(text)?),
            PeersList::TYPE => self.peers_list(PeersList::read(text)?),
            CaughtUp::TYPE => {
                CaughtUp::read(text)?;
                self.caught_up();
            }
            Keys::TYPE => self.keys_came(&Keys::read(text)?),
            NewKey::TYPE => self.new_key(&NewKey::read(text)?),
            KeyPublished::TYPE => self.key_published(&KeyPublished::read(text)?),
            HistoryPage::TYPE => self.history_page(HistoryPage::read(text)?),
            StateSaved::TYPE => self.state_saved(&StateSaved::read(text)?),
            StateResult::TYPE => self.state_result(StateResult::read(text)?),
            StateList::TYPE => self.state_list(StateList::read(text)?),
            StateChange::TYPE => {
                let key = clean(&StateChange::read(text)?.key, 256);
                self.event(Event::StateChanged { key });
            }
            MemoryStored::TYPE => self.memory_stored(MemoryStored::read(text)?),
            MemoryResults::TYPE => self.memory_results(MemoryResults::read(text)?),
            ScheduledAck::TYPE => self.scheduled(ScheduledAck::read(text)?),
            ScheduledList::TYPE => self.scheduled_list(ScheduledList::read(text)?),
            CancelScheduledAck::TYPE => {
                self.schedule_cancelled(&CancelScheduledAck::read(text)?);
            }
            ScheduleDue::TYPE => self.schedule_due(&ScheduleDue::read(text)?),
            kind if self.unserved(kind) => {}
            kind => {
                if !self.served(kind, text)? {
                    self.existing_frame(kind, text);
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, id: CommandId, command: Command) {
        match command {
            Command::Send(message) => self.send(id, &message),
            Command::SendOnline(message) => self.send_online(id, &message),
            Command::ListPeers => self.list_peers(id),
            Command::SyncLog => self.sync_log(Some(id)),
            Command::Append { body, invite_token } => self.append(id, body, invite_token),
            Command::SyncChannel(name) => self.sync_channel(id, &name),
            Command::AppendChannel { channel, body } => self.append_channel(id, &channel, body),
            Command::History {
                channel,
                before,
                limit,
            } => self.history(id, &channel, before, limit),
            Command::SetState {
                key,
                body,
                if_version,
            } => self.set_state(id, key, body, if_version),
            Command::GetState(key) => self.get_state(id, key),
            Command::ListState => self.list_state(id),
            Command::Remember { body, tags } => self.remember(id, body, tags),
            Command::ListMemories => self.list_memories(id),
            Command::Forget(memory) => self.forget(id, memory),
            Command::SetSummary(text) => self.set_summary(id, text),
            Command::Schedule { message, at } => self.schedule(id, *message, at),
            Command::ScheduleCron { message, cron } => self.schedule_cron(id, &message, &cron),
            Command::ListScheduled => self.list_scheduled(id),
            Command::CancelScheduled(schedule) => self.cancel_scheduled(id, schedule),
            Command::Audit { all } => self.read_audit(id, all),
            Command::AcceptAudit => self.accept_audit(id),
            Command::Service(wish) => self.serve(id, wish),
            Command::Trust(key) => self.trust(id, key),
            Command::Distrust(key) => self.distrust(id, key),
            Command::KnownKeys => {
                let known = self.known_keys();
                self.done(id, Ok(Reply::KnownKeys(known)));
            }
            Command::SetStatus(status) => self.set_status(id, status),
            Command::SetWake(wake) => {
                self.set_wake(wake);
                self.done(id, Ok(Reply::Done));
            }
            Command::KnownSessions => {
                let known = self.known_sessions();
                self.done(id, Ok(Reply::Sessions(known)));
            }
            Command::Cancel(message) => {
                let op = PeerOp::Cancel {
                    id: message.clone(),
                    at: self.now.wall,
                };
                self.store(
                    vec![op],
                    StoreWork::Cancelled {
                        command: id,
                        id: message,
                    },
                );
            }
            Command::Taken(ids) => {
                self.acknowledge(ids);
                self.done(id, Ok(Reply::Done));
            }
            Command::Adopt(lane) => {
                let op = PeerOp::Adopt {
                    from: lane,
                    to: self.config.lane,
                };
                self.store(vec![op], StoreWork::Adopted(id));
            }
            Command::Refresh(ids) => {
                self.load(Query::OutboxById(ids), LoadWork::Refresh(id));
            }
            Command::Settle => self.settle(id),
        }
    }

    fn stored(&mut self, token: StoreToken, result: Result<Vec<Outcome>, StoreError>) {
        let Some(work) = self.storing.remove(&token) else {
            return;
        };
        match work {
            StoreWork::Enqueued(work) => self.enqueued(work, result),
            StoreWork::SentMarked(page) => self.sent_marked(page, result),
            StoreWork::AnswerSaved(events) => self.answer_saved(events, result),
            StoreWork::Inserted(batch) => self.inserted(batch, result),
            StoreWork::Cancelled { command, id } => {
                let reply = result.map(|outcomes| outcomes.first() == Some(&Outcome::Done));
                if reply == Ok(true) {
                    self.event(Event::Sent {
                        id,
                        state: crate::store::SendState::Failed,
                        reason: Some("cancelled".to_owned()),
                        recipients: None,
                    });
                }
                self.done(command, reply.map(Reply::Cancelled).map_err(Into::into));
            }
            StoreWork::Adopted(command) => {
                self.outbox.rescan();
                self.done(command, result.map(|_| Reply::Done).map_err(Into::into));
            }
            StoreWork::Requeued => self.requeued(result),
            StoreWork::Redrafted => self.redrafted(result),
            StoreWork::Due(work, taken) => self.due_enqueued(work, taken, result),
            StoreWork::Answered(command, reply) => {
                self.done(command, result.map(|_| reply).map_err(Into::into));
            }
            StoreWork::RoomKey(name, key_id) => self.room_key_kept(&name, key_id, result),
            StoreWork::Kept(ops) => self.kept(ops, result),
        }
    }

    fn loaded(&mut self, token: StoreToken, result: Result<Rows, StoreError>) {
        let Some(work) = self.loading.remove(&token) else {
            return;
        };
        match (work, result) {
            (LoadWork::OutboxPage(scan), result) => self.outbox_page(scan, result),
            (LoadWork::Marked(page), result) => self.marked_rows(&page, result),
            (LoadWork::Accepted(asking), result) => self.accepted_rows(asking, result),
            (LoadWork::Locked(key_id), result) => self.locked_rows(key_id, result),
            (LoadWork::Pins, result) => self.pins_loaded(result),
            (LoadWork::RoomKeys, result) => self.room_keys_loaded(result),
            (LoadWork::Repost(number), result) => self.repost_loaded(number, result),
            (LoadWork::ChannelReposts, result) => self.channel_reposts_loaded(result),
            (LoadWork::Tell, Ok(Rows::Outbox(rows))) => self.tell_rows(&rows),
            (LoadWork::Refresh(id), Ok(Rows::Outbox(rows))) => {
                self.tell_rows(&rows);
                self.done(id, Ok(Reply::Done));
            }
            (LoadWork::Refresh(id), Err(error)) => self.done(id, Err(error.into())),
            (_, Err(error)) => self.event(Event::StoreFailed(error)),
            (_, Ok(_)) => {}
        }
    }

    fn tell_rows(&mut self, rows: &[OutboxRow]) {
        for row in rows {
            self.event(types::sent_event(row));
        }
    }

    /// The connection is up and the hello was taken: everything that waits goes on.
    fn ready(&mut self) {
        self.event(Event::Connected);
        self.outbox.connection_opened();
        self.load_accepted(answers::Asking::default());
        if self.link.has_channels() {
            self.ask_for_locked();
            self.watch_state();
        }
        self.summary_wanted();
    }

    fn broker_event(&mut self, push: &Push) {
        let text = |name: &str| {
            let value = push.event_data.as_ref().and_then(|data| data.get(name));
            let text = value
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            clean(text, 128)
        };
        match push.event.as_deref() {
            Some("peer_joined" | "peer_returned") => {
                self.presence_changed();
                let (key, told) = (text("pubkey"), text("name"));
                let shown = push.event_data.as_ref().and_then(|d| d.get("statement"));
                let shown = shown.and_then(|value| SignedBlob::deserialize(value).ok());
                let address = push.event_data.as_ref().and_then(|d| d.get("address"));
                let address = address.and_then(|value| SignedBlob::deserialize(value).ok());
                if let Some(address) = address {
                    self.learn_address(&address);
                }
                let (name, verified) = self.judge_arrival(&key, told, shown.as_ref());
                self.event(Event::PeerOnline {
                    key,
                    name,
                    verified,
                });
            }
            Some("peer_left") => {
                self.presence_changed();
                self.event(Event::PeerOffline {
                    key: text("pubkey"),
                    name: text("name"),
                });
            }
            _ => {}
        }
    }

    /// The shared key with a peer, made once.
    fn direct_key(&mut self, theirs: &PublicKey) -> Result<&DirectKey, KeyError> {
        if !self.keys.contains_key(theirs) {
            if self.keys.len() >= MAX_DIRECT_KEYS {
                self.keys.clear();
            }
            self.keys
                .insert(*theirs, DirectKey::agree(&self.secret, theirs)?);
        }
        self.keys.get(theirs).ok_or(KeyError::Weak)
    }

    /// As [`Self::direct_key`], for what is sealed for the session that this peer is.
    fn session_direct_key(&mut self, theirs: &PublicKey) -> Result<&DirectKey, KeyError> {
        if !self.session_keys.contains_key(theirs) {
            let own = self.session_secret().ok_or(KeyError::Weak)?;
            let key = DirectKey::agree(own, theirs)?;
            if self.session_keys.len() >= MAX_DIRECT_KEYS {
                self.session_keys.clear();
            }
            self.session_keys.insert(*theirs, key);
        }
        self.session_keys.get(theirs).ok_or(KeyError::Weak)
    }

    fn settle(&mut self, id: CommandId) {
        if self.link.is_ended() {
            return self.done(id, Err(self.link.ended()));
        }
        // Who asked first has most likely stopped waiting.
        if self.settling.len() >= MAX_SETTLING
            && let Some(oldest) = self.settling.pop_front()
        {
            self.done(oldest, Err(SessionError::Timeout));
        }
        self.settling.push_back(id);
    }

    fn check_settled(&mut self) {
        if self.settling.is_empty() {
            return;
        }
        let result = if self.link.is_ended() {
            Err(self.link.ended())
        } else if self.outbox.is_settled() && self.inbox.is_settled() {
            Ok(Reply::Done)
        } else {
            return;
        };
        for id in std::mem::take(&mut self.settling) {
            self.done(id, result.clone());
        }
    }

    fn pin(&mut self, name: &str, value: &str) {
        if self.pins.get(name).is_none_or(|held| held != value) {
            self.pins.insert(name.to_owned(), value.to_owned());
            let pin = Pin {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            self.keep(vec![PeerOp::Pin(pin)]);
        }
    }

    fn store(&mut self, ops: Vec<PeerOp>, work: StoreWork) {
        self.next_token += 1;
        self.storing.insert(self.next_token, work);
        self.out.push_back(Out::Store(self.next_token, ops));
    }

    fn load(&mut self, query: Query, work: LoadWork) {
        self.next_token += 1;
        self.loading.insert(self.next_token, work);
        self.out.push_back(Out::Load(self.next_token, query));
    }

    fn transmit(&mut self, frame: impl Frame) {
        self.out.push_back(Out::Transmit(frame.encode()));
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Out::Event(event));
    }

    fn done(&mut self, id: CommandId, result: Result<Reply, SessionError>) {
        self.out.push_back(Out::Done(id, result));
    }
}

/// What another side said, fit to be shown: without control characters, cut to a length.
fn clean(text: &str, length: usize) -> String {
    (text.chars().filter(|c| !c.is_control()).take(length)).collect()
}
