//! The audit chain: its signed head in `hello_ack`, and its rows for who may see them.

use claudemesh_core::audit::{Head, Place};
use claudemesh_core::id::MeshId;
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{AuditGet, AuditHead, AuditPlace, AuditRows, errors::code};

use super::Router;
use super::load::Asked;
use super::types::ConnId;
use super::values::PAGE_BYTES;
use crate::store::{Query, Rows, StoreError};

impl Router {
    /// A place under this broker's signature.
    pub(super) fn audit_head(&self, mesh: &MeshId, place: Place) -> AuditHead {
        AuditHead::new(&Head::sign(mesh, place, self.now.wall, &self.audit_key))
    }

    pub(super) fn audit_get(&mut self, id: ConnId, ask: AuditGet) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !matches!(who.role, Role::Owner | Role::Admin) {
            let why = "only the owner and admins see the audit table";
            self.error(id, code::FORBIDDEN, why, ask.req_id);
            return;
        }
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let query = Query::Audit {
            mesh: MeshId::clone(&who.mesh),
            from: ask.from,
            bytes: PAGE_BYTES,
        };
        let req_id = ask.req_id;
        self.load(query, Asked::Audit { conn: id, req_id });
    }

    pub(super) fn audit_loaded(
        &mut self,
        id: ConnId,
        req_id: Option<String>,
        result: Result<Rows, StoreError>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.asking = conn.asking.saturating_sub(1);
        let mesh = conn.mesh.clone();
        let Ok(Rows::Audit(page)) = result else {
            self.unreadable(id, req_id);
            return;
        };
        let rows = AuditRows {
            rows: page.rows.into_iter().map(Into::into).collect(),
            base: AuditPlace::new(&page.base),
            head: self.audit_head(&mesh, page.head),
            req_id,
        };
        self.reply(id, rows);
    }
}
