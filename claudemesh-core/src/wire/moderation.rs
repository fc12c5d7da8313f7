//! What owners and admins do to others: ending connections, shutting members out.

use serde::{Deserialize, Serialize};

use super::codec::bounded_option;

/// `disconnect`: ends connections, which may come back. Answered by [`DisconnectAck`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Disconnect {
    /// A name, a member key, or the beginning of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// All that were silent for so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<u64>,
    /// All but the own one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `disconnect_ack`: connections were ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DisconnectAck {
    /// Names.
    #[serde(default)]
    pub kicked: Vec<String>,
    /// Names.
    #[serde(default)]
    pub affected: Vec<String>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `kick`: ends connections for good. Answered by [`KickAck`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kick {
    /// A name, a member key, or the beginning of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// All that were silent for so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<u64>,
    /// All but the own one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `kick_ack`: connections were ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KickAck {
    /// Names.
    #[serde(default)]
    pub kicked: Vec<String>,
    /// Names.
    #[serde(default)]
    pub affected: Vec<String>,
    /// Names of connections of a daemon, which were left.
    #[serde(
        rename = "skipped_control_plane",
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub skipped_control_plane: Option<Vec<String>>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `ban`: shuts a member out. Answered by [`BanAck`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ban {
    /// A name, a member key, or the beginning of one.
    #[serde(default)]
    pub target: String,
    /// Not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `ban_ack`: a member is shut out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BanAck {
    /// Its name.
    pub banned: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `unban`: lets a member in again. Answered by [`UnbanAck`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unban {
    /// A name or a member key.
    #[serde(default)]
    pub target: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `unban_ack`: a member may come again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnbanAck {
    /// Its name.
    pub unbanned: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `list_bans`: asks for [`ListBansResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListBans {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `list_bans_result`: who is shut out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListBansResult {
    /// By when it happened.
    #[serde(default)]
    pub bans: Vec<BanRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A member that is shut out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BanRecord {
    /// Its name.
    pub name: String,
    /// Its key, hex.
    pub pubkey: String,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub revoked_at: String,
}
