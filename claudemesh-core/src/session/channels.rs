//! Channels: their logs and keys as held, and what is under way about them.
//!
//! For each channel that somebody wants something of, [`Session::drive_channel`] asks the broker the
//! next question, one at a time: the mesh's log, the channel's log, the newest key. Only with all
//! three is a message sealed; if the newest key was made for other members than the logs name now,
//! the next one is made first. Whatever the broker answers is held against the logs.

mod history;
mod keys;
mod logs;
mod publish;
mod receive;
mod repost;
mod restore;
mod seal;
mod strike;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::values::Task;
use super::{CommandId, Event, Session, SessionError};
use crate::channel::{Keyring, Rotation};
use crate::id::{ChannelName, KeyId, PublicKey, Target};
use crate::membership::ChannelLog;
use crate::wire::KeyRecord;
pub(super) use history::in_words;
pub(super) use logs::ChannelAppend;
pub(super) use receive::{Unopened, is_to_channel, key_of};
pub(super) use seal::{is_draft, sealed_under};

/// How often in a row keys are asked for in vain before later messages, and what is to be sent, no
/// longer wait for them.
const MAX_KEY_TRIES: u32 = 3;

/// Channels of which something is held in memory, at most: those of the mesh's log, and the two
/// that have no entry there.
const MAX_CHANNELS: usize = 4_096;
/// Milliseconds after which something that did not work is tried again.
const RETRY_MS: u64 = 5_000;

/// One channel.
pub(super) struct Channel {
    pub(super) log: Option<ChannelLog>,
    pub(super) keys: Keyring,
    /// This connection has shown the newest log.
    log_current: bool,
    /// The newest log is wanted.
    log_wanted: bool,
    /// The broker shows two versions of the log.
    forked: bool,
    /// This connection has shown the newest key.
    keys_current: bool,
    /// A question about it waits for its answer.
    busy: bool,
    /// The key that is being published.
    publishing: Option<Box<Rotation>>,
    /// Somebody waits to seal something.
    wanted: bool,
    /// For which heads of the two logs the newest key was found to be good.
    good: Option<(u64, u64, KeyId)>,
    /// Nothing is asked before, in ms of the clock.
    pause: Option<u64>,
    /// How often in a row others were faster, or knew better.
    tries: u32,
    /// Why nothing can be sent there, until a log changes.
    verdict: Option<SessionError>,
    /// Keys to ask for, and those that were asked for on this connection.
    missing: BTreeSet<KeyId>,
    asked: HashSet<KeyId>,
    /// How often in a row keys that messages wait for were asked for in vain.
    key_tries: u32,
    /// Keys that messages wait for are asked for just now.
    fetching: bool,
    /// Keys that came, by epoch, whose messages are opened when no other is asked for: so what was
    /// said in this order is read in this order.
    unlocks: BTreeSet<(u64, KeyId)>,
    /// Messages that are being locked in the store, and looks for those that can be opened.
    locking: usize,
    unlocking: usize,
    /// Keys that need more of a log.
    later: Vec<KeyRecord>,
    /// Keys whose root is in the store.
    kept: HashSet<KeyId>,
    syncs: Vec<CommandId>,
    appends: VecDeque<ChannelAppend>,
    histories: Vec<history::Asked>,
    /// Who was removed from the mesh by this peer and is still listed here.
    strikes: BTreeSet<PublicKey>,
    /// What is done as soon as the newest key is good, and until when that is waited for, in ms of
    /// the clock.
    tasks: Vec<(Task, u64)>,
    /// The newest key is to be known, without being needed now.
    newest_wanted: bool,
    /// What the broker has lost of it.
    lost: repost::Lost,
    /// The broker's current key.
    shown: repost::Shown,
}

/// Milliseconds for which something waits for a channel's key.
const TASK_MS: u64 = 20_000;
/// What waits for one channel's key at most.
const MAX_TASKS: usize = 1_024;

impl Channel {
    fn new(keys: Keyring) -> Self {
        Self {
            log: None,
            keys,
            log_current: false,
            log_wanted: false,
            forked: false,
            keys_current: false,
            busy: false,
            publishing: None,
            wanted: false,
            good: None,
            pause: None,
            tries: 0,
            verdict: None,
            missing: BTreeSet::new(),
            asked: HashSet::new(),
            key_tries: 0,
            fetching: false,
            unlocks: BTreeSet::new(),
            locking: 0,
            unlocking: 0,
            later: Vec::new(),
            kept: HashSet::new(),
            syncs: Vec::new(),
            appends: VecDeque::new(),
            histories: Vec::new(),
            strikes: BTreeSet::new(),
            tasks: Vec::new(),
            newest_wanted: false,
            lost: repost::Lost::default(),
            shown: None,
        }
    }

    fn has_work(&self) -> bool {
        self.wanted
            || self.log_wanted
            || !self.syncs.is_empty()
            || !self.appends.is_empty()
            || !self.missing.is_empty()
            || !self.strikes.is_empty()
            || self.lost.is_on()
            || (self.newest_wanted && !self.keys_current)
    }

    /// Keys that messages wait for were asked for in vain so often that nothing else waits for them.
    fn lacks_keys(&self) -> bool {
        self.key_tries > MAX_KEY_TRIES
    }

    /// The number of its log's newest entry.
    fn log_seq(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.head().seq)
    }

    fn connection_closed(&mut self) {
        self.log_current = false;
        self.log_wanted = false;
        self.keys_current = false;
        self.busy = false;
        self.publishing = None;
        self.wanted = false;
        self.pause = None;
        self.tries = 0;
        self.verdict = None;
        self.missing.clear();
        self.asked.clear();
        self.key_tries = 0;
        self.fetching = false;
        self.locking = 0;
        self.later.clear();
        self.strikes.clear();
        self.newest_wanted = false;
        self.lost = repost::Lost::default();
        self.shown = None;
    }
}

/// All channels that were touched.
#[derive(Default)]
pub(super) struct Channels {
    held: BTreeMap<ChannelName, Channel>,
    /// Of which channel a key is.
    of_key: HashMap<KeyId, ChannelName>,
    /// When the key of `$state` is looked after, in ms of the clock.
    state_at: Option<u64>,
    /// How often the store is being asked for all that is locked. Until it answers nobody knows what
    /// is there from before.
    looking: usize,
    /// The broker may have lost something of them.
    suspect: bool,
    /// What it has lost is being loaded.
    loading: bool,
}

impl Channels {
    pub(super) fn get(&self, name: &ChannelName) -> Option<&Channel> {
        self.held.get(name)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let pauses = self.held.values().filter_map(|channel| channel.pause);
        let tasks = self.held.values().flat_map(|channel| &channel.tasks);
        let tasks = tasks.map(|(_, until)| *until);
        pauses.chain(tasks).chain(self.state_at).min()
    }

    pub(super) fn connection_closed(&mut self) {
        self.state_at = None;
        self.suspect = false;
        for channel in self.held.values_mut() {
            channel.connection_closed();
        }
    }

    fn names(&self) -> Vec<ChannelName> {
        self.held.keys().cloned().collect()
    }
}

impl Session {
    /// The channel, made if it is new here; none if there are too many.
    fn open_channel(&mut self, name: &ChannelName) -> Option<&mut Channel> {
        let (mesh, me) = (&self.config.mesh, self.config.key.public());
        let held = &mut self.channels.held;
        if !held.contains_key(name) && held.len() >= MAX_CHANNELS {
            return None;
        }
        let channel = held
            .entry(name.clone())
            .or_insert_with(|| Channel::new(Keyring::new(mesh.clone(), name.clone(), me)));
        Some(channel)
    }

    /// Somebody wants to seal something for this channel.
    pub(super) fn want_channel(&mut self, name: &ChannelName) {
        if self.is_existing() {
            return self.want_room(name);
        }
        if let Some(channel) = self.open_channel(name) {
            channel.wanted = true;
        }
        self.drive_channel(name);
    }

    /// The mesh's log is as new as it can be had: every channel goes on.
    pub(super) fn drive_channels(&mut self) {
        for name in self.channels.names() {
            self.retry_later_keys(&name);
            self.drive_channel(&name);
        }
    }

    /// Why nothing can be done in this channel, by what is known now.
    fn channel_refused(&self, name: &ChannelName) -> Option<SessionError> {
        if !self.link.has_channels() {
            return Some(SessionError::ChannelsUnserved);
        }
        let Some(log) = self.log.held() else {
            return Some(SessionError::LogUnusable(
                "it has none, or it was not fetched yet",
            ));
        };
        let forked = self.channels.get(name).is_some_and(|held| held.forked);
        if self.log.is_forked() || forked {
            return Some(SessionError::LogUnusable(
                "the broker shows two versions of it",
            ));
        }
        if name.has_log() && log.roster().channel(name).is_none() {
            return Some(SessionError::NoSuchChannel(name.clone()));
        }
        None
    }

    /// Asks the next question about a channel, if one is open.
    fn drive_channel(&mut self, name: &ChannelName) {
        if !self.link.is_ready() {
            return;
        }
        let Some(channel) = self.channels.held.get(name) else {
            return;
        };
        if channel.busy || channel.pause.is_some() || !channel.has_work() {
            return;
        }
        // Without channels there is nothing to wait for; what the log says is asked when it is here.
        if self.link.has_channels() && self.log.may_be_behind() {
            return self.sync_log(None);
        }
        if self.log.is_syncing() {
            return;
        }
        if let Some(error) = self.channel_refused(name) {
            return self.give_up_channel(name, &error);
        }
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        if name.has_log() && !channel.log_current {
            return self.get_channel_log(name);
        }
        channel.log_wanted = false;
        self.answer_syncs(name);
        if self.repost_next(name) {
            return;
        }
        self.strike_next(name);
        let Some(channel) = self.channels.held.get(name) else {
            return;
        };
        if !channel.appends.is_empty() {
            return self.send_channel_append(name);
        }
        let sends = channel.wanted || (channel.newest_wanted && !channel.keys_current);
        let later = sends && channel.lacks_keys();
        if !channel.missing.is_empty() && !later {
            return self.get_missing_keys(name);
        }
        if sends && !channel.keys_current {
            return self.get_newest_key(name);
        }
        if !channel.wanted {
            return;
        }
        self.check_newest_key(name);
    }

    /// Nothing can be done in this channel: whoever waits is told why.
    fn give_up_channel(&mut self, name: &ChannelName, error: &SessionError) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.log_wanted = false;
        channel.wanted = false;
        channel.missing.clear();
        channel.strikes.clear();
        channel.verdict = Some(error.clone());
        let mut commands = std::mem::take(&mut channel.syncs);
        let appends = std::mem::take(&mut channel.appends);
        commands.extend(appends.into_iter().filter_map(|append| append.command));
        let tasks = std::mem::take(&mut channel.tasks);
        for command in commands {
            self.done(command, Err(error.clone()));
        }
        for (task, _) in tasks {
            self.fail_task(task, error);
        }
        self.finish_histories(name);
        self.outbox.release(name);
    }

    /// The newest key is good: what waits for it goes out.
    fn channel_ready(&mut self, name: &ChannelName, heads: (u64, u64), key: KeyId) {
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.good = Some((heads.0, heads.1, key));
            channel.wanted = false;
            channel.verdict = None;
            for (task, _) in std::mem::take(&mut channel.tasks) {
                self.run_task(task);
            }
        }
        self.outbox.release(name);
        // Keys that were asked for in vain had to wait for this.
        let waits = |held: &Channel| !held.missing.is_empty();
        if self.channels.get(name).is_some_and(waits) {
            self.drive_channel(name);
        }
    }

    /// Notes something that waits for the channel's key; false, and told to who asked, if there is
    /// no room.
    pub(super) fn push_task(&mut self, name: &ChannelName, task: Task) -> bool {
        let until = self.now.mono + TASK_MS;
        match self.open_channel(name) {
            Some(channel) if channel.tasks.len() < MAX_TASKS => {
                channel.tasks.push((task, until));
                true
            }
            _ => {
                self.fail_task(task, &SessionError::Contention);
                false
            }
        }
    }

    /// The newest key of a channel is to be known here.
    pub(super) fn want_newest(&mut self, name: &ChannelName) {
        if let Some(channel) = self.open_channel(name) {
            channel.newest_wanted = true;
        }
        self.drive_channel(name);
    }

    /// A pause before the next question; what is to be sent waits meanwhile.
    fn pause_channel(&mut self, name: &ChannelName, in_ms: u64, reason: &str) {
        let in_ms = in_ms + self.rng.below(in_ms / 4 + 1);
        let until = self.now.mono.saturating_add(in_ms);
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.pause = Some(until);
        if channel.wanted {
            let (to, reason) = (Target::Channel(name.clone()), reason.to_owned());
            self.event(Event::Held { to, reason, in_ms });
        }
    }

    pub(super) fn tick_channels(&mut self) {
        let mono = self.now.mono;
        let due: Vec<ChannelName> = (self.channels.held.iter_mut())
            .filter_map(|(name, channel)| {
                channel.pause.take_if(|until| mono >= *until)?;
                Some(name.clone())
            })
            .collect();
        for name in due {
            self.drive_channel(&name);
        }
        self.give_up_tasks();
        if self.channels.state_at.take_if(|at| mono >= *at).is_some() {
            self.look_after_state();
        }
    }

    /// What has waited too long for a key is told so.
    fn give_up_tasks(&mut self) {
        let mono = self.now.mono;
        let mut late = Vec::new();
        for (name, channel) in &mut self.channels.held {
            let over = channel.tasks.extract_if(.., |(_, until)| mono >= *until);
            late.extend(over.map(|(task, _)| (name.clone(), task)));
        }
        for (name, task) in late {
            self.fail_task(task, &SessionError::NoKeyYet(name));
        }
    }

    /// The connection is gone: those who wait for an answer get none.
    pub(super) fn channel_commands_failed(&mut self, reason: &str) {
        let error = SessionError::NotConnected(reason.to_owned());
        let (mut commands, mut tasks) = (Vec::new(), Vec::new());
        for channel in self.channels.held.values_mut() {
            commands.append(&mut channel.syncs);
            let appends = std::mem::take(&mut channel.appends);
            commands.extend(appends.into_iter().filter_map(|append| append.command));
            let histories = std::mem::take(&mut channel.histories);
            commands.extend(histories.into_iter().map(|asked| asked.command));
            tasks.append(&mut channel.tasks);
        }
        for (task, _) in tasks {
            self.fail_task(task, &error);
        }
        for command in commands {
            self.done(command, Err(error.clone()));
        }
    }

    /// Nothing is asked for any more: what can be opened is.
    pub(super) fn channels_idle(&mut self) {
        for name in self.channels.names() {
            self.flush_unlocks(&name);
        }
    }
}
