//! Frames that only the existing broker is sent, and its answers to them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::id::{ChannelName, PublicKey};
use crate::session::Session;
use crate::session::requests::Asked;
use crate::wire::{UnknownFrame, read};

/// Members of a topic that are taken at most.
const MAX_TOPIC_MEMBERS: usize = 4_096;

#[derive(Deserialize)]
struct StatusResult {
    delivered: bool,
    #[serde(rename = "_reqId")]
    req_id: Option<String>,
}

#[derive(Deserialize)]
struct TopicMembers {
    members: Vec<TopicMember>,
    #[serde(rename = "_reqId")]
    req_id: Option<String>,
}

#[derive(Deserialize)]
struct TopicMember {
    pubkey: String,
}

/// A frame of this type with these fields.
fn frame(kind: &str, fields: Value) -> UnknownFrame {
    let mut object = Map::new();
    object.insert("type".to_owned(), kind.into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    UnknownFrame { object }
}

pub(super) fn set_profile(capabilities: &[String]) -> UnknownFrame {
    frame("set_profile", json!({ "capabilities": capabilities }))
}

pub(super) fn message_status(message_id: &str, req_id: &str) -> UnknownFrame {
    frame(
        "message_status",
        json!({ "messageId": message_id, "_reqId": req_id }),
    )
}

/// `topic` is the broker's id of it.
pub(super) fn topic_members(topic: &str, req_id: &str) -> UnknownFrame {
    frame("topic_members", json!({ "topic": topic, "_reqId": req_id }))
}

/// Joins or leaves a group or a topic; there is no answer to it.
pub(super) fn membership(channel: &ChannelName, join: bool) -> UnknownFrame {
    let name = channel.as_str().get(1..).unwrap_or_default();
    match (channel.is_group(), join) {
        (true, true) => frame("join_group", json!({ "name": name })),
        (true, false) => frame("leave_group", json!({ "name": name })),
        (false, true) => frame("topic_join", json!({ "topic": name })),
        (false, false) => frame("topic_leave", json!({ "topic": name })),
    }
}

impl Session {
    /// An answer that only the existing broker gives; anything else changes nothing.
    pub(in crate::session) fn existing_frame(&mut self, kind: &str, text: &str) {
        if !["message_status_result", "topic_members_response"].contains(&kind) {
            return;
        }
        if kind == "message_status_result" {
            let Ok(result) = read::<StatusResult>(text) else {
                return;
            };
            if let Some(Asked::Status(id)) = self.requests.take(result.req_id.as_deref()) {
                self.status_told(id, result.delivered);
            }
            return;
        }
        let Ok(result) = read::<TopicMembers>(text) else {
            return;
        };
        let asked = self.requests.take(result.req_id.as_deref());
        if let Some(Asked::TopicMembers(name)) = asked {
            let keys = result.members.iter().take(MAX_TOPIC_MEMBERS);
            let keys = keys.filter_map(|member| PublicKey::from_hex(&member.pubkey).ok());
            self.topic_members_told(&name, keys.collect());
        }
    }
}
