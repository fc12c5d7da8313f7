//! Schedules in the open, of existing clients: the broker itself makes messages of them.

use std::sync::Arc;

use claudemesh_core::cron::Cron;
use claudemesh_core::encoding::base64;
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::wire::{Schedule, Send, errors::code};

use super::{INVALID_CRON, TO_BYTES};
use crate::router::Router;
use crate::router::text::shown;
use crate::router::values;
use crate::store::ScheduleRow;

/// Bytes of a text in the open.
const OPEN_BYTES: usize = 16_384;

impl Router {
    /// The row of a schedule in the open, which the broker itself makes a message of.
    pub(super) fn open_row(
        &mut self,
        who: &values::Who,
        message: &str,
        it: &Schedule,
    ) -> Result<ScheduleRow, (&'static str, String)> {
        let now = self.now.wall;
        let invalid = |why: &str| (code::INVALID, why.to_owned());
        if who.envelope {
            let why = "a peer that lists envelope/1 seals what is sent later; give `send` or \
                       `sealed`";
            return Err((code::UNSUPPORTED, why.to_owned()));
        }
        if it.to.is_empty() || it.to.len() > TO_BYTES || message.len() > OPEN_BYTES {
            return Err(invalid(
                "a schedule has a target, and 16,384 bytes of text at most",
            ));
        }
        let key = PublicKey::from_hex(&it.to).ok();
        let closed = key.is_some_and(|key| {
            let mesh = self.mesh(&who.mesh);
            mesh.is_some_and(|mesh| !mesh.reads_open(&mesh.owner_of(&key)))
        });
        if closed {
            let why = "this member takes only what is sealed, and the broker cannot seal";
            return Err((code::UNSUPPORTED, why.to_owned()));
        }
        let due = match &it.cron {
            Some(cron) => {
                let parsed: Option<Cron> = cron.parse().ok();
                let why = || {
                    (
                        INVALID_CRON,
                        format!("Invalid cron expression: {}", shown(cron, 64)),
                    )
                };
                parsed.and_then(|cron| cron.next(now)).ok_or_else(why)?
            }
            None => it
                .deliver_at
                .ok_or_else(|| invalid("deliverAt is missing"))?,
        };
        if due > now.saturating_add(self.limits.schedule_ahead_ms) {
            let days = self.limits.schedule_ahead_ms / 86_400_000;
            return Err(invalid(&format!("a schedule is at most {days} days ahead")));
        }
        let random: [u8; 16] = self.rng.bytes();
        let hex = claudemesh_core::encoding::hex(&random);
        let part = |range| hex.get(range).unwrap_or_default();
        let id = format!(
            "{}-{}-4{}-8{}-{}",
            part(0..8),
            part(8..12),
            part(13..16),
            part(17..20),
            part(20..32)
        );
        let send = Send {
            target_spec: it.to.clone(),
            priority: Some("now".to_owned()),
            ciphertext: base64(message.as_bytes()),
            client_message_id: Some(id.clone()),
            subtype: it.subtype.clone(),
            ..Send::default()
        };
        let body = serde_json::to_string(&send).map_err(|_| invalid("the text is unreadable"))?;
        Ok(ScheduleRow {
            mesh: MeshId::clone(&who.mesh),
            id,
            member: who.member,
            to: it.to.clone(),
            due: Some(due),
            created_at: now,
            cron: it.cron.clone(),
            body,
            fired: 0,
            pending: None,
            failed: None,
        })
    }

    /// Sends what a schedule in the open repeats; says for how long to wait if it is too early.
    pub(super) fn fire_again(&mut self, row: &ScheduleRow, due: u64) -> Result<(), u64> {
        let mut send: Send = serde_json::from_str(&row.body).unwrap_or_default();
        send.client_message_id = Some(format!("{}.{}", row.id, due / 60_000));
        let shared = Arc::new(row.mesh.clone());
        self.send_again(&shared, row.member, &row.id, &send)
    }
}
