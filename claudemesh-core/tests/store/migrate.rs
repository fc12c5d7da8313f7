//! A file of format 1 with something in it: nothing is lost, and channels can be kept.

use std::path::Path;

use claudemesh_core::id::{ChannelName, MessageId, Priority, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;
use claudemesh_core::store::{
    InboxRow, Kind, NewInbox, NewOutbox, OutboxRow, Outcome, PeerOp, PeerStore, Pin, Query,
    ReaderName, Rows, SendState, SqliteStore, StoredEntry,
};
use rusqlite::{Connection, params};

use super::{incoming, insert, integrity, open};

const FORMAT_1: &str = include_str!("../../src/store/sqlite/format1.sql");

/// Written as format 1 was: by its own tables.
fn make_format_1(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(FORMAT_1).unwrap();
    conn.execute_batch("PRAGMA application_id = 0x434d5053; PRAGMA user_version = 1;")
        .unwrap();
    for (id, to, state, lane) in [
        ("gone", 1u8, 0, 0),
        ("a", 1, 0, 0),
        ("b", b'@', 0, 0),
        ("c", 2, 1, 1),
        ("d", 2, 3, 0),
        ("newest", 2, 3, 0),
    ] {
        conn.execute(
            "INSERT INTO outbox (id, recipient, frame, priority, created_at, expires_at, lane,
                                 sent, state, broker_id, reason, final_at)
             VALUES (?1, ?2, 'frame', 1, 5, 6, ?3, ?4 > 0, ?4, NULL, NULL, 0)",
            params![id, [to; 32], lane, state],
        )
        .unwrap();
    }
    for (dedupe, kind, priority) in [("m1", 0, 1), ("m2", 1, 1), ("m3", 0, 1), ("m4", 0, 0)] {
        conn.execute(
            "INSERT INTO inbox (kind, sender, sender_name, verified, id, broker_id, dedupe,
                                priority, content_type, body, attributes, reply_to, sent_at,
                                received_at)
             VALUES (?1, ?2, NULL, 1, ?3, ?3, ?3, ?4, 'text/plain', x'78', '[]', NULL, 1, 2)",
            params![kind, [1u8; 32], dedupe, priority],
        )
        .unwrap();
    }
    conn.execute_batch(
        "DELETE FROM outbox WHERE id IN ('gone', 'newest');
         INSERT INTO reader VALUES ('r', 0, 0, 4, NULL), ('r', 1, 1, 0, 7), ('r', 2, 0, 0, NULL);
         UPDATE passed SET cursor = 1 WHERE class = 1;
         INSERT INTO pin VALUES ('head', '1');",
    )
    .unwrap();
    conn.execute(
        "INSERT INTO log VALUES (0, x'01', ?1, NULL)",
        params![[3u8; 64]],
    )
    .unwrap();
}

fn outbox(store: &SqliteStore) -> Vec<OutboxRow> {
    let query = Query::OutboxList {
        all: true,
        limit: 9,
    };
    match store.read(&query).unwrap() {
        Rows::Outbox(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn unread(store: &SqliteStore) -> Vec<InboxRow> {
    let query = Query::Unread {
        reader: ReaderName("r".into()),
        limit: 9,
    };
    match store.read(&query).unwrap() {
        Rows::Inbox(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn shown(rows: &[InboxRow]) -> Vec<(&str, Kind, bool)> {
    rows.iter()
        .map(|row| (row.message.id.as_str(), row.message.kind, row.again))
        .collect()
}

#[test]
fn rows_of_format_1_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    make_format_1(&path);
    let mut store = open(&path);

    let row = |place, id: &str, to: u8, state: SendState, lane| OutboxRow {
        place,
        message: NewOutbox {
            id: MessageId::new(id).unwrap(),
            to: PublicKey([to; 32]).into(),
            frame: "frame".into(),
            priority: Priority::Next,
            created_at: 5,
            expires_at: 6,
            lane,
            sent: state != SendState::Queued,
        },
        state,
        broker_id: None,
        reason: None,
    };
    let kept = [
        row(2, "a", 1, SendState::Queued, 0),
        row(3, "b", b'@', SendState::Queued, 0),
        row(4, "c", 2, SendState::Accepted, 1),
        row(5, "d", 2, SendState::Failed, 0),
    ];
    assert_eq!(outbox(&store), kept);
    let rows = unread(&store);
    let readable = [("m4", Kind::Direct, true), ("m3", Kind::Direct, false)];
    assert_eq!(shown(&rows), readable);
    assert_eq!(rows[1].message, incoming("m3", b"x".to_vec()));
    let Rows::Inbox(all) = store.read(&Query::Inbox { limit: 9 }).unwrap() else {
        panic!()
    };
    assert_eq!(
        (all.len(), all[1].message.kind, &all[1].message.channel),
        (4, Kind::Rejected, &None)
    );
    let entry = StoredEntry {
        seq: 0,
        entry: SignedEntry {
            bytes: vec![1],
            signature: Signature([3; 64]),
            cosignature: None,
        },
    };
    assert_eq!(
        store.read(&Query::Log { from: 0, limit: 9 }).unwrap(),
        Rows::Log(vec![entry])
    );
    let pin = Pin {
        name: "head".into(),
        value: "1".into(),
    };
    assert_eq!(store.read(&Query::Pins).unwrap(), Rows::Pins(vec![pin]));
    for query in [
        (Query::ChannelLogs, Rows::ChannelLogs(Vec::new())),
        (Query::ChannelKeys, Rows::ChannelKeys(Vec::new())),
        (Query::Values, Rows::Values(Vec::new())),
    ] {
        assert_eq!(store.read(&query.0).unwrap(), query.1);
    }

    // Old and new rows together; places go on where they were.
    let topic = ChannelName::new("#topic").unwrap();
    let said = NewOutbox {
        to: topic.clone().into(),
        ..row(0, "e", 0, SendState::Queued, 0).message
    };
    let heard = NewInbox {
        kind: Kind::Channel,
        channel: Some(topic),
        ..incoming("m5", Vec::new())
    };
    let outcomes = store
        .apply(&[
            PeerOp::Enqueue(Box::new(said.clone())),
            PeerOp::Insert(Box::new(heard.clone())),
            insert("m1", Vec::new()),
        ])
        .unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Row(7), Outcome::Row(5), Outcome::Duplicate]
    );
    drop(store);
    let store = open(&path);
    assert_eq!(outbox(&store)[4].message, said);
    assert_eq!(unread(&store)[2].message, heard);
    drop(store);
    assert_eq!(integrity(&path), "ok");
}

#[test]
fn the_copy_is_the_file_of_format_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    make_format_1(&path);
    drop(open(&path));
    let copy = Connection::open(dir.path().join("peer.db.v1.bak")).unwrap();
    let get = |sql| -> i64 { copy.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(get("PRAGMA user_version"), 1);
    assert_eq!(get("SELECT count(*) FROM outbox"), 4);
    assert_eq!(get("SELECT count(*) FROM inbox"), 4);
    let now = Connection::open(&path).unwrap();
    let version: i64 = now
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 3);
}

/// What readers are shown is found without going through what they were shown before.
#[test]
fn unread_rows_are_found_by_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    drop(open(&path));
    let conn = Connection::open(&path).unwrap();
    let plan = |sql: &str| -> String {
        conn.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get(3))
            .unwrap()
    };
    let unread = plan(
        "SELECT * FROM inbox WHERE kind <> 1 AND priority = 1 AND seq > 2 ORDER BY seq LIMIT 3",
    );
    assert!(unread.contains("INDEX inbox_readable"), "{unread}");
    let locked = plan("SELECT * FROM locked WHERE key_id = x'00' ORDER BY place LIMIT 3");
    assert!(locked.contains("INDEX locked_key"), "{locked}");
}
