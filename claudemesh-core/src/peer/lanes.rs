//! Which of several processes on one store sends what.
//!
//! Every process writes its own lane of the outbox. A lane is held by a lock on a file, which the
//! system lets go when the process dies, however it dies; then another process takes over what is
//! left in the lane.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::path::PathBuf;

/// Processes of one member at the same time at most.
const MAX_LANES: u32 = 1_024;

/// The lanes of one store.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    dir: PathBuf,
}

/// A lane that is held. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    /// The lane.
    pub(super) number: u32,
    _file: File,
}

impl Lanes {
    #[cfg(feature = "sqlite")]
    pub(super) fn new(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("lanes");
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir)?;
        Ok(Self { dir })
    }

    /// Holds the first free lane.
    pub(super) fn hold_free(&self) -> io::Result<Held> {
        for number in 0..MAX_LANES {
            if let Some(held) = self.try_hold(number)? {
                return Ok(held);
            }
        }
        Err(io::Error::other("1,024 processes use this member already"))
    }

    /// Holds a lane, if no living process does.
    pub(super) fn try_hold(&self, number: u32) -> io::Result<Option<Held>> {
        self.try_lock(&number.to_string()).map(|file| {
            file.map(|file| Held {
                number,
                _file: file,
            })
        })
    }

    /// Holds a name for reading, if no living process does.
    pub(super) fn try_hold_reader(&self, name: &str) -> io::Result<Option<File>> {
        // Names come from callers: only their hash becomes part of a path.
        self.try_lock(&format!(
            "reader-{}",
            crate::crypto::sha256(name.as_bytes())
        ))
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.dir.join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
