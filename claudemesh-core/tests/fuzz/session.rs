//! The session under any order of inputs: frames of a broker that says anything, messages of
//! members, commands, breaks, a store that fails, time that passes. It must not panic, and must send
//! nothing that is not on its disk.
//!
//! The input is a list of operations: a byte says which, what follows up to the next line end is
//! what it is done with.

use std::sync::OnceLock;

use crate::support::{ANA, BEN, CEM, Mesh, NOW, Rig, key, outgoing, push};
use claudemesh_core::id::{ChannelName, Target};
use claudemesh_core::membership::{Body, ChannelBody};
use claudemesh_core::session::{Command, In};
use claudemesh_core::store::{PeerStore, Query, Rows};
use claudemesh_core::wire::{ClientFrame, HelloAck};

/// Operations of one input at most.
const MOST: usize = 64;

fn mesh() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    MESH.get_or_init(|| Mesh::new(&[BEN, CEM]))
}

fn whole_ack(rig: &Rig) -> HelloAck {
    HelloAck {
        capabilities: Some(
            [
                "delivery/1",
                "envelope/1",
                "log/1",
                "channels/1",
                "values/1",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        ..rig.hello_ack()
    }
}

fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap_or_else(|_| ChannelName::everyone())
}

fn apply(rig: &mut Rig, operation: u8, rest: &[u8]) {
    let text = String::from_utf8_lossy(rest).into_owned();
    let number = rest.first().copied().unwrap_or(0);
    match operation {
        b'f' => rig.put(In::Frame(text)),
        b'p' => {
            let from = [ANA, CEM, 9][usize::from(number % 3)];
            let id: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            let id = if id.is_empty() { "x" } else { &id };
            if id.len() <= 64 {
                rig.frame(push(mesh(), from, BEN, id, rig.now.wall));
            }
        }
        b's' => drop(rig.command(Command::Send(Box::new(outgoing(CEM, &text))))),
        b'o' => drop(rig.command(Command::SendOnline(Box::new(outgoing(ANA, &text))))),
        b'c' => {
            let mut message = outgoing(CEM, "said");
            message.to = Target::Channel(channel(&text));
            rig.command(Command::Send(Box::new(message)));
        }
        b'n' => {
            let body = Body::ChannelCreated {
                channel: channel(&text),
                public: number % 2 == 0,
            };
            let invite_token = None;
            rig.command(Command::Append { body, invite_token });
        }
        b'j' => {
            let body = ChannelBody::Joined { key: key(BEN) };
            let channel = channel(&text);
            rig.command(Command::AppendChannel { channel, body });
        }
        b'k' => {
            let (key, body) = (text.clone(), rest.to_vec());
            let if_version = None;
            rig.command(Command::SetState {
                key,
                body,
                if_version,
            });
        }
        b'l' => drop(rig.command(match number % 6 {
            0 => Command::ListPeers,
            1 => Command::SyncLog,
            2 => Command::ListState,
            3 => Command::ListMemories,
            4 => Command::ListScheduled,
            _ => Command::Settle,
        })),
        b'a' => {
            let ids: Vec<String> = rig.sends();
            for id in ids {
                let ack = format!(
                    r#"{{"type":"ack","id":"","messageId":"b{id}","queued":{},"client_message_id":"{id}","code":"{}"}}"#,
                    number % 3 == 0,
                    ["busy", "stale_epoch", "not_found"][usize::from(number % 3)],
                );
                rig.put(In::Frame(ack));
            }
        }
        b'b' => rig.broken(),
        b'r' => {
            rig.put(In::Tick);
            rig.put(In::Opened {
                challenge: (number % 2 == 0).then_some([number; 32]),
                date: (number % 5 == 0).then_some(NOW),
            });
            let ack = whole_ack(rig);
            rig.frame(ack);
        }
        b'w' => rig.writes_fail = number % 2 == 0,
        b'd' => rig.slow_store = number % 2 == 0,
        b't' => rig.pass(u64::from(number) * 1_000),
        b'x' => rig.put(In::Changed),
        _ => rig.store_all(),
    }
}

pub fn run(data: &[u8]) {
    let mut rig = Rig::new(mesh(), BEN);
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let ack = whole_ack(&rig);
    rig.frame(ack);
    for line in data.split(|byte| *byte == b'\n').take(MOST) {
        let Some((operation, rest)) = line.split_first() else {
            continue;
        };
        apply(&mut rig, *operation, rest);
        for frame in std::mem::take(&mut rig.sent) {
            let ClientFrame::Send(send) = frame else {
                continue;
            };
            if send.online.is_some() {
                continue;
            }
            let id = send.client_message_id.expect("an id");
            let id = claudemesh_core::MessageId::new(id).expect("an own id");
            let rows = rig.store.read(&Query::OutboxById(vec![id]));
            let Ok(Rows::Outbox(rows)) = rows else {
                panic!("no outbox")
            };
            assert!(rows.first().is_some_and(|row| row.message.sent));
        }
    }
}
