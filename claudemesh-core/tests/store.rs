//! Peer stores from outside: the suite, the file, crashes, and both kinds against each other.
#![cfg(feature = "sqlite")]
// Helpers are test code, too; Clippy sees that of test functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "store/crash.rs"]
mod crash;
#[path = "store/file.rs"]
mod file;
#[cfg(unix)]
#[path = "store/io.rs"]
mod io;
#[path = "store/migrate.rs"]
mod migrate;
#[path = "store/model.rs"]
mod model;
#[cfg(unix)]
#[allow(unsafe_code, unreachable_pub, reason = "SQLite's file layer is C")]
#[path = "vfs/mod.rs"]
mod vfs;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use claudemesh_core::id::{MessageId, Priority, PublicKey};
use claudemesh_core::store::{
    Delivery, InboxRow, KeptRoot, Kind, MemoryStore, NewInbox, PeerOp, PeerStore, Query, Rows,
    SqliteStore, conformance,
};

#[test]
fn memory_conforms() {
    conformance::run(|| Box::new(MemoryStore::new()));
}

#[test]
fn sqlite_in_memory_conforms() {
    conformance::run(|| Box::new(SqliteStore::open_in_memory().unwrap()));
    assert!(!SqliteStore::open_in_memory().unwrap().is_durable());
}

#[test]
fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = 0;
    conformance::run(|| {
        made += 1;
        Box::new(open(&dir.path().join(format!("{made}.db"))))
    });
    assert!(made > 20);
}

#[test]
fn sqlite_is_durable_and_shared() {
    let dir = vfs::folder();
    conformance::run_durable(|| Box::new(open(&dir.path().join("peer.db"))));
}

/// Operations and rows are printed where something went wrong.
#[test]
fn a_root_is_not_shown() {
    let root = KeptRoot::new([0xab; 32]);
    assert_eq!(format!("{root:?}"), "KeptRoot");
    assert_eq!(root.expose(), &[0xab; 32]);
}

/// Ten that write without a pause: none waits until it gives up.
#[test]
fn writers_do_not_starve() {
    // It is about turns; how long a busy disk takes for ten fsyncs is not.
    let dir = vfs::folder();
    let path = &dir.path().join("peer.db");
    let until = Instant::now() + Duration::from_millis(800);
    let write = |writer: u32| {
        let (mut store, mut rows) = (open(path), 0);
        while rows == 0 || Instant::now() < until {
            store
                .apply(&[insert(&format!("{writer}-{rows}"), Vec::new())])
                .unwrap();
            rows += 1;
        }
        rows
    };
    let rows: Vec<u32> = thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|n| scope.spawn(move || write(n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(inbox(&open(path)).len() as u32, rows.iter().sum::<u32>());
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap()
}

fn incoming(dedupe: &str, body: Vec<u8>) -> NewInbox {
    NewInbox {
        kind: Kind::Direct,
        channel: None,
        to: None,
        device_of: None,
        sender: PublicKey([1; 32]),
        sender_name: None,
        verified: true,
        id: MessageId::new(dedupe).unwrap(),
        delivery: Delivery {
            broker_id: dedupe.into(),
            dedupe: dedupe.into(),
        },
        priority: Priority::Next,
        content_type: "text/plain".into(),
        body,
        attributes: Vec::new(),
        reply_to: None,
        sent_at: 1,
        received_at: 2,
    }
}

fn insert(dedupe: &str, body: Vec<u8>) -> PeerOp {
    PeerOp::Insert(Box::new(incoming(dedupe, body)))
}

fn inbox(store: &dyn PeerStore) -> Vec<InboxRow> {
    match store.read(&Query::Inbox { limit: u32::MAX }).unwrap() {
        Rows::Inbox(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn integrity(path: &Path) -> String {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}
