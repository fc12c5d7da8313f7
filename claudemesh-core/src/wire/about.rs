//! What a session says of itself beside its status, and what is asked about the mesh and about
//! single messages. Existing clients use these; what is in them is in the open.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::bounded_option;

/// `set_visible`: whether others see the session. Answered by an [`Ack`](super::Ack).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetVisible {
    /// False: it is in nobody's list and gets nothing that is sent to many.
    pub visible: bool,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `set_profile`: what the session shows of itself; what is absent stays as it was. Answered by an
/// [`Ack`](super::Ack).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetProfile {
    /// A picture, or a character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A text about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// What it is good for.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub capabilities: Option<Vec<String>>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `set_stats`: counters that the session reports. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetStats {
    /// `messagesIn`, `messagesOut`, `toolCalls`, `uptime`, `errors`.
    #[serde(default)]
    pub stats: Value,
}

/// `join_group`: the session is in a group, or has another role there. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JoinGroup {
    /// The group, without `@`.
    pub name: String,
    /// What it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// `leave_group`: the session is no longer in a group. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeaveGroup {
    /// The group, without `@`.
    pub name: String,
}

/// `mesh_info`: asks for [`MeshInfoResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MeshInfo {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `mesh_info_result`: how much of everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshInfoResult {
    /// The mesh, by id.
    pub mesh: String,
    /// Sessions that are shown.
    pub peers: u64,
    /// Groups that sessions named, with `@`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Keys of state.
    #[serde(default)]
    pub state_keys: Vec<String>,
    /// Memories.
    #[serde(default)]
    pub memory_count: u64,
    /// Files.
    #[serde(default)]
    pub file_count: u64,
    /// Tasks.
    #[serde(default)]
    pub tasks: TaskCounts,
    /// Streams.
    #[serde(default)]
    pub streams: Vec<String>,
    /// Tables.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Collections of vectors.
    #[serde(default)]
    pub collections: Vec<String>,
    /// The name that the asker shows.
    #[serde(default)]
    pub your_name: String,
    /// The groups that the asker named: a list of `{name, role?}`.
    #[serde(default)]
    pub your_groups: Value,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// How many tasks there are in each state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Nobody has taken it.
    pub open: u64,
    /// Somebody has.
    pub claimed: u64,
    /// It is done.
    pub done: u64,
}

/// `message_status`: asks how far a message is. Answered by [`MessageStatusResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStatus {
    /// The broker's id of it, or its first 8 characters or more.
    #[serde(default)]
    pub message_id: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `message_status_result`: how far a message is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStatusResult {
    /// As it was asked for.
    pub message_id: String,
    /// The target as it was sent to; empty if the broker does not know it any more.
    pub target_spec: String,
    /// Whether nothing of it waits any more.
    pub delivered: bool,
    /// When: `YYYY-MM-DDTHH:MM:SS.mmmZ`, where that is known.
    pub delivered_at: Option<String>,
    /// To whom it goes, those that are connected.
    #[serde(default)]
    pub recipients: Vec<MessageRecipient>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// Somebody to whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MessageRecipient {
    /// The name it shows.
    pub name: String,
    /// The key it is addressed by, hex.
    pub pubkey: String,
    /// `delivered`, `held` or `disconnected`.
    pub status: String,
}
