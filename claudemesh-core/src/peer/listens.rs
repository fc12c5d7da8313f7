//! The session key under which a listening peer is shown where only sessions are found: on a broker
//! of the existing system, in a mesh without a log. It is kept beside the messages, so that it is
//! the same after a restart; a peer that keeps nothing has a new one each time.

use std::fs::File;
use std::sync::Arc;

use super::{PeerError, random};
use crate::crypto::KeyPair;

/// The key, and the lock that keeps it from other processes, where there may be any.
pub(super) struct Listening {
    pub(super) key: Arc<KeyPair>,
    pub(super) lock: Option<File>,
}

/// A key that ends with the process.
pub(super) fn fresh() -> Result<Listening, PeerError> {
    Ok(Listening {
        key: Arc::new(KeyPair::from_seed(&random()?)),
        lock: None,
    })
}

#[cfg(feature = "sqlite")]
mod kept {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::lanes::Lanes;
    use super::super::{ConnectError, PeerError};
    use crate::config::{MeshEntry, SessionKeys};
    use crate::crypto::sha256;
    use crate::id::{SessionId, SessionName};

    /// The folder beside the messages that has the key.
    const FOLDER: &str = "listens";

    /// The key, if no other process of this peer is shown under it, and what holds it. Two would
    /// push each other's connection out for ever.
    pub(in crate::peer) fn held(
        folder: Option<&Path>,
        lanes: Option<&Lanes>,
        mesh: &MeshEntry,
    ) -> Result<Option<super::Listening>, ConnectError> {
        let (Some(folder), Some(lanes)) = (folder, lanes) else {
            return Ok(Some(super::fresh()?));
        };
        let lock = lanes
            .try_hold_reader("listens")
            .map_err(|error| PeerError::System(error.to_string()))?;
        let Some(lock) = lock else { return Ok(None) };
        // One of each member: its id follows from the member's key.
        let hash = sha256(&mesh.pubkey().0);
        let id: [u8; 16] = std::array::from_fn(|at| hash.0.get(at).copied().unwrap_or_default());
        let id = SessionId::from_random(id);
        let name =
            SessionName::new(FOLDER).map_err(|error| PeerError::System(error.to_string()))?;
        let keys = SessionKeys::in_dir(&folder.join(FOLDER), mesh)?;
        let kept = keys.open(&id, &name, false)?;
        Ok(Some(super::Listening {
            key: Arc::clone(kept.key_pair()),
            lock: Some(lock),
        }))
    }
}

#[cfg(feature = "sqlite")]
pub(super) use kept::held;
