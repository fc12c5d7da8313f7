//! A router with a store in memory, and all that it was told to do.

use std::collections::{HashMap, HashSet, VecDeque};

use broker_min::limits::Limits;
use broker_min::router::{
    ConnId, HttpCall, HttpReply, In, JoinCall, Now, Out, Router, RouterConfig, Verified,
};
use broker_min::store::{
    BrokerStore, MemoryStore, Op, Outcome, Query, Rows, StoreError, StoreReader,
};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{Hash, MeshId, MeshSlug, Name, PublicKey};
use claudemesh_core::invite::{InviteToken, IssuedInvite, Offer};
use claudemesh_core::membership::{Body, Draft, Log, Role, SignedEntry};
use claudemesh_core::wire::{ClientFrame, Hello};
use serde_json::{Value, json};

/// Where the wall clock starts.
pub(crate) const START: u64 = 1_764_000_000_000;

pub(crate) fn pair(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

pub(crate) fn key(n: u8) -> PublicKey {
    pair(n).public()
}

pub(crate) fn hex(n: u8) -> String {
    key(n).to_hex()
}

type Committed = Result<Vec<Outcome>, StoreError>;

/// Everything around a router. Member 1 owns the mesh.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: MemoryStore,
    reader: Box<dyn StoreReader>,
    pub(crate) now: Now,
    pub(crate) frames: HashMap<ConnId, Vec<Value>>,
    pub(crate) closed: HashMap<ConnId, (u16, String)>,
    pub(crate) reading: HashMap<ConnId, bool>,
    pub(crate) replies: HashMap<u64, HttpReply>,
    /// Commits that are not answered while `hold_commits`.
    commits: VecDeque<(u64, Vec<Op>, Option<Committed>)>,
    /// Commits are in the store before they are answered.
    pub(crate) early: bool,
    pub(crate) hold_commits: bool,
    /// Answers that are held while `hold_loads`; they were right when they were asked for.
    loads: VecDeque<(u64, Result<Rows, StoreError>)>,
    pub(crate) hold_loads: bool,
    /// Taken by the next commits instead of the store.
    pub(crate) fail: VecDeque<StoreError>,
    /// What fails so was kept all the same.
    pub(crate) kept: bool,
    /// How often a mesh was read from the store.
    pub(crate) mesh_loads: usize,
    pub(crate) batches: Vec<usize>,
    /// All acks ever, per connection.
    pub(crate) acks: HashMap<ConnId, Vec<Value>>,
    /// Texts of pushes that were written, each to any number of connections.
    pub(crate) push_texts: usize,
    /// The ids of all messages ever pushed.
    pub(crate) pushed: HashSet<String>,
    /// The owner's copy of the log.
    pub(crate) log: Log,
    next: u64,
}

pub(crate) fn hello(mesh: &MeshId, member: u8, nonce: u64) -> Hello {
    let signature = format!("{nonce:0128x}");
    let mut hello = Hello::new(mesh.as_str(), "", hex(member), START, signature);
    hello.capabilities = Some(vec![
        "delivery/1".into(),
        "envelope/1".into(),
        "log/1".into(),
        "channels/1".into(),
    ]);
    hello
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let first = Draft {
            mesh: None,
            seq: 0,
            prev: Hash::ZERO,
            at: START,
            body: Body::MeshCreated {
                slug: MeshSlug::new("team").unwrap(),
                salt: [9; 32],
                recovery: None,
                name: Name::new("owner").unwrap(),
            },
        }
        .sign(&pair(1), None);
        let log = Log::begin(&first).unwrap();
        let mut world = Self::around(MemoryStore::new([3; 32]), limits, log, 0);
        let reply = world.http(HttpCall::Create { entry: first });
        assert!(matches!(reply, HttpReply::Created { .. }), "{reply:?}");
        world
    }

    /// A broker that starts with a store.
    fn around(store: MemoryStore, limits: Limits, log: Log, silent_ms: u64) -> Self {
        let reader = store.reader().unwrap();
        let Rows::Info(info) = reader.load(&Query::Info).unwrap() else {
            panic!("no info");
        };
        let config = RouterConfig {
            limits,
            store: info,
            broker_id: "b".repeat(32),
            silent_ms,
        };
        Self {
            router: Router::new(config, [5; 32]),
            store,
            reader,
            now: Now {
                mono: 1_000,
                wall: START,
            },
            frames: HashMap::new(),
            closed: HashMap::new(),
            reading: HashMap::new(),
            replies: HashMap::new(),
            commits: VecDeque::new(),
            early: false,
            hold_commits: false,
            loads: VecDeque::new(),
            hold_loads: false,
            fail: VecDeque::new(),
            kept: false,
            mesh_loads: 0,
            batches: Vec::new(),
            acks: HashMap::new(),
            push_texts: 0,
            pushed: HashSet::new(),
            log,
            next: 1,
        }
    }

    /// A new broker with what the old one had committed.
    pub(crate) fn restart(&self) -> Self {
        self.restart_silent(0)
    }

    /// As [`Self::restart`]; for so long, in ms, it tells nobody who comes.
    pub(crate) fn restart_silent(&self, silent_ms: u64) -> Self {
        let (store, log) = (self.store.fork(), self.log.clone());
        Self::around(store, Limits::default(), log, silent_ms)
    }

    /// Answers of the store that are held.
    pub(crate) fn held_loads(&self) -> usize {
        self.loads.len()
    }

    /// A mesh of the owner and the members 2, 3, … `members`.
    pub(crate) fn of(members: u8) -> Self {
        let mut world = Self::new();
        world.people(members);
        world
    }

    pub(crate) fn people(&mut self, members: u8) {
        for n in 2..=members {
            let (token, entry) = self.invite(100 + n, Role::Member, 1);
            let joined = self.join_entry(n, 100 + n, entry);
            let reply = self.join(&token, n, Some(joined.clone()));
            assert!(
                matches!(reply, HttpReply::Joined { already: false, .. }),
                "{reply:?}"
            );
            self.log.append(&joined).unwrap();
        }
    }

    pub(crate) fn mesh(&self) -> MeshId {
        self.log.mesh().clone()
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // ---- the loop

    pub(crate) fn input(&mut self, input: In) {
        self.router.handle(self.now, input);
        self.pump();
    }

    pub(crate) fn pump(&mut self) {
        loop {
            while let Some(out) = self.router.next() {
                self.take(out);
            }
            if !self.hold_loads
                && let Some((token, result)) = self.loads.pop_front()
            {
                self.router.handle(self.now, In::Loaded { token, result });
            } else if !self.hold_commits
                && let Some((batch, ops, result)) = self.commits.pop_front()
            {
                let result = result.unwrap_or_else(|| self.commit(&ops));
                self.router
                    .handle(self.now, In::Committed { batch, result });
            } else {
                return;
            }
        }
    }

    fn commit(&mut self, ops: &[Op]) -> Committed {
        match self.fail.pop_front() {
            Some(error) => {
                if self.kept {
                    self.store.commit(ops)?;
                }
                Err(error)
            }
            None => self.store.commit(ops),
        }
    }

    fn take(&mut self, out: Out) {
        match out {
            Out::Write { conns, text, .. } => {
                let value: Value = serde_json::from_slice(&text).unwrap();
                if value["type"] == "push" {
                    self.push_texts += 1;
                    self.pushed
                        .insert(value["messageId"].as_str().unwrap().to_owned());
                }
                for conn in conns {
                    let acks = self.acks.entry(conn).or_default();
                    match value["type"].as_str() {
                        // The answer to `forget` has neither.
                        Some("ack") if value["queued"] == true || value["error"].is_string() => {
                            acks.push(value.clone());
                        }
                        Some("acks") => acks.extend(value["items"].as_array().unwrap().clone()),
                        _ => {}
                    }
                    assert!(
                        !self.closed.contains_key(&conn),
                        "written after close: {value}"
                    );
                    self.frames.entry(conn).or_default().push(value.clone());
                }
            }
            Out::Close { conn, code, reason } => {
                assert!(reason.len() <= 123);
                let before = self.closed.insert(conn, (code.0, reason));
                assert!(before.is_none(), "closed twice");
            }
            Out::Reading { conn, on } => {
                self.reading.insert(conn, on);
            }
            Out::Commit { batch, ops } => {
                assert!(!ops.is_empty() && ops.len() <= 512);
                self.batches.push(ops.len());
                self.commits.push_back((batch, ops, None));
                if self.early {
                    let mut commits = std::mem::take(&mut self.commits);
                    for (_, ops, result) in &mut commits {
                        if result.is_none() {
                            *result = Some(self.commit(ops));
                        }
                    }
                    self.commits = commits;
                }
                assert!(self.commits.len() <= 2);
            }
            Out::Load { token, query } => {
                self.mesh_loads += usize::from(matches!(query, Query::Mesh(_)));
                let result = self.reader.load(&query);
                self.loads.push_back((token, result));
            }
            Out::Respond { request, reply } => {
                self.replies.insert(request, reply);
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn release_commits(&mut self) {
        self.hold_commits = false;
        self.pump();
        self.hold_commits = true;
    }

    /// Lets time pass, and all timers with it.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        while let Some(due) = self.router.deadline().filter(|due| *due <= end) {
            let step = due.saturating_sub(self.now.mono);
            self.now.mono += step;
            self.now.wall += step;
            self.input(In::Tick);
        }
        self.now.wall += end - self.now.mono;
        self.now.mono = end;
    }

    // ---- peers

    pub(crate) fn enter(&mut self, hello: Hello, change: impl FnOnce(&mut Verified)) -> ConnId {
        let conn = self.fresh();
        let mut verified = Verified {
            mesh: self.mesh(),
            member: PublicKey::from_hex(&hello.pubkey).unwrap(),
            session: hello
                .session_pubkey
                .as_deref()
                .map(|key| PublicKey::from_hex(key).unwrap()),
            session_proven: false,
            address: None,
            proven: true,
            session_form: false,
            frame: ClientFrame::Hello(hello),
        };
        change(&mut verified);
        self.input(In::Hello {
            conn,
            verified: Box::new(verified),
        });
        conn
    }

    /// A connection of a member that speaks everything.
    pub(crate) fn connect(&mut self, member: u8) -> ConnId {
        let nonce = self.fresh();
        let hello = hello(&self.mesh(), member, nonce);
        let conn = self.enter(hello, |_| {});
        assert!(!self.closed.contains_key(&conn), "{:?}", self.frames[&conn]);
        conn
    }

    /// A connection of a member that seals what it keeps.
    pub(crate) fn connect_values(&mut self, member: u8) -> ConnId {
        let nonce = self.fresh();
        let mut hello = hello(&self.mesh(), member, nonce);
        let all = hello.capabilities.get_or_insert_default();
        all.push("values/1".into());
        let conn = self.enter(hello, |_| {});
        assert!(!self.closed.contains_key(&conn), "{:?}", self.frames[&conn]);
        conn
    }

    /// A connection of a member that knows nothing of ours.
    pub(crate) fn connect_legacy(&mut self, member: u8) -> ConnId {
        let nonce = self.fresh();
        let mut hello = hello(&self.mesh(), member, nonce);
        hello.capabilities = None;
        self.enter(hello, |verified| verified.proven = false)
    }

    pub(crate) fn frame(&mut self, conn: ConnId, frame: Value) {
        let text = frame.to_string();
        let frame = Box::new(ClientFrame::decode(&text).unwrap());
        let size = text.len();
        self.input(In::Frame { conn, frame, size });
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.input(In::Closed { conn });
    }

    /// What a connection was written since the last look.
    pub(crate) fn got(&mut self, conn: ConnId) -> Vec<Value> {
        self.frames.remove(&conn).unwrap_or_default()
    }

    /// The frames of one type among them.
    pub(crate) fn got_of(&mut self, conn: ConnId, kind: &str) -> Vec<Value> {
        let frames = self.got(conn);
        frames.into_iter().filter(|f| f["type"] == kind).collect()
    }

    /// The ciphertexts of the messages among them.
    pub(crate) fn texts(&mut self, conn: ConnId) -> Vec<String> {
        let pushes = self.got_of(conn, "push");
        let messages = pushes.iter().filter(|push| push["subtype"] != "system");
        messages
            .map(|push| push["ciphertext"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Sends a text under the id that it is, and gives the ack.
    pub(crate) fn say(&mut self, conn: ConnId, to: &str, text: &str, priority: &str) -> Value {
        self.say_frame(conn, message(to, text, priority))
    }

    pub(crate) fn say_frame(&mut self, conn: ConnId, frame: Value) -> Value {
        let id = frame["id"].clone();
        self.frame(conn, frame);
        self.ack(conn, &id)
    }

    /// The ack of a send, taken from what was written.
    pub(crate) fn ack(&mut self, conn: ConnId, id: &Value) -> Value {
        let frames = self.frames.get(&conn).cloned().unwrap_or_default();
        let single = frames.iter().filter(|f| f["type"] == "ack").cloned();
        let many = frames.iter().filter(|f| f["type"] == "acks");
        let many = many.flat_map(|f| f["items"].as_array().unwrap().clone());
        let mut acks = single.chain(many).filter(|ack| ack["id"] == *id);
        acks.next_back()
            .unwrap_or_else(|| panic!("no ack in {frames:?}"))
    }

    pub(crate) fn last(&mut self, conn: ConnId) -> Value {
        self.got(conn).pop().expect("a frame")
    }

    // ---- HTTP and the log

    pub(crate) fn http(&mut self, call: HttpCall) -> HttpReply {
        let request = self.fresh();
        self.input(In::Http { request, call });
        self.replies.remove(&request).expect("a reply")
    }

    /// Issues an invite through the owner's connection; gives token and entry.
    pub(crate) fn invite(&mut self, seed: u8, role: Role, max_uses: u64) -> (String, SignedEntry) {
        self.invite_by(1, seed, role, max_uses, 86_400_000)
    }

    /// A link for a device of a member.
    pub(crate) fn device_invite(&mut self, member: u8, seed: u8) -> (String, SignedEntry) {
        self.invite_by(member, seed, Role::Device, 1, 600_000)
    }

    fn invite_by(
        &mut self,
        signer: u8,
        seed: u8,
        role: Role,
        max_uses: u64,
        lasts: u64,
    ) -> (String, SignedEntry) {
        let expires_at = self.now.wall + lasts;
        let body = Body::InviteIssued {
            key: key(seed),
            role,
            expires_at,
            max_uses,
        };
        let entry = (self.log.draft(self.now.wall, body)).sign(&pair(signer), None);
        let offer = Offer {
            mesh: self.mesh(),
            slug: MeshSlug::new("team").unwrap(),
            broker: "wss://broker.example/ws".parse().unwrap(),
            expires_at,
            role,
        };
        let issued =
            IssuedInvite::new(&offer, &pair(signer), entry.hash(), [seed; 32], &[seed; 32]);
        let nonce = self.fresh();
        let mut hello = hello(&self.mesh(), signer, nonce);
        hello.presence = Some(false);
        let owner = self.enter(hello, |_| {});
        self.got(owner);
        self.append(owner, &entry, Some(&issued.token));
        assert_eq!(self.last(owner)["type"], "log_appended");
        self.close(owner);
        self.log.append(&entry).unwrap();
        (issued.token, entry)
    }

    pub(crate) fn append(&mut self, conn: ConnId, entry: &SignedEntry, token: Option<&str>) {
        let mut frame = json!({
            "type": "log_append",
            "entry": {"e": entry.to_base64url(), "sig": entry.signature.to_hex()},
            "_reqId": "r",
        });
        if let Some(cosignature) = &entry.cosignature {
            frame["entry"]["cosig"] = cosignature.to_hex().into();
        }
        if let Some(token) = token {
            frame["invite_token"] = token.into();
        }
        self.frame(conn, frame);
    }

    pub(crate) fn join_entry(
        &self,
        member: u8,
        invite_seed: u8,
        invite: SignedEntry,
    ) -> SignedEntry {
        let body = Body::MemberJoined {
            key: key(member),
            name: Name::new(format!("m{member}")).unwrap(),
            invite: invite.hash(),
        };
        let draft = self.log.draft(self.now.wall, body);
        draft.sign(&pair(invite_seed), Some(&pair(member)))
    }

    pub(crate) fn join(
        &mut self,
        token: &str,
        member: u8,
        entry: Option<SignedEntry>,
    ) -> HttpReply {
        self.join_as(token, member, &format!("m{member}"), entry)
    }

    pub(crate) fn join_as(
        &mut self,
        token: &str,
        member: u8,
        name: &str,
        entry: Option<SignedEntry>,
    ) -> HttpReply {
        let call = JoinCall {
            token: token.to_owned(),
            payload: InviteToken::parse(token).unwrap(),
            key: key(member),
            name: name.to_owned(),
            entry,
        };
        self.http(HttpCall::Join(Box::new(call)))
    }

    pub(crate) fn remove(&self, member: u8) -> SignedEntry {
        let body = Body::MemberRemoved {
            key: key(member),
            close_all: true,
        };
        self.log.draft(self.now.wall, body).sign(&pair(1), None)
    }
}

/// A blob of the shape of a sealed value.
pub(crate) fn blob(content: u8, len: usize) -> String {
    let mut blob = vec![content; len.max(58)];
    blob[..2].copy_from_slice(&[0xCE, 2]);
    claudemesh_core::encoding::base64url(&blob)
}

pub(crate) fn message(to: &str, text: &str, priority: &str) -> Value {
    json!({
        "type": "send", "id": text, "client_message_id": text, "targetSpec": to,
        "priority": priority, "nonce": "n", "ciphertext": text,
    })
}

pub(crate) fn error_of(reply: &HttpReply) -> (u16, &str) {
    match reply {
        HttpReply::Error { status, code, .. } => (*status, code),
        other => panic!("{other:?}"),
    }
}
