//! What the store in memory answers.

use claudemesh_core::id::{Priority, PublicKey};

use super::State;
use crate::store::{PageRow, Query, Rows, SendOutcome};

impl State {
    pub(super) fn load(&self, query: &Query) -> Rows {
        match query {
            Query::Mesh(id) => Rows::Mesh(self.meshes.get(id).cloned().map(|mesh| {
                let channels = self.channels_of(id);
                Box::new((mesh.row, mesh.members, mesh.invites, mesh.log, channels))
            })),
            Query::Page {
                mesh,
                address,
                class,
                after,
                limit,
                now,
            } => {
                let mailbox = self.mailboxes.get(&(mesh.clone(), *address));
                let rows = mailbox.into_iter().flat_map(|it| &it.rows);
                Rows::Page(
                    rows.filter(|((of, seq), row)| {
                        of == class && seq > after && row.expires_at > *now
                    })
                    .filter_map(|((_, seq), row)| {
                        Some(PageRow {
                            seq: *seq,
                            sender: row.sender,
                            tail: self.messages.get(seq)?.tail.clone(),
                            expires_at: row.expires_at,
                        })
                    })
                    .take(*limit as usize)
                    .collect(),
                )
            }
            Query::Counts { mesh, address } => {
                let mailbox = self.mailboxes.get(&(mesh.clone(), *address));
                Rows::Counts(Priority::ALL.map(|class| {
                    let rows = mailbox.into_iter().flat_map(|it| it.rows.keys());
                    rows.filter(|(of, _)| *of == class).count() as u64
                }))
            }
            Query::Outcomes { sender, seqs } => {
                Rows::Outcomes(seqs.iter().map(|seq| self.outcome(sender, *seq)).collect())
            }
            Query::Channel(query) => self.channel_rows(query),
            Query::Value(query) => Rows::Value(self.load_value(query)),
            Query::Audit { mesh, from, bytes } => Rows::Audit(self.audit.load(mesh, *from, *bytes)),
            Query::Info => Rows::Info(self.info.clone()),
            Query::Totals => {
                let queued: usize = self.mailboxes.values().map(|it| it.rows.len()).sum();
                let members = self.meshes.values().flat_map(|it| &it.members);
                let members = members.filter(|it| it.removed_at == 0).count();
                Rows::Totals([queued, self.meshes.len(), members].map(|count| count as u64))
            }
        }
    }

    fn outcome(&self, sender: &PublicKey, seq: u64) -> SendOutcome {
        if seq == 0 || seq > self.info.head {
            return SendOutcome::Unknown;
        }
        if let Some(message) = self.messages.get(&seq) {
            return if message.sender == *sender {
                SendOutcome::Queued
            } else {
                SendOutcome::Unknown
            };
        }
        let all = self.notices.range((seq, PublicKey([0; 32]))..);
        let of_seq = all.take_while(|((of, _), _)| *of == seq).map(|(_, it)| it);
        match of_seq.min_by_key(|it| (it.at, &it.reason)) {
            None => SendOutcome::Delivered,
            Some(it) if it.sender == *sender => match self.fanouts.get(&seq) {
                None => SendOutcome::Failed(it.reason.clone()),
                Some(fanout) => SendOutcome::FailedOf {
                    reason: it.reason.clone(),
                    failed: fanout.failed,
                    of: fanout.of,
                },
            },
            Some(_) => SendOutcome::Unknown,
        }
    }
}
