//! Which session of its member an agent is: the one place where a session is attached to a peer.
//!
//! Every agent has a key and a name of its own, `member/session`: by default that of the folder it
//! works in, made unique among those that live. What the agent has read is kept for that session, so
//! that two agents in one folder never take each other's messages, and an agent that comes back under
//! its name goes on where it stopped. A name is held by a lock, which the system lets go when its
//! process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use claudemesh_core::config::{MeshEntry, SessionIdentity, SessionKeys};
use claudemesh_core::id::{SessionId, SessionName, Wake};
use claudemesh_core::peer::PeerBuilder;
use serde::{Deserialize, Serialize};

use super::process;
use crate::context::Named;
use crate::exit::{Code, Failure};

/// Names the session, for the agent's own process and for all that it starts.
pub(crate) const VARIABLE: &str = "CLAUDEMESH_SESSION";
/// Bytes of a note about an agent that are believed.
const MAX_NOTE: u64 = 4_096;

/// A session that this process holds. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Address {
    identity: SessionIdentity,
    _note: Option<NoteFile>,
    _lock: Option<File>,
}

/// What others on this machine may know about an agent that lives.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    /// The programs that started it, nearest first: one of them is the client.
    started_by: Vec<u32>,
}

/// A note that goes with its agent.
#[derive(Debug)]
struct NoteFile(PathBuf);

impl Drop for NoteFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

impl Address {
    /// Holds the session that was asked for, by `--as` or the environment, or one named after
    /// the folder. One that was asked for by name is never replaced by another.
    ///
    /// # Errors
    /// [`Code::Exists`] if another process holds it; [`Code::Usage`] for what is no name;
    /// [`Code::Io`] if its key cannot be kept.
    pub(crate) fn claim(mesh: &MeshEntry, named: &Named) -> Result<Self, Failure> {
        let dir = folder(mesh)?;
        let keys = SessionKeys::of(mesh)?;
        let known = keys.list()?;
        let of_id = |id: &SessionId| known.iter().find(|(known, _)| known == id);
        let id = named.id.clone();
        let asked = &named.name;
        let (name, lock) = match asked {
            Some(name) => (name.clone(), try_lock(dir.as_deref(), name)?),
            None => {
                let kept = id.as_ref().and_then(of_id).map(|(_, name)| name.clone());
                let base = kept.unwrap_or_else(of_folder);
                let is_held =
                    |name: &SessionName| matches!(try_lock(dir.as_deref(), name), Ok(None));
                // Another agent that begins at the same moment may be faster.
                loop {
                    let free = base.free(is_held);
                    if let Some(lock) = try_lock(dir.as_deref(), &free)? {
                        break (free, Some(lock));
                    }
                }
            }
        };
        let Some(mut lock) = lock else {
            return Err(Failure::new(
                Code::Exists,
                format!(
                    "another agent on this machine is the session {:?}; end it, or choose another \
                     name with --as or {VARIABLE}",
                    name.as_str()
                ),
            ));
        };
        // Under its name it has the key that it had.
        let identity = match &id {
            Some(id) => keys.open(id, &name, asked.is_some())?,
            None => keys.open_named(&name)?,
        };
        if identity.name() != &name {
            let held = try_lock(dir.as_deref(), identity.name())?;
            lock = held.ok_or_else(|| {
                let name = identity.name();
                Failure::new(Code::Exists, format!("another agent is the session {name}"))
            })?;
        }
        let note = dir.map(|dir| leave_note(&dir, identity.name()));
        Ok(Self {
            identity,
            _note: note,
            _lock: lock.0,
        })
    }

    /// The session's name, as this machine has it.
    pub(crate) fn name(&self) -> &str {
        self.identity.name().as_str()
    }

    /// Makes a peer of this session, of which others are told how a message gets its attention.
    pub(crate) fn attach(&self, builder: PeerBuilder, wake: Wake) -> PeerBuilder {
        builder.as_session(self.identity.clone()).wake(wake)
    }
}

fn leave_note(dir: &Path, name: &SessionName) -> NoteFile {
    let note = dir.join(format!("{name}.json"));
    let about = Note {
        name: name.as_str().to_owned(),
        started_by: process::started_by(),
    };
    let text = serde_json::to_vec(&about).unwrap_or_default();
    // Without it hooks do not find this agent; it is an agent all the same.
    drop(std::fs::write(&note, text));
    NoteFile(note)
}

/// An agent, as another program of the same client finds it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    identity: SessionIdentity,
    /// Whether its own process lives, which then receives its messages.
    pub(crate) lives: bool,
}

impl Found {
    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        self.identity.name().as_str()
    }

    /// Makes a peer that reads what this session reads, while its own process may live.
    pub(crate) fn attach(&self, builder: PeerBuilder) -> PeerBuilder {
        builder.as_session(self.identity.clone())
    }
}

/// The session that a hook or another short-lived command speaks for: as the environment names it,
/// or that of the agent whose client also started this process, or else the one that is kept under
/// the client's own session id, which is made if it is not there. None if nothing of that is known.
///
/// # Errors
/// [`Code::Io`] if the sessions of this machine cannot be read.
pub(crate) fn find(
    mesh: &MeshEntry,
    named: &Named,
    client_session: Option<&str>,
) -> Result<Option<Found>, Failure> {
    let dir = folder(mesh)?;
    let keys = SessionKeys::of(mesh)?;
    let identity = match (&named.name, &named.id) {
        (Some(name), Some(id)) => Some(keys.open(id, name, true)?),
        (None, Some(id)) => Some(keys.open(id, &of_folder(), false)?),
        (Some(name), None) => Some(keys.open_named(name)?),
        (None, None) => match dir.as_deref().and_then(of_same_client) {
            Some(name) => Some(keys.open_named(&name)?),
            None => {
                let id = client_session.and_then(|id| SessionId::new(id).ok());
                let opened = id.map(|id| keys.open(&id, &of_folder(), false));
                opened.transpose()?
            }
        },
    };
    let Some(identity) = identity else {
        return Ok(None);
    };
    let lives = try_lock(dir.as_deref(), identity.name())?.is_none();
    Ok(Some(Found { identity, lives }))
}

/// The agent that was started by the same program as this process, and lives.
fn of_same_client(dir: &Path) -> Option<SessionName> {
    let above = process::above();
    let notes = std::fs::read_dir(dir).ok()?.flatten();
    let notes = notes.filter_map(|entry| {
        let path = entry.path();
        let small = entry.metadata().is_ok_and(|about| about.len() <= MAX_NOTE);
        let is_note = small && path.extension().is_some_and(|end| end == "json");
        let text = is_note.then(|| std::fs::read(&path).ok()).flatten()?;
        serde_json::from_slice::<Note>(&text).ok()
    });
    // The nearer the common program, the surer that it is the client.
    let mut found: Vec<(usize, SessionName)> = notes
        .filter_map(|note| {
            let depth = above.iter().position(|id| note.started_by.contains(id))?;
            let name = SessionName::new(note.name).ok()?;
            let lives = matches!(try_lock(Some(dir), &name), Ok(None));
            lives.then_some((depth, name))
        })
        .collect();
    found.sort();
    match found.as_slice() {
        // Two of one client: which one is meant, nobody can say.
        [first, second, ..] if first.0 == second.0 => None,
        [first, ..] => Some(first.1.clone()),
        [] => None,
    }
}

/// The name of the folder, as far as it can be a name.
pub(crate) fn of_folder() -> SessionName {
    let dir = std::env::current_dir().ok();
    let name = dir.as_deref().and_then(Path::file_name);
    SessionName::from_folder(&name.unwrap_or_default().to_string_lossy())
}

/// Where the agents of this mesh are known; nowhere if the configuration is kept in memory.
fn folder(mesh: &MeshEntry) -> Result<Option<PathBuf>, Failure> {
    let Some(dir) = mesh.ensure_data_dir()? else {
        return Ok(None);
    };
    let dir = dir.join("agents");
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&dir).map_err(|error| failed(&dir, &error))?;
    Ok(Some(dir))
}

/// A name that is held; by nothing, if there is nowhere to hold it.
struct Held(Option<File>);

/// Holds a name, if no living process does.
fn try_lock(dir: Option<&Path>, name: &SessionName) -> Result<Option<Held>, Failure> {
    let Some(dir) = dir else {
        return Ok(Some(Held(None)));
    };
    let path = dir.join(format!("{}.lock", name.as_str().to_lowercase()));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(Some(file)))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(&path, &error)),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Io, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SessionName {
        SessionName::new(text).unwrap()
    }

    #[test]
    fn a_held_name_is_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let first = try_lock(Some(dir.path()), &name("web")).unwrap().unwrap();
        // Names are told apart without regard to case.
        assert!(try_lock(Some(dir.path()), &name("WEB")).unwrap().is_none());
        drop(first);
        assert!(try_lock(Some(dir.path()), &name("web")).unwrap().is_some());
    }

    #[test]
    fn an_agent_of_the_same_client_is_found_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |text| {
            let held = try_lock(Some(dir.path()), &name(text)).unwrap().unwrap();
            (held, leave_note(dir.path(), &name(text)))
        };
        assert_eq!(of_same_client(dir.path()), None);
        let web = begin("web");
        assert_eq!(of_same_client(dir.path()), Some(name("web")));
        // Which of two is meant, nobody can say.
        let api = begin("api");
        assert_eq!(of_same_client(dir.path()), None);
        drop((web, api));
        assert_eq!(of_same_client(dir.path()), None);
    }

    #[test]
    fn a_note_that_somebody_else_wrote_is_only_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let note = |name: &str| {
            let started_by = process::above();
            let name = name.to_owned();
            serde_json::to_vec(&Note { name, started_by }).unwrap()
        };
        std::fs::write(dir.path().join("a.json"), note("../../etc")).unwrap();
        std::fs::write(dir.path().join("b.json"), note("dead")).unwrap();
        std::fs::write(dir.path().join("c.json"), b"no note").unwrap();
        assert_eq!(of_same_client(dir.path()), None);
    }
}
