//! The audit chains of the store in memory.

use std::collections::{BTreeMap, VecDeque};

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::MeshId;

use crate::store::rows::audit_metadata;
use crate::store::values::page;
use crate::store::{Accept, AuditPage, AuditRow};

/// Rows that are kept of a mesh; older ones are pruned.
const KEPT: usize = 20_000;

#[derive(Debug, Clone)]
struct Chain {
    base: Place,
    head: Place,
    rows: VecDeque<Record>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    last: u64,
    chains: BTreeMap<MeshId, Chain>,
}

impl Audit {
    pub(super) fn row(&mut self, row: &AuditRow) {
        let record = Record {
            id: 0,
            event: row.event.to_owned(),
            actor: row.actor.clone(),
            target: row.target.clone(),
            metadata: audit_metadata(row.size, row.priority, &[]),
            created_at: row.at,
        };
        self.insert(&row.mesh, record);
    }

    pub(super) fn sent(&mut self, accept: &Accept) {
        let times = [("accepted", accept.now), ("expires", accept.expires_at)];
        let target = match accept.recipients.as_slice() {
            [one] => Some(one.short()),
            _ => None,
        };
        let size = Some(accept.tail.len() as u64);
        let record = Record {
            id: 0,
            event: "message_sent".to_owned(),
            actor: Some(accept.sender.short()),
            target,
            metadata: audit_metadata(size, Some(accept.class), &times),
            created_at: accept.now,
        };
        self.insert(&accept.mesh, record);
    }

    fn insert(&mut self, mesh: &MeshId, mut record: Record) {
        self.last += 1;
        record.id = self.last;
        let chain = self.chains.entry(mesh.clone()).or_insert_with(|| Chain {
            base: Place::START,
            head: Place::START,
            rows: VecDeque::new(),
        });
        chain.head = chain.head.after(mesh, &record);
        chain.rows.push_back(record);
        if chain.rows.len() > KEPT
            && let Some(oldest) = chain.rows.pop_front()
        {
            chain.base = chain.base.after(mesh, &oldest);
        }
    }

    pub(super) fn load(&self, mesh: &MeshId, from: u64, bytes: usize) -> AuditPage {
        let Some(chain) = self.chains.get(mesh) else {
            let (base, head) = (Place::START, Place::START);
            let rows = Vec::new();
            return AuditPage { base, rows, head };
        };
        let head = chain.head;
        if bytes == 0 || from >= head.n {
            let rows = Vec::new();
            return AuditPage {
                base: head,
                rows,
                head,
            };
        }
        let skipped = usize::try_from(from.saturating_sub(chain.base.n)).unwrap_or(usize::MAX);
        let before = chain.rows.iter().take(skipped);
        let base = before.fold(chain.base, |place, row| place.after(mesh, row));
        let rest = chain.rows.iter().skip(skipped).cloned().map(Ok::<_, ()>);
        let (rows, _) = page(rest, bytes, AuditPage::weight).unwrap_or_default();
        AuditPage { base, rows, head }
    }
}
