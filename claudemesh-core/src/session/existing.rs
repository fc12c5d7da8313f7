//! A mesh without a membership log, on a broker of the existing system.
//!
//! Nobody vouches there for whose key is whose. What a peer goes by is what it saw first and what
//! its user says: a key is *trusted* if it was named, or, where that was asked for, from its first
//! use on. The broker serves no logs and no keys of channels; statements travel in the profile, keys
//! of channels as direct messages, and what became of a message is asked for.

mod direct;
mod frames;
mod groups;
mod here;
mod keys;
mod listens;
mod rooms;
mod seal;
mod statement;
mod status;
mod tell;
mod trust;

pub use trust::{KeyTrust, KnownKey, Trust};

use super::Session;
use crate::id::PublicKey;
use crate::store::{Query, Rows, StoreError};

/// Milliseconds between two looks at what another process of this peer has changed in the store.
const LOOK_MS: u64 = 1_000;

/// What is known and under way there.
#[derive(Default)]
pub(super) struct Existing {
    trust: Trust,
    here: here::Here,
    stated: statement::Stated,
    polls: status::Polls,
    keys: keys::Keys,
    rooms: rooms::Rooms,
    tells: tell::Tells,
    listens: Option<listens::Listens>,
    /// When the store is looked at, and when it was last, in ms of the clock.
    look_at: Option<u64>,
    looked_at: Option<u64>,
}

impl Existing {
    pub(super) fn connection_closed(&mut self) {
        self.here.connection_closed();
        self.stated.connection_closed();
        self.polls.connection_closed();
        self.rooms.connection_closed();
        self.tells.connection_closed();
        self.listens_no_more();
    }

    /// A key is fine under the names that it came with.
    pub(super) fn accept_names(&mut self, key: &PublicKey) {
        self.here.accepted(key);
    }

    /// The channel of a key, and the key.
    pub(super) fn key(
        &self,
        id: &crate::id::KeyId,
    ) -> Option<(&crate::id::ChannelName, &crate::crypto::SecretKey)> {
        self.keys.key(id)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        [
            self.here.deadline(),
            self.stated.deadline(),
            self.polls.deadline(),
            self.rooms.deadline(),
            self.tells.deadline(),
            self.look_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Session {
    /// Whether no membership log is known, whatever the broker is.
    pub(super) fn has_no_log(&self) -> bool {
        !self.config.has_log && self.log.held().is_none()
    }

    /// Whether this connection is to a broker of the existing system, in a mesh without a log.
    pub(super) fn is_existing(&self) -> bool {
        self.link.is_ready() && self.plaintext_refused().is_none()
    }

    /// The hello was answered, and there is no log.
    pub(super) fn existing_ready(&mut self) {
        if !self.is_existing() {
            return;
        }
        self.ask_here();
        self.say_groups();
        self.ask_for_locked();
    }

    pub(super) fn tick_existing(&mut self) {
        if !self.has_no_log() {
            return;
        }
        let mono = self.now.mono;
        if self.existing.look_at.take_if(|at| mono >= *at).is_some() {
            self.look_at_store();
        }
        if !self.is_existing() {
            return;
        }
        self.tick_here();
        self.tick_statement();
        self.tick_status();
        self.tick_rooms();
        self.tick_tells();
    }

    /// Another process of this peer has changed the store, or may have what is missing here: what
    /// it trusts and the keys it got are read, at most once a second.
    pub(super) fn look_soon(&mut self) {
        if !self.has_no_log() {
            return;
        }
        let after = self.existing.looked_at.map_or(0, |at| at + LOOK_MS);
        self.existing.look_at.get_or_insert(after);
    }

    fn look_at_store(&mut self) {
        self.existing.looked_at = Some(self.now.mono);
        self.load(Query::Pins, super::LoadWork::Pins);
        self.load(Query::ChannelKeys, super::LoadWork::RoomKeys);
    }

    /// What another process of this peer trusts.
    pub(super) fn pins_loaded(&mut self, result: Result<Rows, StoreError>) {
        let Ok(Rows::Pins(pins)) = result else { return };
        let mut changed = false;
        for pin in pins {
            let known = self.pins.get(&pin.name) == Some(&pin.value);
            if !known && trust::is_shared(&pin.name) {
                self.pins.insert(pin.name, pin.value);
                changed = true;
            }
        }
        if changed {
            self.trust_changed();
        }
    }

    /// The keys that another process of this peer got.
    pub(super) fn room_keys_loaded(&mut self, result: Result<Rows, StoreError>) {
        let Ok(Rows::ChannelKeys(keys)) = result else {
            return;
        };
        let new = self.restore_room_keys(keys);
        for id in new {
            self.unlock_room(id);
        }
    }

    /// Who is in the mesh has changed, as the broker says: it is asked anew before anything is
    /// sealed for many.
    pub(super) fn presence_changed(&mut self) {
        if self.is_existing() {
            self.existing.here.is_old(self.now.mono);
        }
    }

    /// The name that the broker shows for a key, and whether it is known with another one.
    pub(super) fn shown_name(&self, key: &PublicKey) -> (Option<crate::id::Name>, bool) {
        (self.existing.here.listed(key)).map_or((None, false), |listed| {
            (listed.name.clone(), listed.changed)
        })
    }
}
