//! The audit chain: how a peer checks that a broker rewrote nothing of the table it showed.
//!
//! Each row of a mesh's audit table carries a hash over itself and the hash before it; the broker
//! signs the newest one. Implements docs/protocol.md, section "Audit". It proves that a row which
//! was shown is there unchanged. It does not prove that the broker writes down everything, nor
//! that it shows everyone the same.

use crate::crypto::{KeyPair, sha256, verify};
use crate::encoding::Encoder;
use crate::id::{Hash, MeshId, PublicKey, Signature};

/// Why rows or a head are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The head is signed by another key than the one that is known for this broker.
    #[error("the audit head is signed by another key than before")]
    OtherKey,
    /// The signature under the head does not hold.
    #[error("the signature under the audit head does not hold")]
    BadSignature,
    /// A row's id is not above the one before it.
    #[error("audit row {id} is not in order")]
    Order {
        /// The row's id.
        id: u64,
    },
    /// There are fewer rows than the head says, or more.
    #[error("the audit rows end at place {found}, not at place {wanted}")]
    Length {
        /// The place of the last row.
        found: u64,
        /// The head's place.
        wanted: u64,
    },
    /// The rows do not hash to the head: one of them, or the base, is not what it was.
    #[error("the audit rows up to place {n} are not those that were signed")]
    Altered {
        /// The place up to which they were hashed.
        n: u64,
    },
    /// The rows are said to begin elsewhere than where this peer's last head was.
    #[error("the audit chain was rewritten before place {n}")]
    Rewritten {
        /// The place of the head that was known.
        n: u64,
    },
}

/// A row of the audit table, as it is hashed. It has no place for content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The row's id, rising; ids of one mesh have gaps, because the table serves all meshes.
    pub id: u64,
    /// What happened.
    pub event: String,
    /// Fingerprint of who did it.
    pub actor: Option<String>,
    /// Fingerprint of whom it was done to.
    pub target: Option<String>,
    /// Further facts, JSON, the bytes as they are stored.
    pub metadata: String,
    /// Unix milliseconds.
    pub created_at: u64,
}

impl Record {
    /// The row's hash: over the hash before it, the mesh and the row.
    pub fn hash(&self, mesh: &MeshId, previous: &Hash) -> Hash {
        row_hash(
            mesh,
            previous,
            &RowRef {
                id: self.id,
                event: &self.event,
                actor: self.actor.as_deref(),
                target: self.target.as_deref(),
                metadata: &self.metadata,
                created_at: self.created_at,
            },
        )
    }
}

/// [`Record`], borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    /// See [`Record::id`].
    pub id: u64,
    /// See [`Record::event`].
    pub event: &'a str,
    /// See [`Record::actor`].
    pub actor: Option<&'a str>,
    /// See [`Record::target`].
    pub target: Option<&'a str>,
    /// See [`Record::metadata`].
    pub metadata: &'a str,
    /// See [`Record::created_at`].
    pub created_at: u64,
}

/// A row's hash; see [`Record::hash`].
pub fn row_hash(mesh: &MeshId, previous: &Hash, row: &RowRef<'_>) -> Hash {
    let bytes = Encoder::new("audit/1")
        .bytes(previous.as_bytes())
        .text(mesh.as_str())
        .int(row.id)
        .text(row.event)
        .optional(row.actor.map(str::as_bytes))
        .optional(row.target.map(str::as_bytes))
        .text(row.metadata)
        .int(row.created_at)
        .finish();
    sha256(&bytes)
}

/// A place in a mesh's chain: so many rows, and the hash of the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// How many rows.
    pub n: u64,
    /// The hash of the last; of none: zeros.
    pub hash: Hash,
}

impl Place {
    /// Before the first row.
    pub const START: Self = Self {
        n: 0,
        hash: Hash::ZERO,
    };

    /// The place after one more row.
    #[must_use]
    pub fn after(&self, mesh: &MeshId, row: &Record) -> Self {
        Self {
            n: self.n.saturating_add(1),
            hash: row.hash(mesh, &self.hash),
        }
    }
}

/// The newest place of a chain, under the broker's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The place.
    pub place: Place,
    /// When it was signed by the broker's clock, unix milliseconds.
    pub time: u64,
    /// The broker's audit key.
    pub key: PublicKey,
    /// By it.
    pub signature: Signature,
}

impl Head {
    /// Signs a place.
    pub fn sign(mesh: &MeshId, place: Place, time: u64, key: &KeyPair) -> Self {
        Self {
            place,
            time,
            key: key.public(),
            signature: key.sign(&head_bytes(mesh, &place, time)),
        }
    }

    /// Checks the signature, and that the key is the one that is known already, if one is.
    ///
    /// # Errors
    /// [`AuditError::OtherKey`], [`AuditError::BadSignature`].
    pub fn check(&self, mesh: &MeshId, known: Option<&PublicKey>) -> Result<(), AuditError> {
        if known.is_some_and(|known| *known != self.key) {
            return Err(AuditError::OtherKey);
        }
        let bytes = head_bytes(mesh, &self.place, self.time);
        if verify(&self.key, &bytes, &self.signature) {
            Ok(())
        } else {
            Err(AuditError::BadSignature)
        }
    }
}

fn head_bytes(mesh: &MeshId, place: &Place, time: u64) -> Vec<u8> {
    Encoder::new("audit-head/1")
        .text(mesh.as_str())
        .int(place.n)
        .bytes(place.hash.as_bytes())
        .int(time)
        .finish()
}

/// Goes over rows that follow `base`; gives the place after the last of them. What is not compared
/// with a signed head proves nothing yet.
///
/// # Errors
/// [`AuditError::Order`] if the ids do not rise.
pub fn walk(mesh: &MeshId, base: Place, rows: &[Record]) -> Result<Place, AuditError> {
    let mut place = base;
    let mut before: Option<u64> = None;
    for row in rows {
        if before.is_some_and(|before| row.id <= before) {
            return Err(AuditError::Order { id: row.id });
        }
        before = Some(row.id);
        place = place.after(mesh, row);
    }
    Ok(place)
}

/// Checks all rows between two places: from `base`, which the broker names, to a signed head.
/// `known` is the newest place that this peer saw signed before; the chain must go through it,
/// unless it lies before `base` because the rows were pruned.
///
/// # Errors
/// [`AuditError::Rewritten`] if the chain does not go through the known place,
/// [`AuditError::Order`], [`AuditError::Length`], [`AuditError::Altered`], and what
/// [`Head::check`] gives.
pub fn check(
    mesh: &MeshId,
    known: Option<&Place>,
    base: Place,
    rows: &[Record],
    head: &Head,
    key: Option<&PublicKey>,
) -> Result<(), AuditError> {
    head.check(mesh, key)?;
    if let Some(known) = known {
        // A head below the known one takes back what was shown.
        if head.place.n < known.n {
            return Err(AuditError::Rewritten { n: known.n });
        }
        if let Some(shown) = known.n.checked_sub(base.n) {
            let shown = usize::try_from(shown).unwrap_or(usize::MAX);
            let shown = rows.get(..shown).unwrap_or(rows);
            let place = walk(mesh, base, shown)?;
            if place.n == known.n && place.hash != known.hash {
                return Err(AuditError::Rewritten { n: known.n });
            }
        }
    }
    if base.n == 0 && base.hash != Hash::ZERO {
        return Err(AuditError::Altered { n: 0 });
    }
    let end = walk(mesh, base, rows)?;
    if end.n != head.place.n {
        return Err(AuditError::Length {
            found: end.n,
            wanted: head.place.n,
        });
    }
    if end.hash != head.place.hash {
        return Err(AuditError::Altered { n: end.n });
    }
    Ok(())
}

/// Goes over the rows of a chain page by page, from a known place, or from the oldest row that is
/// kept, to the head of the first page. It keeps no rows, so a table of any length can be checked.
#[derive(Debug, Clone)]
pub struct Reading {
    mesh: MeshId,
    /// Places that were seen signed before; the chain must go through them.
    known: Vec<Place>,
    from: Option<Place>,
    place: Place,
    last_id: Option<u64>,
    target: Option<Place>,
}

impl Reading {
    /// Begins after `from`, a place that was checked before; none: at the oldest row there is.
    /// `seen` is the newest place that was seen signed.
    pub fn new(mesh: MeshId, from: Option<Place>, seen: Option<Place>) -> Self {
        Self {
            mesh,
            known: from.into_iter().chain(seen).collect(),
            from,
            place: from.unwrap_or(Place::START),
            last_id: None,
            target: None,
        }
    }

    /// Where it began; known after the first page.
    pub fn from(&self) -> Place {
        self.from.unwrap_or(Place::START)
    }

    /// How far it came.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Takes the next page; `head` must have been checked. Gives how many of its rows belong to
    /// what is read, and whether that was all: rows that came after the first page was made are for
    /// the next time.
    ///
    /// # Errors
    /// As [`check`], save for what is wrong with a head itself.
    pub fn page(
        &mut self,
        base: Place,
        rows: &[Record],
        head: &Head,
    ) -> Result<(usize, bool), AuditError> {
        let target = match self.target {
            Some(target) => target,
            None => {
                self.begin(base, head.place)?;
                head.place
            }
        };
        self.target = Some(target);
        if base != self.place {
            return Err(AuditError::Altered { n: self.place.n });
        }
        let mut taken = 0;
        for row in rows {
            if self.place.n >= target.n {
                break;
            }
            if self.last_id.is_some_and(|last| row.id <= last) {
                return Err(AuditError::Order { id: row.id });
            }
            self.last_id = Some(row.id);
            self.place = self.place.after(&self.mesh, row);
            self.check_known()?;
            taken += 1;
        }
        if self.place.n >= target.n {
            return if self.place == target {
                Ok((taken, true))
            } else {
                Err(AuditError::Altered { n: target.n })
            };
        }
        if taken == 0 {
            let (found, wanted) = (self.place.n, target.n);
            return Err(AuditError::Length { found, wanted });
        }
        Ok((taken, false))
    }

    fn begin(&mut self, base: Place, head: Place) -> Result<(), AuditError> {
        // A head below a known one takes back what was shown.
        if let Some(known) = self.known.iter().find(|known| head.n < known.n) {
            return Err(AuditError::Rewritten { n: known.n });
        }
        if base.n == 0 && base.hash != Hash::ZERO {
            return Err(AuditError::Altered { n: 0 });
        }
        // Rows may have been pruned, but none come back.
        if base.n < self.place.n {
            return Err(AuditError::Rewritten { n: self.place.n });
        }
        self.place = base;
        self.from = Some(base);
        self.check_known()
    }

    fn check_known(&self) -> Result<(), AuditError> {
        let mut known = self.known.iter();
        let place = self.place;
        match known.find(|known| known.n == place.n && known.hash != place.hash) {
            Some(known) => Err(AuditError::Rewritten { n: known.n }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> MeshId {
        MeshId::new("mesh").unwrap()
    }

    fn rows(n: u64) -> Vec<Record> {
        (1..=n)
            .map(|id| Record {
                id: id * 3,
                event: "message_sent".into(),
                actor: Some("00ff".into()),
                target: (id % 2 == 0).then(|| "11ee".into()),
                metadata: format!(r#"{{"size":{id}}}"#),
                created_at: 1_000 + id,
            })
            .collect()
    }

    fn signed(rows: &[Record]) -> Head {
        let place = walk(&mesh(), Place::START, rows).unwrap();
        Head::sign(&mesh(), place, 5_000, &KeyPair::from_seed(&[4; 32]))
    }

    fn checked(rows: &[Record], head: &Head) -> Result<(), AuditError> {
        check(&mesh(), None, Place::START, rows, head, None)
    }

    #[test]
    fn a_chain_holds_from_the_start_and_from_any_place() {
        let all = rows(7);
        let head = signed(&all);
        checked(&all, &head).unwrap();
        for from in 0..=all.len() {
            let base = walk(&mesh(), Place::START, &all[..from]).unwrap();
            let key = Some(&head.key);
            check(&mesh(), Some(&base), base, &all[from..], &head, key).unwrap();
        }
        checked(&[], &signed(&[])).unwrap();
    }

    #[test]
    fn every_change_of_a_row_is_seen() {
        let all = rows(5);
        let head = signed(&all);
        let changes: [fn(&mut Record); 7] = [
            |row| row.id += 1,
            |row| row.event.push('x'),
            |row| row.actor = None,
            |row| row.target = Some("2".into()),
            // A byte that moves from one field to the next is a change, too.
            |row| {
                row.event.pop();
                row.actor = row.actor.take().map(|actor| format!("t{actor}"));
            },
            |row| row.metadata = r#"{"size":9}"#.into(),
            |row| row.created_at += 1,
        ];
        for change in changes {
            for at in 0..all.len() {
                let mut other = all.clone();
                change(&mut other[at]);
                assert_eq!(checked(&other, &head), Err(AuditError::Altered { n: 5 }));
            }
        }
    }

    #[test]
    fn rows_that_lack_or_change_places_are_seen() {
        let all = rows(5);
        let head = signed(&all);
        assert_eq!(
            checked(&all[..4], &head),
            Err(AuditError::Length {
                found: 4,
                wanted: 5
            })
        );
        assert_eq!(
            checked(&all[1..], &head),
            Err(AuditError::Length {
                found: 4,
                wanted: 5
            })
        );
        let mut swapped = all.clone();
        swapped.swap(1, 2);
        assert_eq!(checked(&swapped, &head), Err(AuditError::Order { id: 6 }));
        let mut twice = all.clone();
        twice.insert(2, all[2].clone());
        assert_eq!(checked(&twice, &head), Err(AuditError::Order { id: 9 }));
    }

    #[test]
    fn another_key_signature_mesh_or_time_is_seen() {
        let all = rows(2);
        let head = signed(&all);
        let other = KeyPair::from_seed(&[5; 32]).public();
        assert_eq!(head.check(&mesh(), Some(&other)), Err(AuditError::OtherKey));
        let elsewhere = MeshId::new("other").unwrap();
        let changed = [
            Head {
                time: head.time + 1,
                ..head
            },
            Head { key: other, ..head },
            Head {
                place: Place { n: 3, ..head.place },
                ..head
            },
        ];
        assert_eq!(head.check(&elsewhere, None), Err(AuditError::BadSignature));
        for head in changed {
            assert_eq!(head.check(&mesh(), None), Err(AuditError::BadSignature));
        }
    }

    #[test]
    fn a_chain_that_was_made_anew_is_seen_by_who_knew_the_old_one() {
        let all = rows(4);
        let known = walk(&mesh(), Place::START, &all[..2]).unwrap();
        let mut forged = all.clone();
        forged[0].actor = None;
        let head = signed(&forged);
        let base = walk(&mesh(), Place::START, &forged[..2]).unwrap();
        // It holds together by itself.
        check(&mesh(), None, base, &forged[2..], &head, None).unwrap();
        for (base, rows) in [(base, &forged[2..]), (Place::START, &forged[..])] {
            assert_eq!(
                check(&mesh(), Some(&known), base, rows, &head, None),
                Err(AuditError::Rewritten { n: 2 })
            );
        }
        // Neither does the old base lead to the new head, nor a shorter chain past the known one.
        assert_eq!(
            check(&mesh(), Some(&known), known, &forged[2..], &head, None),
            Err(AuditError::Altered { n: 4 })
        );
        assert_eq!(
            check(
                &mesh(),
                Some(&known),
                Place::START,
                &all[..1],
                &signed(&all[..1]),
                None
            ),
            Err(AuditError::Rewritten { n: 2 })
        );
        let base = Place {
            n: 0,
            hash: known.hash,
        };
        assert_eq!(
            check(&mesh(), None, base, &all, &signed(&all), None),
            Err(AuditError::Altered { n: 0 })
        );
    }

    /// Reads all in pages of `size`; the head is that of `head` rows.
    fn read(
        all: &[Record],
        size: usize,
        from: Option<Place>,
        seen: Option<Place>,
    ) -> Result<Place, AuditError> {
        let head = signed(all);
        let mut reading = Reading::new(mesh(), from, seen);
        let mut at = usize::try_from(from.map_or(0, |from| from.n)).unwrap();
        loop {
            let base = walk(&mesh(), Place::START, &all[..at]).unwrap();
            let page = &all[at..all.len().min(at + size)];
            let (taken, done) = reading.page(base, page, &head)?;
            at += taken;
            if done {
                return Ok(reading.place());
            }
        }
    }

    #[test]
    fn pages_are_checked_as_the_whole_is() {
        let all = rows(9);
        let head = signed(&all).place;
        for size in 1..=10 {
            for from in 0..=all.len() {
                let known = walk(&mesh(), Place::START, &all[..from]).unwrap();
                assert_eq!(read(&all, size, Some(known), Some(head)), Ok(head));
            }
            assert_eq!(read(&all, size, None, None), Ok(head));
            let mut forged = all.clone();
            forged[4].actor = None;
            assert_eq!(
                read(&forged, size, None, Some(head)),
                Err(AuditError::Rewritten { n: 9 })
            );
            let shorter = &all[..5];
            assert_eq!(
                read(shorter, size, None, Some(head)),
                Err(AuditError::Rewritten { n: 9 })
            );
        }
        assert_eq!(read(&[], 1, None, None), Ok(Place::START));
    }

    #[test]
    fn pages_that_do_not_hang_together_are_seen() {
        let all = rows(6);
        let head = signed(&all);
        let begun = || {
            let mut reading = Reading::new(mesh(), None, None);
            assert_eq!(reading.page(Place::START, &all[..3], &head), Ok((3, false)));
            reading
        };
        let base = begun().place();
        let (mut swapped, mut changed) = (all.clone(), all.clone());
        swapped.swap(3, 4);
        changed[5].event.clear();
        assert_eq!(
            begun().page(base, &swapped[3..], &head),
            Err(AuditError::Order { id: 12 })
        );
        assert_eq!(
            begun().page(base, &changed[3..], &head),
            Err(AuditError::Altered { n: 6 })
        );
        assert_eq!(
            begun().page(Place::START, &all[3..], &head),
            Err(AuditError::Altered { n: 3 })
        );
        assert_eq!(
            begun().page(base, &[], &head),
            Err(AuditError::Length {
                found: 3,
                wanted: 6
            })
        );
        // What came since is for the next time.
        let longer = signed(&rows(8));
        assert_eq!(begun().page(base, &rows(8)[3..], &longer), Ok((3, true)));
        // Rows that were pruned cannot be checked, and do not come back.
        let mut pruned = Reading::new(mesh(), Some(Place::START), None);
        assert_eq!(pruned.page(base, &all[3..], &head), Ok((3, true)));
        assert_eq!(pruned.from(), base);
        let mut back = Reading::new(mesh(), Some(base), None);
        assert_eq!(
            back.page(Place::START, &all, &head),
            Err(AuditError::Rewritten { n: 3 })
        );
    }

    #[test]
    fn the_bytes_are_fixed() {
        let place = walk(&mesh(), Place::START, &rows(2)).unwrap();
        // Computed by another program from docs/protocol.md.
        let expected = "9f903622180f1efe60b651a192b462e09b12bc428679086226f9f3f60e7acfb8";
        assert_eq!(place.hash.to_hex(), expected);
    }
}
