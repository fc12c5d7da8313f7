//! What a mesh keeps besides messages: state, memories, summaries, schedules.
//!
//! All of it is sealed: values under the key of `$state`, messages that go out later like any other.
//! A write waits until that key is good, as a message to a channel does; a read waits for the keys
//! of what it read. Later members get the earlier keys by links, from the newest key backwards.

mod memory;
mod read;
mod schedule;
mod state;
mod summary;

use std::collections::{BTreeSet, HashMap};

use super::{CommandId, Event, Lie, Session, SessionError};
use crate::channel::{
    ExpectedValue, OpenedValue, SealedValue, Value, Verdict, What, newer, seal_value,
};
use crate::id::{ChannelName, Hash, KeyId};
use crate::store::{PeerOp, SeenValue};
pub(super) use read::Parked;
pub(super) use schedule::OneShot;
pub(super) use state::StateWrite;
#[cfg(feature = "client")]
pub(crate) use summary::{SUMMARY_LOCKED, SUMMARY_PROTECTED};

/// Something that waits for a channel's key.
pub(super) enum Task {
    State(StateWrite),
    Memory {
        command: CommandId,
        id: String,
        body: Vec<u8>,
        tags: Vec<String>,
    },
    Summary,
    Schedule(OneShot),
}

/// Values as far as they are under way.
#[derive(Default)]
pub(super) struct Values {
    /// The newest version of each that was seen.
    seen: HashMap<(What, String), (u64, Hash)>,
    /// What was read and waits for keys.
    parked: Vec<Parked>,
    /// Keys that are looked for, from link to link.
    looked_for: BTreeSet<KeyId>,
    /// What this session does, to be told on each connection.
    summary: Option<String>,
}

impl Values {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.parked.iter().map(|parked| parked.until).min()
    }
}

impl Session {
    /// Takes the versions of values that the store has seen.
    pub fn restore_values(&mut self, seen: Vec<SeenValue>) {
        for value in seen {
            let what = [What::State, What::Memory, What::Summary];
            let what = what.into_iter().find(|what| what.as_str() == value.what);
            if let Some(what) = what {
                let held = (value.version, value.hash);
                self.values.seen.insert((what, value.name), held);
            }
        }
    }

    /// Waits for the channel's key, then does it.
    pub(super) fn when_keyed(&mut self, name: &ChannelName, task: Task) {
        if !self.push_task(name, task) {
            return;
        }
        self.want_channel(name);
    }

    /// The key is good: what waited for it is done.
    pub(super) fn run_task(&mut self, task: Task) {
        match task {
            Task::State(write) => self.save_state(write),
            Task::Memory {
                command,
                id,
                body,
                tags,
            } => self.save_memory(command, id, body, tags),
            Task::Summary => self.tell_summary(),
            Task::Schedule(one_shot) => self.save_schedule(one_shot),
        }
    }

    /// Nothing can be sealed for that channel.
    pub(super) fn fail_task(&mut self, task: Task, error: &SessionError) {
        let command = match task {
            Task::State(write) => Some(write.command),
            Task::Memory { command, .. } => Some(command),
            Task::Schedule(one_shot) => one_shot.command,
            Task::Summary => None,
        };
        if let Some(command) = command {
            self.done(command, Err(error.clone()));
        }
    }

    fn seal_value(&mut self, value: &Value) -> Result<(SealedValue, Hash), SessionError> {
        let state = ChannelName::state();
        let out = || SessionError::NotInChannel(state.clone());
        let nonce = self.rng.bytes();
        let key_id = self.good_key(&state).ok_or_else(out)?;
        let channel = self.channels.get(&state).ok_or_else(out)?;
        let key = channel.keys.key(&key_id).map_err(|_| out())?;
        let (mesh, me) = (&self.config.mesh, &self.config.key);
        let sealed = seal_value(mesh, me, &key_id, key, value, nonce)?;
        // Read back as any reader would: its hash is what the next version is compared with.
        let expected = ExpectedValue {
            mesh,
            what: value.what,
            name: &value.name,
            key_id: &key_id,
            key,
        };
        let hash = crate::channel::open_value(expected, &sealed)?.hash;
        Ok((sealed, hash))
    }

    /// Holds a value that was opened against the newest one seen under its name. False: it is not
    /// the newest, or lost against another of its version. What is new by somebody who is no
    /// verified member now is not remembered: one who is out could use up the numbers of a name.
    fn judge_value(
        &mut self,
        what: What,
        name: &str,
        opened: &OpenedValue,
        verified: bool,
    ) -> bool {
        let place = (what, name.to_owned());
        let got = (opened.version, opened.hash);
        let held = self.values.seen.get(&place).copied();
        match newer(held, got) {
            Verdict::Same => true,
            Verdict::Newer if !verified => true,
            Verdict::Replaced if !verified => {
                self.value_lie(what, name, opened.version, None);
                false
            }
            Verdict::Newer => {
                self.saw_value(what, name, got);
                true
            }
            Verdict::Replaced => {
                self.saw_value(what, name, got);
                self.value_lie(what, name, opened.version, None);
                true
            }
            Verdict::Loses => {
                self.value_lie(what, name, opened.version, None);
                false
            }
            Verdict::Rollback => {
                let held = held.map(|(version, _)| version);
                self.value_lie(what, name, opened.version, held);
                false
            }
        }
    }

    /// The broker says that nothing is kept under a name: so it was before what was seen there.
    fn judge_no_value(&mut self, what: What, name: &str, shown: u64) {
        let held = self.values.seen.get(&(what, name.to_owned()));
        if let Some((held, _)) = held.copied().filter(|(held, _)| *held > shown) {
            self.value_lie(what, name, shown, Some(held));
        }
    }

    fn value_lie(&mut self, what: What, name: &str, shown: u64, held: Option<u64>) {
        let (what, name) = (what.as_str(), super::clean(name, 64));
        self.event(Event::LiedTo(match held {
            Some(held) => Lie::ValueRollback {
                what,
                name,
                held,
                shown,
            },
            None => Lie::ValueFork {
                what,
                name,
                version: shown,
            },
        }));
    }

    fn saw_value(&mut self, what: What, name: &str, (version, hash): (u64, Hash)) {
        let place = (what, name.to_owned());
        self.values.seen.insert(place, (version, hash));
        self.keep(vec![PeerOp::Value(Box::new(SeenValue {
            what: what.as_str().to_owned(),
            name: name.to_owned(),
            version,
            hash,
        }))]);
    }
}
