//! What this session does, in a few words that only members read.

use super::Task;
use crate::channel::{ExpectedValue, MAX_VALUE_VERSION, SealedValue, Value, What, open_value};
use crate::id::{ChannelName, PublicKey};
use crate::session::{CommandId, Reply, Session, SessionError};
use crate::wire::{PeerRecord, SetSummary};

/// The mark of a summary that was sealed and could be opened.
pub(crate) const SUMMARY_PROTECTED: &str = "summaryProtected";
/// The mark of a summary that was sealed and could not be opened.
pub(crate) const SUMMARY_LOCKED: &str = "summaryLocked";

impl Session {
    pub(in crate::session) fn set_summary(&mut self, command: CommandId, text: String) {
        // There no later connection will show it either.
        if !text.is_empty() && self.is_existing() {
            return self.done(command, Err(SessionError::ValuesUnserved));
        }
        self.values.summary = Some(text);
        self.done(command, Ok(Reply::Done));
        self.summary_wanted();
    }

    /// On each connection, and whenever it changes.
    pub(in crate::session) fn summary_wanted(&mut self) {
        match &self.values.summary {
            Some(text) if text.is_empty() => self.transmit_summary(String::new()),
            Some(_) if self.values_refused().is_none() => {
                self.when_keyed(&ChannelName::state(), Task::Summary);
            }
            _ => {}
        }
    }

    pub(super) fn tell_summary(&mut self) {
        let Some(text) = self.values.summary.clone() else {
            return;
        };
        let value = Value {
            what: What::Summary,
            name: self.config.key.public().to_hex(),
            // A member's sessions each have their own: a later one does not outrank the others, so
            // the number is only a time.
            version: self.now.wall.clamp(1, MAX_VALUE_VERSION),
            written_at: self.now.wall,
            body: text.into_bytes(),
        };
        if let Ok((sealed, _)) = self.seal_value(&value) {
            self.transmit_summary(sealed.to_text());
        }
    }

    fn transmit_summary(&mut self, summary: String) {
        if self.link.is_ready() {
            self.transmit(SetSummary { summary });
        }
    }

    /// Puts the text of a sealed summary in its place, marked as protected.
    pub(in crate::session) fn show_summary(&mut self, record: &mut PeerRecord) {
        // Marks are made here: what the broker says of it counts for nothing.
        record.extra.remove(SUMMARY_PROTECTED);
        record.extra.remove(SUMMARY_LOCKED);
        let sealed = record
            .summary()
            .filter(|text| SealedValue::from_text(text).is_ok());
        let Some(sealed) = sealed.map(str::to_owned) else {
            return;
        };
        let member = record.member_pubkey.as_deref().unwrap_or(&record.pubkey);
        let opened = PublicKey::from_hex(member).ok();
        let opened = opened.and_then(|member| self.open_summary(&member, &sealed));
        let mark = match opened {
            Some(_) => SUMMARY_PROTECTED,
            None => SUMMARY_LOCKED,
        };
        record.extra.insert(mark.to_owned(), true.into());
        record.summary = Some(opened);
    }

    /// A peer's summary, opened; none if it is plain, or cannot be opened now.
    fn open_summary(&mut self, member: &PublicKey, text: &str) -> Option<String> {
        let sealed = SealedValue::from_text(text).ok()?;
        let (state, name) = (ChannelName::state(), member.to_hex());
        let key_id = *sealed.key_id();
        let key = self.channels.get(&state).map(|held| held.keys.key(&key_id));
        let Some(Ok(key)) = key else {
            // The next time it is asked for it may be here.
            self.values.looked_for.insert(key_id);
            self.look_for_keys();
            return None;
        };
        let expected = ExpectedValue {
            mesh: &self.config.mesh,
            what: What::Summary,
            name: &name,
            key_id: &key_id,
            key,
        };
        let opened = open_value(expected, &sealed).ok()?;
        String::from_utf8(opened.body).ok()
    }
}
