//! Random operations: both stores give the same answers.

use claudemesh_core::id::{
    ChannelName, Hash, KeyId, MessageId, Priority, PublicKey, Signature, Target,
};
use claudemesh_core::membership::SignedEntry;
use claudemesh_core::store::{
    KeptRoot, Kind, MemoryStore, NewLocked, NewOutbox, PeerOp, PeerStore, Pin, Query, ReaderName,
    ReaderStart, Rule, SeenValue, SendState, StoredChannelEntry, StoredEntry, StoredKey, Who,
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

const CHANNELS: [&str; 3] = ["*", "#topic", "@group"];

/// The first three are peers, the others channels.
fn target(n: u8) -> Target {
    match CHANNELS.get(usize::from(n).wrapping_sub(3)) {
        Some(name) => ChannelName::new(name).unwrap().into(),
        None => PublicKey([n; 32]).into(),
    }
}

fn channel() -> impl Strategy<Value = ChannelName> {
    select(CHANNELS.to_vec()).prop_map(|name| ChannelName::new(name).unwrap())
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..6u64, 1 => Just(u64::MAX)]
}

fn enqueue() -> impl Strategy<Value = PeerOp> {
    (message(), 0..6u8, class(), time(), 0..3u32, any::<bool>()).prop_map(
        |(id, to, priority, at, lane, sent)| {
            PeerOp::Enqueue(Box::new(NewOutbox {
                frame: format!("to {to} by {id}"),
                id,
                to: target(to),
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
        prop::option::of(channel()),
        (
            any::<bool>(),
            prop::option::of(4..6u8),
            prop::option::of(0..3u8),
        ),
    )
        .prop_map(
            |(id, sender, priority, received_at, rejected, channel, more)| {
                let mut message = incoming(id.as_str(), vec![sender]);
                message.sender = PublicKey([sender; 32]);
                message.verified = more.0;
                message.to = more.1.map(|n| PublicKey([n; 32]));
                message.device_of = more.2.map(|n| PublicKey([n; 32]));
                message.priority = priority;
                message.received_at = received_at;
                if rejected {
                    message.kind = Kind::Rejected;
                } else if channel.is_some() {
                    message.kind = Kind::Channel;
                    message.channel = channel;
                }
                PeerOp::Insert(Box::new(message))
            },
        )
}

fn signed(byte: u8) -> SignedEntry {
    SignedEntry {
        bytes: vec![byte; 4],
        signature: Signature([2; 64]),
        cosignature: None,
    }
}

fn entry(seq: u64) -> PeerOp {
    let entry = signed(seq as u8);
    PeerOp::Log(Box::new(StoredEntry { seq, entry }))
}

fn lock() -> impl Strategy<Value = PeerOp> {
    (0..6u8, 0..3u8, channel(), time()).prop_map(|(id, key, channel, received_at)| {
        PeerOp::Lock(Box::new(NewLocked {
            broker_id: format!("b{id}"),
            key_id: KeyId([key; 16]),
            frame: format!("{id} in {channel}"),
            channel,
            received_at,
        }))
    })
}

fn channel_entry() -> impl Strategy<Value = PeerOp> {
    (channel(), number(), any::<u8>()).prop_map(|(channel, seq, byte)| {
        let entry = signed(byte);
        PeerOp::ChannelLog(Box::new(StoredChannelEntry {
            channel,
            seq,
            entry,
        }))
    })
}

fn channel_key() -> impl Strategy<Value = PeerOp> {
    let root = prop::option::of(any::<u8>());
    (channel(), 0..4u8, number(), root).prop_map(|(channel, id, epoch, root)| {
        PeerOp::ChannelKey(Box::new(StoredKey {
            channel,
            key_id: KeyId([id; 16]),
            epoch,
            statement: vec![id; 9],
            signature: Signature([id; 64]),
            root: root.map(|byte| KeptRoot::new([byte; 32])),
        }))
    })
}

fn value() -> impl Strategy<Value = PeerOp> {
    let what = select(vec!["state", "memory", "summary"]);
    (what, 0..2u8, number()).prop_map(|(what, name, version)| {
        PeerOp::Value(Box::new(SeenValue {
            what: what.into(),
            name: name.to_string(),
            version,
            hash: Hash([version as u8; 32]),
        }))
    })
}

fn rule() -> impl Strategy<Value = PeerOp> {
    let peers = (0..3u8).prop_map(|n| Who::Peer(PublicKey([n; 32])));
    let who = prop_oneof![3 => peers, 1 => Just(Who::Verified), 1 => Just(Who::Unverified)];
    let rule = prop::option::of(select(Rule::ALL.to_vec()));
    (who, rule).prop_map(|(who, rule)| PeerOp::SetRule { who, rule })
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
        2 => (message(), 0..9u8).prop_map(|(id, n)| PeerOp::Seal { id, frame: n.to_string() }),
        2 => (0..3u32, 0..3u32).prop_map(|(from, to)| PeerOp::Adopt { from, to }),
        10 => insert(),
        4 => lock(),
        2 => (0..12u64).prop_map(PeerOp::Unlock),
        3 => channel_entry(),
        3 => channel_key(),
        2 => value(),
        2 => (reader(), start).prop_map(|(reader, start)| PeerOp::OpenReader { reader, start }),
        4 => place().prop_map(|(reader, class, seq)| PeerOp::Offer { reader, class, seq }),
        4 => place().prop_map(|(reader, class, seq)| PeerOp::Take { reader, class, seq }),
        2 => (0..5u64).prop_map(entry),
        3 => rule(),
        3 => (0..30u64, any::<bool>())
            .prop_map(|(seq, accept)| PeerOp::Answer { seq, accept }),
        1 => (0..3u8).prop_map(|name| PeerOp::Unpin(name.to_string())),
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
        Query::Locked {
            key_id: None,
            limit: 99,
        },
        Query::Locked {
            key_id: None,
            limit: 2,
        },
        Query::Locked {
            key_id: Some(KeyId([1; 16])),
            limit: 2,
        },
        Query::ChannelLogs,
        Query::ChannelKeys,
        Query::Values,
        Query::Pins,
        Query::Rules,
        Query::Held { limit: 99 },
        Query::Held { limit: 1 },
    ];
    for (session, waking, limit) in [(None, true, 99), (Some(5), false, 2), (Some(5), true, 99)] {
        queries.push(Query::UnreadOf {
            reader: ReaderName("r".into()),
            session: session.map(|n| PublicKey([n; 32])),
            waking,
            limit,
        });
    }
    for lane in 0..3 {
        for (after, except, limit) in [(0, vec![], 9), (0, vec![1, 4], 2), (2, vec![0, 2, 3], 9)] {
            let except = except.into_iter().map(target).collect();
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
