//! The keys of sessions: one file for each, in the layout of the existing system.
//!
//! `<sessions>/<mesh slug>/<session id>.json`, its folder for its owner only, mode 0600. A session
//! that comes back under its id has the same key and name, so what was sent to it finds it. An
//! error is told: nobody gets a key that is gone with the process and does not know it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::disk::{Lock, make_private_dir};
use super::{ConfigError, MeshEntry};
use crate::crypto::KeyPair;
use crate::id::{MeshId, PublicKey, SessionId, SessionName};
use crate::time::iso;

/// The environment variable that names the folder of session keys.
pub const SESSIONS_DIR_ENV: &str = "CLAUDEMESH_SESSIONS_DIR";
/// The environment variable that names the session that a program belongs to.
pub const SESSION_ID_ENV: &str = "CLAUDEMESH_SESSION_ID";

const VERSION: u64 = 1;
/// Bytes of a file at most; a sound one has some 600.
pub(super) const MAX_BYTES: u64 = 16 * 1024;
/// How long a writer waits for another.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// A session that was not there for so long leaves its name to others.
const NAME_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Files of one mesh that are looked at for names, at most.
const MAX_FILES: usize = 10_000;
/// What this crate adds to the file.
const NAME: &str = "name";
const MESH_ID: &str = "meshId";
const MEMBER: &str = "memberPubkey";

/// Why a session's key could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionKeyError {
    /// The mesh's short name and its id are no names for a folder.
    #[error("session keys of this mesh cannot be kept: neither {slug:?} nor its id names a folder")]
    Slug {
        /// The short name.
        slug: String,
    },
    /// The configuration is kept in memory, and no folder was named.
    #[error(
        "there is no folder for session keys: set {SESSIONS_DIR_ENV}, or keep the configuration in \
         a folder"
    )]
    NoFolder,
    /// The file cannot be read or written.
    #[error("{path}: {source}; the session has no key, and nothing was sent under another one")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a session's.
    #[error(
        "{path}: {why}; move it aside to give the session a new key (it is a new address then)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
    /// The folder cannot be made or locked.
    #[error(transparent)]
    Folder(#[from] ConfigError),
    /// No random bytes could be had.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

/// A session of a member: its key, and what it is called.
#[derive(Clone)]
pub struct SessionIdentity {
    id: SessionId,
    key: Arc<KeyPair>,
    name: SessionName,
    made_at: u64,
    file: Option<PathBuf>,
}

impl std::fmt::Debug for SessionIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionIdentity")
            .field("id", &self.id)
            .field("key", &self.key.public())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl SessionIdentity {
    /// A session that is kept by the caller, or by nobody: then what is sent to it is lost with its
    /// process. `made_at` is unix ms.
    pub fn new(id: SessionId, key: Arc<KeyPair>, name: SessionName, made_at: u64) -> Self {
        Self {
            id,
            key,
            name,
            made_at,
            file: None,
        }
    }

    /// The id that the agent's program gave it.
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// The key that it is addressed by.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Its key pair.
    pub const fn key_pair(&self) -> &Arc<KeyPair> {
        &self.key
    }

    /// What it is called. While it is connected it may get another name, because a session of the
    /// same member elsewhere has this one: [`Peer::session`](crate::Peer::session) has the one
    /// that counts.
    pub const fn name(&self) -> &SessionName {
        &self.name
    }

    /// When its key was made, unix ms.
    pub const fn made_at(&self) -> u64 {
        self.made_at
    }

    /// The file that it is kept in.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Keeps another name; does nothing for one that is kept nowhere.
    ///
    /// # Errors
    /// [`SessionKeyError`].
    pub fn rename(&mut self, name: &SessionName) -> Result<(), SessionKeyError> {
        self.name = name.clone();
        let Some(path) = &self.file else {
            return Ok(());
        };
        let dir = path.parent().ok_or(SessionKeyError::NoFolder)?;
        let _lock = Lock::acquire(dir, LOCK_WAIT)?;
        let mut found = read(path)?.ok_or_else(|| failed(path, io::ErrorKind::NotFound.into()))?;
        found.insert(NAME.to_owned(), name.as_str().into());
        write(path, &found)
    }
}

/// The keys of a member's sessions on this machine.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    dir: PathBuf,
    slug: String,
    mesh: MeshId,
    member: PublicKey,
}

impl SessionKeys {
    /// Those of a mesh: in `CLAUDEMESH_SESSIONS_DIR`, or else in `sessions` beside the
    /// configuration's file. Nothing is made yet.
    ///
    /// # Errors
    /// [`SessionKeyError::NoFolder`], [`SessionKeyError::Slug`].
    pub fn of(mesh: &MeshEntry) -> Result<Self, SessionKeyError> {
        let named = std::env::var_os(SESSIONS_DIR_ENV).filter(|dir| !dir.is_empty());
        let dir = named.map(PathBuf::from);
        let dir = dir.or_else(|| mesh.sessions_dir().map(Path::to_owned));
        Self::in_dir(&dir.ok_or(SessionKeyError::NoFolder)?, mesh)
    }

    /// Those of a mesh, in a folder of one's own that has one folder for each mesh.
    ///
    /// # Errors
    /// [`SessionKeyError::Slug`].
    pub fn in_dir(dir: &Path, mesh: &MeshEntry) -> Result<Self, SessionKeyError> {
        let names = [mesh.slug.as_str(), mesh.mesh_id.as_str()];
        let slug = names.into_iter().find(|name| is_folder(name));
        let slug = slug.ok_or_else(|| SessionKeyError::Slug {
            slug: mesh.slug.clone(),
        })?;
        Ok(Self {
            dir: dir.join(slug),
            slug: slug.to_owned(),
            mesh: mesh.mesh_id.clone(),
            member: mesh.pubkey(),
        })
    }

    /// The session of this id: as it is kept, or else made now, with a key of its own and the name
    /// `wanted`, which gets a number at its end if another session of this member here has it.
    /// One that is kept has the name it had, unless `rename` says that it is to have this one.
    ///
    /// Blocks for the disk, and for up to five seconds while another program writes.
    ///
    /// # Errors
    /// [`SessionKeyError`]; never a key that is kept nowhere instead.
    pub fn open(
        &self,
        id: &SessionId,
        wanted: &SessionName,
        rename: bool,
    ) -> Result<SessionIdentity, SessionKeyError> {
        if let Some(parent) = self.dir.parent() {
            make_private_dir(parent)?;
        }
        let _lock = Lock::acquire(&self.dir, LOCK_WAIT)?;
        let path = self.path(id);
        let kept = match read(&path)? {
            Some(found) => self.kept(&path, id, &found)?.map(|kept| (kept, found)),
            None => None,
        };
        let Some((kept, mut found)) = kept else {
            return self.make(&path, id, wanted);
        };
        let name = match kept.name {
            Some(name) if !rename || name == *wanted => name,
            _ => self.free_name(id, wanted),
        };
        // Written even if nothing changed: its time tells that the session is in use.
        found.insert(NAME.to_owned(), name.as_str().into());
        found.insert(MESH_ID.to_owned(), self.mesh.as_str().into());
        found.insert(MEMBER.to_owned(), self.member.to_hex().into());
        write(&path, &found)?;
        Ok(SessionIdentity {
            id: id.clone(),
            key: Arc::new(kept.key),
            name,
            made_at: kept.made_at,
            file: Some(path),
        })
    }

    /// The session of this name that was in use here within 30 days, or else a new one, with an id
    /// and a key of its own.
    ///
    /// # Errors
    /// As [`SessionKeys::open`].
    pub fn open_named(&self, name: &SessionName) -> Result<SessionIdentity, SessionKeyError> {
        let kept = self.list()?;
        let found = kept
            .into_iter()
            .find(|(_, kept)| kept.is_same(name.as_str()));
        let id = match found {
            Some((id, _)) => id,
            None => {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)
                    .map_err(|error| SessionKeyError::Random(error.to_string()))?;
                SessionId::from_random(bytes)
            }
        };
        self.open(&id, name, false)
    }

    /// The sessions of this member that are kept here and were in use within 30 days.
    ///
    /// # Errors
    /// [`SessionKeyError::File`]; files that are no session's are left out.
    pub fn list(&self) -> Result<Vec<(SessionId, SessionName)>, SessionKeyError> {
        match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&self.dir, error)),
            Ok(_) => Ok(self.names()),
        }
    }

    /// Deletes the keys of all sessions of this member that are kept here; says how many there
    /// were. What is sent to them later, nobody opens.
    ///
    /// # Errors
    /// [`SessionKeyError::File`].
    pub fn forget_all(&self) -> Result<usize, SessionKeyError> {
        let files = self.files();
        for (_, path) in &files {
            fs::remove_file(path).map_err(|error| failed(path, error))?;
        }
        Ok(files.len())
    }

    /// The files of this member's sessions, with their ids; what is no session's is left out.
    pub(super) fn files(&self) -> Vec<(SessionId, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let found = entries.flatten().take(MAX_FILES).filter_map(|entry| {
            let name = entry.file_name();
            let id = SessionId::new(name.to_str()?.strip_suffix(".json")?).ok()?;
            let found = read(&self.path(&id)).ok()??;
            self.kept(&self.path(&id), &id, &found).ok()??;
            Some((id.clone(), self.path(&id)))
        });
        found.collect()
    }

    /// Puts the file of a session in place; says where an older one went that differs from it.
    pub(super) fn put(
        &self,
        id: &SessionId,
        bytes: &[u8],
        aside: &str,
    ) -> Result<Option<PathBuf>, SessionKeyError> {
        let path = self.path(id);
        let bad = |why| SessionKeyError::Malformed {
            path: path.clone(),
            why,
        };
        let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else {
            return Err(bad("what is in the backup for it is no JSON object"));
        };
        if self.kept(&path, id, &fields)?.is_none() {
            return Err(bad("what is in the backup for it is another mesh's"));
        }
        if let Some(parent) = self.dir.parent() {
            make_private_dir(parent)?;
        }
        let _lock = Lock::acquire(&self.dir, LOCK_WAIT)?;
        let moved = match fs::read(&path) {
            Ok(before) if before == bytes => return Ok(None),
            Ok(_) => {
                let other = path.with_extension(aside);
                fs::rename(&path, &other).map_err(|error| failed(&path, error))?;
                Some(other)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        write(&path, &fields)?;
        Ok(moved)
    }

    /// Whether the session of this id has a file with something else in it.
    pub(super) fn differs(&self, id: &SessionId, bytes: &[u8]) -> Option<PathBuf> {
        let path = self.path(id);
        let there = fs::read(&path).is_ok_and(|before| before != bytes);
        there.then_some(path)
    }

    fn path(&self, id: &SessionId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// What the file says, if it is this member's.
    fn kept(
        &self,
        path: &Path,
        id: &SessionId,
        found: &Map<String, Value>,
    ) -> Result<Option<Kept>, SessionKeyError> {
        let bad = |why| SessionKeyError::Malformed {
            path: path.to_owned(),
            why,
        };
        let text = |name: &str| found.get(name).and_then(Value::as_str);
        if found.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(bad("its `version` is not 1"));
        }
        let named = text("sessionId").and_then(|text| SessionId::new(text).ok());
        if named.as_ref() != Some(id) {
            return Err(bad("its `sessionId` is not the one in its name"));
        }
        let other_mesh = text(MESH_ID).is_some_and(|mesh| mesh != self.mesh.as_str());
        let other_member = text(MEMBER).is_some_and(|key| key != self.member.to_hex());
        if other_mesh || other_member {
            // A mesh that was left, or joined anew: its session is not this one.
            return Ok(None);
        }
        let lower = |text: &&str| !text.bytes().any(|b| b.is_ascii_uppercase());
        let secret = text("secretKey").filter(lower);
        let secret = secret.ok_or_else(|| bad("it has no `secretKey` in lower-case hex"))?;
        let key = KeyPair::from_secret_hex(secret)
            .map_err(|_| bad("its `secretKey` is not a key of 128 hex digits"))?;
        let public = text("publicKey").filter(lower);
        if public != Some(key.public().to_hex().as_str()) {
            return Err(bad("its `publicKey` does not belong to its `secretKey`"));
        }
        let made_at = text("createdAt").and_then(crate::time::parse_iso);
        Ok(Some(Kept {
            key,
            name: text(NAME).and_then(|name| SessionName::new(name).ok()),
            made_at: made_at.unwrap_or_else(|| unix_ms(SystemTime::now())),
        }))
    }

    fn make(
        &self,
        path: &Path,
        id: &SessionId,
        wanted: &SessionName,
    ) -> Result<SessionIdentity, SessionKeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())
            .map_err(|error| SessionKeyError::Random(error.to_string()))?;
        let key = KeyPair::from_seed(&seed);
        let name = self.free_name(id, wanted);
        let made_at = unix_ms(SystemTime::now());
        let secret = key.expose_secret_hex();
        let fields: [(&str, Value); 9] = [
            ("version", VERSION.into()),
            ("meshSlug", self.slug.as_str().into()),
            ("sessionId", id.as_str().into()),
            ("publicKey", key.public().to_hex().into()),
            ("secretKey", secret.as_str().into()),
            ("createdAt", iso(made_at).into()),
            (NAME, name.as_str().into()),
            (MESH_ID, self.mesh.as_str().into()),
            (MEMBER, self.member.to_hex().into()),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        write(path, &fields.into_iter().collect())?;
        Ok(SessionIdentity {
            id: id.clone(),
            key: Arc::new(key),
            name,
            made_at,
            file: Some(path.to_owned()),
        })
    }

    fn free_name(&self, id: &SessionId, wanted: &SessionName) -> SessionName {
        let taken = self.names();
        wanted.free(|name| {
            let mut others = taken.iter().filter(|(other, _)| other != id);
            others.any(|(_, taken)| taken.is_same(name.as_str()))
        })
    }

    /// Names that are in use. What cannot be read has none.
    fn names(&self) -> Vec<(SessionId, SessionName)> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        for entry in entries.flatten().take(MAX_FILES) {
            let file = entry.file_name();
            let id = file.to_str().and_then(|name| name.strip_suffix(".json"));
            let Some(id) = id.and_then(|id| SessionId::new(id).ok()) else {
                continue;
            };
            let used = entry.metadata().and_then(|found| found.modified());
            let old = |at: SystemTime| at.elapsed().is_ok_and(|past| past > NAME_KEPT);
            if used.map_or(true, old) {
                continue;
            }
            let path = entry.path();
            let Ok(Some(found)) = read(&path) else {
                continue;
            };
            if let Ok(Some(kept)) = self.kept(&path, &id, &found)
                && let Some(name) = kept.name
            {
                names.push((id, name));
            }
        }
        names
    }
}

/// What a file says.
struct Kept {
    key: KeyPair,
    name: Option<SessionName>,
    made_at: u64,
}

/// Whether a name is one folder's and nothing else, as the existing system has it, without `..`.
fn is_folder(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().any(|b| b != b'.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn read(path: &Path) -> Result<Option<Map<String, Value>>, SessionKeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let bad = |why| SessionKeyError::Malformed {
        path: path.to_owned(),
        why,
    };
    // All the room at once: a buffer that grows leaves copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_BYTES).unwrap_or(0) + 64,
    ));
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(bad("it is larger than any session's key"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(found)) => Ok(Some(found)),
        _ => Err(bad("it is no JSON object")),
    }
}

/// After a crash there is the old file or the new one, whole.
fn write(path: &Path, fields: &Map<String, Value>) -> Result<(), SessionKeyError> {
    let written = || -> io::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(fields)?);
        let dir = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".session.").suffix(".tmp");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));
        let mut temp = builder.tempfile_in(dir)?;
        temp.write_all(&bytes)?;
        temp.as_file().sync_all()?;
        temp.persist(path)?;
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    written().map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> SessionKeyError {
    SessionKeyError::File {
        path: path.to_owned(),
        source,
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
