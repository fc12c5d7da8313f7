//! Stores that outlive a process and are shared by several.

use std::thread;

use super::channels::{
    entry, in_channel, keep, lock, locked, log, seen, stored_key, to_channel, value,
};
use super::{
    apply, enqueue, fresh, id, incoming, insert, offer, open, outgoing, place, queue, received,
    seal, sending, take, unread,
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

pub(super) fn channels_survive_reopening(reopen: Open<'_>) {
    let mut store = reopen();
    store
        .apply(&[
            enqueue(to_channel("said", "#topic")),
            seal("said", "sealed"),
            insert(in_channel("heard", "@group")),
            lock(locked("opened", 1, 5)),
            lock(locked("waits", 2, 6)),
            PeerOp::Unlock(1),
            log(entry("#topic", 1, 1)),
            log(entry("#topic", 2, 1)),
            keep(stored_key("#topic", 2, 1, None)),
            keep(stored_key("#topic", 1, 1, Some(1))),
            keep(stored_key("#topic", 2, 1, Some(2))),
            value(seen("state", "a", 3)),
        ])
        .unwrap();
    let queries = [
        queue(0),
        Query::Inbox { limit: 99 },
        Query::Locked {
            key_id: None,
            limit: 9,
        },
        Query::ChannelLogs,
        Query::ChannelKeys,
        Query::Values,
    ];
    let answers = |store: &dyn PeerStore| queries.clone().map(|query| store.read(&query).unwrap());
    let before = answers(&*store);
    drop(store);
    let mut store = reopen();
    assert_eq!(answers(&*store), before);
    let keys = [(2, Some(2)), (1, Some(1))].map(|(id, root)| stored_key("#topic", id, 1, root));
    assert_eq!(before[4], Rows::ChannelKeys(keys.to_vec()));
    assert_eq!(
        apply(&mut *store, lock(locked("waits", 2, 6))),
        Outcome::Duplicate
    );
    assert_eq!(place(&mut *store, lock(locked("opened", 1, 5))), 3);
    assert_eq!(
        apply(&mut *store, log(entry("#topic", 4, 1))),
        Outcome::NotThere
    );
    // Another handle sees what this one opens.
    let other = reopen();
    apply(&mut *store, PeerOp::Unlock(2));
    let left = Query::Locked {
        key_id: Some(crate::id::KeyId([2; 16])),
        limit: 9,
    };
    assert_eq!(other.read(&left).unwrap(), Rows::Locked(Vec::new()));
}

/// As when one message of a channel is pushed to every process of a peer, and each opens it.
pub(super) fn concurrent_openers_take_once(reopen: Open<'_>) {
    let mut store = reopen();
    let places: Vec<u64> = (0..EACH)
        .map(|n| place(&mut *store, lock(locked(&format!("shared-{n}"), 9, 5))))
        .collect();
    let handles: Vec<_> = (0..WRITERS).map(|_| reopen()).collect();
    let threads = handles.into_iter().map(|mut store| {
        let places = places.clone();
        thread::spawn(move || {
            let mut won = 0;
            for place in places {
                let message = in_channel(&format!("shared-{place}"), "#topic");
                let outcomes = store.apply(&[insert(message), PeerOp::Unlock(place)]);
                match outcomes.unwrap()[..] {
                    [Outcome::Row(_), Outcome::Done] => won += 1,
                    [Outcome::Duplicate, Outcome::NotThere] => {}
                    ref other => panic!("inserted without the other: {other:?}"),
                }
            }
            won
        })
    });
    let threads: Vec<_> = threads.collect();
    let won: u32 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(won, EACH, "each is opened by one");
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
