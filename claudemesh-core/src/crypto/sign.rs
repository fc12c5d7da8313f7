//! Ed25519: key pairs, signatures, strict verification.

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::{Zeroize, Zeroizing};

use super::exposed::{ExposedKey, ExposedText};
use crate::encoding::unhex;
use crate::id::{PublicKey, Signature};

/// Why bytes are not a usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not 64 bytes (128 hex digits).
    #[error("a secret key is 64 bytes (seed and public key), 128 hex digits")]
    Length,
    /// The public half does not belong to the seed.
    #[error("the public half of this secret key does not belong to its seed")]
    Mismatch,
    /// Not a point of the prime-order group in its one canonical form.
    #[error("not a usable ed25519 public key (weak, non-canonical or off the curve)")]
    Weak,
}

/// An ed25519 key pair: who a peer is, and the power to speak as it.
///
/// Zeroed on drop; it has no `Debug`, `Display`, `Clone` or `Serialize`. Its stored form is
/// libsodium's: seed (32 bytes) followed by the public key (32 bytes).
pub struct KeyPair {
    signing: SigningKey,
    public: PublicKey,
}

impl KeyPair {
    /// The key pair of a 32-byte seed, which the caller took from a good random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let public = PublicKey(signing.verifying_key().to_bytes());
        Self { signing, public }
    }

    /// Reads libsodium's 64-byte form.
    ///
    /// # Errors
    /// [`KeyError::Length`], or [`KeyError::Mismatch`] if the two halves do not belong together.
    pub fn from_libsodium(secret: &[u8]) -> Result<Self, KeyError> {
        let (seed, public) = secret.split_first_chunk::<32>().ok_or(KeyError::Length)?;
        if public.len() != 32 {
            return Err(KeyError::Length);
        }
        let pair = Self::from_seed(seed);
        if pair.public.as_bytes() == public {
            Ok(pair)
        } else {
            Err(KeyError::Mismatch)
        }
    }

    /// Reads libsodium's form from 128 hex digits.
    ///
    /// # Errors
    /// As [`KeyPair::from_libsodium`].
    pub fn from_secret_hex(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(unhex(text).map_err(|_| KeyError::Length)?);
        Self::from_libsodium(&bytes)
    }

    /// The public half.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `bytes`.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.signing.sign(bytes).to_bytes())
    }

    /// The seed, exposed on purpose.
    pub fn expose_seed(&self) -> ExposedKey {
        ExposedKey::new(self.signing.to_bytes())
    }

    /// libsodium's form as 128 hex digits, exposed on purpose: for a file only its owner reads.
    pub fn expose_secret_hex(&self) -> ExposedText {
        let mut bytes = self.signing.to_keypair_bytes();
        let text = ExposedText::new(crate::encoding::hex(&bytes));
        bytes.zeroize();
        text
    }
}

/// Checks an ed25519 signature strictly: canonical `S`, and a key of the prime-order group in its
/// canonical form.
pub fn verify(key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
    if usable_point(key).is_none() {
        return false;
    }
    let Ok(verifying) = VerifyingKey::from_bytes(key.as_bytes()) else {
        return false;
    };
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    verifying.verify_strict(bytes, &signature).is_ok()
}

/// The point of a public key, if libsodium would take the key for a conversion: on the curve,
/// canonical, not of small order, without a torsion part.
pub(super) fn usable_point(key: &PublicKey) -> Option<curve25519_dalek::EdwardsPoint> {
    let compressed = CompressedEdwardsY(key.0);
    let point = compressed.decompress()?;
    let sound =
        point.compress() == compressed && !point.is_small_order() && point.is_torsion_free();
    sound.then_some(point)
}
