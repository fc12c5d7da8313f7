//! The ends of the audit chains, as the writer remembers them.
//!
//! The hash of a row is made where the row is written, in the same commit; rows are never
//! changed. Where each chain ends is remembered between commits, and written once per commit.

use std::collections::HashMap;

use claudemesh_core::audit::{Place, RowRef, row_hash};
use claudemesh_core::id::MeshId;

/// Chains whose end is remembered.
const CHAINS: usize = 20_000;

#[derive(Debug)]
struct End {
    id: i64,
    place: Place,
    changed: bool,
}

/// Where chains end. It follows the open transaction; after a rollback it is thrown away.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The newest id of `audit_log`.
    pub(super) last: Option<u64>,
    ends: HashMap<MeshId, End>,
    changed: Vec<MeshId>,
}

/// The place of a new row: its id, its chain, and where that ends with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) chain: i64,
    pub(super) place: Place,
}

/// A row that gets a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) event: &'a str,
    pub(super) actor: Option<&'a str>,
    pub(super) target: Option<&'a str>,
    pub(super) metadata: &'a str,
    /// Unix ms.
    pub(super) at: u64,
}

impl Chains {
    /// Keeps itself within its bounds. Called between commits.
    pub(super) fn trim(&mut self) {
        if self.ends.len() > CHAINS {
            self.ends.clear();
        }
    }

    /// Whether the end of a mesh's chain is remembered.
    pub(super) fn knows(&self, mesh: &MeshId) -> bool {
        self.ends.contains_key(mesh)
    }

    /// Remembers the number of a mesh's chain and where it ends.
    pub(super) fn remember(&mut self, mesh: &MeshId, id: i64, place: Place) {
        let changed = false;
        self.ends.insert(mesh.clone(), End { id, place, changed });
    }

    /// Gives a row its place. None: what it follows is not remembered.
    pub(super) fn link(&mut self, mesh: &MeshId, row: Event<'_>) -> Option<Link> {
        let id = self.last? + 1;
        let end = self.ends.get_mut(mesh)?;
        let row = RowRef {
            id,
            event: row.event,
            actor: row.actor,
            target: row.target,
            metadata: row.metadata,
            created_at: row.at,
        };
        let hash = row_hash(mesh, &end.place.hash, &row);
        let n = end.place.n + 1;
        end.place = Place { n, hash };
        if !end.changed {
            end.changed = true;
            self.changed.push(mesh.clone());
        }
        self.last = Some(id);
        Some(Link {
            id,
            chain: end.id,
            place: end.place,
        })
    }

    /// The chains that grew since the last call, with their new ends.
    pub(super) fn grown(&mut self) -> Vec<(i64, Place)> {
        let mut grown = Vec::with_capacity(self.changed.len());
        for mesh in self.changed.drain(..) {
            if let Some(end) = self.ends.get_mut(&mesh) {
                end.changed = false;
                grown.push((end.id, end.place));
            }
        }
        grown
    }
}
