//! The root of an epoch, and what is derived from it.

use zeroize::Zeroizing;

use crate::crypto::{BoxError, DirectKey, Drbg, NONCE_LEN, SecretKey, TAG_LEN, sha256};
use crate::encoding::Encoder;
use crate::id::{Hash, KeyId, PublicKey};

/// Bytes of one member's copy of a root: a box around it.
pub const COPY_LEN: usize = TAG_LEN + 32;
/// Bytes of a link to the previous root: a nonce, and a box around it.
pub const LINK_LEN: usize = NONCE_LEN + TAG_LEN + 32;

/// The secret of one epoch: 32 random bytes.
///
/// Zeroed on drop; it has no `Debug`, `Display`, `Clone` or `Serialize`.
pub struct Root(Zeroizing<[u8; 32]>);

impl Root {
    /// A fresh one.
    pub fn random(random: &mut Drbg) -> Self {
        Self(Zeroizing::new(random.bytes()))
    }

    /// Takes the bytes of a root that was kept.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, exposed on purpose: for a store that only its owner reads.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What its statement commits to. Says nothing about the root to who does not hold it.
    pub fn commitment(&self) -> Hash {
        self.derive(Encoder::new("channel-commit/1"))
    }

    /// The key of the epoch's messages.
    pub fn message_key(&self, id: &KeyId) -> SecretKey {
        SecretKey::new(self.derive(Encoder::new("channel-secret/1").bytes(&id.0)).0)
    }

    /// The box of this root for one member, under the key its author shares with it.
    pub(super) fn seal_copy(
        &self,
        key: &DirectKey,
        id: &KeyId,
        member: &PublicKey,
    ) -> Result<[u8; COPY_LEN], BoxError> {
        let sealed = key.seal(&copy_nonce(id, member), self.0.as_slice())?;
        sealed.try_into().map_err(|_| BoxError::Seal)
    }

    /// Opens a member's box; whether this is the root is for the commitment to say.
    pub(super) fn open_copy(
        key: &DirectKey,
        id: &KeyId,
        member: &PublicKey,
        copy: &[u8],
    ) -> Result<Self, BoxError> {
        Self::from_opened(key.open(&copy_nonce(id, member), copy)?)
    }

    /// The link by which who holds this root gets the previous one.
    pub(super) fn seal_link(
        &self,
        nonce: [u8; NONCE_LEN],
        previous: &Self,
    ) -> Result<[u8; LINK_LEN], BoxError> {
        let sealed = self.link_key().seal(&nonce, previous.0.as_slice())?;
        let mut link = nonce.to_vec();
        link.extend_from_slice(&sealed);
        link.try_into().map_err(|_| BoxError::Seal)
    }

    /// The previous root, as this one's link has it.
    pub(super) fn open_link(&self, link: &[u8; LINK_LEN]) -> Result<Self, BoxError> {
        let (nonce, sealed) = link
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(BoxError::Truncated)?;
        Self::from_opened(self.link_key().open(nonce, sealed)?)
    }

    fn link_key(&self) -> SecretKey {
        SecretKey::new(self.derive(Encoder::new("channel-link/1")).0)
    }

    fn from_opened(bytes: Vec<u8>) -> Result<Self, BoxError> {
        let bytes = Zeroizing::new(bytes);
        let root = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| BoxError::Open)?;
        Ok(Self::new(root))
    }

    fn derive(&self, encoder: Encoder) -> Hash {
        // The encoder has room for all of it, so no copy of the root is left behind by growing.
        sha256(&Zeroizing::new(encoder.bytes(self.0.as_slice()).finish()))
    }
}

/// Each member's box has a nonce of its own, since a pair of keys has one box per epoch.
fn copy_nonce(id: &KeyId, member: &PublicKey) -> [u8; NONCE_LEN] {
    let hash = sha256(
        &Encoder::new("channel-copy/1")
            .bytes(&id.0)
            .bytes(&member.0)
            .finish(),
    );
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&hash.0[..NONCE_LEN]);
    nonce
}
