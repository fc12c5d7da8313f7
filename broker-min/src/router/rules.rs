//! What the operator said of single meshes.

use std::sync::Arc;

use claudemesh_core::id::MeshId;
use claudemesh_core::wire::CloseCode;

use super::Router;
use super::http::refused;
use super::mesh::Slot;
use super::types::{ConnId, HttpCall, HttpReply, LinkInfo};
use crate::rules::{MeshState, Rules};
use crate::store::Caps;

/// The mesh is suspended.
const SUSPENDED: &str = "mesh_suspended";
/// The mesh was deleted.
const DELETED: &str = "mesh_deleted";

impl Router {
    /// Takes other rules; who is connected to a mesh that is not served now is turned away.
    pub(super) fn take_rules(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        let closed: Vec<(ConnId, MeshState)> = (self.meshes.iter())
            .filter_map(|(id, slot)| match slot {
                Slot::Ready(mesh) => Some((self.rules.state(id), mesh)),
                Slot::Loading(_) => None,
            })
            .filter(|(state, _)| *state != MeshState::Active)
            .flat_map(|(state, mesh)| mesh.conns.iter().map(move |conn| (*conn, state)))
            .collect();
        for (conn, state) in closed {
            if let Some((code, why)) = not_served(state) {
                self.refuse(conn, code, why, CloseCode::POLICY);
            }
        }
    }

    /// Refuses a connection if its mesh is not served.
    pub(super) fn turned_away(&mut self, conn: ConnId, mesh: &MeshId) -> bool {
        match not_served(self.rules.state(mesh)) {
            Some((code, why)) => {
                self.refuse(conn, code, why, CloseCode::POLICY);
                true
            }
            None => false,
        }
    }

    /// The answer to a call about a mesh that is not served.
    pub(super) fn refused_call(&self, mesh: &MeshId, call: &HttpCall) -> Option<HttpReply> {
        let (code, why) = not_served(self.rules.state(mesh))?;
        Some(match call {
            HttpCall::Link { .. } => HttpReply::Link(LinkInfo::Closed(code)),
            _ => refused(403, code, why),
        })
    }

    /// How much a mailbox and its mesh may hold.
    pub(super) fn caps(&self, mesh: &MeshId) -> Caps {
        let rule = self.rules.of(mesh);
        Caps {
            rows: self.limits.mailbox_rows,
            bytes: self.limits.mailbox_bytes,
            rows_per_sender: self.limits.mailbox_rows_per_sender,
            mesh_rows: rule
                .and_then(|rule| rule.quota_rows)
                .unwrap_or(self.limits.mesh_rows),
            mesh_bytes: rule
                .and_then(|rule| rule.quota_bytes)
                .unwrap_or(self.limits.mesh_bytes),
        }
    }

    /// Milliseconds that a message of this mesh may wait.
    pub(super) fn longest_wait(&self, mesh: &MeshId) -> u64 {
        let retention = self.rules.of(mesh).and_then(|rule| rule.retention_ms);
        let most = self.limits.max_expires_ms;
        retention.map_or(most, |retention| retention.min(most))
    }
}

fn not_served(state: MeshState) -> Option<(&'static str, &'static str)> {
    match state {
        MeshState::Active => None,
        MeshState::Suspended => Some((
            SUSPENDED,
            "this mesh is suspended by the broker's operator; ask them why, and wait",
        )),
        MeshState::Deleted => Some((
            DELETED,
            "this mesh was deleted by the broker's operator; ask them, or leave it",
        )),
    }
}
