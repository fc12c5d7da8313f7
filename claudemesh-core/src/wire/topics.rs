//! Topics as existing clients know them: made, joined and read by name or id, in the open. Peers of
//! ours use sealed channels instead ([`HistoryGet`](super::HistoryGet) and others).

use serde::{Deserialize, Serialize};

/// `topic_create`: makes a topic, or finds it by its name. Answered by [`TopicCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicCreate {
    /// Its name, without `#`.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `public` (if absent), `private` or `dm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_created`: a topic is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicCreated {
    /// Which.
    pub topic: TopicRef,
    /// False: it was there before.
    pub created: bool,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicRef {
    /// The broker's id of it.
    pub id: String,
    /// Its name, without `#`.
    pub name: String,
    /// `public`, `private` or `dm`.
    pub visibility: String,
}

/// `topic_list`: asks for [`TopicListResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicList {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_list_response`: topics, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicListResponse {
    /// The topics.
    #[serde(default)]
    pub topics: Vec<TopicRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRecord {
    /// The broker's id of it.
    pub id: String,
    /// Its name, without `#`.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// `public`, `private` or `dm`.
    pub visibility: String,
    /// How many are in it.
    pub member_count: u64,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
}

/// `topic_join`: the member is in a topic from now on. No answer but an error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicJoin {
    /// Id or name.
    #[serde(default)]
    pub topic: String,
    /// `lead`, `member` (if absent) or `observer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_leave`: the member is out of a topic. No answer but an error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicLeave {
    /// Id or name.
    #[serde(default)]
    pub topic: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_members`: asks for [`TopicMembersResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicMembers {
    /// Id or name.
    #[serde(default)]
    pub topic: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_members_response`: who is in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicMembersResponse {
    /// As it was asked for.
    pub topic: String,
    /// By when they joined.
    #[serde(default)]
    pub members: Vec<TopicMember>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A member of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicMember {
    /// The broker's id of the member.
    pub member_id: String,
    /// The member key, hex.
    pub pubkey: String,
    /// The member's name.
    pub display_name: String,
    /// `lead`, `member` or `observer`.
    pub role: String,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub joined_at: String,
    /// When it said last that it had read everything.
    pub last_read_at: Option<String>,
}

/// `topic_history`: asks for [`TopicHistoryResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicHistory {
    /// Id or name.
    #[serde(default)]
    pub topic: String,
    /// 1 to 200; 50 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only messages older than this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_id: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `topic_history_response`: what was said in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicHistoryResponse {
    /// As it was asked for.
    pub topic: String,
    /// Newest first.
    #[serde(default)]
    pub messages: Vec<TopicMessage>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A message of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicMessage {
    /// The broker's id of it.
    pub id: String,
    /// The key the sender's connection was addressed by, hex.
    pub sender_pubkey: String,
    /// The broker's id of the sender.
    pub sender_member_id: String,
    /// The sender's name.
    pub sender_name: String,
    /// As it was sent.
    pub nonce: String,
    /// As it was sent.
    pub ciphertext: String,
    /// How the body is encoded.
    pub body_version: u64,
    /// The message this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<String>,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
}

/// `topic_mark_read`: the member has read everything up to now. No answer but an error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicMarkRead {
    /// Id or name.
    #[serde(default)]
    pub topic: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}
