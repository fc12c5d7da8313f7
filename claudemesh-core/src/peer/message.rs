//! What is sent, and to whom.

use std::time::Duration;

use crate::id::{ChannelName, MessageId, Priority, PublicKey, Target};
use crate::message::TEXT;
use crate::message::attributes::{set_expects_reply, set_hops};
use crate::session::{self, Protection};

/// To whom: a member's key, or a name, key or unambiguous prefix of a key as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A member's key.
    Key(PublicKey),
    /// A channel.
    Channel(ChannelName),
    /// What a person wrote.
    Text(String),
}

impl From<ChannelName> for Recipient {
    fn from(name: ChannelName) -> Self {
        Self::Channel(name)
    }
}

impl From<Target> for Recipient {
    fn from(target: Target) -> Self {
        match target {
            Target::Peer(key) => Self::Key(key),
            Target::Channel(name) => Self::Channel(name),
        }
    }
}

impl From<PublicKey> for Recipient {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<&str> for Recipient {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Recipient {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A message to be sent, with everything that can be said about it. Bounds are checked when it is
/// sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    body: Vec<u8>,
    content_type: String,
    priority: Priority,
    reply_to: Option<MessageId>,
    attributes: Vec<String>,
    expires_in: Option<Duration>,
    unverified: bool,
    protection: Protection,
}

impl Outgoing {
    /// Text, at most [`MAX_BODY`](crate::message::MAX_BODY) bytes of UTF-8.
    pub fn text(text: impl Into<String>) -> Self {
        Self::bytes(text.into(), TEXT)
    }

    /// At most [`MAX_BODY`](crate::message::MAX_BODY) bytes, of a MIME type of at most 128 bytes.
    pub fn bytes(body: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            content_type: content_type.into(),
            priority: Priority::default(),
            reply_to: None,
            attributes: Vec::new(),
            expires_in: None,
            unverified: false,
            protection: Protection::Sealed,
        }
    }

    /// How urgent; [`Priority::Next`] by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The message it answers.
    #[must_use]
    pub fn reply_to(mut self, id: MessageId) -> Self {
        self.reply_to = Some(id);
        self
    }

    /// For how long it waits for its recipient: 7 days by default; more than 30 days is taken for
    /// 30. A broker may allow less.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// A `name=value` text that travels inside the message, sealed; at most 16 of them, three less
    /// with those of a session, hops and `expects_reply`. One that begins with `session=` is not
    /// sent: only sessions say that of themselves.
    #[must_use]
    pub fn attribute(mut self, text: impl Into<String>) -> Self {
        self.attributes.push(text.into());
        self
    }

    /// How many automatic answers led to this message; 15 at most. Who answers by a program says
    /// one more than the message that it answers had.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        set_hops(&mut self.attributes, hops);
        self
    }

    /// Whether an answer is awaited: true by default. Programs do not answer a message that says
    /// no.
    #[must_use]
    pub fn expects_reply(mut self, expects: bool) -> Self {
        set_expects_reply(&mut self.attributes, expects);
        self
    }

    /// Whether it may go to a member that no entry of the membership log vouches for: false by
    /// default. To such a member it goes as bare text, sealed for its key, but not signed and
    /// without attributes, which is all that clients of the existing system read; that the key is
    /// theirs is the broker's word. It needs the connection: the log and the broker's list are
    /// fetched first. Anybody else gets the protected form all the same: who is in
    /// the log, and who once showed a statement that says it understands more.
    #[must_use]
    pub fn to_unverified(mut self, may: bool) -> Self {
        self.unverified = may;
        self
    }

    /// How it is protected if it is sent to a channel: sealed by default, and then never in plain.
    /// [`Protection::LegacyPlaintext`] is for meshes of the existing system alone; it needs the
    /// connection, and anywhere else it is an error.
    #[must_use]
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    pub(super) fn may_go_to_unverified(&self) -> bool {
        self.unverified
    }

    /// As the session takes it.
    pub(super) fn to(self, to: Target) -> session::Outgoing {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        session::Outgoing {
            to,
            body: self.body,
            content_type: self.content_type,
            priority: self.priority,
            reply_to: self.reply_to,
            attributes: self.attributes,
            expires_in: self.expires_in.map(ms),
            to_unverified: self.unverified,
            protection: self.protection,
        }
    }
}
