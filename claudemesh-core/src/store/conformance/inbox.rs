//! Receiving and reading.

use super::{
    Case, apply, fresh, incoming, insert, offer, open, place, reader, received, take, unread,
};
use crate::id::Priority::{Low, Next, Now};
use crate::store::{Kind, Outcome, PeerStore, Query, ReaderStart};

pub(super) const CASES: &[Case] = &[
    rows_come_back_as_received,
    a_message_is_inserted_once,
    urgent_rows_are_read_first,
    what_was_offered_is_marked,
    a_reader_never_moves_back_or_too_far,
    two_readers_get_copies,
    a_new_reader_starts_after_any,
    after_any_skips_what_others_took,
    unopened_readers_read,
    rejected_rows_are_not_read,
];

fn rows_come_back_as_received(store: &mut dyn PeerStore) {
    let full = incoming("a", 1, Now);
    let mut bare = incoming("b", 2, Low);
    bare.sender_name = None;
    bare.verified = false;
    bare.reply_to = None;
    bare.attributes.clear();
    bare.body.clear();
    let first = place(store, insert(full.clone()));
    let second = place(store, insert(bare.clone()));
    assert!(first < second);
    let rows = received(store, &Query::Inbox { limit: 9 });
    assert_eq!((rows[0].seq, rows[1].seq), (first, second));
    assert_eq!((&rows[0].message, &rows[1].message), (&full, &bare));
    assert!(!rows[0].again);
    place(store, insert(incoming("c", 1, Now)));
    let newest = received(store, &Query::Inbox { limit: 2 });
    assert_eq!(
        newest.iter().map(|row| row.seq).collect::<Vec<_>>(),
        [second, second + 1]
    );
    assert!(received(store, &Query::Inbox { limit: 0 }).is_empty());

    let mut far = incoming("far", 1, Now);
    (far.sent_at, far.received_at) = (u64::MAX, u64::MAX);
    place(store, insert(far));
    let rows = received(store, &Query::Inbox { limit: 1 });
    assert_eq!(rows[0].message.sent_at, i64::MAX as u64);
}

fn a_message_is_inserted_once(store: &mut dyn PeerStore) {
    place(store, insert(incoming("a", 1, Now)));
    let mut again = incoming("a", 1, Low);
    again.body = b"other".to_vec();
    assert_eq!(apply(store, insert(again)), Outcome::Duplicate);
    // The key belongs to its sender: nobody can take it from another.
    place(store, insert(incoming("a", 2, Now)));
    let rows = received(store, &Query::Inbox { limit: 9 });
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].message, incoming("a", 1, Now));
    apply(store, take("r", Now, rows[1].seq));
    assert_eq!(
        apply(store, insert(incoming("a", 1, Now))),
        Outcome::Duplicate
    );
}

fn urgent_rows_are_read_first(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    for (name, class) in [
        ("l1", Low),
        ("x1", Next),
        ("n1", Now),
        ("x2", Next),
        ("n2", Now),
    ] {
        place(store, insert(incoming(name, 1, class)));
    }
    assert_eq!(unread(store, "r"), fresh(&["n1", "n2", "x1", "x2", "l1"]));
    let some = received(
        store,
        &Query::Unread {
            reader: reader("r"),
            limit: 3,
        },
    );
    assert_eq!(some[2].message.delivery.dedupe, "x1");
    assert!(
        received(
            store,
            &Query::Unread {
                reader: reader("r"),
                limit: 0
            }
        )
        .is_empty()
    );
    // Positions are per priority: taking a later row takes nothing of another priority.
    assert_eq!(apply(store, take("r", Now, 5)), Outcome::Done);
    assert_eq!(unread(store, "r"), fresh(&["x1", "x2", "l1"]));
    apply(store, take("r", Next, 2));
    assert_eq!(unread(store, "r"), fresh(&["x2", "l1"]));
    assert_eq!(
        received(store, &Query::Inbox { limit: 9 }).len(),
        5,
        "it is a log"
    );
}

fn what_was_offered_is_marked(store: &mut dyn PeerStore) {
    for name in ["r", "s"] {
        apply(store, open(name, ReaderStart::Resume));
    }
    let first = place(store, insert(incoming("a", 1, Next)));
    place(store, insert(incoming("b", 1, Next)));
    assert_eq!(apply(store, offer("r", Next, first)), Outcome::Done);
    assert_eq!(
        unread(store, "r"),
        [("a".into(), true), ("b".into(), false)]
    );
    assert_eq!(
        unread(store, "s"),
        fresh(&["a", "b"]),
        "marked for its reader only"
    );
    apply(store, open("r", ReaderStart::Resume));
    apply(store, open("r", ReaderStart::AfterAny));
    assert_eq!(
        unread(store, "r")[0],
        ("a".into(), true),
        "opening does not unmark"
    );
    apply(store, take("r", Next, first));
    assert_eq!(unread(store, "r"), fresh(&["b"]));
}

fn a_reader_never_moves_back_or_too_far(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    for name in ["a", "b"] {
        place(store, insert(incoming(name, 1, Next)));
    }
    apply(store, take("r", Next, 2));
    apply(store, take("r", Next, 1));
    assert!(unread(store, "r").is_empty());
    apply(store, offer("r", Next, u64::MAX));
    apply(store, take("r", Next, u64::MAX));
    place(store, insert(incoming("c", 1, Next)));
    assert_eq!(unread(store, "r"), fresh(&["c"]));
}

fn two_readers_get_copies(store: &mut dyn PeerStore) {
    for name in ["r", "s"] {
        apply(store, open(name, ReaderStart::Resume));
    }
    let first = place(store, insert(incoming("a", 1, Next)));
    apply(store, take("r", Next, first));
    place(store, insert(incoming("b", 1, Next)));
    assert_eq!(unread(store, "r"), fresh(&["b"]));
    assert_eq!(unread(store, "s"), fresh(&["a", "b"]));
    // Back after a while, it goes on at its own place whatever others took.
    apply(store, open("s", ReaderStart::Resume));
    assert_eq!(unread(store, "s"), fresh(&["a", "b"]));
}

fn a_new_reader_starts_after_any(store: &mut dyn PeerStore) {
    for (name, class) in [("a", Next), ("b", Next), ("low", Low)] {
        place(store, insert(incoming(name, 1, class)));
    }
    apply(store, take("r", Next, 1));
    apply(store, open("new", ReaderStart::Resume));
    assert_eq!(unread(store, "new"), fresh(&["b", "low"]));
    apply(store, take("r", Next, 2));
    assert_eq!(
        unread(store, "new"),
        fresh(&["b", "low"]),
        "it has its own place now"
    );
    // One that lags behind does not take back how far any came.
    apply(store, open("late", ReaderStart::Resume));
    place(store, insert(incoming("c", 1, Next)));
    apply(store, take("r", Next, 4));
    apply(store, take("late", Next, 2));
    assert_eq!(unread(store, "newer"), fresh(&["low"]));
}

fn after_any_skips_what_others_took(store: &mut dyn PeerStore) {
    for name in ["r", "cli"] {
        apply(store, open(name, ReaderStart::Resume));
    }
    for name in ["a", "b", "c"] {
        place(store, insert(incoming(name, 1, Next)));
    }
    apply(store, offer("cli", Next, 2));
    apply(store, take("r", Next, 1));
    apply(store, open("cli", ReaderStart::AfterAny));
    assert_eq!(
        unread(store, "cli"),
        [("b".into(), true), ("c".into(), false)]
    );
    apply(store, take("cli", Next, 3));
    apply(store, open("cli", ReaderStart::AfterAny));
    assert!(unread(store, "cli").is_empty(), "its own count, too");
    assert_eq!(unread(store, "r"), fresh(&["b", "c"]));
}

fn unopened_readers_read(store: &mut dyn PeerStore) {
    for name in ["a", "b"] {
        place(store, insert(incoming(name, 1, Next)));
    }
    assert_eq!(unread(store, "x"), fresh(&["a", "b"]));
    apply(store, offer("x", Next, 1));
    apply(store, take("r", Next, 2));
    assert_eq!(
        unread(store, "x"),
        [("a".into(), true), ("b".into(), false)]
    );
    assert!(unread(store, "y").is_empty());
}

fn rejected_rows_are_not_read(store: &mut dyn PeerStore) {
    let mut rejected = incoming("a", 1, Now);
    rejected.kind = Kind::Rejected;
    place(store, insert(rejected.clone()));
    place(store, insert(incoming("b", 1, Now)));
    assert_eq!(unread(store, "r"), fresh(&["b"]));
    let rows = received(store, &Query::Inbox { limit: 9 });
    assert_eq!((rows.len(), rows[0].message.kind), (2, Kind::Rejected));
    assert_eq!(apply(store, insert(rejected)), Outcome::Duplicate);
}
