//! A loaded mesh: its roster, its log, who is here.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use claudemesh_core::id::{ChannelName, MeshSlug, PublicKey, Signature};
use claudemesh_core::membership::{Head, Invite, Log, SignedEntry};
use claudemesh_core::wire::SignedBlob;
use serde_json::Value;

use super::append::Append;
use super::bucket::Bucket;
use super::channels::{Channel, replay};
use super::legacy::items::Items;
use super::legacy::people::SentOpen;
use super::types::{Address, ConnId, In};
use crate::store::{InviteRow, MemberRow, MeshRow, MeshRows};

/// How long a hello's signature is remembered, ms.
const SEEN_MS: u64 = 120_000;
/// Hello signatures remembered per mesh.
const SEEN_MAX: usize = 65_536;
/// Session keys remembered per mesh.
const SESSIONS_MAX: usize = 65_536;
/// Sessions of one member that are known by who writes to them, at most: nobody makes mailboxes
/// without end by making keys.
const SESSIONS_OF_MEMBER: usize = 256;
/// Addresses of sessions that are away, in one list.
const AWAY_SHOWN: usize = 256;

/// A mesh that is loaded, or is about to be.
#[derive(Debug)]
pub(super) enum Slot {
    /// Asked for; these inputs wait for it.
    Loading(Vec<In>),
    /// Here.
    Ready(Box<Mesh>),
}

/// A session as others see it. It outlives its connection by the lease.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) id: String,
    pub(super) member: PublicKey,
    pub(super) session: Option<PublicKey>,
    /// Its last hello proved a key over the socket's challenge.
    pub(super) proven: bool,
    /// It came by `session_hello`.
    pub(super) session_form: bool,
    pub(super) session_id: String,
    pub(super) name: String,
    pub(super) groups: Value,
    pub(super) cwd: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) peer_type: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) model: Option<String>,
    pub(super) pid: Option<i64>,
    /// The member's word for it, as it came.
    pub(super) statement: Option<SignedBlob>,
    /// Where it is reached, if it has a key of its own and said so.
    pub(super) address: Option<Arc<Address>>,
    /// Unix ms.
    pub(super) connected_at: u64,
    /// Its connection; none while it is leased.
    pub(super) conn: Option<ConnId>,
    /// Until when it is leased, ms of the monotonic clock.
    pub(super) leased_until: u64,
    /// Others were told that it is here.
    pub(super) announced: bool,
    /// What it does, in its own words, sealed or not.
    pub(super) summary: Option<String>,
    /// It speaks envelope/1.
    pub(super) sealed: bool,
    /// Whether others see it.
    pub(super) visible: bool,
    /// What it shows of itself.
    pub(super) profile: Option<Value>,
    /// Counters that it reports.
    pub(super) stats: Option<Value>,
}

impl Presence {
    /// The key it is addressed by.
    pub(super) fn routing_key(&self) -> PublicKey {
        self.session.unwrap_or(self.member)
    }
}

/// Whose a session key is.
#[derive(Debug, Clone)]
pub(super) struct SessionKey {
    pub(super) member: PublicKey,
    /// Its holder proved it, at least by an attestation and a signature.
    pub(super) proven: bool,
    /// Where it is reached: then messages are kept for it while it is away.
    pub(super) address: Option<Arc<Address>>,
}

/// A mesh.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) row: MeshRow,
    /// Runs ahead of the store by the one entry that is being committed.
    pub(super) log: Log,
    /// The log as the store has it.
    pub(super) entries: Vec<SignedEntry>,
    pub(super) members: BTreeMap<PublicKey, MemberRow>,
    /// By token.
    pub(super) invites: BTreeMap<String, InviteRow>,
    pub(super) conns: BTreeSet<ConnId>,
    pub(super) conns_of: BTreeMap<PublicKey, Vec<ConnId>>,
    /// Which connections drain a mailbox.
    pub(super) drains: BTreeMap<PublicKey, Vec<ConnId>>,
    /// Oldest first.
    pub(super) presences: BTreeMap<u64, Presence>,
    pub(super) by_session: HashMap<PublicKey, u64>,
    pub(super) by_session_id: HashMap<(PublicKey, String), u64>,
    pub(super) next_presence: u64,
    sessions: BTreeMap<PublicKey, SessionKey>,
    sessions_order: VecDeque<PublicKey>,
    seen: HashSet<(PublicKey, Signature)>,
    seen_order: VecDeque<(u64, PublicKey, Signature)>,
    pub(super) buckets: HashMap<PublicKey, Bucket>,
    pub(super) log_buckets: HashMap<PublicKey, Bucket>,
    pub(super) repost_buckets: HashMap<PublicKey, Bucket>,
    pub(super) channels: HashMap<ChannelName, Channel>,
    /// What existing clients keep.
    pub(super) items: Items,
    /// The newest messages of existing clients.
    pub(super) sent_open: VecDeque<SentOpen>,
    /// The entry that is being committed.
    pub(super) pending: Option<Box<Append>>,
    /// Entries that wait for it.
    pub(super) appends: VecDeque<Append>,
    /// Keys that are being put in without a log entry, and uses taken for them.
    pub(super) joining: HashSet<PublicKey>,
    /// Since when nobody is connected, ms of the monotonic clock.
    pub(super) idle_since: u64,
    /// A timer looks whether it is idle.
    pub(super) idle_watched: bool,
}

impl Mesh {
    /// Puts a mesh together; none if one of its logs does not verify.
    pub(super) fn build((row, members, invites, entries, channels): MeshRows) -> Option<Self> {
        let imported = entries.is_empty() && members.iter().all(|member| !member.logged);
        let (log, channels) = match imported {
            // Members by the broker's word alone, as they came from the existing system.
            true => {
                let slug = MeshSlug::new(&row.slug)
                    .or_else(|_| MeshSlug::new("mesh"))
                    .ok()?;
                let log = Log::without_entries(row.id.clone(), slug, row.owner);
                (log, HashMap::new())
            }
            false => replay(&row.id, &entries, channels)?,
        };
        Some(Self {
            row,
            log,
            entries,
            members: members.into_iter().map(|row| (row.key, row)).collect(),
            invites: invites
                .into_iter()
                .map(|row| (row.token.clone(), row))
                .collect(),
            conns: BTreeSet::new(),
            conns_of: BTreeMap::new(),
            drains: BTreeMap::new(),
            presences: BTreeMap::new(),
            by_session: HashMap::new(),
            by_session_id: HashMap::new(),
            next_presence: 0,
            sessions: BTreeMap::new(),
            sessions_order: VecDeque::new(),
            seen: HashSet::new(),
            seen_order: VecDeque::new(),
            buckets: HashMap::new(),
            log_buckets: HashMap::new(),
            repost_buckets: HashMap::new(),
            channels,
            items: Items::default(),
            sent_open: VecDeque::new(),
            pending: None,
            appends: VecDeque::new(),
            joining: HashSet::new(),
            idle_since: 0,
            idle_watched: false,
        })
    }

    /// Who is a member now.
    pub(super) fn member(&self, key: &PublicKey) -> Option<&MemberRow> {
        self.members.get(key).filter(|row| row.removed_at == 0)
    }

    /// The newest entry that the store has.
    pub(super) fn head(&self) -> Head {
        let seq = (self.entries.len() as u64).saturating_sub(1);
        match self.log.hash_at(seq) {
            Some(hash) => Head { seq, hash },
            None => self.log.head(),
        }
    }

    /// Connections, and presences whose connection is gone.
    pub(super) fn load(&self) -> usize {
        let leased = self.presences.values().filter(|p| p.conn.is_none()).count();
        self.conns.len() + leased
    }

    /// Whether nothing of it has to stay in memory.
    pub(super) fn is_idle(&self) -> bool {
        self.conns.is_empty()
            && self.presences.is_empty()
            && self.pending.is_none()
            && self.appends.is_empty()
            && self.joining.is_empty()
            && !self.channels_busy()
    }

    /// Notes the signature of a hello. None: there is no room; false: it was used.
    pub(super) fn see(
        &mut self,
        now: u64,
        member: PublicKey,
        signature: Signature,
    ) -> Option<bool> {
        while let Some((until, member, signature)) = self.seen_order.front().copied() {
            if until > now {
                break;
            }
            self.seen_order.pop_front();
            self.seen.remove(&(member, signature));
        }
        if self.seen.contains(&(member, signature)) {
            return Some(false);
        }
        if self.seen.len() >= SEEN_MAX {
            return None;
        }
        self.seen.insert((member, signature));
        self.seen_order
            .push_back((now + SEEN_MS, member, signature));
        Some(true)
    }

    /// Whose a session key is or was.
    pub(super) fn session_key(&self, key: &PublicKey) -> Option<SessionKey> {
        self.sessions.get(key).cloned()
    }

    /// The newest address of a session was shown, by itself or by who writes to it. False: there is
    /// no room for another session of its member.
    pub(super) fn address_shown(&mut self, address: &Arc<Address>) -> bool {
        if let Some(known) = self.sessions.get_mut(&address.session) {
            let older = |held: &Arc<Address>| held.made_at < address.made_at;
            if known.address.as_ref().is_none_or(older) {
                known.address = Some(Arc::clone(address));
            }
            // Both keys have signed: whoever only named it before has no right to it.
            known.member = address.member;
            known.proven = true;
            return true;
        }
        let own = self
            .sessions
            .values()
            .filter(|s| s.member == address.member);
        if own.count() >= SESSIONS_OF_MEMBER {
            return false;
        }
        let owner = SessionKey {
            member: address.member,
            proven: true,
            address: Some(Arc::clone(address)),
        };
        self.own_session(address.session, owner);
        true
    }

    /// Addresses of sessions that are away, newest first.
    pub(super) fn away(&self, now: u64) -> Vec<SignedBlob> {
        let known = self.sessions.iter();
        let away = known.filter(|(key, _)| !self.by_session.contains_key(*key));
        let addresses = away.filter_map(|(_, session)| session.address.as_ref());
        let mut addresses: Vec<&Arc<Address>> = addresses
            .filter(|address| address.expires_at > now && self.member(&address.member).is_some())
            .collect();
        addresses.sort_by_key(|address| (std::cmp::Reverse(address.made_at), address.session));
        let newest = addresses.into_iter().take(AWAY_SHOWN);
        newest.map(|address| address.blob.clone()).collect()
    }

    /// Notes whose a session key is. The oldest that nobody uses now is forgotten if there are
    /// very many.
    pub(super) fn own_session(&mut self, key: PublicKey, owner: SessionKey) {
        match self.sessions.entry(key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.proven = owner.proven;
                // Another member's word for it goes with that member.
                if known.member != owner.member {
                    known.member = owner.member;
                    known.address = None;
                }
            }
            Entry::Vacant(slot) => {
                slot.insert(owner);
                self.sessions_order.push_back(key);
            }
        }
        for _ in 0..8 {
            if self.sessions_order.len() <= SESSIONS_MAX {
                break;
            }
            let Some(oldest) = self.sessions_order.pop_front() else {
                break;
            };
            if self.by_session.contains_key(&oldest) || oldest == key {
                self.sessions_order.push_back(oldest);
            } else {
                self.sessions.remove(&oldest);
            }
        }
    }

    /// Whose a mailbox is: of the key itself, or of the member with this session key.
    pub(super) fn owner_of(&self, key: &PublicKey) -> PublicKey {
        self.session_key(key).map_or(*key, |owner| owner.member)
    }

    /// The session keys of a member.
    pub(super) fn sessions_of(&self, member: &PublicKey) -> Vec<PublicKey> {
        let own = self.sessions.iter().filter(|(_, s)| s.member == *member);
        own.map(|(key, _)| *key).collect()
    }

    /// How often an invite may still be used; uses without a log entry count too.
    pub(super) fn uses_left(&self, invite: &Invite) -> u64 {
        let rows = self.invites.values().filter(|row| row.invite == invite.id);
        let legacy: u64 = rows.map(|row| row.legacy_uses).sum();
        invite
            .max_uses
            .saturating_sub(invite.used_by.len() as u64)
            .saturating_sub(legacy)
    }

    /// Adds a connection to an index.
    pub(super) fn index(map: &mut BTreeMap<PublicKey, Vec<ConnId>>, key: PublicKey, conn: ConnId) {
        map.entry(key).or_default().push(conn);
    }

    /// Takes a connection out of an index.
    pub(super) fn unindex(
        map: &mut BTreeMap<PublicKey, Vec<ConnId>>,
        key: &PublicKey,
        conn: ConnId,
    ) {
        if let Some(list) = map.get_mut(key) {
            list.retain(|other| *other != conn);
            if list.is_empty() {
                map.remove(key);
            }
        }
    }

    /// Goes back to the log as the store has it, after an entry was not committed.
    pub(super) fn take_back(&mut self) -> bool {
        match Log::verify(&self.row.id, &self.entries) {
            Ok(log) => {
                self.log = log;
                true
            }
            Err(_) => false,
        }
    }
}
