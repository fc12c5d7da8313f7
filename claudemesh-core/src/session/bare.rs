//! Writing to members without a log entry: only where the caller says so, and only what they
//! understand.

use super::outbox::{Framing, is_bare, send_frame};
use super::{Outgoing, Session, SessionError};
use crate::id::{PublicKey, Target};
use crate::message::{Content, TEXT, seal_bare};
use crate::store::NewOutbox;

impl Session {
    /// Why this message cannot go to a key that the log does not have; else whether it goes as
    /// bare text.
    pub(super) fn may_send_unverified(
        &self,
        message: &Outgoing,
        to: PublicKey,
    ) -> Result<bool, SessionError> {
        // Whoever is in entries that were not fetched yet is in the log, and gets no bare text.
        if self.log.may_be_behind() || !self.is_listed(&to) {
            return Err(SessionError::NotAMember(to));
        }
        if self.log.is_forked() {
            let why = "the broker shows two versions of it, so who is in it is not known";
            return Err(SessionError::LogUnusable(why));
        }
        if !message.to_unverified {
            return Err(SessionError::Unverified(to));
        }
        Ok(!self.speaks_envelopes(&to))
    }

    pub(super) fn seal_as_bare(
        &mut self,
        message: &Outgoing,
        to: PublicKey,
        content: &Content,
    ) -> Result<NewOutbox, SessionError> {
        let plain = message.content_type == TEXT
            && message.attributes.is_empty()
            && message.reply_to.is_none();
        let text = std::str::from_utf8(&message.body).ok().filter(|_| plain);
        let text = text.ok_or(SessionError::TextOnly)?;
        let (nonce, lane) = (self.rng.bytes(), self.config.lane);
        let framing = Framing::of(message, self.now.wall);
        let key = if self.seals_bare_as_session() {
            self.session_direct_key(&to)
        } else {
            self.direct_key(&to)
        };
        let key = key.map_err(|_| SessionError::NotAMember(to))?;
        let sealed = seal_bare(key, text, nonce)?;
        let id = content.id.clone();
        let frame = send_frame(
            &to.to_hex(),
            &id,
            &framing,
            None::<&str>,
            sealed,
            text.len(),
        )?;
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

    /// Why a message that was kept and never handed over does not go out any more: it is bare text
    /// for someone who is in the log by now, or has shown that it understands more; or plain text,
    /// and this broker serves encrypted channels.
    pub(super) fn outdated(&self, row: &NewOutbox) -> Option<String> {
        let Target::Peer(to) = &row.to else {
            return self.plaintext_outdated(&row.frame);
        };
        if !is_bare(&row.frame) {
            return None;
        }
        let known = (self.log.roster()).is_some_and(|r| r.member_or_former(to).is_some());
        let grown = known || self.speaks_envelopes(to);
        grown.then(|| "its recipient takes protected messages by now; send it again".to_owned())
    }
}
