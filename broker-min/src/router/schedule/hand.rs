//! What comes again goes to a session of its author, which seals and sends it.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::wire::{Receipt, ReceiptState, ScheduleDue, Send};

use super::{Ask, Key};
use crate::router::Router;
use crate::router::conn::Conn;
use crate::router::send::is_open;
use crate::router::types::ConnId;
use crate::router::values;
use crate::store::{ScheduleRow, ValueQuery};

impl Router {
    /// Asks for what waits for the author on a connection.
    pub(in crate::router) fn ask_pending(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.values) else {
            return;
        };
        let query = ValueQuery::Pending {
            mesh: MeshId::clone(&conn.mesh),
            member: conn.member,
        };
        self.ask_value(query, values::Ask::Schedule(Ask::Pending(id)));
    }

    pub(super) fn hand(&mut self, id: ConnId, rows: Vec<ScheduleRow>) {
        for row in rows {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            if row.failed.is_some() {
                let send: Send = serde_json::from_str(&row.body).unwrap_or_default();
                let code = row.failed.as_deref().unwrap_or_default();
                self.reply(id, failure(send.client_message_id, code));
                continue;
            }
            let Some(due) = row.pending.filter(|_| !is_open(&row.id)) else {
                continue;
            };
            let key = (row.mesh, row.id);
            if self.schedules.handed.contains_key(&key) {
                continue;
            }
            conn.handed.push(key.1.clone());
            let frame = ScheduleDue {
                scheduled_id: key.1.clone(),
                to: row.to,
                due,
                sealed: row.body,
            };
            self.schedules.handed.insert(key, (id, due));
            self.reply(id, frame);
        }
    }

    /// Forgets to whom something was handed; gives the connection.
    pub(super) fn unhand(&mut self, key: &Key) -> Option<ConnId> {
        let (id, _) = self.schedules.handed.remove(key)?;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.handed.retain(|handed| *handed != key.1);
        }
        Some(id)
    }

    /// What a connection that is gone had not taken goes to another one of its member.
    pub(in crate::router) fn hand_on(&mut self, mesh: &Arc<MeshId>, conn: &Conn) {
        if conn.handed.is_empty() {
            return;
        }
        for id in &conn.handed {
            let key = (MeshId::clone(mesh), id.clone());
            self.schedules.handed.remove(&key);
        }
        self.hand_to_another(mesh, &conn.member, None);
    }

    /// Hands what waits to a session of a member, rather not to the one that did not take it.
    pub(super) fn hand_to_another(
        &mut self,
        mesh: &MeshId,
        member: &PublicKey,
        before: Option<ConnId>,
    ) {
        let Some(mesh) = self.mesh(mesh) else { return };
        let conns = mesh.conns_of.get(member).into_iter().flatten();
        let ready = |id: &&ConnId| {
            let conn = self.conns.get(*id);
            conn.is_some_and(|conn| conn.values && conn.counts_left == 0)
        };
        let chosen = conns.filter(ready).max_by_key(|id| Some(**id) != before);
        if let Some(id) = chosen.copied() {
            self.ask_pending(id);
        }
    }
}

/// Tells an author that a one-shot failed.
pub(super) fn failure(client_message_id: Option<String>, code: &str) -> Receipt {
    Receipt {
        // It never was a message of the broker's.
        message_id: String::new(),
        client_message_id,
        state: ReceiptState::Failed,
        reason: Some(code.to_owned()),
        delivered: None,
        failed: None,
        of: None,
    }
}
