//! What the store kept of channels, put together again at the start.

use std::collections::BTreeMap;

use super::Channel;
use crate::channel::{Keyring, Root, SignedKeyStatement, Taken};
use crate::id::ChannelName;
use crate::membership::{ChannelLog, SignedEntry};
use crate::session::Session;
use crate::store::{StoredChannelEntry, StoredKey};

impl Session {
    /// Takes what the store kept of channels' logs and keys. All of it is verified once more; what
    /// does not hold any more, because somebody changed the file, is left out and fetched again.
    pub fn restore_channels(&mut self, entries: Vec<StoredChannelEntry>, keys: Vec<StoredKey>) {
        let Some(log) = self.log.held() else {
            self.restore_room_keys(keys);
            return;
        };
        let mut by_channel: BTreeMap<ChannelName, Vec<SignedEntry>> = BTreeMap::new();
        for StoredChannelEntry { channel, entry, .. } in entries {
            by_channel.entry(channel).or_default().push(entry);
        }
        let (mesh, me) = (self.config.mesh.clone(), self.config.key.public());
        let empty = |name: &ChannelName| Channel::new(Keyring::new(mesh.clone(), name.clone(), me));
        for (name, entries) in by_channel {
            let restored = ChannelLog::restore(log, &name, &entries);
            if let Ok(restored) = restored {
                let held = &mut self.channels.held;
                let channel = held.entry(name.clone()).or_insert_with(|| empty(&name));
                channel.log = Some(restored);
            }
        }
        for key in keys {
            let signed = SignedKeyStatement {
                bytes: key.statement,
                signature: key.signature,
            };
            let (name, id) = (key.channel, signed.key_id());
            let held = &mut self.channels.held;
            let channel = held.entry(name.clone()).or_insert_with(|| empty(&name));
            let taken = channel.keys.take(&signed, log, channel.log.as_ref());
            if matches!(taken, Taken::Rejected(_)) {
                continue;
            }
            self.channels.of_key.insert(id, name);
            if let Some(root) = key.root
                && channel
                    .keys
                    .take_root(&id, Root::new(*root.expose()))
                    .is_ok()
            {
                channel.kept.insert(id);
            }
        }
    }
}
