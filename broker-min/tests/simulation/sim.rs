//! The loop: chaos first, then a fair end, then the books.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use broker_min::hello::verify;
use broker_min::router::{ConnId, In as ToRouter, Now as RouterNow, Out as FromRouter};
use broker_min::store::{BrokerStore, MemoryStore, Query as BrokerQuery, Rows as BrokerRows};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{ChannelName, MemberId, MeshId, MessageId, Priority, Status, Target};
use claudemesh_core::membership::{Body, ChannelBody, SignedEntry};
use claudemesh_core::session::{Command, Event, In, Now, Out, Outgoing, Reply};
use claudemesh_core::store::{Outcome, PeerOp, Query, Rows, SendState, StoreError};
use claudemesh_core::wire::ClientFrame;

use crate::books::{Books, Said, Total};
use crate::broker::Broker;
use crate::node::{Disk, FromBroker, Link, Node, disk};
use crate::plan::{Failed, Plan};
use crate::world::{START, World, key};

const CHANNELS: [&str; 4] = ["#t0", "#t1", "@g0", "*"];

/// Makes what peers say worthless.
const HOUR: u64 = 3_600_000;

/// A mesh as everyone has joined it, and its broker's store.
struct Begun {
    mesh: MeshId,
    ids: Vec<MemberId>,
    entries: Vec<SignedEntry>,
    store: MemoryStore,
}

/// The mesh of so many members. Making it takes longer than many a run.
fn begun(count: u8) -> &'static Begun {
    static BEGUN: [OnceLock<Begun>; 6] = [const { OnceLock::new() }; 6];
    BEGUN[usize::from(count)].get_or_init(|| {
        let world = World::of(count);
        let mesh = world.mesh();
        let reader = world.store.reader().unwrap();
        let Ok(BrokerRows::Mesh(Some(found))) = reader.load(&BrokerQuery::Mesh(mesh.clone()))
        else {
            panic!("no mesh")
        };
        let (_, members, _, entries, _) = *found;
        let id_of = |n: u8| {
            let row = members.iter().find(|row| row.key == key(n)).unwrap();
            row.id.clone()
        };
        Begun {
            ids: (1..=count).map(id_of).collect(),
            store: world.store.fork(),
            mesh,
            entries,
        }
    })
}

pub struct Sim {
    rng: Drbg,
    plan: Plan,
    /// Faults that could have happened so far.
    faults: u64,
    now: Now,
    broker_skew: i64,
    /// Connections that the broker holds for open, and that are gone.
    ghosts: Vec<ConnId>,
    mesh: MeshId,
    ids: Vec<MemberId>,
    broker: Broker,
    nodes: Vec<Node>,
    next_conn: u64,
    next_text: u64,
    fair: bool,
    /// Of a hundred faults that could happen, so many do: some runs are calm, some are not.
    storm: u64,
    trace: bool,
    books: Books,
    total: Total,
}

impl Sim {
    pub fn new(plan: &Plan, trace: bool) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&plan.seed.to_be_bytes());
        let mut rng = Drbg::new(bytes);
        let storm = [3, 12, 40, 100][usize::try_from(rng.below(4)).unwrap()];
        let count = 2 + u8::try_from(rng.below(4)).unwrap();
        let count = plan.members.unwrap_or(count).clamp(2, 5);
        let Begun {
            mesh,
            ids,
            entries,
            store,
        } = begun(count);
        let broker = Broker::new(store.fork(), rng.bytes());
        let start = |n: u8, process: u32, disk: Disk, rng: &mut Drbg| {
            Node::start(n, process, mesh, &ids[usize::from(n) - 1], disk, rng)
        };
        let mut nodes: Vec<Node> = (1..=count)
            .map(|n| start(n, 0, disk(entries), &mut rng))
            .collect();
        let mut total = Total::default();
        // In some runs the second member has a second process on its store.
        if rng.below(3) == 0 {
            let shared = nodes[1].disk.clone();
            nodes.push(start(2, 1, shared, &mut rng));
            total.two_processes += 1;
        }
        Self {
            rng,
            plan: plan.clone(),
            faults: 0,
            broker_skew: 0,
            ghosts: Vec::new(),
            now: Now {
                mono: 10_000,
                wall: START + 60_000,
            },
            mesh: mesh.clone(),
            ids: ids.clone(),
            broker,
            nodes,
            next_conn: 0,
            next_text: 0,
            fair: false,
            storm,
            trace,
            books: Books::default(),
            total,
        }
    }

    /// How far it came, for who makes a failure smaller.
    pub fn failed(&self, why: String) -> Failed {
        Failed {
            steps: self.total.steps,
            faults: self.faults,
            why,
        }
    }

    pub fn run(&mut self) -> Total {
        for node in 0..self.nodes.len() {
            self.input(node, In::Tick);
        }
        // Most runs are short; a fifth of them are not.
        let (least, more) = match self.rng.below(5) {
            0 => (300, 900),
            _ => (100, 300),
        };
        let steps = least + self.rng.below(more);
        for _ in 0..self.plan.steps.unwrap_or(steps) {
            self.step();
            self.total.steps += 1;
        }
        self.fair = true;
        self.broker.fails = false;
        self.broker_skew = 0;
        for node in &mut self.nodes {
            node.fails = false;
            node.cut = false;
            node.skew = 0;
        }
        for node in 0..self.nodes.len() {
            self.command(node, Command::SetStatus(Status::Idle));
        }
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 4_000, "never comes to rest: {}", self.unrest());
            for _ in 0..50 {
                self.step();
            }
            // What is to expire expires, once the clock was steady for an hour.
            if round % 40 == 20 && self.books.said.values().any(|said| said.short) {
                self.later(HOUR);
            }
            self.insist();
            quiet = if self.unrest().is_empty() {
                quiet + 1
            } else {
                0
            };
            if quiet > 3 {
                break;
            }
        }
        self.check();
        self.total.clone()
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>8} {}", self.now.mono, what());
        }
    }

    fn step(&mut self) {
        let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap();
        match self.rng.below(if self.fair { 80 } else { 112 }) {
            0..18 => self.work_disk(node),
            18..42 => self.carry(node),
            42..54 => self.work_broker(),
            54..64 => self.read(node),
            64..70 => self.connect(node),
            70..80 => self.pass(),
            80..92 => self.send(node),
            92..96 => self.change_channel(node),
            96 => self.set_status(node),
            _ => self.fault(node),
        }
    }

    /// Rarely enough that things happen in between.
    fn fault(&mut self, node: usize) {
        if self.rng.below(100) >= self.storm {
            self.carry(node);
            return self.work_broker();
        }
        // What a fault draws is its own: one that is left out moves no other.
        let draw = self.rng.below(46);
        let mut own = Drbg::new(self.rng.bytes());
        let fault = match draw {
            0..4 => "disconnect",
            4..8 => "crash",
            8..11 => "restart",
            11..18 => "disk",
            18..21 => "commit",
            21..25 => "changed",
            25..28 => "remove",
            28 => "wait",
            29..33 => "cut",
            33..35 => "skew",
            35 => "broker-clock",
            36 => "hour",
            _ => return,
        };
        self.faults += 1;
        if !self.plan.allows(fault, self.faults) {
            return;
        }
        match fault {
            "disconnect" => self.disconnect(node),
            "crash" => self.crash_peer(node, own.bytes()),
            "restart" => self.crash_broker(own.bytes()),
            "disk" => self.nodes[node].fails = own.below(4) == 0,
            "commit" => self.broker.fails = own.below(4) == 0,
            "changed" => self.input(node, In::Changed),
            "remove" => self.remove(&mut own),
            "wait" => self.jump(),
            "cut" => {
                self.nodes[node].cut = own.below(3) != 0;
                self.total.cuts += usize::from(self.nodes[node].cut);
            }
            "skew" => {
                // As far as clocks may be off without anybody taking it for old or new.
                self.nodes[node].skew = i64::try_from(own.below(240_000)).unwrap() - 120_000;
                self.total.skews += 1;
            }
            "broker-clock" => {
                let hour = i64::try_from(HOUR).unwrap();
                self.broker_skew = [-hour, 0, hour][usize::try_from(own.below(3)).unwrap()];
                self.total.skews += 1;
            }
            "hour" => {
                self.total.hours += 1;
                self.later(HOUR);
            }
            _ => unreachable!(),
        }
    }

    fn skewed(wall: u64, skew: i64) -> u64 {
        wall.saturating_add_signed(skew)
    }

    fn router_now(&self) -> RouterNow {
        RouterNow {
            mono: self.now.mono,
            wall: Self::skewed(self.now.wall, self.broker_skew),
        }
    }

    fn now_at(&self, number: usize) -> Now {
        Now {
            mono: self.now.mono,
            wall: Self::skewed(self.now.wall, self.nodes[number].skew),
        }
    }

    // ---- the broker's side

    fn route(&mut self, input: ToRouter) {
        let outs = self.broker.input(self.router_now(), input);
        self.written(outs);
    }

    fn work_broker(&mut self) {
        let now = self.router_now();
        let outs = self.broker.work(now, &mut self.rng);
        self.written(outs);
    }

    fn written(&mut self, outs: Vec<FromRouter>) {
        for out in outs {
            match out {
                FromRouter::Write { conns, text, .. } => {
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    for conn in conns {
                        if let Some(link) = self.link(conn) {
                            link.from_broker.push_back(FromBroker::Text(text.clone()));
                        }
                    }
                }
                FromRouter::Close { conn, code, reason } => {
                    if let Some(link) = self.link(conn) {
                        link.from_broker.push_back(FromBroker::Close(code, reason));
                    }
                }
                _ => {}
            }
        }
    }

    fn link(&mut self, conn: u64) -> Option<&mut Link> {
        let links = self.nodes.iter_mut().filter_map(|node| node.link.as_mut());
        links.into_iter().find(|link| link.conn == conn)
    }

    fn crash_broker(&mut self, seed: [u8; 32]) {
        self.total.broker_crashes += 1;
        self.say(|| "the broker crashes".into());
        self.broker.crash(seed);
        self.ghosts.clear();
        for node in 0..self.nodes.len() {
            if self.nodes[node].link.take().is_some() {
                let reason = "gone".to_owned();
                self.input(node, In::Closed { code: None, reason });
            }
        }
    }

    // ---- a peer's side

    fn input(&mut self, number: usize, input: In) {
        let node = &mut self.nodes[number];
        if node.ended {
            return;
        }
        let now = Now {
            mono: self.now.mono,
            wall: Self::skewed(self.now.wall, node.skew),
        };
        node.session.handle(now, input);
        while let Some(out) = self.nodes[number].session.poll() {
            self.output(number, out);
        }
    }

    fn output(&mut self, number: usize, out: Out) {
        let node = &mut self.nodes[number];
        match out {
            Out::Connect => node.connecting = true,
            Out::Transmit(text) => {
                if let Ok(ClientFrame::Send(send)) = ClientFrame::decode(&text)
                    && send.online.is_none()
                {
                    // Persisted before told: what goes out is on the disk already, as it goes out.
                    let id = MessageId::new(send.client_message_id.clone().unwrap()).unwrap();
                    let rows = node.disk.read(&Query::OutboxById(vec![id])).unwrap();
                    let Rows::Outbox(rows) = rows else { panic!() };
                    assert!(rows[0].message.sent, "sent before it was marked");
                    assert_eq!(rows[0].message.frame, text, "other bytes than on the disk");
                    assert_eq!(send.form.as_deref(), Some("envelope/1"), "a draft went out");
                }
                if let Some(link) = &mut node.link {
                    link.to_broker.push_back(text);
                }
            }
            Out::Close(_) => {
                if let Some(link) = node.link.take() {
                    self.unlink(number, link.conn);
                }
                self.nodes[number].connecting = false;
                let reason = "closed".to_owned();
                let now = self.now_at(number);
                self.nodes[number]
                    .session
                    .handle(now, In::Closed { code: None, reason });
            }
            Out::Done(id, result) => {
                let asked = node.asked.remove(&id);
                if let Ok(Reply::Reached(_)) = &result {
                    self.total.reached += 1;
                }
                if let (Some((text, to, short)), Ok(Reply::Queued(id, _))) = (asked, result) {
                    self.total.said += 1;
                    self.total.to_channels += usize::from(to.channel().is_some());
                    self.say(|| format!("{number} queued {text} as {id} to {to}"));
                    let said = Said {
                        by: number,
                        to,
                        text,
                        short,
                        recipients: None,
                        end: None,
                    };
                    self.books.said.insert(id, said);
                }
            }
            Out::Event(event) => self.event(number, event),
            job => node.jobs.push_back(job),
        }
    }

    fn event(&mut self, number: usize, event: Event) {
        match event {
            Event::Sent {
                id,
                state,
                reason,
                recipients,
            } => {
                self.say(|| format!("{number}: {id} is {state:?} {reason:?} {recipients:?}"));
                let Some(said) = self.books.said.get_mut(&id) else {
                    return;
                };
                said.recipients = recipients.or(said.recipients);
                if state.is_final() {
                    if let Some((before, _)) = &said.end {
                        assert_eq!(*before, state, "{id} has two ends");
                    }
                    said.end = Some((state, reason));
                }
            }
            Event::CaughtUp => self.nodes[number].caught_up = true,
            Event::Removed { .. } => {
                self.nodes[number].ended = true;
                self.nodes[number].link = None;
            }
            Event::LiedTo(lie) => panic!("an honest broker was called a liar by {number}: {lie}"),
            Event::Rejected { sender, reason } => {
                // Only mail of those who are out by now is set apart.
                let out = self
                    .books
                    .removed
                    .iter()
                    .any(|n| key(self.nodes[*n].member) == sender);
                assert!(
                    out || sender.0 == [0; 32],
                    "{number} rejected mail: {reason}"
                );
                self.say(|| format!("{number} rejects: {reason}"));
            }
            Event::ChannelRekeyed { channel, epoch } => {
                self.total.rekeyed += 1;
                self.say(|| format!("{number} has epoch {epoch} of {channel}"));
            }
            Event::Locked { channel, .. } => {
                self.total.locked += 1;
                self.say(|| format!("{number} locks a message in {channel}"));
            }
            Event::ChannelFork { channel, epoch } => {
                panic!("epoch {epoch} of {channel} was made twice at an honest broker")
            }
            Event::KeyWithheld { channel, .. } => panic!("a copy for {channel} does not fit"),
            other => self.say(|| format!("{number}: {other:?}")),
        }
    }

    fn work_disk(&mut self, number: usize) {
        let fair = self.fair;
        let node = &mut self.nodes[number];
        let input = match node.jobs.pop_front() {
            Some(Out::Store(token, ops)) => {
                let result: Result<Vec<Outcome>, StoreError> = if node.fails && !fair {
                    self.total.store_errors += 1;
                    Err(StoreError::Full { path: "sim".into() })
                } else {
                    node.disk.apply(&ops)
                };
                In::Stored(token, result)
            }
            Some(Out::Load(token, query)) => {
                let failing = node.fails && !fair && self.rng.below(2) == 0;
                let result = if failing {
                    Err(StoreError::Full { path: "sim".into() })
                } else {
                    self.nodes[number].disk.read(&query)
                };
                In::Loaded(token, result)
            }
            _ => return,
        };
        if !fair && self.rng.below(400) == 0 {
            let seed = self.rng.bytes();
            self.faults += 1;
            if self.plan.allows("crash", self.faults) {
                return self.crash_peer(number, seed);
            }
        }
        self.input(number, input);
    }

    /// One frame each way.
    fn carry(&mut self, number: usize) {
        let wall = self.router_now().wall;
        if self.nodes[number].cut {
            return;
        }
        let Some(link) = &mut self.nodes[number].link else {
            return;
        };
        let conn = link.conn;
        let trace = self.trace && std::env::var_os("CLAUDEMESH_SIM_FRAMES").is_some();
        if let Some(text) = link.to_broker.pop_front() {
            if trace {
                eprintln!("{number} > {text}");
            }
            let frame = ClientFrame::decode(&text).unwrap();
            let size = text.len();
            if link.greeted {
                let frame = Box::new(frame);
                self.route(ToRouter::Frame { conn, frame, size });
            } else {
                link.greeted = true;
                let hosts = ["broker.example:7900".to_owned()];
                match verify(&text, &frame, Some(&link.challenge), &hosts, wall) {
                    Ok(verified) => {
                        let verified = Box::new(verified);
                        self.route(ToRouter::Hello { conn, verified });
                    }
                    // The broker's clock jumped since it told its time.
                    Err(error) if error.code == "timestamp_skew" => {
                        self.nodes[number].link = None;
                        let reason = error.message.to_owned();
                        return self.input(number, In::Closed { code: None, reason });
                    }
                    Err(error) => panic!("an honest hello was refused: {error:?}"),
                }
            }
        }
        let Some(link) = &mut self.nodes[number].link else {
            return;
        };
        match link.from_broker.pop_front() {
            Some(FromBroker::Text(text)) => {
                if trace {
                    eprintln!("{number} < {text}");
                }
                let twice = !self.fair && self.rng.below(30) == 0;
                self.faults += u64::from(twice);
                if twice && self.plan.allows("twice", self.faults) {
                    self.input(number, In::Frame(text.clone()));
                }
                self.input(number, In::Frame(text));
            }
            Some(FromBroker::Close(code, reason)) => {
                self.nodes[number].link = None;
                let code = Some(code.0);
                self.input(number, In::Closed { code, reason });
            }
            None => {}
        }
    }

    fn connect(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if !node.connecting || node.ended {
            return;
        }
        node.connecting = false;
        if self.nodes[number].cut || (!self.fair && self.rng.below(5) == 0) {
            let reason = "refused".to_owned();
            return self.input(number, In::Closed { code: None, reason });
        }
        self.next_conn += 1;
        let challenge = self.rng.bytes();
        self.nodes[number].caught_up = false;
        self.nodes[number].link = Some(Link {
            conn: self.next_conn,
            challenge,
            greeted: false,
            to_broker: Default::default(),
            from_broker: Default::default(),
        });
        let challenge = Some(challenge);
        self.input(
            number,
            In::Opened {
                challenge,
                date: Some(self.router_now().wall),
            },
        );
    }

    /// This end of a connection is gone. Whoever is cut off cannot say so.
    fn unlink(&mut self, number: usize, conn: ConnId) {
        if self.nodes[number].cut {
            self.ghosts.push(conn);
        } else {
            self.route(ToRouter::Closed { conn });
        }
    }

    /// Frames under way are lost, in both directions; what the broker has read counts.
    fn disconnect(&mut self, number: usize) {
        let Some(link) = self.nodes[number].link.take() else {
            return;
        };
        self.total.disconnects += 1;
        self.unlink(number, link.conn);
        let reason = "broken".to_owned();
        self.input(number, In::Closed { code: None, reason });
    }

    fn crash_peer(&mut self, number: usize, seed: [u8; 32]) {
        if self.nodes[number].ended {
            return;
        }
        self.total.peer_crashes += 1;
        self.say(|| format!("{number} crashes"));
        if let Some(link) = self.nodes[number].link.take() {
            self.unlink(number, link.conn);
        }
        let node = &mut self.nodes[number];
        let (member, process, disk) = (node.member, node.process, node.disk.clone());
        let offered = std::mem::take(&mut node.offered);
        let id = &self.ids[usize::from(member) - 1];
        let mut rng = Drbg::new(seed);
        let mut fresh = Node::start(member, process, &self.mesh, id, disk, &mut rng);
        (fresh.offered, fresh.skew, fresh.cut) = (offered, node.skew, node.cut);
        self.nodes[number] = fresh;
        self.input(number, In::Tick);
    }

    // ---- what people do

    fn command(&mut self, number: usize, command: Command) -> u64 {
        let node = &mut self.nodes[number];
        node.next_command += 1;
        let id = node.next_command;
        self.input(number, In::Command(id, command));
        id
    }

    fn send(&mut self, number: usize) {
        let to = if self.rng.below(3) == 0 {
            let others = self.ids.len() as u64 - 1;
            let step = 1 + u8::try_from(self.rng.below(others)).unwrap();
            let members = u8::try_from(self.ids.len()).unwrap();
            let to = (self.nodes[number].member - 1 + step) % members + 1;
            Target::Peer(key(to))
        } else {
            Target::Channel(self.any_channel())
        };
        self.next_text += 1;
        let text = self.next_text;
        let priority = match self.rng.below(6) {
            0 => Priority::Now,
            1 => Priority::Low,
            _ => Priority::Next,
        };
        let short = self.rng.below(12) == 0;
        let online = self.rng.below(12) == 0;
        let message = Outgoing {
            to: to.clone(),
            body: text.to_string().into_bytes(),
            content_type: "text/plain".into(),
            priority,
            reply_to: None,
            attributes: Vec::new(),
            expires_in: short.then_some(HOUR / 2),
            to_unverified: false,
            protection: claudemesh_core::session::Protection::Sealed,
        };
        if online {
            self.command(number, Command::SendOnline(Box::new(message)));
            return;
        }
        let node = &mut self.nodes[number];
        let id = node.next_command + 1;
        node.asked.insert(id, (text, to, short));
        self.command(number, Command::Send(Box::new(message)));
    }

    fn any_channel(&mut self) -> ChannelName {
        let place = usize::try_from(self.rng.below(CHANNELS.len() as u64)).unwrap();
        ChannelName::new(CHANNELS[place]).unwrap()
    }

    fn change_channel(&mut self, number: usize) {
        let channel = self.any_channel();
        if !channel.has_log() {
            return;
        }
        let me = key(self.nodes[number].member);
        let command = match self.rng.below(4) {
            0 => Command::Append {
                body: Body::ChannelCreated {
                    channel,
                    public: true,
                },
                invite_token: None,
            },
            1 => Command::AppendChannel {
                channel,
                body: ChannelBody::Left { key: me },
            },
            _ => Command::AppendChannel {
                channel,
                body: ChannelBody::Joined { key: me },
            },
        };
        self.command(number, command);
    }

    fn set_status(&mut self, number: usize) {
        let status = [Status::Idle, Status::Working, Status::Idle];
        let status = status[usize::try_from(self.rng.below(3)).unwrap()];
        self.command(number, Command::SetStatus(status));
    }

    /// The owner removes somebody; rarely.
    fn remove(&mut self, own: &mut Drbg) {
        if own.below(3) != 0 || self.ids.len() < 3 {
            return;
        }
        let last = self.ids.len() - 1;
        if self.books.removed.insert(last) {
            let key = key(self.nodes[last].member);
            let body = Body::MemberRemoved {
                key,
                close_all: true,
            };
            let invite_token = None;
            self.total.removed += 1;
            self.say(|| format!("{last} is to be removed"));
            self.command(0, Command::Append { body, invite_token });
        }
    }

    /// In the end the owner removes whom it wanted to remove: the broker may have been away.
    fn insist(&mut self) {
        let owner = &self.nodes[0].session;
        if !owner.is_ready() || !self.nodes[0].jobs.is_empty() {
            return;
        }
        let roster = owner.membership().map(|log| log.roster().clone());
        let wanted: Vec<_> = (self.books.removed.iter())
            .map(|number| key(self.nodes[*number].member))
            .filter(|key| {
                roster
                    .as_ref()
                    .is_some_and(|roster| roster.member(key).is_some())
            })
            .collect();
        for key in wanted {
            let body = Body::MemberRemoved {
                key,
                close_all: true,
            };
            let invite_token = None;
            self.command(0, Command::Append { body, invite_token });
        }
    }

    /// A reader takes what it was shown and is shown the next.
    fn read(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let ops: Vec<PeerOp> = node.shown.take().into_iter().collect();
        if !ops.is_empty() {
            node.disk.apply(&ops).unwrap();
            if let Some(text) = node.shown_text.take() {
                node.offered.remove(&text);
            }
        }
        let query = Query::Unread {
            reader: node.reader(),
            limit: 1,
        };
        let Ok(Rows::Inbox(rows)) = node.disk.read(&query) else {
            panic!()
        };
        let Some(row) = rows.into_iter().next() else {
            return;
        };
        let (class, seq) = (row.message.priority, row.seq);
        let text: u64 = String::from_utf8(row.message.body)
            .unwrap()
            .parse()
            .unwrap();
        if row.again {
            assert!(
                node.offered.contains(&text),
                "{text} is marked as repeated, but was never shown"
            );
            self.total.again += 1;
        } else {
            self.books.took(number, text);
            self.total.taken += 1;
        }
        let node = &mut self.nodes[number];
        node.shown_text = Some(text);
        node.offered.insert(text);
        let reader = node.reader();
        node.disk
            .apply(&[PeerOp::Offer {
                reader: reader.clone(),
                class,
                seq,
            }])
            .unwrap();
        node.shown = Some(PeerOp::Take { reader, class, seq });
    }

    fn pass(&mut self) {
        let ms = match (self.rng.below(40), self.fair) {
            (0, false) if self.rng.below(4) == 0 => 20_000,
            (0..2, false) => 2_000,
            (_, false) => self.rng.below(100),
            // In the end there is time for all that is to be done.
            (0..2, true) => 1_000,
            (_, true) => self.rng.below(20),
        };
        self.later(ms);
    }

    fn jump(&mut self) {
        // Nobody's clock but time itself: leases end, backoffs pass.
        self.later(120_000);
    }

    fn later(&mut self, ms: u64) {
        self.now = Now {
            mono: self.now.mono + ms,
            wall: self.now.wall + ms,
        };
        if self
            .broker
            .router
            .deadline()
            .is_some_and(|at| at <= self.now.mono)
        {
            self.route(ToRouter::Tick);
        }
        // The broker notices in the end that somebody is gone.
        if let Some(conn) = self.ghosts.pop() {
            self.route(ToRouter::Closed { conn });
        }
        for number in 0..self.nodes.len() {
            // Processes look now and then what others wrote.
            let version = self.nodes[number].disk.version();
            if std::mem::replace(&mut self.nodes[number].seen, version) != version {
                self.input(number, In::Changed);
            }
            if let Some(link) = &self.nodes[number].link
                && !self.nodes[number].cut
            {
                // Both ends ping.
                let conn = link.conn;
                self.input(number, In::Alive);
                self.route(ToRouter::Pong { conn });
            }
            let node = &self.nodes[number];
            if node
                .session
                .deadline()
                .is_some_and(|at| at <= self.now.mono)
            {
                self.input(number, In::Tick);
            }
        }
    }

    // ---- the end

    /// What is not at rest yet, in words.
    fn unrest(&self) -> String {
        if !self.broker.is_idle() || !self.ghosts.is_empty() {
            return "the broker works".into();
        }
        for (number, node) in self.nodes.iter().enumerate() {
            if node.ended {
                continue;
            }
            if self.books.removed.contains(&number) {
                return format!("{number} is not out yet");
            }
            let Ok(Rows::Outbox(rows)) = node.disk.read(&Query::OutboxList {
                all: false,
                limit: 10_000,
            }) else {
                panic!()
            };
            if let Some(row) = rows.first() {
                let (rows, state, id) = (rows.len(), row.state, &row.message.id);
                return format!("{number} has {rows} rows, the first {id} is {state:?}");
            }
            let link = node.link.as_ref();
            let carried = link.is_some_and(|l| l.to_broker.is_empty() && l.from_broker.is_empty());
            if !node.session.is_ready() || !node.jobs.is_empty() || !node.caught_up || !carried {
                return format!("{number} is not connected and idle");
            }
            let query = Query::Unread {
                reader: node.reader(),
                limit: 1,
            };
            let Ok(Rows::Inbox(unread)) = node.disk.read(&query) else {
                panic!()
            };
            if !unread.is_empty() {
                return format!("{number} has something to read");
            }
            let query = Query::Locked {
                key_id: None,
                limit: 1,
            };
            let Ok(Rows::Locked(locked)) = node.disk.read(&query) else {
                panic!()
            };
            if let Some(row) = locked.first() {
                return format!("{number} has a locked message in {}", row.message.channel);
            }
        }
        String::new()
    }

    fn check(&mut self) {
        let removed = &self.books.removed;
        for (id, said) in &self.books.said {
            let Said { by, to, text, .. } = said;
            let gone = removed.contains(by);
            let takers = self.books.taken.get(text).cloned().unwrap_or_default();
            let member = |node: &usize| self.nodes[*node].member;
            // The disk has the last word on the end: it may have been told before a crash.
            let state = self.state(*by, id);
            assert!(
                gone || state.0.is_final(),
                "{id} ({text}) has no end: {state:?}"
            );
            let late = said.short && state.1.as_deref() == Some("expired");
            if state.0 == SendState::Failed {
                self.total.failed += 1;
                self.total.expired += usize::from(late);
            }
            match to {
                Target::Peer(peer) => {
                    let all = 0..self.nodes.len();
                    let processes: Vec<usize> = all
                        .filter(|n| key(self.nodes[*n].member) == *peer)
                        .collect();
                    let out = gone || removed.contains(&processes[0]);
                    // Each process reads everything. What expired may have come just before.
                    let delivered = state.0 == SendState::Delivered;
                    let expected = processes.len() * usize::from(delivered);
                    let came_late = late && takers.len() == processes.len();
                    assert!(
                        out || takers.len() == expected || came_late,
                        "{text} to {processes:?} is {state:?}, taken by {takers:?}"
                    );
                    assert!(takers.iter().all(|taker| processes.contains(taker)));
                }
                Target::Channel(_) => {
                    let members: BTreeSet<u8> = takers.iter().map(member).collect();
                    assert!(
                        !members.contains(&member(by)),
                        "{text} came back to its sender"
                    );
                    // Those who are out took theirs before, or never will.
                    if let (Some(count), true, SendState::Delivered) =
                        (said.recipients, removed.is_empty(), state.0)
                    {
                        assert_eq!(members.len(), count as usize, "{text}: {takers:?}");
                        let twice = members.contains(&2) && self.nodes.last().unwrap().process > 0;
                        assert_eq!(takers.len(), members.len() + usize::from(twice), "{text}");
                    }
                    if state.0 == SendState::Failed && removed.is_empty() && !late {
                        assert!(takers.is_empty(), "{text} failed and was taken: {state:?}");
                    }
                }
            }
        }
        // What one sender said in one place is taken in the order in which the broker accepted it,
        // within a priority: its ids tell.
        let by_text: BTreeMap<u64, &Said> = self
            .books
            .said
            .values()
            .map(|said| (said.text, said))
            .collect();
        for (taker, texts) in &self.books.order {
            let mut last: BTreeMap<(usize, String, Priority), String> = BTreeMap::new();
            for text in texts {
                let (Some(said), Some((class, id))) =
                    (by_text.get(text), self.row_of(*taker, *text))
                else {
                    continue;
                };
                let place = (said.by, said.to.to_string(), class);
                if let Some(before) = last.insert(place, id.clone()) {
                    assert!(before < id, "{taker} took {text} ({id}) after {before}");
                }
            }
        }
        for node in &self.nodes {
            assert!(node.fails || node.ended || node.session.is_ready());
        }
    }

    fn state(&self, number: usize, id: &MessageId) -> (SendState, Option<String>) {
        let rows = self.nodes[number]
            .disk
            .read(&Query::OutboxById(vec![id.clone()]));
        let Ok(Rows::Outbox(rows)) = rows else {
            panic!()
        };
        rows.first().map_or((SendState::Queued, None), |row| {
            (row.state, row.reason.clone())
        })
    }

    /// The priority and the broker's id of what was taken.
    fn row_of(&self, number: usize, text: u64) -> Option<(Priority, String)> {
        let query = Query::Inbox { limit: 100_000 };
        let Ok(Rows::Inbox(rows)) = self.nodes[number].disk.read(&query) else {
            panic!()
        };
        let wanted = text.to_string();
        let row = rows
            .into_iter()
            .find(|row| row.message.body == wanted.as_bytes())?;
        Some((row.message.priority, row.message.delivery.broker_id))
    }
}
