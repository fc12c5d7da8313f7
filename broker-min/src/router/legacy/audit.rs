//! The audit table as existing clients ask for it.

use claudemesh_core::audit::{Place, Record};
use claudemesh_core::id::{Hash, MeshId};
use claudemesh_core::wire::{
    AuditEntry, AuditQuery, AuditResult, AuditVerify, AuditVerifyResult, errors::code,
};
use serde_json::{Value, json};

use crate::router::Router;
use crate::router::load::Asked;
use crate::router::mesh::Mesh;
use crate::router::text::iso;
use crate::router::types::ConnId;
use crate::router::values::PAGE_BYTES;
use crate::store::{AuditPage, Query, Rows, StoreError};

/// Rows of one answer at most.
const MOST: u64 = 200;
/// Rows among which those of one kind are looked for.
const LOOKED_AT: u64 = 2_000;

/// What is asked of the audit table, step by step.
#[derive(Debug)]
pub(in crate::router) enum Step {
    /// Where does it end?
    Head(AuditQuery),
    /// The rows themselves, and how many there are in all.
    Rows(AuditQuery, u64),
    /// The next rows to be checked, which follow this place.
    Verify {
        after: Option<Place>,
        checked: u64,
        req_id: Option<String>,
    },
}

impl Step {
    fn req_id(&self) -> Option<String> {
        match self {
            Self::Head(ask) | Self::Rows(ask, _) => ask.req_id.clone(),
            Self::Verify { req_id, .. } => req_id.clone(),
        }
    }
}

impl Router {
    fn may_audit(&mut self, id: ConnId, req_id: Option<&String>) -> bool {
        let Some(who) = self.asker(id, req_id) else {
            return false;
        };
        if !who.moderates() {
            let why = "only the owner and admins see the audit table";
            self.error(id, code::FORBIDDEN, why, req_id.cloned());
            return false;
        }
        self.may_wait(id, req_id)
    }

    pub(super) fn audit_query(&mut self, id: ConnId, ask: AuditQuery) {
        if self.may_audit(id, ask.req_id.as_ref()) {
            self.ask_audit(id, u64::MAX, 0, Step::Head(ask));
        }
    }

    pub(super) fn audit_verify(&mut self, id: ConnId, ask: AuditVerify) {
        if self.may_audit(id, ask.req_id.as_ref()) {
            let step = Step::Verify {
                after: None,
                checked: 0,
                req_id: ask.req_id,
            };
            self.ask_audit(id, 0, PAGE_BYTES, step);
        }
    }

    fn ask_audit(&mut self, id: ConnId, from: u64, bytes: usize, step: Step) {
        let Some(shared) = self.mesh_of(id) else {
            return;
        };
        let mesh = MeshId::clone(&shared);
        self.load(
            Query::Audit { mesh, from, bytes },
            Asked::OpenAudit { conn: id, step },
        );
    }

    pub(in crate::router) fn open_audit_loaded(
        &mut self,
        id: ConnId,
        step: Step,
        result: Result<Rows, StoreError>,
    ) {
        let Some(shared) = self.mesh_of(id) else {
            return;
        };
        let Ok(Rows::Audit(page)) = result else {
            if self.end_asking(id) {
                self.unreadable(id, step.req_id());
            }
            return;
        };
        match step {
            Step::Head(ask) => {
                let end = page.head.n.saturating_sub(ask.offset.unwrap_or(0));
                let wanted = match &ask.event_type {
                    None => ask.limit.unwrap_or(50).min(MOST),
                    Some(_) => LOOKED_AT,
                };
                let from = end.saturating_sub(wanted);
                let bytes = PAGE_BYTES * 4;
                self.ask_audit(id, from, bytes, Step::Rows(ask, page.head.n));
            }
            Step::Rows(ask, total) => {
                if !self.end_asking(id) {
                    return;
                }
                if let Some(mesh) = self.mesh(&shared) {
                    let result = entries(mesh, &page, &ask, total);
                    self.reply(id, result);
                }
            }
            Step::Verify {
                after,
                checked,
                req_id,
            } => self.verify_step(id, &shared, &page, (after, checked), req_id),
        }
    }

    fn verify_step(
        &mut self,
        id: ConnId,
        mesh: &MeshId,
        page: &AuditPage,
        (after, checked): (Option<Place>, u64),
        req_id: Option<String>,
    ) {
        let mut place = page.base;
        let mut broken = after
            .is_some_and(|after| after != place)
            .then_some(place.n + 1);
        let mut before: Option<u64> = None;
        for row in &page.rows {
            if before.is_some_and(|before| row.id <= before) {
                broken = broken.or(Some(row.id));
            }
            before = Some(row.id);
            place = place.after(mesh, row);
        }
        let checked = checked + page.rows.len() as u64;
        let at_end = page.rows.is_empty() || place.n >= page.head.n;
        if broken.is_none() && !at_end {
            let step = Step::Verify {
                after: Some(place),
                checked,
                req_id,
            };
            return self.ask_audit(id, place.n, PAGE_BYTES, step);
        }
        if place.n == page.head.n && place.hash != page.head.hash {
            broken = broken.or(Some(place.n));
        }
        if self.end_asking(id) {
            let result = AuditVerifyResult {
                valid: broken.is_none(),
                entries: checked,
                broken_at: broken,
                req_id,
            };
            self.reply(id, result);
        }
    }
}

fn entries(mesh: &Mesh, page: &AuditPage, ask: &AuditQuery, total: u64) -> AuditResult {
    let end = total.saturating_sub(ask.offset.unwrap_or(0));
    let (mut place, mut found) = (page.base, Vec::new());
    for row in &page.rows {
        place = place.after(&mesh.row.id, row);
        let wanted = ask
            .event_type
            .as_ref()
            .is_none_or(|kind| *kind == row.event);
        if place.n <= end && wanted {
            found.push(entry(mesh, row, place.n, &place.hash));
        }
    }
    let total = match ask.event_type {
        None => total,
        Some(_) => found.len() as u64,
    };
    found.reverse();
    let limit = ask.limit.unwrap_or(50).min(MOST);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    AuditResult {
        entries: found,
        total,
        req_id: ask.req_id.clone(),
    }
}

fn entry(mesh: &Mesh, row: &Record, n: u64, hash: &Hash) -> AuditEntry {
    let name = |short: &String| {
        let found = mesh.members.values().find(|it| it.key.short() == *short);
        found.map_or_else(|| short.clone(), |it| it.name.as_str().to_owned())
    };
    let mut payload: Value = serde_json::from_str(&row.metadata).unwrap_or_else(|_| json!({}));
    if let (Some(target), Some(payload)) = (&row.target, payload.as_object_mut()) {
        payload.insert("target".to_owned(), name(target).into());
    }
    AuditEntry {
        id: n,
        event_type: row.event.clone(),
        actor: row.actor.as_ref().map_or_else(|| "system".to_owned(), name),
        payload,
        hash: hash.to_hex(),
        created_at: iso(row.created_at),
    }
}
