//! What was read out of turn.
//!
//! A reading position says that all before it is read. Who reads one topic reads messages behind
//! others that are new still; those are noted here, beside the position, until it has passed them.
//! Only ids are noted. If the note is lost, they are shown once more.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use claudemesh_core::config::MeshEntry;
use claudemesh_core::id::Priority;
use claudemesh_core::peer::{Peer, Received};

use crate::exit::{Code, Failure};

/// Unread messages that are looked through.
pub(super) const LOOK_AT: u32 = 10_000;
/// Bytes of the file that are believed: what is larger was not written here.
const MAX_FILE: u64 = 4 << 20;

/// Where it is noted; nowhere if the configuration is kept in memory.
pub(super) struct ReadAhead {
    dir: Option<PathBuf>,
}

/// By which a message is known again.
fn mark(message: &Received) -> String {
    format!("{}/{}", message.from.key, message.id)
}

impl ReadAhead {
    pub(super) fn of(mesh: &MeshEntry) -> Self {
        let dir = mesh.data_dir().map(std::path::Path::to_owned);
        Self { dir }
    }

    /// Whether it was read before its turn.
    pub(super) fn has(&self, message: &Received) -> bool {
        self.noted().contains(&mark(message))
    }

    /// What is new, without what was read ahead, at most `limit` messages that pass.
    pub(super) async fn unread(
        &self,
        peer: &Peer,
        limit: u32,
        wanted: impl Fn(&Received) -> bool,
    ) -> Result<Vec<Received>, Failure> {
        let noted = self.noted();
        let more = u32::try_from(noted.len()).unwrap_or(LOOK_AT);
        let mut messages = peer.unread(limit.saturating_add(more).min(LOOK_AT)).await?;
        messages.retain(|message| wanted(message) && !noted.contains(&mark(message)));
        messages.truncate(limit as usize);
        Ok(messages)
    }

    /// Marks messages as read, wherever they stand.
    pub(super) async fn take(&self, peer: &Peer, shown: &[Received]) -> Result<(), Failure> {
        if shown.is_empty() {
            return Ok(());
        }
        // One at a time, over all processes of this member.
        let _lock = self.lock()?;
        let mut read = self.noted();
        read.extend(shown.iter().map(mark));
        let unread = peer.unread(LOOK_AT).await?;
        let (mut passed, mut ahead) = (Vec::new(), Vec::new());
        for class in Priority::ALL {
            let of_class = unread.iter().filter(|message| message.priority == class);
            let mut in_turn = true;
            for message in of_class {
                let is_read = read.contains(&mark(message));
                in_turn &= is_read;
                if in_turn {
                    passed.push(message.clone());
                } else if is_read {
                    ahead.push(mark(message));
                }
            }
        }
        // In this order: a crash in between shows something again, and loses nothing.
        peer.take(&passed).await?;
        self.note(&ahead)
    }

    fn file(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join("read-ahead.json"))
    }

    fn noted(&self) -> HashSet<String> {
        let Some(file) = self.file() else {
            return HashSet::new();
        };
        let small = std::fs::metadata(&file).is_ok_and(|about| about.len() <= MAX_FILE);
        let text = small.then(|| std::fs::read(&file).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    fn note(&self, ahead: &[String]) -> Result<(), Failure> {
        let (Some(dir), Some(file)) = (&self.dir, self.file()) else {
            return Ok(());
        };
        if ahead.is_empty() && !file.exists() {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            let message = format!("{}: cannot be written: {error}", file.display());
            Failure::new(Code::Io, message)
        };
        let text = serde_json::to_vec(ahead)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let mut new = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        new.write_all(&text).map_err(failed)?;
        new.persist(&file).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn lock(&self) -> Result<Option<File>, Failure> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let path = dir.join("read-ahead.lock");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let locked = opened.and_then(|file| file.lock().map(|()| file));
        locked
            .map(Some)
            .map_err(|error| Failure::new(Code::Io, format!("{}: {error}", path.display())))
    }
}
