//! A peer: a session, its disk, and its link to the broker.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use broker_min::router::ConnId;
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{MemberId, MeshId, Status, Target};
use claudemesh_core::membership::{Log, SignedEntry};
use claudemesh_core::session::{About, Out, Retry, Session, SessionConfig};
use claudemesh_core::store::{
    MemoryStore, Outcome, PeerOp, PeerStore, Query, ReaderName, ReaderStart, Rows, StoreError,
    StoredEntry,
};
use claudemesh_core::wire::CloseCode;

use crate::world::pair;

pub enum FromBroker {
    Text(String),
    Close(CloseCode, String),
}

/// A connection as it stands between the two.
pub struct Link {
    pub conn: ConnId,
    pub challenge: [u8; 32],
    pub greeted: bool,
    pub to_broker: VecDeque<String>,
    pub from_broker: VecDeque<FromBroker>,
}

/// A disk, which several processes of one member may share.
#[derive(Clone)]
pub struct Disk(Rc<RefCell<MemoryStore>>);

impl Disk {
    pub fn apply(&self, ops: &[PeerOp]) -> Result<Vec<Outcome>, StoreError> {
        self.0.borrow_mut().apply(ops)
    }

    pub fn read(&self, query: &Query) -> Result<Rows, StoreError> {
        self.0.borrow().read(query)
    }

    pub fn version(&self) -> u64 {
        self.0.borrow().version().unwrap()
    }
}

pub struct Node {
    pub member: u8,
    /// Which of the member's processes it is: its lane and its reader.
    pub process: u32,
    pub session: Session,
    pub disk: Disk,
    /// The disk's version when it was looked at.
    pub seen: u64,
    /// How far its wall clock is off, ms.
    pub skew: i64,
    /// Nothing gets through to the broker, nor back.
    pub cut: bool,
    pub jobs: VecDeque<Out>,
    pub connecting: bool,
    pub link: Option<Link>,
    pub fails: bool,
    pub shown: Option<PeerOp>,
    pub shown_text: Option<u64>,
    /// What was shown and not taken, also by processes that crashed.
    pub offered: BTreeSet<u64>,
    pub next_command: u64,
    /// Texts and targets of commands whose answer is awaited, and whether they expire soon.
    pub asked: HashMap<u64, (u64, Target, bool)>,
    pub caught_up: bool,
    pub ended: bool,
}

/// The disk of a peer that has just joined.
pub fn disk(entries: &[SignedEntry]) -> Disk {
    let mut disk = MemoryStore::new();
    let log = (0..).zip(entries).map(|(seq, entry)| {
        let entry = entry.clone();
        PeerOp::Log(Box::new(StoredEntry { seq, entry }))
    });
    disk.apply(&log.collect::<Vec<_>>()).unwrap();
    Disk(Rc::new(RefCell::new(disk)))
}

thread_local! {
    /// The log that was verified last.
    static VERIFIED: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// [`Log::verify`], which goes on from a log that was verified before: a hash names all entries
/// before it, and to check their signatures again at each start was a third of the whole time.
fn verified(mesh: &MeshId, entries: &[SignedEntry]) -> Log {
    let held = VERIFIED.take().filter(|log| {
        let head = log.head();
        let same = usize::try_from(head.seq)
            .ok()
            .and_then(|at| entries.get(at));
        log.mesh() == mesh && same.is_some_and(|entry| entry.hash() == head.hash)
    });
    let log = match held {
        Some(mut log) => {
            let next = log.head().seq + 1;
            log.merge(next, &entries[usize::try_from(next).unwrap()..])
                .unwrap();
            log
        }
        None => Log::verify(mesh, entries).unwrap(),
    };
    VERIFIED.set(Some(log.clone()));
    log
}

impl Node {
    /// A process that starts with what the disk has.
    pub fn start(
        member: u8,
        process: u32,
        mesh: &MeshId,
        member_id: &MemberId,
        disk: Disk,
        rng: &mut Drbg,
    ) -> Self {
        let Ok(Rows::Pins(pins)) = disk.read(&Query::Pins) else {
            panic!("no pins")
        };
        let Ok(Rows::Log(entries)) = disk.read(&Query::Log {
            from: 0,
            limit: 10_000,
        }) else {
            panic!("no log")
        };
        let entries: Vec<SignedEntry> = entries.into_iter().map(|stored| stored.entry).collect();
        let log = verified(mesh, &entries);
        let Ok(Rows::ChannelLogs(logs)) = disk.read(&Query::ChannelLogs) else {
            panic!("no logs")
        };
        let Ok(Rows::ChannelKeys(keys)) = disk.read(&Query::ChannelKeys) else {
            panic!("no keys")
        };
        let start = ReaderStart::Resume;
        disk.apply(&[PeerOp::OpenReader {
            reader: ReaderName(format!("reader{process}")),
            start,
        }])
        .unwrap();
        let config = SessionConfig {
            mesh: mesh.clone(),
            member_id: member_id.clone(),
            key: Arc::new(pair(member)),
            name: None,
            broker: "ws://broker.example:7900/ws".parse().unwrap(),
            session_id: format!("s{process}"),
            receive: true,
            presence: true,
            durable: true,
            lane: process,
            retry: Retry::Backoff,
            has_log: true,
            about: About::default(),
            status: Status::Idle,
        };
        let mut session = Session::new(config, rng.bytes(), Some(log), pins);
        session.restore_channels(logs, keys);
        Self {
            member,
            process,
            session,
            seen: disk.version(),
            disk,
            skew: 0,
            cut: false,
            jobs: VecDeque::new(),
            connecting: false,
            link: None,
            fails: false,
            shown: None,
            shown_text: None,
            offered: BTreeSet::new(),
            next_command: 0,
            asked: HashMap::new(),
            caught_up: false,
            ended: false,
        }
    }

    pub fn reader(&self) -> ReaderName {
        ReaderName(format!("reader{}", self.process))
    }
}
