//! The one hash.

use sha2::{Digest, Sha256};

use crate::id::Hash;

/// SHA-256, the `H` of docs/protocol.md.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}
