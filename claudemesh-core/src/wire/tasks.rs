//! Tasks, contexts and streams as existing clients share them, in the open.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::bounded_option;

/// `create_task`: something is to be done. Answered by [`TaskCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateTask {
    /// What.
    #[serde(default)]
    pub title: String,
    /// Who should do it, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// `normal` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Tags.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<Vec<String>>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `task_created`: a task is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskCreated {
    /// Its id.
    pub id: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `claim_task`: takes an open task. Answered by [`TaskList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimTask {
    /// Which.
    #[serde(default)]
    pub task_id: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `complete_task`: a task is done. Answered by [`TaskList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompleteTask {
    /// Which.
    #[serde(default)]
    pub task_id: String,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `list_tasks`: asks for [`TaskList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListTasks {
    /// Only those `open`, `claimed` or `done`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only those that this name should do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `task_list`: tasks, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskList {
    /// The tasks, 100 at most.
    #[serde(default)]
    pub tasks: Vec<TaskRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub title: String,
    /// Who should do it, by name.
    pub assignee: Option<String>,
    /// Who has taken it, by name.
    pub claimed_by: Option<String>,
    /// `open`, `claimed` or `done`.
    pub status: String,
    /// As it was given.
    pub priority: String,
    /// Who wants it, by name.
    pub created_by: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
}

/// `share_context`: what the member has found out; a new one replaces the old one. Answered by
/// [`ContextShared`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareContext {
    /// In short.
    #[serde(default)]
    pub summary: String,
    /// What was read.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub files_read: Option<Vec<String>>,
    /// What was found.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub key_findings: Option<Vec<String>>,
    /// Tags.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<Vec<String>>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `context_shared`: a context is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContextShared {
    /// Its id.
    pub id: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `get_context`: asks for [`ContextResults`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GetContext {
    /// A part of the summary, or a tag.
    #[serde(default)]
    pub query: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `context_results`: contexts that fit, 20 at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContextResults {
    /// Newest first.
    #[serde(default)]
    pub contexts: Vec<ContextRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `list_contexts`: asks for [`ContextList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListContexts {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `context_list`: contexts in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContextList {
    /// Newest first.
    #[serde(default)]
    pub contexts: Vec<ContextRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A context.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextRecord {
    /// Whose, by name.
    pub peer_name: String,
    /// In short.
    pub summary: String,
    /// What was read; not in a list.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub files_read: Option<Vec<String>>,
    /// What was found; not in a list.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub key_findings: Option<Vec<String>>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub updated_at: String,
}

/// `create_stream`: makes a stream, or finds it. Answered by [`StreamCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateStream {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `stream_created`: a stream is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamCreated {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `subscribe`: this connection gets what is published. Answered by [`Subscribed`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subscribe {
    /// By name.
    #[serde(default)]
    pub stream: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `subscribed`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subscribed {
    /// By name.
    pub stream: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `unsubscribe`: it gets no more. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// By name.
    #[serde(default)]
    pub stream: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `publish`: to all other connections that subscribed; kept nowhere. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Publish {
    /// By name.
    #[serde(default)]
    pub stream: String,
    /// What.
    #[serde(default)]
    pub data: Value,
}

/// `stream_data`: something was published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamData {
    /// By name.
    pub stream: String,
    /// What.
    #[serde(default)]
    pub data: Value,
    /// By whom, by name.
    pub published_by: String,
}

/// `list_streams`: asks for [`StreamList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListStreams {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `stream_list`: streams.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamList {
    /// By name.
    #[serde(default)]
    pub streams: Vec<StreamRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// By whom, by name.
    pub created_by: String,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
    /// How many connections get it.
    pub subscriber_count: u64,
}
