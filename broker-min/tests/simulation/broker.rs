//! The broker: the real router over a store in memory, whose commits and loads take their time, fail,
//! and are cut off by crashes.

use std::collections::VecDeque;

use broker_min::limits::Limits;
use broker_min::router::{In, Now, Out, Router, RouterConfig};
use broker_min::store::{
    BrokerStore, MemoryStore, Op, Outcome, Query, Rows, StoreError, StoreReader,
};
use claudemesh_core::crypto::Drbg;

enum Job {
    Commit(u64, Vec<Op>),
    Load(u64, Query),
    /// Done and durable, not yet told.
    Answer(In),
}

pub struct Broker {
    pub router: Router,
    store: MemoryStore,
    reader: Box<dyn StoreReader>,
    /// What the writer has before it, and what the readers have: neither waits for the other.
    commits: VecDeque<Job>,
    loads: VecDeque<Job>,
    pub fails: bool,
}

fn limits() -> Limits {
    // What is shown here is not the rates.
    let mut limits = Limits::default();
    limits.deliveries_per_s = 1_000_000;
    limits.delivery_burst = 1_000_000;
    limits.channel_entries_per_hour = 1_000_000;
    limits.epochs_per_hour = 1_000_000;
    limits.log_entries_per_hour = 1_000_000;
    limits
}

impl Broker {
    pub fn new(store: MemoryStore, seed: [u8; 32]) -> Self {
        let reader = store.reader().unwrap();
        let Rows::Info(info) = reader.load(&Query::Info).unwrap() else {
            panic!("no info");
        };
        let config = RouterConfig {
            limits: limits(),
            store: info,
            broker_id: "b".repeat(32),
            silent_ms: 0,
        };
        Self {
            router: Router::new(config, seed),
            store,
            reader,
            commits: VecDeque::new(),
            loads: VecDeque::new(),
            fails: false,
        }
    }

    /// The process is gone; what was committed is there.
    pub fn crash(&mut self, seed: [u8; 32]) {
        *self = Self::new(self.store.fork(), seed);
    }

    pub fn is_idle(&self) -> bool {
        self.commits.is_empty() && self.loads.is_empty()
    }

    /// Takes an input, and gives what is to be written.
    pub fn input(&mut self, now: Now, input: In) -> Vec<Out> {
        self.router.handle(now, input);
        let mut outs = Vec::new();
        while let Some(out) = self.router.next() {
            match out {
                Out::Commit { batch, ops } => self.commits.push_back(Job::Commit(batch, ops)),
                Out::Load { token, query } => self.loads.push_back(Job::Load(token, query)),
                other => outs.push(other),
            }
        }
        outs
    }

    /// Does one piece of work: executes it, or tells its answer. Commits come back in order, and so
    /// do loads.
    pub fn work(&mut self, now: Now, rng: &mut Drbg) -> Vec<Out> {
        let reads = match (self.commits.is_empty(), self.loads.is_empty()) {
            (false, false) => rng.below(2) == 0,
            (writes, _) => writes,
        };
        let queue = if reads {
            &mut self.loads
        } else {
            &mut self.commits
        };
        let Some(job) = queue.pop_front() else {
            return Vec::new();
        };
        let answer = match job {
            Job::Answer(input) => return self.input(now, input),
            Job::Commit(batch, ops) => {
                let result = self.commit(&ops, rng);
                In::Committed { batch, result }
            }
            Job::Load(token, query) => {
                let result = self.reader.load(&query);
                In::Loaded { token, result }
            }
        };
        // A crash may fall between.
        let queue = if reads {
            &mut self.loads
        } else {
            &mut self.commits
        };
        queue.push_front(Job::Answer(answer));
        Vec::new()
    }

    fn commit(&mut self, ops: &[Op], rng: &mut Drbg) -> Result<Vec<Outcome>, StoreError> {
        if !self.fails {
            return self.store.commit(ops);
        }
        let path = "sim".to_owned();
        match rng.below(3) {
            0 => {
                // Nobody knows whether it was kept.
                if rng.below(2) == 0 {
                    self.store.commit(ops)?;
                }
                let why = "cut off".to_owned();
                Err(StoreError::Unknown { path, why })
            }
            _ => Err(StoreError::Full { path }),
        }
    }
}
