//! What this peer holds on to, whatever a broker says.

use super::{Peer, PeerError};
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
}
