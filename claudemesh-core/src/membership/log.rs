//! The log itself: a chain that only grows.

use super::body::Body;
use super::chain::Chain;
use super::entry::{Draft, Entry, EntryError, SignedEntry};
use super::roster::{Roster, RuleError};
use crate::id::{Hash, MeshId, MeshSlug, PublicKey};

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Why an entry is not taken into a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The entry itself is not sound.
    #[error("entry {seq}: {source}")]
    Entry {
        /// Its place.
        seq: u64,
        /// Why.
        source: EntryError,
    },
    /// The entry may not be said by who said it, or not now.
    #[error("entry {seq}: {source}")]
    Rule {
        /// Its place.
        seq: u64,
        /// Why.
        source: RuleError,
    },
    /// It does not follow the head: another seq, hash, mesh or an earlier time.
    #[error("entry {seq} does not follow the log's head")]
    NotNext {
        /// The place where it would have to stand.
        seq: u64,
    },
    /// The first entry does not give the mesh's id.
    #[error("the first entry of this log makes another mesh than the one asked for")]
    OtherMesh,
    /// There is no entry at all.
    #[error("the log is empty")]
    Empty,
}

/// What came of comparing entries with the log that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// They extended it by so many entries (0: nothing new).
    Extended(u64),
    /// At this seq they have another entry than the one held: somebody lies.
    Fork {
        /// The first seq that differs.
        seq: u64,
    },
}

/// A mesh's membership log, verified entry by entry, and the roster it yields. The entries' bytes
/// are kept by a store; the log itself keeps their hashes (32 bytes each) to notice a fork.
#[derive(Debug, Clone)]
pub struct Log {
    mesh: MeshId,
    chain: Chain,
    at: u64,
    roster: Roster,
}

impl Log {
    /// Begins a log with entry 0, which also gives the mesh's id.
    ///
    /// # Errors
    /// [`LogError::Entry`], [`LogError::Rule`].
    pub fn begin(first: &SignedEntry) -> Result<Self, LogError> {
        let entry = first
            .open()
            .map_err(|source| LogError::Entry { seq: 0, source })?;
        let roster = Roster::begin(&entry).map_err(|source| LogError::Rule { seq: 0, source })?;
        Ok(Self {
            mesh: first.mesh_id(),
            chain: Chain::begin(first.hash()),
            at: entry.at,
            roster,
        })
    }

    /// Stands in for the log of a mesh that has none, because it was made by the existing system: for
    /// a broker that serves it, never for a peer. Nobody is in its roster, `owner` included, and
    /// nothing is ever appended to it.
    pub fn without_entries(mesh: MeshId, slug: MeshSlug, owner: PublicKey) -> Self {
        Self {
            mesh,
            chain: Chain::begin(Hash::ZERO),
            at: 0,
            roster: Roster::without_log(slug, owner),
        }
    }

    /// Whether there is a log; false for [`Log::without_entries`].
    pub fn has_entries(&self) -> bool {
        // No entry hashes to nothing but zeros.
        self.hash_at(0) != Some(Hash::ZERO)
    }

    /// Verifies a whole log of the mesh `mesh`.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::OtherMesh`] if entry 0 makes another mesh.
    pub fn verify<'a>(
        mesh: &MeshId,
        entries: impl IntoIterator<Item = &'a SignedEntry>,
    ) -> Result<Self, LogError> {
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(LogError::Empty)?;
        if first.mesh_id() != *mesh {
            return Err(LogError::OtherMesh);
        }
        let mut log = Self::begin(first)?;
        for entry in entries {
            log.append(entry)?;
        }
        Ok(log)
    }

    /// Checks `signed` against the head and takes it. On an error nothing has changed.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append(&mut self, signed: &SignedEntry) -> Result<Entry, LogError> {
        if !self.has_entries() {
            return Err(LogError::Empty);
        }
        let seq = self.chain.next_seq();
        let entry = signed
            .open()
            .map_err(|source| LogError::Entry { seq, source })?;
        let follows = entry.mesh.as_ref() == Some(&self.mesh)
            && entry.seq == seq
            && entry.prev == self.head().hash
            && entry.at >= self.at;
        if !follows {
            return Err(LogError::NotNext { seq });
        }
        let hash = signed.hash();
        self.roster
            .apply(hash, &entry)
            .map_err(|source| LogError::Rule { seq, source })?;
        self.chain.push(hash);
        self.at = entry.at;
        Ok(entry)
    }

    /// Takes entries that begin at `from`: those held already must be the same, the rest must
    /// extend the log. Entries before a fork or an error are kept. Entries that end before the
    /// head take nothing back: whoever serves a shorter log is told by [`Log::hash_at`] of its
    /// head.
    ///
    /// # Errors
    /// [`LogError`] of the first entry that does not follow.
    pub fn merge(&mut self, from: u64, entries: &[SignedEntry]) -> Result<Merge, LogError> {
        let next = self.chain.next_seq();
        // `from` is the broker's word; a gap cannot be filled, and counting on from it could
        // overflow.
        if from > next {
            return Err(LogError::NotNext { seq: next });
        }
        let mut added = 0;
        for (seq, entry) in (from..).zip(entries) {
            match self.hash_at(seq) {
                Some(held) if held == entry.hash() => {}
                Some(_) => return Ok(Merge::Fork { seq }),
                None => {
                    self.append(entry)?;
                    added += 1;
                }
            }
        }
        Ok(Merge::Extended(added))
    }

    /// An entry that would follow the head, for its author to sign. `now` is unix ms; the entry's
    /// time is never below the head's.
    pub fn draft(&self, now: u64, body: Body) -> Draft<'_> {
        Draft {
            mesh: Some(&self.mesh),
            seq: self.chain.next_seq(),
            prev: self.head().hash,
            at: now.max(self.at),
            body,
        }
    }

    /// The mesh's id.
    pub fn mesh(&self) -> &MeshId {
        &self.mesh
    }

    /// The newest entry.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// The hash of the entry at `seq`, if it is held.
    pub fn hash_at(&self, seq: u64) -> Option<Hash> {
        self.chain.hash_at(seq)
    }

    /// Time of the newest entry, unix ms.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Who is a member.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }
}
