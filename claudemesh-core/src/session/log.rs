//! The membership log: fetching it, checking it, adding to it.

use std::collections::VecDeque;

use super::requests::Asked;
use super::{CommandId, Event, Lie, Reply, Session, SessionError, StoreWork};
use crate::membership::{Body, Entry, Log, Merge, Roster, SignedEntry};
use crate::store::{PeerOp, StoredEntry};
use crate::wire::{LogAppend, LogAppended, LogEntries, LogGet, LogHead, SignedBlob, errors::code};

/// How often an entry is signed anew after someone else was faster.
const MAX_TRIES: u32 = 5;
/// Entries that wait to be added at most.
const MAX_WAITING: usize = 64;
/// Why nothing is added where there is no log.
const NOBODY_SIGNS: &str = "nobody can sign there who is a member or which channels there are; do \
    it with a client of the system that made this mesh, or make a mesh on a broker that keeps logs";

struct Append {
    command: CommandId,
    body: Body,
    invite_token: Option<String>,
    tries: u32,
    /// As it was sent, while its answer is awaited.
    sent: Option<SignedEntry>,
}

/// The log as held, and what is under way about it.
pub(super) struct LogSync {
    log: Option<Log>,
    syncing: bool,
    forked: bool,
    /// Whether a sync was completed since something new was last heard of.
    current: bool,
    waiting: Vec<CommandId>,
    appends: VecDeque<Append>,
}

impl LogSync {
    pub(super) fn new(log: Option<Log>) -> Self {
        Self {
            log,
            syncing: false,
            forked: false,
            current: false,
            waiting: Vec::new(),
            appends: VecDeque::new(),
        }
    }

    pub(super) fn held(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    pub(super) fn roster(&self) -> Option<&Roster> {
        self.log.as_ref().map(Log::roster)
    }

    /// Whether someone unknown may be in entries that were not fetched yet.
    pub(super) fn may_be_behind(&self) -> bool {
        !self.current && !self.forked
    }

    pub(super) fn is_forked(&self) -> bool {
        self.forked
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.syncing
    }

    /// Somebody knows more than is held here.
    pub(super) fn is_behind(&mut self) {
        self.current = false;
    }

    pub(super) fn connection_closed(&mut self) {
        self.syncing = false;
        self.current = false;
    }
}

impl Session {
    /// What the broker showed in its answer to the hello.
    pub(super) fn log_head_shown(&mut self, head: Option<&LogHead>) {
        let Some(head) = head else {
            if self.config.has_log {
                self.event(Event::LiedTo(Lie::LogMissing));
            }
            self.log.current = true;
            return self.log_settled();
        };
        if let Some(held) = self.log.held().map(Log::head) {
            if head.seq < held.seq {
                self.log_shorter(held.seq, head);
                self.log.current = true;
                return self.log_settled();
            }
            if head.seq == held.seq {
                if head.hash != held.hash.to_hex() {
                    self.fork(held.seq);
                }
                self.log.current = true;
                return self.log_settled();
            }
        }
        self.sync_log(None);
    }

    /// Fetches what is new; `command`, if any, is answered when it is there.
    pub(super) fn sync_log(&mut self, command: Option<CommandId>) {
        if !self.link.is_ready() {
            if let Some(command) = command {
                let why = "waiting for the connection".to_owned();
                self.done(command, Err(SessionError::NotConnected(why)));
            }
            return;
        }
        if !self.link.has_log() {
            // Nothing newer can be had from this broker.
            if let Some(command) = command {
                self.done(command, Ok(Reply::Done));
            }
            self.log.current = true;
            return self.log_settled();
        }
        self.log.waiting.extend(command);
        if !self.log.syncing {
            self.log.syncing = true;
            self.get_log();
        }
    }

    fn log_shorter(&mut self, held: u64, shown: &LogHead) {
        if self.log_is_short(shown) {
            self.event(Event::LiedTo(Lie::LogRollback {
                held: held + 1,
                shown: shown.seq.saturating_add(1),
            }));
        }
    }

    fn get_log(&mut self) {
        // The newest entry held is fetched again: if it differs, the broker shows a fork.
        let from = self.log.held().map_or(0, |log| log.head().seq);
        let req_id = Some(self.ask(Asked::Log));
        self.transmit(LogGet {
            channel: String::new(),
            from,
            req_id,
        });
    }

    pub(super) fn log_entries(&mut self, page: &LogEntries) {
        match self.requests.take(page.req_id.as_deref()) {
            Some(Asked::Log) => {}
            Some(Asked::ChannelLog(name)) => return self.channel_log_page(&name, page),
            _ => return,
        }
        let before = self.log.held().map(|log| log.head().seq);
        let entries: Result<Vec<SignedEntry>, _> = page.entries.iter().map(signed).collect();
        let taken = match entries {
            Ok(entries) => self.take_entries(page.from, &entries),
            Err(lie) => Err(lie),
        };
        if let Err(lie) = taken {
            self.event(Event::LiedTo(lie));
            return self.log_failed(SessionError::LogUnusable("the broker shows an invalid log"));
        }
        let after = self.log.held().map(|log| log.head().seq);
        match after {
            Some(held) if page.head.seq < held => self.log_shorter(held, &page.head),
            _ => self.log_is_whole(),
        }
        let behind = after.is_none_or(|held| held < page.head.seq);
        if behind && after > before && !self.log.forked {
            return self.get_log();
        }
        if behind && after.is_some() && !self.log.forked {
            let why = "the broker names newer entries than it shows";
            return self.log_failed(SessionError::LogUnusable(why));
        }
        self.log_synced();
    }

    fn log_synced(&mut self) {
        self.log.syncing = false;
        self.log.current = true;
        for command in std::mem::take(&mut self.log.waiting) {
            self.done(command, Ok(Reply::Done));
        }
        self.log_settled();
    }

    pub(super) fn log_failed(&mut self, error: SessionError) {
        self.log.syncing = false;
        self.log.current = true;
        for command in std::mem::take(&mut self.log.waiting) {
            self.done(command, Err(error.clone()));
        }
        self.log_settled();
    }

    pub(super) fn log_settled(&mut self) {
        self.compare_claims();
        self.judge_unknown_senders();
        self.pump_appends();
        self.drive_channels();
    }

    /// Verifies entries, keeps the new ones, tells what they say.
    fn take_entries(&mut self, from: u64, entries: &[SignedEntry]) -> Result<(), Lie> {
        let (mut log, first_new) = match self.log.log.take() {
            Some(log) => {
                let next = log.head().seq + 1;
                (log, next)
            }
            None => {
                let Some(first) = entries.first() else {
                    return Ok(());
                };
                if from != 0 || first.mesh_id() != self.config.mesh {
                    return Err(Lie::BadEntry(crate::membership::LogError::OtherMesh));
                }
                (Log::begin(first).map_err(Lie::BadEntry)?, 0)
            }
        };
        let merged = log.merge(from, entries);
        let head = log.head();
        self.log.log = Some(log);
        let new: Vec<StoredEntry> = (from..)
            .zip(entries)
            .filter(|(seq, _)| (first_new..=head.seq).contains(seq))
            .map(|(seq, entry)| StoredEntry {
                seq,
                entry: entry.clone(),
            })
            .collect();
        let told: Vec<Entry> = new
            .iter()
            .filter_map(|stored| stored.entry.decode().ok())
            .collect();
        if !new.is_empty() {
            let ops = new
                .into_iter()
                .map(|stored| PeerOp::Log(Box::new(stored)))
                .collect();
            self.keep(ops);
            self.event(Event::LogAt(head));
        }
        if !told.is_empty() {
            self.tell_entries(&told);
        }
        match merged {
            Ok(Merge::Extended(_)) => Ok(()),
            Ok(Merge::Fork { seq }) => {
                self.fork(seq);
                Ok(())
            }
            Err(error) => Err(Lie::BadEntry(error)),
        }
    }

    pub(super) fn fork(&mut self, seq: u64) {
        if !self.log.forked {
            self.log.forked = true;
            self.event(Event::LiedTo(Lie::LogFork { seq }));
        }
    }

    pub(super) fn append(&mut self, command: CommandId, body: Body, invite_token: Option<String>) {
        if self.log.appends.len() >= MAX_WAITING {
            return self.done(command, Err(SessionError::Contention));
        }
        if !self.link.is_ready() {
            let why = "the mesh can be changed only while the broker is there".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        if self.is_existing() {
            return self.done(command, Err(SessionError::NoLog(NOBODY_SIGNS)));
        }
        self.log.appends.push_back(Append {
            command,
            body,
            invite_token,
            tries: 0,
            sent: None,
        });
        self.pump_appends();
    }

    fn pump_appends(&mut self) {
        let busy = self.log.syncing || self.repost.is_on();
        if !self.link.is_ready() || busy || !self.log.current {
            return;
        }
        let Some(next) = self.log.appends.front() else {
            return;
        };
        if next.sent.is_some() {
            return;
        }
        let refused = match &self.log.log {
            None => Some("it has none, or it was not fetched yet"),
            Some(_) if self.log.forked => Some("the broker shows two versions of it"),
            Some(_) => None,
        };
        if let Some(why) = refused {
            return self.append_done(Err(SessionError::LogUnusable(why)));
        }
        let Some(log) = &self.log.log else { return };
        let signed = log
            .draft(self.now.wall, next.body.clone())
            .sign(&self.config.key, None);
        if let Err(error) = log.clone().append(&signed) {
            return self.append_done(Err(error.into()));
        }
        let entry = SignedBlob::new(
            &signed.bytes,
            &signed.signature,
            signed.cosignature.as_ref(),
        );
        let invite_token = next.invite_token.clone();
        if let Some(next) = self.log.appends.front_mut() {
            next.sent = Some(signed);
            next.tries += 1;
        }
        let req_id = Some(self.ask(Asked::Append));
        self.transmit(LogAppend {
            entry,
            invite_token,
            req_id,
        });
    }

    fn append_done(&mut self, result: Result<Reply, SessionError>) {
        if let Some(append) = self.log.appends.pop_front() {
            self.done(append.command, result);
        }
        self.pump_appends();
    }

    pub(super) fn append_refused(&mut self, error: SessionError) {
        let conflict =
            matches!(&error, SessionError::Refused { code, .. } if code == code::LOG_CONFLICT);
        let Some(append) = self.log.appends.front_mut() else {
            return;
        };
        if conflict && append.tries < MAX_TRIES {
            append.sent = None;
            self.log.current = false;
            return self.sync_log(None);
        }
        // It may have been added all the same: nobody else tells this peer of its own entry.
        let unknown = error == SessionError::Timeout;
        self.append_done(Err(if conflict {
            SessionError::Contention
        } else {
            error
        }));
        if unknown {
            self.log.current = false;
            self.sync_log(None);
        }
    }

    pub(super) fn log_appended(&mut self, appended: &LogAppended) {
        if !appended.channel.is_empty() {
            return self.channel_appended(appended);
        }
        match self.requests.take(appended.req_id.as_deref()) {
            Some(Asked::Append) => return self.own_entry_taken(),
            Some(Asked::Repost(number)) => return self.reposted(number),
            _ => {}
        }
        let next = self.log.held().map_or(0, |log| log.head().seq + 1);
        match &appended.entry {
            Some(entry) if appended.head.seq == next => {
                let taken = signed(entry).and_then(|entry| self.take_entries(next, &[entry]));
                if let Err(lie) = taken {
                    self.event(Event::LiedTo(lie));
                }
                self.log_settled();
            }
            _ if appended.head.seq >= next => {
                self.log.current = false;
                self.sync_log(None);
            }
            // Somebody brings back what the broker had lost.
            _ if appended.head.seq + 1 == next && !self.repost.is_on() => {
                self.log_is_whole();
                self.log_settled();
            }
            _ => {}
        }
    }

    fn own_entry_taken(&mut self) {
        let Some(Append {
            command,
            sent: Some(entry),
            ..
        }) = self.log.appends.pop_front()
        else {
            return;
        };
        // The place that it was signed for: it may be held already, by a page that came before.
        let decoded = entry.decode();
        let seq = decoded.as_ref().map_or(0, |entry| entry.seq);
        let hash = entry.hash();
        if let Err(lie) = self.take_entries(seq, &[entry]) {
            self.event(Event::LiedTo(lie));
            let why = "the broker took an entry that does not fit the log held here";
            self.done(command, Err(SessionError::LogUnusable(why)));
        } else {
            // Answered after the entry, which went to the store just before, is kept.
            self.store(
                Vec::new(),
                StoreWork::Answered(command, Reply::Appended { seq, hash }),
            );
            if let Ok(entry) = decoded {
                self.strike_off_by(&entry);
            }
        }
        self.pump_appends();
    }

    /// The connection is gone: whether an entry under way was added shows at the next one.
    pub(super) fn log_commands_failed(&mut self, reason: &str) {
        let error = SessionError::NotConnected(reason.to_owned());
        for command in std::mem::take(&mut self.log.waiting) {
            self.done(command, Err(error.clone()));
        }
        for append in std::mem::take(&mut self.log.appends) {
            self.done(append.command, Err(error.clone()));
        }
        self.log.syncing = false;
    }
}

pub(super) fn signed(blob: &SignedBlob) -> Result<SignedEntry, Lie> {
    SignedEntry::from_text(&blob.e, &blob.sig, blob.cosig.as_deref())
        .map_err(|source| Lie::BadEntry(crate::membership::LogError::Entry { seq: 0, source }))
}
