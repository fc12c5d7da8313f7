//! What a mesh keeps besides messages: state, memory, summaries.
//!
//! Peers of ours seal every value: where the existing system has text stands `$sealed:` and the
//! blob, where it has any JSON stands `{"$sealed": blob}`. Keys, tags and sizes are in the open.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::{bounded, bounded_option};

/// `set_state`: keeps a value under a key. Without `_reqId` there is no answer; with one
/// [`StateSaved`], or the error [`STATE_CONFLICT`](super::errors::code::STATE_CONFLICT).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetState {
    /// Under which key: 1–256 bytes.
    pub key: String,
    /// The value.
    pub value: Value,
    /// The number of this value; the broker keeps it beside the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The number that the kept value must have; 0: there must be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_version: Option<u64>,
    /// The sender's id of the request; a repeated one is answered as the first was.
    #[serde(rename = "client_message_id", skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `state_saved`: a value is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateSaved {
    /// Its key.
    pub key: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `get_state`: asks for [`StateResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GetState {
    /// Which key.
    pub key: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `state_result`: a value; `null` if there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateResult {
    /// The value and who wrote it.
    #[serde(flatten)]
    pub entry: StateEntry,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A value under its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateEntry {
    /// The key.
    pub key: String,
    /// The value; `null` if there is none.
    pub value: Value,
    /// The display name of who wrote it, as the broker has it; empty if there is no value.
    pub updated_by: String,
    /// When: `YYYY-MM-DDTHH:MM:SS.mmmZ`; empty if there is no value.
    pub updated_at: String,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// `list_state`: asks for [`StateList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListState {
    /// Only keys after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `state_list`: values, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateList {
    /// The values.
    pub entries: Vec<StateEntry>,
    /// Whether there are more after the last one here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<bool>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `state_change`: another session has set a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateChange {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// The display name of who wrote it, as the broker has it.
    pub updated_by: String,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// `remember`: keeps a memory. Answered by [`MemoryStored`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remember {
    /// What to keep.
    pub content: String,
    /// Tags, at most 16 of at most 64 bytes.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<Vec<String>>,
    /// The memory's id, chosen by the writer (32 hex digits), since a sealed memory names itself;
    /// a repeated one with the same content is answered as the first was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `memory_stored`: a memory is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryStored {
    /// Its id.
    pub id: String,
    /// The same, where the daemon of the existing system looks for it.
    #[serde(rename = "memoryId", skip_serializing_if = "Option::is_none")]
    pub memory_id: Option<String>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `recall`: asks for memories. Answered by [`MemoryResults`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recall {
    /// Words to look for in memories that are not sealed. Whoever seals asks for all and looks for
    /// itself.
    #[serde(default)]
    pub query: String,
    /// All memories, newest first, whatever the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// With `all`: only those after the one with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `memory_results`: memories.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryResults {
    /// The memories.
    pub memories: Vec<MemoryRecord>,
    /// Whether there are more after the last one here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<bool>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryRecord {
    /// Its id.
    pub id: String,
    /// What was kept.
    pub content: String,
    /// Tags.
    #[serde(default, deserialize_with = "bounded")]
    pub tags: Vec<String>,
    /// The display name of who wrote it, as the broker has it.
    pub remembered_by: String,
    /// When: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub remembered_at: String,
}

/// `forget`: forgets a memory; its writer's, the owner's and admins' right. Answered by an
/// [`Ack`](super::Ack) that names the memory in `id` and `messageId`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forget {
    /// Which.
    pub memory_id: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `set_summary`: what the session does, shown in `peers_list`. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetSummary {
    /// The text, at most 4,096 bytes; empty: none.
    #[serde(default)]
    pub summary: String,
}

/// `memory_recall_result`: what [`MemoryResults`] says, in the words for which the daemon of the
/// existing system waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryRecallResult {
    /// The memories.
    pub matches: Vec<MemoryRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `state_value`: what [`StateResult`] says, in the words for which the daemon of the existing
/// system waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StateValue {
    /// The value and who wrote it.
    pub state: StateEntry,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}
