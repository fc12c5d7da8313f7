//! Bringing back what a broker has lost: it was put back to an earlier state, a backup for example,
//! and shows a shorter log than is held here.
//!
//! The owner's and admins' peers post the missing entries once more, as they are in the store, some
//! at a time. Several may do so at once: an entry that is there already is no conflict. Nothing is
//! posted where the logs differ; that is for people to decide. Until the broker has all of it, what
//! it refuses because it does not know somebody or something is not final.

use std::collections::VecDeque;

use super::requests::Asked;
use super::{Event, LoadWork, Session, SessionError};
use crate::membership::{Role, SignedEntry};
use crate::store::{Query, Rows, StoreError};
use crate::wire::{LogAppend, LogHead, SignedBlob, errors::code};

/// Entries without an answer at most.
const WINDOW: usize = 16;
/// Entries that are loaded at a time.
const PAGE: u32 = 64;
/// How often in a row it is begun anew after the broker took nothing.
const MAX_TRIES: u32 = 5;
/// Milliseconds of the first pause before that.
const PAUSE_MS: u64 = 500;

/// What is under way.
struct Work {
    /// By which late answers of the store are known.
    number: u64,
    /// The next entry to load.
    next: u64,
    loading: bool,
    ready: VecDeque<SignedEntry>,
    unanswered: usize,
    given: u64,
    refused: Option<(SessionError, Option<u64>)>,
}

/// What this connection has shown of a loss.
#[derive(Default)]
pub(super) struct Repost {
    /// The broker's log is shorter than the one held.
    behind: bool,
    work: Option<Box<Work>>,
    works: u64,
    tries: u32,
    /// When the broker's log is looked at again, in ms of the clock.
    again_at: Option<u64>,
    /// Entries given on this connection that were not told yet.
    given: u64,
    refused: bool,
}

impl Repost {
    /// Whether the broker knows less of the log than is held here.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether entries are being brought back, so that new ones wait.
    pub(super) fn is_on(&self) -> bool {
        self.work.is_some() || self.again_at.is_some()
    }

    pub(super) fn connection_closed(&mut self) {
        let works = self.works;
        *self = Self {
            works,
            ..Self::default()
        };
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.again_at
    }
}

impl Session {
    /// The broker's log ends before the one held here. True if that is new.
    pub(super) fn log_is_short(&mut self, shown: &LogHead) -> bool {
        let new = !std::mem::replace(&mut self.repost.behind, true);
        let held = self.log.held().and_then(|log| log.hash_at(shown.seq));
        if held.is_some_and(|held| held.to_hex() != shown.hash) {
            self.fork(shown.seq);
        }
        self.channels_suspect();
        let me = self.config.key.public();
        let standing = self.log.roster().map(|roster| roster.standing(&me));
        let manages = matches!(standing, Some(Ok(Role::Owner | Role::Admin)));
        let repost = &mut self.repost;
        let able = manages && self.link.has_log() && !self.log.is_forked();
        if able && repost.work.is_none() && !repost.refused {
            repost.works += 1;
            repost.again_at = None;
            repost.work = Some(Box::new(Work {
                number: repost.works,
                next: shown.seq + 1,
                loading: false,
                ready: VecDeque::new(),
                unanswered: 0,
                given: 0,
                refused: None,
            }));
            self.pump_repost();
        }
        new
    }

    /// The broker's log is as long as the one held here, or longer.
    pub(super) fn log_is_whole(&mut self) {
        if !std::mem::take(&mut self.repost.behind) {
            return;
        }
        self.repost.again_at = None;
        let entries = std::mem::take(&mut self.repost.given);
        if entries > 0 {
            let channel = None;
            self.event(Event::Reposted { channel, entries });
        }
        // What was refused for what the broker did not know goes on now.
        self.outbox.release_held();
        self.check_channels();
    }

    fn pump_repost(&mut self) {
        let end = self.log.held().map_or(0, |log| log.head().seq);
        let Some(work) = &mut self.repost.work else {
            return;
        };
        let mut out = Vec::new();
        while work.refused.is_none() && work.unanswered < WINDOW {
            let Some(entry) = work.ready.pop_front() else {
                break;
            };
            work.unanswered += 1;
            out.push(entry);
        }
        let number = work.number;
        if work.refused.is_none() && work.ready.is_empty() && work.next <= end && !work.loading {
            work.loading = true;
            let (from, limit) = (work.next, PAGE);
            self.load(Query::Log { from, limit }, LoadWork::Repost(number));
        }
        for entry in out {
            let req_id = Some(self.ask(Asked::Repost(number)));
            let blob = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
            self.transmit(LogAppend {
                entry: blob,
                invite_token: None,
                req_id,
            });
        }
        self.check_reposted();
    }

    /// Ends the work when nothing of it is open.
    fn check_reposted(&mut self) {
        let done = |work: &&mut Box<Work>| {
            work.unanswered == 0
                && !work.loading
                && (work.ready.is_empty() || work.refused.is_some())
        };
        if self.repost.work.as_mut().filter(done).is_none() {
            return;
        }
        let Some(work) = self.repost.work.take() else {
            return;
        };
        self.repost.given += work.given;
        if work.given > 0 {
            self.repost.tries = 0;
        }
        match work.refused {
            None => {
                let end = self.log.held().map_or(0, |log| log.head().seq);
                if work.next > end {
                    self.log_is_whole();
                } else {
                    self.repost_again(None);
                }
                self.log_settled();
            }
            Some((error, retry_after)) if may_pass(&error) => {
                self.repost_again(retry_after);
                if !self.repost.is_on() {
                    self.repost_given_up(&error);
                }
            }
            Some((error, _)) => self.repost_given_up(&error),
        }
    }

    /// Looks at the broker's log once more after a while, and goes on from its end.
    fn repost_again(&mut self, retry_after: Option<u64>) {
        let tries = self.repost.tries;
        if tries < MAX_TRIES {
            self.repost.tries = tries + 1;
            let pause = retry_after.unwrap_or(0).max(PAUSE_MS << tries);
            let pause = pause + self.rng.below(PAUSE_MS);
            self.repost.again_at = Some(self.now.mono.saturating_add(pause));
        }
    }

    fn repost_given_up(&mut self, error: &SessionError) {
        self.repost.refused = true;
        let (channel, reason) = (None, error.to_string());
        self.event(Event::RepostRefused { channel, reason });
        self.log_settled();
    }

    pub(super) fn tick_repost(&mut self) {
        let mono = self.now.mono;
        let due = self.repost.again_at.take_if(|at| mono >= *at).is_some();
        if due {
            self.log.is_behind();
            self.sync_log(None);
        }
    }

    pub(super) fn repost_loaded(&mut self, number: u64, result: Result<Rows, StoreError>) {
        let work = self.repost.work.as_mut();
        let Some(work) = work.filter(|work| work.number == number) else {
            return;
        };
        work.loading = false;
        let rows = match result {
            Ok(Rows::Log(rows)) => rows,
            Ok(_) => Vec::new(),
            Err(error) => {
                work.refused = Some((SessionError::Store(error), None));
                return self.check_reposted();
            }
        };
        for row in rows {
            if row.seq == work.next {
                work.next += 1;
                work.ready.push_back(row.entry);
            }
        }
        // What is held but not kept yet is brought back a little later.
        if work.ready.is_empty() {
            return self.check_reposted();
        }
        self.pump_repost();
    }

    /// An entry that was brought back is there.
    pub(super) fn reposted(&mut self, number: u64) {
        let work = self.repost.work.as_mut();
        if let Some(work) = work.filter(|work| work.number == number) {
            work.unanswered = work.unanswered.saturating_sub(1);
            work.given += 1;
            self.pump_repost();
        }
    }

    pub(super) fn repost_refused(
        &mut self,
        number: u64,
        error: SessionError,
        retry_after: Option<u64>,
    ) {
        let work = self.repost.work.as_mut();
        if let Some(work) = work.filter(|work| work.number == number) {
            work.unanswered = work.unanswered.saturating_sub(1);
            // What was under way behind it is refused for its sake.
            work.refused.get_or_insert((error, retry_after));
            self.check_reposted();
        }
    }

    /// Whether a refusal may be due to what the broker has lost, so that it is not final.
    pub(super) fn lost_at_broker(&self, code: &str) -> bool {
        self.repost.behind && [code::NOT_FOUND, code::FORBIDDEN].contains(&code)
    }
}

/// Whether the same may be taken a little later.
fn may_pass(error: &SessionError) -> bool {
    let passing = [
        code::LOG_CONFLICT,
        code::BUSY,
        code::RATE_LIMIT,
        code::STORE_UNAVAILABLE,
    ];
    match error {
        SessionError::Refused { code, .. } => passing.contains(&code.as_str()),
        SessionError::Timeout | SessionError::Store(_) => true,
        _ => false,
    }
}
