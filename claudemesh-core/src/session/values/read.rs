//! Opening what was read, as soon as its keys are here.

use super::Values;
use crate::channel::{ExpectedValue, Missing, SealedValue, ValueError, What, open_value};
use crate::id::{ChannelName, KeyId};
use crate::session::types::Kept;
use crate::session::{CommandId, Reply, Session};
use crate::sorted::sorted;
use crate::wire::{MemoryRecord, StateEntry};

/// Values of one answer at most.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// Reads that wait for keys at most.
const MAX_PARKED: usize = 256;
/// Milliseconds for which a read waits for keys: longer than those who are online take to renew the
/// key for somebody who has just come.
const PATIENCE_MS: u64 = 7_000;

/// A value as the broker has it.
pub(in crate::session) struct Shown {
    what: What,
    name: String,
    sealed: Result<SealedValue, ValueError>,
    /// What stands there if it is not sealed.
    plain: String,
    by: String,
    at: String,
    tags: Vec<String>,
    version: u64,
}

/// Values that were read and of which a key is missing.
pub(in crate::session) struct Parked {
    command: CommandId,
    shown: Vec<Shown>,
    /// Until when it is waited, in ms of the clock.
    pub(super) until: u64,
}

impl Session {
    pub(super) fn read_state(&mut self, command: CommandId, entries: Vec<StateEntry>) {
        let (none, there): (Vec<_>, Vec<_>) =
            (entries.into_iter()).partition(|entry| entry.value.is_null());
        for entry in none {
            self.judge_no_value(What::State, &entry.key, entry.version.unwrap_or(0));
        }
        let shown = there.into_iter().map(|entry| Shown {
            what: What::State,
            name: entry.key,
            sealed: SealedValue::from_json(&entry.value),
            plain: entry.value.to_string(),
            by: entry.updated_by,
            at: entry.updated_at,
            tags: Vec::new(),
            version: entry.version.unwrap_or(0),
        });
        self.read_shown(command, shown.collect());
    }

    pub(super) fn read_memories(&mut self, command: CommandId, memories: Vec<MemoryRecord>) {
        let shown = memories.into_iter().map(|memory| Shown {
            what: What::Memory,
            name: memory.id,
            sealed: SealedValue::from_text(&memory.content),
            plain: memory.content,
            by: memory.remembered_by,
            at: memory.remembered_at,
            tags: memory.tags,
            version: 0,
        });
        self.read_shown(command, shown.collect());
    }

    fn read_shown(&mut self, command: CommandId, shown: Vec<Shown>) {
        let missing = self.missing_keys(&shown);
        if missing.is_empty() || self.values.parked.len() >= MAX_PARKED {
            return self.show(command, shown);
        }
        self.values.looked_for.extend(&missing);
        let until = self.now.mono + PATIENCE_MS;
        self.values.parked.push(Parked {
            command,
            shown,
            until,
        });
        self.look_for_keys();
    }

    fn missing_keys(&self, shown: &[Shown]) -> Vec<KeyId> {
        let state = self.channels.get(&ChannelName::state());
        let mut ids: Vec<KeyId> = (shown.iter())
            .filter_map(|shown| shown.sealed.as_ref().ok())
            .map(|sealed| *sealed.key_id())
            .filter(|id| state.is_none_or(|state| state.keys.root(id).is_none()))
            .collect();
        ids = sorted(ids);
        ids.dedup();
        ids
    }

    /// Asks for the newest key, and from there for those before it as long as one is looked for.
    pub(in crate::session) fn look_for_keys(&mut self) {
        let name = ChannelName::state();
        let held = self.channels.get(&name);
        self.values
            .looked_for
            .retain(|id| held.is_none_or(|held| held.keys.root(id).is_none()));
        if self.values.looked_for.is_empty() {
            return;
        }
        self.want_newest(&name);
        let Some(held) = self.channels.get(&name) else {
            return;
        };
        let mut ask = Vec::new();
        // From the newest key back: whoever holds one root gets the one before by its link.
        let mut next = held.keys.newest_key().copied();
        while let Some(id) = next {
            match held.keys.statement(&id) {
                Some(statement) => next = statement.previous,
                None => {
                    ask.push(id);
                    break;
                }
            }
        }
        let looked_for = self.values.looked_for.iter();
        ask.extend(looked_for.filter(|id| held.keys.statement(id).is_none()));
        for id in ask {
            self.want_key(&name, id);
        }
    }

    /// Something about the keys of `$state` has changed: what can be opened is.
    pub(in crate::session) fn retry_parked(&mut self) {
        if self.values.parked.is_empty() {
            return;
        }
        self.look_for_keys();
        let mono = self.now.mono;
        for parked in std::mem::take(&mut self.values.parked) {
            if mono < parked.until && !self.missing_keys(&parked.shown).is_empty() {
                self.values.parked.push(parked);
            } else {
                self.show(parked.command, parked.shown);
            }
        }
        if self.values.parked.is_empty() {
            self.values.looked_for.clear();
        }
    }

    pub(in crate::session) fn tick_values(&mut self) {
        let mono = self.now.mono;
        if self.values.parked.iter().any(|parked| mono >= parked.until) {
            self.retry_parked();
        }
    }

    fn show(&mut self, command: CommandId, shown: Vec<Shown>) {
        let kept = shown
            .into_iter()
            .map(|shown| self.open_kept_value(shown))
            .collect();
        self.done(command, Ok(Reply::Values(kept)));
    }

    fn open_kept_value(&mut self, shown: Shown) -> Kept {
        let state = ChannelName::state();
        let clean = |text: &str| super::super::clean(text, 128);
        let mut kept = Kept {
            name: shown.name.clone(),
            body: Err(String::new()),
            writer: None,
            writer_name: clean(&shown.by),
            verified: false,
            protected: shown.sealed.is_ok(),
            newest: true,
            version: shown.version,
            written_at: crate::time::parse_iso(&shown.at),
            tags: shown.tags.iter().map(|tag| clean(tag)).collect(),
        };
        let sealed = match shown.sealed {
            Ok(sealed) => sealed,
            Err(ValueError::NotSealed) => {
                kept.protected = false;
                kept.body = Ok(shown.plain);
                return kept;
            }
            Err(error) => {
                kept.body = Err(error.to_string());
                return kept;
            }
        };
        let key_id = *sealed.key_id();
        let opened = match self.channels.get(&state).map(|held| held.keys.key(&key_id)) {
            Some(Ok(key)) => open_value(
                ExpectedValue {
                    mesh: &self.config.mesh,
                    what: shown.what,
                    name: &shown.name,
                    key_id: &key_id,
                    key,
                },
                &sealed,
            )
            .map_err(|error| error.to_string()),
            Some(Err(why)) => Err(in_words(why)),
            None => Err(in_words(Missing::NotYetHere)),
        };
        match opened {
            Ok(opened) => {
                let roster = self.log.roster();
                let writer = roster.and_then(|r| r.member_or_former(&opened.writer));
                if let (Some(roster), Some(writer)) = (roster, writer) {
                    kept.writer_name = roster.display_name(writer);
                }
                kept.verified = writer.is_some_and(|w| w.is_verified() && w.removed_at.is_none());
                kept.writer = Some(opened.writer);
                kept.version = opened.version;
                kept.written_at = Some(opened.written_at);
                kept.newest = self.judge_value(shown.what, &shown.name, &opened, kept.verified);
                let body = String::from_utf8(opened.body);
                kept.body = body.map_err(|_| "it is no text".to_owned());
            }
            Err(why) => kept.body = Err(why),
        }
        kept
    }

    /// The connection is gone: what waited for keys is shown as it is.
    pub(in crate::session) fn values_connection_lost(&mut self) {
        let Values { parked, .. } = &mut self.values;
        for parked in std::mem::take(parked) {
            self.show(parked.command, parked.shown);
        }
        self.values.looked_for.clear();
    }
}

fn in_words(why: Missing) -> String {
    match why {
        Missing::NotAMemberThen => {
            "written before you came; a member who was here then must come online once".to_owned()
        }
        other => crate::session::channels::in_words(other),
    }
}
