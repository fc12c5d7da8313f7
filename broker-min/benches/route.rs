//! What the broker's pure middle costs: a message sent, committed to a store in memory, pushed,
//! acknowledged and settled; and a message for a peer that is away.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;

use broker_min::limits::Limits;
use broker_min::router::{In, Now, Out, Router, RouterConfig, Verified};
use broker_min::store::{BrokerStore, MemoryStore, Query, Rows, StoreReader};
use claudemesh_core::channel::Keyring;
use claudemesh_core::crypto::{Drbg, KeyPair};
use claudemesh_core::encoding::{base64, base64url};
use claudemesh_core::id::{ChannelName, Hash, KeyId, MeshId, MeshSlug, Name};
use claudemesh_core::membership::{Body, Draft, Log, Role, SignedEntry};
use claudemesh_core::wire::{ClientAck, ClientFrame, Hello};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const START: u64 = 1_764_000_000_000;

struct Shell {
    router: Router,
    store: MemoryStore,
    reader: Box<dyn StoreReader>,
    now: Now,
    /// The id of the last push that went out.
    pushed: Option<String>,
    /// Connections that were written a push, and texts for them.
    reached: usize,
    texts: usize,
    log: Log,
}

impl Shell {
    fn new() -> (Self, MeshId, KeyPair) {
        let owner = KeyPair::from_seed(&[1; 32]);
        let body = Body::MeshCreated {
            slug: MeshSlug::new("bench").unwrap(),
            salt: [0; 32],
            recovery: None,
            name: Name::new("owner").unwrap(),
        };
        let (mesh, seq, prev, at) = (None, 0, Hash::ZERO, START);
        let first = Draft {
            mesh,
            seq,
            prev,
            at,
            body,
        }
        .sign(&owner, None);
        let store = MemoryStore::new([2; 32]);
        let reader = store.reader().unwrap();
        let Rows::Info(info) = reader.load(&Query::Info).unwrap() else {
            panic!("no info");
        };
        let mut limits = Limits::default();
        limits.deliveries_per_s = u32::MAX;
        limits.delivery_burst = u32::MAX;
        limits.log_entries_per_hour = u32::MAX;
        limits.mailbox_rows = u64::MAX;
        limits.mailbox_bytes = u64::MAX;
        limits.mailbox_rows_per_sender = u64::MAX;
        let config = RouterConfig {
            limits,
            store: info,
            broker_id: "b".repeat(32),
            silent_ms: 0,
        };
        let router = Router::new(config, [3; 32]);
        let now = Now {
            mono: 1,
            wall: START,
        };
        let pushed = None;
        let mut shell = Self {
            router,
            store,
            reader,
            now,
            pushed,
            reached: 0,
            texts: 0,
            log: Log::begin(&first).unwrap(),
        };
        let id = first.mesh_id();
        shell.input(In::Http {
            request: 1,
            call: broker_min::router::HttpCall::Create { entry: first },
        });
        (shell, id, owner)
    }

    fn input(&mut self, input: In) {
        self.router.handle(self.now, input);
        while let Some(out) = self.router.next() {
            match out {
                Out::Commit { batch, ops } => {
                    let result = self.store.commit(&ops);
                    self.router
                        .handle(self.now, In::Committed { batch, result });
                }
                Out::Load { token, query } => {
                    let result = self.reader.load(&query);
                    self.router.handle(self.now, In::Loaded { token, result });
                }
                Out::Write { text, conns, .. } => {
                    let head = br#"{"type":"push","messageId":""#;
                    if let Some(rest) = text.strip_prefix(head.as_slice()) {
                        let id = String::from_utf8(rest[..32].to_vec()).unwrap();
                        self.pushed = Some(id);
                        self.reached += conns.len();
                        self.texts += 1;
                    }
                    black_box(text);
                }
                _ => {}
            }
        }
    }

    fn hello(&mut self, conn: u64, mesh: &MeshId, member: &KeyPair) {
        let key = member.public();
        let mut hello = Hello::new(
            mesh.as_str(),
            "",
            key.to_hex(),
            START,
            format!("{conn:0128x}"),
        );
        hello.session_id = Some(format!("session-{conn}"));
        hello.capabilities = Some(vec![
            "delivery/1".into(),
            "envelope/1".into(),
            "channels/1".into(),
        ]);
        let verified = Box::new(Verified {
            mesh: mesh.clone(),
            member: key,
            session: None,
            session_proven: false,
            address: None,
            proven: true,
            session_form: false,
            frame: ClientFrame::from(hello),
        });
        self.input(In::Hello { conn, verified });
    }
}

impl Shell {
    fn post(&mut self, entry: &SignedEntry) {
        let call = broker_min::router::HttpCall::Append {
            mesh: self.log.mesh().clone(),
            entry: entry.clone(),
        };
        self.input(In::Http { request: 2, call });
        self.log.append(entry).unwrap();
    }

    fn frame(&mut self, conn: u64, text: &str) {
        self.input(In::Frame {
            conn,
            frame: Box::new(ClientFrame::decode(text).unwrap()),
            size: text.len(),
        });
    }

    /// A mesh of `count` online members, and the key of `*`.
    fn crowd(&mut self, owner: &KeyPair, count: u64) -> KeyId {
        let mesh = self.log.mesh().clone();
        self.hello(1, &mesh, owner);
        for n in 2..=count {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            let pair = KeyPair::from_seed(&seed);
            let body = Body::MemberAdmitted {
                key: pair.public(),
                name: Name::new(format!("m{n}")).unwrap(),
                role: Role::Member,
            };
            let entry = self.log.draft(START, body).sign(owner, None);
            self.post(&entry);
            self.hello(n, &mesh, &pair);
        }
        let channel = ChannelName::new("*").unwrap();
        let ring = Keyring::new(mesh, channel, owner.public());
        let rotation = ring.rotate(&mut Drbg::new([4; 32]), owner, &self.log, None);
        let rotation = rotation.unwrap();
        let id = rotation.statement.key_id();
        for copies in rotation.copies.chunks(500) {
            let bytes: Vec<u8> = copies
                .iter()
                .flat_map(|(member, copy)| member.0.iter().chain(copy))
                .copied()
                .collect();
            let (id, copies) = (id.to_hex(), base64url(&bytes));
            let kind = "channel_key_copies";
            self.frame(
                1,
                &format!(r#"{{"type":"{kind}","key_id":"{id}","copies":"{copies}"}}"#),
            );
        }
        let e = base64url(&rotation.statement.bytes);
        let sig = rotation.statement.signature.to_hex();
        self.frame(
            1,
            &format!(r#"{{"type":"channel_key","e":"{e}","sig":"{sig}"}}"#),
        );
        id
    }
}

fn send_to_all(key: &KeyId, id: u64) -> String {
    let mut sealed = vec![0xce, 0x01];
    sealed.extend(key.0);
    sealed.extend([0; 528]);
    let ciphertext = base64(&sealed);
    format!(
        r#"{{"type":"send","id":"m-{id}","client_message_id":"m-{id}","targetSpec":"*","priority":"now","nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX","ciphertext":"{ciphertext}","form":"envelope/1"}}"#
    )
}

fn send(to: &str, id: u64) -> String {
    let ciphertext = "A".repeat(728);
    format!(
        r#"{{"type":"send","id":"m-{id}","client_message_id":"m-{id}","targetSpec":"{to}","priority":"now","nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX","ciphertext":"{ciphertext}","form":"envelope/1"}}"#
    )
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    group.throughput(Throughput::Elements(1));
    group.bench_function("send, push, ack, settle", |b| {
        let (mut shell, mesh, owner) = Shell::new();
        shell.hello(1, &mesh, &owner);
        shell.hello(2, &mesh, &owner);
        let to = owner.public().to_hex();
        let mut id = 0;
        b.iter(|| {
            id += 1;
            let text = send(&to, id);
            let frame = Box::new(ClientFrame::decode(&text).unwrap());
            shell.input(In::Frame {
                conn: 1,
                frame,
                size: text.len(),
            });
            let pushed = shell.pushed.take().unwrap();
            let ack = ClientAck {
                broker_message_ids: Some(vec![pushed]),
                ..ClientAck::default()
            };
            for conn in [1, 2] {
                shell.input(In::Frame {
                    conn,
                    frame: Box::new(ClientFrame::from(ack.clone())),
                    size: 80,
                });
            }
        });
    });
    group.finish();
    let mut group = c.benchmark_group("route");
    group.sample_size(20);
    group.throughput(Throughput::Elements(999));
    group.bench_function("to all of 1,000, push, ack, settle", |b| {
        let (mut shell, _, owner) = Shell::new();
        let key = shell.crowd(&owner, 1_000);
        let mut id = 0;
        b.iter(|| {
            id += 1;
            (shell.reached, shell.texts) = (0, 0);
            shell.frame(1, &send_to_all(&key, id));
            assert_eq!((shell.reached, shell.texts), (999, 1));
            let pushed = shell.pushed.take().unwrap();
            let ack = format!(r#"{{"type":"client_ack","brokerMessageIds":["{pushed}"]}}"#);
            for conn in 2..=1_000 {
                shell.frame(conn, &ack);
            }
        });
    });
    group.bench_function("to all of 1,000, push", |b| {
        let (mut shell, _, owner) = Shell::new();
        let key = shell.crowd(&owner, 1_000);
        let mut id = 0;
        b.iter_custom(|times| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..times {
                id += 1;
                let text = send_to_all(&key, id);
                let start = std::time::Instant::now();
                shell.frame(1, &text);
                spent += start.elapsed();
                let pushed = shell.pushed.take().unwrap();
                let ack = format!(r#"{{"type":"client_ack","brokerMessageIds":["{pushed}"]}}"#);
                for conn in 2..=1_000 {
                    shell.frame(conn, &ack);
                }
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
