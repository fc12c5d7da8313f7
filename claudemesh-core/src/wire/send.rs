//! Sending: `send`, and its answer `ack`, alone or many in one `acks`.

use std::borrow::Cow;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::codec::{self, WireError, bounded};
use super::log::SignedBlob;
use crate::id::{IdError, Priority};

/// `send`: one sealed message to one target. Answered by [`Ack`] with the same `id`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Send {
    /// Comes back in the answer; empty there if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A key in hex, `@group`, `#topic id`, `@all` or `*`.
    pub target_spec: String,
    /// As sent; read it with [`Send::priority`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Base64, opaque to the broker.
    pub nonce: String,
    /// Base64, opaque to the broker.
    pub ciphertext: String,
    /// The sender's id of the message; a repeated one is answered as the first was.
    #[serde(rename = "client_message_id", skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// Passed on unread.
    #[serde(
        rename = "request_fingerprint",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_fingerprint: Option<String>,
    /// Names to notify, in topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Vec<String>>,
    /// The message this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<String>,
    /// How a topic message's body is encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_version: Option<u64>,
    /// Passed on unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// When it is no longer worth delivering, unix milliseconds.
    #[serde(rename = "expires_at", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// The form of what is sealed, for example `envelope/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// True: hand it to who is connected now, keep nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// The address of the session that it is for: the broker keeps the message for it though it
    /// is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
}

impl Send {
    /// The priority; `next` where none is given.
    ///
    /// # Errors
    /// [`IdError`] for another word.
    pub fn priority(&self) -> Result<Priority, IdError> {
        priority(self.priority.as_deref())
    }
}

/// [`Send`], borrowed from the frame's text: texts without escapes are not copied.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendRef<'a> {
    // Here so that a second `type` is an error.
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    /// See [`Send::id`].
    #[serde(borrow, default, deserialize_with = "text")]
    pub id: Option<Cow<'a, str>>,
    /// See [`Send::target_spec`].
    #[serde(borrow)]
    pub target_spec: Cow<'a, str>,
    /// As sent; read it with [`SendRef::priority`].
    #[serde(borrow, default, deserialize_with = "text")]
    pub priority: Option<Cow<'a, str>>,
    /// See [`Send::nonce`].
    #[serde(borrow)]
    pub nonce: Cow<'a, str>,
    /// See [`Send::ciphertext`].
    #[serde(borrow)]
    pub ciphertext: Cow<'a, str>,
    /// See [`Send::client_message_id`].
    #[serde(
        rename = "client_message_id",
        borrow,
        default,
        deserialize_with = "text"
    )]
    pub client_message_id: Option<Cow<'a, str>>,
    /// See [`Send::request_fingerprint`].
    #[serde(
        rename = "request_fingerprint",
        borrow,
        default,
        deserialize_with = "text"
    )]
    pub request_fingerprint: Option<Cow<'a, str>>,
    /// See [`Send::mentions`].
    pub mentions: Option<Vec<String>>,
    /// See [`Send::reply_to_id`].
    #[serde(borrow, default, deserialize_with = "text")]
    pub reply_to_id: Option<Cow<'a, str>>,
    /// See [`Send::body_version`].
    pub body_version: Option<u64>,
    /// See [`Send::subtype`].
    #[serde(borrow, default, deserialize_with = "text")]
    pub subtype: Option<Cow<'a, str>>,
    /// See [`Send::expires_at`].
    #[serde(rename = "expires_at")]
    pub expires_at: Option<u64>,
    /// See [`Send::form`].
    #[serde(borrow, default, deserialize_with = "text")]
    pub form: Option<Cow<'a, str>>,
    /// See [`Send::online`].
    pub online: Option<bool>,
    /// See [`Send::address`].
    pub address: Option<SignedBlob>,
}

impl SendRef<'_> {
    /// The priority; `next` where none is given.
    ///
    /// # Errors
    /// [`IdError`] for another word.
    pub fn priority(&self) -> Result<Priority, IdError> {
        priority(self.priority.as_deref())
    }

    /// A copy that does not need the text.
    pub fn into_owned(self) -> Send {
        Send {
            id: self.id.map(Cow::into_owned),
            target_spec: self.target_spec.into_owned(),
            priority: self.priority.map(Cow::into_owned),
            nonce: self.nonce.into_owned(),
            ciphertext: self.ciphertext.into_owned(),
            client_message_id: self.client_message_id.map(Cow::into_owned),
            request_fingerprint: self.request_fingerprint.map(Cow::into_owned),
            mentions: self.mentions,
            reply_to_id: self.reply_to_id.map(Cow::into_owned),
            body_version: self.body_version,
            subtype: self.subtype.map(Cow::into_owned),
            expires_at: self.expires_at,
            form: self.form.map(Cow::into_owned),
            online: self.online,
            address: self.address,
        }
    }
}

/// Decodes a `send` without copying it: a broker tries this first and takes
/// [`ClientFrame::decode`](super::ClientFrame::decode) where it gives `None`, which is what it
/// gives unless the text begins with `{"type":"send"`, as every known client writes it.
pub fn decode_send(text: &str) -> Option<Result<SendRef<'_>, WireError>> {
    text.strip_prefix(r#"{"type":"send""#)?;
    Some(serde_json::from_str(text).map_err(|e| codec::refuse("send", &e)))
}

fn priority(text: Option<&str>) -> Result<Priority, IdError> {
    text.map_or(Ok(Priority::default()), Priority::from_str)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Serde copies the text of an `Option<Cow<str>>`; this does not.
fn text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Ok(Option::<Text<'de>>::deserialize(d)?.map(|text| text.0))
}

/// `ack`: what became of a `send`, or that another request was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The request's own id; empty if it had none.
    pub id: String,
    /// The broker's id of the message; empty if it was refused.
    pub message_id: String,
    /// Whether the message was accepted.
    pub queued: bool,
    /// Why not, for people and for clients that know no `code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
    /// The sender's id of the message.
    #[serde(rename = "client_message_id", skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// Whether the broker had it already; this is the first answer again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    /// How many mailboxes it was put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u32>,
    /// How many it was not put in, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Map<String, Value>>,
    /// True: the answer to an online-only message, of which nothing is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// To how many connections an online-only message was handed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<u32>,
    /// Why not, as one of [`code`](super::errors::code).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When to try again, in milliseconds from now.
    #[serde(rename = "retry_after_ms", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The limit that was reached, in its own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `acks`: many answers in one frame, in the order of the sends. At most
/// [`MAX_IDS_PER_FRAME`](super::MAX_IDS_PER_FRAME); only to peers that speak
/// [`CAP_DELIVERY`](super::CAP_DELIVERY).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acks {
    /// The answers.
    #[serde(deserialize_with = "bounded")]
    pub items: Vec<Ack>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_is_read_without_copying() {
        let text = r#"{"type":"send","targetSpec":"*","nonce":"n","ciphertext":"c","id":"1"}"#;
        let send = decode_send(text).unwrap().unwrap();
        assert!(matches!(send.ciphertext, Cow::Borrowed("c")));
        assert!(matches!(send.id, Some(Cow::Borrowed("1"))));
        assert_eq!(send.priority(), Ok(Priority::Next));
        assert!(decode_send(r#"{"id":"1","type":"send"}"#).is_none());
        assert!(decode_send(r#"{"type":"send2"}"#).is_none());
    }

    #[test]
    fn a_second_type_is_refused() {
        let text = r#"{"type":"send","targetSpec":"*","nonce":"","ciphertext":"","type":"x"}"#;
        decode_send(text).unwrap().unwrap_err();
    }

    #[test]
    fn other_priorities_are_kept_but_not_believed() {
        let send = Send {
            priority: Some("urgent".into()),
            ..Send::default()
        };
        send.priority().unwrap_err();
    }
}
