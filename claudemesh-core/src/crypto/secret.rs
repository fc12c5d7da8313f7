//! Boxes under a shared key: XSalsa20-Poly1305, as libsodium's `crypto_secretbox_easy`.

use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use zeroize::Zeroizing;

use super::direct::{BoxError, NONCE_LEN, TAG_LEN};

/// A key that several peers share.
///
/// Zeroed on drop; it has no `Debug`, `Display`, `Clone` or `Serialize`.
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Takes 32 bytes, which come from a good random source or from a hash over such.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Seals `plaintext`: tag (16 bytes), then the ciphertext. A nonce is never used twice under
    /// the same key; random ones are.
    ///
    /// # Errors
    /// [`BoxError::Seal`] if the plaintext is too long.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.cipher()
            .encrypt(Nonce::from_slice(nonce), plaintext)
            .map_err(|_| BoxError::Seal)
    }

    /// Opens what [`SecretKey::seal`] made.
    ///
    /// # Errors
    /// [`BoxError::Truncated`] or [`BoxError::Open`].
    pub fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        if sealed.len() < TAG_LEN {
            return Err(BoxError::Truncated);
        }
        self.cipher()
            .decrypt(Nonce::from_slice(nonce), sealed)
            .map_err(|_| BoxError::Open)
    }

    /// The bytes, exposed on purpose.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> XSalsa20Poly1305 {
        XSalsa20Poly1305::new(Key::from_slice(self.0.as_slice()))
    }
}
