//! Checking the audit chains: the rows against each other, and against the places that peers were
//! told of.

use std::path::Path;

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::{Hash, MeshId};

use super::{StoreError, sqlite};

/// What was found in the chain of one mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// The mesh.
    pub mesh: MeshId,
    /// Rows that were checked.
    pub rows: u64,
    /// The newest place, as the store has it.
    pub head: Place,
    /// Places that peers were told of and that are in the chain.
    pub pinned: u64,
    /// Those that are older than the oldest row that is kept: they cannot be checked.
    pub too_old: u64,
    /// What is wrong, the first of it; none: the chain holds.
    pub fault: Option<AuditFault>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// A row is not what it was when it was written, or not where it was.
    #[error("row {id} was altered")]
    Altered {
        /// Its id.
        id: u64,
    },
    /// Rows are missing.
    #[error("{missing} rows are missing before row {id}")]
    Missing {
        /// The row after them.
        id: u64,
        /// How many.
        missing: u64,
    },
    /// The newest rows are missing.
    #[error("the {missing} newest rows are missing")]
    Cut {
        /// How many.
        missing: u64,
    },
    /// A row is in no chain, but newer than the first that is.
    #[error("row {id} was put in without a hash")]
    Unchained {
        /// Its id.
        id: u64,
    },
    /// The rows are whole, but the end of the chain says otherwise.
    #[error("the end of the chain was altered")]
    End,
    /// The rows fit each other, but not what a peer was told.
    #[error("the rows up to place {n} are not those that a peer was told of: all was rewritten")]
    Rewritten {
        /// The place.
        n: u64,
    },
    /// The rows fit each other, but a peer was told of more.
    #[error(
        "a peer was told of place {told}, but the chain ends at {n}: the newest rows were taken \
         away, or a backup was put back"
    )]
    Behind {
        /// What the peer was told of.
        told: u64,
        /// Where the chain ends.
        n: u64,
    },
}

/// Computes the audit chains of a broker's folder anew, of all meshes or of one, and says what does
/// not fit. Rows from before the table was a chain are passed over. The folder is locked
/// meanwhile, so that no broker writes to it.
///
/// # Errors
/// [`StoreError::InUse`] if a broker uses the folder; what [`SqliteStore::open`](super::SqliteStore::open)
/// gives for a file that cannot be read.
pub fn verify_audit(dir: &Path, mesh: Option<&MeshId>) -> Result<Vec<AuditReport>, StoreError> {
    verify_audit_pinned(dir, mesh, &[])
}

/// As [`verify_audit`], also against places that peers were told of. Who can write the file can make
/// a whole chain anew, which only these find out.
///
/// # Errors
/// As [`verify_audit`].
pub fn verify_audit_pinned(
    dir: &Path,
    mesh: Option<&MeshId>,
    pinned: &[(MeshId, Place)],
) -> Result<Vec<AuditReport>, StoreError> {
    sqlite::verify(dir, mesh, pinned)
}

/// A chain that is walked along.
pub(super) struct Walk<'a> {
    mesh: &'a MeshId,
    place: Place,
    head: Place,
    rows: u64,
    /// The id of the first row.
    pub(super) first: Option<u64>,
    /// What is still to be met, by place.
    pins: Vec<Place>,
    met: u64,
    too_old: u64,
    fault: Option<AuditFault>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        mesh: &'a MeshId,
        base: Place,
        head: Place,
        pinned: &[(MeshId, Place)],
    ) -> Self {
        let own = pinned.iter().filter(|(of, _)| of == mesh);
        let mut pins: Vec<Place> = own.map(|(_, place)| *place).collect();
        let all = pins.len();
        pins.retain(|pin| pin.n >= base.n);
        let too_old = (all - pins.len()) as u64;
        // Those that come first are met first, from the end of the list.
        pins.sort_by_key(|pin| std::cmp::Reverse(pin.n));
        let mut walk = Self {
            mesh,
            place: base,
            head,
            rows: 0,
            first: None,
            pins,
            met: 0,
            too_old,
            fault: None,
        };
        walk.meet();
        walk
    }

    /// Compares the place with what peers were told of it.
    fn meet(&mut self) {
        while let Some(pin) = self.pins.pop_if(|pin| pin.n <= self.place.n) {
            if pin == self.place {
                self.met += 1;
            } else {
                let n = pin.n;
                self.fault.get_or_insert(AuditFault::Rewritten { n });
            }
        }
    }

    /// Takes the next row: what it says, and where it says that it is. Says whether to go on.
    pub(super) fn row(&mut self, kept: &Record, n: u64, hash: Option<Hash>, of_mesh: bool) -> bool {
        let id = kept.id;
        let next = self.place.n + 1;
        if n > next {
            let missing = n - next;
            self.fault = Some(AuditFault::Missing { id, missing });
            return false;
        }
        self.place = self.place.after(self.mesh, kept);
        if n < next || !of_mesh || Some(self.place.hash) != hash {
            self.fault = Some(AuditFault::Altered { id });
            return false;
        }
        self.first.get_or_insert(id);
        self.rows += 1;
        self.meet();
        self.fault.is_none()
    }

    /// Ends, with the first row of the mesh that is in no chain although the chain had begun.
    pub(super) fn end(mut self, unchained: Option<u64>) -> AuditReport {
        let behind = self.pins.iter().map(|pin| pin.n).max();
        let fault = self.fault.take().or_else(|| {
            if self.place.n < self.head.n {
                let missing = self.head.n - self.place.n;
                Some(AuditFault::Cut { missing })
            } else if self.place != self.head {
                Some(AuditFault::End)
            } else if let Some(id) = unchained {
                Some(AuditFault::Unchained { id })
            } else {
                let n = self.place.n;
                behind.map(|told| AuditFault::Behind { told, n })
            }
        });
        AuditReport {
            mesh: self.mesh.clone(),
            rows: self.rows,
            head: self.head,
            pinned: self.met,
            too_old: self.too_old,
            fault,
        }
    }
}
