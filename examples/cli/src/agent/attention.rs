//! Whether an agent is in a turn, as its client's hooks say: told to the agent's own process, which
//! tells the mesh.
//!
//! A hook lives for a moment and the status belongs to the connection of the agent's process. So the
//! hook writes a word beside the session's lock, and the process, which looks there, writes back what
//! it has carried out.

use std::path::PathBuf;
use std::time::Duration;

use claudemesh_core::config::MeshEntry;
use claudemesh_core::id::Status;
use tokio::time::Instant;

/// How often the agent's process looks.
pub(crate) const LOOK: Duration = Duration::from_millis(150);
/// How often a hook looks for the answer.
const POLL: Duration = Duration::from_millis(20);

/// The two words of a session.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    wish: PathBuf,
    done: PathBuf,
}

impl Attention {
    /// Of the session of this name; none if nothing is kept on disk.
    pub(crate) fn of(mesh: &MeshEntry, session: &str) -> Option<Self> {
        let dir = mesh.data_dir()?.join("agents");
        let file = |end: &str| dir.join(format!("{}.{end}", session.to_lowercase()));
        Some(Self {
            wish: file("status"),
            done: file("status-done"),
        })
    }

    /// Forgets what was said to a process that has ended.
    pub(crate) fn clear(&self) {
        for file in [&self.wish, &self.done] {
            drop(std::fs::remove_file(file));
        }
    }

    /// What the last hook said.
    pub(crate) fn wished(&self) -> Option<Status> {
        word(&self.wish)
    }

    /// Says it. If it cannot be written the mesh is not told: nothing else depends on it.
    pub(crate) fn wish(&self, status: Status) {
        drop(std::fs::write(&self.wish, status.as_str()));
    }

    /// Says that it is carried out, and that what was held back before is here.
    pub(crate) fn carried_out(&self, status: Status) {
        drop(std::fs::write(&self.done, status.as_str()));
    }

    /// Waits until the agent's process has done it, for so long at most.
    pub(crate) async fn settled(&self, status: Status, limit: Duration) {
        let until = Instant::now() + limit;
        while word(&self.done) != Some(status) && Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
    }
}

fn word(file: &PathBuf) -> Option<Status> {
    // A word that is only half there is none yet.
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
