//! What the handles of a peer and its task share.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use super::receipt::Receipts;
use super::store_thread::StoreHandle;
use crate::config::SessionIdentity;
use crate::id::{Hash, SessionName};
use crate::membership::Log;
use crate::session::Event;

/// Events that wait for a slow listener at most; it misses older ones.
const EVENTS: usize = 1_024;

/// Where a peer's connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// Not yet tried.
    Starting,
    /// The broker has taken the hello.
    Connected,
    /// Lost or not made, and why; it is tried again.
    Waiting(String),
    /// This member is out of the mesh, and what is known of it; no further try.
    Removed(String),
    /// The broker's operator ended the connection; no further try.
    Kicked,
    /// This peer was closed.
    Closed,
}

impl Connection {
    /// Whether there will be no further try.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Removed(_) | Self::Kicked | Self::Closed)
    }
}

impl std::fmt::Display for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting => f.write_str("connecting"),
            Self::Connected => f.write_str("connected"),
            Self::Waiting(reason) | Self::Removed(reason) => f.write_str(reason),
            Self::Kicked => f.write_str("the broker's operator ended this connection"),
            Self::Closed => f.write_str("this peer was closed"),
        }
    }
}

pub(super) struct Shared {
    pub(super) store: StoreHandle,
    pub(super) receipts: Receipts,
    connection: watch::Sender<Connection>,
    /// By how many ms the broker's clock is ahead of this machine's; `i64::MIN` if unknown.
    clock: AtomicI64,
    inbox: watch::Sender<u64>,
    caught_up: watch::Sender<bool>,
    log: watch::Sender<Option<Arc<Log>>>,
    /// None once the peer was closed: then streams of events end.
    events: Mutex<Option<broadcast::Sender<Event>>>,
    reading: AtomicBool,
    /// The session that this peer is.
    session: Mutex<Option<SessionIdentity>>,
}

impl Shared {
    pub(super) fn new(
        store: StoreHandle,
        log: Option<Log>,
        session: Option<SessionIdentity>,
    ) -> Self {
        Self {
            session: Mutex::new(session),
            store,
            receipts: Receipts::default(),
            connection: watch::Sender::new(Connection::Starting),
            clock: AtomicI64::new(i64::MIN),
            inbox: watch::Sender::new(0),
            caught_up: watch::Sender::new(false),
            log: watch::Sender::new(log.map(Arc::new)),
            events: Mutex::new(Some(broadcast::Sender::new(EVENTS))),
            reading: AtomicBool::new(false),
        }
    }

    pub(super) fn session(&self) -> Option<SessionIdentity> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// The session has another name: it is kept, for the next time. Blocks for the disk. If it
    /// cannot be kept, the next connection finds it out anew.
    pub(super) fn session_renamed(&self, name: &SessionName) {
        let Some(mut renamed) = self.session() else {
            return;
        };
        let _ = renamed.rename(name);
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = Some(renamed);
    }

    pub(super) fn connection_is(&self, connection: Connection) {
        if !matches!(connection, Connection::Connected) {
            self.caught_up.send_replace(false);
        }
        let ended = connection.is_ended();
        self.connection.send_replace(connection);
        // After that: who waited for a receipt asks at once why there will be none.
        if ended {
            self.receipts.ended();
        }
    }

    pub(super) fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    pub(super) fn clock_is(&self, ahead_ms: i64) {
        self.clock.store(ahead_ms, Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> Option<i64> {
        Some(self.clock.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MIN)
    }

    pub(super) fn inbox_changed(&self) {
        self.inbox
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn inbox(&self) -> watch::Receiver<u64> {
        self.inbox.subscribe()
    }

    pub(super) fn caught_up(&self) {
        self.caught_up.send_replace(true);
    }

    pub(super) fn catching_up(&self) -> watch::Receiver<bool> {
        self.caught_up.subscribe()
    }

    /// Publishes the log if it has another head than the one published.
    pub(super) fn log_is(&self, log: Option<&Log>) {
        let head = |log: &Log| -> (u64, Hash) { (log.head().seq, log.head().hash) };
        let same = self.log.borrow().as_deref().map(head) == log.map(head);
        if !same {
            self.log.send_replace(log.cloned().map(Arc::new));
        }
    }

    pub(super) fn log(&self) -> Option<Arc<Log>> {
        self.log.borrow().clone()
    }

    pub(super) fn tell(&self, event: Event) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = events.as_ref() {
            // Nobody listening is no error.
            let _ = events.send(event);
        }
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match events.as_ref() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// There is nothing more to tell.
    pub(super) fn closed(&self) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        *events = None;
    }

    /// Takes the right to read, until the result is dropped; none if somebody has it.
    pub(super) fn begin_reading(self: &Arc<Self>) -> Option<Reading> {
        let free = !self.reading.swap(true, Ordering::AcqRel);
        free.then(|| Reading(Arc::clone(self)))
    }
}

/// The right to read.
pub(super) struct Reading(Arc<Shared>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.store(false, Ordering::Release);
    }
}
