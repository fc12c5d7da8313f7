//! What the mesh keeps besides messages: state, memories, a summary, messages that go out later.
//! All of it is sealed for the members of the mesh; keys, tags and times are in the open.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Outgoing, PATIENCE, Peer, PeerError, Recipient, SendError};
use crate::session::{Command, Kept, Reply, Scheduled};

impl Peer {
    /// Keeps a value of the mesh's state under `key` (1–256 bytes, which the broker sees): JSON text
    /// by convention, at most 32,768 bytes. With `if_version` only if the kept value has that
    /// version; 0: if there is none. Gives the new version. Needs the broker; waits for the key of
    /// `$state`.
    ///
    /// # Errors
    /// [`PeerError`]; [`SessionError::StateConflict`](crate::session::SessionError::StateConflict).
    pub async fn set_state(
        &self,
        key: &str,
        value: impl Into<String>,
        if_version: Option<u64>,
    ) -> Result<u64, PeerError> {
        self.connected_within(PATIENCE).await?;
        let command = Command::SetState {
            key: key.to_owned(),
            body: value.into().into_bytes(),
            if_version,
        };
        match self.command(command).await? {
            Reply::Kept(version) => Ok(version),
            _ => Err(PeerError::Closed),
        }
    }

    /// A value of the mesh's state; none if there is none under this key. Who has just joined waits
    /// up to 7 s until somebody who was here before has renewed the key.
    ///
    /// # Errors
    /// [`PeerError`]; a value that cannot be opened is no error, see [`Kept::body`].
    pub async fn state(&self, key: &str) -> Result<Option<Kept>, PeerError> {
        let values = self.values(Command::GetState(key.to_owned())).await?;
        Ok(values.into_iter().next())
    }

    /// All values of the mesh's state by key, 10,000 at most.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn list_state(&self) -> Result<Vec<Kept>, PeerError> {
        self.values(Command::ListState).await
    }

    /// Keeps a memory of at most 32,768 bytes, with at most 16 tags of at most 64 bytes, which the
    /// broker sees. Gives its id. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn remember(
        &self,
        text: impl Into<String>,
        tags: Vec<String>,
    ) -> Result<String, PeerError> {
        self.connected_within(PATIENCE).await?;
        let body = text.into().into_bytes();
        match self.command(Command::Remember { body, tags }).await? {
            Reply::Remembered(id) => Ok(id),
            _ => Err(PeerError::Closed),
        }
    }

    /// The memories of which text or tags have every word of `query`, newest first; all for an
    /// empty one. They are fetched and searched here, since the broker cannot read them.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn recall(&self, query: &str) -> Result<Vec<Kept>, PeerError> {
        let mut all = self.values(Command::ListMemories).await?;
        all.retain(|memory| memory.has_words(query));
        Ok(all)
    }

    /// Forgets a memory: the own, or as owner or admin anybody's.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn forget(&self, id: &str) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::Forget(id.to_owned()))
            .await
            .map(|_| ())
    }

    /// Says in a few words what this peer does, for members to see; empty: nothing. It is sealed,
    /// and told on every connection of this peer from now on.
    ///
    /// # Errors
    /// [`PeerError::Closed`]; [`PeerError::Session`] with
    /// [`SessionError::ValuesUnserved`](crate::session::SessionError::ValuesUnserved) in a mesh
    /// without a membership log, whose broker could read it.
    pub async fn set_summary(&self, text: impl Into<String>) -> Result<(), PeerError> {
        let command = Command::SetSummary(text.into());
        self.command(command).await.map(|_| ())
    }

    /// Sends a message at a time, also while this peer is away then. It is sealed now: if somebody
    /// leaves a channel before it is due, it is not sent there, and [`Peer::schedules`] says so.
    ///
    /// # Errors
    /// As [`Peer::send`]; needs the broker.
    pub async fn schedule(
        &self,
        to: impl Into<Recipient>,
        message: Outgoing,
        at: SystemTime,
    ) -> Result<Scheduled, SendError> {
        let to = self.recipient(to.into()).await?;
        self.connected_within(PATIENCE).await?;
        let at = at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let message = Box::new(message.to(to.clone()));
        let reply = self.command(Command::Schedule { message, at }).await?;
        Ok(kept(reply, to.to_string(), None)?)
    }

    /// Sends a message at each time that `cron` names (minute, hour, day of month, month, day of
    /// week; UTC), whenever a session of this peer is there: what it says stays sealed for this peer
    /// until then. Times that were missed count as one.
    ///
    /// # Errors
    /// As [`Peer::send`]; [`SessionError::Cron`](crate::session::SessionError::Cron).
    pub async fn schedule_cron(
        &self,
        to: impl Into<Recipient>,
        message: Outgoing,
        cron: &str,
    ) -> Result<Scheduled, SendError> {
        let to = self.recipient(to.into()).await?;
        self.connected_within(PATIENCE).await?;
        let message = Box::new(message.to(to.clone()));
        let text = cron.to_owned();
        let command = Command::ScheduleCron {
            message,
            cron: text.clone(),
        };
        let reply = self.command(command).await?;
        Ok(kept(reply, to.to_string(), Some(text))?)
    }

    /// The own schedules, by when they are due. What failed when it was due stands here until it is
    /// cancelled.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn schedules(&self) -> Result<Vec<Scheduled>, PeerError> {
        self.connected_within(PATIENCE).await?;
        match self.command(Command::ListScheduled).await? {
            Reply::Schedules(all) => Ok(all),
            _ => Err(PeerError::Closed),
        }
    }

    /// Gives up a schedule; false if there is none of this peer's with this id.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn cancel_schedule(&self, id: &str) -> Result<bool, PeerError> {
        self.connected_within(PATIENCE).await?;
        let reply = self
            .command(Command::CancelScheduled(id.to_owned()))
            .await?;
        Ok(reply == Reply::Cancelled(true))
    }

    async fn values(&self, command: Command) -> Result<Vec<Kept>, PeerError> {
        self.connected_within(PATIENCE).await?;
        match self.command(command).await? {
            Reply::Values(values) => Ok(values),
            _ => Err(PeerError::Closed),
        }
    }
}

fn kept(reply: Reply, to: String, cron: Option<String>) -> Result<Scheduled, PeerError> {
    match reply {
        Reply::Scheduled { id, due } => Ok(Scheduled {
            id,
            to,
            due,
            cron,
            failed: None,
        }),
        _ => Err(PeerError::Closed),
    }
}
