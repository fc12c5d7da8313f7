//! Backups: the configuration, or everything that this machine knows, under a passphrase.
//!
//! A backup of the configuration has the form of the existing system (`CMB1`), whose programs read
//! it and write it as well. One of everything has a form of its own (`CMB2`), which those programs
//! refuse; docs/protocol.md has its bytes. Whoever has a backup and its passphrase is this member.
//!
//! ```
//! use claudemesh_core::config::{Config, Passphrase};
//!
//! let mut config = Config::in_memory();
//! config.set_display_name(Some("Ana"))?;
//! let passphrase = Passphrase::new("correct horse battery");
//! let kept = config.to_backup(&passphrase)?;
//! let again = Config::from_backup(&kept, &passphrase)?;
//! assert_eq!(again.display_name(), Some("Ana"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod plain;
#[cfg(feature = "sqlite")]
mod records;
mod restore;
#[cfg(feature = "sqlite")]
mod stream;
mod write;

use std::path::PathBuf;

use zeroize::Zeroizing;

pub use error::BackupError;

use super::{Config, Place, format};
use crate::crypto::ExposedBytes;

/// Characters (UTF-16 units) that the passphrase of a new backup has at least.
pub const PASSPHRASE_MIN: usize = 12;
/// How a file of the existing system begins.
const PLAIN: &[u8; 4] = b"CMB1";
/// How a file with everything begins.
const FULL: &[u8; 4] = b"CMB2";

/// What a backup is sealed with. Zeroed on drop; no `Debug`, `Display`, `Clone` or `Serialize`.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase as it is, spaces included.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Whether it is long enough for a new backup. A backup is opened with whatever it was made
    /// with.
    pub fn is_long_enough(&self) -> bool {
        self.0.encode_utf16().count() >= PASSPHRASE_MIN
    }

    fn for_sealing(&self) -> Result<&[u8], BackupError> {
        if self.is_long_enough() {
            Ok(self.0.as_bytes())
        } else {
            Err(BackupError::ShortPassphrase)
        }
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What goes into a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// `config.json`: meshes, keys, settings. Opens in the existing system, too.
    Config,
    /// That, and of each mesh what is kept of it (messages in and out, pins, logs, keys of
    /// channels) and the keys of sessions. Needs the feature `sqlite`.
    Everything,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackedUp {
    /// The file.
    pub path: PathBuf,
    /// Meshes in it.
    pub meshes: usize,
    /// Stores of messages in it.
    pub stores: usize,
    /// Keys of sessions in it.
    pub sessions: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A backup that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Whether it was one of everything.
    pub full: bool,
    /// Meshes that are here now.
    pub meshes: usize,
    /// Stores of messages that were put in place.
    pub stores: usize,
    /// Keys of sessions that were put in place.
    pub sessions: usize,
    /// What was there before, under other names now.
    pub set_aside: Vec<PathBuf>,
}

impl Config {
    /// A backup of the configuration in the form of the existing system, for applications that
    /// keep files themselves. Takes some 0.1 s and 64 MiB.
    ///
    /// # Errors
    /// [`BackupError::ShortPassphrase`], [`BackupError::Config`], [`BackupError::Random`].
    pub fn to_backup(&self, passphrase: &Passphrase) -> Result<Vec<u8>, BackupError> {
        let bytes = format::write(self.data(), &self.place())?;
        plain::seal(passphrase, &bytes)
    }

    /// The configuration of a backup, kept in memory.
    ///
    /// # Errors
    /// As [`open_backup`], and [`BackupError::Config`] if what is in it is no configuration.
    pub fn from_backup(backup: &[u8], passphrase: &Passphrase) -> Result<Self, BackupError> {
        let bytes = plain::open(passphrase, backup)?;
        Ok(Self::from_bytes(&bytes)?)
    }
}

/// The bytes of `config.json` in a backup of the existing system's form, whatever they say.
///
/// # Errors
/// [`BackupError::NotABackup`], [`BackupError::Truncated`], [`BackupError::NotOpened`],
/// [`BackupError::TooLarge`]; [`BackupError::Everything`] for one that has more than that.
pub fn open_backup(backup: &[u8], passphrase: &Passphrase) -> Result<ExposedBytes, BackupError> {
    let mut bytes = plain::open(passphrase, backup)?;
    Ok(ExposedBytes::new(std::mem::take(&mut *bytes)))
}

/// What a file that cannot be used begins with.
fn unknown_magic(found: &[u8]) -> BackupError {
    match found {
        [b'C', b'M', b'B', version, ..] if version.is_ascii_alphanumeric() => {
            BackupError::UnknownForm {
                form: char::from(*version),
            }
        }
        found if found.len() < 4 && PLAIN.starts_with(found) => BackupError::Truncated,
        _ => BackupError::NotABackup,
    }
}

fn random<const N: usize>() -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| BackupError::Random(error.to_string()))?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<super::ConfigData, BackupError> {
    // The text of an error says that it is the backup that does not fit.
    let place = Place::File(PathBuf::from("config.json in the backup"));
    Ok(format::parse(bytes, &place)?)
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn now() -> String {
    crate::time::iso(unix_ms())
}
