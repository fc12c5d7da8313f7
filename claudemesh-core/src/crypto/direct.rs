//! Boxes between two peers: X25519, XSalsa20-Poly1305, as libsodium's `crypto_box_easy`.

use crypto_box::aead::{Aead, generic_array::GenericArray};
use crypto_box::{PublicKey as BoxPublic, SalsaBox, SecretKey as BoxSecret};
use zeroize::Zeroizing;

use super::exposed::ExposedKey;
use super::sign::{KeyError, KeyPair, usable_point};
use crate::id::PublicKey;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 24;
/// Bytes that sealing adds: the authentication tag, in front.
pub const TAG_LEN: usize = 16;

/// Why a box did not open or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// Not sealed for this pair of keys, or changed on the way.
    #[error("the box does not open: not sealed for this key, or changed on the way")]
    Open,
    /// Shorter than a tag.
    #[error("the box is cut off")]
    Truncated,
    /// The plaintext is too long to seal.
    #[error("the text is too long to seal")]
    Seal,
}

/// An X25519 secret, converted from an ed25519 key pair. Zeroed on drop.
pub struct X25519Secret(BoxSecret);

impl X25519Secret {
    /// Converts as libsodium's `crypto_sign_ed25519_sk_to_curve25519` does.
    pub fn of(pair: &KeyPair) -> Self {
        use sha2::{Digest, Sha512};
        let digest = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(*pair.expose_seed())));
        let mut scalar = Zeroizing::new([0u8; 32]);
        scalar.copy_from_slice(&digest[..32]);
        scalar[0] &= 248;
        scalar[31] &= 127;
        scalar[31] |= 64;
        Self(BoxSecret::from(*scalar))
    }

    /// The secret bytes, exposed on purpose.
    pub fn expose(&self) -> ExposedKey {
        ExposedKey::new(self.0.to_bytes())
    }
}

/// Converts a public key as libsodium's `crypto_sign_ed25519_pk_to_curve25519` does, refusing
/// what it refuses.
///
/// # Errors
/// [`KeyError::Weak`] for small-order, non-canonical, off-curve and mixed-order keys.
pub fn to_x25519_public(key: &PublicKey) -> Result<[u8; 32], KeyError> {
    let point = usable_point(key).ok_or(KeyError::Weak)?;
    Ok(point.to_montgomery().to_bytes())
}

/// The shared key of two peers: costs a key agreement to make (some 40 µs), and is kept by who
/// writes to the same peer again. Zeroed on drop.
pub struct DirectKey(SalsaBox);

impl DirectKey {
    /// Agrees on a key between `ours` and `theirs`. Both sides get the same one.
    ///
    /// # Errors
    /// [`KeyError::Weak`] if `theirs` is not a usable key.
    pub fn agree(ours: &X25519Secret, theirs: &PublicKey) -> Result<Self, KeyError> {
        let theirs = BoxPublic::from(to_x25519_public(theirs)?);
        Ok(Self(SalsaBox::new(&theirs, &ours.0)))
    }

    /// Seals `plaintext`: tag (16 bytes), then the ciphertext. A nonce is never used twice for
    /// the same pair of keys; random ones are.
    ///
    /// # Errors
    /// [`BoxError::Seal`] if the plaintext is too long.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.0
            .encrypt(GenericArray::from_slice(nonce), plaintext)
            .map_err(|_| BoxError::Seal)
    }

    /// Opens what [`DirectKey::seal`] made at either end.
    ///
    /// # Errors
    /// [`BoxError::Truncated`] or [`BoxError::Open`].
    pub fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        if sealed.len() < TAG_LEN {
            return Err(BoxError::Truncated);
        }
        self.0
            .decrypt(GenericArray::from_slice(nonce), sealed)
            .map_err(|_| BoxError::Open)
    }
}
