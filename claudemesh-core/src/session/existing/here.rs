//! Who is here, as the existing broker lists it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::{ChannelName, Name, PublicKey, Target};
use crate::session::requests::Asked;
use crate::session::{Session, WhoIsHere};
use crate::wire::{ListPeers, PeerRecord};

/// Milliseconds until a list that did not come is asked for again.
const RETRY_MS: u64 = 5_000;
/// Milliseconds after which a list is fetched because somebody came or went: others follow.
const SETTLE_MS: u64 = 200;
/// Milliseconds within which who comes shows its statement: it asks for the list once before.
const STATES_MS: u64 = 5_000;
/// Members that are taken from a list at most.
const MAX_MEMBERS: usize = 4_096;
/// Groups of one member that are taken at most.
const MAX_GROUPS: usize = 64;

/// A member as the broker lists it.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) name: Option<Name>,
    pub(super) groups: BTreeSet<ChannelName>,
    /// A name of it is known with another key.
    pub(super) changed: bool,
    /// When it was first seen on this connection, in ms of the clock.
    seen_at: u64,
    /// It was here long before this session.
    settled: bool,
}

/// The newest list of this connection.
#[derive(Default)]
pub(super) struct Here {
    members: BTreeMap<PublicKey, Listed>,
    /// Whose a key is that a session is addressed by.
    routes: HashMap<PublicKey, PublicKey>,
    /// When it came, in ms of the clock; none: it is not to be relied on.
    shown_at: Option<u64>,
    asking: bool,
    /// When it is asked for, in ms of the clock.
    ask_at: Option<u64>,
}

impl Here {
    pub(super) fn connection_closed(&mut self) {
        *self = Self::default();
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.ask_at
    }

    pub(super) fn is_old(&mut self, mono: u64) {
        self.shown_at = None;
        self.ask_at.get_or_insert(mono + SETTLE_MS);
    }

    /// Whether the list is not older than so many milliseconds, and no newer one is on its way.
    pub(super) fn is_fresh(&self, mono: u64, ms: u64) -> bool {
        let fresh = |at: u64| mono.saturating_sub(at) < ms;
        self.shown_at.is_some_and(fresh) && !self.asking
    }

    /// Whether it came then or later.
    pub(super) fn is_of(&self, mono: u64) -> bool {
        self.shown_at.is_some_and(|at| at >= mono)
    }

    /// Whether a key has been there for long enough to show what it understands.
    pub(super) fn has_settled(&self, key: &PublicKey, mono: u64) -> bool {
        let long = |l: &Listed| l.settled || mono.saturating_sub(l.seen_at) >= STATES_MS;
        self.listed(key).is_some_and(long)
    }

    /// A key is fine under the names that it came with.
    pub(in crate::session) fn accepted(&mut self, key: &PublicKey) {
        if let Some(listed) = self.members.get_mut(key) {
            listed.changed = false;
        }
    }

    pub(super) fn listed(&self, key: &PublicKey) -> Option<&Listed> {
        let member = self.routes.get(key).unwrap_or(key);
        self.members.get(member)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&PublicKey, &Listed)> {
        self.members.iter()
    }
}

impl Session {
    /// Asks for the list, if that is not under way.
    pub(super) fn ask_here(&mut self) {
        if self.existing.here.asking {
            return;
        }
        self.existing.here.asking = true;
        self.existing.here.ask_at = None;
        let req_id = Some(self.ask(Asked::Here));
        self.transmit(ListPeers { req_id });
    }

    pub(super) fn tick_here(&mut self) {
        let mono = self.now.mono;
        let due = self.existing.here.ask_at.take_if(|at| mono >= *at);
        if due.is_some() {
            self.ask_here();
        }
    }

    pub(in crate::session) fn here_failed(&mut self) {
        self.existing.here.asking = false;
        self.existing.here.ask_at = Some(self.now.mono + RETRY_MS);
    }

    /// Takes a list whose statements and names were judged.
    pub(in crate::session) fn note_here(&mut self, shown: &WhoIsHere, own_ask: bool) {
        if !self.is_existing() {
            return;
        }
        let mut here = Here {
            shown_at: Some(self.now.mono),
            asking: self.existing.here.asking && !own_ask,
            ask_at: self.existing.here.ask_at.filter(|_| !own_ask),
            ..Here::default()
        };
        let own_since = self.own_record(shown).and_then(since);
        let before = std::mem::take(&mut self.existing.here);
        for session in &shown.sessions {
            let record = &session.record;
            let key = |text: &str| PublicKey::from_hex(text).ok();
            let Some(routing) = key(&record.pubkey) else {
                continue;
            };
            let member = record.member_pubkey.as_deref().and_then(key);
            let member = member.unwrap_or(routing);
            let room = here.members.len() < MAX_MEMBERS || here.members.contains_key(&member);
            if !room {
                continue;
            }
            let seen_at = before
                .members
                .get(&member)
                .map_or(self.now.mono, |l| l.seen_at);
            let listed = here.members.entry(member).or_default();
            listed.seen_at = seen_at;
            let long = |(at, own): (u64, u64)| at.saturating_add(STATES_MS) <= own;
            listed.settled |= since(record).zip(own_since).is_some_and(long);
            listed.changed |= session.key_changed;
            let name = Name::new(&record.display_name).ok();
            listed.name = listed.name.take().or(name);
            listed.groups.extend(groups(record));
            if routing != member {
                here.routes.insert(routing, member);
            }
        }
        self.existing.here = here;
        // Who was not there, and is: what was held back for them goes out at once.
        let here = &self.existing.here;
        self.outbox.release_if(|target| match target {
            Target::Peer(key) => here.listed(key).is_some() && before.listed(key).is_none(),
            Target::Channel(_) => false,
        });
        self.note_own_profile(shown);
        self.drive_rooms();
    }
}

/// Since when a session is connected, unix ms by the broker's clock.
fn since(record: &PeerRecord) -> Option<u64> {
    crate::time::parse_iso(record.connected_at.as_deref()?)
}

fn groups(record: &PeerRecord) -> impl Iterator<Item = ChannelName> {
    let groups = record.groups.as_ref().and_then(serde_json::Value::as_array);
    let named = groups.into_iter().flatten().take(MAX_GROUPS);
    named.filter_map(|group| {
        let name = group.get("name")?.as_str()?;
        ChannelName::new(format!("@{name}")).ok()
    })
}
