//! What can go wrong with the configuration, said so that a person knows what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where a configuration is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// With the application, which hands it over as bytes.
    Memory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str("the configuration kept by this application"),
        }
    }
}

/// Why the configuration could not be read or written.
///
/// No text of these errors holds anything of the file but the short name of a mesh: the file is
/// full of secret keys, and error texts end up in logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no home directory and no `CLAUDEMESH_CONFIG_DIR`.
    #[error("no home directory is known; set CLAUDEMESH_CONFIG_DIR to a directory of your own")]
    NoHome,
    /// The file is there but cannot be read.
    #[error("cannot read {path}: {source}; check that you own it and may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not JSON.
    #[error(
        "{at} is not valid JSON at line {line}, column {column}: {why}; it was left untouched, \
         repair it or restore it from a backup"
    )]
    Parse {
        /// Where it is kept.
        at: Place,
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 where the line has none.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// The JSON has a field that does not fit.
    #[error(
        "{at}: `{field}` of {entry} {why}; nothing was written, correct this field or restore the \
         file from a backup"
    )]
    Malformed {
        /// Where it is kept.
        at: Place,
        /// Which part: `the file`, or an entry by its mesh name or else its number.
        entry: String,
        /// The field's name in the file.
        field: &'static str,
        /// What it should be.
        why: &'static str,
    },
    /// An entry's secret key is not that of its `pubkey`.
    #[error(
        "{at}: the secret key of mesh {mesh:?} does not belong to its `pubkey`; nothing was \
         written, restore this entry from a backup or join the mesh again"
    )]
    KeyMismatch {
        /// Where it is kept.
        at: Place,
        /// The mesh's short name.
        mesh: String,
    },
    /// A newer program wrote the file.
    #[error(
        "{at} has format version {found}, this program knows {supported}: a newer claudemesh is \
         needed, update it"
    )]
    NewerVersion {
        /// Where it is kept.
        at: Place,
        /// The version found.
        found: u64,
        /// The newest version that is understood.
        supported: u64,
    },
    /// The configuration is larger than any sound one.
    #[error("{at} is larger than {limit} bytes; it was left untouched, check what filled it")]
    TooLarge {
        /// Where it is kept.
        at: Place,
        /// The largest size that is read or written.
        limit: usize,
    },
    /// Somebody else holds the lock.
    #[error("another program is writing {path}; nothing was written, try again in a moment")]
    Locked {
        /// The file that was to be written.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error("cannot write {path}: {source}; check that you own it and that the disk has room")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ConfigError {
    /// Whether the same call can succeed a moment later without anybody's help.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }
}
