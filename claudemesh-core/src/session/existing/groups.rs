//! Groups and topics of the existing broker that this peer is in. A group is a session's own word,
//! said again on each connection; a topic keeps its members.

use super::frames;
use crate::id::ChannelName;
use crate::membership::ChannelBody;
use crate::session::{CommandId, Out, Reply, Session, SessionError, StoreWork};

/// How the pin of a channel begins that this peer has joined there; its name follows.
const PIN_IN: &str = "in:";
/// Channels that were joined, or left, there at most.
const MAX_JOINED: usize = 256;

const NOT_FOR_OTHERS: &str = "everybody joins and leaves channels by themselves there; ask them to";

impl Session {
    /// Joins or leaves a group or topic by telling the broker, which answers nothing.
    pub(in crate::session) fn append_to_existing(
        &mut self,
        command: CommandId,
        name: &ChannelName,
        body: &ChannelBody,
    ) {
        let own = self.config.key.public();
        let join = match body {
            ChannelBody::Joined { key } if *key == own => true,
            ChannelBody::Left { key } if *key == own => false,
            _ => return self.done(command, Err(SessionError::NoLog(NOT_FOR_OTHERS))),
        };
        if !name.has_log() {
            return self.done(command, Err(SessionError::NoSuchChannel(name.clone())));
        }
        let pin = format!("{PIN_IN}{name}");
        let known = self.pins.keys().filter(|pin| pin.starts_with(PIN_IN));
        if !self.pins.contains_key(&pin) && known.count() >= MAX_JOINED {
            return self.done(command, Err(SessionError::Contention));
        }
        self.pin(&pin, if join { "1" } else { "0" });
        let frame = frames::membership(name, join);
        self.out.push_back(Out::Transmit(frame.encode()));
        self.store(Vec::new(), StoreWork::Answered(command, Reply::Done));
    }

    /// On a new connection: which groups this session is in.
    pub(super) fn say_groups(&mut self) {
        for name in self
            .joined()
            .filter(ChannelName::is_group)
            .collect::<Vec<_>>()
        {
            let frame = frames::membership(&name, true);
            self.out.push_back(Out::Transmit(frame.encode()));
        }
    }

    fn joined(&self) -> impl Iterator<Item = ChannelName> {
        let pins = self.pins.iter().filter(|(_, value)| *value == "1");
        pins.filter_map(|(pin, _)| ChannelName::new(pin.strip_prefix(PIN_IN)?).ok())
    }

    /// Whether this peer is in a topic there: then plain text may come in the form of direct
    /// messages.
    pub(in crate::session) fn is_in_topics(&self) -> bool {
        self.joined().any(|name| !name.is_group())
    }
}
