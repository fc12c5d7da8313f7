//! Log, pins, forgetting, and operations together.

use super::{
    Case, apply, enqueue, fresh, id, incoming, insert, offer, open, outgoing, place, queue,
    received, sending, take, unread,
};
use crate::id::Priority::{Low, Next, Now};
use crate::id::Signature;
use crate::membership::SignedEntry;
use crate::store::{
    FORGET_MS, KEEP_MS, Kind, Outcome, PeerOp, PeerStore, Pin, Query, ReaderStart, Rows, SendState,
    StoredEntry,
};

pub(super) const CASES: &[Case] = &[
    the_log_grows_in_order,
    pins_are_overwritten,
    operations_are_applied_in_order,
    nothing_is_asked_of_an_empty_list,
    old_final_outbox_rows_are_pruned,
    old_read_inbox_rows_are_pruned,
    unused_readers_do_not_hold_up,
    places_are_not_given_twice,
];

const NOW: u64 = 10 * FORGET_MS;

fn entry(seq: u64, byte: u8) -> StoredEntry {
    StoredEntry {
        seq,
        entry: SignedEntry {
            bytes: vec![byte; 40],
            signature: Signature([byte; 64]),
            cosignature: (seq % 2 == 1).then_some(Signature([!byte; 64])),
        },
    }
}

fn log(entry: StoredEntry) -> PeerOp {
    PeerOp::Log(Box::new(entry))
}

fn the_log_grows_in_order(store: &mut dyn PeerStore) {
    assert_eq!(
        apply(store, log(entry(1, 1))),
        Outcome::NotThere,
        "0 is missing"
    );
    for seq in 0..4 {
        assert_eq!(apply(store, log(entry(seq, 1))), Outcome::Done);
    }
    assert_eq!(apply(store, log(entry(5, 1))), Outcome::NotThere);
    assert_eq!(
        apply(store, log(entry(2, 9))),
        Outcome::Done,
        "known, and not changed"
    );
    let read = |from, limit| match store.read(&Query::Log { from, limit }).unwrap() {
        Rows::Log(entries) => entries,
        other => panic!("expected entries, got {other:?}"),
    };
    assert_eq!(
        read(0, 9),
        (0..4).map(|seq| entry(seq, 1)).collect::<Vec<_>>()
    );
    assert_eq!(read(1, 2), [entry(1, 1), entry(2, 1)]);
    assert!(read(4, 9).is_empty() && read(u64::MAX, 9).is_empty());
}

fn pins_are_overwritten(store: &mut dyn PeerStore) {
    let pin = |name: &str, value: &str| Pin {
        name: name.into(),
        value: value.into(),
    };
    for (name, value) in [("b", "1"), ("a", "2"), ("b", "3"), ("é", "")] {
        assert_eq!(apply(store, PeerOp::Pin(pin(name, value))), Outcome::Done);
    }
    let pins = vec![pin("a", "2"), pin("b", "3"), pin("é", "")];
    assert_eq!(store.read(&Query::Pins).unwrap(), Rows::Pins(pins));
}

fn operations_are_applied_in_order(store: &mut dyn PeerStore) {
    let accepted = PeerOp::Accepted {
        id: id("a"),
        broker_id: "b".into(),
    };
    let outcomes = store
        .apply(&[
            accepted.clone(),
            enqueue(outgoing("a", 1, 3)),
            enqueue(outgoing("a", 1, 3)),
            accepted,
            PeerOp::Requeue,
            PeerOp::Adopt { from: 3, to: 4 },
            insert(incoming("m", 1, Now)),
            insert(incoming("m", 1, Now)),
            open("r", ReaderStart::Resume),
            offer("r", Now, 1),
            take("r", Now, 1),
            PeerOp::Cancel { id: id("a"), at: 0 },
        ])
        .unwrap();
    use Outcome::{Count, Done, Duplicate, NotThere, Row};
    assert_eq!(
        outcomes,
        [
            NotThere,
            Row(1),
            Duplicate,
            Done,
            Count(1),
            Count(1),
            Row(1),
            Duplicate,
            Done,
            Done,
            Done,
            NotThere
        ]
    );
    assert_eq!(sending(store, &queue(4)).len(), 1);
}

fn nothing_is_asked_of_an_empty_list(store: &mut dyn PeerStore) {
    assert!(store.apply(&[]).unwrap().is_empty());
    assert_eq!(apply(store, PeerOp::Sent(Vec::new())), Outcome::Done);
    assert!(sending(store, &Query::OutboxById(Vec::new())).is_empty());
    assert!(sending(store, &queue(0)).is_empty());
    assert!(unread(store, "r").is_empty());
    assert_eq!(store.read(&Query::Lanes).unwrap(), Rows::Lanes(Vec::new()));
    assert_eq!(store.read(&Query::Pins).unwrap(), Rows::Pins(Vec::new()));
    assert_eq!(apply(store, PeerOp::Prune { now: 0 }), Outcome::Count(0));
    assert_eq!(
        apply(store, PeerOp::Prune { now: u64::MAX }),
        Outcome::Count(0)
    );
}

fn old_final_outbox_rows_are_pruned(store: &mut dyn PeerStore) {
    for (name, at) in [
        ("old", NOW - KEEP_MS - 1),
        ("new", NOW - KEEP_MS),
        ("open", 0),
    ] {
        place(store, enqueue(outgoing(name, 1, 0)));
        if name != "open" {
            let (id, state) = (id(name), SendState::Delivered);
            apply(
                store,
                PeerOp::Final {
                    id,
                    state,
                    reason: None,
                    at,
                },
            );
        }
    }
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(1));
    let left = sending(
        store,
        &Query::OutboxList {
            all: true,
            limit: 9,
        },
    );
    assert_eq!(super::names(&left), ["new", "open"]);
    assert!(sending(store, &Query::OutboxById(vec![id("old")])).is_empty());
}

fn old_read_inbox_rows_are_pruned(store: &mut dyn PeerStore) {
    for name in ["r", "s"] {
        apply(store, open(name, ReaderStart::Resume));
    }
    for (name, class) in [
        ("a", Next),
        ("b", Next),
        ("low", Low),
        ("bad", Now),
        ("young", Next),
    ] {
        let mut message = incoming(name, 1, class);
        message.received_at = if name == "young" { NOW } else { 1 };
        if name == "bad" {
            message.kind = Kind::Rejected;
        }
        place(store, insert(message));
    }
    let prune = |store: &mut dyn PeerStore| apply(store, PeerOp::Prune { now: NOW });
    assert_eq!(prune(store), Outcome::Count(1), "the rejected one");
    apply(store, take("r", Next, 5));
    assert_eq!(
        prune(store),
        Outcome::Count(0),
        "the other reader has not passed"
    );
    apply(store, take("s", Next, 1));
    assert_eq!(prune(store), Outcome::Count(1));
    assert_eq!(unread(store, "s"), fresh(&["b", "young", "low"]));
    apply(store, take("s", Next, 5));
    assert_eq!(prune(store), Outcome::Count(1));
    let left = received(store, &Query::Inbox { limit: 9 });
    let left: Vec<_> = left
        .iter()
        .map(|row| row.message.delivery.dedupe.as_str())
        .collect();
    assert_eq!(
        left,
        ["low", "young"],
        "nobody took the one, the other is young"
    );
    // What is forgotten is not known again: it would come from nobody who keeps the rules.
    place(store, insert(incoming("a", 1, Next)));
}

fn unused_readers_do_not_hold_up(store: &mut dyn PeerStore) {
    for name in ["used", "gone"] {
        apply(store, open(name, ReaderStart::Resume));
    }
    for name in ["a", "b"] {
        place(store, insert(incoming(name, 1, Next)));
    }
    apply(store, offer("gone", Next, 1));
    apply(store, take("used", Next, 1));
    let prune = |store: &mut dyn PeerStore, now| apply(store, PeerOp::Prune { now });
    assert_eq!(prune(store, NOW), Outcome::Count(0));
    apply(store, open("used", ReaderStart::Resume));
    assert_eq!(prune(store, NOW + KEEP_MS), Outcome::Count(0));
    assert_eq!(unread(store, "gone")[0], ("a".into(), true));
    assert_eq!(prune(store, NOW + KEEP_MS + 1), Outcome::Count(1));
    assert_eq!(unread(store, "gone"), fresh(&["b"]), "as a new one");
    // One that is behind nobody keeps its place and marks.
    apply(store, offer("used", Next, 2));
    prune(store, NOW + 2 * KEEP_MS);
    prune(store, NOW + 4 * KEEP_MS);
    assert_eq!(unread(store, "used"), [("b".into(), true)]);
    prune(store, NOW + 4 * KEEP_MS + FORGET_MS);
    assert_eq!(unread(store, "used"), fresh(&["b"]), "untaken rows stay");
}

fn places_are_not_given_twice(store: &mut dyn PeerStore) {
    place(store, enqueue(outgoing("a", 1, 0)));
    apply(store, PeerOp::Cancel { id: id("a"), at: 0 });
    place(store, insert(incoming("a", 1, Next)));
    apply(store, take("r", Next, 1));
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(2));
    assert_eq!(place(store, enqueue(outgoing("b", 1, 0))), 2);
    assert_eq!(place(store, insert(incoming("b", 1, Next))), 2);
    assert_eq!(
        unread(store, "r"),
        fresh(&["b"]),
        "or its position would hide it"
    );
}
