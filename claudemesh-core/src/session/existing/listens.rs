//! The session key under which a listening peer is shown on a broker of the existing system. Its
//! clients look names up among sessions alone, and write to the key that they find there.

use std::sync::Arc;

use crate::crypto::{KeyPair, X25519Secret};
use crate::id::PublicKey;
use crate::session::Session;
use crate::wire::{Frame, Push, Send};

/// A session key that outlives connections.
pub(super) struct Listens {
    key: Arc<KeyPair>,
    secret: X25519Secret,
    /// This connection said its hello by it.
    shown: bool,
}

impl super::Existing {
    pub(super) fn listens_no_more(&mut self) {
        if let Some(listens) = &mut self.listens {
            listens.shown = false;
        }
    }
}

impl Session {
    /// Gives the peer a session key under which it is shown on a broker of the existing system, in
    /// a mesh without a log. To be called before the first input, by one process of a peer at a
    /// time. A peer that is a session needs none.
    pub fn listens_as(&mut self, key: Arc<KeyPair>) {
        let secret = X25519Secret::of(&key);
        self.existing.listens = Some(Listens {
            key,
            secret,
            shown: false,
        });
    }

    /// A connection is open. By which key it is said hello as a session; none: as the member.
    pub(in crate::session) fn greets_as(&mut self, challenged: bool) -> Option<Arc<KeyPair>> {
        let existing = !challenged && self.has_no_log() && self.addresses.own.is_none();
        let listens = self.existing.listens.as_mut()?;
        listens.shown = existing;
        existing.then(|| Arc::clone(&listens.key))
    }

    /// The session key that this connection is shown under.
    pub(in crate::session) fn shown_session(&self) -> Option<PublicKey> {
        let listens = self.existing.listens.as_ref();
        let shown = listens.filter(|listens| listens.shown);
        let own = self.addresses.own_key();
        own.or_else(|| shown.map(|listens| listens.key.public()))
    }

    /// The key that this connection is addressed by, as the broker lists it.
    pub(in crate::session) fn routing_key(&self) -> PublicKey {
        let own = self.shown_session();
        own.unwrap_or_else(|| self.config.key.public())
    }

    /// A session key of this peer's for which something may be sealed, whatever it is connected as.
    pub(in crate::session) fn session_key_of_own(&self) -> Option<PublicKey> {
        let listens = self.existing.listens.as_ref();
        let listens = listens.filter(|_| self.has_no_log());
        let own = self.addresses.own_key();
        own.or_else(|| listens.map(|listens| listens.key.public()))
    }

    /// The secret of that key.
    pub(in crate::session) fn session_secret(&self) -> Option<&X25519Secret> {
        let own = self.addresses.own.as_ref().map(|own| &own.secret);
        let listens = self.existing.listens.as_ref();
        own.or_else(|| listens.map(|listens| &listens.secret))
    }

    /// Whether bare text goes out under the session key: then it is sealed by it, since that is
    /// whom the broker names as its sender.
    pub(in crate::session) fn seals_bare_as_session(&self) -> bool {
        let own = self.addresses.own.is_none() && self.existing.listens.is_some();
        own && self.has_no_log()
    }

    /// A frame with what tells its receiver whose it is: the existing broker names only the session
    /// key that it came from, and passes this field on as it is.
    pub(in crate::session) fn name_member(&self, frame: String) -> String {
        if !self.has_no_log() {
            return frame;
        }
        let Ok(mut send) = Send::decode(&frame) else {
            return frame;
        };
        send.request_fingerprint = Some(self.config.key.public().to_hex());
        send.encode()
    }

    /// Whose message a push may be, where the broker names a session key and no member: what it
    /// says of itself. Nothing is believed but what that member's key has signed.
    pub(in crate::session) fn named_member(&self, push: &Push) -> Option<PublicKey> {
        if !self.has_no_log() || push.sender_member_pubkey.is_some() {
            return None;
        }
        let named = PublicKey::from_hex(push.request_fingerprint.as_deref()?).ok()?;
        (named.to_hex() != push.sender_pubkey).then_some(named)
    }
}
