//! The suite that every [`BrokerStore`] passes. Public, so that a store of another crate can run
//! it in its own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod channels;
mod meshes;
mod queue;
mod values;

use claudemesh_core::id::{MeshId, MessageId, Priority, PublicKey};

use super::{
    Accept, BrokerStore, Caps, Delivery, Op, Outcome, PageRow, Query, Rows, SendOutcome, StoreInfo,
    StoreReader,
};

/// Runs the suite. `make` gives an empty store each time.
///
/// # Panics
/// Where the store does not do what [`BrokerStore`] promises.
pub fn run(mut make: impl FnMut() -> Box<dyn BrokerStore>) {
    let checks = queue::CHECKS.iter().chain(meshes::CHECKS);
    for check in checks.chain(channels::CHECKS).chain(values::CHECKS) {
        check(&mut Bench::new(make()));
    }
}

/// A direct message from [`key`]`(1)` to [`key`]`(2)` under `id`, accepted at 1,000 and expiring
/// at 10,000, for tests.
///
/// # Panics
/// If `id` is no message id.
pub fn sample(id: &str, tail: &str) -> Box<Accept> {
    Box::new(Accept {
        mesh: mesh("one"),
        sender: key(1),
        id: Some(MessageId::new(id).expect("a message id")),
        content: 7,
        recipients: vec![key(2)],
        class: Priority::Next,
        tail: tail.into(),
        now: 1_000,
        expires_at: 10_000,
        caps: Caps {
            rows: 100,
            bytes: 1 << 20,
            rows_per_sender: 100,
            mesh_rows: 10_000,
            mesh_bytes: 1 << 30,
        },
        lookup_only: false,
        channel: None,
    })
}

/// A key for tests.
pub fn key(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

/// A mesh id for tests.
///
/// # Panics
/// If `name` is none.
pub fn mesh(name: &str) -> MeshId {
    MeshId::new(name).expect("a mesh id")
}

type Check = fn(&mut Bench);

/// A store with a reader, and short ways to use them.
struct Bench {
    store: Box<dyn BrokerStore>,
    reader: Box<dyn StoreReader>,
}

impl Bench {
    fn new(store: Box<dyn BrokerStore>) -> Self {
        let reader = store.reader().expect("a reader");
        Self { store, reader }
    }

    fn commit(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let outcomes = self.store.commit(ops).expect("a commit");
        assert_eq!(outcomes.len(), ops.len(), "an outcome for each operation");
        outcomes
    }

    fn one(&mut self, op: Op) -> Outcome {
        self.commit(&[op]).remove(0)
    }

    /// Commits a message that must be taken whole; gives its seq.
    fn accepted(&mut self, accept: Box<Accept>) -> u64 {
        match self.one(Op::Accept(accept)) {
            Outcome::Accepted { seq, full } if full.is_empty() => seq,
            other => panic!("not accepted: {other:?}"),
        }
    }

    fn settle(&mut self, address: PublicKey, class: Priority, seq: u64) -> Outcome {
        self.one(Op::Settle(Delivery {
            mesh: mesh("one"),
            address,
            class,
            seq,
        }))
    }

    fn load(&self, query: &Query) -> Rows {
        self.reader.load(query).expect("an answer")
    }

    fn page(&self, address: PublicKey, class: Priority, after: u64, limit: u32) -> Vec<PageRow> {
        self.page_at(address, class, (after, limit), 1_000)
    }

    fn page_at(
        &self,
        address: PublicKey,
        class: Priority,
        (after, limit): (u64, u32),
        now: u64,
    ) -> Vec<PageRow> {
        let query = Query::Page {
            mesh: mesh("one"),
            address,
            class,
            after,
            limit,
            now,
        };
        match self.load(&query) {
            Rows::Page(rows) => rows,
            other => panic!("not a page: {other:?}"),
        }
    }

    fn seqs(&self, address: PublicKey, class: Priority) -> Vec<u64> {
        let page = self.page(address, class, 0, 1_000);
        page.iter().map(|row| row.seq).collect()
    }

    fn counts(&self, address: PublicKey) -> [u64; 3] {
        let query = Query::Counts {
            mesh: mesh("one"),
            address,
        };
        match self.load(&query) {
            Rows::Counts(counts) => counts,
            other => panic!("not counts: {other:?}"),
        }
    }

    fn outcomes(&self, sender: PublicKey, seqs: &[u64]) -> Vec<SendOutcome> {
        let query = Query::Outcomes {
            sender,
            seqs: seqs.to_vec(),
        };
        match self.load(&query) {
            Rows::Outcomes(outcomes) => outcomes,
            other => panic!("not outcomes: {other:?}"),
        }
    }

    fn info(&self) -> StoreInfo {
        match self.load(&Query::Info) {
            Rows::Info(info) => info,
            other => panic!("not the store's info: {other:?}"),
        }
    }

    fn totals(&self) -> [u64; 3] {
        match self.load(&Query::Totals) {
            Rows::Totals(totals) => totals,
            other => panic!("not totals: {other:?}"),
        }
    }
}
