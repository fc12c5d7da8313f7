//! How attentive the agent is: as it said itself, or else as its client's hooks say.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use claudemesh_core::id::Status;
use claudemesh_core::peer::{Peer, PeerError};
use tokio::time::Instant;

use crate::agent::attention::{Attention, LOOK};

/// How long the broker may take to hand over what it held back.
const RELEASE: Duration = Duration::from_secs(1);

/// What was said.
#[derive(Debug, Clone, Copy)]
struct Said {
    by_agent: Status,
    by_hook: Status,
}

impl Said {
    /// A wish of the agent, or of its user, goes before what a hook sees.
    fn counts(self) -> Status {
        match self.by_agent {
            Status::Idle => self.by_hook,
            other => other,
        }
    }
}

/// The agent's attention.
#[derive(Debug)]
pub(super) struct Mood(Mutex<Said>);

impl Mood {
    pub(super) const fn new(by_agent: Status) -> Self {
        Self(Mutex::new(Said {
            by_agent,
            by_hook: Status::Idle,
        }))
    }

    fn change(&self, change: impl FnOnce(&mut Said)) -> (Status, Status) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.counts();
        change(&mut said);
        (before, said.counts())
    }

    /// The agent says it itself.
    pub(super) async fn say(&self, peer: &Peer, status: Status) -> Result<(), PeerError> {
        let (_, now) = self.change(|said| said.by_agent = status);
        peer.set_status(now).await
    }

    /// A hook says it; ends when what was held back is here.
    async fn hear(&self, peer: &Peer, status: Status) {
        let (before, now) = self.change(|said| said.by_hook = status);
        if before != now {
            drop(peer.set_status(now).await);
            if now == Status::Idle {
                released(peer).await;
            }
        }
    }

    /// While an agent reads in its turn it is attentive: what waits for the end of the turn comes.
    /// Whether [`Mood::goes_on`] is to follow.
    pub(super) async fn reads(&self, peer: &Peer) -> bool {
        let said = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_turn = said.by_agent == Status::Idle && said.by_hook != Status::Idle;
        if in_turn && peer.set_status(Status::Idle).await.is_ok() {
            released(peer).await;
        }
        in_turn
    }

    /// It has read, and its turn goes on.
    pub(super) async fn goes_on(&self, peer: &Peer) {
        let (_, now) = self.change(|_| ());
        drop(peer.set_status(now).await);
    }

    /// Follows what hooks say, until the peer is gone. A turn of whose end nobody tells is believed
    /// to be over after a while: a client that is interrupted calls no hook, and what waits for the end
    /// of the turn would wait for the next one's.
    pub(super) async fn follow(&self, peer: &Peer, attention: &Attention, turn_limit: Duration) {
        let mut last = None;
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            let wished = attention.wished();
            if wished == last {
                if wished.is_some_and(|status| status != Status::Idle)
                    && since.elapsed() >= turn_limit
                {
                    attention.wish(Status::Idle);
                }
                continue;
            }
            since = Instant::now();
            if let Some(status) = wished {
                self.hear(peer, status).await;
                attention.carried_out(status);
            }
            last = wished;
        }
    }
}

/// What is asked of the broker now is answered behind what it held back.
async fn released(peer: &Peer) {
    if peer.is_connected() {
        drop(tokio::time::timeout(RELEASE, peer.peers()).await);
    }
}
