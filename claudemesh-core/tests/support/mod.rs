//! A mesh of three and a session that is driven by hand.

// Not every test uses every helper.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;

use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::id::{
    Hash, MemberId, MeshId, MeshSlug, MessageId, Name, Priority, PublicKey, Status,
};
use claudemesh_core::membership::{Body, Draft, Head, Log, Role, SignedEntry};
use claudemesh_core::message::{Content, FORM, TEXT, seal_direct};
use claudemesh_core::session::{
    About, Command, Event, In, Lie, Now, Out, Outgoing, Protection, Reply, Retry, Session,
    SessionConfig, SessionError,
};
use claudemesh_core::store::{
    MemoryStore, Outcome, PeerOp, PeerStore, Pin, Query, Rows, StoreError,
};
use claudemesh_core::wire::{
    Ack, BrokerFrame, BrokerInfo, CAP_DELIVERY, CAP_LOG, ClientFrame, ErrorFrame, HelloAck,
    LogEntries, LogHead, Push, SignedBlob,
};

pub const NOW: u64 = 1_800_000_000_000;
pub const ANA: u8 = 1;
pub const BEN: u8 = 2;
pub const CEM: u8 = 3;

pub fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

pub fn key(seed: u8) -> PublicKey {
    pair(seed).public()
}

/// The log of a mesh: Ana made it, others came by invites.
#[derive(Clone)]
pub struct Mesh {
    pub log: Log,
    pub entries: Vec<SignedEntry>,
}

impl Mesh {
    pub fn new(members: &[u8]) -> Self {
        let draft = Draft {
            mesh: None,
            seq: 0,
            prev: Hash::ZERO,
            at: NOW,
            body: Body::MeshCreated {
                slug: MeshSlug::new("team").unwrap(),
                salt: [9; 32],
                recovery: None,
                name: Name::new("ana").unwrap(),
            },
        };
        let first = draft.sign(&pair(ANA), None);
        let mut mesh = Self {
            log: Log::begin(&first).unwrap(),
            entries: vec![first],
        };
        for member in members {
            mesh.join(*member);
        }
        mesh
    }

    pub fn id(&self) -> MeshId {
        self.log.mesh().clone()
    }

    pub fn say(&mut self, signer: u8, cosigner: Option<u8>, body: Body) -> SignedEntry {
        let cosigner = cosigner.map(pair);
        let entry = self
            .log
            .draft(NOW, body)
            .sign(&pair(signer), cosigner.as_ref());
        self.log.append(&entry).unwrap();
        self.entries.push(entry.clone());
        entry
    }

    pub fn join(&mut self, member: u8) -> SignedEntry {
        let invite = self.invite(100 + member);
        let (key, name) = (key(member), Name::new("somebody").unwrap());
        self.say(
            100 + member,
            Some(member),
            Body::MemberJoined { key, name, invite },
        )
    }

    pub fn invite(&mut self, seed: u8) -> Hash {
        let issued = self.say(
            ANA,
            None,
            Body::InviteIssued {
                key: key(seed),
                role: Role::Member,
                expires_at: NOW + 1_000_000,
                max_uses: 1,
            },
        );
        issued.hash()
    }

    pub fn remove(&mut self, by: u8, member: u8) -> SignedEntry {
        let (key, close_all) = (key(member), false);
        self.say(by, None, Body::MemberRemoved { key, close_all })
    }

    pub fn head(&self) -> LogHead {
        let head = self.log.head();
        LogHead::new(head.seq, &head.hash)
    }
}

pub fn blob(entry: &SignedEntry) -> SignedBlob {
    SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref())
}

pub fn config(mesh: &Mesh, member: u8, durable: bool) -> SessionConfig {
    SessionConfig {
        mesh: mesh.id(),
        member_id: MemberId::new("member").unwrap(),
        key: Arc::new(pair(member)),
        name: None,
        broker: "ws://127.0.0.1:7899/ws".parse().unwrap(),
        session_id: "s".to_owned(),
        receive: true,
        presence: true,
        durable,
        lane: 0,
        retry: Retry::Backoff,
        has_log: true,
        about: About::default(),
        status: Status::Idle,
    }
}

/// A message as the broker would push it.
pub fn push(mesh: &Mesh, from: u8, to: u8, id: &str, sent_at: u64) -> Push {
    push_with(mesh, from, to, id, sent_at, None)
}

/// As [`push`], by a sender who names the newest entry of the log that it holds.
pub fn push_with(
    mesh: &Mesh,
    from: u8,
    to: u8,
    id: &str,
    sent_at: u64,
    head: Option<Head>,
) -> Push {
    let (from, to) = (pair(from), key(to));
    let shared = DirectKey::agree(&X25519Secret::of(&from), &to).unwrap();
    let content = Content {
        id: MessageId::new(id).unwrap(),
        sent_at,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: id.as_bytes().to_vec(),
    };
    let nonce = *claudemesh_core::crypto::sha256(id.as_bytes())
        .0
        .first_chunk()
        .unwrap();
    let sealed = seal_direct(&mesh.id(), &from, &to, head, &content, &shared, nonce).unwrap();
    Push {
        message_id: format!("broker-{id}"),
        mesh_id: mesh.id().as_str().to_owned(),
        sender_pubkey: from.public().to_hex(),
        sender_member_pubkey: Some(from.public().to_hex()),
        priority: "next".into(),
        nonce: sealed.nonce,
        ciphertext: sealed.ciphertext,
        client_message_id: Some(id.into()),
        form: Some(FORM.into()),
        ..Push::default()
    }
}

pub fn outgoing(to: u8, text: &str) -> Outgoing {
    Outgoing {
        to: key(to).into(),
        body: text.as_bytes().to_vec(),
        content_type: TEXT.to_owned(),
        priority: Priority::Next,
        reply_to: None,
        attributes: Vec::new(),
        expires_in: None,
        to_unverified: false,
        protection: Protection::Sealed,
    }
}

pub fn disk_full() -> StoreError {
    StoreError::Full {
        path: "peer.db".into(),
    }
}

/// A session, its store and everything it put out.
pub struct Rig {
    pub session: Session,
    pub store: MemoryStore,
    pub now: Now,
    pub mesh: Mesh,
    /// Store outputs wait for [`Rig::store_one`] instead of being done at once.
    pub slow_store: bool,
    pub writes_fail: bool,
    pub waiting: VecDeque<Out>,
    pub sent: Vec<ClientFrame>,
    pub texts: Vec<String>,
    pub events: Vec<Event>,
    pub done: Vec<(u64, Result<Reply, SessionError>)>,
    pub connects: usize,
    pub closes: usize,
    commands: u64,
}

impl Rig {
    pub fn new(mesh: &Mesh, member: u8) -> Self {
        Self::with(mesh, config(mesh, member, true))
    }

    pub fn with(mesh: &Mesh, config: SessionConfig) -> Self {
        let mut store = MemoryStore::new();
        let log = (0..).zip(&mesh.entries).map(|(seq, entry)| {
            PeerOp::Log(Box::new(claudemesh_core::store::StoredEntry {
                seq,
                entry: entry.clone(),
            }))
        });
        store.apply(&log.collect::<Vec<_>>()).unwrap();
        Self::over(mesh, config, store)
    }

    /// A new process on a store.
    pub fn over(mesh: &Mesh, config: SessionConfig, store: MemoryStore) -> Self {
        let Ok(Rows::Log(kept)) = store.read(&Query::Log {
            from: 0,
            limit: 1_000,
        }) else {
            panic!("no log")
        };
        let entries: Vec<_> = kept.into_iter().map(|kept| kept.entry).collect();
        let log = Log::verify(&mesh.id(), &entries).ok();
        let Ok(Rows::Pins(pins)) = store.read(&Query::Pins) else {
            panic!("no pins")
        };
        Self {
            session: Session::new(config, [7; 32], log, pins),
            store,
            now: Now { mono: 0, wall: NOW },
            mesh: mesh.clone(),
            slow_store: false,
            writes_fail: false,
            waiting: VecDeque::new(),
            sent: Vec::new(),
            texts: Vec::new(),
            events: Vec::new(),
            done: Vec::new(),
            connects: 0,
            closes: 0,
            commands: 0,
        }
    }

    /// A rig whose broker has taken the hello, with nothing noted so far.
    pub fn connected(mesh: &Mesh, member: u8) -> Self {
        let mut rig = Self::new(mesh, member);
        rig.connect();
        rig
    }

    pub fn connect(&mut self) {
        self.connect_to(&[]);
        self.forget();
    }

    /// Opens a connection as soon as the session wants one. The hello is not answered.
    pub fn dial(&mut self) {
        let dialled = self.connects;
        self.put(In::Tick);
        if self.connects == dialled {
            self.pass(31_000);
        }
        self.put(In::Opened {
            challenge: None,
            date: None,
        });
    }

    /// Connects to a broker that serves this too.
    pub fn connect_to(&mut self, served: &[&str]) {
        self.dial();
        let mut ack = self.hello_ack();
        let capabilities = ack.capabilities.get_or_insert_default();
        capabilities.extend(served.iter().map(|&served| served.to_owned()));
        self.frame(ack);
    }

    pub fn hello_ack(&self) -> HelloAck {
        HelloAck {
            capabilities: Some(vec![CAP_DELIVERY.into(), CAP_LOG.into()]),
            broker: Some(BrokerInfo {
                id: "b".into(),
                store: "store-1".into(),
                head: 0,
            }),
            log_head: Some(self.mesh.head()),
            ..HelloAck::default()
        }
    }

    pub fn forget(&mut self) {
        self.sent.clear();
        self.texts.clear();
        self.events.clear();
        self.done.clear();
    }

    pub fn put(&mut self, input: In) {
        self.session.handle(self.now, input);
        self.outputs();
    }

    pub fn outputs(&mut self) {
        while let Some(out) = self.session.poll() {
            match out {
                Out::Connect => self.connects += 1,
                Out::Transmit(text) => {
                    self.sent.push(ClientFrame::decode(&text).unwrap());
                    self.texts.push(text);
                }
                Out::Close(_) => self.closes += 1,
                Out::Done(id, result) => self.done.push((id, result)),
                Out::Event(event) => self.events.push(event),
                store => {
                    self.waiting.push_back(store);
                    if !self.slow_store {
                        self.store_one();
                    }
                }
            }
        }
    }

    /// Lets the store do the next thing that waits for it.
    pub fn store_one(&mut self) -> bool {
        let input = match self.waiting.pop_front() {
            Some(Out::Store(token, ops)) => {
                let result = if self.writes_fail {
                    Err(disk_full())
                } else {
                    self.store.apply(&ops)
                };
                In::Stored(token, result)
            }
            Some(Out::Load(token, query)) => In::Loaded(token, self.store.read(&query)),
            _ => return false,
        };
        self.session.handle(self.now, input);
        if self.slow_store {
            self.outputs();
        }
        true
    }

    pub fn store_all(&mut self) {
        while self.store_one() {}
    }

    pub fn frame(&mut self, frame: impl Into<BrokerFrame>) {
        self.put(In::Frame(frame.into().encode()));
    }

    pub fn command(&mut self, command: Command) -> u64 {
        self.commands += 1;
        self.put(In::Command(self.commands, command));
        self.commands
    }

    pub fn send(&mut self, to: u8, text: &str) -> u64 {
        self.command(Command::Send(Box::new(outgoing(to, text))))
    }

    /// Sends, and gives the id under which it was queued.
    pub fn queued(&mut self, to: u8, text: &str) -> MessageId {
        let id = self.send(to, text);
        match self.answer(id) {
            Some(Ok(Reply::Queued(id, _))) => id.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub fn answer(&self, command: u64) -> Option<&Result<Reply, SessionError>> {
        self.done
            .iter()
            .find(|(id, _)| *id == command)
            .map(|(_, result)| result)
    }

    /// Lets time pass, with every tick that is due.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        let mut ticks = 0;
        while let Some(due) = self.session.deadline().filter(|due| *due <= end) {
            let step = due.saturating_sub(self.now.mono);
            self.now = Now {
                mono: self.now.mono + step,
                wall: self.now.wall + step,
            };
            self.put(In::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "a deadline that does not go away");
        }
        let rest = end - self.now.mono;
        self.now = Now {
            mono: end,
            wall: self.now.wall + rest,
        };
    }

    pub fn broken(&mut self) {
        self.put(In::Closed {
            code: None,
            reason: "broken".into(),
        });
    }

    pub fn reconnect(&mut self) {
        self.connect_to(&[]);
    }

    /// Answers the open questions for the mesh's log with what this one has; says how many there
    /// were.
    pub fn show_log(&mut self, mesh: &Mesh) -> usize {
        let mut gets = Vec::new();
        while let Some(get) = self.take(|frame| match frame {
            ClientFrame::LogGet(get) if get.channel.is_empty() => Some(get.clone()),
            _ => None,
        }) {
            gets.push(get);
        }
        let count = gets.len();
        for get in gets {
            self.frame(LogEntries {
                from: get.from,
                entries: mesh.entries[get.from as usize..].iter().map(blob).collect(),
                head: mesh.head(),
                req_id: get.req_id,
                ..LogEntries::default()
            });
        }
        count
    }

    /// Takes the first frame of a kind out of what was sent.
    pub fn take<T>(&mut self, of: impl Fn(&ClientFrame) -> Option<T>) -> Option<T> {
        let place = self.sent.iter().position(|frame| of(frame).is_some())?;
        of(&self.sent.remove(place))
    }

    /// Refuses the question with this id.
    pub fn refuse(&mut self, req_id: Option<&String>, code: &str, retry_after_ms: Option<u64>) {
        let mut refusal = ErrorFrame::new(code, "no");
        refusal.req_id = req_id.cloned();
        refusal.retry_after_ms = retry_after_ms;
        self.frame(refusal);
    }

    /// The lies that were told of since the last look; other events are gone, too.
    pub fn lies(&mut self) -> Vec<Lie> {
        let lies = self.events.drain(..).filter_map(|event| match event {
            Event::LiedTo(lie) => Some(lie),
            _ => None,
        });
        lies.collect()
    }

    /// The ids of the sends that were transmitted, in order.
    pub fn sends(&self) -> Vec<String> {
        let ids = self.sent.iter().filter_map(|frame| match frame {
            ClientFrame::Send(send) => send.client_message_id.clone(),
            _ => None,
        });
        ids.collect()
    }

    /// The broker ids that were acknowledged, in order.
    pub fn acked(&self) -> Vec<String> {
        let acks = self.sent.iter().filter_map(|frame| match frame {
            ClientFrame::ClientAck(ack) => Some(ack.clone()),
            _ => None,
        });
        acks.flat_map(|ack| {
            (ack.broker_message_ids.into_iter().flatten()).chain(ack.broker_message_id)
        })
        .collect()
    }

    pub fn log_gets(&self) -> Vec<claudemesh_core::wire::LogGet> {
        let gets = self.sent.iter().filter_map(|frame| match frame {
            ClientFrame::LogGet(get) => Some(get.clone()),
            _ => None,
        });
        gets.collect()
    }

    pub fn row(&self, id: &MessageId) -> claudemesh_core::store::OutboxRow {
        match self
            .store
            .read(&Query::OutboxById(vec![id.clone()]))
            .unwrap()
        {
            Rows::Outbox(rows) => rows.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn inbox(&self) -> Vec<claudemesh_core::store::InboxRow> {
        match self.store.read(&Query::Inbox { limit: 20_000 }).unwrap() {
            Rows::Inbox(rows) => rows,
            other => panic!("{other:?}"),
        }
    }
}

pub fn accepted(id: &MessageId) -> Ack {
    Ack {
        id: id.as_str().to_owned(),
        message_id: format!("b-{id}"),
        queued: true,
        client_message_id: Some(id.as_str().to_owned()),
        recipients: Some(1),
        ..Ack::default()
    }
}

pub fn refused(id: &MessageId, code: &str) -> Ack {
    Ack {
        id: id.as_str().to_owned(),
        code: Some(code.into()),
        error: Some(format!("{code}: no")),
        client_message_id: Some(id.as_str().to_owned()),
        ..Ack::default()
    }
}

pub fn pins(rows: &[(&str, &str)]) -> Vec<Pin> {
    let pin = |(name, value): &(&str, &str)| Pin {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    rows.iter().map(pin).collect()
}

pub fn applied(result: Result<Vec<Outcome>, StoreError>) -> Vec<Outcome> {
    result.unwrap()
}
