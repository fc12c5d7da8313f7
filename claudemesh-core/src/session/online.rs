//! Online-only sends: handed to whoever is connected at this moment, kept nowhere, tried once.
//!
//! Nothing of them goes into the outbox. Who asked hears how many connections were reached, or why
//! none was; if the connection breaks before the answer, that it is not known.

use std::collections::HashMap;

use super::channels::sealed_under;
use super::{CommandId, NotReached, Outgoing, Reply, Session, SessionError, clean};
use crate::id::{ChannelName, MessageId, Target};
use crate::sorted::sorted;
use crate::store::NewOutbox;
use crate::wire::{Ack, Frame as _, Send, errors::code};

/// Milliseconds until an answer must be there.
const ANSWER_MS: u64 = 10_000;
/// Messages that wait for their answer at most. A broker reads 256 sends ahead.
const MAX_WAITING: usize = 256;

/// A message, or its copy for a device, that was handed to the broker.
struct Part {
    command: CommandId,
    to: Target,
    until: u64,
}

/// What is known of a message and its copies.
struct Whole {
    left: usize,
    reached: u32,
    why: Option<SessionError>,
}

/// Online-only messages whose answer is awaited.
#[derive(Default)]
pub(super) struct Online {
    parts: HashMap<MessageId, Part>,
    wholes: HashMap<CommandId, Whole>,
}

impl Online {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.parts.values().map(|part| part.until).min()
    }
}

impl Session {
    pub(super) fn send_online(&mut self, command: CommandId, message: &Outgoing) {
        if let Err(error) = self.hand_online(command, message) {
            self.done(command, Err(error));
        }
    }

    fn hand_online(&mut self, command: CommandId, message: &Outgoing) -> Result<(), SessionError> {
        if self.link.is_ended() {
            return Err(self.link.ended());
        }
        if !self.link.is_ready() {
            let why = "waiting for the connection".to_owned();
            return Err(SessionError::NotConnected(why));
        }
        if !self.link.has_delivery() {
            return Err(SessionError::OnlineUnserved);
        }
        let id = MessageId::from_parts(self.now.wall, self.rng.bytes());
        let (rows, _) = self.seal_all_as(message, id)?;
        if self.online.parts.len() + rows.len() > MAX_WAITING {
            return Err(SessionError::OnlineFull);
        }
        let mut frames = Vec::with_capacity(rows.len());
        for row in &rows {
            frames.push(self.online_frame(row)?);
        }
        let until = self.now.mono + ANSWER_MS;
        let whole = Whole {
            left: rows.len(),
            reached: 0,
            why: None,
        };
        self.online.wholes.insert(command, whole);
        for (row, frame) in rows.into_iter().zip(frames) {
            let to = row.to;
            self.online
                .parts
                .insert(row.id, Part { command, to, until });
            self.transmit(frame);
        }
        Ok(())
    }

    /// The frame of a row that is never stored. A draft is none.
    fn online_frame(&mut self, row: &NewOutbox) -> Result<Send, SessionError> {
        if let Target::Channel(name) = &row.to {
            let key = self.is_channel_ready(name);
            if key.is_none() || key != sealed_under(&row.frame) {
                self.want_channel(name);
                return Err(SessionError::KeyUnderWay(name.clone()));
            }
        }
        // It was encoded a moment ago: it cannot but be one.
        let mut send = Send::decode(&row.frame).map_err(|_| SessionError::OnlineUnserved)?;
        send.online = Some(true);
        send.expires_at = None;
        Ok(send)
    }

    /// Takes the answer to an online-only message; false if it is of none.
    pub(super) fn online_ack(&mut self, id: &MessageId, ack: &Ack) -> bool {
        let Some(part) = self.online.parts.remove(id) else {
            return false;
        };
        let mut why = None;
        if !ack.queued {
            let stale = part.to.channel().filter(|_| is_stale(ack));
            if let Some(name) = stale {
                self.channel_stale(&name.clone());
            }
            why = Some(refusal(ack, stale));
        }
        let reached = ack.reached.filter(|_| ack.queued).unwrap_or(0);
        let Some(whole) = self.online.wholes.get_mut(&part.command) else {
            return true;
        };
        whole.left = whole.left.saturating_sub(1);
        whole.reached = whole.reached.saturating_add(reached);
        if let Some(why) = why
            && hope(&why) >= whole.why.as_ref().map_or(0, hope)
        {
            whole.why = Some(why);
        }
        if whole.left == 0 {
            self.online_ended(part.command);
        }
        true
    }

    fn online_ended(&mut self, command: CommandId) {
        let Some(whole) = self.online.wholes.remove(&command) else {
            return;
        };
        let result = match whole.why {
            _ if whole.reached > 0 => Ok(Reply::Reached(whole.reached)),
            Some(why) => Err(why),
            None => Err(SessionError::NotReached(NotReached::NotOnline)),
        };
        self.done(command, result);
    }

    /// There will be no answer on a connection that is gone.
    pub(super) fn online_lost(&mut self) {
        self.online.parts.clear();
        let wholes = self.online.wholes.drain().map(|(command, _)| command);
        for command in sorted(wholes.collect()) {
            self.done(command, Err(SessionError::OnlineUnknown));
        }
    }

    pub(super) fn tick_online(&mut self) {
        let mono = self.now.mono;
        if self.online.deadline().is_none_or(|until| mono < until) {
            return;
        }
        let late = self.online.parts.values().filter(|p| mono >= p.until);
        let mut late: Vec<CommandId> = late.map(|part| part.command).collect();
        late = sorted(late);
        late.dedup();
        self.online
            .parts
            .retain(|_, part| late.binary_search(&part.command).is_err());
        for command in late {
            self.online.wholes.remove(&command);
            self.done(command, Err(SessionError::OnlineUnknown));
        }
    }
}

fn is_stale(ack: &Ack) -> bool {
    ack.code.as_deref() == Some(code::STALE_EPOCH)
}

fn refusal(ack: &Ack, stale: Option<&ChannelName>) -> SessionError {
    if let Some(name) = stale {
        return SessionError::KeyUnderWay(name.clone());
    }
    match ack.code.as_deref() {
        Some(code::NOT_ONLINE) => SessionError::NotReached(NotReached::NotOnline),
        Some(code::GATED) => SessionError::NotReached(NotReached::Gated),
        Some(code::SLOW) => SessionError::NotReached(NotReached::Slow),
        other => SessionError::Refused {
            code: clean(other.unwrap_or("refused"), 64),
            message: clean(ack.error.as_deref().unwrap_or("no reason was given"), 256),
        },
    }
}

/// Of several reasons the one that says most about what to do.
fn hope(why: &SessionError) -> u8 {
    match why {
        SessionError::NotReached(NotReached::NotOnline) => 1,
        SessionError::NotReached(NotReached::Gated) => 2,
        SessionError::NotReached(NotReached::Slow) => 3,
        _ => 4,
    }
}
