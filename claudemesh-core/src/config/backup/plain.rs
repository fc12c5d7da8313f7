//! `CMB1`, the form of the existing system: "CMB1", salt (16 bytes), nonce (24), and one box with
//! the bytes of `config.json`. The key: Argon2id 1.3, 2 passes over 64 MiB, one thread.

use zeroize::Zeroizing;

use super::{BackupError, FULL, PLAIN, Passphrase, random, unknown_magic};
use crate::config::format::MAX_BYTES;
use crate::crypto::{Cost, PassphraseKey, SALT_LEN, TAG_LEN, XNONCE_LEN};

const HEAD: usize = PLAIN.len() + SALT_LEN + XNONCE_LEN;
/// The shortest file: that with one byte in its box.
const MIN: usize = HEAD + TAG_LEN + 1;

pub(super) fn seal(passphrase: &Passphrase, plaintext: &[u8]) -> Result<Vec<u8>, BackupError> {
    let secret = passphrase.for_sealing()?;
    let (salt, nonce) = (random::<SALT_LEN>()?, random::<XNONCE_LEN>()?);
    let too_large = |_| BackupError::TooLarge { limit: MAX_BYTES };
    let key = derive(secret, &salt, Cost::STANDARD)?;
    let sealed = key.seal(&nonce, &[], plaintext).map_err(too_large)?;
    let mut file = Vec::with_capacity(HEAD + sealed.len());
    for part in [&PLAIN[..], &salt, &nonce, &sealed] {
        file.extend_from_slice(part);
    }
    Ok(file)
}

pub(super) fn open(
    passphrase: &Passphrase,
    file: &[u8],
) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    if file.starts_with(FULL) {
        return Err(BackupError::Everything);
    }
    if !file.starts_with(PLAIN) {
        return Err(unknown_magic(file));
    }
    if file.len() < MIN {
        return Err(BackupError::Truncated);
    }
    if file.len() > MAX_BYTES + MIN {
        return Err(BackupError::TooLarge { limit: MAX_BYTES });
    }
    let rest = file.get(PLAIN.len()..).unwrap_or_default();
    let Some((salt, rest)) = rest.split_first_chunk::<SALT_LEN>() else {
        return Err(BackupError::Truncated);
    };
    let Some((nonce, sealed)) = rest.split_first_chunk::<XNONCE_LEN>() else {
        return Err(BackupError::Truncated);
    };
    let key = derive(passphrase.bytes(), salt, Cost::STANDARD)?;
    key.open(nonce, &[], sealed)
        .map_err(|_| BackupError::NotOpened)
}

pub(super) fn derive(
    secret: &[u8],
    salt: &[u8; SALT_LEN],
    cost: Cost,
) -> Result<PassphraseKey, BackupError> {
    PassphraseKey::derive(secret, salt, cost).map_err(|_| BackupError::Cost {
        passes: cost.passes(),
        memory_kib: cost.memory_kib(),
    })
}
