//! Sealing what is to be sent: once, for its recipient and its devices, for a session or a channel.

use std::sync::Arc;

use crate::id::{MessageId, Priority, PublicKey, Target};
use crate::membership::Head;
use crate::message::attributes::set_session;
use crate::message::{Content, FORM, MessageError, SealedText, seal_direct};
use crate::session::{Outgoing, Protection, Session, SessionError};
use crate::store::NewOutbox;
use crate::wire::{Frame as _, MAX_FRAME, Send, SignedBlob};

/// Milliseconds for which a message waits by default: 7 days.
const EXPIRES_MS: u64 = 7 * 86_400_000;
/// Milliseconds for which a message may wait: 30 days.
const MAX_EXPIRES_MS: u64 = 30 * 86_400_000;

/// What a `send` frame says beside the sealed message.
pub(in crate::session) struct Framing {
    pub(in crate::session) priority: Priority,
    pub(in crate::session) expires_at: u64,
}

impl Framing {
    /// `from`: when it is sent, unix ms.
    pub(in crate::session) fn of(message: &Outgoing, from: u64) -> Self {
        let lasts = message.expires_in.unwrap_or(EXPIRES_MS).min(MAX_EXPIRES_MS);
        Self {
            priority: message.priority,
            expires_at: from.saturating_add(lasts),
        }
    }
}

/// The text of a `send` frame; without a form it is bare text.
pub(in crate::session) fn send_frame<'a>(
    target: &str,
    id: &MessageId,
    framing: &Framing,
    form: impl Into<Option<&'a str>>,
    sealed: SealedText,
    size: usize,
) -> Result<String, SessionError> {
    let frame = Send {
        id: Some(id.as_str().to_owned()),
        target_spec: target.to_owned(),
        priority: Some(framing.priority.as_str().to_owned()),
        nonce: sealed.nonce,
        ciphertext: sealed.ciphertext,
        client_message_id: Some(id.as_str().to_owned()),
        expires_at: Some(framing.expires_at),
        form: form.into().map(str::to_owned),
        ..Send::default()
    }
    .encode();
    if frame.len() > MAX_FRAME {
        return Err(MessageError::TooLarge(size).into());
    }
    Ok(frame)
}

/// The frame with the address of the session that it is for, which is the broker's proof.
fn with_address(frame: &str, address: SignedBlob, size: usize) -> Result<String, SessionError> {
    let Ok(mut send) = Send::decode(frame) else {
        return Err(MessageError::TooLarge(size).into());
    };
    send.address = Some(address);
    let frame = send.encode();
    if frame.len() > MAX_FRAME {
        return Err(MessageError::TooLarge(size).into());
    }
    Ok(frame)
}

/// Whether a `send` frame names no form: what is in it is bare text, or plain. What is in it besides
/// is base64, ids and words, in none of which a quote stands.
pub(in crate::session) fn is_bare(frame: &str) -> bool {
    !frame.contains("\"form\":")
}

impl Session {
    /// What is to be sent, and whether it is bare text.
    pub(super) fn seal_all(
        &mut self,
        message: &Outgoing,
    ) -> Result<(Vec<NewOutbox>, bool), SessionError> {
        if self.link.is_ended() {
            return Err(self.link.ended());
        }
        let id = MessageId::from_parts(self.now.wall, self.rng.bytes());
        self.seal_all_as(message, id)
    }

    /// As [`Self::seal_all`], under an id that is given.
    pub(in crate::session) fn seal_all_as(
        &mut self,
        message: &Outgoing,
        id: MessageId,
    ) -> Result<(Vec<NewOutbox>, bool), SessionError> {
        let mut attributes = message.attributes.clone();
        set_session(&mut attributes, self.own_session().as_ref());
        let content = Content {
            id,
            sent_at: self.now.wall,
            due: None,
            reply_to: message.reply_to.as_ref().map(MessageId::base),
            content_type: message.content_type.clone(),
            attributes,
            body: message.body.clone(),
        };
        let framing = Framing::of(message, self.now.wall);
        match &message.to {
            Target::Peer(to) => {
                Self::sealed_only(message)?;
                self.seal_for_peer(message, &framing, *to, &content)
            }
            Target::Channel(name) if message.protection == Protection::LegacyPlaintext => {
                let row = self.row_in_plain(message, &framing, name, &content)?;
                Ok((vec![row], true))
            }
            Target::Channel(name) => {
                let row = self.row_for_channel(&framing, name, &content)?;
                Ok((vec![row], false))
            }
        }
    }

    /// The message for its recipient, and a copy for each of its devices. None goes to this
    /// process itself, if it is one of them.
    pub(in crate::session) fn seal_for_peer(
        &mut self,
        message: &Outgoing,
        framing: &Framing,
        to: PublicKey,
        content: &Content,
    ) -> Result<(Vec<NewOutbox>, bool), SessionError> {
        let Some(log) = self.log.held() else {
            if self.has_no_log() {
                return self.seal_without_log(message, framing, to, content);
            }
            return Err(SessionError::NotAMember(to));
        };
        match log.roster().member_or_former(&to) {
            None if self.addresses.knows(&to) => {
                let row = self.seal_for_session(framing, to, content)?;
                return Ok((vec![row], false));
            }
            None if self.may_send_unverified(message, to)? => {
                return Ok((vec![self.seal_as_bare(message, to, content)?], true));
            }
            None => {}
            Some(member) if member.removed_at.is_some() => {
                return Err(SessionError::RecipientRemoved(to));
            }
            Some(_) => {}
        }
        let head = log.head();
        let own = self.config.key.public();
        let devices = log.roster().devices(&to).map(|device| device.key);
        let devices: Vec<PublicKey> = devices.filter(|key| *key != own).collect();
        let id = content.id.clone();
        let mut rows = vec![self.seal(framing, content, id.clone(), to, Some(head))?];
        for device in devices {
            rows.push(self.seal(framing, content, id.for_device(&device), device, Some(head))?);
        }
        Ok((rows, false))
    }

    pub(in crate::session) fn seal(
        &mut self,
        framing: &Framing,
        content: &Content,
        id: MessageId,
        to: PublicKey,
        head: Option<Head>,
    ) -> Result<NewOutbox, SessionError> {
        let nonce = self.rng.bytes();
        let mesh = self.config.mesh.clone();
        let (pair, lane) = (Arc::clone(&self.config.key), self.config.lane);
        let key = self
            .direct_key(&to)
            .map_err(|_| SessionError::NotAMember(to))?;
        let sealed = seal_direct(&mesh, &pair, &to, head, content, key, nonce)?;
        let frame = send_frame(&to.to_hex(), &id, framing, FORM, sealed, content.body.len())?;
        let frame = self.name_member(frame);
        Ok(NewOutbox {
            id,
            to: Target::Peer(to),
            frame,
            priority: framing.priority,
            created_at: self.now.wall,
            expires_at: framing.expires_at,
            lane,
            sent: false,
        })
    }

    /// The message for a session: sealed for its key, after its member's word for it was verified.
    fn seal_for_session(
        &mut self,
        framing: &Framing,
        to: PublicKey,
        content: &Content,
    ) -> Result<NewOutbox, SessionError> {
        let (_, address) = self.address_of(&to)?;
        let head = self.log.held().ok_or(SessionError::NotAMember(to))?.head();
        let mut row = self.seal(framing, content, content.id.clone(), to, Some(head))?;
        row.frame = with_address(&row.frame, address, content.body.len())?;
        Ok(row)
    }
}
