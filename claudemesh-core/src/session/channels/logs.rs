//! The logs of channels: fetching them, checking them, adding to them.

use super::{Channel, RETRY_MS};
use crate::id::{ChannelName, PublicKey};
use crate::membership::{ChannelBody, ChannelLog, ChannelLogError, Merge, SignedEntry};
use crate::session::log::signed;
use crate::session::requests::Asked;
use crate::session::types::ChannelView;
use crate::session::{CommandId, Event, Lie, Reply, Session, SessionError, StoreWork};
use crate::store::{PeerOp, StoredChannelEntry};
use crate::wire::{LogAppend, LogAppended, LogEntries, LogGet, SignedBlob, errors::code};

/// How often an entry is signed anew after someone else was faster.
const MAX_TRIES: u32 = 5;
/// Entries of one channel that wait to be added at most.
const MAX_WAITING: usize = 64;
/// Why a channel cannot be looked at where there is no log.
const NO_MEMBERS: &str = "who is in a channel only the broker says, at each message; ask who is here, \
    and say whom you trust";

/// An entry that is to be added.
pub(in crate::session) struct ChannelAppend {
    /// Who waits for it; none: this session itself.
    pub(super) command: Option<CommandId>,
    pub(super) body: ChannelBody,
    pub(super) tries: u32,
    /// As it was sent, while its answer is awaited.
    pub(super) sent: Option<SignedEntry>,
}

impl Session {
    pub(in crate::session) fn sync_channel(&mut self, command: CommandId, name: &ChannelName) {
        if !self.link.is_ready() {
            // What is held is told; who needs the newest waits for the connection first.
            let view = self
                .channel_view(name)
                .map(|view| Reply::Channel(Box::new(view)));
            return self.done(command, view);
        }
        if self.is_existing() {
            return self.done(command, Err(SessionError::NoLog(NO_MEMBERS)));
        }
        if let Some(channel) = self.open_channel(name) {
            channel.syncs.push(command);
            channel.log_wanted = true;
            // What others did since is wanted, too.
            channel.log_current &= channel.busy;
            channel.pause = None;
            self.drive_channel(name);
        } else {
            self.done(command, Err(SessionError::Contention));
        }
    }

    pub(super) fn answer_syncs(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        for command in std::mem::take(&mut channel.syncs) {
            let view = self
                .channel_view(name)
                .map(|view| Reply::Channel(Box::new(view)));
            self.done(command, view);
        }
    }

    /// The channel as the logs that are held have it.
    fn channel_view(&self, name: &ChannelName) -> Result<ChannelView, SessionError> {
        let log = self.log.held();
        let log = log.ok_or(SessionError::LogUnusable(
            "it has none, or it was not fetched yet",
        ))?;
        let roster = log.roster();
        let held = self.channels.get(name);
        let epoch = held.map_or(0, |held| {
            let newest = held.keys.newest_key();
            newest
                .and_then(|id| held.keys.statement(id))
                .map_or(0, |s| s.epoch)
        });
        let verified = |key: &PublicKey| {
            roster
                .member(key)
                .is_some_and(|member| member.is_verified())
        };
        let (public, members) = if name.has_log() {
            let created = roster.channel(name);
            let created = created.ok_or_else(|| SessionError::NoSuchChannel(name.clone()))?;
            let listed = held.and_then(|held| held.log.as_ref());
            let members =
                listed.map(|log| log.members().filter(|(key, _)| verified(key)).collect());
            // Nothing fetched yet: who made it is in it.
            let members = members.unwrap_or_else(|| vec![(created.lead, true)]);
            (created.public, members)
        } else {
            let members = roster
                .members()
                .filter(|m| m.is_verified() && m.device_of.is_none());
            (true, members.map(|member| (member.key, false)).collect())
        };
        Ok(ChannelView {
            channel: name.clone(),
            public,
            members,
            epoch,
        })
    }

    pub(super) fn get_channel_log(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = true;
        // The newest entry held is fetched again: if it differs, the broker shows a fork.
        let from = channel.log_seq().max(1);
        let req_id = Some(self.ask(Asked::ChannelLog(name.clone())));
        self.transmit(LogGet {
            channel: name.as_str().to_owned(),
            from,
            req_id,
        });
    }

    pub(in crate::session) fn channel_log_page(&mut self, name: &ChannelName, page: &LogEntries) {
        let entries: Result<Vec<SignedEntry>, Lie> = page.entries.iter().map(signed).collect();
        let before = self.channels.get(name).map_or(0, Channel::log_seq);
        let taken = match entries {
            Ok(entries) => self.take_channel_entries(name, page.from, &entries),
            Err(lie) => {
                self.event(Event::LiedTo(lie));
                Err(None)
            }
        };
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        let after = channel.log_seq();
        match taken {
            Ok(()) if page.head.seq > after && after > before && !channel.forked => {}
            Ok(()) => {
                channel.log_current = true;
                if page.head.seq < after {
                    self.channel_is_short(name, &page.head);
                } else {
                    self.channel_is_whole(name);
                }
            }
            Err(Some(ChannelLogError::Ahead { .. })) => self.log.is_behind(),
            // What is held counts; the lie was told.
            Err(_) => channel.log_current = true,
        }
        self.retry_later_keys(name);
        self.drive_channel(name);
    }

    /// Verifies entries and keeps the new ones. None as the error: it was told already.
    fn take_channel_entries(
        &mut self,
        name: &ChannelName,
        from: u64,
        entries: &[SignedEntry],
    ) -> Result<(), Option<ChannelLogError>> {
        let Some(log) = self.log.held() else {
            return Err(None);
        };
        let Some(channel) = self.channels.held.get_mut(name) else {
            return Err(None);
        };
        let mut held = match channel.log.take() {
            Some(held) => held,
            None => ChannelLog::begin(log, name).map_err(Some)?,
        };
        let before = held.head().seq;
        let merged = held.merge(from, entries, log);
        let head = held.head().seq;
        channel.log = Some(held);
        let new: Vec<PeerOp> = (from..)
            .zip(entries)
            .filter(|(seq, _)| (before + 1..=head).contains(seq))
            .map(|(seq, entry)| {
                let (channel, entry) = (name.clone(), entry.clone());
                PeerOp::ChannelLog(Box::new(StoredChannelEntry {
                    channel,
                    seq,
                    entry,
                }))
            })
            .collect();
        if !new.is_empty() {
            channel.verdict = None;
            channel.tries = 0;
            self.keep(new);
            let channel = name.clone();
            self.event(Event::ChannelChanged { channel });
        }
        match merged {
            Ok(Merge::Extended(_)) => Ok(()),
            Ok(Merge::Fork { seq }) => {
                if let Some(channel) = self.channels.held.get_mut(name) {
                    channel.forked = true;
                }
                let channel = name.clone();
                self.event(Event::LiedTo(Lie::ChannelLogFork { channel, seq }));
                Err(None)
            }
            Err(error @ ChannelLogError::Ahead { .. }) => Err(Some(error)),
            Err(error @ ChannelLogError::NoLongerAllowed) => {
                // No lie: who removed the signer has not built on this yet, or never will.
                let channel = name.clone();
                self.event(Event::ChannelEntryRefused {
                    channel,
                    reason: error.to_string(),
                });
                Err(Some(error))
            }
            Err(error) => {
                let (channel, told) = (name.clone(), error.clone());
                self.event(Event::LiedTo(Lie::BadChannelEntry {
                    channel,
                    error: told,
                }));
                Err(Some(error))
            }
        }
    }

    pub(in crate::session) fn append_channel(
        &mut self,
        command: CommandId,
        name: &ChannelName,
        body: ChannelBody,
    ) {
        if !self.link.is_ready() {
            let why = "a channel can be changed only while the broker is there".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        if self.is_existing() {
            return self.append_to_existing(command, name, &body);
        }
        let full = SessionError::Contention;
        let Some(channel) = self.open_channel(name) else {
            return self.done(command, Err(full));
        };
        if channel.appends.len() >= MAX_WAITING {
            return self.done(command, Err(full));
        }
        channel.appends.push_back(ChannelAppend {
            command: Some(command),
            body,
            tries: 0,
            sent: None,
        });
        channel.pause = None;
        self.drive_channel(name);
    }

    pub(super) fn send_channel_append(&mut self, name: &ChannelName) {
        let (wall, key) = (self.now.wall, std::sync::Arc::clone(&self.config.key));
        let Some(log) = self.log.held() else { return };
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        if channel.log.is_none() {
            channel.log = ChannelLog::begin(log, name).ok();
        }
        let (Some(held), Some(next)) = (&channel.log, channel.appends.front_mut()) else {
            return;
        };
        let entry = held.draft(wall, log, next.body).sign(&key);
        if let Err(error) = held.clone().append(&entry, log) {
            return self.channel_append_done(name, Err(error.into()));
        }
        let blob = SignedBlob::new(&entry.bytes, &entry.signature, None);
        next.sent = Some(entry);
        next.tries += 1;
        channel.busy = true;
        let req_id = Some(self.ask(Asked::ChannelAppend(name.clone())));
        self.transmit(LogAppend {
            entry: blob,
            invite_token: None,
            req_id,
        });
    }

    fn channel_append_done(&mut self, name: &ChannelName, result: Result<Reply, SessionError>) {
        let append = (self.channels.held.get_mut(name)).and_then(|c| c.appends.pop_front());
        if let Some(command) = append.and_then(|append| append.command) {
            match result {
                // Answered after the entry, which went to the store just before, is kept.
                Ok(reply) => self.store(Vec::new(), StoreWork::Answered(command, reply)),
                Err(error) => self.done(command, Err(error)),
            }
        }
        self.drive_channel(name);
    }

    pub(in crate::session) fn channel_append_refused(
        &mut self,
        name: &ChannelName,
        error: SessionError,
    ) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        let conflict =
            matches!(&error, SessionError::Refused { code, .. } if code == code::LOG_CONFLICT);
        let Some(append) = channel.appends.front_mut() else {
            return;
        };
        append.sent = None;
        // Whether it was added is not known if there was no answer; the log says.
        if conflict || error == SessionError::Timeout {
            channel.log_current = false;
            channel.log_wanted = true;
        }
        if conflict && append.tries < MAX_TRIES {
            return self.drive_channel(name);
        }
        let error = if conflict {
            SessionError::Contention
        } else {
            error
        };
        self.channel_append_done(name, Err(error));
    }

    /// An own entry was taken, or somebody else's is told.
    pub(in crate::session) fn channel_appended(&mut self, appended: &LogAppended) {
        let Ok(name) = ChannelName::new(&appended.channel) else {
            return;
        };
        let asked = self.requests.take(appended.req_id.as_deref());
        match asked {
            Some(Asked::ChannelAppend(asked)) => return self.own_channel_entry_taken(&asked),
            Some(Asked::ChannelRepost(asked)) => return self.channel_reposted(&asked),
            _ => {}
        }
        self.others_channel_entry(&name, appended);
    }

    fn own_channel_entry_taken(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        let sent = channel
            .appends
            .front_mut()
            .and_then(|append| append.sent.take());
        let Some(entry) = sent else { return };
        let hash = entry.hash();
        let seq = entry.decode_channel().map_or(0, |entry| entry.seq);
        let result = match self.take_channel_entries(name, seq, &[entry]) {
            Ok(()) => Ok(Reply::Appended { seq, hash }),
            Err(_) => {
                let why = "the broker took an entry that does not fit the log held here";
                Err(SessionError::LogUnusable(why))
            }
        };
        self.channel_append_done(name, result);
    }

    fn others_channel_entry(&mut self, name: &ChannelName, appended: &LogAppended) {
        let own = self
            .log
            .roster()
            .map(|r| r.person(&self.config.key.public()));
        let entry = appended.entry.as_ref().and_then(|blob| signed(blob).ok());
        let about = entry.as_ref().and_then(|entry| entry.decode_channel().ok());
        let about_me = about.is_some_and(|entry| Some(entry.body.key()) == own);
        // Of a channel that nobody here asked about nothing is held, unless it concerns this peer.
        if !about_me && self.channels.get(name).is_none() {
            return;
        }
        let Some(channel) = self.open_channel(name) else {
            return;
        };
        let next = channel.log_seq() + 1;
        let held = channel.log.is_some();
        if appended.head.seq < next {
            // Somebody brings back what the broker had lost.
            if appended.head.seq + 1 == next && !channel.lost.is_on() {
                self.channel_is_whole(name);
                self.drive_channel(name);
            }
            return;
        }
        if let (true, Some(entry)) = (held && appended.head.seq == next, entry) {
            let taken = self.take_channel_entries(name, next, &[entry]);
            if taken.is_ok() {
                return self.drive_channel(name);
            }
        }
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.log_current = false;
            channel.log_wanted = true;
        }
        self.drive_channel(name);
    }

    /// The log of a channel could not be fetched.
    pub(in crate::session) fn channel_log_failed(
        &mut self,
        name: &ChannelName,
        error: &SessionError,
        retry_after: Option<u64>,
    ) {
        let lost = matches!(error, SessionError::Refused { code, .. } if self.lost_at_broker(code));
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        match error {
            _ if lost => self.channel_unknown_there(name, error),
            SessionError::Refused { code, .. } if code == code::FORBIDDEN => {
                let error = SessionError::NotInChannel(name.clone());
                self.give_up_channel(name, &error);
            }
            SessionError::Refused { code, .. } if code == code::NOT_FOUND => {
                // This peer knows of a channel that the broker does not.
                let error = SessionError::NoSuchChannel(name.clone());
                self.give_up_channel(name, &error);
            }
            _ => {
                for command in std::mem::take(&mut channel.syncs) {
                    self.done(command, Err(error.clone()));
                }
                let reason = error.to_string();
                self.pause_channel(name, retry_after.unwrap_or(RETRY_MS), &reason);
            }
        }
    }
}
