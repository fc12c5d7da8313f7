//! What can go wrong with a backup, said so that a person knows what to do next.

use std::io;
use std::path::PathBuf;

use super::PASSPHRASE_MIN;
use crate::config::{ConfigError, SessionKeyError};

/// Why a backup was not made, not opened, or not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A new backup needs a longer passphrase.
    #[error(
        "the passphrase is too short: {PASSPHRASE_MIN} characters at least, four words are good"
    )]
    ShortPassphrase,
    /// The file is something else.
    #[error("this is no claudemesh backup (a .cmb file); nothing was changed")]
    NotABackup,
    /// A form that is not known, of a newer program most likely.
    #[error("this backup has form {form}, which this program does not know: update claudemesh")]
    UnknownForm {
        /// The fourth character of the file.
        form: char,
    },
    /// It has everything, and only the configuration was asked for.
    #[error("this backup has more than a configuration; restore it into a folder")]
    Everything,
    /// The end is missing.
    #[error("the backup is cut off: its end is missing; copy it anew from where it was kept")]
    Truncated,
    /// The first box did not open.
    #[error(
        "the backup does not open: the passphrase is wrong, or the file was altered; nothing was \
         changed"
    )]
    NotOpened,
    /// The passphrase is right, and something further on was altered.
    #[error("the backup was altered or damaged; nothing of it was put in place")]
    Altered,
    /// What is in it makes no sense.
    #[error("the backup has something in it that makes no sense ({0}); nothing was put in place")]
    Malformed(&'static str),
    /// It asks for more of this machine than any backup needs.
    #[error(
        "the backup asks for {passes} passes over {memory_kib} KiB to open it, which no sound one \
         does; it was not opened"
    )]
    Cost {
        /// How often the memory is gone through.
        passes: u32,
        /// Memory, KiB.
        memory_kib: u32,
    },
    /// More than a configuration can have.
    #[error("the backup is larger than {limit} bytes; it was not opened")]
    TooLarge {
        /// The largest size that is read.
        limit: usize,
    },
    /// There is something where the backup, or what is in it, is to go.
    #[error("{path} is there already; it was left as it is")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another program has the store open.
    #[error("{path} is in use by another program; end it (listen, mcp, serve), then try again")]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The configuration is kept in memory.
    #[error("this configuration is kept in memory; there is no folder to back up or restore")]
    NoFolder,
    /// The program was built without the store that this backup has.
    #[error("this program was built without the store of messages, so it backs up keys alone")]
    NoStore,
    /// The configuration, here or in the backup.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys of sessions.
    #[error(transparent)]
    Sessions(#[from] SessionKeyError),
    /// A store of messages.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No random bytes could be had.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}
