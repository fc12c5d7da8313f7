//! Making the next key of a channel, when the newest one was made for other members.

use std::sync::Arc;

use super::RETRY_MS;
use crate::channel::{Rotation, StatementError, audience};
use crate::encoding::base64url;
use crate::id::{ChannelName, KeyId};
use crate::session::requests::Asked;
use crate::session::{Event, Lie, Session, SessionError};
use crate::wire::{
    KeyCopies, KeyPublished, MAX_COPIES_PER_FRAME, PublishKey, SignedBlob, errors::code,
};

/// How often in a row others may be faster before it waits.
const MAX_TRIES: u32 = 3;

impl Session {
    /// The newest key and both logs are here: is the key good to seal under?
    pub(super) fn check_newest_key(&mut self, name: &ChannelName) {
        let me = self.config.key.public();
        let (Some(log), Some(channel)) = (self.log.held(), self.channels.held.get(name)) else {
            return;
        };
        let channel_log = channel.log.as_ref();
        let readers = audience(name, log, channel_log).unwrap_or_default();
        if readers.binary_search(&me).is_err() {
            let error = SessionError::NotInChannel(name.clone());
            return self.give_up_channel(name, &error);
        }
        let heads = (log.head().seq, channel.log_seq());
        match (
            channel.keys.needs_rotation(log, channel_log),
            channel.keys.current(),
        ) {
            // The broker refuses what is sealed under a key that it has lost: the next one helps.
            (None, Some(_)) if channel.lost_to.is_some() && channel.tries > 0 => self.rotate(name),
            (None, Some((id, _))) => {
                let id = *id;
                self.channel_ready(name, heads, id);
            }
            (None, None) => {
                // The copy should have come with the key. Whoever keeps it back cannot keep this
                // peer from making the next one.
                let channel = name.clone();
                self.event(Event::LiedTo(Lie::CopyWithheld { channel }));
                self.rotate(name);
            }
            (Some(_), _) => self.rotate(name),
        }
    }

    fn rotate(&mut self, name: &ChannelName) {
        let me = Arc::clone(&self.config.key);
        let (Some(log), Some(channel)) = (self.log.held(), self.channels.held.get_mut(name)) else {
            return;
        };
        let after = match channel.lost_to {
            Some(current) => current,
            None => channel.keys.newest_key().copied(),
        };
        let (rng, channel_log) = (&mut self.rng, channel.log.as_ref());
        let made = (channel.keys).rotate_after(rng, &me, log, channel_log, after);
        match made {
            Ok(rotation) => self.publish(name, rotation),
            Err(StatementError::NeedsPrevious) => {
                // Somebody who holds the key before this one makes the next.
                let why = "waiting for a member who holds the key before this one";
                self.pause_channel(name, RETRY_MS, why);
                if let Some(channel) = self.channels.held.get_mut(name) {
                    channel.keys_current = false;
                }
            }
            Err(error) => self.give_up_channel(name, &error.into()),
        }
    }

    fn publish(&mut self, name: &ChannelName, rotation: Rotation) {
        let key_id = rotation.statement.key_id().to_hex();
        for copies in rotation.copies.chunks(MAX_COPIES_PER_FRAME) {
            let mut bytes = Vec::with_capacity(copies.len() * 80);
            for (member, copy) in copies {
                bytes.extend_from_slice(&member.0);
                bytes.extend_from_slice(copy);
            }
            self.transmit(KeyCopies {
                key_id: key_id.clone(),
                copies: base64url(&bytes),
                req_id: None,
            });
        }
        let statement = &rotation.statement;
        let statement = SignedBlob::new(&statement.bytes, &statement.signature, None);
        let after = rotation.after.as_ref().map(KeyId::to_hex);
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.busy = true;
            channel.publishing = Some(Box::new(rotation));
        }
        let req_id = Some(self.ask(Asked::Publish(name.clone())));
        self.transmit(PublishKey {
            statement,
            after,
            req_id,
        });
    }

    /// The broker has taken the key that was made here.
    pub(in crate::session) fn key_published(&mut self, published: &KeyPublished) {
        let asked = self.requests.take(published.req_id.as_deref());
        let Some(Asked::Publish(name)) = asked else {
            return;
        };
        let me = Arc::clone(&self.config.key);
        let (Some(log), Some(channel)) = (self.log.held(), self.channels.held.get_mut(&name))
        else {
            return;
        };
        channel.busy = false;
        channel.lost_to = None;
        let Some(rotation) = channel.publishing.take() else {
            return;
        };
        let id = rotation.statement.key_id();
        channel
            .keys
            .take(&rotation.statement, log, channel.log.as_ref());
        let own = rotation.copies.iter().find(|(key, _)| *key == me.public());
        if let Some((_, copy)) = own {
            // A copy that was just made fits.
            let _ = channel.keys.take_copy(&id, &me, copy);
        }
        channel.tries = 0;
        let epoch = channel.keys.statement(&id).map_or(0, |s| s.epoch);
        self.channels.of_key.insert(id, name.clone());
        self.keep_key(&name, &rotation.statement);
        let channel = name.clone();
        self.event(Event::ChannelRekeyed { channel, epoch });
        self.drive_channel(&name);
    }

    pub(in crate::session) fn publish_failed(
        &mut self,
        name: &ChannelName,
        error: &SessionError,
        retry_after: Option<u64>,
    ) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        channel.publishing = None;
        // Another key may be the newest by now, also if there was no answer.
        channel.keys_current = false;
        let refusal = match error {
            SessionError::Refused { code, .. } => code.as_str(),
            _ => "",
        };
        match refusal {
            code::KEY_CONFLICT => self.outrun(name),
            code::STALE_EPOCH => {
                self.channel_logs_old(name);
                self.outrun(name);
            }
            code::RATE_LIMIT | code::BUSY | code::STORE_UNAVAILABLE | "" => {
                let reason = error.to_string();
                self.pause_channel(name, retry_after.unwrap_or(RETRY_MS), &reason);
            }
            _ => self.give_up_channel(name, error),
        }
    }

    /// Somebody was faster, or knew more: once more with what they know; after some tries, later.
    pub(super) fn outrun(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.tries += 1;
        if channel.tries <= MAX_TRIES {
            return self.drive_channel(name);
        }
        let doublings = (channel.tries - MAX_TRIES).min(5);
        let told = channel.tries == MAX_TRIES + 1;
        if told {
            let channel = name.clone();
            self.event(Event::ChannelContention { channel });
        }
        let why = "others keep changing the channel at the same time";
        self.pause_channel(name, 500 << doublings, why);
    }

    /// Something that was sealed for this channel was accepted.
    pub(in crate::session) fn channel_works(&mut self, name: &ChannelName) {
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.tries = 0;
        }
    }

    /// Something that was sealed under the newest key known here was refused.
    pub(in crate::session) fn channel_stale(&mut self, name: &ChannelName) {
        self.channel_logs_old(name);
        if let Some(channel) = self.channels.held.get_mut(name)
            && channel.pause.is_none()
            && !channel.busy
        {
            channel.wanted = true;
            self.outrun(name);
        }
    }

    /// The broker knows newer logs than this peer.
    pub(super) fn channel_logs_old(&mut self, name: &ChannelName) {
        self.log.is_behind();
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.log_current = false;
            channel.keys_current = false;
            channel.good = None;
        }
    }
}
