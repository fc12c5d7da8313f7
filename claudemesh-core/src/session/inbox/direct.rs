//! Opening direct messages, by the form that their sender must use.

use super::MAX_AGE_MS;
use crate::id::{MessageId, Name, Priority, PublicKey};
use crate::message::{Expected, FORM, MessageError, Opened, SealedText, open_bare, open_direct};
use crate::session::Session;
use crate::store::{Delivery, Kind, NewInbox};
use crate::wire::Push;

impl Session {
    /// Opens a message by the form that its sender must use, or says why it is not taken.
    pub(super) fn open(&mut self, push: &Push, sender: PublicKey) -> Result<NewInbox, String> {
        let mut row = self.open_by_form(push, sender)?;
        self.mark_changed(&mut row);
        Ok(row)
    }

    fn open_by_form(&mut self, push: &Push, sender: PublicKey) -> Result<NewInbox, String> {
        if push.mesh_id != self.config.mesh.as_str() {
            return Err("made for another mesh".to_owned());
        }
        let member = self
            .log
            .roster()
            .and_then(|roster| roster.member_or_former(&sender));
        let (name, logged, verified) = match member {
            Some(member) if member.removed_at.is_some() => {
                return Err("sender_removed".to_owned());
            }
            Some(member) => {
                let roster = self.log.roster();
                let name = roster.map(|roster| roster.shown_name(member));
                (name, true, member.is_verified())
            }
            None => (
                push.sender_name.as_deref().and_then(|n| Name::new(n).ok()),
                false,
                false,
            ),
        };
        let sealed = SealedText {
            nonce: push.nonce.clone(),
            ciphertext: push.ciphertext.clone(),
        };
        if let Some(row) = self.open_of_named(push, &sealed) {
            return Ok(row);
        }
        // A member with a log entry speaks in envelopes only: bare text from it is an error.
        // So does who once showed that it can.
        let in_form = push.form.as_deref() == Some(FORM);
        if logged || in_form || self.speaks_envelopes(&sender) {
            let (opened, to) = self
                .open_envelope(push, sender, &sealed)
                .map_err(|e| e.to_string())?;
            if let Some(head) = opened.head.filter(|_| verified) {
                self.head_claimed(sender, head);
            }
            let mut row = self.row(push, &opened, name, verified);
            row.to = to;
            return Ok(row);
        }
        match self.open_text(push, sender, name.clone(), &sealed) {
            Ok(row) => Ok(row),
            Err(error) => {
                let first = self.open_first_envelope(push, sender, &sealed, name.clone(), &error);
                if let Some(opened) = first {
                    return opened;
                }
                (self.open_plaintext(push, sender, name.as_ref())).ok_or_else(|| error.to_string())
            }
        }
    }

    /// A message that came from a session's key and was signed by the member that it names itself.
    fn open_of_named(&mut self, push: &Push, sealed: &SealedText) -> Option<NewInbox> {
        let member = self.named_member(push)?;
        let (opened, to) = self.open_envelope(push, member, sealed).ok()?;
        // It has shown that it understands envelopes.
        self.pin_envelope(&member);
        let mut row = self.row(push, &opened, None, false);
        row.to = to;
        Some(row)
    }

    pub(in crate::session) fn open_envelope(
        &mut self,
        push: &Push,
        sender: PublicKey,
        sealed: &SealedText,
    ) -> Result<(Opened, Option<PublicKey>), MessageError> {
        let (to, first) = self.session_first(push);
        if first.is_some() {
            let opened = self.open_envelope_for(push, sender, sealed, first);
            let other = matches!(opened, Err(MessageError::Box(_))) && to.is_none();
            if !other {
                return opened.map(|opened| (opened, self.for_session(first)));
            }
        }
        let opened = self.open_envelope_for(push, sender, sealed, None)?;
        Ok((opened, None))
    }

    /// The key that a push names as the one that it is for, and this session's own key if it may be
    /// for that: the broker says so, or does not say.
    fn session_first(&self, push: &Push) -> (Option<PublicKey>, Option<PublicKey>) {
        let to = push.target.as_deref();
        let to = to.and_then(|text| PublicKey::from_hex(text).ok());
        let own = self.session_key_of_own();
        (to, own.filter(|own| to.is_none_or(|to| to == *own)))
    }

    /// The session for which alone a message is: none if this peer is only shown as one.
    fn for_session(&self, key: Option<PublicKey>) -> Option<PublicKey> {
        key.filter(|_| self.addresses.own.is_some())
    }

    /// Opens what is sealed for this session, or for the member.
    fn open_envelope_for(
        &mut self,
        push: &Push,
        sender: PublicKey,
        sealed: &SealedText,
        session: Option<PublicKey>,
    ) -> Result<Opened, MessageError> {
        let mesh = self.config.mesh.clone();
        let recipient = session.unwrap_or(self.config.key.public());
        let now = self.now.wall;
        let key = match session {
            Some(_) => self.session_direct_key(&sender),
            None => self.direct_key(&sender),
        };
        let key = key.map_err(|_| MessageError::BadSignature)?;
        let frame_id = push.client_message_id.as_deref();
        let expected = Expected {
            mesh: &mesh,
            recipient: &recipient,
            sender: &sender,
            frame_id,
            now,
        };
        let opened = open_direct(expected, key, sealed)?;
        let time = opened.content.due.unwrap_or(opened.content.sent_at);
        if time < now.saturating_sub(MAX_AGE_MS) {
            return Err(MessageError::Time);
        }
        Ok(opened)
    }

    pub(in crate::session) fn row(
        &self,
        push: &Push,
        opened: &Opened,
        name: Option<Name>,
        verified: bool,
    ) -> NewInbox {
        let content = opened.content.clone();
        NewInbox {
            kind: Kind::Direct,
            channel: None,
            to: None,
            device_of: self.log.roster().and_then(|r| r.device_of(&opened.sender)),
            sender: opened.sender,
            sender_name: name,
            verified,
            delivery: Delivery {
                broker_id: push.message_id.clone(),
                dedupe: format!("id:{}", content.id),
            },
            id: content.id,
            priority: push.priority().unwrap_or_default(),
            content_type: content.content_type,
            body: content.body,
            attributes: content.attributes,
            reply_to: content.reply_to,
            sent_at: content.sent_at,
            received_at: self.now.wall,
        }
    }

    /// The bare form of a member without a log entry. The sender is who the broker says it is.
    fn open_text(
        &mut self,
        push: &Push,
        sender: PublicKey,
        name: Option<Name>,
        sealed: &SealedText,
    ) -> Result<NewInbox, MessageError> {
        let routing = PublicKey::from_hex(&push.sender_pubkey).unwrap_or(sender);
        // A box by the key of somebody who speaks in envelopes is not another one's bare text.
        let in_log = (self.log.roster()).is_some_and(|r| r.member_or_former(&routing).is_some());
        if routing != sender && (in_log || self.speaks_envelopes(&routing)) {
            return Err(MessageError::OtherSender);
        }
        let (to, first) = self.session_first(push);
        let mut opened = self.open_text_for(&routing, sealed, first);
        if first.is_some() && to.is_none() && opened.is_err() {
            opened = self.open_text_for(&routing, sealed, None);
        }
        let (text, to) = opened?;
        let to = self.for_session(to);
        Ok(NewInbox {
            kind: Kind::Direct,
            channel: None,
            to,
            device_of: None,
            sender,
            sender_name: name,
            verified: false,
            id: self.frame_id(push),
            delivery: Delivery {
                broker_id: push.message_id.clone(),
                dedupe: format!("nonce:{}", push.nonce),
            },
            priority: push.priority().unwrap_or_default(),
            content_type: crate::message::TEXT.to_owned(),
            body: text.into_bytes(),
            attributes: Vec::new(),
            reply_to: None,
            sent_at: self.now.wall,
            received_at: self.now.wall,
        })
    }

    /// Opens bare text by the session's key, or the member's; gives the session it was for.
    fn open_text_for(
        &mut self,
        routing: &PublicKey,
        sealed: &SealedText,
        session: Option<PublicKey>,
    ) -> Result<(String, Option<PublicKey>), MessageError> {
        let key = match session {
            Some(_) => self.session_direct_key(routing),
            None => self.direct_key(routing),
        };
        let key = key.map_err(|_| MessageError::BadSignature)?;
        Ok((open_bare(key, sealed)?, session))
    }

    pub(in crate::session) fn rejected(
        &mut self,
        push: &Push,
        sender: PublicKey,
        reason: &str,
    ) -> NewInbox {
        let wall = self.now.wall;
        let broker_id: String = push.message_id.chars().take(128).collect();
        NewInbox {
            kind: Kind::Rejected,
            channel: None,
            to: None,
            device_of: None,
            sender,
            sender_name: None,
            verified: false,
            id: self.frame_id(push),
            delivery: Delivery {
                dedupe: format!("broker:{broker_id}"),
                broker_id,
            },
            priority: Priority::Low,
            content_type: crate::message::TEXT.to_owned(),
            body: reason.as_bytes().to_vec(),
            attributes: Vec::new(),
            reply_to: None,
            sent_at: wall,
            received_at: wall,
        }
    }

    pub(in crate::session) fn frame_id(&mut self, push: &Push) -> MessageId {
        let named = push
            .client_message_id
            .as_deref()
            .unwrap_or(&push.message_id);
        MessageId::new(named)
            .or_else(|_| MessageId::new(&push.message_id))
            .map_or_else(
                |_| MessageId::from_parts(self.now.wall, self.rng.bytes()),
                |id| id.base(),
            )
    }
}

/// The member key that the frame names as the sender's. Only what opens under it is believed.
pub(super) fn claimed_sender(push: &Push) -> Option<PublicKey> {
    let text = push
        .sender_member_pubkey
        .as_deref()
        .unwrap_or(&push.sender_pubkey);
    PublicKey::from_hex(text).ok()
}
