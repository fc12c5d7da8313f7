//! Handing a channel's key to its readers: a direct message to each. It is not in the outbox: until
//! the broker has taken it, it is made again from what is kept.

use std::collections::{HashMap, VecDeque};

use crate::channel::{CHANNEL_KEY, key_for_reader};
use crate::id::{ChannelName, KeyId, MessageId, Priority, PublicKey};
use crate::message::{Content, FORM, seal_direct};
use crate::session::outbox::{Framing, send_frame};
use crate::session::{Out, Session};
use crate::wire::Ack;

/// Of these without an answer at most: the broker takes ten at once.
const MAX_SENT: usize = 8;
/// Readers that wait for a key at most.
const MAX_WAITING: usize = 8_192;
/// Milliseconds until it is tried again where the broker takes no more for now: it takes one each
/// second.
const PAUSE_MS: u64 = 1_100;
/// Milliseconds for which such a message lasts: as long as the broker keeps it.
const EXPIRES_MS: u64 = 7 * 86_400_000;

struct Tell {
    channel: ChannelName,
    key_id: KeyId,
    reader: PublicKey,
}

/// Who is still to get which key.
#[derive(Default)]
pub(super) struct Tells {
    waiting: VecDeque<Tell>,
    sent: HashMap<MessageId, Tell>,
    /// Nothing is sent before, in ms of the clock.
    pause: Option<u64>,
}

impl Tells {
    pub(super) fn connection_closed(&mut self) {
        *self = Self::default();
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.pause
    }

    fn is_under_way(&self, key_id: &KeyId, reader: &PublicKey) -> bool {
        let mut all = self.waiting.iter().chain(self.sent.values());
        all.any(|tell| tell.key_id == *key_id && tell.reader == *reader)
    }
}

impl Session {
    pub(super) fn tell_key(&mut self, channel: &ChannelName, key_id: KeyId, reader: PublicKey) {
        let tells = &mut self.existing.tells;
        if tells.is_under_way(&key_id, &reader) || tells.waiting.len() >= MAX_WAITING {
            return;
        }
        tells.waiting.push_back(Tell {
            channel: channel.clone(),
            key_id,
            reader,
        });
        self.pump_tells();
    }

    pub(super) fn tick_tells(&mut self) {
        let mono = self.now.mono;
        if self
            .existing
            .tells
            .pause
            .take_if(|at| mono >= *at)
            .is_some()
        {
            self.pump_tells();
        }
    }

    fn pump_tells(&mut self) {
        loop {
            let tells = &mut self.existing.tells;
            if tells.pause.is_some() || tells.sent.len() >= MAX_SENT {
                return;
            }
            let Some(tell) = tells.waiting.pop_front() else {
                return;
            };
            let id = MessageId::from_parts(self.now.wall, self.rng.bytes());
            if let Some(frame) = self.tell_frame(&tell, &id) {
                self.existing.tells.sent.insert(id, tell);
                self.out.push_back(Out::Transmit(frame));
            }
        }
    }

    /// None if the key is held no more, or nothing can be sealed for its reader.
    fn tell_frame(&mut self, tell: &Tell, id: &MessageId) -> Option<String> {
        let (signed, root) = self.existing.keys.to_give(&tell.key_id)?;
        let (mesh, me) = (self.config.mesh.clone(), self.config.key.clone());
        let body = key_for_reader(signed, root, &me, &tell.reader).ok()?;
        let size = body.len();
        let content = Content {
            id: id.clone(),
            sent_at: self.now.wall,
            due: None,
            reply_to: None,
            content_type: CHANNEL_KEY.to_owned(),
            attributes: Vec::new(),
            body,
        };
        let nonce = self.rng.bytes();
        let key = self.direct_key(&tell.reader).ok()?;
        let sealed = seal_direct(&mesh, &me, &tell.reader, None, &content, key, nonce).ok()?;
        let framing = Framing {
            // What is sealed under it may be urgent.
            priority: Priority::Now,
            expires_at: self.now.wall.saturating_add(EXPIRES_MS),
        };
        let frame = send_frame(&tell.reader.to_hex(), id, &framing, FORM, sealed, size).ok()?;
        Some(self.name_member(frame))
    }

    /// The broker's answer to a key that was handed over.
    pub(in crate::session) fn tell_answered(&mut self, id: &MessageId, ack: &Ack) {
        let tells = &mut self.existing.tells;
        let Some(tell) = tells.sent.remove(id) else {
            return;
        };
        let error = ack.error.as_deref().unwrap_or_default();
        if ack.queued {
            let rooms = &mut self.existing.rooms;
            rooms.was_told(&tell.channel, tell.key_id, tell.reader);
        } else if error.starts_with("rate_limit") {
            tells.waiting.push_front(tell);
            tells.pause = Some(self.now.mono + PAUSE_MS);
        }
        // Who is not there gets it before the next message.
        self.pump_tells();
    }
}
