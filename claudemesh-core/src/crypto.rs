//! The only place that names a crypto crate.
//!
//! Ed25519 keys sign ([`KeyPair`]); the same keys, converted to X25519, seal boxes between two
//! peers ([`DirectKey`]); a key that several share seals for all of them ([`SecretKey`]).
//! Everything here is byte-compatible with libsodium, and refuses what libsodium refuses.

mod direct;
mod drbg;
mod exposed;
mod hash;
#[cfg(feature = "config")]
mod passphrase;
mod secret;
mod sign;

pub use direct::{BoxError, DirectKey, NONCE_LEN, TAG_LEN, X25519Secret, to_x25519_public};
pub use drbg::Drbg;
#[cfg(feature = "config")]
pub use exposed::ExposedBytes;
pub use exposed::{ExposedKey, ExposedText};
pub use hash::sha256;
#[cfg(feature = "config")]
pub use passphrase::{Cost, PassphraseError, PassphraseKey, SALT_LEN, XNONCE_LEN};
pub use secret::SecretKey;
pub use sign::{KeyError, KeyPair, verify};
