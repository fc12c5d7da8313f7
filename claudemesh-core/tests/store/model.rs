//! Random operations: both stores give the same answers.

use claudemesh_core::id::{MessageId, Priority, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;
use claudemesh_core::store::{
    Kind, MemoryStore, NewOutbox, PeerOp, PeerStore, Pin, Query, ReaderName, ReaderStart,
    SendState, StoredEntry,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::{incoming, open};

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn message() -> impl Strategy<Value = MessageId> {
    (0..8u8).prop_map(|n| MessageId::new(format!("m{n}")).unwrap())
}

fn reader() -> impl Strategy<Value = ReaderName> {
    select(vec!["r", "s", "t"]).prop_map(|name| ReaderName(name.into()))
}

fn class() -> impl Strategy<Value = Priority> {
    select(Priority::ALL.to_vec())
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![20 => (0..100u64).prop_map(|n| n * DAY), 1 => Just(u64::MAX)]
}

fn enqueue() -> impl Strategy<Value = PeerOp> {
    (message(), 0..3u8, class(), time(), 0..3u32, any::<bool>()).prop_map(
        |(id, to, priority, at, lane, sent)| {
            PeerOp::Enqueue(Box::new(NewOutbox {
                frame: format!("to {to} by {id}"),
                id,
                to: PublicKey([to; 32]),
                priority,
                created_at: at,
                expires_at: at,
                lane,
                sent,
            }))
        },
    )
}

fn insert() -> impl Strategy<Value = PeerOp> {
    (
        message(),
        0..3u8,
        class(),
        time(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(id, sender, priority, received_at, rejected)| {
            let mut message = incoming(id.as_str(), vec![sender]);
            message.sender = PublicKey([sender; 32]);
            message.priority = priority;
            message.received_at = received_at;
            if rejected {
                message.kind = Kind::Rejected;
            }
            PeerOp::Insert(Box::new(message))
        })
}

fn entry(seq: u64) -> PeerOp {
    let (bytes, signature) = (vec![seq as u8; 4], Signature([2; 64]));
    let entry = SignedEntry {
        bytes,
        signature,
        cosignature: None,
    };
    PeerOp::Log(Box::new(StoredEntry { seq, entry }))
}

fn op() -> impl Strategy<Value = PeerOp> {
    use SendState::{Accepted, Delivered, Failed, Queued};
    let start = select(vec![ReaderStart::Resume, ReaderStart::AfterAny]);
    let state = select(vec![Queued, Accepted, Delivered, Delivered, Failed, Failed]);
    let place = || (reader(), class(), 0..30u64);
    prop_oneof![
        6 => enqueue(),
        2 => prop::collection::vec(message(), 0..3).prop_map(PeerOp::Sent),
        4 => message().prop_map(|id| PeerOp::Accepted { broker_id: format!("b{id}"), id }),
        3 => (message(), state, prop::option::of(Just("why".to_owned())), time())
            .prop_map(|(id, state, reason, at)| PeerOp::Final { id, state, reason, at }),
        1 => Just(PeerOp::Requeue),
        2 => (message(), time()).prop_map(|(id, at)| PeerOp::Cancel { id, at }),
        2 => (0..3u32, 0..3u32).prop_map(|(from, to)| PeerOp::Adopt { from, to }),
        10 => insert(),
        2 => (reader(), start).prop_map(|(reader, start)| PeerOp::OpenReader { reader, start }),
        4 => place().prop_map(|(reader, class, seq)| PeerOp::Offer { reader, class, seq }),
        4 => place().prop_map(|(reader, class, seq)| PeerOp::Take { reader, class, seq }),
        2 => (0..5u64).prop_map(entry),
        1 => (0..3u8, 0..3u8).prop_map(|(name, value)| {
            PeerOp::Pin(Pin { name: name.to_string(), value: value.to_string() })
        }),
        2 => (0..600u64).prop_map(|day| PeerOp::Prune { now: day * DAY }),
    ]
}

fn queries() -> Vec<Query> {
    let ids = (0..8)
        .rev()
        .map(|n| MessageId::new(format!("m{n}")).unwrap())
        .collect();
    let mut queries = vec![
        Query::OutboxById(ids),
        Query::OutboxAccepted { after: 0, limit: 9 },
        Query::OutboxAccepted { after: 3, limit: 1 },
        Query::OutboxList {
            all: true,
            limit: 9,
        },
        Query::OutboxList {
            all: true,
            limit: 2,
        },
        Query::OutboxList {
            all: false,
            limit: 2,
        },
        Query::Lanes,
        Query::Inbox { limit: 99 },
        Query::Inbox { limit: 3 },
        Query::Log { from: 1, limit: 2 },
        Query::Pins,
    ];
    for lane in 0..3 {
        for (after, except, limit) in [(0, vec![], 9), (0, vec![1], 2), (2, vec![0, 2], 9)] {
            let except = except.into_iter().map(|n| PublicKey([n; 32])).collect();
            queries.push(Query::Outbox {
                lane,
                after,
                except,
                limit,
            });
        }
    }
    for name in ["r", "s", "t", "unknown"] {
        for limit in [99, 2] {
            queries.push(Query::Unread {
                reader: ReaderName(name.into()),
                limit,
            });
        }
    }
    queries
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn both_stores_agree(
        calls in prop::collection::vec(prop::collection::vec(op(), 1..6), 10..30)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut sqlite = open(&dir.path().join("peer.db"));
        let mut memory = MemoryStore::new();
        let queries = queries();
        for ops in calls {
            prop_assert_eq!(sqlite.apply(&ops), memory.apply(&ops), "{:?}", ops);
            for query in &queries {
                prop_assert_eq!(sqlite.read(query), memory.read(query), "{:?}", query);
            }
        }
    }
}
