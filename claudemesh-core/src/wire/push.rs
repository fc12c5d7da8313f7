//! `push`: a message, or something the broker has to tell.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec::{Extra, encode, to_text};
use super::log::SignedBlob;
use crate::id::{IdError, Priority};

/// The `subtype` of what the broker itself tells.
pub const SUBTYPE_SYSTEM: &str = "system";
/// The `subtype` of what came in by a webhook.
pub const SUBTYPE_WEBHOOK: &str = "webhook";

/// `push`: a message from another member, or, with [`SUBTYPE_SYSTEM`], an event of the broker.
///
/// The sender named here is the broker's word. Who sealed the message is in the sealed part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The broker's id of the message. First, so that the rest can be shared; see [`push_tail`].
    pub message_id: String,
    /// The mesh.
    pub mesh_id: String,
    /// The key the sender's connection is addressed by, hex; `system`, or `webhook:` and a name.
    pub sender_pubkey: String,
    /// As sent; read it with [`Push::priority`].
    pub priority: String,
    /// Base64; empty in events.
    pub nonce: String,
    /// Base64; empty in events.
    pub ciphertext: String,
    /// When the broker took it: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
    /// The sender's member key, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_member_pubkey: Option<String>,
    /// The broker's id of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_member_id: Option<String>,
    /// The sender's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// The sender's id of the message.
    #[serde(rename = "client_message_id", skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// As the sender gave it.
    #[serde(
        rename = "request_fingerprint",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_fingerprint: Option<String>,
    /// The message this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<String>,
    /// [`SUBTYPE_SYSTEM`], [`SUBTYPE_WEBHOOK`] or the sender's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// The event's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What belongs to the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_data: Option<Value>,
    /// The topic's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The target as it was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The form of what is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// True: the broker keeps nothing of it, and it wants no `client_ack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// True: what is in it is in the open; only clients of the existing system get such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<bool>,
    /// How the body of a topic's message in the open is encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_version: Option<u64>,
    /// When it is no longer worth reading, unix milliseconds.
    #[serde(rename = "expires_at", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// The address of the session that sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Push {
    /// The priority.
    ///
    /// # Errors
    /// [`IdError`] for another word.
    pub fn priority(&self) -> Result<Priority, IdError> {
        self.priority.parse()
    }

    /// Whether the broker made it: an event, not a message.
    pub fn is_event(&self) -> bool {
        self.subtype.as_deref() == Some(SUBTYPE_SYSTEM)
    }

    /// The frame's text, without going through [`BrokerFrame`](super::BrokerFrame).
    pub fn encode(&self) -> String {
        encode("push", self)
    }
}

/// The text of a push after the message id's value: `,"meshId":…}`.
///
/// A broker keeps it with a message that goes to many mailboxes, each with an id of its own, and
/// joins it to each id with [`join_push`].
pub fn push_tail(push: &Push) -> String {
    let text = to_text(push);
    let head = 1 + r#""messageId":"#.len() + to_text(&push.message_id).len();
    text.get(head..).unwrap_or_default().to_owned()
}

/// The frame of a message id and a tail from [`push_tail`].
pub fn join_push(message_id: &str, tail: &str) -> String {
    const HEAD: &str = r#"{"type":"push","messageId":"#;
    let mut text = String::with_capacity(HEAD.len() + message_id.len() + 2 + tail.len());
    text.push_str(HEAD);
    if message_id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        text.push('"');
        text.push_str(message_id);
        text.push('"');
    } else {
        text.push_str(&to_text(&message_id));
    }
    text.push_str(tail);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::BrokerFrame;

    #[test]
    fn a_joined_push_is_the_push() {
        for id in ["Zk3", "", "0b9c-uuid", "quo\"te\\\n", "é🦀"] {
            let mut push = Push {
                message_id: id.into(),
                mesh_id: "m".into(),
                sender_name: Some("a \"messageId\" b".into()),
                priority: "now".into(),
                ..Push::default()
            };
            push.extra.insert("later", 1);
            let tail = push_tail(&push);
            assert!(tail.starts_with(",\"meshId\":\"m\""), "{tail}");
            assert_eq!(join_push(id, &tail), push.encode());
            let decoded = BrokerFrame::decode(&join_push(id, &tail)).unwrap();
            assert_eq!(decoded, BrokerFrame::Push(push));
        }
    }
}
