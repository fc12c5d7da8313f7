//! What is kept of channels in memory.

use std::collections::{BTreeMap, HashSet};

use crate::id::{ChannelName, KeyId};
use crate::store::{
    LockedRow, MAX_LOCKED, MAX_NUMBER, NewLocked, Outcome, SeenValue, StoredChannelEntry, StoredKey,
};

const LOCKED_BYTES: usize = 64 << 20;

/// Locked messages, logs and keys of channels, and versions of values.
#[derive(Debug, Default)]
pub(super) struct Channels {
    locked: BTreeMap<u64, NewLocked>,
    locked_ids: HashSet<String>,
    locked_bytes: usize,
    last_place: u64,
    logs: BTreeMap<ChannelName, Vec<StoredChannelEntry>>,
    /// Of each channel by epoch, those of one epoch as they came.
    keys: BTreeMap<ChannelName, Vec<StoredKey>>,
    values: BTreeMap<(String, String), SeenValue>,
}

impl Channels {
    pub(super) fn lock(&mut self, message: &NewLocked) -> Outcome {
        if self.locked_ids.contains(&message.broker_id) {
            return Outcome::Duplicate;
        }
        let bytes = self.locked_bytes.saturating_add(message.frame.len());
        if self.locked.len() as u64 >= MAX_LOCKED || bytes > LOCKED_BYTES {
            return Outcome::NotThere;
        }
        self.locked_ids.insert(message.broker_id.clone());
        self.locked_bytes = bytes;
        self.last_place += 1;
        let message = NewLocked {
            received_at: message.received_at.min(MAX_NUMBER),
            ..message.clone()
        };
        self.locked.insert(self.last_place, message);
        Outcome::Row(self.last_place)
    }

    pub(super) fn unlock(&mut self, place: u64) -> bool {
        let Some(message) = self.locked.remove(&place) else {
            return false;
        };
        self.locked_ids.remove(&message.broker_id);
        self.locked_bytes -= message.frame.len();
        true
    }

    /// Takes out at most `limit` that were received before this time; gives their number.
    pub(super) fn prune(&mut self, before: u64, limit: usize) -> usize {
        let old = self.locked.iter().filter(|(_, m)| m.received_at < before);
        let old: Vec<u64> = old.map(|(place, _)| *place).take(limit).collect();
        old.iter().filter(|place| self.unlock(**place)).count()
    }

    pub(super) fn locked(&self, key_id: Option<&KeyId>, limit: u32) -> Vec<LockedRow> {
        let wanted = |message: &NewLocked| key_id.is_none_or(|id| *id == message.key_id);
        let rows = self.locked.iter().filter(|(_, message)| wanted(message));
        rows.take(limit as usize)
            .map(|(place, message)| LockedRow {
                place: *place,
                message: message.clone(),
            })
            .collect()
    }

    /// Whether the entry is there now.
    pub(super) fn log(&mut self, entry: &StoredChannelEntry) -> bool {
        let length = self.logs.get(&entry.channel).map_or(0, Vec::len) as u64;
        if entry.seq == length + 1 {
            let log = self.logs.entry(entry.channel.clone()).or_default();
            log.push(entry.clone());
        }
        (1..=length + 1).contains(&entry.seq)
    }

    pub(super) fn logs(&self) -> Vec<StoredChannelEntry> {
        self.logs.values().flatten().cloned().collect()
    }

    pub(super) fn key(&mut self, key: &StoredKey) {
        let keys = self.keys.entry(key.channel.clone()).or_default();
        if let Some(kept) = keys.iter_mut().find(|kept| kept.key_id == key.key_id) {
            if kept.root.is_none() {
                kept.root.clone_from(&key.root);
            }
            return;
        }
        let key = StoredKey {
            epoch: key.epoch.min(MAX_NUMBER),
            ..key.clone()
        };
        let at = keys.partition_point(|kept| kept.epoch <= key.epoch);
        keys.insert(at, key);
    }

    /// Whether it was there.
    pub(super) fn drop_key(&mut self, id: &KeyId) -> bool {
        let mut dropped = false;
        for keys in self.keys.values_mut() {
            let had = keys.len();
            keys.retain(|key| key.key_id != *id);
            dropped |= keys.len() < had;
        }
        dropped
    }

    pub(super) fn keys(&self) -> Vec<StoredKey> {
        self.keys.values().flatten().cloned().collect()
    }

    pub(super) fn value(&mut self, value: &SeenValue) {
        let value = SeenValue {
            version: value.version.min(MAX_NUMBER),
            ..value.clone()
        };
        let of = (value.what.clone(), value.name.clone());
        self.values.insert(of, value);
    }

    pub(super) fn values(&self) -> Vec<SeenValue> {
        self.values.values().cloned().collect()
    }
}
