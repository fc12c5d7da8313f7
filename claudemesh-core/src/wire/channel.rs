//! Channels: their keys, and what was said in them.
//!
//! Statements and copies travel as their exact bytes; nothing here looks into them. Entries of a
//! channel's log travel in the frames of [`log`](super::LogGet).

use serde::{Deserialize, Serialize};

use super::Push;
use super::codec::{bounded, bounded_option};
use super::log::SignedBlob;

/// `channel_key_copies`: members' copies of a key that is about to be published on this connection
/// with [`PublishKey`]. Answered only if it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyCopies {
    /// The key, hex. Copies of another key that this connection had brought are forgotten.
    pub key_id: String,
    /// (member key, 32 bytes || copy, 48 bytes)…, base64url; at most
    /// [`MAX_COPIES_PER_FRAME`](super::MAX_COPIES_PER_FRAME).
    pub copies: String,
    /// Comes back in a refusal.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_key`, to a broker: makes a new epoch, whose copies came before. Answered by
/// [`KeyPublished`], or by an error: [`KEY_CONFLICT`](super::errors::code::KEY_CONFLICT) if
/// another key is the current one by now, [`STALE_EPOCH`](super::errors::code::STALE_EPOCH) if it
/// was made for an audience that the logs no longer give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PublishKey {
    /// The statement.
    #[serde(flatten)]
    pub statement: SignedBlob,
    /// The key that must be the channel's current one, hex; absent: there must be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_key_ok`: the key is the channel's current one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyPublished {
    /// The channel.
    pub channel: String,
    /// The key, hex.
    pub key_id: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_key`, from a broker: a channel that the peer is in has a new key. Told to connections
/// with [`CAP_CHANNELS`](super::CAP_CHANNELS); not stored for who is away, who asks by [`KeysGet`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NewKey {
    /// The channel.
    pub channel: String,
    /// Statement and copy.
    #[serde(flatten)]
    pub key: KeyRecord,
}

/// A statement, and the asking peer's copy of its root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The statement.
    #[serde(flatten)]
    pub statement: SignedBlob,
    /// The peer's own copy, base64url; absent if it was not in the audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

/// `channel_get`: asks for keys of a channel. Answered by [`Keys`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeysGet {
    /// The channel.
    pub channel: String,
    /// Which keys, hex, at most [`MAX_KEYS_PER_FRAME`](super::MAX_KEYS_PER_FRAME); absent: the
    /// current one.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub key_ids: Option<Vec<String>>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_keys`: keys of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keys {
    /// The channel.
    pub channel: String,
    /// The current key, hex; absent: the channel has none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Those asked for that the broker has and the peer may see, in the order asked.
    #[serde(deserialize_with = "bounded")]
    pub keys: Vec<KeyRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_history`: asks for what was said in a topic. Answered by [`HistoryPage`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HistoryGet {
    /// The channel, a `#topic`.
    pub channel: String,
    /// The broker's id of a message: only older ones. Absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Messages at most; 50 if absent, 200 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `channel_messages`: a page of a topic's history.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The channel.
    pub channel: String,
    /// The messages as they were pushed, newest first.
    #[serde(deserialize_with = "bounded")]
    pub messages: Vec<Push>,
    /// Whether there are older ones.
    #[serde(default)]
    pub more: bool,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}
