//! Keys that are known in a mesh without a membership log, where nobody vouches for any.

use claudemesh_core::id::{Name, PublicKey};
use claudemesh_core::peer::{Peer, PeerError, ResolveError, SendError};
use claudemesh_core::{KeyTrust, KnownKey};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::format::clean_line;

/// The known keys, after a look at what the broker shows now if it is there; none in a mesh with a
/// log.
pub(super) async fn keys(peer: &Peer) -> Result<Vec<KnownKey>, PeerError> {
    if peer.log().is_none() && peer.is_connected() {
        // Only what it shows is compared with what it showed before.
        drop(peer.peers().await);
    }
    peer.known_keys().await
}

pub(super) fn as_json(known: &KnownKey) -> Value {
    json!({ "names": known.names, "pubkey": known.key, "trust": known.trust.as_str() })
}

/// The names of a key as they are shown.
pub(super) fn names(known: &KnownKey) -> String {
    match known.names.as_slice() {
        [] => "-".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(Name::as_str).map(clean_line).collect();
            names.join(", ")
        }
    }
}

/// What is held of a key, in words.
pub(super) fn in_words(trust: KeyTrust) -> &'static str {
    match trust {
        KeyTrust::Trusted => "trusted",
        KeyTrust::Changed => "another key than before",
        KeyTrust::Distrusted => "not trusted, by your word",
        _ => "seen, not trusted",
    }
}

/// The key that is meant: of one who is here, by name or key; of one who is away by its whole key,
/// or its name if it is trusted.
pub(super) async fn find(peer: &Peer, wanted: &str) -> Result<Option<PublicKey>, Failure> {
    match peer.resolve_unverified(wanted).await {
        Ok(Some(key)) => return Ok(Some(key)),
        Err(several @ SendError::Resolve(_)) => return Err(several.into()),
        // Without the broker what is held decides.
        Ok(None) | Err(_) => {}
    }
    if peer.log().is_some() {
        return Ok(None);
    }
    let wanted = wanted.trim();
    if let Ok(key) = PublicKey::from_hex(wanted) {
        return Ok(Some(key));
    }
    let known = peer.known_keys().await?;
    let trusted = known
        .iter()
        .filter(|known| known.trust == KeyTrust::Trusted);
    let named = trusted.filter(|known| known.names.iter().any(|name| name.as_str() == wanted));
    let found: Vec<PublicKey> = named.map(|known| known.key).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(ResolveError::AmbiguousUnverified {
            wanted: wanted.chars().take(128).collect(),
            candidates: found,
        }
        .into()),
    }
}
