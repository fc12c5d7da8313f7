//! The files of a configuration: private, written as a whole or not at all, one writer at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::format::MAX_BYTES;
use super::{ConfigError, Place};

/// The file's name in its directory.
pub(super) const FILE: &str = "config.json";
/// How long a writer waits for another.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

const TEMP_PREFIX: &str = ".config.json.";
const TEMP_SUFFIX: &str = ".tmp";

/// Reads the file, or nothing where there is none.
pub(super) fn read(dir: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    let path = dir.join(FILE);
    let failed = |source| ConfigError::Read {
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let too_large = || ConfigError::TooLarge {
        at: Place::File(path.clone()),
        limit: MAX_BYTES,
    };
    let size = file.metadata().map_err(failed)?.len();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_BYTES {
        return Err(too_large());
    }
    // All the room at once: a buffer that grows leaves copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 64));
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large());
    }
    Ok(Some(bytes))
}

/// The right to change the file, until dropped.
///
/// The programs that came before take no lock, so one of them that writes at the same instant can
/// still undo a change; every program built on this crate waits.
pub(super) struct Lock {
    dir: PathBuf,
    _file: File,
    _process: Option<MutexGuard<'static, ()>>,
}

/// Stands in for the file lock on systems that have none.
static PROCESS: Mutex<()> = Mutex::new(());

impl Lock {
    /// Makes the directory if need be, and waits for the lock.
    pub(super) fn acquire(dir: &Path, wait: Duration) -> Result<Self, ConfigError> {
        make_private_dir(dir)?;
        // A directory that is a link is followed once, here, so that the temporary file and the
        // rename are in the same real directory whatever happens to the link meanwhile.
        let dir = fs::canonicalize(dir).map_err(|source| write_error(dir, source))?;
        let path = dir.join("config.json.lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|source| write_error(&path, source))?;
        let deadline = Instant::now() + wait;
        let mut pause = Duration::from_millis(1);
        let process = loop {
            match file.try_lock() {
                Ok(()) => break None,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(ConfigError::Locked {
                        path: dir.join(FILE),
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    break Some(PROCESS.lock().unwrap_or_else(PoisonError::into_inner));
                }
                Err(TryLockError::Error(source)) => return Err(write_error(&path, source)),
            }
        };
        Ok(Self {
            dir,
            _file: file,
            _process: process,
        })
    }

    /// The directory behind all links.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Replaces the file: after a crash there is the old one or the new one, whole.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), ConfigError> {
        let path = self.dir.join(FILE);
        self.remove_leftovers();
        self.replace(&path, bytes)
            .map_err(|source| write_error(&path, source))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMP_PREFIX).suffix(TEMP_SUFFIX);
        #[cfg(unix)]
        builder.permissions(mode(0o600));
        let mut temp = builder.tempfile_in(&self.dir)?;
        temp.write_all(bytes)?;
        temp.as_file().sync_all()?;
        temp.persist(path)?;
        // The rename itself lives in the directory.
        #[cfg(unix)]
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }

    /// Removes what a crashed writer left: it holds secret keys, perhaps of meshes since removed.
    /// Nobody else is writing while the lock is held. Failing here harms nothing.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Makes a directory, with its parents, that only its owner may enter, or tightens one that is
/// there. One reached by a link is left as it is: it belongs to something else as well.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), ConfigError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .map_err(|source| write_error(dir, source))?;
    #[cfg(unix)]
    if let Ok(found) = fs::symlink_metadata(dir)
        && found.is_dir()
        && mode_of(&found) & 0o077 != 0
    {
        // Some file systems have no modes to set; `permissions_warning` tells of what stays open.
        let _ = fs::set_permissions(dir, mode(0o700));
    }
    Ok(())
}

/// What others on this machine may do with the file that they should not, as a sentence.
#[cfg(unix)]
pub(super) fn permissions_warning(dir: &Path) -> Option<String> {
    let path = dir.join(FILE);
    let file = mode_of(&fs::metadata(&path).ok()?);
    if file & 0o077 != 0 {
        return Some(format!(
            "{0} holds secret keys and is open to other users (mode {file:04o}): run \
             `chmod 600 {0}`",
            path.display(),
        ));
    }
    let around = mode_of(&fs::metadata(dir).ok()?);
    (around & 0o022 != 0).then(|| {
        format!(
            "other users can replace files in {0} (mode {around:04o}): run `chmod 700 {0}`",
            dir.display(),
        )
    })
}

/// Nothing to say where files have no mode.
#[cfg(not(unix))]
pub(super) fn permissions_warning(_dir: &Path) -> Option<String> {
    None
}

#[cfg(unix)]
fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

#[cfg(unix)]
fn mode_of(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(found) & 0o7777
}

fn write_error(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::acquire(dir.path(), Duration::ZERO).unwrap();
        let error = Lock::acquire(dir.path(), Duration::from_millis(30)).err();
        assert!(matches!(error, Some(ConfigError::Locked { .. })));
        drop(held);
        Lock::acquire(dir.path(), Duration::ZERO).unwrap();
    }
}
