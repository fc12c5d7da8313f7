//! The hashes of a log's entries, 32 bytes each: by them an entry finds its place, and a fork is
//! noticed.

use super::log::Head;
use crate::id::Hash;

/// A chain that only grows and always has a first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain(Vec<Hash>);

impl Chain {
    pub(super) fn begin(first: Hash) -> Self {
        Self(vec![first])
    }

    /// The place of the entry that would follow.
    pub(super) fn next_seq(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn push(&mut self, hash: Hash) {
        self.0.push(hash);
    }

    /// The newest entry.
    pub(super) fn head(&self) -> Head {
        Head {
            seq: self.next_seq().saturating_sub(1),
            hash: self.0.last().copied().unwrap_or(Hash::ZERO),
        }
    }

    /// The hash of the entry at `seq`, if it is held.
    pub(super) fn hash_at(&self, seq: u64) -> Option<Hash> {
        usize::try_from(seq)
            .ok()
            .and_then(|seq| self.0.get(seq))
            .copied()
    }
}
