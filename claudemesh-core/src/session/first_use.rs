//! Names in a mesh without a membership log. Nobody vouches there for whose key is whose: the key
//! that the broker first showed under a name is kept, and another one under that name is told and
//! marked until somebody says that it is fine.

use std::collections::BTreeSet;

use super::{CommandId, Event, Lie, Reply, Session, StoreWork};
use crate::id::{Name, PublicKey};
use crate::sorted::sorted;

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
    /// Whether a key is the first one that was seen under one of its names, or was accepted there,
    /// and is not shown under a name that is known with another.
    pub(super) fn is_first_of_name(&self, key: &PublicKey) -> bool {
        if self.first_use.changed.iter().any(|(_, new)| new == key) {
            return false;
        }
        let hex = key.to_hex();
        let pins = self.pins.iter().filter(|(pin, _)| pin.starts_with(PIN_KEY));
        pins.map(|(_, keys)| keys)
            .any(|keys| keys.split(' ').any(|known| known == hex))
    }

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

    /// All names that are kept, each with its keys, and whether a key came under a name that is known
    /// with others.
    pub(super) fn names_known(&self) -> Vec<(Name, PublicKey, bool)> {
        let mut all = Vec::new();
        for (pin, keys) in &self.pins {
            let name = pin.strip_prefix(PIN_KEY).map(Name::new);
            let Some(Ok(name)) = name else { continue };
            let keys = keys
                .split(' ')
                .filter_map(|key| PublicKey::from_hex(key).ok());
            all.extend(keys.map(|key| (name.clone(), key, false)));
        }
        let changed = self.first_use.changed.iter();
        all.extend(changed.map(|(name, key)| (name.clone(), *key, true)));
        all
    }

    /// Somebody says that a key is trusted, also under the names that it came with. Of names it comes
    /// with later nothing is said by that.
    pub(super) fn trust(&mut self, command: CommandId, key: PublicKey) {
        if let Err(error) = self.name_trusted(key) {
            return self.done(command, Err(error));
        }
        self.existing.accept_names(&key);
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
        let names: Vec<Name> = these.into_iter().map(|(name, _)| name).collect();
        let reply = Reply::Trusted(sorted(names));
        self.store(Vec::new(), StoreWork::Answered(command, reply));
    }
}
