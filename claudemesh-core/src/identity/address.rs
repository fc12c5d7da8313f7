//! Addresses of sessions: a member's signed word that a session key is one of its own, and what
//! that session is called.
//!
//! Implements docs/protocol.md, section "Addresses of sessions". The member key and the session
//! key both sign, so nobody gives a session to a member that does not want it, nor takes one that
//! is another's. A session shows a new one at each connect. Others keep it: by it they seal for a
//! session that is away, and prove to the broker that there is somebody to keep the message for.

use std::fmt;

use crate::crypto::{KeyPair, verify};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{MeshId, PublicKey, SessionName, Signature, Wake};
use crate::wire::SignedBlob;

const ENCODING: &str = "session-address/1";
/// Milliseconds for which an address holds at most: 30 days after the session last showed it.
pub const ADDRESS_MAX_TTL_MS: u64 = 30 * 86_400_000;
/// Milliseconds by which an address may have been made after the reader's now: clocks differ.
const AHEAD_MS: u64 = 600_000;
/// Bytes of an address at most; the longest one has some 330.
const MAX_BYTES: usize = 512;

/// Why an address could not be made or is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not an address's bytes.
    #[error("not a session's address: {0}")]
    Malformed(#[from] DecodeError),
    /// It is of another mesh.
    #[error("the session's address is of another mesh")]
    OtherMesh,
    /// A key that signs is not the one in it, or a signature does not fit.
    #[error("a signature of the session's address does not fit")]
    BadSignature,
    /// It ends before it begins, or holds for longer than [`ADDRESS_MAX_TTL_MS`].
    #[error("the session's address holds for no time, or for over 30 days")]
    Lifetime,
    /// It was made after now.
    #[error("the session's address does not hold yet")]
    NotYet,
    /// It holds no longer: the session has not been there for so long.
    #[error("the session's address has expired: it was not there for 30 days")]
    Expired,
}

/// Where a session of a member is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionAddress {
    /// In which mesh.
    pub mesh: MeshId,
    /// Whose session.
    pub member: PublicKey,
    /// The key that it is addressed by, and that opens what is sealed for it.
    pub session: PublicKey,
    /// What it is called among its member's sessions.
    pub name: SessionName,
    /// How a message gets its attention.
    pub wake: Wake,
    /// When its key was made, unix ms: of two with one name the older one keeps it.
    pub since: u64,
    /// When this was said, unix ms: of two about one session the later one counts.
    pub made_at: u64,
    /// It holds before this unix ms.
    pub expires_at: u64,
}

impl SessionAddress {
    /// Signs it with both keys.
    ///
    /// # Errors
    /// [`AddressError::BadSignature`] if one of the keys is not the one in it,
    /// [`AddressError::Lifetime`], [`AddressError::Malformed`] if both keys are the same.
    pub fn make(&self, member: &KeyPair, session: &KeyPair) -> Result<SignedAddress, AddressError> {
        self.check()?;
        if member.public() != self.member || session.public() != self.session {
            return Err(AddressError::BadSignature);
        }
        let bytes = Encoder::new(ENCODING)
            .text(self.mesh.as_str())
            .bytes(&self.member.0)
            .bytes(&self.session.0)
            .text(self.name.as_str())
            .text(self.wake.as_str())
            .int(self.since)
            .int(self.made_at)
            .int(self.expires_at)
            .finish();
        Ok(SignedAddress {
            signature: member.sign(&bytes),
            cosignature: session.sign(&bytes),
            bytes,
        })
    }

    /// Reads an address of `mesh`, and verifies both signatures. Whether the member is one is for
    /// the roster to say, whether it holds now for [`SessionAddress::holds_at`].
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn read(signed: &SignedAddress, mesh: &MeshId) -> Result<Self, AddressError> {
        let address = Self::decode(&signed.bytes)?;
        address.check()?;
        if address.mesh != *mesh {
            return Err(AddressError::OtherMesh);
        }
        let fits = verify(&address.member, &signed.bytes, &signed.signature)
            && verify(&address.session, &signed.bytes, &signed.cosignature);
        if fits {
            Ok(address)
        } else {
            Err(AddressError::BadSignature)
        }
    }

    /// As [`SessionAddress::read`], and it must hold at `now` (unix ms).
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn open(signed: &SignedAddress, mesh: &MeshId, now: u64) -> Result<Self, AddressError> {
        let address = Self::read(signed, mesh)?;
        address.holds_at(now)?;
        Ok(address)
    }

    /// Whether it holds at `now` (unix ms).
    ///
    /// # Errors
    /// [`AddressError::NotYet`] (more than 10 minutes ahead), [`AddressError::Expired`] (also at
    /// the very millisecond).
    pub fn holds_at(&self, now: u64) -> Result<(), AddressError> {
        if self.made_at > now.saturating_add(AHEAD_MS) {
            return Err(AddressError::NotYet);
        }
        if self.expires_at <= now {
            return Err(AddressError::Expired);
        }
        Ok(())
    }

    /// What it says, unverified.
    pub(crate) fn peek(signed: &SignedAddress) -> Result<Self, AddressError> {
        Self::decode(&signed.bytes)
    }

    fn check(&self) -> Result<(), AddressError> {
        if self.session == self.member {
            return Err(DecodeError::Field("session key").into());
        }
        match self.expires_at.checked_sub(self.made_at) {
            Some(1..=ADDRESS_MAX_TTL_MS) => Ok(()),
            _ => Err(AddressError::Lifetime),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::Field("length").into());
        }
        let field = DecodeError::Field;
        let mut fields = Decoder::new(ENCODING, bytes)?;
        let mesh = MeshId::new(fields.text("mesh id")?).map_err(|_| field("mesh id"))?;
        let member = PublicKey(fields.array("member key")?);
        let session = PublicKey(fields.array("session key")?);
        let name = SessionName::new(fields.text("name")?).map_err(|_| field("name"))?;
        // A way that a later version adds is one that this one does not know.
        let wake = fields.text("wake")?.parse().unwrap_or(Wake::None);
        let since = fields.int("since")?;
        let made_at = fields.int("made_at")?;
        let expires_at = fields.int("expires_at")?;
        fields.end()?;
        Ok(Self {
            mesh,
            member,
            session,
            name,
            wake,
            since,
            made_at,
            expires_at,
        })
    }
}

/// A session's address as it travels: its exact bytes and signatures, nothing checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedAddress {
    /// The address's encoding.
    pub bytes: Vec<u8>,
    /// The member's signature over the bytes.
    pub signature: Signature,
    /// The session's.
    pub cosignature: Signature,
}

impl fmt::Debug for SignedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedAddress({} bytes)", self.bytes.len())
    }
}

impl From<&SignedAddress> for SignedBlob {
    fn from(signed: &SignedAddress) -> Self {
        Self::new(&signed.bytes, &signed.signature, Some(&signed.cosignature))
    }
}

impl TryFrom<&SignedBlob> for SignedAddress {
    type Error = AddressError;

    /// Reads what came over the wire; only the text encodings and the length are checked.
    fn try_from(blob: &SignedBlob) -> Result<Self, AddressError> {
        if blob.e.len() > MAX_BYTES.div_ceil(3) * 4 {
            return Err(DecodeError::Field("length").into());
        }
        let signature = blob
            .signature()
            .map_err(|_| DecodeError::Text("signature"))?;
        let cosignature = blob
            .cosignature()
            .ok()
            .flatten()
            .ok_or(DecodeError::Text("cosignature"))?;
        let bytes = blob.bytes()?;
        Ok(Self {
            bytes,
            signature,
            cosignature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn keys() -> (KeyPair, KeyPair) {
        (KeyPair::from_seed(&[4; 32]), KeyPair::from_seed(&[5; 32]))
    }

    fn address() -> SessionAddress {
        let (member, session) = keys();
        SessionAddress {
            mesh: MeshId::new("mesh").unwrap(),
            member: member.public(),
            session: session.public(),
            name: SessionName::new("api").unwrap(),
            wake: Wake::Hook,
            since: NOW - 5_000,
            made_at: NOW,
            expires_at: NOW + ADDRESS_MAX_TTL_MS,
        }
    }

    fn signed(address: &SessionAddress) -> SignedAddress {
        let (member, session) = keys();
        address.make(&member, &session).unwrap()
    }

    #[test]
    fn it_travels_and_holds_for_thirty_days() {
        let signed = signed(&address());
        let again = SignedAddress::try_from(&SignedBlob::from(&signed)).unwrap();
        let mesh = address().mesh;
        assert_eq!(SessionAddress::open(&again, &mesh, NOW), Ok(address()));
        let early = SessionAddress::open(&again, &mesh, NOW - AHEAD_MS - 1);
        assert_eq!(early, Err(AddressError::NotYet));
        SessionAddress::open(&again, &mesh, NOW - AHEAD_MS).unwrap();
        let end = NOW + ADDRESS_MAX_TTL_MS;
        SessionAddress::open(&again, &mesh, end - 1).unwrap();
        let late = SessionAddress::open(&again, &mesh, end);
        assert_eq!(late, Err(AddressError::Expired));
        let other = MeshId::new("other").unwrap();
        assert_eq!(
            SessionAddress::open(&again, &other, NOW),
            Err(AddressError::OtherMesh)
        );
    }

    #[test]
    fn both_keys_must_sign() {
        let (member, session) = keys();
        let stranger = KeyPair::from_seed(&[6; 32]);
        let address = address();
        for (by, co) in [
            (&stranger, &session),
            (&member, &stranger),
            (&session, &member),
        ] {
            assert_eq!(address.make(by, co), Err(AddressError::BadSignature));
        }
        let good = signed(&address);
        let forged = [
            SignedAddress {
                signature: stranger.sign(&good.bytes),
                ..good.clone()
            },
            SignedAddress {
                cosignature: stranger.sign(&good.bytes),
                ..good.clone()
            },
            SignedAddress {
                signature: good.cosignature,
                cosignature: good.signature,
                ..good.clone()
            },
        ];
        for bad in forged {
            let read = SessionAddress::read(&bad, &address.mesh);
            assert_eq!(read, Err(AddressError::BadSignature));
        }
        for at in 0..good.bytes.len() {
            let mut bad = good.clone();
            bad.bytes[at] ^= 1;
            SessionAddress::read(&bad, &address.mesh).unwrap_err();
        }
    }

    #[test]
    fn its_bounds_hold() {
        let (member, session) = keys();
        let make = |change: &dyn Fn(&mut SessionAddress)| {
            let mut address = address();
            change(&mut address);
            address.make(&member, &session)
        };
        let none = make(&|a| a.expires_at = a.made_at);
        assert_eq!(none, Err(AddressError::Lifetime));
        let back = make(&|a| a.expires_at = a.made_at - 1);
        assert_eq!(back, Err(AddressError::Lifetime));
        let long = make(&|a| a.expires_at += 1);
        assert_eq!(long, Err(AddressError::Lifetime));
        let same = make(&|a| a.session = a.member);
        assert!(matches!(same, Err(AddressError::Malformed(_))));
        // The longest one fits.
        let longest = make(&|a| {
            a.mesh = MeshId::new("m".repeat(64)).unwrap();
            a.name = SessionName::new("n".repeat(48)).unwrap();
        });
        assert!(longest.unwrap().bytes.len() < MAX_BYTES);
    }
}
