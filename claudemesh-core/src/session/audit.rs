//! The broker's audit table as far as this peer watches it: the newest signed head that it was
//! shown is pinned, and the owner's and admins' peers check the rows in between.
//!
//! What was found is not smoothed over: until a person takes the table as it is, the head that was
//! pinned stays, so that the rows are held against it whenever they are checked.

use std::collections::VecDeque;

use super::requests::Asked;
use super::{AuditReport, CommandId, Event, Lie, Reply, Session, SessionError, StoreWork};
use crate::audit::{AuditError, Head, Place, Reading, Record};
use crate::id::{Hash, PublicKey};
use crate::store::{PeerOp, Pin};
use crate::wire::{AuditGet, AuditHead, AuditRows, errors::code};

/// Rows that an answer has at most: the newest.
const MAX_ROWS: usize = 10_000;
/// Milliseconds of the longest pause between two pages that a broker may ask for.
const MAX_WAIT_MS: u64 = 60_000;
/// The broker's audit key, in hex.
const PIN_KEY: &str = "audit_key";
/// The newest head that was seen: its number, and its hash in hex.
const PIN_HEAD: &str = "audit_head";
/// Up to where the rows were checked, in the same form.
const PIN_CHECKED: &str = "audit_checked";
/// Whether the broker was caught at something since a person last took the table as it is.
const PIN_CAUGHT: &str = "audit_caught";

/// A check under way.
struct Work {
    command: CommandId,
    reading: Reading,
    rows: VecDeque<Record>,
    /// The head that is checked against: of the first page.
    head: Option<Head>,
}

/// What is known of the table on this connection.
#[derive(Default)]
pub(super) struct Audit {
    /// As it was shown in the answer to the hello, if its signature holds.
    shown: Option<Head>,
    work: Option<Box<Work>>,
    /// When the next page is asked for once more, in ms of the clock: the broker was busy.
    again_at: Option<u64>,
}

impl Audit {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.again_at
    }
}

impl Session {
    /// What the answer to the hello says of the table. `other`: the broker's store is another one
    /// than before, so its table is a new one.
    pub(super) fn audit_head_shown(&mut self, shown: Option<&AuditHead>, other: bool) {
        if other {
            self.unpin_audit();
        }
        let Some(shown) = shown else {
            if self.audit_pin(PIN_HEAD).is_some() {
                self.event(Event::LiedTo(Lie::AuditMissing));
            }
            return;
        };
        let head = shown.head().map_err(|_| AuditError::BadSignature);
        let head = head.and_then(|head| head.check(&self.config.mesh, None).map(|()| head));
        let head = match head {
            Ok(head) => head,
            Err(error) => return self.event(Event::LiedTo(Lie::BadAuditHead(error))),
        };
        self.audit.shown = Some(head);
        let (key, place) = (head.key.to_hex(), head.place);
        if (self.pins.get(PIN_KEY)).is_some_and(|held| !held.is_empty() && *held != key) {
            self.audit_caught();
            return self.event(Event::LiedTo(Lie::AuditKeyChanged));
        }
        let held = self.audit_pin(PIN_HEAD);
        if held.is_none() {
            self.pin(PIN_KEY, &key);
            self.pin(PIN_HEAD, &text(&place));
            if other {
                self.event(Event::AuditBegins { n: place.n });
            }
        } else {
            self.audit_moves(place);
        }
    }

    /// The table stands at this signed place now. False if it is not the one that was seen before.
    fn audit_moves(&mut self, place: Place) -> bool {
        let held = self.audit_pin(PIN_HEAD).unwrap_or(Place::START);
        if place.n < held.n || (place.n == held.n && place.hash != held.hash) {
            let (held, shown) = (held.n, place.n);
            self.audit_caught();
            // A backup that was put back has lost more than rows of this table.
            self.channels_suspect();
            self.event(Event::LiedTo(Lie::AuditRollback { held, shown }));
            return false;
        }
        if !self.is_audit_caught() {
            self.pin(PIN_HEAD, &text(&place));
        }
        true
    }

    fn audit_caught(&mut self) {
        self.pin(PIN_CAUGHT, "1");
    }

    fn is_audit_caught(&self) -> bool {
        self.pins.get(PIN_CAUGHT).is_some_and(|value| value == "1")
    }

    fn audit_pin(&self, name: &str) -> Option<Place> {
        let (n, hash) = self.pins.get(name)?.split_once(' ')?;
        Some(Place {
            n: n.parse().ok()?,
            hash: Hash::from_hex(hash).ok()?,
        })
    }

    fn unpin_audit(&mut self) {
        for name in [PIN_KEY, PIN_HEAD, PIN_CHECKED, PIN_CAUGHT] {
            if self.pins.contains_key(name) {
                self.pin(name, "");
            }
        }
    }

    pub(super) fn accept_audit(&mut self, command: CommandId) {
        let Some(head) = self.audit.shown else {
            let why = "the broker has shown no audit head on this connection".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        };
        self.unpin_audit();
        let pins = [(PIN_KEY, head.key.to_hex()), (PIN_HEAD, text(&head.place))];
        for (name, value) in pins {
            self.pin(name, &value);
        }
        self.store(Vec::new(), StoreWork::Answered(command, Reply::Done));
    }

    pub(super) fn read_audit(&mut self, command: CommandId, all: bool) {
        if !self.link.is_ready() {
            let why = "waiting for the connection".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        if self.audit.work.is_some() {
            return self.done(command, Err(SessionError::Contention));
        }
        let from = self.audit_pin(PIN_CHECKED).filter(|_| !all);
        let seen = self.audit_pin(PIN_HEAD);
        self.audit.work = Some(Box::new(Work {
            command,
            reading: Reading::new(self.config.mesh.clone(), from, seen),
            rows: VecDeque::new(),
            head: None,
        }));
        self.get_audit(command, from.map_or(0, |from| from.n));
    }

    fn get_audit(&mut self, command: CommandId, from: u64) {
        let req_id = Some(self.ask(Asked::Audit(command)));
        self.transmit(AuditGet { from, req_id });
    }

    pub(super) fn audit_rows(&mut self, page: AuditRows) {
        let Some(Asked::Audit(command)) = self.requests.take(page.req_id.as_deref()) else {
            return;
        };
        let Some(mut work) = self.audit.work.take() else {
            return;
        };
        match self.audit_page(&mut work, page) {
            Ok(false) => {
                let from = work.reading.place().n;
                self.audit.work = Some(work);
                self.get_audit(command, from);
            }
            Ok(true) => self.audit_done(*work, None),
            Err(fault) => {
                self.audit_caught();
                self.event(Event::LiedTo(Lie::AuditAltered(fault.clone())));
                self.audit_done(*work, Some(fault));
            }
        }
    }

    fn audit_page(&self, work: &mut Work, page: AuditRows) -> Result<bool, AuditError> {
        let head = page.head.head().map_err(|_| AuditError::BadSignature)?;
        let key = self.pins.get(PIN_KEY);
        let key = key.and_then(|key| PublicKey::from_hex(key).ok());
        head.check(&self.config.mesh, key.as_ref())?;
        let base = page.base.place().map_err(|_| AuditError::Altered {
            n: work.reading.place().n,
        })?;
        let rows: Vec<Record> = page.rows.into_iter().map(Into::into).collect();
        let taken = work.reading.page(base, &rows, &head);
        work.head.get_or_insert(head);
        let count = taken.as_ref().map_or(rows.len(), |(taken, _)| *taken);
        for row in rows.into_iter().take(count) {
            if work.rows.len() == MAX_ROWS {
                work.rows.pop_front();
            }
            work.rows.push_back(row);
        }
        taken.map(|(_, done)| done)
    }

    fn audit_done(&mut self, work: Work, fault: Option<AuditError>) {
        let mut ops = Vec::new();
        if let (None, Some(head)) = (&fault, work.head) {
            // What was checked is also the newest that was seen; a table that was not the same
            // once stays under suspicion.
            let text = text(&head.place);
            if !self.is_audit_caught() {
                self.pin(PIN_KEY, &head.key.to_hex());
                self.pin(PIN_HEAD, &text);
            }
            self.pins.insert(PIN_CHECKED.to_owned(), text.clone());
            ops.push(PeerOp::Pin(Pin {
                name: PIN_CHECKED.to_owned(),
                value: text,
            }));
        }
        let report = AuditReport {
            from: work.reading.from(),
            to: work.reading.place(),
            rows: work.rows.into(),
            fault,
        };
        let reply = Reply::Audit(Box::new(report));
        self.store(ops, StoreWork::Answered(work.command, reply));
    }

    pub(super) fn audit_failed(
        &mut self,
        command: CommandId,
        error: SessionError,
        retry_after: Option<u64>,
    ) {
        let busy = [code::RATE_LIMIT, code::BUSY];
        if let (SessionError::Refused { code, .. }, Some(wait)) = (&error, retry_after)
            && busy.contains(&code.as_str())
            && wait <= MAX_WAIT_MS
        {
            self.audit.again_at = Some(self.now.mono.saturating_add(wait.max(50)));
            return;
        }
        self.audit.work = None;
        self.done(command, Err(error));
    }

    pub(super) fn audit_connection_lost(&mut self, reason: &str) {
        if let Some(work) = std::mem::take(&mut self.audit).work {
            let error = SessionError::NotConnected(reason.to_owned());
            self.done(work.command, Err(error));
        }
    }

    pub(super) fn tick_audit(&mut self) {
        let mono = self.now.mono;
        if self.audit.again_at.take_if(|at| mono >= *at).is_some()
            && let Some(work) = &self.audit.work
        {
            let (command, from) = (work.command, work.reading.place().n);
            self.get_audit(command, from);
        }
    }
}

fn text(place: &Place) -> String {
    format!("{} {}", place.n, place.hash.to_hex())
}
