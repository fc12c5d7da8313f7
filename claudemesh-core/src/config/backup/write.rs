//! Making a backup.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::{BackedUp, BackupError, Contents, Passphrase, plain};
use crate::config::{Config, ConfigData, format};

impl Config {
    /// Writes a backup to `to`, readable by its owner only, and notes in each entry that there is
    /// one. Peers may go on meanwhile. Blocks for the disk and for making the key (some 0.1 s).
    ///
    /// A file that is there already is replaced only with `replace`. On an error there is no file,
    /// or the one from before.
    ///
    /// # Errors
    /// [`BackupError::ShortPassphrase`], [`BackupError::Exists`], [`BackupError::NoFolder`],
    /// [`BackupError::NoStore`], and what reading and writing may give.
    pub fn back_up(
        &mut self,
        to: &Path,
        passphrase: &Passphrase,
        contents: Contents,
        replace: bool,
    ) -> Result<BackedUp, BackupError> {
        // Before anything that takes long.
        passphrase.for_sealing()?;
        if !replace && to.exists() {
            return Err(BackupError::Exists {
                path: to.to_owned(),
            });
        }
        if self.dir().is_none() {
            return Err(BackupError::NoFolder);
        }
        self.reload()?;
        let at = super::now();
        let mut data = self.data().clone();
        mark(&mut data, &at);
        let config = format::write(&data, &self.place())?;
        let mut made = BackedUp {
            path: to.to_owned(),
            meshes: data.meshes.len(),
            stores: 0,
            sessions: 0,
            bytes: 0,
        };
        let file = target(to)?;
        match contents {
            Contents::Config => {
                let sealed = plain::seal(passphrase, &config)?;
                let written = file.as_file().write_all(&sealed);
                written.map_err(|source| failed(to, source))?;
            }
            #[cfg(feature = "sqlite")]
            Contents::Everything => {
                everything(self, file.as_file(), passphrase, &config, &mut made)?;
            }
            #[cfg(not(feature = "sqlite"))]
            Contents::Everything => return Err(BackupError::NoStore),
        }
        made.bytes = put(file, to, replace)?;
        self.update(|data| mark(data, &at))?;
        Ok(made)
    }
}

fn mark(data: &mut ConfigData, at: &str) {
    for entry in &mut data.meshes {
        entry.set_backed_up_at(at);
    }
}

pub(super) fn failed(path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

fn folder(of: &Path) -> &Path {
    match of.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A file beside the one that is wanted, for its owner only.
fn target(to: &Path) -> Result<tempfile::NamedTempFile, BackupError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".claudemesh-backup.").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));
    builder
        .tempfile_in(folder(to))
        .map_err(|source| failed(to, source))
}

fn put(file: tempfile::NamedTempFile, to: &Path, replace: bool) -> Result<u64, BackupError> {
    let wrong = |source| failed(to, source);
    file.as_file().sync_all().map_err(wrong)?;
    let bytes = file.as_file().metadata().map_err(wrong)?.len();
    let placed = if replace {
        file.persist(to)
    } else {
        file.persist_noclobber(to)
    };
    placed.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists {
            path: to.to_owned(),
        },
        _ => wrong(error.error),
    })?;
    #[cfg(unix)]
    File::open(folder(to))
        .and_then(|folder| folder.sync_all())
        .map_err(wrong)?;
    Ok(bytes)
}

#[cfg(feature = "sqlite")]
fn everything(
    config: &Config,
    to: &File,
    passphrase: &Passphrase,
    bytes: &[u8],
    made: &mut BackedUp,
) -> Result<(), BackupError> {
    use super::records::Part;
    use super::stream::Sealer;
    use crate::config::SessionKeys;
    use crate::store::SqliteStore;

    let mut out = Sealer::new(std::io::BufWriter::new(to), passphrase)?;
    let length = bytes.len() as u64;
    Part::Config { length }.put(&mut out)?;
    out.put(bytes)?;
    let mut done = std::collections::HashSet::new();
    for entry in config.meshes() {
        let member = entry.pubkey();
        let store = entry.data_dir().map(|dir| dir.join("peer.db"));
        // Meshes that were joined under one key share a store.
        if let Some(path) = store.filter(|path| path.exists() && done.insert(member)) {
            // Beside the store: what is in it stays in a place that is for its owner only.
            let copy = tempfile::Builder::new()
                .prefix(".backup.")
                .tempdir_in(folder(&path))
                .map_err(|source| failed(&path, source))?;
            let copied = copy.path().join("peer.db");
            SqliteStore::open(&path)?.copy_to(&copied)?;
            let (file, length) = sized(&copied)?;
            Part::Store { member, length }.put(&mut out)?;
            pour(file, &copied, length, &mut out)?;
            made.stores += 1;
        }
        for (id, path) in SessionKeys::of(entry).map_or_else(|_| Vec::new(), |keys| keys.files()) {
            let bytes = std::fs::read(&path).map(zeroize::Zeroizing::new);
            let bytes = bytes.map_err(|source| failed(&path, source))?;
            let length = bytes.len() as u64;
            Part::Session { member, id, length }.put(&mut out)?;
            out.put(&bytes)?;
            made.sessions += 1;
        }
    }
    Part::End.put(&mut out)?;
    let mut out = out.finish()?;
    out.flush().map_err(|source| failed(&made.path, source))
}

#[cfg(feature = "sqlite")]
fn sized(path: &Path) -> Result<(File, u64), BackupError> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    let length = file
        .metadata()
        .map_err(|source| failed(path, source))?
        .len();
    Ok((file, length))
}

#[cfg(feature = "sqlite")]
fn pour<W: std::io::Write>(
    mut from: File,
    path: &Path,
    length: u64,
    to: &mut super::stream::Sealer<W>,
) -> Result<(), BackupError> {
    let mut left = length;
    let mut room = zeroize::Zeroizing::new(vec![0; 65_536]);
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
        let part = room.get_mut(..now).unwrap_or_default();
        from.read_exact(part)
            .map_err(|source| failed(path, source))?;
        to.put(part)?;
        left -= now as u64;
    }
    Ok(())
}
