//! Channels of the existing broker that this peer seals for.
//!
//! Who is in one is the broker's word; who may read is this peer's: of those whom the broker lists,
//! the trusted ones that understand envelopes. Each author seals under keys of its own, because two
//! who trust different people cannot share one. A key is made anew before the next message whenever
//! those readers are others than it was made for.

use std::collections::{BTreeMap, BTreeSet};

use super::frames;
use crate::channel::{BroughtKey, Root, audience_hash, read_without_log, state_without_log};
use crate::id::{ChannelName, KeyId, MessageId, PublicKey};
use crate::session::outbox::{Unanswered, is_bare};
use crate::session::requests::Asked;
use crate::session::{Event, Out, Session, SessionError, StoreWork};
use crate::sorted::sorted;
use crate::store::{Outcome, PeerOp, StoreError};
use crate::wire::Ack;

/// Channels that this peer seals for, held in memory, at most.
const MAX_ROOMS: usize = 256;
/// Milliseconds for which a key that was found good is used whatever comes and goes meanwhile.
const GOOD_MS: u64 = 1_000;
/// Milliseconds for which a list of who is here is new enough: who comes and goes is told.
const FRESH_MS: u64 = 5_000;
/// The same for who is in a group or a topic, of which nothing is told.
const FRESH_WITHIN_MS: u64 = 1_000;
/// Milliseconds until something that did not work is tried again.
const RETRY_MS: u64 = 5_000;

/// One channel.
#[derive(Default)]
struct Room {
    /// Somebody waits to seal something, since then, in ms of the clock.
    wanted: Option<u64>,
    /// The key that is good, and when it was found to be, in ms of the clock.
    ready: Option<(KeyId, u64)>,
    /// Why nothing is sent there, until it is asked for anew.
    verdict: Option<SessionError>,
    /// Its next key is being stored.
    storing: bool,
    /// The members of a topic, and when they were told, in ms of the clock.
    members: Option<(BTreeSet<PublicKey>, u64)>,
    asking: bool,
    /// Nothing is asked before, in ms of the clock.
    pause: Option<u64>,
    /// The key that this is about, and who has it.
    told: (Option<KeyId>, BTreeSet<PublicKey>),
    /// Who reads, this peer not counted.
    readers: u32,
    untrusted: u32,
    legacy: u32,
}

/// All of them.
#[derive(Default)]
pub(super) struct Rooms {
    all: BTreeMap<ChannelName, Room>,
}

impl Rooms {
    pub(super) fn connection_closed(&mut self) {
        for room in self.all.values_mut() {
            *room = Room {
                told: std::mem::take(&mut room.told),
                ..Room::default()
            };
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.all.values().filter_map(|room| room.pause).min()
    }

    /// Who has got this key by now.
    pub(super) fn was_told(&mut self, name: &ChannelName, id: KeyId, reader: PublicKey) {
        if let Some(room) = self.all.get_mut(name)
            && room.told.0 == Some(id)
        {
            room.told.1.insert(reader);
        }
    }
}

/// Of those in a channel, who reads and who does not.
struct Readers {
    /// Ascending, this peer among them.
    keys: Vec<PublicKey>,
    untrusted: u32,
    legacy: u32,
}

impl Session {
    /// Somebody wants to seal something for this channel.
    pub(in crate::session) fn want_room(&mut self, name: &ChannelName) {
        let rooms = &mut self.existing.rooms.all;
        if !rooms.contains_key(name) && rooms.len() >= MAX_ROOMS {
            // One that nobody waits for; what is known of it is asked again.
            let idle = rooms
                .iter()
                .find(|(_, room)| room.wanted.is_none() && !room.storing);
            if let Some(idle) = idle.map(|(name, _)| name.clone()) {
                rooms.remove(&idle);
            }
        }
        let room = rooms.entry(name.clone()).or_default();
        room.wanted.get_or_insert(self.now.mono);
        self.drive_room(name);
    }

    /// A new list has come.
    pub(super) fn drive_rooms(&mut self) {
        let names: Vec<ChannelName> = self.existing.rooms.all.keys().cloned().collect();
        for name in names {
            self.check_room(&name);
            self.drive_room(&name);
        }
    }

    /// A key is good no more if the list says that others read now.
    fn check_room(&mut self, name: &ChannelName) {
        let is_ready = |room: &Room| room.ready.is_some();
        if !self.existing.rooms.all.get(name).is_some_and(is_ready) {
            return;
        }
        let readers = self.readers(name).keys;
        let wanted = audience_hash(&self.config.mesh, name, &readers);
        let own = self.existing.keys.own(&self.config.key.public(), name);
        if own.is_none_or(|own| own.audience != wanted)
            && let Some(room) = self.existing.rooms.all.get_mut(name)
        {
            room.ready = None;
        }
    }

    /// Whom this peer trusts has changed.
    pub(super) fn rooms_changed(&mut self) {
        for room in self.existing.rooms.all.values_mut() {
            room.ready = None;
            room.verdict = None;
        }
    }

    pub(super) fn tick_rooms(&mut self) {
        let mono = self.now.mono;
        let due: Vec<ChannelName> = (self.existing.rooms.all.iter_mut())
            .filter_map(|(name, room)| room.pause.take_if(|at| mono >= *at).map(|_| name.clone()))
            .collect();
        for name in due {
            self.drive_room(&name);
        }
    }

    /// Does the next thing that is needed before something is sealed for a channel.
    fn drive_room(&mut self, name: &ChannelName) {
        let mono = self.now.mono;
        if !self.is_existing() {
            return;
        }
        let Some(room) = self.existing.rooms.all.get(name) else {
            return;
        };
        let Some(since) = room
            .wanted
            .filter(|_| !room.storing && room.pause.is_none())
        else {
            return;
        };
        if !self.existing.here.is_fresh(mono, fresh_ms(name)) {
            return self.ask_here();
        }
        if is_topic(name) && !is_fresh(room, mono) {
            return self.ask_members(name);
        }
        let readers = self.readers(name);
        if readers.keys.len() < 2 && !self.existing.here.is_of(since) {
            // Somebody may have come since.
            return self.ask_here();
        }
        let Some(room) = self.existing.rooms.all.get_mut(name) else {
            return;
        };
        room.readers = u32::try_from(readers.keys.len().saturating_sub(1)).unwrap_or(u32::MAX);
        (room.untrusted, room.legacy) = (readers.untrusted, readers.legacy);
        if room.readers == 0 {
            return self.give_up_room(name, SessionError::NobodyTrusted(name.clone()));
        }
        let me = self.config.key.public();
        let wanted = audience_hash(&self.config.mesh, name, &readers.keys);
        match self.existing.keys.own(&me, name) {
            Some(own) if own.audience == wanted => self.room_ready(name, own.id, &readers.keys),
            own => self.make_room_key(name, own.map(|own| (own.epoch, own.id)), &readers.keys),
        }
    }

    fn give_up_room(&mut self, name: &ChannelName, error: SessionError) {
        if let Some(room) = self.existing.rooms.all.get_mut(name) {
            room.wanted = None;
            room.ready = None;
            room.verdict = Some(error);
        }
        self.outbox.release(name);
    }

    /// Who may read, of those whom the broker lists in a channel.
    fn readers(&self, name: &ChannelName) -> Readers {
        let me = self.config.key.public();
        let room = self.existing.rooms.all.get(name);
        let members = room.and_then(|room| room.members.as_ref());
        let here = self.existing.here.members();
        let listed: BTreeSet<PublicKey> = match name.as_str() {
            "*" => here.map(|(key, _)| *key).collect(),
            _ if name.is_group() => (here.filter(|(_, listed)| listed.groups.contains(name)))
                .map(|(key, _)| *key)
                .collect(),
            _ => members.map(|(keys, _)| keys.clone()).unwrap_or_default(),
        };
        let mut readers = Readers {
            keys: vec![me],
            untrusted: 0,
            legacy: 0,
        };
        for key in listed.into_iter().filter(|key| *key != me) {
            match (self.is_trusted(&key), self.speaks_envelopes(&key)) {
                (true, true) => readers.keys.push(key),
                (true, false) => readers.legacy = readers.legacy.saturating_add(1),
                (false, _) => readers.untrusted = readers.untrusted.saturating_add(1),
            }
        }
        readers.keys = sorted(readers.keys);
        readers
    }

    fn ask_members(&mut self, name: &ChannelName) {
        let Some(room) = self.existing.rooms.all.get_mut(name) else {
            return;
        };
        if std::mem::replace(&mut room.asking, true) {
            return;
        }
        let req_id = self.ask(Asked::TopicMembers(name.clone()));
        let topic = name.as_str().get(1..).unwrap_or_default();
        let frame = frames::topic_members(topic, &req_id);
        self.out.push_back(Out::Transmit(frame.encode()));
    }

    pub(super) fn topic_members_told(&mut self, name: &ChannelName, keys: Vec<PublicKey>) {
        let mono = self.now.mono;
        if let Some(room) = self.existing.rooms.all.get_mut(name) {
            room.asking = false;
            room.members = Some((keys.into_iter().collect(), mono));
        }
        self.drive_room(name);
    }

    pub(in crate::session) fn topic_members_failed(
        &mut self,
        name: &ChannelName,
        error: SessionError,
    ) {
        let Some(room) = self.existing.rooms.all.get_mut(name) else {
            return;
        };
        room.asking = false;
        if matches!(&error, SessionError::Refused { code, .. } if code == "topic_not_found") {
            return self.give_up_room(name, SessionError::NoSuchChannel(name.clone()));
        }
        room.pause = Some(self.now.mono + RETRY_MS);
    }

    /// Makes the next key, stores it, and only then uses it.
    fn make_room_key(
        &mut self,
        name: &ChannelName,
        after: Option<(u64, KeyId)>,
        readers: &[PublicKey],
    ) {
        let root = Root::random(&mut self.rng);
        let (epoch, previous) = after.map_or((0, None), |(epoch, id)| (epoch, Some(id)));
        let next = (epoch.saturating_add(1), previous);
        let (mesh, me) = (&self.config.mesh, &self.config.key);
        let signed = state_without_log(mesh, name, me, next, readers, &root);
        let Ok(statement) = read_without_log(&signed, mesh) else {
            return;
        };
        let own = me.public();
        let id = signed.key_id();
        let stored = self.existing.keys.insert(BroughtKey {
            signed,
            statement,
            root,
        });
        let mut ops = vec![PeerOp::ChannelKey(Box::new(stored))];
        ops.extend(self.drop_old_keys(&own));
        if let Some(room) = self.existing.rooms.all.get_mut(name) {
            room.storing = true;
        }
        self.store(ops, StoreWork::RoomKey(name.clone(), id));
    }

    pub(in crate::session) fn room_key_kept(
        &mut self,
        name: &ChannelName,
        id: KeyId,
        result: Result<Vec<Outcome>, StoreError>,
    ) {
        let retry_at = self.now.mono + RETRY_MS;
        let epoch = (self.existing.keys.own(&self.config.key.public(), name))
            .filter(|own| own.id == id)
            .map(|own| own.epoch);
        let Some(room) = self.existing.rooms.all.get_mut(name) else {
            return;
        };
        room.storing = false;
        match result {
            Ok(_) => {
                let channel = name.clone();
                if let Some(epoch) = epoch {
                    self.event(Event::ChannelRekeyed { channel, epoch });
                }
            }
            Err(error) => {
                // Nothing was sealed under it, and nothing will be.
                room.pause = Some(retry_at);
                self.existing.keys.forget(&id);
                return self.event(Event::StoreFailed(error));
            }
        }
        // Whom it was made for may have changed meanwhile.
        self.drive_room(name);
    }

    /// The newest own key is good: its readers get it, and what waits for it goes out after that.
    fn room_ready(&mut self, name: &ChannelName, id: KeyId, readers: &[PublicKey]) {
        let (mono, me) = (self.now.mono, self.config.key.public());
        let Some(room) = self.existing.rooms.all.get_mut(name) else {
            return;
        };
        room.ready = Some((id, mono));
        room.wanted = None;
        room.verdict = None;
        if room.told.0 != Some(id) {
            room.told = (Some(id), BTreeSet::new());
        }
        let told = &room.told.1;
        let rest = readers
            .iter()
            .filter(|key| **key != me && !told.contains(key));
        let rest: Vec<PublicKey> = rest.copied().collect();
        for reader in rest {
            self.tell_key(name, id, reader);
        }
        self.outbox.release(name);
    }

    /// The key under which a message can go out now.
    pub(in crate::session) fn is_room_ready(&self, name: &ChannelName) -> Option<KeyId> {
        let mono = self.now.mono;
        let room = self.existing.rooms.all.get(name)?;
        let (id, at) = room.ready?;
        let fresh = self.existing.here.is_fresh(mono, fresh_ms(name))
            && (!is_topic(name) || is_fresh(room, mono));
        // The list may have changed since, without anything being driven.
        let good = mono.saturating_sub(at) < GOOD_MS || fresh;
        good.then_some(id)
    }

    pub(in crate::session) fn room_verdict(&self, name: &ChannelName) -> Option<String> {
        let verdict = self.existing.rooms.all.get(name)?.verdict.as_ref()?;
        Some(verdict.to_string())
    }

    /// Somebody asks anew: what was in the way may be gone.
    pub(super) fn clear_verdict(&mut self, name: &ChannelName) {
        if let Some(room) = self.existing.rooms.all.get_mut(name) {
            room.verdict = None;
        }
    }

    /// A message was accepted: how many it is for is told, and what becomes of it asked for.
    pub(in crate::session) fn existing_accepted(
        &mut self,
        sent: &Unanswered,
        ack: &Ack,
        id: &MessageId,
    ) -> Option<u32> {
        if !self.is_existing() {
            return None;
        }
        let Some(name) = sent.to.channel() else {
            self.poll_status(&ack.message_id, id);
            return None;
        };
        if sent.message.as_ref().is_some_and(|row| is_bare(&row.frame)) {
            return None;
        }
        let room = self.existing.rooms.all.get(name)?;
        let (readers, untrusted, legacy) = (room.readers, room.untrusted, room.legacy);
        if untrusted + legacy > 0 {
            self.event(Event::Skipped {
                id: id.clone(),
                untrusted,
                legacy,
            });
        }
        Some(readers)
    }
}

fn fresh_ms(name: &ChannelName) -> u64 {
    if name.has_log() {
        FRESH_WITHIN_MS
    } else {
        FRESH_MS
    }
}

fn is_topic(name: &ChannelName) -> bool {
    name.as_str().starts_with('#')
}

fn is_fresh(room: &Room, mono: u64) -> bool {
    let fresh = |at: u64| mono.saturating_sub(at) < FRESH_WITHIN_MS;
    room.members.as_ref().is_some_and(|(_, at)| fresh(*at))
}
