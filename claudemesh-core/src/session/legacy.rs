//! Channels of the existing system, which are no channels of ours: what is sent to one is text in
//! base64, sealed for nobody. It goes out only where the caller says so for this message, and is
//! taken only where nothing better can be had: in a mesh without a membership log, on a connection
//! whose broker serves neither logs nor encrypted channels.

use super::outbox::{Framing, is_bare, send_frame};
use super::{Outgoing, Session, SessionError};
use crate::encoding::{base64, unbase64};
use crate::id::{ChannelName, Name, PublicKey, Target};
use crate::message::{Content, MAX_BODY, MessageError, SealedText, TEXT};
use crate::store::{Delivery, Kind, NewInbox, NewOutbox};
use crate::wire::Push;

/// The attribute of a received message that came in plain, to many. A sender may write it into a
/// sealed message too: it says this only where the message is not protected, for then nothing but
/// this peer itself adds attributes.
pub const LEGACY_PLAINTEXT: &str = "legacy=plaintext";
/// The attribute of such a message if the name that it came under is known with another key.
pub const LEGACY_KEY_CHANGED: &str = "legacy=key-changed";
/// Bytes of a nonce.
const NONCE: usize = 24;

impl Session {
    /// Whether this mesh has no membership log, as far as can be known: none is held, none was
    /// ever said to be there, and the broker of this connection, having answered the hello, shows
    /// none.
    pub(super) fn is_logless(&self) -> bool {
        !self.config.has_log && self.log.held().is_none() && !self.log.may_be_behind()
    }

    /// Why nothing is sent or taken in plain on this connection.
    pub(super) fn plaintext_refused(&self) -> Option<&'static str> {
        if self.config.has_log || self.log.held().is_some() {
            return Some("this mesh has a membership log, and its channels are encrypted");
        }
        // Whoever serves logs is none of the existing system's, even if it shows none just now.
        if self.link.has_channels() || self.link.has_log() || !self.is_logless() {
            return Some("this broker serves encrypted channels or membership logs");
        }
        None
    }

    /// Refuses the option for a message that it is not for.
    pub(super) fn sealed_only(message: &Outgoing) -> Result<(), SessionError> {
        if message.protection == super::Protection::Sealed {
            return Ok(());
        }
        let why = "only what is sent to a channel, and at once, ever is";
        Err(SessionError::PlaintextRefused(why))
    }

    /// The row of a message to a channel of the existing system, readable by whoever carries it.
    pub(super) fn row_in_plain(
        &mut self,
        message: &Outgoing,
        framing: &Framing,
        name: &ChannelName,
        content: &Content,
    ) -> Result<NewOutbox, SessionError> {
        if name.as_str() == ChannelName::state().as_str() {
            return Err(SessionError::NoSuchChannel(name.clone()));
        }
        if self.config.has_log || self.log.held().is_some() {
            // Certain without a connection, too.
            let why = "this mesh has a membership log, and its channels are encrypted";
            return Err(SessionError::PlaintextRefused(why));
        }
        if !self.link.is_ready() {
            let why = "whether its broker serves encrypted channels is not known before";
            return Err(SessionError::NotConnected(why.to_owned()));
        }
        if let Some(why) = self.plaintext_refused() {
            return Err(SessionError::PlaintextRefused(why));
        }
        let plain = message.content_type == TEXT
            && message.attributes.is_empty()
            && message.reply_to.is_none();
        let text = std::str::from_utf8(&message.body).ok().filter(|_| plain);
        let text = text.ok_or(SessionError::PlaintextRefused(
            "only text is: no other content type, no attributes, and it cannot name what it answers",
        ))?;
        if text.len() > MAX_BODY {
            return Err(MessageError::TooLarge(text.len()).into());
        }
        // The nonce means nothing; clients of the existing system expect one.
        let sealed = SealedText {
            nonce: base64(&self.rng.bytes::<NONCE>()),
            ciphertext: base64(text.as_bytes()),
        };
        let id = content.id.clone();
        let size = text.len();
        let frame = send_frame(name.as_str(), &id, framing, None::<&str>, sealed, size)?;
        Ok(NewOutbox {
            id,
            to: Target::Channel(name.clone()),
            frame,
            priority: framing.priority,
            created_at: self.now.wall,
            expires_at: framing.expires_at,
            lane: self.config.lane,
            sent: false,
        })
    }

    /// Why plain text that was kept and never handed over does not go out any more: this is
    /// another broker, or the mesh has a log by now.
    pub(super) fn plaintext_outdated(&self, frame: &str) -> Option<String> {
        let refused = self.plaintext_refused().filter(|_| is_bare(frame))?;
        Some(format!("it was to go in plain: {refused}; send it again"))
    }

    /// Takes a push that did not open as a box for plain text to many, if it has that form to the
    /// letter. None of it is proven. A direct message never has it: the existing system pushes one
    /// with the id of its sender's, or without the sender's member key. It does so with what was
    /// said in a topic, too: who has joined one there takes that form as well, marked as all plain
    /// text is.
    pub(super) fn open_plaintext(
        &mut self,
        push: &Push,
        sender: PublicKey,
        name: Option<&Name>,
    ) -> Option<NewInbox> {
        if !self.link.is_ready() || self.plaintext_refused().is_some() {
            return None;
        }
        let routing = PublicKey::from_hex(&push.sender_pubkey).ok()?;
        // What was said in a topic comes as a direct message does, and names no member.
        let member = match &push.sender_member_pubkey {
            Some(member) => PublicKey::from_hex(member).ok()?,
            None => Some(routing).filter(|_| self.is_in_topics())?,
        };
        let direct = push.form.is_some()
            || push.target.is_some()
            || ((push.client_message_id.is_some() || push.request_fingerprint.is_some())
                && !self.is_in_topics());
        let speaks = self.speaks_envelopes(&member) || self.speaks_envelopes(&routing);
        let own = [self.config.key.public(), self.routing_key()];
        if direct || speaks || member != sender || own.contains(&member) {
            return None;
        }
        let nonce: [u8; NONCE] = unbase64(&push.nonce).ok()?.try_into().ok()?;
        let body = unbase64(&push.ciphertext).ok()?;
        if body.is_empty() || body.len() > MAX_BODY || std::str::from_utf8(&body).is_err() {
            return None;
        }
        let changed = name.is_some_and(|name| self.first_use(name, sender));
        let mut attributes = vec![LEGACY_PLAINTEXT.to_owned()];
        attributes.extend(changed.then(|| LEGACY_KEY_CHANGED.to_owned()));
        Some(NewInbox {
            // To many; which group it was for, the existing broker does not say.
            kind: Kind::Direct,
            channel: None,
            to: None,
            device_of: None,
            sender,
            sender_name: name.cloned(),
            verified: false,
            id: self.frame_id(push),
            delivery: Delivery {
                broker_id: push.message_id.clone(),
                dedupe: format!("plain:{}", base64(&nonce)),
            },
            priority: push.priority().unwrap_or_default(),
            content_type: TEXT.to_owned(),
            body,
            attributes,
            reply_to: None,
            sent_at: self.now.wall,
            received_at: self.now.wall,
        })
    }
}
