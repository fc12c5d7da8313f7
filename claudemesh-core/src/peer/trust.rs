//! What this peer holds on to, whatever a broker says.

use super::{PATIENCE, Peer, PeerError};
use crate::id::{Name, PublicKey};
use crate::session::{Command, KnownKey, Reply};
use crate::store::{Query, Rows};

/// What was learnt from a mesh's broker and is compared from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pinned {
    /// The broker sends challenges; a connection without one gets no hello.
    pub challenge: bool,
    /// Which store of the broker the messages are in; another one means a restored or new broker.
    pub broker_store: Option<String>,
}

impl Peer {
    /// What is pinned for this mesh.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn pinned(&self) -> Result<Pinned, PeerError> {
        let Rows::Pins(pins) = self.with_store(|store| store.read(&Query::Pins)).await? else {
            return Ok(Pinned::default());
        };
        let value = |name: &str| {
            let pin = pins.iter().find(|pin| pin.name == name);
            pin.map(|pin| pin.value.clone())
        };
        Ok(Pinned {
            challenge: value(crate::session::PIN_CHALLENGE).is_some(),
            broker_store: value(crate::session::PIN_STORE),
        })
    }

    /// In a mesh without a membership log, where nobody vouches for whose key is whose: says that
    /// this key is trusted, for good. Compare safety numbers first. From then on messages go to it
    /// without [`Outgoing::to_unverified`](super::Outgoing::to_unverified), channels are sealed for
    /// it, and what it seals for them is read. The names that the broker showed it with since this
    /// peer was opened, though it showed them with another key before, are accepted for it: gives
    /// those names, none if there was none. Look at them, for the broker may have shown the key
    /// under a name more. Waits up to 5 s for the connection.
    ///
    /// # Errors
    /// [`PeerError::Session`] with [`SessionError::TrustedByLog`](crate::session::SessionError::TrustedByLog)
    /// in a mesh with a log; [`PeerError`]; after another one the key may be trusted all the same.
    pub async fn trust(&self, key: PublicKey) -> Result<Vec<Name>, PeerError> {
        self.connected_within(PATIENCE).await?;
        // Names are compared as the list comes; an earlier process may have been told.
        self.command(Command::ListPeers).await?;
        let reply = self.command(Command::Trust(key)).await?;
        match reply {
            Reply::Trusted(names) => Ok(names),
            _ => Err(PeerError::Closed),
        }
    }

    /// In a mesh without a membership log: says that this key is not trusted, for good and also
    /// where keys are trusted at first use. What is sealed for channels from now on it cannot read;
    /// what was, it can. Needs no connection.
    ///
    /// # Errors
    /// [`PeerError::Session`] with [`SessionError::TrustedByLog`](crate::session::SessionError::TrustedByLog)
    /// in a mesh with a log; [`PeerError`].
    pub async fn distrust(&self, key: PublicKey) -> Result<(), PeerError> {
        self.command(Command::Distrust(key)).await.map(|_| ())
    }

    /// In a mesh without a membership log: the keys that are known, and what is held of each. Whether
    /// a name comes with another key by now is known for what the broker showed since this peer was
    /// opened: ask for [`Self::peers`] before. Empty in a mesh with a log. Needs no connection.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn known_keys(&self) -> Result<Vec<KnownKey>, PeerError> {
        match self.command(Command::KnownKeys).await? {
            Reply::KnownKeys(known) => Ok(known),
            _ => Err(PeerError::Closed),
        }
    }
}
