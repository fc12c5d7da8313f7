//! Putting a backup back: all of it is read, opened and checked before anything is changed, and
//! what was there is set aside under another name.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::write::failed;
use super::{BackupError, FULL, Passphrase, Restored, parse, plain, unix_ms};
use crate::config::format::MAX_BYTES;
use crate::config::{Config, disk};

impl Config {
    /// As [`Config::restore`], in a folder whose own configuration may be missing or damaged.
    ///
    /// # Errors
    /// As [`Config::restore`].
    pub fn restore_into(
        dir: impl AsRef<Path>,
        from: &Path,
        passphrase: &Passphrase,
        replace: bool,
    ) -> Result<(Self, Restored), BackupError> {
        let mut config = Self::in_memory();
        let dir = dir.as_ref();
        config.dir = Some(std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
        let restored = config.restore(from, passphrase, replace)?;
        Ok((config, restored))
    }

    /// Puts a backup in place of what this folder has, and reads it. Takes files of both forms.
    ///
    /// Where that would replace a configuration that has meshes, a store or a session's key, it is
    /// an error without `replace`. With it they are kept, as `<name>.before-restore.<unix ms>`. No
    /// peer may be running on a store that is replaced.
    ///
    /// # Errors
    /// [`BackupError`]; on any but [`BackupError::File`] nothing was changed.
    pub fn restore(
        &mut self,
        from: &Path,
        passphrase: &Passphrase,
        replace: bool,
    ) -> Result<Restored, BackupError> {
        let dir = self.dir().ok_or(BackupError::NoFolder)?.to_owned();
        let file = File::open(from).map_err(|source| failed(from, source))?;
        let mut magic = Vec::new();
        (&file)
            .take(FULL.len() as u64)
            .read_to_end(&mut magic)
            .map_err(|source| failed(from, source))?;
        let aside = Aside {
            ending: format!("before-restore.{}", unix_ms()),
            replace,
            moved: Vec::new(),
        };
        let restored = if magic == FULL {
            everything(&dir, from, passphrase, aside)?
        } else {
            let bytes = Zeroizing::new(whole(from)?);
            let config = plain::open(passphrase, &bytes)?;
            only_config(&dir, &config, aside)?
        };
        self.reload()?;
        Ok(restored)
    }
}

fn whole(path: &Path) -> Result<Vec<u8>, BackupError> {
    let wrong = |source| failed(path, source);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    // One byte more than is taken says that it is too large.
    file.take(MAX_BYTES as u64 + 128)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    Ok(bytes)
}

/// What becomes of what was there before.
struct Aside {
    ending: String,
    replace: bool,
    moved: Vec<PathBuf>,
}

impl Aside {
    fn name(&self, of: &Path) -> PathBuf {
        let mut name = of.as_os_str().to_owned();
        name.push(format!(".{}", self.ending));
        name.into()
    }

    /// Whether `path` may go.
    fn allows(&self, path: &Path) -> Result<(), BackupError> {
        match self.replace {
            true => Ok(()),
            false => Err(BackupError::Exists {
                path: path.to_owned(),
            }),
        }
    }
}

fn only_config(dir: &Path, bytes: &[u8], mut aside: Aside) -> Result<Restored, BackupError> {
    let meshes = parse(bytes)?.meshes.len();
    let lock = disk::Lock::acquire(dir, disk::LOCK_WAIT)?;
    may_replace_config(lock.dir(), &aside)?;
    replace_config(&lock, bytes, &mut aside)?;
    Ok(Restored {
        full: false,
        meshes,
        stores: 0,
        sessions: 0,
        set_aside: aside.moved,
    })
}

/// A configuration without meshes, or none, goes without being asked for.
fn may_replace_config(dir: &Path, aside: &Aside) -> Result<(), BackupError> {
    let Some(bytes) = disk::read(dir)? else {
        return Ok(());
    };
    let has_none = parse(&bytes).is_ok_and(|data| data.meshes.is_empty());
    if has_none {
        return Ok(());
    }
    aside.allows(&dir.join(disk::FILE))
}

fn replace_config(lock: &disk::Lock, bytes: &[u8], aside: &mut Aside) -> Result<(), BackupError> {
    let path = lock.dir().join(disk::FILE);
    if let Some(before) = disk::read(lock.dir())? {
        let kept = aside.name(&path);
        let wrong = |source| failed(&kept, source);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&kept).map_err(wrong)?;
        file.write_all(&before).map_err(wrong)?;
        file.sync_all().map_err(wrong)?;
        aside.moved.push(kept);
    }
    Ok(lock.write(bytes)?)
}

#[cfg(not(feature = "sqlite"))]
fn everything(_: &Path, _: &Path, _: &Passphrase, _: Aside) -> Result<Restored, BackupError> {
    Err(BackupError::NoStore)
}

#[cfg(feature = "sqlite")]
fn everything(
    dir: &Path,
    from: &Path,
    passphrase: &Passphrase,
    mut aside: Aside,
) -> Result<Restored, BackupError> {
    let lock = disk::Lock::acquire(dir, disk::LOCK_WAIT)?;
    let staged = staged::Staged::read(lock.dir(), from, passphrase)?;
    may_replace_config(lock.dir(), &aside)?;
    staged.may_be_placed(&aside)?;
    let (stores, sessions) = staged.place(&mut aside)?;
    replace_config(&lock, &staged.config, &mut aside)?;
    Ok(Restored {
        full: true,
        meshes: staged.meshes,
        stores,
        sessions,
        set_aside: aside.moved,
    })
}

#[cfg(feature = "sqlite")]
mod staged {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::path::{Path, PathBuf};

    use tempfile::TempDir;
    use zeroize::Zeroizing;

    use super::super::records::Part;
    use super::super::stream::Opener;
    use super::{Aside, BackupError, MAX_BYTES, Passphrase, failed, parse};
    use crate::config::session_keys::MAX_BYTES as MAX_SESSION;
    use crate::config::{ConfigData, SessionKeys, disk};
    use crate::id::{PublicKey, SessionId};
    use crate::store::SqliteStore;

    /// A backup that was opened to its end, beside the place where it is to go.
    pub(super) struct Staged {
        pub(super) config: Zeroizing<Vec<u8>>,
        pub(super) meshes: usize,
        /// Gone with this value.
        folder: TempDir,
        /// Where each store is, and where it is to go.
        stores: Vec<(PathBuf, PathBuf)>,
        sessions: Vec<(SessionKeys, SessionId, Zeroizing<Vec<u8>>)>,
    }

    impl Staged {
        pub(super) fn read(
            dir: &Path,
            from: &Path,
            passphrase: &Passphrase,
        ) -> Result<Self, BackupError> {
            let file = File::open(from).map_err(|source| failed(from, source))?;
            let input = std::io::BufReader::new(file);
            let mut opener = Opener::new(input, from, passphrase)?;
            let Part::Config { length } = Part::next(&mut opener)? else {
                return Err(BackupError::Malformed("the configuration is not first"));
            };
            let config = take(&mut opener, length, MAX_BYTES as u64)?;
            let data = entries(&config, dir)?;
            let folder = tempfile::Builder::new()
                .prefix(".restore.")
                .tempdir_in(dir)
                .map_err(|source| failed(dir, source))?;
            let mut staged = Self {
                meshes: data.meshes.len(),
                config,
                folder,
                stores: Vec::new(),
                sessions: Vec::new(),
            };
            loop {
                match Part::next(&mut opener)? {
                    Part::End => break,
                    Part::Config { .. } => {
                        return Err(BackupError::Malformed("two configurations"));
                    }
                    Part::Store { member, length } => {
                        staged.store(dir, &data, member, length, &mut opener)?;
                    }
                    Part::Session { member, id, length } => {
                        let bytes = take(&mut opener, length, MAX_SESSION)?;
                        let entry = data.meshes.iter().find(|entry| {
                            entry.pubkey() == member && belongs(entry.mesh_id.as_str(), &bytes)
                        });
                        let entry = entry.ok_or(STRANGER)?;
                        let keys = SessionKeys::of(entry)?;
                        staged.sessions.push((keys, id, bytes));
                    }
                }
            }
            opener.end()?;
            Ok(staged)
        }

        fn store<R: std::io::Read>(
            &mut self,
            dir: &Path,
            data: &ConfigData,
            member: PublicKey,
            length: u64,
            from: &mut Opener<R>,
        ) -> Result<(), BackupError> {
            if !data.meshes.iter().any(|entry| entry.pubkey() == member) {
                return Err(STRANGER);
            }
            let name = format!("{}.db", member.to_hex());
            let path = self.folder.path().join(name);
            let wrong = |source| failed(&path, source);
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path).map_err(wrong)?;
            from.give(length, |part| file.write_all(part).map_err(wrong))?;
            file.sync_all().map_err(wrong)?;
            drop(file);
            // Opens, and is brought to the format of now, before anything depends on it.
            SqliteStore::open(&path)?.settle()?;
            let to = dir.join("peers").join(member.to_hex()).join("peer.db");
            self.stores.push((path, to));
            Ok(())
        }

        /// Whether what is there may be replaced.
        pub(super) fn may_be_placed(&self, aside: &Aside) -> Result<(), BackupError> {
            for (_, to) in self.stores.iter().filter(|(_, to)| to.exists()) {
                aside.allows(to)?;
                // One that does not open is in nobody's use.
                if let Ok(store) = SqliteStore::open(to)
                    && !store.settle()?
                {
                    return Err(BackupError::InUse { path: to.clone() });
                }
            }
            for (keys, id, bytes) in &self.sessions {
                if let Some(path) = keys.differs(id, bytes) {
                    aside.allows(&path)?;
                }
            }
            Ok(())
        }

        /// Puts everything but the configuration in place.
        pub(super) fn place(&self, aside: &mut Aside) -> Result<(usize, usize), BackupError> {
            for (from, to) in &self.stores {
                let folder = to.parent().unwrap_or(to);
                disk::make_private_dir(folder)?;
                let wrong = |source| failed(to, source);
                if to.exists() {
                    let other = aside.name(to);
                    fs::rename(to, &other).map_err(wrong)?;
                    aside.moved.push(other);
                }
                // Of a store that is gone, or did not open: its newest messages may be there, and
                // another store must not take them for its own.
                for ending in ["-wal", "-shm"] {
                    let beside = |path: &Path| {
                        let mut name = path.as_os_str().to_owned();
                        name.push(ending);
                        PathBuf::from(name)
                    };
                    let (left, other) = (beside(to), beside(&aside.name(to)));
                    match fs::rename(&left, &other) {
                        Ok(()) => aside.moved.push(other),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => return Err(wrong(error)),
                    }
                }
                fs::rename(from, to).map_err(wrong)?;
                #[cfg(unix)]
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(wrong)?;
            }
            for (keys, id, bytes) in &self.sessions {
                let moved = keys.put(id, bytes, &format!("json.{}", aside.ending))?;
                aside.moved.extend(moved);
            }
            Ok((self.stores.len(), self.sessions.len()))
        }
    }

    const STRANGER: BackupError = BackupError::Malformed("something of a mesh that is not in it");

    /// The entries of the backup, as they will be in this folder.
    fn entries(config: &[u8], dir: &Path) -> Result<ConfigData, BackupError> {
        let mut data = parse(config)?;
        for entry in &mut data.meshes {
            entry.sessions_dir = Some(dir.join("sessions"));
        }
        Ok(data)
    }

    /// Whether the file of a session names this mesh, or none.
    fn belongs(mesh: &str, bytes: &[u8]) -> bool {
        let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        let named = value
            .as_ref()
            .and_then(|value| value.get("meshId")?.as_str());
        named.is_none_or(|named| named == mesh)
    }

    fn take<R: std::io::Read>(
        from: &mut Opener<R>,
        length: u64,
        limit: u64,
    ) -> Result<Zeroizing<Vec<u8>>, BackupError> {
        if length > limit {
            return Err(BackupError::Malformed("a part is too long"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
        from.give(length, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }
}
