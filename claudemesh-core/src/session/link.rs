//! The connection: opening it, hello, losing it, trying again.

use super::{Event, Lie, Out, Retry, Session, SessionError, clean};
use crate::id::{Name, Status};
use crate::identity::{hello_bytes, prove_hello};
use crate::message::FORM;
use crate::wire::{
    CAP_CHANNELS, CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, CAP_VALUES, CloseCode, ErrorFrame, Fetch,
    Frame as _, Hello, HelloAck, SessionHello, SetStatus, errors::code,
};

/// What a session of ours understands, as it says in its hello and signs in its statement.
pub(super) const CAPABILITIES: [&str; 5] = [
    CAP_DELIVERY,
    CAP_ENVELOPE,
    CAP_LOG,
    CAP_CHANNELS,
    CAP_VALUES,
];
/// Milliseconds until the hello must be answered.
const HELLO_ACK_MS: u64 = 10_000;
/// Milliseconds of silence after which the broker is taken for gone; it pings every 30 s.
const SILENCE_MS: u64 = 75_000;
/// Milliseconds for which a connection must have stood before its loss counts as the first one:
/// a broker that takes the hello and hangs up is not asked again every half second.
const STEADY_MS: u64 = 10_000;
/// A broker takes `working` back by itself after this many milliseconds; it is said again at half
/// of them.
const WORKING_MS: u64 = 120_000;
/// Milliseconds of the longest pause between two tries.
const MAX_BACKOFF_MS: u64 = 30_000;
/// The pin that remembers that this mesh's broker sends challenges.
pub(crate) const PIN_CHALLENGE: &str = "challenge";
/// Characters of the name of a broker's store that are remembered.
const MAX_STORE_NAME: usize = 128;
/// The pin that remembers which store of the broker this peer's messages are in.
pub(crate) const PIN_STORE: &str = "broker_store";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No socket; the next try is due then.
    Down { retry_at: u64 },
    /// The socket is being opened.
    Connecting,
    /// The hello is out.
    Greeting { until: u64 },
    /// The hello was taken.
    Ready,
    /// The broker lied or sent nonsense: the socket is being closed.
    Closing,
    /// Removed or kicked: no further try.
    Ended { kicked: bool },
}

/// Where the connection stands.
pub(super) struct Link {
    state: State,
    failures: u32,
    heard_at: u64,
    /// Since when the connection stands.
    ready_at: Option<u64>,
    refusal: Option<String>,
    /// Whether the broker knows receipts, outcomes and many ids in one frame.
    delivery: bool,
    /// Whether the broker serves the membership log.
    log: bool,
    /// Whether it serves channels.
    channels: bool,
    /// Whether it keeps sealed values.
    values: bool,
    /// When the status is said again.
    status_at: Option<u64>,
    /// The own session's address is to be said with the next status.
    address_wanted: bool,
    /// By how many ms the broker's clock is ahead, where that was told.
    ahead: i64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: State::Down { retry_at: 0 },
            failures: 0,
            heard_at: 0,
            ready_at: None,
            refusal: None,
            delivery: false,
            log: false,
            channels: false,
            values: false,
            status_at: None,
            address_wanted: false,
            ahead: 0,
        }
    }
}

impl Link {
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether frames of the broker count: the hello is out, and the socket was not given up.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Ready)
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Why nothing is taken any more.
    pub(super) fn ended(&self) -> SessionError {
        if self.state == (State::Ended { kicked: true }) {
            let why = "the broker's operator ended this connection";
            SessionError::NotConnected(why.to_owned())
        } else {
            SessionError::Removed
        }
    }

    pub(super) fn has_log(&self) -> bool {
        self.log
    }

    pub(super) fn has_channels(&self) -> bool {
        self.channels
    }

    pub(super) fn has_values(&self) -> bool {
        self.values
    }

    pub(super) fn has_delivery(&self) -> bool {
        self.delivery
    }

    pub(super) fn address_wanted(&mut self) {
        self.address_wanted = true;
    }

    pub(super) fn take_address_wanted(&mut self) -> bool {
        std::mem::take(&mut self.address_wanted)
    }

    /// Unix ms by the broker's clock.
    pub(super) fn wall(&self, now: super::Now) -> u64 {
        now.wall.saturating_add_signed(self.ahead)
    }

    pub(super) fn heard(&mut self, mono: u64) {
        self.heard_at = mono;
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Down { retry_at } => Some(retry_at),
            State::Greeting { until } => Some(until),
            State::Ready => {
                let silent = self.heard_at + SILENCE_MS;
                Some(self.status_at.map_or(silent, |at| at.min(silent)))
            }
            State::Connecting | State::Closing | State::Ended { .. } => None,
        }
    }
}

impl Session {
    pub(super) fn tick_link(&mut self) {
        let mono = self.now.mono;
        match self.link.state {
            State::Down { retry_at } if mono >= retry_at => {
                self.link.state = State::Connecting;
                self.out.push_back(Out::Connect);
            }
            State::Greeting { until } if mono >= until => {
                self.lose("the broker did not answer the hello");
            }
            State::Ready if mono >= self.link.heard_at + SILENCE_MS => {
                self.lose("the broker has been silent for 75 s");
            }
            State::Ready if self.link.status_at.is_some_and(|at| mono >= at) => self.tell_status(),
            _ => {}
        }
    }

    pub(super) fn opened(&mut self, challenge: Option<[u8; 32]>, date: Option<u64>) {
        if self.link.state != State::Connecting {
            return;
        }
        self.link.heard_at = self.now.mono;
        match &challenge {
            Some(_) => self.pin(PIN_CHALLENGE, "1"),
            None if self.pins.contains_key(PIN_CHALLENGE) => {
                self.event(Event::LiedTo(Lie::ChallengeMissing));
                self.lose("the broker sent no challenge although it did before");
                return;
            }
            None => {}
        }
        let wall = date.unwrap_or(self.now.wall);
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.link.ahead = signed(wall).saturating_sub(signed(self.now.wall));
        self.link.address_wanted = false;
        let shown = self.greets_as(challenge.is_some());
        let session = match shown {
            Some(key) => Some(self.hello_of_session(&key, wall)),
            None => self.session_hello(wall),
        };
        let text = match session {
            Some(hello) => self.filled_session_hello(hello, wall),
            None => self.hello(wall),
        };
        let host = self.config.broker.authority();
        let own = self.addresses.own.as_ref().map(|own| &own.session.key);
        let key = own.unwrap_or(&self.config.key);
        let text = match &challenge {
            Some(challenge) => prove_hello(&text, challenge, &host, key),
            None => text,
        };
        self.link.state = State::Greeting {
            until: self.now.mono + HELLO_ACK_MS,
        };
        self.out.push_back(Out::Transmit(text));
    }

    fn hello(&self, wall: u64) -> String {
        let config = &self.config;
        let pubkey = config.key.public().to_hex();
        let (mesh, member) = (config.mesh.as_str(), config.member_id.as_str());
        let signature = config
            .key
            .sign(hello_bytes(mesh, member, &pubkey, wall).as_bytes());
        let mut hello = Hello::new(mesh, member, pubkey, wall, signature.to_hex());
        hello.display_name = config.name.as_ref().map(|name| name.as_str().to_owned());
        hello.session_id = Some(config.session_id.clone());
        // The reference's broker wants both; neither says anything unless its owner asked for it.
        hello.pid = Some(0);
        hello.cwd = Some(config.about.cwd.clone().unwrap_or_default());
        hello.hostname.clone_from(&config.about.hostname);
        hello.peer_type.clone_from(&config.about.peer_type);
        hello.channel.clone_from(&config.about.channel);
        hello.model.clone_from(&config.about.model);
        hello.capabilities = Some(CAPABILITIES.map(str::to_owned).to_vec());
        // By the own clock: a broker must not choose when a statement of this member holds.
        hello.statement = self.own_statement(self.now.wall);
        hello.durable = Some(config.durable);
        hello.receive = Some(config.receive);
        hello.presence = Some(config.presence);
        debug_assert_eq!(FORM, CAP_ENVELOPE);
        hello.encode()
    }

    /// A session's hello, with what any hello says.
    fn filled_session_hello(&self, mut hello: SessionHello, wall: u64) -> String {
        let config = &self.config;
        let name = config.name.clone().map(|name| self.name_of_session(name));
        hello.display_name = name.map(|name| name.as_str().to_owned());
        hello.session_id = Some(config.session_id.clone());
        hello.pid = Some(0);
        hello.cwd = Some(config.about.cwd.clone().unwrap_or_default());
        hello.hostname.clone_from(&config.about.hostname);
        hello.peer_type.clone_from(&config.about.peer_type);
        hello.channel.clone_from(&config.about.channel);
        hello.model.clone_from(&config.about.model);
        hello.capabilities = Some(CAPABILITIES.map(str::to_owned).to_vec());
        hello.statement = self.own_statement(wall);
        hello.durable = Some(config.durable);
        hello.receive = Some(config.receive);
        hello.presence = Some(config.presence);
        hello.encode()
    }

    /// How this peer is shown: the member's name, with the session's if it is one.
    pub(super) fn name_of_session(&self, name: Name) -> Name {
        let Some(own) = &self.addresses.own else {
            return name;
        };
        let session = own.session.name.as_str();
        let mut stem = name.as_str();
        loop {
            match Name::new(format!("{stem}/{session}")) {
                Ok(whole) => return whole,
                // Too long: the member's part is cut.
                Err(_) => match stem.char_indices().next_back() {
                    Some((at, _)) if at > 0 => stem = stem.get(..at).unwrap_or_default(),
                    _ => return name,
                },
            }
        }
    }

    pub(super) fn hello_ack(&mut self, ack: &HelloAck) {
        if !matches!(self.link.state, State::Greeting { .. }) {
            return;
        }
        self.link.state = State::Ready;
        self.link.ready_at = Some(self.now.mono);
        self.link.refusal = None;
        self.link.delivery = ack.has(CAP_DELIVERY);
        self.link.log = ack.has(CAP_LOG);
        self.link.channels = ack.has(CAP_CHANNELS);
        self.link.values = ack.has(CAP_VALUES);
        let mut other_store = false;
        if let Some(broker) = &ack.broker {
            let store = clean(&broker.store, MAX_STORE_NAME);
            other_store = self.pins.get(PIN_STORE).is_some_and(|held| *held != store);
            if other_store {
                self.requeue();
                self.channels_suspect();
            }
            self.pin(PIN_STORE, &store);
        }
        self.audit_head_shown(ack.audit_head.as_ref(), other_store);
        self.ready();
        self.own_session_ready();
        self.acknowledge_early();
        if self.config.receive && self.link.delivery {
            self.transmit(Fetch::default());
        }
        if self.status != Status::Idle {
            self.tell_status();
        }
        self.log_head_shown(ack.log_head.as_ref());
        if !self.repost.is_behind() {
            self.check_channels();
        }
        self.existing_ready();
    }

    pub(super) fn tell_status(&mut self) {
        if !self.link.is_ready() {
            return;
        }
        let address = self.address_to_tell();
        let working = self.status == Status::Working;
        self.link.status_at = working.then_some(self.now.mono + WORKING_MS / 2);
        self.transmit(SetStatus {
            status: self.status.as_str().to_owned(),
            ttl_ms: working.then_some(WORKING_MS),
            address,
        });
    }

    pub(super) fn error_frame(&mut self, error: &ErrorFrame) {
        if matches!(self.link.state, State::Greeting { .. }) {
            let (code, message) = (clean(&error.code, 64), clean(&error.message, 256));
            if code == code::REVOKED {
                self.removed(message.clone());
            } else {
                let message = message.clone();
                self.event(Event::Refused { code, message });
            }
            self.link.refusal = Some(message);
        } else {
            self.request_failed(error);
        }
    }

    pub(super) fn closed(&mut self, code: Option<u16>, reason: String) {
        if matches!(self.link.state, State::Ended { .. } | State::Down { .. }) {
            return;
        }
        let reason = clean(&reason, 256);
        match code.map(CloseCode) {
            Some(CloseCode::BANNED) => self.removed(reason),
            Some(CloseCode::KICKED) => {
                self.event(Event::Kicked);
                self.end(true);
            }
            _ => {
                let reason = match (&self.link.refusal, code) {
                    (Some(message), _) => message.clone(),
                    (None, Some(code)) if reason.is_empty() => format!("closed with code {code}"),
                    _ => reason,
                };
                self.disconnected(reason);
            }
        }
    }

    /// This member is out: no further try.
    pub(super) fn removed(&mut self, reason: String) {
        if !self.link.is_ended() {
            self.event(Event::Removed { reason });
            self.end(false);
        }
    }

    fn end(&mut self, kicked: bool) {
        self.out.push_back(Out::Close(CloseCode::NORMAL.0));
        self.link.state = State::Ended { kicked };
        self.connection_lost(&self.link.ended().to_string());
    }

    /// Closes the socket from this side; the close comes back as [`super::In::Closed`].
    pub(super) fn lose(&mut self, reason: &str) {
        if !self.link.is_open() && self.link.state != State::Connecting {
            return;
        }
        self.link.refusal = Some(reason.to_owned());
        self.link.state = State::Closing;
        self.out.push_back(Out::Close(CloseCode::NORMAL.0));
    }

    fn disconnected(&mut self, reason: String) {
        self.link.refusal = None;
        let stood = self
            .link
            .ready_at
            .take()
            .map(|at| self.now.mono.saturating_sub(at));
        if stood.is_some_and(|stood| stood >= STEADY_MS) {
            self.link.failures = 0;
        }
        self.link.status_at = None;
        let pause = match self.config.retry {
            Retry::Every(ms) => ms,
            Retry::Backoff if self.link.failures == 0 => self.rng.below(1_000),
            Retry::Backoff => {
                let cap = 1_000u64 << (self.link.failures - 1).min(5);
                self.rng.below(cap.min(MAX_BACKOFF_MS)).max(50)
            }
        };
        self.link.failures = self.link.failures.saturating_add(1);
        self.link.state = State::Down {
            retry_at: self.now.mono + pause,
        };
        self.connection_lost(&reason);
        self.event(Event::Reconnecting {
            reason,
            in_ms: pause,
        });
    }

    fn connection_lost(&mut self, reason: &str) {
        self.outbox.connection_closed();
        self.inbox.connection_closed();
        self.log.connection_closed();
        self.repost.connection_closed();
        self.audit_connection_lost(reason);
        self.gossip.connection_closed();
        self.statements.connection_closed();
        self.addresses.connection_closed();
        self.existing.connection_closed();
        self.unserved.connection_closed();
        self.fail_requests(reason);
        self.online_lost();
        self.values_connection_lost();
        self.channels.connection_closed();
        self.channels_idle();
    }
}
