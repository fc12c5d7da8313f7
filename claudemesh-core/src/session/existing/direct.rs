//! Messages to and from one peer, where nobody vouches for keys.

use crate::id::{Name, PublicKey, Target};
use crate::message::{Content, MessageError, SealedText};
use crate::session::channels::is_draft;
use crate::session::legacy::LEGACY_KEY_CHANGED;
use crate::session::outbox::Framing;
use crate::session::{Outgoing, Protection, Session, SessionError};
use crate::store::{NewInbox, NewOutbox};
use crate::wire::Push;

/// Milliseconds for which the list of who is here is new enough to send bare text.
const FRESH_MS: u64 = 1_000;
/// Milliseconds until it is looked again what somebody understands who is there.
const LOOK_MS: u64 = 500;
/// The same for who is not: a list that names it is looked at at once.
const AWAY_MS: u64 = 60_000;

impl Session {
    /// The row of a message to one key, and whether it is bare text. Never anything but what is
    /// sealed for that key.
    pub(in crate::session) fn seal_without_log(
        &mut self,
        message: &Outgoing,
        framing: &Framing,
        to: PublicKey,
        content: &Content,
    ) -> Result<(Vec<NewOutbox>, bool), SessionError> {
        self.may_send_without_log(message, &to)?;
        // Who once showed that it understands envelopes never gets less.
        if !self.speaks_envelopes(&to) {
            if self.shows_no_statement(&to) {
                return Ok((vec![self.seal_as_bare(message, to, content)?], true));
            }
            // What it understands is not known before it is there: whoever understands envelopes
            // takes nothing else.
            let frame = self.draft_frame(&to.to_hex(), content, framing)?;
            let row = NewOutbox {
                id: content.id.clone(),
                to: Target::Peer(to),
                frame,
                priority: framing.priority,
                created_at: self.now.wall,
                expires_at: framing.expires_at,
                lane: self.config.lane,
                sent: false,
            };
            return Ok((vec![row], true));
        }
        let row = self.seal(framing, content, content.id.clone(), to, None)?;
        Ok((vec![row], false))
    }

    fn may_send_without_log(&self, message: &Outgoing, to: &PublicKey) -> Result<(), SessionError> {
        // Somebody named the key itself: no word of the broker's is needed.
        if self.is_named(to) {
            return Ok(());
        }
        let listed = self.existing.here.listed(to);
        let Some(listed) = listed.filter(|_| self.is_existing()) else {
            return Err(SessionError::NotAMember(*to));
        };
        if listed.changed {
            return Err(SessionError::KeyChanged(*to));
        }
        if !message.to_unverified && !self.trusts_at_first_use(to) {
            return Err(SessionError::NotTrusted(*to));
        }
        Ok(())
    }

    /// Whether a key is there, has been for long enough to show its statement, and shows none.
    fn shows_no_statement(&self, key: &PublicKey) -> bool {
        let mono = self.now.mono;
        self.is_existing()
            && self.existing.here.is_fresh(mono, FRESH_MS)
            && self.existing.here.has_settled(key, mono)
    }

    /// The frame of a message to one peer as it goes out now, if it is another than is kept. An
    /// error if it does not: for now, or why it never will.
    pub(in crate::session) fn for_peer_now(
        &mut self,
        row: &NewOutbox,
    ) -> Result<Option<String>, Option<String>> {
        let Some(to) = row.to.peer().copied().filter(|_| is_draft(&row.frame)) else {
            return Ok(None);
        };
        let again = || Some("this mesh has a membership log by now; send it again".to_owned());
        if !self.has_no_log() {
            return Err(again());
        }
        if !self.is_existing() || !(self.speaks_envelopes(&to) || self.shows_no_statement(&to)) {
            self.wait_for(&row.to, &to);
            return Err(None);
        }
        let sealed = self.seal_draft(row, to);
        sealed.map(Some).map_err(|error| Some(error.to_string()))
    }

    fn seal_draft(&mut self, row: &NewOutbox, to: PublicKey) -> Result<String, SessionError> {
        let (content, framing) = self.open_own(&row.frame, row)?;
        if self.speaks_envelopes(&to) {
            return Ok(self
                .seal(&framing, &content, row.id.clone(), to, None)?
                .frame);
        }
        let message = Outgoing {
            to: row.to.clone(),
            body: content.body.clone(),
            content_type: content.content_type.clone(),
            priority: framing.priority,
            reply_to: content.reply_to.clone(),
            attributes: content.attributes.clone(),
            expires_in: Some(framing.expires_at.saturating_sub(self.now.wall)),
            to_unverified: true,
            protection: Protection::Sealed,
        };
        Ok(self.seal_as_bare(&message, to, &content)?.frame)
    }

    /// Looks again when it is known what a recipient understands, or when it comes.
    fn wait_for(&mut self, target: &Target, to: &PublicKey) {
        let mono = self.now.mono;
        let there = self.existing.here.listed(to).is_some();
        if there && self.is_existing() && !self.existing.here.is_fresh(mono, FRESH_MS) {
            self.ask_here();
        }
        let pause = if there { LOOK_MS } else { AWAY_MS };
        self.outbox.held.insert(target.clone(), mono + pause);
    }

    /// A box that did not hold bare text, from somebody of whom it is not known what it
    /// understands: it may hold an envelope, which then shows it. None if it does not.
    pub(in crate::session) fn open_first_envelope(
        &mut self,
        push: &Push,
        sender: PublicKey,
        sealed: &SealedText,
        name: Option<Name>,
        error: &MessageError,
    ) -> Option<Result<NewInbox, String>> {
        if !error.is_envelope() || !self.has_no_log() {
            return None;
        }
        Some(match self.open_envelope(push, sender, sealed) {
            Ok((opened, to)) => {
                // Signed by that key, for this mesh and peer: it understands envelopes.
                self.pin_envelope(&sender);
                let mut row = self.row(push, &opened, name, false);
                row.to = to;
                Ok(row)
            }
            Err(error) => Err(error.to_string()),
        })
    }

    /// Marks a message whose sender's name is known with another key.
    pub(in crate::session) fn mark_changed(&self, row: &mut NewInbox) {
        if row.verified || !self.has_no_log() {
            return;
        }
        let (name, changed) = self.shown_name(&row.sender);
        if row.sender_name.is_none() {
            row.sender_name = name;
        }
        let marked = row.attributes.iter().any(|item| item == LEGACY_KEY_CHANGED);
        if changed && !marked {
            row.attributes.push(LEGACY_KEY_CHANGED.to_owned());
        }
    }
}
