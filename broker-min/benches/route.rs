//! What the broker's pure middle costs: a message sent, committed to a store in memory, pushed,
//! acknowledged and settled; and a message for a peer that is away.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;

use broker_min::limits::Limits;
use broker_min::router::{In, Now, Out, Router, RouterConfig, Verified};
use broker_min::store::{BrokerStore, MemoryStore, Query, Rows, StoreReader};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{Hash, MeshId, MeshSlug, Name};
use claudemesh_core::membership::{Body, Draft};
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
                Out::Write { text, .. } => {
                    let head = br#"{"type":"push","messageId":""#;
                    if let Some(rest) = text.strip_prefix(head.as_slice()) {
                        let id = String::from_utf8(rest[..32].to_vec()).unwrap();
                        self.pushed = Some(id);
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
        hello.capabilities = Some(vec!["delivery/1".into(), "envelope/1".into()]);
        let verified = Box::new(Verified {
            mesh: mesh.clone(),
            member: key,
            session: None,
            session_proven: false,
            proven: true,
            session_form: false,
            frame: ClientFrame::from(hello),
        });
        self.input(In::Hello { conn, verified });
    }
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
}

criterion_group!(benches, route);
criterion_main!(benches);
