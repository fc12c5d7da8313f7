//! Refusals: the `error` frame, its codes, and the texts that existing clients look for.

use serde::{Deserialize, Serialize};

use super::codec::Extra;
use super::limits::MAX_FRAME;

/// A request that failed, or a hello that was refused (the socket is closed after it).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// One of [`code`], or another broker's.
    pub code: String,
    /// For people.
    pub message: String,
    /// What the request called itself; other brokers put the request id of some verbs here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
    /// When to try again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The limit that was reached, in its own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ErrorFrame {
    /// An error without a request.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// The request that failed, wherever its id was put.
    pub fn request(&self) -> Option<&str> {
        self.req_id.as_deref().or(self.id.as_deref())
    }
}

/// The codes of `error` frames and of refused sends.
pub mod code {
    /// Something came before the hello. The socket stays open.
    pub const NO_HELLO: &str = "no_hello";
    /// The session key in the hello is not one.
    pub const BAD_SESSION_PUBKEY: &str = "bad_session_pubkey";
    /// The member key in the session hello is not one.
    pub const BAD_PARENT_PUBKEY: &str = "bad_parent_pubkey";
    /// The attestation names other keys than the session hello.
    pub const ATTESTATION_MISMATCH: &str = "attestation_mismatch";
    /// The mesh has as many connections as it may have.
    pub const CAPACITY: &str = "capacity";
    /// The hello's time is too far from the broker's.
    pub const TIMESTAMP_SKEW: &str = "timestamp_skew";
    /// The signature does not match.
    pub const BAD_SIGNATURE: &str = "bad_signature";
    /// A field has not the shape it must have.
    pub const MALFORMED: &str = "malformed";
    /// The attestation, or the message, has expired.
    pub const EXPIRED: &str = "expired";
    /// The attestation is valid for longer than a day.
    pub const TTL_TOO_LONG: &str = "ttl_too_long";
    /// No member of this mesh has this key.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// The member was removed. Closed with 4002 after it.
    pub const REVOKED: &str = "revoked";
    /// The session hello's member id belongs to another key.
    pub const PARENT_MEMBER_ID_MISMATCH: &str = "parent_member_id_mismatch";
    /// An argument is missing or wrong.
    pub const INVALID_ARGUMENT: &str = "invalid_argument";
    /// The request makes no sense here, for example an id used again for other content.
    pub const INVALID: &str = "invalid";
    /// The member may not do that.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing, or no such target.
    pub const NOT_FOUND: &str = "not_found";
    /// Too many sends; try again after `retry_after_ms`.
    pub const RATE_LIMIT: &str = "rate_limit";
    /// The message does not fit a frame.
    pub const TOO_LARGE: &str = "too_large";
    /// The recipient's mailbox is full.
    pub const QUEUE_FULL: &str = "queue_full";
    /// The broker has too much to do; try again.
    pub const BUSY: &str = "busy";
    /// The recipient does not take messages from this sender.
    pub const BLOCKED: &str = "blocked";
    /// The audience is larger than the broker serves.
    pub const AUDIENCE_TOO_LARGE: &str = "audience_too_large";
    /// An online-only message found nobody connected.
    pub const NOT_ONLINE: &str = "not_online";
    /// An online-only message found only recipients that are busy.
    pub const GATED: &str = "gated";
    /// An online-only message found only recipients that read too slowly.
    pub const SLOW: &str = "slow";
    /// The log has grown since the entry was signed: fetch, decide and sign anew.
    pub const LOG_CONFLICT: &str = "log_conflict";
    /// Another key of the channel is the current one by now: fetch it, and try again with it.
    pub const KEY_CONFLICT: &str = "key_conflict";
    /// Somebody who could read what is sealed under this key is in the channel no longer: fetch
    /// the logs, make or take a new key, and seal anew under the same id.
    pub const STALE_EPOCH: &str = "stale_epoch";
    /// The value has another version by now: read it, decide, and set it anew.
    pub const STATE_CONFLICT: &str = "state_conflict";
    /// Known to others, not to this broker.
    pub const UNSUPPORTED: &str = "unsupported";
    /// The session that this is for was not there for so long that nothing is kept for it.
    pub const SESSION_GONE: &str = "session_gone";
    /// The recipient was removed.
    pub const REMOVED: &str = "removed";
    /// The broker could not read or write its store; try again.
    pub const STORE_UNAVAILABLE: &str = "store_unavailable";
    /// Another member has or had this session key.
    pub const SESSION_KEY_TAKEN: &str = "session_key_taken";
    /// The mesh's log in the broker's store does not verify.
    pub const MESH_DAMAGED: &str = "mesh_damaged";
}

/// A session key of the wrong shape; see [`code::BAD_SESSION_PUBKEY`].
pub const SESSION_PUBKEY_SHAPE: &str = "sessionPubkey must be 64 lowercase hex chars";
/// A member key of the wrong shape; see [`code::BAD_PARENT_PUBKEY`].
pub const PARENT_PUBKEY_SHAPE: &str = "parentMemberPubkey must be 64 lowercase hex chars";
/// See [`code::ATTESTATION_MISMATCH`].
pub const ATTESTATION_MISMATCH: &str =
    "parentAttestation does not bind the claimed session+parent pubkeys";
/// See [`code::PARENT_MEMBER_ID_MISMATCH`].
pub const PARENT_MEMBER_ID_MISMATCH: &str = "parentMemberId does not match parentMemberPubkey";
/// See [`code::NO_HELLO`].
pub const NO_HELLO: &str = "must send hello first";
/// See [`code::UNAUTHORIZED`].
pub const UNAUTHORIZED: &str = "pubkey not found in mesh";
/// A send to a key that is not connected, at a broker that keeps no mail for it. Retried.
pub const NO_CONNECTED_PEER: &str = "no connected peer for target (not online, or targetSpec is \
                                     your own key without another session)";
/// A send that the recipient's grants do not allow.
pub const BLOCKED_BY_GRANTS: &str = "blocked by recipient grants (sender lacks dm capability)";

/// A refused `hello`, by its code.
pub fn hello_rejected(code: &str) -> String {
    format!("hello rejected: {code}")
}

/// A refused `session_hello`, by its code.
pub fn session_hello_rejected(code: &str) -> String {
    format!("session_hello rejected: {code}")
}

/// A refused attestation, by its code.
pub fn attestation_rejected(code: &str) -> String {
    format!("attestation rejected: {code}")
}

/// A mesh with as many connections as it may have.
pub fn capacity(limit: usize) -> String {
    format!("the mesh has its {limit} connections")
}

/// A removed member, by the name of the mesh; see [`code::REVOKED`].
pub fn revoked(mesh: &str) -> String {
    format!("You've been removed from \"{mesh}\". Contact the mesh owner to rejoin.")
}

/// A send over a limit that counts messages per minute.
pub fn rate_limit_messages(per_minute: u64, burst: u64) -> String {
    format!("rate_limit: max {per_minute} msg/min (burst {burst}) — slow down")
}

/// A send over a limit that counts deliveries (one per mailbox reached) per second.
pub fn rate_limit_deliveries(per_second: u64, burst: u64) -> String {
    format!("rate_limit: max {per_second} deliveries/s (burst {burst}) — slow down")
}

/// A send that is too long; `size` as the limit counts it.
pub fn payload_too_large(size: usize) -> String {
    format!("payload too large: {size} bytes > MAX_MESSAGE_BYTES={MAX_FRAME}")
}

/// Whether the command line that members already have gives a send up on this text instead of
/// trying again. Word the refusals that it should retry so that this is false.
pub fn legacy_client_gives_up(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    [
        "unknown",
        "invalid",
        "forbidden",
        "not_authorized",
        "target_not_found",
    ]
    .iter()
    .any(|word| error.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_clients_know() {
        assert_eq!(
            rate_limit_messages(60, 10),
            "rate_limit: max 60 msg/min (burst 10) \u{2014} slow down"
        );
        assert_eq!(
            payload_too_large(70_001),
            "payload too large: 70001 bytes > MAX_MESSAGE_BYTES=65536"
        );
        assert!(
            NO_CONNECTED_PEER.ends_with("or targetSpec is your own key without another session)")
        );
    }

    #[test]
    fn what_may_be_retried_is_not_given_up() {
        for text in [
            NO_CONNECTED_PEER,
            code::QUEUE_FULL,
            code::BUSY,
            code::RATE_LIMIT,
            &rate_limit_messages(60, 10),
            &rate_limit_deliveries(200, 5_000),
        ] {
            assert!(!legacy_client_gives_up(text), "{text}");
        }
        assert!(legacy_client_gives_up("not_found: unknown target"));
        assert!(legacy_client_gives_up("invalid: id reused"));
    }
}
