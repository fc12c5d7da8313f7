//! What the writer remembers between commits: numbers of parties, and how full mailboxes are.
//!
//! It follows the open transaction; after a rollback it is thrown away whole.

use std::collections::HashMap;

use claudemesh_core::id::{MeshId, PublicKey};

use super::Caps;
use super::chains::Chains;

const PARTIES: usize = 200_000;
const MAILBOXES: usize = 50_000;
const MESHES: usize = 10_000;
/// Pairs of mailbox and sender.
const PAIRS: usize = 200_000;
/// Rows that one walk over a table looks at: 1 to 2 ms of SQLite's time.
pub(super) const STRIDE: usize = 4_096;

/// How full a mailbox is.
#[derive(Debug, Default)]
pub(super) struct Load {
    rows: u64,
    bytes: u64,
    senders: HashMap<i64, u64>,
    used: u64,
}

impl Load {
    /// Whether one more delivery fits.
    pub(super) fn has_room(&self, caps: &Caps, sender: Option<i64>, size: u64) -> bool {
        let of_sender = sender.and_then(|id| self.senders.get(&id)).copied();
        self.rows < caps.rows
            && self.bytes.saturating_add(size) <= caps.bytes
            && of_sender.unwrap_or(0) < caps.rows_per_sender
    }
}

/// How much waits in a mesh.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MeshLoad {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl MeshLoad {
    /// Whether so many more deliveries of one message fit.
    pub(super) fn has_room(&self, caps: &Caps, more: u64, size: u64) -> bool {
        self.rows.saturating_add(more) < caps.mesh_rows
            && self.bytes.saturating_add((more + 1).saturating_mul(size)) <= caps.mesh_bytes
    }
}

/// The counters of `meta` that change with the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// The newest seq ever given.
    pub(super) head: u64,
    /// Rows of `delivery`.
    pub(super) queued: u64,
}

/// Where a walk over a table goes on.
pub(super) type DeliveryKey = (i64, i64, i64);
/// Where forgetting goes on.
pub(super) type AcceptedKey = (i64, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) counters: Option<Counters>,
    pub(super) chains: Chains,
    pub(super) expire_from: Option<DeliveryKey>,
    pub(super) forget_from: Option<AcceptedKey>,
    ids: HashMap<MeshId, HashMap<PublicKey, i64>>,
    parties: HashMap<i64, (MeshId, PublicKey)>,
    loads: HashMap<i64, Load>,
    mesh_loads: HashMap<MeshId, MeshLoad>,
    pairs: usize,
    commit: u64,
    swept: u64,
}

impl Cache {
    /// Keeps the cache within its bounds: first what was not used since the last time goes, then
    /// all. Called between commits.
    pub(super) fn trim(&mut self) {
        self.commit += 1;
        self.chains.trim();
        if self.mesh_loads.len() > MESHES {
            self.mesh_loads.clear();
        }
        if self.parties.len() > PARTIES {
            self.ids.clear();
            self.parties.clear();
        }
        let large = |cache: &Self| cache.loads.len() > MAILBOXES || cache.pairs > PAIRS;
        if large(self) {
            let swept = self.swept;
            self.loads.retain(|_, load| load.used > swept);
            self.pairs = self.loads.values().map(|load| load.senders.len()).sum();
            self.swept = self.commit;
        }
        if large(self) {
            self.loads.clear();
            self.pairs = 0;
        }
    }

    /// The number of a party, if it is remembered.
    pub(super) fn known(&self, mesh: &MeshId, key: &PublicKey) -> Option<i64> {
        self.ids.get(mesh)?.get(key).copied()
    }

    /// Whose number it is, if that is remembered.
    pub(super) fn known_party(&self, id: i64) -> Option<&(MeshId, PublicKey)> {
        self.parties.get(&id)
    }

    /// How full a mailbox is, if that is remembered.
    pub(super) fn known_load(&mut self, mailbox: i64) -> Option<&Load> {
        let load = self.loads.get_mut(&mailbox)?;
        load.used = self.commit;
        Some(load)
    }

    /// Remembers how full a mailbox is: rows and bytes of each sender in it.
    pub(super) fn remember_load(
        &mut self,
        mailbox: i64,
        senders: impl IntoIterator<Item = (i64, u64, u64)>,
    ) {
        let mut load = Load::default();
        for (sender, rows, bytes) in senders {
            load.rows += rows;
            load.bytes += bytes;
            load.senders.insert(sender, rows);
        }
        load.used = self.commit;
        self.pairs += load.senders.len();
        self.loads.insert(mailbox, load);
    }

    /// How much waits in a mesh, if that is remembered.
    pub(super) fn known_mesh_load(&self, mesh: &MeshId) -> Option<MeshLoad> {
        self.mesh_loads.get(mesh).copied()
    }

    /// Remembers how much waits in a mesh.
    pub(super) fn remember_mesh_load(&mut self, mesh: &MeshId, load: MeshLoad) {
        self.mesh_loads.insert(mesh.clone(), load);
    }

    pub(super) fn remember(&mut self, id: i64, mesh: &MeshId, key: &PublicKey) {
        match self.ids.get_mut(mesh) {
            Some(keys) => {
                keys.insert(*key, id);
            }
            None => {
                self.ids.insert(mesh.clone(), HashMap::from([(*key, id)]));
            }
        }
        self.parties.insert(id, (mesh.clone(), *key));
    }

    /// What waits in the mesh of a mailbox has changed by one delivery.
    fn mesh_changed(&mut self, mailbox: i64, change: impl FnOnce(&mut MeshLoad)) {
        match self.parties.get(&mailbox) {
            Some((mesh, _)) => {
                if let Some(load) = self.mesh_loads.get_mut(mesh) {
                    change(load);
                }
            }
            // Whose it is was forgotten: what is counted now may be of any mesh.
            None => self.mesh_loads.clear(),
        }
    }

    /// A delivery was added to a mailbox whose load is known or is read later.
    pub(super) fn added(&mut self, mailbox: i64, sender: i64, size: u64) {
        self.mesh_changed(mailbox, |load| {
            load.rows += 1;
            load.bytes += size;
        });
        if let Some(load) = self.loads.get_mut(&mailbox) {
            load.rows += 1;
            load.bytes += size;
            *load.senders.entry(sender).or_insert_with(|| {
                self.pairs += 1;
                0
            }) += 1;
        }
    }

    /// A delivery is gone.
    pub(super) fn removed(&mut self, mailbox: i64, sender: i64, size: u64) {
        self.mesh_changed(mailbox, |load| {
            load.rows = load.rows.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(size);
        });
        if let Some(load) = self.loads.get_mut(&mailbox) {
            load.rows = load.rows.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(size);
            if let Some(rows) = load.senders.get_mut(&sender) {
                *rows = rows.saturating_sub(1);
                if *rows == 0 {
                    load.senders.remove(&sender);
                    self.pairs = self.pairs.saturating_sub(1);
                }
            }
        }
    }
}
