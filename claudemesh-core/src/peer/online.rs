//! Sending to whoever is connected at this moment.

use std::time::Duration;

use super::{Outgoing, PATIENCE, Peer, PeerError, Recipient, SendError};
use crate::session::{Command, Reply, SessionError};

/// For how long a channel's key may be on its way.
const KEY: Duration = Duration::from_secs(10);
/// Between two looks whether it is here.
const LOOK: Duration = Duration::from_millis(50);

/// An online-only message was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// To how many connections the broker handed it. Whether they read it is not known.
    pub connections: u32,
}

impl Peer {
    /// Sends a message to whoever is connected at this moment: to a member's sessions and devices,
    /// or to those in a channel. It is sealed like any other, but neither this peer nor the broker
    /// keeps it, and it is tried once: who is away, busy or slow misses it. For what is worth
    /// nothing a moment later; what matters goes by [`Peer::send_message`]. Those who get it have
    /// it in their inbox, as any other message.
    ///
    /// It waits up to 5 s for the connection, up to 10 s for a channel's key, and as long for the
    /// broker's answer. [`Outgoing::expires_in`] means nothing here. Dropping the future before it
    /// returns may or may not have sent the message.
    ///
    /// # Errors
    /// [`SendError::Resolve`]; [`SendError::Peer`] with [`PeerError::NotConnected`], or with
    /// [`SessionError::NotReached`] (nobody connected, all busy, all slow),
    /// [`SessionError::OnlineUnknown`] (the connection broke before the answer),
    /// [`SessionError::OnlineUnserved`], [`SessionError::OnlineFull`], and what
    /// [`Peer::send_message`] says about recipients.
    pub async fn send_online(
        &self,
        to: impl Into<Recipient>,
        message: Outgoing,
    ) -> Result<Reached, SendError> {
        self.connected_within(PATIENCE).await?;
        let outgoing = self.addressed(to.into(), message).await?;
        let late = tokio::time::Instant::now() + KEY;
        loop {
            let reply = self
                .submit(|| Command::SendOnline(Box::new(outgoing.clone())))
                .await;
            match reply {
                Ok(Reply::Reached(connections)) => return Ok(Reached { connections }),
                Ok(_) => return Err(PeerError::Closed.into()),
                // Nothing was sent.
                Err(PeerError::Session(SessionError::KeyUnderWay(_)))
                    if tokio::time::Instant::now() < late =>
                {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
