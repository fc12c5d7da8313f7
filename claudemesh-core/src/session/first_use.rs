//! Names in a mesh without a membership log. Nobody vouches there for whose key is whose: the key
//! that the broker first showed under a name is kept, and another one under that name is told and
//! marked until somebody says that it is fine.

use std::collections::BTreeSet;

use super::{CommandId, Event, Lie, Reply, Session, StoreWork};
use crate::id::{Name, PublicKey};

/// How the pins of names begin; the name follows. The value is keys in hex, by spaces: the first
/// one seen, then those that were trusted.
const PIN_KEY: &str = "key:";
/// Names that are kept at most. A broker makes names as it likes; beyond, none is compared.
const MAX_NAMES: usize = 4_096;
/// Keys of one name at most: the first, and the newest that were trusted.
const MAX_KEYS: usize = 8;
/// Names with other keys that are told at most; beyond they are marked only.
const MAX_CHANGED: usize = 1_024;

/// Names that came with other keys, in this process.
#[derive(Default)]
pub(super) struct FirstUse {
    changed: BTreeSet<(Name, PublicKey)>,
}

impl Session {
    /// Compares a name and key that the broker shows with what it showed first, and keeps them if
    /// the name is new. Whether the name is known with other keys only. In a mesh with a log, never.
    pub(super) fn first_use(&mut self, name: &Name, key: PublicKey) -> bool {
        if !self.is_logless() {
            return false;
        }
        let pin = format!("{PIN_KEY}{name}");
        let hex = key.to_hex();
        let Some(held) = self.pins.get(&pin) else {
            let names = self.pins.keys().filter(|pin| pin.starts_with(PIN_KEY));
            if names.count() < MAX_NAMES {
                self.pin(&pin, &hex);
            }
            return false;
        };
        if held.split(' ').any(|known| known == hex) {
            return false;
        }
        let old = held.split(' ').next().map(PublicKey::from_hex);
        let Some(Ok(old)) = old else {
            // Nothing that this peer wrote.
            self.pin(&pin, &hex);
            return false;
        };
        let changed = &mut self.first_use.changed;
        if changed.len() < MAX_CHANGED && changed.insert((name.clone(), key)) {
            self.event(Event::LiedTo(Lie::KeyChanged {
                name: name.clone(),
                old,
                new: key,
            }));
        }
        true
    }

    /// Somebody says that a key is fine under the names that it came with. Nothing is said by that
    /// of names it comes with later.
    pub(super) fn trust(&mut self, command: CommandId, key: PublicKey) {
        let changed = std::mem::take(&mut self.first_use.changed);
        let (these, rest) = changed.into_iter().partition(|(_, new)| *new == key);
        self.first_use.changed = rest;
        let these: BTreeSet<(Name, PublicKey)> = these;
        for (name, _) in &these {
            let pin = format!("{PIN_KEY}{name}");
            let held = self.pins.get(&pin).map_or("", String::as_str);
            let mut keys: Vec<&str> = held.split(' ').filter(|key| !key.is_empty()).collect();
            let hex = key.to_hex();
            keys.push(&hex);
            if keys.len() > MAX_KEYS {
                keys.remove(1);
            }
            let value = keys.join(" ");
            self.pin(&pin, &value);
        }
        // Answered after the pins, which went to the store just before, are kept.
        let mut names: Vec<Name> = these.into_iter().map(|(name, _)| name).collect();
        names.sort();
        let reply = Reply::Trusted(names);
        self.store(Vec::new(), StoreWork::Answered(command, reply));
    }
}
