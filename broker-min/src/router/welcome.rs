//! The answer to a hello, before anything is pushed.

use std::sync::Arc;

use claudemesh_core::wire::{
    BrokerInfo, CAP_CHANNELS, CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, CAP_STATEMENTS, CAP_VALUES,
    HelloAck, LogHead, Waiting,
};
use serde_json::{Map, Value, json};

use super::Router;
use super::legacy::people::Remembered;
use super::types::ConnId;

impl Router {
    /// Takes what waits in a mailbox; when all of them are counted the connection is welcomed.
    pub(super) fn counted(&mut self, id: ConnId, drain: usize, counts: Option<[u64; 3]>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let (Some(counts), Some(drain)) = (counts, conn.drains.get_mut(drain)) {
            for (cursor, count) in drain.classes.iter_mut().zip(counts) {
                // What came while it was counted may or may not be in it.
                cursor.behind = count > 0 || cursor.overtaken;
                cursor.overtaken = false;
            }
            for (sum, count) in conn.waiting_rows.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.one_counted(id);
    }

    /// One of the things that `hello_ack` waits for is there.
    pub(super) fn one_counted(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.counts_left = conn.counts_left.saturating_sub(1);
        if conn.counts_left > 0 {
            return;
        }
        let (mesh, key) = (Arc::clone(&conn.mesh), conn.presence);
        let presence = self.mesh(&mesh).zip(key);
        let presence = presence.and_then(|(mesh, key)| mesh.presences.get(&key));
        let presence_id = presence.map(|presence| presence.id.clone());
        let presence_id = presence_id.unwrap_or_else(|| self.fresh_id());
        self.welcome(id, &presence_id, None);
        self.fill(id);
    }

    pub(super) fn welcome(
        &mut self,
        id: ConnId,
        presence_id: &str,
        remembered: Option<Remembered>,
    ) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Some(mesh) = self.mesh(&conn.mesh) else {
            return;
        };
        let member = mesh.member(&conn.member);
        let mut ack = HelloAck {
            presence_id: presence_id.to_owned(),
            member_display_name: member
                .map(|row| row.name.as_str().to_owned())
                .unwrap_or_default(),
            member_profile: Some(mesh.profile_json(&conn.member)),
            mesh_policy: Some(json!({"selfEditable": mesh.self_editable()})),
            services: (!conn.session_form).then(|| json!([])),
            ..HelloAck::default()
        };
        if let Some(remembered) = remembered {
            remembered.tell(&mut ack);
        }
        if conn.modern {
            let [now, next, low] = conn.waiting_rows;
            let (head, has_log) = (mesh.head(), mesh.log.has_entries());
            // A mesh from the existing system has no log, nor what stands on one.
            let mut capabilities = vec![
                CAP_DELIVERY,
                CAP_ENVELOPE,
                CAP_LOG,
                CAP_CHANNELS,
                CAP_STATEMENTS,
                CAP_VALUES,
            ];
            capabilities.retain(|it| has_log || ![CAP_LOG, CAP_CHANNELS, CAP_VALUES].contains(it));
            ack.capabilities = Some(capabilities.into_iter().map(str::to_owned).collect());
            ack.broker = Some(BrokerInfo {
                id: self.broker_id.clone(),
                store: self.store.clone(),
                head: self.head,
            });
            ack.waiting = Some(Waiting { now, next, low });
            ack.log_head = has_log.then(|| LogHead::new(head.seq, &head.hash));
            ack.audit_head = conn.audit.map(|place| self.audit_head(&conn.mesh, place));
            ack.limits = Some(self.limits_told());
            ack.lease_ms = Some(self.limits.lease_ms);
        }
        self.reply(id, ack);
        self.ask_pending(id);
    }

    fn limits_told(&self) -> Map<String, Value> {
        let limits = &self.limits;
        let size = |number: usize| number as u64;
        [
            ("window", size(limits.window)),
            ("unanswered_sends", size(limits.unanswered_sends)),
            ("frame_bytes", size(limits.frame_bytes)),
            ("deliveries_per_s", limits.deliveries_per_s.into()),
            ("delivery_burst", limits.delivery_burst.into()),
            ("mailbox_rows", limits.mailbox_rows),
            ("mailbox_bytes", limits.mailbox_bytes),
            ("mailbox_rows_per_sender", limits.mailbox_rows_per_sender),
            ("expires_ms", limits.expires_ms),
            ("max_expires_ms", limits.max_expires_ms),
            ("ack_ms", limits.ack_ms),
            ("state_keys", limits.state_keys),
            ("memories", limits.memories),
            ("value_bytes", size(limits.value_bytes)),
            ("schedules_per_member", limits.schedules_per_member),
            ("schedule_ahead_ms", limits.schedule_ahead_ms),
            ("log_entries_per_hour", limits.log_entries_per_hour.into()),
            (
                "channel_entries_per_hour",
                limits.channel_entries_per_hour.into(),
            ),
            ("epochs_per_hour", limits.epochs_per_hour.into()),
            ("audience", size(limits.audience)),
        ]
        .into_iter()
        .map(|(name, number)| (name.to_owned(), number.into()))
        .collect()
    }
}
