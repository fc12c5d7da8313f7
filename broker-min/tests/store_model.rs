//! Random operations on all stores: SQLite and PostgreSQL do what the plain one in memory does.
// The helpers here are test code as well, which the lints cannot tell.
#![allow(clippy::unwrap_used, clippy::panic)]

use broker_min::store::conformance::{key, mesh, sample};
use broker_min::store::{
    BrokerStore, ChannelQuery, Delivery, Durability, MemoryStore, Op, Outcome, Query, SqliteStore,
    StoreReader,
};
use claudemesh_core::id::{ChannelName, MessageId, Priority};
use proptest::collection::vec;
use proptest::prelude::*;

#[cfg(feature = "postgres")]
#[path = "support/postgres.rs"]
mod postgres;

const DAY: u64 = 86_400_000;

fn class() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, 30 * DAY..32 * DAY]
}

/// Few names and small caps, so that operations meet.
fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(vec!["one", "two"]);
    let accept = (
        (name(), 1..4u8, prop::option::of(0..6u8), 0..2u64),
        (vec(1..6u8, 0..4), class(), 0..20usize),
        (time(), time(), any::<bool>()),
        (0..6u64, 0..60u64, 0..4u64),
    )
        .prop_map(|(who, what, times, caps)| {
            let mut accept = sample("x", &"x".repeat(what.2));
            accept.mesh = mesh(who.0);
            accept.sender = key(who.1);
            accept.id = who.2.map(|id| MessageId::new(format!("i{id}")).unwrap());
            accept.content = who.3;
            accept.recipients = what.0.into_iter().map(key).collect();
            accept.class = what.1;
            (accept.now, accept.expires_at) = (times.0, times.1);
            accept.lookup_only = times.2 && caps.0 == 0;
            let channels = [None, Some("*"), Some("#t")];
            let channel = channels[usize::from(what.2 % 3 == 0) + usize::from(who.3 == 0)];
            accept.channel = channel.map(|name| ChannelName::new(name).unwrap());
            accept.caps.rows = caps.0;
            accept.caps.bytes = caps.1;
            accept.caps.rows_per_sender = caps.2;
            Op::Accept(accept)
        });
    let settle = (name(), 1..6u8, class(), 0..40u64).prop_map(|it| {
        Op::Settle(Delivery {
            mesh: mesh(it.0),
            address: key(it.1),
            class: it.2,
            seq: it.3,
        })
    });
    let fail = (name(), 1..6u8, time(), 1..5u32).prop_map(|it| Op::FailMailbox {
        mesh: mesh(it.0),
        address: key(it.1),
        reason: "removed".into(),
        now: it.2,
        limit: it.3,
    });
    // Which rows go first is each store's own affair, so these two are not cut short here.
    let limit = 10_000;
    prop_oneof![
        8 => accept,
        8 => settle,
        1 => fail,
        1 => time().prop_map(move |now| Op::Expire { now, limit }),
        1 => time().prop_map(move |now| Op::Prune { now, limit }),
    ]
}

fn sorted(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    for outcome in &mut outcomes {
        if let Outcome::Expired(rows) = outcome {
            for row in rows.iter_mut() {
                // Who is the last one depends on the order, which is each store's own affair.
                row.many = None;
            }
            rows.sort_by_key(|row| {
                let it = &row.delivery;
                (it.seq, it.address)
            });
        }
    }
    outcomes
}

fn queries(now: u64) -> Vec<Query> {
    let mut all = vec![Query::Totals];
    for sender in 1..4 {
        all.push(Query::Outcomes {
            sender: key(sender),
            seqs: (0..60).collect(),
        });
    }
    for name in ["one", "two"] {
        all.push(Query::Channel(ChannelQuery::History {
            mesh: mesh(name),
            channel: ChannelName::new("#t").unwrap(),
            before: 30,
            limit: 5,
            bytes: 50,
        }));
        for address in 1..6 {
            let (mesh, address) = (mesh(name), key(address));
            all.push(Query::Counts {
                mesh: mesh.clone(),
                address,
            });
            all.extend(Priority::ALL.map(|class| Query::Page {
                mesh: mesh.clone(),
                address,
                class,
                after: 3,
                limit: 4,
                now,
            }));
        }
    }
    all
}

fn same(one: &dyn StoreReader, two: &dyn StoreReader, now: u64) -> Result<(), TestCaseError> {
    for query in queries(now) {
        prop_assert_eq!(one.load(&query), two.load(&query), "{:?}", query);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_memory_does(
        commits in vec((vec(op(), 0..12), any::<bool>(), time()), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let open = || SqliteStore::open(dir.path(), Durability::Process).unwrap();
        let mut model = MemoryStore::new([1; 32]);
        let mut store = Some(open());
        for (ops, reopen, now) in commits {
            let sqlite = store.as_mut().unwrap();
            let (expected, found) = (model.commit(&ops).unwrap(), sqlite.commit(&ops).unwrap());
            prop_assert_eq!(sorted(found), sorted(expected));
            same(&*sqlite.reader().unwrap(), &*model.reader().unwrap(), now)?;
            if reopen {
                // What the writer remembers must not differ from what the file says.
                drop(store.take());
                store = Some(open());
            }
        }
    }
}

#[cfg(feature = "postgres")]
#[test]
fn postgres_does_what_memory_does() {
    use broker_min::store::PostgresStore;
    use proptest::test_runner::TestRunner;
    let Some(server) = postgres::server("postgres_does_what_memory_does") else {
        return;
    };
    let config = ProptestConfig {
        cases: 24,
        ..ProptestConfig::default()
    };
    let commits = vec((vec(op(), 0..24), any::<bool>(), time()), 1..12);
    TestRunner::new(config)
        .run(&commits, |commits| {
            let schema = server.schema();
            let open = || PostgresStore::open(schema.url(), Durability::Power).unwrap();
            let mut model = MemoryStore::new([1; 32]);
            let mut store = Some(open());
            for (ops, reopen, now) in commits {
                let store_now = store.as_mut().unwrap();
                let (expected, found) =
                    (model.commit(&ops).unwrap(), store_now.commit(&ops).unwrap());
                prop_assert_eq!(sorted(found), sorted(expected));
                same(
                    &*store_now.reader().unwrap(),
                    &*model.reader().unwrap(),
                    now,
                )?;
                if reopen {
                    drop(store.take());
                    store = Some(open());
                }
            }
            Ok(())
        })
        .unwrap();
}
