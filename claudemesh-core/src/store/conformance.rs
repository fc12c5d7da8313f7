//! The suite that every [`PeerStore`] passes.
//!
//! For the tests of a store of your own:
//!
//! ```
//! use claudemesh_core::store::{MemoryStore, conformance};
//!
//! conformance::run(|| Box::new(MemoryStore::new()));
//! ```

// Its job is to panic where a store is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod channels;
mod durable;
mod inbox;
mod outbox;
mod rest;
mod wanted;

use super::{
    Delivery, InboxRow, Kind, NewInbox, NewOutbox, OutboxRow, Outcome, PeerOp, PeerStore, Query,
    ReaderName, ReaderStart, Rows, SendState,
};
use crate::id::{MessageId, Priority, PublicKey};

/// Runs every case that any store passes, each on a new, empty store from `make`.
///
/// # Panics
/// Where the store does not do what [`PeerOp`] and [`Query`] say.
pub fn run(mut make: impl FnMut() -> Box<dyn PeerStore>) {
    let cases = [
        outbox::CASES,
        inbox::CASES,
        wanted::CASES,
        channels::CASES,
        rest::CASES,
    ];
    for case in cases.into_iter().flatten() {
        case(&mut *make());
    }
}

/// Runs the cases of a store that survives its process and that several share. Each call of
/// `open` opens the same store once more; it is empty at first.
///
/// # Panics
/// Where something confirmed is not there, or two handles do not agree.
pub fn run_durable(open: impl Fn() -> Box<dyn PeerStore>) {
    durable::survives_reopening(&open);
    durable::handles_see_each_other(&open);
    durable::concurrent_inserts_dedupe(&open);
    durable::concurrent_senders_keep_all(&open);
    durable::channels_survive_reopening(&open);
    durable::concurrent_openers_take_once(&open);
}

type Case = fn(&mut dyn PeerStore);

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

fn reader(name: &str) -> ReaderName {
    ReaderName(name.into())
}

fn outgoing(name: &str, to: u8, lane: u32) -> NewOutbox {
    NewOutbox {
        id: id(name),
        to: key(to).into(),
        frame: format!("{{\"type\":\"send\",\"id\":\"{name}\",\"text\":\"é\"}}"),
        priority: Priority::Next,
        created_at: 1_000,
        expires_at: 2_000,
        lane,
        sent: false,
    }
}

fn incoming(dedupe: &str, sender: u8, priority: Priority) -> NewInbox {
    NewInbox {
        kind: Kind::Direct,
        channel: None,
        to: None,
        device_of: None,
        sender: key(sender),
        sender_name: Some(crate::id::Name::new("Ana María").unwrap()),
        verified: true,
        id: id(dedupe),
        delivery: Delivery {
            broker_id: format!("b-{dedupe}"),
            dedupe: dedupe.into(),
        },
        priority,
        content_type: "text/plain".into(),
        body: vec![0, 255, b'x'],
        attributes: vec!["a=1".into(), "b=\"é\"".into()],
        reply_to: Some(id("before")),
        sent_at: 5,
        received_at: 6,
    }
}

fn enqueue(message: NewOutbox) -> PeerOp {
    PeerOp::Enqueue(Box::new(message))
}

fn insert(message: NewInbox) -> PeerOp {
    PeerOp::Insert(Box::new(message))
}

fn open(name: &str, start: ReaderStart) -> PeerOp {
    PeerOp::OpenReader {
        reader: reader(name),
        start,
    }
}

fn offer(name: &str, class: Priority, seq: u64) -> PeerOp {
    PeerOp::Offer {
        reader: reader(name),
        class,
        seq,
    }
}

fn take(name: &str, class: Priority, seq: u64) -> PeerOp {
    PeerOp::Take {
        reader: reader(name),
        class,
        seq,
    }
}

#[track_caller]
fn by_id(store: &dyn PeerStore, name: &str) -> OutboxRow {
    let rows = sending(store, &Query::OutboxById(vec![id(name)]));
    assert_eq!(rows.len(), 1, "{name}");
    rows.into_iter().next().unwrap()
}

fn accepted(name: &str) -> PeerOp {
    PeerOp::Accepted {
        id: id(name),
        broker_id: format!("b-{name}"),
    }
}

fn final_(name: &str, state: SendState, reason: Option<&str>) -> PeerOp {
    PeerOp::Final {
        id: id(name),
        state,
        reason: reason.map(str::to_owned),
        at: 9,
    }
}

fn cancel(name: &str) -> PeerOp {
    PeerOp::Cancel {
        id: id(name),
        at: 9,
    }
}

fn seal(name: &str, frame: &str) -> PeerOp {
    PeerOp::Seal {
        id: id(name),
        frame: frame.into(),
    }
}

#[track_caller]
fn apply(store: &mut dyn PeerStore, op: PeerOp) -> Outcome {
    let outcomes = store.apply(&[op]).unwrap();
    assert_eq!(outcomes.len(), 1, "one outcome for each operation");
    outcomes[0]
}

#[track_caller]
fn place(store: &mut dyn PeerStore, op: PeerOp) -> u64 {
    match apply(store, op) {
        Outcome::Row(place) => place,
        other => panic!("expected a place, got {other:?}"),
    }
}

#[track_caller]
fn sending(store: &dyn PeerStore, query: &Query) -> Vec<OutboxRow> {
    match store.read(query).unwrap() {
        Rows::Outbox(rows) => rows,
        other => panic!("expected outbox rows, got {other:?}"),
    }
}

#[track_caller]
fn received(store: &dyn PeerStore, query: &Query) -> Vec<InboxRow> {
    match store.read(query).unwrap() {
        Rows::Inbox(rows) => rows,
        other => panic!("expected inbox rows, got {other:?}"),
    }
}

fn names(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.message.id.as_str()).collect()
}

fn queue(lane: u32) -> Query {
    Query::Outbox {
        lane,
        after: 0,
        except: Vec::new(),
        limit: 100,
    }
}

/// What a reader has not taken: dedupe key and `again`.
fn unread(store: &dyn PeerStore, name: &str) -> Vec<(String, bool)> {
    let rows = received(
        store,
        &Query::Unread {
            reader: reader(name),
            limit: 100,
        },
    );
    rows.into_iter()
        .map(|row| (row.message.delivery.dedupe, row.again))
        .collect()
}

fn fresh(names: &[&str]) -> Vec<(String, bool)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), false))
        .collect()
}
