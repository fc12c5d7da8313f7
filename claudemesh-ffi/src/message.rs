//! Messages, as they are sent and as they come.

use std::time::{Duration, SystemTime};

use claudemesh_core::id::MessageId;
use claudemesh_core::store::{Kind, NewInbox};
use claudemesh_core::{Outgoing, Received};

use crate::error::NativeError;
use crate::types::{clamp, time};

/// How urgently a message asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Priority {
    /// Pushed whatever the recipient's status is.
    Now,
    /// Pushed when the recipient is idle.
    Next,
    /// Handed over when the recipient asks.
    Low,
}

impl From<Priority> for claudemesh_core::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Now => Self::Now,
            Priority::Next => Self::Next,
            Priority::Low => Self::Low,
        }
    }
}

impl From<claudemesh_core::Priority> for Priority {
    fn from(priority: claudemesh_core::Priority) -> Self {
        match priority {
            claudemesh_core::Priority::Now => Self::Now,
            claudemesh_core::Priority::Next => Self::Next,
            claudemesh_core::Priority::Low => Self::Low,
        }
    }
}

/// What a received message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum MessageKind {
    /// To this member.
    Direct,
    /// To a channel that this member is in.
    Channel,
    /// One that was not taken, in the history only: it did not open, or failed a check.
    Rejected,
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Message {
    /// Its id, unique per sender.
    pub id: String,
    /// The sender's key, in hex.
    pub sender: String,
    /// The sender's name at the time of receipt.
    pub sender_name: Option<String>,
    /// Whether the sender's signature held and it is a verified member. If not, the sender is only
    /// who the broker says it is.
    pub verified: bool,
    /// What it is.
    pub kind: MessageKind,
    /// The channel it was said in; none for a message to this peer alone.
    pub channel: Option<String>,
    /// What was said, as text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// What was said.
    pub body: Vec<u8>,
    /// MIME type of the body; `text/plain` for text.
    pub content_type: String,
    /// The message it answers.
    pub reply_to: Option<String>,
    /// `name=value` texts.
    pub attributes: Vec<String>,
    /// How urgent.
    pub priority: Priority,
    /// By the sender's clock.
    pub sent_at: SystemTime,
    /// By this machine's clock.
    pub received_at: SystemTime,
    /// It was shown before and not taken: a crash, or a reader that stopped, lay in between.
    pub again: bool,
}

impl Message {
    pub(crate) fn of(message: &Received) -> Self {
        Self {
            id: message.id.as_str().to_owned(),
            sender: message.from.key.to_hex(),
            sender_name: (message.from.name.as_ref()).map(|name| name.as_str().to_owned()),
            verified: message.from.verified,
            kind: kind(message.kind),
            channel: message.channel.as_ref().map(|c| c.as_str().to_owned()),
            text: message.text(),
            body: message.body.clone(),
            content_type: message.content_type.clone(),
            reply_to: message.reply_to.as_ref().map(|id| id.as_str().to_owned()),
            attributes: message.attributes.clone(),
            priority: message.priority.into(),
            sent_at: clamp(message.sent_at),
            received_at: clamp(message.received_at),
            again: message.again,
        }
    }

    pub(crate) fn of_history(message: NewInbox) -> Self {
        Self {
            id: message.id.as_str().to_owned(),
            sender: message.sender.to_hex(),
            sender_name: message.sender_name.map(|name| name.as_str().to_owned()),
            verified: message.verified,
            kind: kind(message.kind),
            channel: message.channel.map(|c| c.as_str().to_owned()),
            text: String::from_utf8_lossy(&message.body).into_owned(),
            body: message.body,
            content_type: message.content_type,
            reply_to: message.reply_to.map(|id| id.as_str().to_owned()),
            attributes: message.attributes,
            priority: message.priority.into(),
            sent_at: time(message.sent_at),
            received_at: time(message.received_at),
            again: false,
        }
    }
}

fn kind(kind: Kind) -> MessageKind {
    match kind {
        Kind::Direct => MessageKind::Direct,
        Kind::Channel => MessageKind::Channel,
        Kind::Rejected => MessageKind::Rejected,
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct NewMessage {
    /// What is said; at most 45,056 bytes.
    pub body: Vec<u8>,
    /// MIME type of the body, at most 128 bytes.
    #[uniffi(default = "text/plain")]
    pub content_type: String,
    /// How urgent.
    #[uniffi(default)]
    pub priority: Option<Priority>,
    /// The message it answers.
    #[uniffi(default)]
    pub reply_to: Option<String>,
    /// `name=value` texts that travel inside the message, sealed; at most 16.
    #[uniffi(default)]
    pub attributes: Vec<String>,
    /// For how long it waits for its recipient: 7 days if none, at most 30.
    #[uniffi(default)]
    pub expires_in: Option<Duration>,
}

impl NewMessage {
    pub(crate) fn outgoing(self) -> Result<Outgoing, NativeError> {
        let mut outgoing = Outgoing::bytes(self.body, self.content_type);
        if let Some(priority) = self.priority {
            outgoing = outgoing.priority(priority.into());
        }
        if let Some(id) = self.reply_to {
            outgoing = outgoing.reply_to(MessageId::new(id)?);
        }
        for attribute in self.attributes {
            outgoing = outgoing.attribute(attribute);
        }
        if let Some(time) = self.expires_in {
            outgoing = outgoing.expires_in(time);
        }
        Ok(outgoing)
    }
}
