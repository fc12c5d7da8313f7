//! Bringing back what a broker has lost of channels: entries of their logs, and the newest keys.
//!
//! A channel's log is brought back by its leads, and by the mesh's owner and admins who hold it,
//! after the mesh's log; the newest key by its author. If its author is not there, or readers have
//! changed since, the next one is made, which is above every number that was given.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Channel, RETRY_MS};
use crate::channel::{Rotation, StatementError};
use crate::id::{ChannelName, KeyId, Target};
use crate::membership::{Role, SignedEntry};
use crate::session::requests::Asked;
use crate::session::{Event, Lie, LoadWork, Session, SessionError};
use crate::store::{Query, Rows, StoreError};
use crate::wire::{LogAppend, LogHead, SignedBlob, errors::code};

/// How often in a row it is begun anew after the broker's log was found to be another.
const MAX_TRIES: u32 = 5;

/// What the broker has lost of one channel, as far as this connection has shown it.
#[derive(Default)]
pub(super) struct Lost {
    /// Its log is shorter than the one held.
    pub(super) behind: bool,
    work: Option<Work>,
    tries: u32,
    /// It does not take the entries.
    refused: bool,
}

struct Work {
    /// The first entry that is missing.
    from: u64,
    /// None: they are still to be loaded.
    entries: Option<VecDeque<SignedEntry>>,
    given: u64,
}

impl Lost {
    pub(super) fn is_on(&self) -> bool {
        self.work.is_some()
    }
}

/// The broker's current key of a channel, as this connection has shown it; the inner one is none if
/// it has none.
pub(super) type Shown = Option<Option<KeyId>>;

impl Session {
    /// The broker may have lost something of channels.
    pub(in crate::session) fn channels_suspect(&mut self) {
        self.channels.suspect = true;
    }

    /// Looks whether the broker has lost something of channels, if that may be: of those whose log
    /// this peer may bring back, and whose newest key it made.
    pub(in crate::session) fn check_channels(&mut self) {
        if !self.channels.suspect || !self.link.has_channels() {
            return;
        }
        self.channels.suspect = false;
        let me = self.config.key.public();
        for name in self.channels.names() {
            let may = self.may_repost_in(&name);
            let Some(channel) = self.channels.held.get_mut(&name) else {
                continue;
            };
            channel.pause = None;
            channel.verdict = None;
            channel.tries = 0;
            if may && channel.log_seq() > 0 {
                channel.log_wanted = true;
                channel.log_current &= channel.busy;
            }
            let newest = channel.keys.newest_key();
            let newest = newest.and_then(|id| channel.keys.statement(id));
            if newest.is_some_and(|newest| newest.author == me) {
                channel.wanted = true;
                channel.keys_current &= channel.busy;
            }
            self.drive_channel(&name);
        }
    }

    fn may_repost_in(&self, name: &ChannelName) -> bool {
        let Some(roster) = self.log.roster() else {
            return false;
        };
        let me = self.config.key.public();
        match roster.standing(&me) {
            Ok(Role::Owner | Role::Admin) => true,
            Ok(Role::Pending) | Err(_) => false,
            Ok(_) => {
                let log = self.channels.get(name).and_then(|held| held.log.as_ref());
                log.and_then(|log| log.lead(&roster.person(&me))) == Some(true)
            }
        }
    }

    /// The broker shows a channel's log that ends before the one held.
    pub(super) fn channel_is_short(&mut self, name: &ChannelName, shown: &LogHead) {
        let may = self.may_repost_in(name);
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let held = channel.log_seq();
        let new = !std::mem::replace(&mut channel.lost.behind, true);
        let hash = channel.log.as_ref().and_then(|log| log.hash_at(shown.seq));
        let forks = hash.is_some_and(|hash| hash.to_hex() != shown.hash);
        channel.forked |= forks;
        if may && !channel.forked && !channel.lost.refused && !channel.lost.is_on() {
            channel.lost.work = Some(Work {
                from: shown.seq + 1,
                entries: None,
                given: 0,
            });
            self.load_channel_reposts();
        }
        if new {
            let (channel, shown) = (name.clone(), shown.seq);
            self.event(Event::LiedTo(Lie::ChannelRollback {
                channel,
                held,
                shown,
            }));
        }
        if forks {
            let (channel, seq) = (name.clone(), shown.seq);
            self.event(Event::LiedTo(Lie::ChannelLogFork { channel, seq }));
        }
    }

    fn load_channel_reposts(&mut self) {
        if !std::mem::replace(&mut self.channels.loading, true) {
            self.load(Query::ChannelLogs, LoadWork::ChannelReposts);
        }
    }

    pub(in crate::session) fn channel_reposts_loaded(&mut self, result: Result<Rows, StoreError>) {
        self.channels.loading = false;
        let (rows, error) = match result {
            Ok(Rows::ChannelLogs(rows)) => (rows, None),
            Ok(_) => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut waiting = Vec::new();
        for (name, channel) in &mut self.channels.held {
            if let Some(work) = &mut channel.lost.work
                && work.entries.is_none()
            {
                work.entries = Some(VecDeque::new());
                waiting.push(name.clone());
            }
        }
        for row in rows {
            let channel = self.channels.held.get_mut(&row.channel);
            if let Some(work) = channel.and_then(|channel| channel.lost.work.as_mut())
                && waiting.contains(&row.channel)
                && let Some(entries) = &mut work.entries
                && row.seq == work.from + entries.len() as u64
            {
                entries.push_back(row.entry);
            }
        }
        if let Some(error) = error {
            self.event(Event::StoreFailed(error));
        }
        for name in waiting {
            self.drive_channel(&name);
        }
    }

    /// Posts the next entry that the broker has lost; false if there is none.
    pub(super) fn repost_next(&mut self, name: &ChannelName) -> bool {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return false;
        };
        let Some(work) = &channel.lost.work else {
            return false;
        };
        let Some(entries) = &work.entries else {
            return true;
        };
        let Some(entry) = entries.front() else {
            let entries = work.given;
            channel.lost.work = None;
            if entries > 0 {
                let channel = Some(name.clone());
                self.event(Event::Reposted { channel, entries });
                self.channel_is_whole(name);
            }
            return false;
        };
        let entry = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
        channel.busy = true;
        let req_id = Some(self.ask(Asked::ChannelRepost(name.clone())));
        self.transmit(LogAppend {
            entry,
            invite_token: None,
            req_id,
        });
        true
    }

    /// The broker's log of a channel is as long as the one held.
    pub(super) fn channel_is_whole(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        if std::mem::take(&mut channel.lost.behind) {
            channel.lost.tries = 0;
            channel.pause = None;
            self.outbox.release_held();
        }
    }

    /// An entry that was brought back is there.
    pub(super) fn channel_reposted(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        if let Some(work) = &mut channel.lost.work {
            work.given += 1;
            work.entries.as_mut().and_then(VecDeque::pop_front);
        }
        self.drive_channel(name);
    }

    pub(in crate::session) fn channel_repost_refused(
        &mut self,
        name: &ChannelName,
        error: &SessionError,
        retry_after: Option<u64>,
    ) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        let refusal = match error {
            SessionError::Refused { code, .. } => code.as_str(),
            _ => "",
        };
        match refusal {
            code::RATE_LIMIT | code::BUSY | code::STORE_UNAVAILABLE => {
                let reason = error.to_string();
                self.pause_channel(name, retry_after.unwrap_or(RETRY_MS), &reason);
            }
            // Somebody else was faster, or there was no answer: the log says how far it is.
            code::LOG_CONFLICT | "" if channel.lost.tries < MAX_TRIES => {
                channel.lost.tries += 1;
                channel.lost.work = None;
                channel.log_current = false;
                channel.log_wanted = true;
                self.drive_channel(name);
            }
            _ => {
                channel.lost.work = None;
                channel.lost.refused = true;
                let (channel, reason) = (Some(name.clone()), error.to_string());
                self.event(Event::RepostRefused { channel, reason });
                self.drive_channel(name);
            }
        }
    }

    /// Whether a refusal may be due to what the broker has lost.
    pub(in crate::session) fn lost_at(&self, to: &Target, code: Option<&str>) -> bool {
        let Some(code) = code else { return false };
        let channel = to.channel().and_then(|name| self.channels.get(name));
        self.lost_at_broker(code)
            || (code == code::FORBIDDEN && channel.is_some_and(|channel| channel.lost.behind))
    }

    /// The broker does not know this channel, or that this peer is in it, though the logs held say
    /// so. Whoever waits is told; what is to be sent waits until the broker knows.
    pub(super) fn channel_unknown_there(&mut self, name: &ChannelName, error: &SessionError) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let mut commands = std::mem::take(&mut channel.syncs);
        let appends = std::mem::take(&mut channel.appends);
        commands.extend(appends.into_iter().filter_map(|append| append.command));
        for command in commands {
            self.done(command, Err(error.clone()));
        }
        self.finish_histories(name);
        self.pause_channel(name, RETRY_MS, &error.to_string());
    }

    /// Whether the newest key held here is unknown to the broker, which has an earlier one or none.
    pub(super) fn broker_lacks_key(channel: &Channel) -> bool {
        let (Some(shown), Some(newest)) = (&channel.shown, channel.keys.newest_key()) else {
            return false;
        };
        let epoch = |id: &KeyId| channel.keys.statement(id).map(|held| held.epoch);
        match shown {
            None => true,
            Some(shown) => {
                shown != newest && epoch(shown).is_some_and(|it| Some(it) <= epoch(newest))
            }
        }
    }

    /// Gives the broker the newest key once more; who did not make it makes the next one.
    pub(super) fn restore_key(&mut self, name: &ChannelName) {
        let me = Arc::clone(&self.config.key);
        let (Some(log), Some(channel)) = (self.log.held(), self.channels.held.get(name)) else {
            return;
        };
        let again = channel
            .keys
            .republish(&me, log, channel.log.as_ref(), channel.shown.flatten());
        match again {
            Some(rotation) => self.publish(name, rotation),
            None => self.rotate(name),
        }
    }

    /// The next key, to follow the one that the broker has.
    pub(super) fn next_key(
        &mut self,
        name: &ChannelName,
    ) -> Option<Result<Rotation, StatementError>> {
        let me = Arc::clone(&self.config.key);
        let log = self.log.held()?;
        let channel = self.channels.held.get(name)?;
        let (random, channel_log) = (&mut self.rng, channel.log.as_ref());
        let keys = &channel.keys;
        Some(match channel.shown {
            Some(shown) => keys.rotate_after(random, &me, log, channel_log, shown),
            None => keys.rotate(random, &me, log, channel_log),
        })
    }
}
