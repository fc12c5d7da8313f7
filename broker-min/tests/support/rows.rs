//! A message in a store: accepted, settled, waiting.
#![allow(unreachable_pub, reason = "several test files use it")]

use broker_min::store::conformance::{key, mesh, sample};
use broker_min::store::{BrokerStore, Delivery, Op, Outcome, Query, Rows, StoreInfo};
use claudemesh_core::id::Priority;

pub fn accept(store: &mut dyn BrokerStore, id: &str) -> u64 {
    match store.commit(&[Op::Accept(sample(id, "text"))]).unwrap()[0] {
        Outcome::Accepted { seq, .. } => seq,
        ref other => panic!("not accepted: {other:?}"),
    }
}

pub fn settle(seq: u64) -> Op {
    Op::Settle(Delivery {
        mesh: mesh("one"),
        address: key(2),
        class: Priority::Next,
        seq,
    })
}

pub fn waiting(store: &dyn BrokerStore) -> Vec<u64> {
    let query = Query::Page {
        mesh: mesh("one"),
        address: key(2),
        class: Priority::Next,
        after: 0,
        limit: 100_000,
        now: 0,
    };
    match store.reader().unwrap().load(&query).unwrap() {
        Rows::Page(rows) => rows.iter().map(|row| row.seq).collect(),
        other => panic!("not a page: {other:?}"),
    }
}

pub fn info(store: &dyn BrokerStore) -> StoreInfo {
    match store.reader().unwrap().load(&Query::Info).unwrap() {
        Rows::Info(info) => info,
        other => panic!("not the store's info: {other:?}"),
    }
}
