//! A store that lives as long as its process: for tests, simulation, and meshes that keep nothing.

mod audit;
mod channels;
mod load;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::hex;
use claudemesh_core::id::{ChannelName, MeshId, MessageId, Priority, PublicKey};
use claudemesh_core::membership::SignedEntry;

use super::rows::{DEDUPE_MS, NOTICE_MS};
use super::{
    Accept, BrokerStore, Delivery, Expired, InviteRow, LogChange, Many, MemberRow, MeshRow, Op,
    Outcome, Query, Rows, StoreError, StoreInfo, StoreReader,
};

/// A [`BrokerStore`] in memory. It keeps the newest 20,000 audit rows of each mesh.
#[derive(Debug)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store. Its id and its secret follow from the seed, so that a simulation repeats
    /// itself; take a random one elsewhere.
    pub fn new(seed: [u8; 32]) -> Self {
        let derive = |what: &[u8]| sha256(&[what, &seed].concat()).0;
        Self(Arc::new(Mutex::new(State {
            info: StoreInfo {
                store: hex(&derive(b"store")[..16]),
                id_secret: derive(b"secret"),
                audit_seed: derive(b"audit"),
                head: 0,
                clock: 0,
            },
            audit: audit::Audit::default(),
            values: BTreeMap::new(),
            next_number: 0,
            meshes: BTreeMap::new(),
            messages: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            accepted: BTreeMap::new(),
            notices: BTreeMap::new(),
            channels: BTreeMap::new(),
            fanouts: BTreeMap::new(),
        })))
    }

    /// A store of its own with the same rows: what a broker finds that starts again after a crash
    /// at this moment.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(lock(&self.0).clone())))
    }
}

impl BrokerStore for MemoryStore {
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        let mut state = lock(&self.0);
        Ok(ops.iter().map(|op| state.apply(op)).collect())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(MemoryReader(Arc::clone(&self.0))))
    }
}

struct MemoryReader(Arc<Mutex<State>>);

impl StoreReader for MemoryReader {
    fn load(&self, query: &Query) -> Result<Rows, StoreError> {
        Ok(lock(&self.0).load(query))
    }
}

/// No operation leaves the state half done, so one that panicked in a test harms no other.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone)]
struct Mesh {
    row: MeshRow,
    members: Vec<MemberRow>,
    invites: Vec<InviteRow>,
    log: Vec<SignedEntry>,
}

#[derive(Debug, Clone)]
struct Message {
    sender: PublicKey,
    tail: String,
    waiting: u32,
    /// Recipients, if it was sent to a channel.
    of_many: Option<u32>,
}

#[derive(Debug, Clone)]
struct Waiting {
    sender: PublicKey,
    size: u64,
    expires_at: u64,
}

#[derive(Debug, Clone, Default)]
struct Mailbox {
    rows: BTreeMap<(Priority, u64), Waiting>,
    bytes: u64,
    senders: HashMap<PublicKey, u64>,
}

#[derive(Debug, Clone)]
struct Taken {
    content: u64,
    seq: u64,
    recipients: u32,
    at: u64,
}

#[derive(Debug, Clone)]
struct Notice {
    at: u64,
    reason: String,
    sender: PublicKey,
}

#[derive(Debug, Clone)]
struct State {
    info: StoreInfo,
    meshes: BTreeMap<MeshId, Mesh>,
    messages: BTreeMap<u64, Message>,
    mailboxes: BTreeMap<(MeshId, PublicKey), Mailbox>,
    accepted: BTreeMap<(MeshId, PublicKey, MessageId), Taken>,
    notices: BTreeMap<(u64, PublicKey), Notice>,
    channels: BTreeMap<(MeshId, ChannelName), channels::Channel>,
    fanouts: BTreeMap<u64, channels::Fanout>,
    audit: audit::Audit,
    values: BTreeMap<MeshId, values::Values>,
    /// The newest number of a memory or schedule.
    next_number: u64,
}

impl State {
    fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Accept(accept) => self.accept(accept),
            Op::Settle(delivery) => match self.remove(delivery) {
                Some((sender, left, many)) => Outcome::Settled { sender, left, many },
                None => Outcome::NotThere,
            },
            Op::Expire { now, limit } => {
                self.fail("expired", *now, *limit, |_, row| row.expires_at <= *now)
            }
            Op::FailMailbox {
                mesh,
                address,
                reason,
                now,
                limit,
            } => self.fail(reason, *now, *limit, |delivery, _| {
                delivery.mesh == *mesh && delivery.address == *address
            }),
            Op::CreateMesh { mesh, entry } => self.create_mesh(mesh, Some(entry)),
            Op::ImportMesh(mesh) => self.create_mesh(mesh, None),
            Op::AppendLog {
                mesh,
                seq,
                entry,
                changes,
            } => self.append_log(mesh, *seq, entry, changes),
            Op::PutMember(member) => match self.meshes.get_mut(&member.mesh) {
                Some(mesh) => {
                    put(&mut mesh.members, member, |it| it.key == member.key);
                    Outcome::Done
                }
                None => Outcome::NotThere,
            },
            Op::NameMember { mesh, member, name } => {
                let members = self.meshes.get_mut(mesh).map(|mesh| &mut mesh.members);
                let mut all = members.into_iter().flatten();
                let found = all.find(|it| it.key == *member && !it.logged);
                found.map_or(Outcome::NotThere, |row| {
                    row.name.clone_from(name);
                    Outcome::Done
                })
            }
            Op::UseInvite { mesh, token } => {
                let invites = self.meshes.get_mut(mesh).map(|mesh| &mut mesh.invites);
                let found = invites.and_then(|all| all.iter_mut().find(|it| it.token == *token));
                found.map_or(Outcome::NotThere, |invite| {
                    invite.legacy_uses += 1;
                    Outcome::Done
                })
            }
            Op::Seen { mesh, member, at } => {
                let members = self.meshes.get_mut(mesh).map(|mesh| &mut mesh.members);
                let found = members.and_then(|all| all.iter_mut().find(|it| it.key == *member));
                found.map_or(Outcome::NotThere, |row| {
                    row.last_seen = row.last_seen.max(*at);
                    Outcome::Done
                })
            }
            Op::Channel(op) => self.channel(op),
            Op::Audit(row) => {
                self.audit.row(row);
                Outcome::Done
            }
            Op::Value(op) => self.value(op),
            Op::Prune { now, limit } => {
                let limit = *limit as usize;
                forget(&mut self.accepted, limit, |it| {
                    it.at < now.saturating_sub(DEDUPE_MS)
                });
                forget(&mut self.notices, limit, |it| {
                    it.at < now.saturating_sub(NOTICE_MS)
                });
                self.prune_channels(*now, limit);
                self.prune_values(*now);
                self.info.clock = *now;
                Outcome::Done
            }
        }
    }

    fn accept(&mut self, accept: &Accept) -> Outcome {
        let key = accept
            .id
            .clone()
            .map(|id| (accept.mesh.clone(), accept.sender, id));
        if let Some(taken) = key.as_ref().and_then(|key| self.accepted.get(key)) {
            return if taken.content == accept.content {
                Outcome::Duplicate {
                    seq: taken.seq,
                    recipients: taken.recipients,
                }
            } else {
                Outcome::Reused
            };
        }
        if accept.lookup_only {
            return Outcome::Refused;
        }
        let size = accept.tail.len() as u64;
        let of_mesh = self
            .mailboxes
            .iter()
            .filter(|((m, _), _)| *m == accept.mesh);
        let (mesh_rows, mesh_bytes) = of_mesh.fold((0, 0), |(rows, bytes), (_, mailbox)| {
            (rows + mailbox.rows.len() as u64, bytes + mailbox.bytes)
        });
        let mut seen = HashSet::new();
        let (mut fit, mut full) = (Vec::new(), Vec::new());
        for (place, address) in accept.recipients.iter().enumerate() {
            if !seen.insert(address) {
                continue;
            }
            let empty = Mailbox::default();
            let mailbox = self.mailboxes.get(&(accept.mesh.clone(), *address));
            let more = fit.len() as u64;
            if mailbox.unwrap_or(&empty).has_room(accept, size)
                && mesh_rows + more < accept.caps.mesh_rows
                && mesh_bytes + (more + 1) * size <= accept.caps.mesh_bytes
            {
                fit.push(*address);
            } else {
                full.push(place);
            }
        }
        if fit.is_empty() && !full.is_empty() {
            return Outcome::Full;
        }
        self.info.head += 1;
        let seq = self.info.head;
        let recipients = u32::try_from(fit.len()).unwrap_or(u32::MAX);
        if recipients > 0 {
            self.messages.insert(
                seq,
                Message {
                    sender: accept.sender,
                    tail: accept.tail.clone(),
                    waiting: recipients,
                    of_many: accept.channel.as_ref().map(|_| recipients),
                },
            );
        }
        self.say(accept, seq);
        for address in fit {
            let mailbox = self
                .mailboxes
                .entry((accept.mesh.clone(), address))
                .or_default();
            mailbox.bytes += size;
            *mailbox.senders.entry(accept.sender).or_default() += 1;
            mailbox.rows.insert(
                (accept.class, seq),
                Waiting {
                    sender: accept.sender,
                    size,
                    expires_at: accept.expires_at,
                },
            );
        }
        if let Some(key) = key {
            self.accepted.insert(
                key,
                Taken {
                    content: accept.content,
                    seq,
                    recipients,
                    at: accept.now,
                },
            );
        }
        self.audit.sent(accept);
        Outcome::Accepted { seq, full }
    }

    /// Takes a delivery out; gives its sender and how many of its message are left.
    fn remove(&mut self, delivery: &Delivery) -> Option<(PublicKey, u32, Option<Many>)> {
        let key = (delivery.mesh.clone(), delivery.address);
        let mailbox = self.mailboxes.get_mut(&key)?;
        let row = mailbox.rows.remove(&(delivery.class, delivery.seq))?;
        mailbox.bytes -= row.size;
        if let Some(rows) = mailbox.senders.get_mut(&row.sender) {
            *rows -= 1;
        }
        if mailbox.rows.is_empty() {
            self.mailboxes.remove(&key);
        }
        let message = self.messages.get_mut(&delivery.seq)?;
        message.waiting -= 1;
        let (left, of_many) = (message.waiting, message.of_many);
        if left == 0 {
            self.messages.remove(&delivery.seq);
        }
        let many = of_many.map(|of| self.many(delivery.seq, of, left));
        Some((row.sender, left, many))
    }

    fn fail(
        &mut self,
        reason: &str,
        now: u64,
        limit: u32,
        which: impl Fn(&Delivery, &Waiting) -> bool,
    ) -> Outcome {
        let mut failed = Vec::new();
        for ((mesh, address), mailbox) in &self.mailboxes {
            for ((class, seq), row) in &mailbox.rows {
                let delivery = Delivery {
                    mesh: mesh.clone(),
                    address: *address,
                    class: *class,
                    seq: *seq,
                };
                if failed.len() < limit as usize && which(&delivery, row) {
                    failed.push(Expired {
                        delivery,
                        sender: row.sender,
                        reason: reason.into(),
                        many: None,
                    });
                }
            }
        }
        for it in &mut failed {
            self.failed_one(it.delivery.seq, now);
            self.notices.insert(
                (it.delivery.seq, it.delivery.address),
                Notice {
                    at: now,
                    reason: reason.into(),
                    sender: it.sender,
                },
            );
            it.many = self.remove(&it.delivery).and_then(|(_, _, many)| many);
        }
        Outcome::Expired(failed)
    }

    fn create_mesh(&mut self, row: &MeshRow, entry: Option<&SignedEntry>) -> Outcome {
        if self.meshes.contains_key(&row.id) {
            return Outcome::NotThere;
        }
        self.meshes.insert(
            row.id.clone(),
            Mesh {
                row: row.clone(),
                members: entry.map(|_| row.first_member()).into_iter().collect(),
                invites: Vec::new(),
                log: entry.cloned().into_iter().collect(),
            },
        );
        Outcome::Done
    }

    fn append_log(
        &mut self,
        mesh: &MeshId,
        seq: u64,
        entry: &SignedEntry,
        changes: &[LogChange],
    ) -> Outcome {
        let id = mesh;
        let Some(mesh) = self.meshes.get_mut(mesh) else {
            return Outcome::NotThere;
        };
        let next = mesh.log.len() as u64;
        if seq != next {
            return Outcome::Conflict { head: next - 1 };
        }
        mesh.log.push(entry.clone());
        for change in changes {
            match change {
                LogChange::Join(row) => put(&mut mesh.members, row, |it| it.key == row.key),
                LogChange::Remove { key, at } => {
                    for row in mesh.members.iter_mut().filter(|row| row.key == *key) {
                        row.removed_at = *at;
                    }
                    if let Some(values) = self.values.get_mut(id) {
                        values.drop_schedules(key);
                    }
                }
                LogChange::Token(row) => put(&mut mesh.invites, row, |it| it.token == row.token),
                LogChange::Audit(row) => self.audit.row(row),
            }
        }
        Outcome::Done
    }
}

impl Mailbox {
    fn has_room(&self, accept: &Accept, size: u64) -> bool {
        let of_sender = self.senders.get(&accept.sender).copied().unwrap_or(0);
        (self.rows.len() as u64) < accept.caps.rows
            && self.bytes.saturating_add(size) <= accept.caps.bytes
            && of_sender < accept.caps.rows_per_sender
    }
}

/// Replaces the row that `same` finds, or adds it.
fn put<T: Clone>(rows: &mut Vec<T>, row: &T, same: impl Fn(&T) -> bool) {
    match rows.iter_mut().find(|it| same(it)) {
        Some(found) => *found = row.clone(),
        None => rows.push(row.clone()),
    }
}

/// Removes at most `limit` rows that are old.
fn forget<K: Ord + Clone, V>(rows: &mut BTreeMap<K, V>, limit: usize, old: impl Fn(&V) -> bool) {
    let keys: Vec<K> = rows
        .iter()
        .filter(|(_, row)| old(row))
        .map(|(key, _)| key.clone())
        .take(limit)
        .collect();
    for key in keys {
        rows.remove(&key);
    }
}
