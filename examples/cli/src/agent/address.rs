//! Which session of its member an agent is: the one place where a session is attached to a peer.
//!
//! Every agent has a name of its own, by default that of the folder it works in, made unique among
//! those that live. What the agent has read is kept under that name, so that two agents in one
//! folder never take each other's messages, and an agent that comes back goes on where it stopped.
//! A name is held by a lock, which the system lets go when its process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use claudemesh_core::config::MeshEntry;
use claudemesh_core::peer::PeerBuilder;
use serde::{Deserialize, Serialize};

use super::process;
use crate::exit::{Code, Failure};

/// Names the session, for the agent's own process and for all that it starts.
pub(crate) const VARIABLE: &str = "CLAUDEMESH_SESSION";
/// Agents with the same wanted name at the same time at most.
const MOST: u32 = 1_000;
/// Bytes of a name at most, without the number that makes it unique.
const LONGEST: usize = 48;
/// Bytes of a note about an agent that are believed.
const MAX_NOTE: u64 = 4_096;

/// A session that this process holds. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Address {
    name: String,
    note: Option<PathBuf>,
    _lock: Option<File>,
}

/// What others on this machine may know about an agent that lives.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    /// The programs that started it, nearest first: one of them is the client.
    started_by: Vec<u32>,
}

impl Address {
    /// Holds the session that was asked for, by `--session` or the environment, or one named after
    /// the folder. One that was asked for by name is never replaced by another.
    ///
    /// # Errors
    /// [`Code::Exists`] if another process holds it; [`Code::Usage`] for what is no name.
    pub(crate) fn claim(mesh: &MeshEntry, wanted: Option<&str>) -> Result<Self, Failure> {
        let dir = folder(mesh)?;
        if let Some(wanted) = given(wanted) {
            let name = checked(&wanted)?;
            return Self::hold(dir.as_deref(), &name)?.ok_or_else(|| {
                Failure::new(
                    Code::Exists,
                    format!(
                        "another agent on this machine is the session {name:?}; end it, or choose \
                         another name with --session or {VARIABLE}"
                    ),
                )
            });
        }
        let base = of_folder();
        for number in 1..=MOST {
            let name = match number {
                1 => base.clone(),
                number => format!("{base}-{number}"),
            };
            if let Some(held) = Self::hold(dir.as_deref(), &name)? {
                return Ok(held);
            }
        }
        let message =
            format!("{MOST} agents are called {base:?} already; name this one by --session");
        Err(Failure::new(Code::Failed, message))
    }

    fn hold(dir: Option<&Path>, name: &str) -> Result<Option<Self>, Failure> {
        let Some(dir) = dir else {
            let (name, note, _lock) = (name.to_owned(), None, None);
            return Ok(Some(Self { name, note, _lock }));
        };
        let Some(lock) = try_lock(dir, name)? else {
            return Ok(None);
        };
        let note = dir.join(format!("{name}.json"));
        let about = Note {
            name: name.to_owned(),
            started_by: process::started_by(),
        };
        let text = serde_json::to_vec(&about).unwrap_or_default();
        // Without it hooks do not find this agent; it is an agent all the same.
        drop(std::fs::write(&note, text));
        Ok(Some(Self {
            name: name.to_owned(),
            note: Some(note),
            _lock: Some(lock),
        }))
    }

    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes a peer of this session.
    pub(crate) fn attach(&self, builder: PeerBuilder) -> PeerBuilder {
        attach(&self.name, builder)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            drop(std::fs::remove_file(note));
        }
    }
}

/// An agent, as another program of the same client finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its session.
    pub(crate) name: String,
    /// Whether its own process lives, which then receives its messages.
    pub(crate) lives: bool,
}

impl Found {
    /// Makes a peer that reads what this session reads, while its own process may live.
    pub(crate) fn attach(&self, builder: PeerBuilder) -> PeerBuilder {
        attach(&self.name, builder)
    }
}

/// The session that a hook or another short-lived command speaks for: as the environment names it,
/// or that of the agent whose client also started this process, or else one of its own for the
/// client's session id. None if nothing of that is known.
pub(crate) fn find(
    mesh: &MeshEntry,
    wanted: Option<&str>,
    client_session: Option<&str>,
) -> Result<Option<Found>, Failure> {
    let dir = folder(mesh)?;
    let lives = |name: &str| match &dir {
        Some(dir) => try_lock(dir, name).map(|free| free.is_none()),
        None => Ok(false),
    };
    if let Some(wanted) = given(wanted) {
        let name = checked(&wanted)?;
        let lives = lives(&name)?;
        return Ok(Some(Found { name, lives }));
    }
    if let Some(dir) = &dir
        && let Some(name) = of_same_client(dir)
    {
        return Ok(Some(Found { name, lives: true }));
    }
    let own = client_session.map(of_client_session);
    Ok(own.map(|name| Found { name, lives: false }))
}

/// The agent that was started by the same program as this process, and lives.
fn of_same_client(dir: &Path) -> Option<String> {
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
    let mut found: Vec<(usize, String)> = notes
        .filter_map(|note| {
            let depth = above.iter().position(|id| note.started_by.contains(id))?;
            let lives =
                checked(&note.name).is_ok() && matches!(try_lock(dir, &note.name), Ok(None));
            lives.then_some((depth, note.name))
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

fn attach(name: &str, builder: PeerBuilder) -> PeerBuilder {
    builder.session(name)
}

/// What was asked for, by an option or the environment.
fn given(wanted: Option<&str>) -> Option<String> {
    let set = |text: &String| !text.is_empty();
    wanted
        .map(str::to_owned)
        .or_else(|| std::env::var(VARIABLE).ok())
        .filter(set)
}

fn checked(name: &str) -> Result<String, Failure> {
    let good =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= 64 && name.chars().all(good) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!(
        "{name:?} cannot be a session's name: up to 64 lower-case letters, digits, '.', '_' or '-', \
         beginning with a letter or a digit"
    )))
}

/// The name of the folder, as far as it can be a name.
fn of_folder() -> String {
    let dir = std::env::current_dir().ok();
    let name = dir.as_deref().and_then(Path::file_name);
    cleaned(&name.unwrap_or_default().to_string_lossy()).unwrap_or_else(|| "agent".to_owned())
}

/// For a client that has hooks and no MCP server.
fn of_client_session(id: &str) -> String {
    let name = cleaned(id).unwrap_or_else(|| "agent".to_owned());
    format!("hook-{name}")
}

fn cleaned(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let kept = lower.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') => c,
        _ => '-',
    });
    let name: String = kept.collect();
    let name: String = name
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .chars()
        .take(LONGEST)
        .collect();
    (!name.is_empty()).then_some(name)
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

fn try_lock(dir: &Path, name: &str) -> Result<Option<File>, Failure> {
    let path = dir.join(format!("{name}.lock"));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
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

    #[test]
    fn a_held_name_is_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let first = Address::hold(Some(dir.path()), "web").unwrap().unwrap();
        assert_eq!(first.name(), "web");
        assert!(Address::hold(Some(dir.path()), "web").unwrap().is_none());
        drop(first);
        assert!(Address::hold(Some(dir.path()), "web").unwrap().is_some());
    }

    #[test]
    fn an_agent_of_the_same_client_is_found_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_same_client(dir.path()), None);
        let held = Address::hold(Some(dir.path()), "web").unwrap();
        assert_eq!(of_same_client(dir.path()).as_deref(), Some("web"));
        // Which of two is meant, nobody can say.
        let second = Address::hold(Some(dir.path()), "api").unwrap();
        assert_eq!(of_same_client(dir.path()), None);
        drop((held, second));
        assert_eq!(of_same_client(dir.path()), None);
    }

    #[test]
    fn a_note_that_somebody_else_wrote_is_only_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let note = |name: &str| {
            let above = process::above();
            serde_json::to_vec(&Note {
                name: name.to_owned(),
                started_by: above,
            })
            .unwrap()
        };
        std::fs::write(dir.path().join("a.json"), note("../../etc")).unwrap();
        std::fs::write(dir.path().join("b.json"), note("dead")).unwrap();
        std::fs::write(dir.path().join("c.json"), b"no note").unwrap();
        assert_eq!(of_same_client(dir.path()), None);
    }

    #[test]
    fn folders_and_ids_become_names() {
        assert_eq!(cleaned("My Project!").as_deref(), Some("my-project"));
        assert_eq!(cleaned("../..").as_deref(), None);
        assert_eq!(cleaned("ÄÖ").as_deref(), None);
        assert_eq!(of_client_session("1F3A-\u{1b}[31m"), "hook-1f3a---31m");
        for good in ["web", "web-2", "a.b_c"] {
            assert_eq!(checked(good).unwrap(), good);
        }
        for bad in ["", "-a", ".a", "a/b", "A", "a b", "a\n", &"a".repeat(65)] {
            assert_eq!(checked(bad).unwrap_err().code(), Code::Usage, "{bad}");
        }
    }
}
