//! Addresses of sessions: this peer's own, and those of others that it has seen.
//!
//! A broker tells who is here. Which key a session has and what it is called is taken from its
//! member's signed word alone, and only while the log has that member. What was seen is kept, so
//! that a session which is away is written to as well, by a broker that knows nothing of it too.

use std::collections::HashMap;
use std::sync::Arc;

use super::requests::Asked;
use super::{Event, Session, SessionError};
use crate::crypto::{KeyPair, X25519Secret};
use crate::id::{PublicKey, SessionName, Wake};
use crate::identity::{
    ADDRESS_MAX_TTL_MS, ATTESTATION_TTL_MS, AddressError, SessionAddress, SignedAddress,
    attestation_bytes, session_hello_bytes,
};
use crate::message::SenderSession;
use crate::sorted::{sorted, sorted_by};
use crate::store::PeerOp;
use crate::wire::{Attestation, ListPeers, SessionHello, SignedBlob};

/// Addresses that are remembered at most; of one member the newest 64.
const MAX_HELD: usize = 4_096;
const MAX_OF_ONE: usize = 64;
/// Milliseconds after which a connected session says its address anew: a day.
const RENEW_MS: u64 = 86_400_000;
/// The pin that keeps an address.
const PIN_ADDRESS: &str = "session:";

/// The session that this peer is.
#[derive(Clone)]
pub struct OwnSession {
    /// Its key pair.
    pub key: Arc<KeyPair>,
    /// What it is to be called.
    pub name: SessionName,
    /// How a message gets its attention.
    pub wake: Wake,
    /// When its key was made, unix ms.
    pub made_at: u64,
}

pub(super) struct Own {
    pub(super) session: OwnSession,
    pub(super) secret: X25519Secret,
    /// When it is said anew, ms of the clock.
    renew_at: Option<u64>,
}

struct Held {
    /// As it was read; believed once both signatures were verified.
    address: SessionAddress,
    blob: SignedBlob,
    verified: bool,
}

/// What is known of sessions with keys of their own.
#[derive(Default)]
pub(super) struct Addresses {
    pub(super) own: Option<Own>,
    held: HashMap<PublicKey, Held>,
    /// By the text of their bytes, so that one that is held costs nothing to see again.
    texts: HashMap<String, PublicKey>,
}

impl Addresses {
    pub(super) fn own_key(&self) -> Option<PublicKey> {
        self.own.as_ref().map(|own| own.session.key.public())
    }

    /// Whether a key is a session's, as far as anybody has said.
    pub(super) fn knows(&self, key: &PublicKey) -> bool {
        self.held.contains_key(key)
    }

    pub(super) fn deadline(&self, ready: bool) -> Option<u64> {
        let own = self.own.as_ref().filter(|_| ready)?;
        own.renew_at
    }

    pub(super) fn connection_closed(&mut self) {
        if let Some(own) = &mut self.own {
            own.renew_at = None;
        }
    }

    fn forget(&mut self, key: &PublicKey) -> Option<Held> {
        let held = self.held.remove(key)?;
        self.texts.remove(&held.blob.e);
        Some(held)
    }
}

impl Session {
    /// Makes this peer a session of its member, with a key and an address of its own. To be called
    /// before the first input.
    pub fn be_session(&mut self, session: OwnSession) {
        let secret = X25519Secret::of(&session.key);
        self.addresses.own = Some(Own {
            session,
            secret,
            renew_at: None,
        });
    }

    /// Reads the addresses that earlier processes saw; their signatures are verified when they are
    /// used.
    pub(super) fn restore_addresses(&mut self) {
        let kept = self.pins.iter();
        let kept: Vec<String> = kept
            .filter(|(name, _)| name.starts_with(PIN_ADDRESS))
            .map(|(_, value)| value.clone())
            .collect();
        for text in kept {
            let Ok(blob) = crate::wire::read::<SignedBlob>(&text) else {
                continue;
            };
            let signed = SignedAddress::try_from(&blob).ok();
            let read = signed.and_then(|signed| SessionAddress::peek(&signed).ok());
            if let Some(address) = read
                && self.addresses.held.len() < MAX_HELD
            {
                let (key, text) = (address.session, blob.e.clone());
                self.addresses.texts.insert(text, key);
                let held = Held {
                    address,
                    blob,
                    verified: false,
                };
                self.addresses.held.insert(key, held);
            }
        }
    }

    /// The session that this peer is, as its messages name it.
    pub fn own_session(&self) -> Option<SenderSession> {
        let own = self.addresses.own.as_ref()?;
        let session = &own.session;
        Some(SenderSession::new(
            session.key.public(),
            session.name.clone(),
        ))
    }

    /// Takes an address that was shown, if it holds, its member is verified, and it is newer than
    /// what is held. Gives it, or the one that is held.
    pub(super) fn learn_address(&mut self, blob: &SignedBlob) -> Option<SessionAddress> {
        if let Some(key) = self.addresses.texts.get(&blob.e).copied()
            && self
                .addresses
                .held
                .get(&key)
                .is_some_and(|held| held.blob == *blob)
        {
            return self.address_of(&key).ok().map(|(address, _)| address);
        }
        let signed = SignedAddress::try_from(blob).ok()?;
        let address = SessionAddress::open(&signed, &self.config.mesh, self.now.wall).ok()?;
        if !self.is_verified_member(&address.member) || self.is_in_roster(&address.session) {
            return None;
        }
        let key = address.session;
        if let Some(held) = self.addresses.held.get(&key) {
            let other = held.address.member != address.member;
            if other || held.address.made_at >= address.made_at {
                return self.address_of(&key).ok().map(|(address, _)| address);
            }
        }
        self.make_room_for(&address);
        if self.addresses.held.len() >= MAX_HELD {
            return None;
        }
        self.addresses.forget(&key);
        if let Ok(text) = serde_json::to_string(blob) {
            self.pin(&format!("{PIN_ADDRESS}{key}"), &text);
        }
        self.addresses.texts.insert(blob.e.clone(), key);
        let held = Held {
            address: address.clone(),
            blob: blob.clone(),
            verified: true,
        };
        self.addresses.held.insert(key, held);
        Some(address)
    }

    /// Nobody fills the table: of one member the oldest go, and those that have expired.
    fn make_room_for(&mut self, new: &SessionAddress) {
        let now = self.now.wall;
        let held = self.addresses.held.values();
        let mut own: Vec<(u64, PublicKey)> = held
            .filter(|held| held.address.member == new.member && held.address.session != new.session)
            .map(|held| (held.address.made_at, held.address.session))
            .collect();
        own = sorted(own);
        let too_many = (own.len() + 1).saturating_sub(MAX_OF_ONE);
        let mut gone: Vec<PublicKey> = own.iter().take(too_many).map(|(_, key)| *key).collect();
        if self.addresses.held.len() >= MAX_HELD {
            let held = self.addresses.held.values();
            let expired = held.filter(|held| held.address.expires_at <= now);
            gone.extend(expired.map(|held| held.address.session));
        }
        for key in gone {
            if self.addresses.forget(&key).is_some() {
                self.unpin(&format!("{PIN_ADDRESS}{key}"));
            }
        }
    }

    fn unpin(&mut self, name: &str) {
        if self.pins.remove(name).is_some() {
            self.keep(vec![PeerOp::Unpin(name.to_owned())]);
        }
    }

    fn is_verified_member(&self, key: &PublicKey) -> bool {
        let roster = self.log.roster();
        let member = roster.and_then(|roster| roster.member(key));
        member.is_some_and(|member| member.is_verified())
    }

    fn is_in_roster(&self, key: &PublicKey) -> bool {
        let roster = self.log.roster();
        roster.is_some_and(|roster| roster.member_or_former(key).is_some())
    }

    /// The address of a session, verified against the log as it is now.
    ///
    /// # Errors
    /// [`SessionError::NotAMember`] if there is none that is believed,
    /// [`SessionError::RecipientRemoved`] if its member is out, [`SessionError::SessionGone`] if it
    /// has expired.
    pub(super) fn address_of(
        &mut self,
        key: &PublicKey,
    ) -> Result<(SessionAddress, SignedBlob), SessionError> {
        let unknown = SessionError::NotAMember(*key);
        let mesh = self.config.mesh.clone();
        let held = self.addresses.held.get_mut(key).ok_or(unknown.clone())?;
        if !held.verified {
            let signed = SignedAddress::try_from(&held.blob);
            let read = signed.and_then(|signed| SessionAddress::read(&signed, &mesh));
            match read {
                Ok(address) if address == held.address => held.verified = true,
                // What is kept was changed on the disk.
                _ => {
                    self.addresses.forget(key);
                    return Err(unknown);
                }
            }
        }
        let Some(held) = self.addresses.held.get(key) else {
            return Err(unknown);
        };
        let member = held.address.member;
        let roster = self.log.roster();
        let known = roster.and_then(|roster| roster.member_or_former(&member));
        match known {
            Some(known) if known.removed_at.is_some() => {
                return Err(SessionError::RecipientRemoved(member));
            }
            Some(known) if known.is_verified() => {}
            _ => return Err(unknown),
        }
        match held.address.holds_at(self.now.wall) {
            Ok(()) => Ok((held.address.clone(), held.blob.clone())),
            Err(AddressError::Expired) => Err(SessionError::SessionGone(*key)),
            Err(_) => Err(unknown),
        }
    }

    /// Every session that is known, verified, whose member is one, and whose time is not over.
    pub(super) fn known_sessions(&mut self) -> Vec<SessionAddress> {
        let keys: Vec<PublicKey> = self.addresses.held.keys().copied().collect();
        let known = keys.iter().filter_map(|key| self.address_of(key).ok());
        let known: Vec<SessionAddress> = known.map(|(address, _)| address).collect();
        let key = |address: &SessionAddress| (address.member, address.since, address.session);
        sorted_by(known, |a, b| key(a).cmp(&key(b)))
    }

    /// The own address as it is said now.
    fn own_address(&self, wall: u64) -> Option<SignedBlob> {
        let own = self.addresses.own.as_ref()?;
        let session = &own.session;
        let address = SessionAddress {
            mesh: self.config.mesh.clone(),
            member: self.config.key.public(),
            session: session.key.public(),
            name: session.name.clone(),
            wake: session.wake,
            since: session.made_at,
            made_at: wall,
            expires_at: wall.saturating_add(ADDRESS_MAX_TTL_MS),
        };
        let signed = address.make(&self.config.key, &session.key).ok()?;
        Some(SignedBlob::from(&signed))
    }

    /// The hello of a session, without what any hello says; none if this peer is none.
    pub(super) fn session_hello(&mut self, wall: u64) -> Option<SessionHello> {
        let address = self.own_address(wall);
        let renew_at = self.now.mono.saturating_add(RENEW_MS);
        let own = self.addresses.own.as_mut()?;
        own.renew_at = Some(renew_at);
        let key = Arc::clone(&own.session.key);
        let mut hello = self.hello_of_session(&key, wall);
        hello.address = address;
        Some(hello)
    }

    /// As [`Self::session_hello`], by a key that has no address.
    pub(super) fn hello_of_session(&self, key: &KeyPair, wall: u64) -> SessionHello {
        let member = self.config.key.public().to_hex();
        let session = key.public().to_hex();
        let expires_at = wall.saturating_add(ATTESTATION_TTL_MS);
        let attested = attestation_bytes(&member, &session, expires_at);
        let attestation = Attestation {
            session_pubkey: session.clone(),
            parent_member_pubkey: member.clone(),
            expires_at: expires_at.into(),
            signature: self.config.key.sign(attested.as_bytes()).to_hex(),
            extra: serde_json::Map::default(),
        };
        let mesh = self.config.mesh.as_str();
        let signed = session_hello_bytes(mesh, &member, &session, wall);
        let signature = key.sign(signed.as_bytes()).to_hex();
        let mut hello = SessionHello::new(mesh, member, session, attestation, wall, signature);
        hello.parent_member_id = Some(self.config.member_id.as_str().to_owned());
        hello
    }

    /// A connection stands: who else is called so is asked, and the name given up if need be.
    pub(super) fn own_session_ready(&mut self) {
        if self.addresses.own.is_some() && self.link.has_delivery() {
            let req_id = Some(self.ask(Asked::Names));
            self.transmit(ListPeers { req_id });
        }
    }

    pub(super) fn tick_addresses(&mut self) {
        let due = self.addresses.deadline(self.link.is_ready());
        if due.is_some_and(|due| self.now.mono >= due) {
            self.tell_address();
        }
    }

    /// Says the own address as it is now, if somebody listens.
    fn tell_address(&mut self) {
        let Some(own) = &mut self.addresses.own else {
            return;
        };
        own.renew_at = Some(self.now.mono.saturating_add(RENEW_MS));
        self.link.address_wanted();
        self.tell_status();
    }

    /// The address for a status that is about to be said, where it was changed.
    pub(super) fn address_to_tell(&mut self) -> Option<SignedBlob> {
        let wanted = self.link.take_address_wanted();
        let wall = self.link.wall(self.now);
        self.own_address(wall).filter(|_| wanted)
    }

    pub(super) fn set_wake(&mut self, wake: Wake) {
        if let Some(own) = &mut self.addresses.own
            && own.session.wake != wake
        {
            own.session.wake = wake;
            self.tell_address();
        }
    }

    /// The log has changed. Who else is called so is asked before the name is given up, so that the
    /// next one is not another's, too.
    pub(super) fn names_may_have_changed(&mut self) {
        if self.other_name().is_some() {
            if self.link.is_ready() && self.link.has_delivery() {
                self.own_session_ready();
            } else {
                self.check_own_name();
            }
        }
    }

    /// Gives up the own name if it is another's.
    pub(super) fn check_own_name(&mut self) {
        let Some(name) = self.other_name() else {
            return;
        };
        if let Some(own) = &mut self.addresses.own {
            own.session.name = name.clone();
        }
        self.event(Event::SessionRenamed { name });
        self.tell_address();
    }

    /// The name to take, if the own one is another's: a device of the member has it, or a session
    /// of the member that is older.
    fn other_name(&mut self) -> Option<SessionName> {
        let own = &self.addresses.own.as_ref()?.session;
        let (key, since, name) = (own.key.public(), own.made_at, own.name.clone());
        let member = self.config.key.public();
        let devices: Vec<String> = match self.log.roster() {
            Some(roster) => {
                let devices = roster.devices(&member);
                devices
                    .map(|device| device.name.as_str().to_owned())
                    .collect()
            }
            None => Vec::new(),
        };
        let others: Vec<SessionAddress> = (self.known_sessions().into_iter())
            .filter(|other| other.member == member && other.session != key)
            .collect();
        let of_device = |name: &SessionName| devices.iter().any(|device| name.is_same(device));
        let gives_way = others.iter().any(|other| {
            name.is_same(other.name.as_str()) && (other.since, other.session) < (since, key)
        });
        (gives_way || of_device(&name)).then(|| {
            name.free(|name| {
                of_device(name) || others.iter().any(|other| name.is_same(other.name.as_str()))
            })
        })
    }
}
