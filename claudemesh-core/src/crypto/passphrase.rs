//! Keys out of passphrases, and boxes under them: Argon2id 1.3, and XChaCha20-Poly1305 as
//! libsodium's `crypto_aead_xchacha20poly1305_ietf`.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::direct::{BoxError, TAG_LEN};

/// Bytes of a salt.
pub const SALT_LEN: usize = 16;
/// Bytes of a nonce.
pub const XNONCE_LEN: usize = 24;

/// Memory that a key may cost at least, KiB: less is no hindrance to who guesses.
const MEMORY_MIN: u32 = 8 * 1024;
/// Memory that a key may cost at most, KiB: what a file asks for must not exhaust a machine.
const MEMORY_MAX: u32 = 1024 * 1024;
/// Passes at most.
const PASSES_MAX: u32 = 16;

/// Why a key cannot be made of a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// It would take too little or too much of a machine.
    #[error("a key for {passes} passes over {memory_kib} KiB is not made")]
    Cost {
        /// How often the memory is gone through.
        passes: u32,
        /// Memory, KiB.
        memory_kib: u32,
    },
    /// The passphrase is longer than 4 GiB.
    #[error("the passphrase is too long")]
    TooLong,
}

/// What it costs to make a key of a passphrase, and so to guess one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    passes: u32,
    memory_kib: u32,
}

impl Cost {
    /// That of the existing system: 2 passes over 64 MiB, on one thread.
    pub const STANDARD: Self = Self {
        passes: 2,
        memory_kib: 64 * 1024,
    };

    /// So many passes (1 to 16) over so much memory (8 MiB to 1 GiB).
    ///
    /// # Errors
    /// [`PassphraseError::Cost`] outside of that.
    pub fn new(passes: u32, memory_kib: u32) -> Result<Self, PassphraseError> {
        let sound =
            (1..=PASSES_MAX).contains(&passes) && (MEMORY_MIN..=MEMORY_MAX).contains(&memory_kib);
        sound
            .then_some(Self { passes, memory_kib })
            .ok_or(PassphraseError::Cost { passes, memory_kib })
    }

    /// How often the memory is gone through.
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Memory, KiB.
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }
}

/// A key that was made of a passphrase. Zeroed on drop.
pub struct PassphraseKey(XChaCha20Poly1305);

impl PassphraseKey {
    /// Makes the key; takes the time and memory that `cost` says.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn derive(
        passphrase: &[u8],
        salt: &[u8; SALT_LEN],
        cost: Cost,
    ) -> Result<Self, PassphraseError> {
        let Cost { passes, memory_kib } = cost;
        let refused = PassphraseError::Cost { passes, memory_kib };
        let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| refused)?;
        let mut key = Zeroizing::new([0u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase, salt, key.as_mut_slice())
            .map_err(|_| PassphraseError::TooLong)?;
        Ok(Self(XChaCha20Poly1305::new(Key::from_slice(
            key.as_slice(),
        ))))
    }

    /// Seals `plaintext`: the ciphertext, then the tag (16 bytes). `with` is not in it, and has to
    /// be there again when it is opened. A nonce is never used twice under the same key.
    ///
    /// # Errors
    /// [`BoxError::Seal`] if the plaintext is too long.
    pub fn seal(
        &self,
        nonce: &[u8; XNONCE_LEN],
        with: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, BoxError> {
        let payload = Payload {
            msg: plaintext,
            aad: with,
        };
        self.0
            .encrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| BoxError::Seal)
    }

    /// Opens what [`PassphraseKey::seal`] made.
    ///
    /// # Errors
    /// [`BoxError::Truncated`] or [`BoxError::Open`].
    pub fn open(
        &self,
        nonce: &[u8; XNONCE_LEN],
        with: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, BoxError> {
        if sealed.len() < TAG_LEN {
            return Err(BoxError::Truncated);
        }
        let payload = Payload {
            msg: sealed,
            aad: with,
        };
        self.0
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| BoxError::Open)
    }
}
