//! Messages to a channel of the existing broker on their way out.

use crate::channel::seal_to_channel;
use crate::id::{ChannelName, KeyId, Target};
use crate::message::{Content, FORM};
use crate::session::outbox::{Framing, send_frame};
use crate::session::{Session, SessionError};
use crate::store::NewOutbox;

impl Session {
    /// Whether what is sent to a channel goes by what this peer trusts: without a log, on the
    /// existing broker, or before it is known which broker it will be.
    pub(in crate::session) fn goes_by_trust(&self) -> bool {
        let known = self.is_existing() || (!self.link.is_ready() && self.trusts_anybody());
        self.has_no_log() && known
    }

    /// The row of a message to a channel: sealed if a key is good now, else as a draft.
    pub(in crate::session) fn row_for_room(
        &mut self,
        framing: &Framing,
        name: &ChannelName,
        content: &Content,
    ) -> Result<NewOutbox, SessionError> {
        if name.as_str() == ChannelName::state().as_str() {
            return Err(SessionError::NoSuchChannel(name.clone()));
        }
        if !self.trusts_anybody() {
            return Err(SessionError::NobodyTrusted(name.clone()));
        }
        self.clear_verdict(name);
        let frame = match self.is_room_ready(name).filter(|_| self.is_existing()) {
            Some(key_id) => self.room_frame(name, &key_id, content, framing)?,
            None => self.draft_frame(name.as_str(), content, framing)?,
        };
        Ok(NewOutbox {
            id: content.id.clone(),
            to: Target::Channel(name.clone()),
            frame,
            priority: framing.priority,
            created_at: self.now.wall,
            expires_at: framing.expires_at,
            lane: self.config.lane,
            sent: false,
        })
    }

    pub(in crate::session) fn room_frame(
        &mut self,
        name: &ChannelName,
        key_id: &KeyId,
        content: &Content,
        framing: &Framing,
    ) -> Result<String, SessionError> {
        let nonce = self.rng.bytes();
        let (mesh, me) = (&self.config.mesh, &self.config.key);
        let (_, key) =
            (self.existing.keys.key(key_id)).ok_or_else(|| SessionError::NoKeyYet(name.clone()))?;
        let sealed = seal_to_channel(mesh, me, name, key_id, key, None, content, nonce)?;
        let size = content.body.len();
        let frame = send_frame(name.as_str(), &content.id, framing, FORM, sealed, size)?;
        Ok(self.name_member(frame))
    }
}
