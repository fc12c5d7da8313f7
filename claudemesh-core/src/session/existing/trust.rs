//! Whom this peer trusts: by name, for good; or at first use.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::id::{Name, PublicKey};
use crate::session::{CommandId, Reply, Session, SessionError, StoreWork};

/// How the pin of a key begins that somebody said something of; the key in hex follows. The value is
/// [`YES`] or [`NO`].
const PIN_TRUST: &str = "trust:";
const YES: &str = "1";
const NO: &str = "0";
/// Keys of which something was said, at most.
const MAX_NAMED: usize = 4_096;

/// Which keys are trusted in a mesh without a membership log, where nobody vouches for any. In a
/// mesh with a log this says nothing: there its log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Those that [`Command::Trust`](super::super::Command::Trust) named, and no others.
    #[default]
    Named,
    /// Beside them every key that the broker shows under a name that it did not show with another
    /// key before, unless [`Command::Distrust`](super::super::Command::Distrust) named it. A broker
    /// that lies from the beginning reads what is sent; and one that invents a member, under a new
    /// name, at any time what is sealed for channels from then on.
    OnFirstUse,
}

/// What is held of a key in a mesh without a membership log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyTrust {
    /// The first key that was seen under its name, and no more.
    Pinned,
    /// Trusted: it gets channels' keys, and its are taken.
    Trusted,
    /// Another key than was seen before under a name that it comes with.
    Changed,
    /// Somebody said that it is not to be trusted.
    Distrusted,
}

impl KeyTrust {
    /// As shown: `pinned`, `trusted`, `changed` or `distrusted`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Trusted => "trusted",
            Self::Changed => "changed",
            Self::Distrusted => "distrusted",
        }
    }
}

/// A key that is known in a mesh without a membership log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownKey {
    /// The member's key.
    pub key: PublicKey,
    /// The names that the broker has shown it with, in order; its word alone.
    pub names: Vec<Name>,
    /// What is held of it.
    pub trust: KeyTrust,
}

/// Whether what another process of this peer wrote under this name counts here at once.
pub(super) fn is_shared(pin: &str) -> bool {
    pin.starts_with(PIN_TRUST) || pin.starts_with("envelope:") || pin.starts_with("key:")
}

fn pin_of(key: &PublicKey) -> String {
    format!("{PIN_TRUST}{}", key.to_hex())
}

impl Session {
    /// Says which keys are trusted in a mesh without a membership log; [`Trust::Named`] if this is
    /// not called.
    pub fn trusts(&mut self, trust: Trust) {
        self.existing.trust = trust;
    }

    /// Whether somebody named this key as trusted.
    pub(super) fn is_named(&self, key: &PublicKey) -> bool {
        self.said(key) == Some(true)
    }

    fn said(&self, key: &PublicKey) -> Option<bool> {
        self.pins.get(&pin_of(key)).map(|value| value == YES)
    }

    /// Whether a key gets channels' keys, and its are taken.
    pub(super) fn is_trusted(&self, key: &PublicKey) -> bool {
        match self.said(key) {
            Some(said) => said,
            None => self.existing.trust == Trust::OnFirstUse && self.is_first_of_name(key),
        }
    }

    /// Whether there may be anybody who is trusted.
    pub(super) fn trusts_anybody(&self) -> bool {
        let mut pins = self.pins.iter();
        self.existing.trust == Trust::OnFirstUse
            || pins.any(|(pin, value)| pin.starts_with(PIN_TRUST) && value == YES)
    }

    /// Whether messages may go to this key without its being named.
    pub(super) fn trusts_at_first_use(&self, key: &PublicKey) -> bool {
        self.existing.trust == Trust::OnFirstUse && self.said(key) != Some(false)
    }

    /// What is held of a key; none in a mesh with a log.
    pub(in crate::session) fn key_trust(&self, key: &PublicKey, changed: bool) -> Option<KeyTrust> {
        if !self.has_no_log() {
            return None;
        }
        Some(match self.said(key) {
            Some(false) => KeyTrust::Distrusted,
            // Its names were accepted when it was named; one that came later is told all the same.
            _ if changed => KeyTrust::Changed,
            _ if self.is_trusted(key) => KeyTrust::Trusted,
            _ => KeyTrust::Pinned,
        })
    }

    /// The keys that are known, by their order; none in a mesh with a log. The own one is not among
    /// them.
    pub(in crate::session) fn known_keys(&self) -> Vec<KnownKey> {
        let mut all: BTreeMap<PublicKey, (BTreeSet<Name>, bool)> = BTreeMap::new();
        let named = self
            .pins
            .keys()
            .filter_map(|pin| pin.strip_prefix(PIN_TRUST));
        for key in named.filter_map(|key| PublicKey::from_hex(key).ok()) {
            all.entry(key).or_default();
        }
        for (name, key, changed) in self.names_known() {
            let (names, any) = all.entry(key).or_default();
            names.insert(name);
            *any |= changed;
        }
        all.remove(&self.config.key.public());
        let known = all.into_iter().filter_map(|(key, (names, changed))| {
            Some(KnownKey {
                key,
                names: names.into_iter().collect(),
                trust: self.key_trust(&key, changed)?,
            })
        });
        known.collect()
    }

    /// Somebody says of a key that it is trusted: from now on, and for good. None in a mesh with a
    /// log.
    pub(in crate::session) fn name_trusted(&mut self, key: PublicKey) -> Result<(), SessionError> {
        self.say_of(key, YES)
    }

    /// Somebody says of a key that it is not trusted: what is sealed from now on it cannot read.
    pub(in crate::session) fn distrust(&mut self, command: CommandId, key: PublicKey) {
        match self.say_of(key, NO) {
            Ok(()) => self.store(Vec::new(), StoreWork::Answered(command, Reply::Done)),
            Err(error) => self.done(command, Err(error)),
        }
    }

    fn say_of(&mut self, key: PublicKey, value: &str) -> Result<(), SessionError> {
        if !self.has_no_log() {
            return Err(SessionError::TrustedByLog);
        }
        let pin = pin_of(&key);
        let named = self.pins.keys().filter(|pin| pin.starts_with(PIN_TRUST));
        if !self.pins.contains_key(&pin) && named.count() >= MAX_NAMED {
            return Err(SessionError::TooManyTrusted);
        }
        self.pin(&pin, value);
        self.trust_changed();
        Ok(())
    }

    /// What is sealed next is for others, and what others sealed may open.
    pub(super) fn trust_changed(&mut self) {
        self.rooms_changed();
        let authors: HashSet<PublicKey> = self.existing.keys.authors().collect();
        for author in authors {
            let ids = self.existing.keys.of_author(&author);
            // Those of authors who are not trusted stay closed.
            ids.into_iter().for_each(|id| self.unlock_room(id));
        }
    }
}
