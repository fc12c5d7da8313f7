//! Online-only messages: handed to the sockets of those who are connected, kept nowhere.
//!
//! Nothing is committed, so nothing is remembered either: a repeated one is a new one. Who is away,
//! busy or slow misses it, and the sender is told how many were reached.

use std::collections::BTreeSet;

use bytes::Bytes;
use claudemesh_core::id::Priority;
use claudemesh_core::wire::{Ack, Push, Send, errors::code, join_push, push_tail};

use super::Router;
use super::conn::{Conn, HINT_BYTES};
use super::send::{Sent, refused};
use super::types::{ConnId, Kind, Out};

/// Why a connection is not handed a message, the more hopeful the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Missed {
    NotOnline,
    Gated,
    Slow,
}

impl Router {
    /// Hands a message on, and answers its sender.
    pub(super) fn send_online(&mut self, mut sent: Sent, send: &Send) {
        let conn = sent.conn;
        let mut ack = match sent.refusal.take() {
            Some(refusal) => refusal,
            None => self.hand_online(&sent, send),
        };
        ack.id.clone_from(&sent.ack_id);
        let sender = self.conns.get_mut(&conn);
        if let Some(sender) = sender {
            if sender.modern {
                ack.client_message_id = sent.client_id.as_deref().map(str::to_owned);
            }
            sender.answer(sent.number, ack);
        }
        self.flush_acks(conn);
    }

    fn hand_online(&mut self, sent: &Sent, send: &Send) -> Ack {
        let Some(push) = self.push_of(sent, send) else {
            return not_reached(Missed::NotOnline);
        };
        let id = self.fresh_id();
        let push = Push {
            online: Some(true),
            ..push
        };
        let text = Bytes::from(join_push(&id, &push_tail(&push)));
        let turn = self.turn;
        let (mut reached, mut why) = (Vec::new(), Missed::NotOnline);
        for id in self.those_who_drain(sent) {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            match takes(conn, sent, text.len(), turn) {
                Ok(()) => {
                    conn.online_bytes = (turn, conn.online_in(turn) + text.len());
                    reached.push(id);
                }
                Err(missed) => why = why.max(missed),
            }
        }
        if reached.is_empty() {
            return not_reached(why);
        }
        let ack = Ack {
            message_id: id,
            queued: true,
            online: Some(true),
            reached: Some(u32::try_from(reached.len()).unwrap_or(u32::MAX)),
            ..Ack::default()
        };
        self.outs.push_back(Out::Write {
            conns: reached,
            text,
            kind: Kind::Push,
        });
        ack
    }

    /// The connections that read the recipients' mailboxes, each once.
    fn those_who_drain(&self, sent: &Sent) -> BTreeSet<ConnId> {
        let Some(mesh) = self.mesh(&sent.mesh) else {
            return BTreeSet::new();
        };
        let drains = sent.recipients.iter();
        let drains = drains.filter_map(|address| mesh.drains.get(address));
        drains.flatten().copied().collect()
    }
}

fn takes(conn: &Conn, sent: &Sent, bytes: usize, turn: u64) -> Result<(), Missed> {
    // Before its `hello_ack` it is not there yet.
    if conn.counts_left > 0 || !sent.needs.has(conn) {
        return Err(Missed::NotOnline);
    }
    let open = match sent.class {
        // What was asked for by number is what waits in the mailbox.
        Priority::Low => conn.low_at_will(),
        class => conn.open(class),
    };
    if !open {
        return Err(Missed::Gated);
    }
    let waits = conn.unwritten.saturating_add(conn.online_in(turn));
    if waits.saturating_add(bytes) > HINT_BYTES {
        return Err(Missed::Slow);
    }
    Ok(())
}

fn not_reached(why: Missed) -> Ack {
    let (code, text) = match why {
        Missed::NotOnline => (
            code::NOT_ONLINE,
            "not_online: no recipient is connected; send without `online` to have it kept",
        ),
        Missed::Gated => (
            code::GATED,
            "gated: who is connected is busy; send with a higher priority, or without `online`",
        ),
        Missed::Slow => (
            code::SLOW,
            "slow: who is connected reads too slowly; try again in a moment",
        ),
    };
    Ack {
        online: Some(true),
        reached: Some(0),
        ..refused(code, text)
    }
}
