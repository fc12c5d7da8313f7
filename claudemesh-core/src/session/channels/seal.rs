//! Messages to a channel on their way out: drafts, sealing, sealing anew.
//!
//! A message that cannot be sealed yet, because the channel's key is not here or no longer good, is
//! kept as a *draft*: its frame, with the message sealed for this peer itself. No plain text waits
//! on a disk. When the key is there the draft is opened and sealed for the channel under the same
//! id, once, and that is stored before it is handed to the network. A refusal as `stale_epoch` makes
//! it a draft again.

use std::sync::Arc;

use crate::channel::{ExpectedInChannel, key_id_of, open_in_channel, seal_to_channel};
use crate::id::{ChannelName, KeyId, Target};
use crate::message::{Content, Expected, FORM, MessageError, SealedText, open_direct, seal_direct};
use crate::session::outbox::{Framing, send_frame};
use crate::session::{Session, SessionError};
use crate::store::NewOutbox;
use crate::wire::{Send, decode_send};

/// The form of a frame whose message is sealed for its sender alone. Never handed to the network.
const DRAFT: &str = "draft/1";
/// Why nothing goes to a channel of a mesh without a log, and what can be done.
const NO_LOG: &str = "it has none, so its channels cannot be encrypted, and nothing was sent; make \
    a mesh with one, or say that this message may go in plain, readable by the broker \
    (Protection::LegacyPlaintext)";

/// Whether an own frame is a draft. Only ids, words and base64 stand in it, and no such text else.
pub(in crate::session) fn is_draft(frame: &str) -> bool {
    frame.contains("\"form\":\"draft/1\"")
}

/// The key of a channel that an own frame's message is sealed under; none if it is a draft.
pub(in crate::session) fn sealed_under(frame: &str) -> Option<KeyId> {
    let send = decode_send(frame)?.ok()?;
    if send.form.as_deref() != Some(FORM) {
        return None;
    }
    key_id_of(&SealedText {
        nonce: String::new(),
        ciphertext: send.ciphertext.into_owned(),
    })
    .ok()
}

impl Session {
    /// The row of a message to a channel: sealed, if the key that is held is good by the logs that
    /// are held, else as a draft.
    pub(in crate::session) fn row_for_channel(
        &mut self,
        framing: &Framing,
        name: &ChannelName,
        content: &Content,
    ) -> Result<NewOutbox, SessionError> {
        if self.goes_by_trust() {
            return self.row_for_room(framing, name, content);
        }
        let logless = self.is_logless();
        let log = self.log.held();
        let log = log.ok_or(SessionError::LogUnusable(if logless {
            NO_LOG
        } else {
            "it has none, or it was not fetched yet"
        }))?;
        if name.as_str() == "$state" || (name.has_log() && log.roster().channel(name).is_none()) {
            return Err(SessionError::NoSuchChannel(name.clone()));
        }
        if let Some(refused) = self.sure_refusal(name) {
            return Err(refused);
        }
        if let Some(channel) = self.channels.held.get_mut(name) {
            // Somebody asks anew: what was in the way may be gone.
            channel.verdict = None;
        }
        let frame = match self.good_key(name) {
            Some(key_id) => self.channel_frame(name, &key_id, content, framing)?,
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

    /// Why this peer cannot send there, where the newest logs say so.
    fn sure_refusal(&self, name: &ChannelName) -> Option<SessionError> {
        if self.link.is_ready() && !self.link.has_channels() {
            return Some(SessionError::ChannelsUnserved);
        }
        let log = self.log.held()?;
        let roster = log.roster();
        let me = self.config.key.public();
        if !roster
            .member(&me)
            .is_some_and(|member| member.is_verified())
        {
            return Some(SessionError::NotInChannel(name.clone()));
        }
        let held = self.channels.get(name)?;
        let listed = held.log.as_ref().filter(|_| name.has_log())?;
        let out = held.log_current && !listed.was_in(roster, &me, u64::MAX);
        out.then(|| SessionError::NotInChannel(name.clone()))
    }

    /// The newest key, if it was made for those who are in the channel by the logs that are held,
    /// and this peer holds it.
    pub(in crate::session) fn good_key(&mut self, name: &ChannelName) -> Option<KeyId> {
        let log = self.log.held()?;
        let channel = self.channels.held.get_mut(name)?;
        if self.log.is_forked() || channel.forked {
            return None;
        }
        let heads = (log.head().seq, channel.log_seq());
        let newest = *channel.keys.newest_key()?;
        if channel.good == Some((heads.0, heads.1, newest)) {
            return Some(newest);
        }
        channel.keys.current()?;
        if channel
            .keys
            .needs_rotation(log, channel.log.as_ref())
            .is_some()
        {
            return None;
        }
        channel.good = Some((heads.0, heads.1, newest));
        Some(newest)
    }

    /// Whether a message can be handed over now: this connection has shown the newest of all.
    pub(in crate::session) fn is_channel_ready(&mut self, name: &ChannelName) -> Option<KeyId> {
        if self.is_existing() {
            return self.is_room_ready(name);
        }
        let channel = self.channels.get(name)?;
        let logs = !self.log.may_be_behind() && !self.log.is_syncing();
        let shown = logs && channel.keys_current && (channel.log_current || !name.has_log());
        if !shown || channel.pause.is_some() || !self.link.has_channels() {
            return None;
        }
        self.good_key(name)
    }

    /// Why nothing goes to this channel, if that is certain.
    pub(in crate::session) fn channel_verdict(&self, name: &ChannelName) -> Option<String> {
        if self.is_existing() {
            return self.room_verdict(name);
        }
        let verdict = self.channels.get(name)?.verdict.as_ref()?;
        Some(verdict.to_string())
    }

    fn channel_frame(
        &mut self,
        name: &ChannelName,
        key_id: &KeyId,
        content: &Content,
        framing: &Framing,
    ) -> Result<String, SessionError> {
        if self.is_existing() {
            return self.room_frame(name, key_id, content, framing);
        }
        let nonce = self.rng.bytes();
        let head = self.log.held().map(crate::membership::Log::head);
        let missing = || SessionError::NotInChannel(name.clone());
        let channel = self.channels.get(name).ok_or_else(missing)?;
        let key = channel.keys.key(key_id).map_err(|_| missing())?;
        let (mesh, me) = (&self.config.mesh, &self.config.key);
        let sealed = seal_to_channel(mesh, me, name, key_id, key, head, content, nonce)?;
        let size = content.body.len();
        send_frame(name.as_str(), &content.id, framing, FORM, sealed, size)
    }

    /// The frame of a message to this target, sealed for this peer alone.
    pub(in crate::session) fn draft_frame(
        &mut self,
        target: &str,
        content: &Content,
        framing: &Framing,
    ) -> Result<String, SessionError> {
        let (mesh, me) = (self.config.mesh.clone(), Arc::clone(&self.config.key));
        let (own, nonce) = (me.public(), self.rng.bytes());
        let key = self.direct_key(&own);
        let key = key.map_err(|_| SessionError::NotAMember(own))?;
        let sealed = seal_direct(&mesh, &me, &own, None, content, key, nonce)?;
        let size = content.body.len();
        send_frame(target, &content.id, framing, DRAFT, sealed, size)
    }

    /// The row's frame sealed anew under the key of now; an error if that is not possible ever.
    pub(in crate::session) fn reseal(
        &mut self,
        row: &NewOutbox,
        name: &ChannelName,
        key_id: &KeyId,
    ) -> Result<String, SessionError> {
        let (content, framing) = self.open_own(&row.frame, row)?;
        self.channel_frame(name, key_id, &content, &framing)
    }

    /// The row's frame as a draft again.
    pub(in crate::session) fn redraft(
        &mut self,
        row: &NewOutbox,
        name: &ChannelName,
    ) -> Result<String, SessionError> {
        let (content, framing) = self.open_own(&row.frame, row)?;
        self.draft_frame(name.as_str(), &content, &framing)
    }

    /// The channel of a key that something was sealed under here, and the key.
    fn own_key(&self, id: &KeyId) -> Option<(&ChannelName, &crate::crypto::SecretKey)> {
        let Some(name) = self.channels.of_key.get(id) else {
            return self.existing.key(id);
        };
        Some((name, self.channels.get(name)?.keys.key(id).ok()?))
    }

    /// Opens an own frame: a draft, or one that was sealed under a key of the channel.
    pub(in crate::session) fn open_own(
        &mut self,
        frame: &str,
        row: &NewOutbox,
    ) -> Result<(Content, Framing), SessionError> {
        let damaged = || SessionError::Message(MessageError::Misdirected);
        let Some(Ok(send)) = decode_send(frame) else {
            return Err(damaged());
        };
        let Send {
            nonce,
            ciphertext,
            form,
            ..
        } = send.into_owned();
        let sealed = SealedText { nonce, ciphertext };
        let (mesh, me) = (self.config.mesh.clone(), self.config.key.public());
        let now = row.created_at;
        let opened = if form.as_deref() != Some(DRAFT) {
            let key_id = key_id_of(&sealed)?;
            let (name, key) = self.own_key(&key_id).ok_or_else(damaged)?;
            let expected = ExpectedInChannel {
                mesh: &mesh,
                channel: name,
                key_id: &key_id,
                frame_id: Some(row.id.as_str()),
                now,
            };
            open_in_channel(expected, key, &sealed)?
        } else {
            let expected = Expected {
                mesh: &mesh,
                recipient: &me,
                sender: &me,
                frame_id: Some(row.id.as_str()),
                now,
            };
            let key = self.direct_key(&me).map_err(|_| damaged())?;
            open_direct(expected, key, &sealed)?
        };
        let framing = Framing {
            priority: row.priority,
            expires_at: row.expires_at,
        };
        Ok((opened.content, framing))
    }
}
