//! The world around the sessions: links, disks, crashes, readers, and the books.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{MessageId, PublicKey};
use claudemesh_core::membership::Log;
use claudemesh_core::session::{Command, Event, In, Now, Out, Reply, Session};
use claudemesh_core::store::{
    MemoryStore, PeerOp, PeerStore, Query, ReaderName, ReaderStart, Rows, SendState,
};

use crate::broker::{Broker, Conn};
use crate::support::*;

/// What happened, over all seeds.
#[derive(Debug, Default)]
pub struct Books {
    pub taken: usize,
    pub again: usize,
    pub crashes: usize,
    pub disconnects: usize,
    pub store_errors: usize,
    pub duplicates: usize,
}

impl Books {
    pub fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.again += other.again;
        self.crashes += other.crashes;
        self.disconnects += other.disconnects;
        self.store_errors += other.store_errors;
        self.duplicates += other.duplicates;
    }
}

/// A process and its disk. A crash forgets the process and what its disk was not asked for yet.
struct Node {
    member: u8,
    session: Session,
    disk: MemoryStore,
    jobs: VecDeque<Out>,
    conn: Option<Conn>,
    connecting: bool,
    to_broker: VecDeque<String>,
    from_broker: VecDeque<String>,
    /// What the reader was shown and has not taken.
    shown: Option<PeerOp>,
    taken: Vec<(PublicKey, MessageId)>,
    next_command: u64,
    /// Texts of commands whose answer is awaited.
    asked: HashMap<u64, u8>,
    queued: Vec<(u8, MessageId)>,
    told: HashMap<MessageId, SendState>,
    caught_up: bool,
    fails: bool,
}

pub struct World {
    rng: Drbg,
    now: Now,
    mesh: Mesh,
    broker: Broker,
    nodes: Vec<Node>,
    next_conn: Conn,
    fair: bool,
    pub books: Books,
}

fn reader() -> ReaderName {
    ReaderName("reader".to_owned())
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Drbg::new(bytes);
        let mesh = Mesh::new(&[BEN, CEM]);
        let members = if rng.below(2) == 0 {
            vec![ANA, BEN]
        } else {
            vec![ANA, BEN, CEM]
        };
        let mut world = Self {
            broker: Broker::new(mesh.clone()),
            rng,
            now: Now { mono: 0, wall: NOW },
            mesh,
            nodes: Vec::new(),
            next_conn: 0,
            fair: false,
            books: Books::default(),
        };
        for member in members {
            let mut disk = MemoryStore::new();
            let log = (0..).zip(&world.mesh.entries).map(|(seq, entry)| {
                let entry = entry.clone();
                PeerOp::Log(Box::new(claudemesh_core::store::StoredEntry { seq, entry }))
            });
            applied(disk.apply(&log.collect::<Vec<_>>()));
            let node = world.start(member, disk);
            world.nodes.push(node);
        }
        world
    }

    fn start(&mut self, member: u8, mut disk: MemoryStore) -> Node {
        let Ok(Rows::Pins(pins)) = disk.read(&Query::Pins) else {
            panic!("no pins")
        };
        let log = Log::verify(&self.mesh.id(), &self.mesh.entries).unwrap();
        let config = config(&self.mesh, member, true);
        let start = ReaderStart::Resume;
        applied(disk.apply(&[PeerOp::OpenReader {
            reader: reader(),
            start,
        }]));
        Node {
            member,
            session: Session::new(config, self.rng.bytes(), Some(log), pins),
            disk,
            jobs: VecDeque::new(),
            conn: None,
            connecting: false,
            to_broker: VecDeque::new(),
            from_broker: VecDeque::new(),
            shown: None,
            taken: Vec::new(),
            next_command: 0,
            asked: HashMap::new(),
            queued: Vec::new(),
            told: HashMap::new(),
            caught_up: false,
            fails: false,
        }
    }

    /// Chaos first, then a fair end; the books are checked after it.
    pub fn run(&mut self) {
        let steps = 100 + self.rng.below(300);
        for _ in 0..steps {
            self.step();
        }
        self.fair = true;
        self.broker.refuses = 0;
        for node in &mut self.nodes {
            node.fails = false;
        }
        for round in 0.. {
            assert!(round < 3_000, "never comes to rest: {}", self.unrest());
            for _ in 0..50 {
                self.step();
            }
            if self.unrest().is_empty() {
                break;
            }
        }
        self.check();
    }

    fn step(&mut self) {
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        match self.rng.below(if self.fair { 79 } else { 100 }) {
            0..25 => self.work_disk(node),
            25..50 => self.carry(node),
            50..65 => self.read(node),
            65..72 => self.connect(node),
            72..79 => self.pass(),
            79..90 => self.send(node),
            90..92 => self.disconnect(node),
            92..95 => self.crash(node),
            95..98 => self.nodes[node].fails = self.rng.below(3) == 0,
            98 => self.input(node, In::Changed),
            _ => self.broker.refuses = self.rng.below(8) as u32,
        }
    }

    fn input(&mut self, number: usize, input: In) {
        let node = &mut self.nodes[number];
        node.session.handle(self.now, input);
        while let Some(out) = node.session.poll() {
            match out {
                Out::Connect => node.connecting = true,
                Out::Transmit(text) => {
                    // Persisted before told: what goes out is on the disk already.
                    if let Ok(claudemesh_core::wire::ClientFrame::Send(send)) =
                        claudemesh_core::wire::ClientFrame::decode(&text)
                    {
                        let id = MessageId::new(send.client_message_id.unwrap()).unwrap();
                        let rows = node.disk.read(&Query::OutboxById(vec![id])).unwrap();
                        let Rows::Outbox(rows) = rows else { panic!() };
                        assert!(rows[0].message.sent && rows[0].message.frame == text);
                    }
                    if node.conn.is_some() {
                        node.to_broker.push_back(text);
                    }
                }
                Out::Close(_) => {
                    if let Some(conn) = node.conn.take() {
                        self.broker.close(conn);
                    }
                    node.connecting = false;
                    node.to_broker.clear();
                    node.from_broker.clear();
                    let reason = "closed".to_owned();
                    node.session
                        .handle(self.now, In::Closed { code: None, reason });
                }
                Out::Done(id, result) => {
                    let to = node.asked.remove(&id);
                    if let (Some(to), Ok(Reply::Queued(id, _))) = (to, result) {
                        node.queued.push((to, id));
                    }
                }
                Out::Event(Event::Sent { id, state, .. }) => {
                    node.told.insert(id, state);
                }
                Out::Event(Event::CaughtUp) => node.caught_up = true,
                Out::Event(_) => {}
                job => node.jobs.push_back(job),
            }
        }
    }

    fn work_disk(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let input = match node.jobs.pop_front() {
            Some(Out::Store(token, ops)) => {
                let result = if node.fails && !self.fair {
                    self.books.store_errors += 1;
                    Err(disk_full())
                } else {
                    node.disk.apply(&ops)
                };
                In::Stored(token, result)
            }
            Some(Out::Load(token, query)) => {
                let failing = node.fails && !self.fair && self.rng.below(2) == 0;
                let result = if failing {
                    Err(disk_full())
                } else {
                    node.disk.read(&query)
                };
                In::Loaded(token, result)
            }
            _ => return,
        };
        // A crash may fall between what is durable and its answer.
        if !self.fair && self.rng.below(200) == 0 {
            return self.crash(number);
        }
        self.input(number, input);
    }

    /// One frame each way.
    fn carry(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(conn) = node.conn else { return };
        let member = key(node.member);
        if let Some(text) = node.to_broker.pop_front() {
            let twice = !self.fair && self.rng.below(20) == 0 && !text.contains("\"hello\"");
            self.broker.frame(conn, member, &text);
            if twice {
                self.broker.frame(conn, member, &text);
            }
        }
        for (conn, text) in std::mem::take(&mut self.broker.outs) {
            if let Some(node) = self.nodes.iter_mut().find(|node| node.conn == Some(conn)) {
                node.from_broker.push_back(text);
            }
        }
        if let Some(text) = self.nodes[number].from_broker.pop_front() {
            if !self.fair && self.rng.below(20) == 0 {
                self.input(number, In::Frame(text.clone()));
            }
            self.input(number, In::Frame(text));
        }
    }

    fn connect(&mut self, number: usize) {
        if !self.nodes[number].connecting {
            return;
        }
        self.nodes[number].connecting = false;
        if !self.fair && self.rng.below(4) == 0 {
            let reason = "refused".to_owned();
            return self.input(number, In::Closed { code: None, reason });
        }
        self.next_conn += 1;
        self.nodes[number].conn = Some(self.next_conn);
        self.input(
            number,
            In::Opened {
                challenge: None,
                date: None,
            },
        );
    }

    /// Frames under way are lost, in both directions; what the broker has read counts.
    fn disconnect(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(conn) = node.conn.take() else { return };
        self.books.disconnects += 1;
        node.to_broker.clear();
        node.from_broker.clear();
        self.broker.close(conn);
        let reason = "broken".to_owned();
        self.input(number, In::Closed { code: None, reason });
    }

    fn crash(&mut self, number: usize) {
        self.books.crashes += 1;
        let node = &mut self.nodes[number];
        if let Some(conn) = node.conn.take() {
            self.broker.close(conn);
        }
        let (member, disk) = (node.member, std::mem::take(&mut node.disk));
        let fresh = self.start(member, disk);
        let old = std::mem::replace(&mut self.nodes[number], fresh);
        let node = &mut self.nodes[number];
        (node.taken, node.queued) = (old.taken, old.queued);
        self.input(number, In::Tick);
    }

    fn send(&mut self, number: usize) {
        let from = self.nodes[number].member;
        let others: Vec<u8> = self
            .nodes
            .iter()
            .map(|node| node.member)
            .filter(|to| *to != from)
            .collect();
        let to = others[self.rng.below(others.len() as u64) as usize];
        let node = &mut self.nodes[number];
        node.next_command += 1;
        let id = node.next_command;
        node.asked.insert(id, to);
        let command = Command::Send(Box::new(outgoing(to, "text")));
        self.input(number, In::Command(id, command));
    }

    /// A reader takes what it was shown and is shown the next, in one transaction.
    fn read(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let mut ops: Vec<PeerOp> = node.shown.take().into_iter().collect();
        applied(node.disk.apply(&ops));
        ops.clear();
        let query = Query::Unread {
            reader: reader(),
            limit: 1,
        };
        let Ok(Rows::Inbox(rows)) = node.disk.read(&query) else {
            panic!()
        };
        let Some(row) = rows.into_iter().next() else {
            return;
        };
        let (class, seq) = (row.message.priority, row.seq);
        let what = (row.message.sender, row.message.id);
        if row.again {
            // Shown before a crash, and not taken.
            self.books.again += 1;
            assert_eq!(
                node.taken.last(),
                Some(&what),
                "marked as repeated, but never shown"
            );
        } else {
            assert!(!node.taken.contains(&what), "shown twice without a mark");
            node.taken.push(what);
        }
        applied(node.disk.apply(&[PeerOp::Offer {
            reader: reader(),
            class,
            seq,
        }]));
        node.shown = Some(PeerOp::Take {
            reader: reader(),
            class,
            seq,
        });
    }

    fn pass(&mut self) {
        let ms = if self.rng.below(10) == 0 {
            20_000
        } else {
            self.rng.below(500)
        };
        self.now = Now {
            mono: self.now.mono + ms,
            wall: self.now.wall + ms,
        };
        for number in 0..self.nodes.len() {
            // Brokers ping.
            if self.nodes[number].conn.is_some() {
                self.input(number, In::Alive);
            }
            if self.nodes[number]
                .session
                .deadline()
                .is_some_and(|at| at <= self.now.mono)
            {
                self.input(number, In::Tick);
            }
        }
    }

    /// What is not at rest yet, in words.
    fn unrest(&self) -> String {
        for node in &self.nodes {
            let member = node.member;
            let Ok(Rows::Outbox(rows)) = node.disk.read(&Query::OutboxList {
                all: false,
                limit: 10_000,
            }) else {
                panic!()
            };
            if let Some(row) = rows.first() {
                return format!(
                    "{member} has {} rows, the first is {:?}",
                    rows.len(),
                    row.state
                );
            }
            if !node.session.is_ready() || !node.jobs.is_empty() || !node.caught_up {
                return format!("{member} is not connected and idle");
            }
            let query = Query::Unread {
                reader: reader(),
                limit: 1,
            };
            let Ok(Rows::Inbox(unread)) = node.disk.read(&query) else {
                panic!()
            };
            if !unread.is_empty() {
                return format!("{member} has something to read");
            }
        }
        if self.broker.waiting.is_empty() {
            String::new()
        } else {
            "the broker keeps some".into()
        }
    }

    fn check(&mut self) {
        self.books.duplicates += self.broker.duplicates;
        for node in &self.nodes {
            let own = key(node.member);
            // Exactly once: what the broker accepted for this member is what was taken.
            let mut per_sender: BTreeMap<[u8; 32], Vec<&str>> = BTreeMap::new();
            for message in self
                .broker
                .accepted
                .values()
                .filter(|message| message.to == own)
            {
                per_sender
                    .entry(message.sender.0)
                    .or_default()
                    .push(&message.client_id);
            }
            let mut taken: BTreeMap<[u8; 32], Vec<&str>> = BTreeMap::new();
            for (sender, id) in &node.taken {
                taken.entry(sender.0).or_default().push(id.as_str());
            }
            assert_eq!(taken, per_sender, "lost, doubled or out of order");
            self.books.taken += node.taken.len();
            // Nothing that was confirmed as queued is missing at the broker.
            let accepted: BTreeSet<&str> = (self.broker.accepted.values())
                .filter(|message| message.sender == own)
                .map(|message| message.client_id.as_str())
                .collect();
            for (_, id) in &node.queued {
                assert!(
                    accepted.contains(id.as_str()),
                    "{id} was queued and never accepted"
                );
            }
            // Ends agree, and what was told is what is kept.
            for (id, state) in &node.told {
                assert_eq!(*state, SendState::Delivered, "{id}");
            }
            let query = Query::OutboxList {
                all: true,
                limit: 10_000,
            };
            let Ok(Rows::Outbox(rows)) = node.disk.read(&query) else {
                panic!()
            };
            assert!(rows.iter().all(|row| row.state == SendState::Delivered));
        }
    }
}
