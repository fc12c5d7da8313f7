//! Whom a text means, also one whom only the broker knows.

use claudemesh_core::PublicKey;
use claudemesh_core::peer::Peer;

use crate::context::resolve;
use crate::exit::Failure;

pub(super) async fn whom(peer: &Peer, text: &str) -> Result<PublicKey, Failure> {
    match resolve(peer, text).await {
        Ok(key) => Ok(key),
        Err(unknown) => match PublicKey::from_hex(text) {
            Ok(key) => Ok(key),
            Err(_) => peer.resolve_unverified(text).await?.ok_or(unknown),
        },
    }
}
