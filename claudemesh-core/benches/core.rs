//! What one message costs: sealing, opening, decoding, and the session's part of a round.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use claudemesh_core::channel::Keyring;
use claudemesh_core::crypto::{DirectKey, Drbg, KeyPair, X25519Secret};
use claudemesh_core::id::{ChannelName, MessageId, Name};
use claudemesh_core::membership::{Body, Role};
use claudemesh_core::message::{Content, Expected, SealedText, TEXT, open_direct, seal_direct};
use claudemesh_core::session::{Command, In, Now, Out, Session};
use claudemesh_core::store::{Outcome, PeerOp, Rows};
use claudemesh_core::wire::{
    BrokerFrame, BrokerInfo, CAP_DELIVERY, CAP_LOG, ClientFrame, HelloAck, Send, decode_send,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use support::{ANA, BEN, Mesh, NOW, accepted, config, key, outgoing, pair, push};

fn content() -> Content {
    Content {
        id: MessageId::from_parts(NOW, [7; 10]),
        sent_at: NOW,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: vec![b'x'; 256],
    }
}

fn crypto(c: &mut Criterion) {
    let (mesh, ana, ben) = (Mesh::new(&[BEN]).id(), pair(ANA), pair(BEN));
    let secret = X25519Secret::of(&ana);
    c.bench_function("key agreement", |b| {
        b.iter(|| DirectKey::agree(black_box(&secret), &ben.public()).unwrap());
    });
    let shared = DirectKey::agree(&secret, &ben.public()).unwrap();
    let content = content();
    let seal = || {
        let to = ben.public();
        seal_direct(
            &mesh,
            &ana,
            &to,
            None,
            black_box(&content),
            &shared,
            [5; 24],
        )
        .unwrap()
    };
    c.bench_function("seal_direct 256 B, key cached", |b| b.iter(seal));
    let sealed = seal();
    let theirs = DirectKey::agree(&X25519Secret::of(&ben), &ana.public()).unwrap();
    let (recipient, sender) = (ben.public(), ana.public());
    c.bench_function("open_direct 256 B, key cached", |b| {
        b.iter(|| {
            let expected = Expected {
                mesh: &mesh,
                recipient: &recipient,
                sender: &sender,
                frame_id: None,
                now: NOW,
            };
            open_direct(expected, &theirs, black_box(&sealed)).unwrap()
        });
    });
}

fn wire(c: &mut Criterion) {
    let mesh = Mesh::new(&[BEN]);
    let message = push(&mesh, ANA, BEN, "message-id", NOW);
    let SealedText { nonce, ciphertext } = SealedText {
        nonce: message.nonce.clone(),
        ciphertext: message.ciphertext.clone(),
    };
    let send = ClientFrame::from(Send {
        id: Some("message-id".into()),
        target_spec: key(BEN).to_hex(),
        priority: Some("next".into()),
        nonce,
        ciphertext,
        client_message_id: Some("message-id".into()),
        form: Some("envelope/1".into()),
        ..Send::default()
    })
    .encode();
    let push = message.encode();
    c.bench_function("decode a send, owned", |b| {
        b.iter(|| ClientFrame::decode(black_box(&send)).unwrap());
    });
    c.bench_function("decode a send, borrowed", |b| {
        b.iter(|| decode_send(black_box(&send)).unwrap().unwrap());
    });
    c.bench_function("decode a push", |b| {
        b.iter(|| BrokerFrame::decode(black_box(&push)).unwrap());
    });
}

/// A session over a store that says yes to everything.
struct Null {
    session: Session,
    now: Now,
    place: u64,
    sent: Vec<MessageId>,
    commands: u64,
}

impl Null {
    fn new(mesh: &Mesh, member: u8) -> Self {
        let log = Some(mesh.log.clone());
        let mut null = Self {
            session: Session::new(config(mesh, member, true), [7; 32], log, Vec::new()),
            now: Now { mono: 0, wall: NOW },
            place: 0,
            sent: Vec::new(),
            commands: 0,
        };
        null.put(In::Tick);
        null.put(In::Opened {
            challenge: None,
            date: None,
        });
        let ack = HelloAck {
            capabilities: Some(vec![CAP_DELIVERY.into(), CAP_LOG.into()]),
            broker: Some(BrokerInfo::default()),
            log_head: Some(mesh.head()),
            ..HelloAck::default()
        };
        null.put(In::Frame(BrokerFrame::from(ack).encode()));
        assert!(null.session.is_ready());
        null
    }

    fn put(&mut self, input: In) {
        self.session.handle(self.now, input);
        while let Some(out) = self.session.poll() {
            let input = match out {
                Out::Store(token, ops) => {
                    let outcome = |op: &PeerOp| match op {
                        PeerOp::Enqueue(row) => {
                            self.sent.push(row.id.clone());
                            self.place += 1;
                            Outcome::Row(self.place)
                        }
                        PeerOp::Insert(_) => Outcome::Row(1),
                        _ => Outcome::Done,
                    };
                    In::Stored(token, Ok(ops.iter().map(outcome).collect()))
                }
                Out::Load(token, _) => In::Loaded(token, Ok(Rows::Outbox(Vec::new()))),
                out => {
                    black_box(out);
                    continue;
                }
            };
            self.session.handle(self.now, input);
        }
    }
}

fn session(c: &mut Criterion) {
    let mesh = Mesh::new(&[BEN]);
    let mut ana = Null::new(&mesh, ANA);
    let message = outgoing(BEN, &"x".repeat(256));
    c.bench_function("session: send to ack", |b| {
        b.iter(|| {
            ana.commands += 1;
            let command = Command::Send(Box::new(message.clone()));
            ana.put(In::Command(ana.commands, command));
            let id = ana.sent.pop().unwrap();
            ana.put(In::Frame(BrokerFrame::from(accepted(&id)).encode()));
        });
    });
    let mut ben = Null::new(&mesh, BEN);
    let frame = push(&mesh, ANA, BEN, "message-id", NOW).encode();
    c.bench_function("session: push to ack", |b| {
        b.iter_batched(
            || frame.clone(),
            |frame| ben.put(In::Frame(frame)),
            BatchSize::SmallInput,
        );
    });
}

/// A mesh of so many members, whose owner makes the next key of a channel of all of them.
fn rotation(c: &mut Criterion) {
    const MEMBERS: u32 = 1_000;
    let mut mesh = Mesh::new(&[]);
    for n in 1..MEMBERS {
        let mut seed = [77; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        let admitted = Body::MemberAdmitted {
            key: KeyPair::from_seed(&seed).public(),
            name: Name::new("somebody").unwrap(),
            role: Role::Member,
        };
        mesh.say(ANA, None, admitted);
    }
    let (ana, all) = (pair(ANA), ChannelName::everyone());
    let ring = Keyring::new(mesh.id(), all, ana.public());
    let mut random = Drbg::new([3; 32]);
    let mut group = c.benchmark_group("channel");
    group.sample_size(20);
    group.bench_function("rotate for 1,000 members", |b| {
        b.iter(|| {
            let rotation = ring.rotate(&mut random, &ana, &mesh.log, None).unwrap();
            assert_eq!(rotation.copies.len(), MEMBERS as usize);
            rotation
        });
    });
    group.finish();
}

criterion_group!(benches, crypto, wire, session, rotation);
criterion_main!(benches);
