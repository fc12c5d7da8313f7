//! Stores that outlive a process and are shared by several.

use std::thread;

use super::{
    apply, enqueue, fresh, id, incoming, insert, offer, open, outgoing, place, queue, received,
    sending, take, unread,
};
use crate::id::Priority::Next;
use crate::store::{Outcome, PeerOp, PeerStore, Pin, Query, ReaderStart, Rows};

const WRITERS: u32 = 10;
const EACH: u32 = 20;

type Open<'a> = &'a dyn Fn() -> Box<dyn PeerStore>;

pub(super) fn survives_reopening(reopen: Open<'_>) {
    let mut store = reopen();
    assert!(store.is_durable());
    let pin = Pin {
        name: "head".into(),
        value: "1".into(),
    };
    store
        .apply(&[
            enqueue(outgoing("kept", 1, 0)),
            PeerOp::Sent(vec![id("kept")]),
            insert(incoming("first", 1, Next)),
            insert(incoming("second", 1, Next)),
            open("r", ReaderStart::Resume),
            offer("r", Next, 2),
            take("r", Next, 1),
            PeerOp::Pin(pin.clone()),
        ])
        .unwrap();
    let queries = [
        queue(0),
        Query::Inbox { limit: 9 },
        Query::Unread {
            reader: super::reader("r"),
            limit: 9,
        },
        Query::Unread {
            reader: super::reader("new"),
            limit: 9,
        },
        Query::Pins,
    ];
    let answers = |store: &dyn PeerStore| queries.clone().map(|query| store.read(&query).unwrap());
    let before = answers(&*store);
    drop(store);
    let mut store = reopen();
    assert_eq!(answers(&*store), before);
    assert_eq!(unread(&*store, "r"), [("second".into(), true)]);
    assert_eq!(
        apply(&mut *store, insert(incoming("first", 1, Next))),
        Outcome::Duplicate
    );
    assert_eq!(
        apply(&mut *store, enqueue(outgoing("kept", 1, 0))),
        Outcome::Duplicate
    );
}

pub(super) fn handles_see_each_other(reopen: Open<'_>) {
    let (mut one, mut other) = (reopen(), reopen());
    let seen = other.version().unwrap();
    assert_eq!(other.version().unwrap(), seen);
    let seq = place(&mut *one, insert(incoming("third", 1, Next)));
    assert_ne!(other.version().unwrap(), seen);
    assert_eq!(unread(&*other, "new"), fresh(&["second", "third"]));
    assert_eq!(
        apply(&mut *other, insert(incoming("third", 1, Next))),
        Outcome::Duplicate
    );
    apply(&mut *other, take("r", Next, seq));
    assert!(unread(&*one, "r").is_empty());
    assert_eq!(
        apply(&mut *other, PeerOp::Adopt { from: 0, to: 1 }),
        Outcome::Count(1)
    );
    assert!(sending(&*one, &queue(0)).is_empty());
}

/// As when one message is pushed to every process of a peer.
pub(super) fn concurrent_inserts_dedupe(reopen: Open<'_>) {
    let handles: Vec<_> = (0..WRITERS).map(|_| reopen()).collect();
    let threads = handles.into_iter().map(|mut store| {
        thread::spawn(move || {
            let mut won = 0;
            for n in 0..EACH {
                let message = incoming(&format!("same-{n}"), 3, Next);
                won += u32::from(apply(&mut *store, insert(message)) != Outcome::Duplicate);
            }
            won
        })
    });
    // All are started before the first is waited for.
    let threads: Vec<_> = threads.collect();
    let won: u32 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(won, EACH, "each is inserted by one");
    let rows = received(&*reopen(), &Query::Inbox { limit: u32::MAX });
    let same = rows
        .iter()
        .filter(|row| row.message.delivery.dedupe.starts_with("same-"));
    assert_eq!(same.count(), EACH as usize);
}

pub(super) fn concurrent_senders_keep_all(reopen: Open<'_>) {
    let handles: Vec<_> = (0..WRITERS).map(|lane| (100 + lane, reopen())).collect();
    let threads = handles.into_iter().map(|(lane, mut store)| {
        thread::spawn(move || {
            for n in 0..EACH {
                place(
                    &mut *store,
                    enqueue(outgoing(&format!("w{lane}-{n}"), 1, lane)),
                );
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let store = reopen();
    for lane in 100..100 + WRITERS {
        let rows = sending(&*store, &queue(lane));
        let expected: Vec<_> = (0..EACH).map(|n| format!("w{lane}-{n}")).collect();
        assert_eq!(super::names(&rows), expected);
    }
    let Rows::Lanes(lanes) = store.read(&Query::Lanes).unwrap() else {
        panic!("expected lanes");
    };
    assert!(lanes.len() >= WRITERS as usize);
}
