//! What was said, what was taken, and what happened.

use std::collections::{BTreeMap, BTreeSet};

use claudemesh_core::id::{MessageId, Target};
use claudemesh_core::store::SendState;

/// What happened in one run or in all.
#[derive(Debug, Default, Clone)]
pub struct Total {
    pub said: usize,
    pub to_channels: usize,
    pub taken: usize,
    pub again: usize,
    pub failed: usize,
    pub peer_crashes: usize,
    pub broker_crashes: usize,
    pub disconnects: usize,
    pub store_errors: usize,
    pub removed: usize,
    pub rekeyed: usize,
    pub locked: usize,
    pub cuts: usize,
    pub skews: usize,
    pub hours: usize,
    pub reached: usize,
    pub expired: usize,
    pub two_processes: usize,
    pub steps: u64,
}

impl Total {
    pub fn add(&mut self, other: &Self) {
        self.said += other.said;
        self.to_channels += other.to_channels;
        self.taken += other.taken;
        self.again += other.again;
        self.failed += other.failed;
        self.peer_crashes += other.peer_crashes;
        self.broker_crashes += other.broker_crashes;
        self.disconnects += other.disconnects;
        self.store_errors += other.store_errors;
        self.removed += other.removed;
        self.rekeyed += other.rekeyed;
        self.locked += other.locked;
        self.cuts += other.cuts;
        self.skews += other.skews;
        self.hours += other.hours;
        self.reached += other.reached;
        self.expired += other.expired;
        self.two_processes += other.two_processes;
        self.steps += other.steps;
    }

    /// The faults must have happened for the checks to mean something.
    pub fn check_that_faults_happened(&self) {
        assert!(self.taken > 5_000 && self.to_channels > 2_000, "{self:?}");
        assert!(
            self.peer_crashes > 200 && self.broker_crashes > 200,
            "{self:?}"
        );
        assert!(
            self.disconnects > 200 && self.store_errors > 200,
            "{self:?}"
        );
        assert!(
            self.removed > 50 && self.rekeyed > 1_000 && self.locked > 50,
            "{self:?}"
        );
        assert!(
            self.cuts > 100 && self.skews > 100 && self.hours > 50 && self.two_processes > 100,
            "{self:?}"
        );
        assert!(self.reached > 100 && self.expired > 20, "{self:?}");
    }
}

/// One message that a peer was told is in its outbox.
#[derive(Debug)]
pub struct Said {
    pub by: usize,
    pub to: Target,
    pub text: u64,
    /// It is worth nothing after an hour.
    pub short: bool,
    /// In how many mailboxes the broker put it.
    pub recipients: Option<u32>,
    /// The end that the sender was told.
    pub end: Option<(SendState, Option<String>)>,
}

#[derive(Default)]
pub struct Books {
    pub said: BTreeMap<MessageId, Said>,
    /// Who took what: text and how often without a mark.
    pub taken: BTreeMap<u64, Vec<usize>>,
    /// What each node took, in order.
    pub order: BTreeMap<usize, Vec<u64>>,
    /// Nodes that were removed from the mesh.
    pub removed: BTreeSet<usize>,
}

impl Books {
    pub fn took(&mut self, node: usize, text: u64) {
        let by = self.taken.entry(text).or_default();
        assert!(
            !by.contains(&node),
            "{node} took {text} twice without a mark"
        );
        by.push(node);
        self.order.entry(node).or_default().push(text);
    }
}
