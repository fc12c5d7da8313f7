//! What follows when a commit came back.

use std::collections::BTreeSet;
use std::sync::Arc;

use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{CloseCode, Receipt, ReceiptState, errors::code};

use super::Router;
use super::load::FAIL_STEP;
use super::multicast::ending;
use super::push::Offer;
use super::types::{ConnId, HttpReply};
use super::writer::{Then, ThenChannel};
use crate::store::{Delivery, Expired, Outcome, StoreError};

impl Router {
    pub(super) fn committed(&mut self, batch: u64, result: Result<Vec<Outcome>, StoreError>) {
        let Some(thens) = self.writer.back(batch) else {
            return;
        };
        let mut touched = BTreeSet::new();
        match result {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (count, then) in thens {
                    let own: Vec<_> = outcomes.by_ref().take(count).collect();
                    self.follow(then, own, &mut touched);
                }
            }
            Err(error) => {
                for (_, then) in thens {
                    self.failed(then, &error, &mut touched);
                }
            }
        }
        for conn in touched {
            self.flush_acks(conn);
        }
    }

    fn follow(&mut self, then: Then, outcomes: Vec<Outcome>, touched: &mut BTreeSet<ConnId>) {
        let mut outcomes = outcomes.into_iter();
        let Some(first) = outcomes.next() else {
            return;
        };
        match then {
            Then::Nothing => {}
            Then::Value(wrote) => self.wrote(*wrote, Some(first)),
            Then::Sent(mut sent) => {
                self.fired(&sent, Some(&first));
                if let Outcome::Accepted { seq, full } = &first {
                    self.head = self.head.max(*seq);
                    if let Some(target) = sent.open_target.take()
                        && let Some(mesh) = self.mesh_mut(&sent.mesh)
                    {
                        mesh.sent_open(*seq, sent.sender, target);
                    }
                    let tail = sent.tail.take();
                    let message_id = self.ids.mint(*seq, &sent.sender);
                    let offer = Offer {
                        mesh: &sent.mesh,
                        class: sent.class,
                        seq: *seq,
                        sender: sent.sender,
                        expires_at: sent.expires_at,
                        message_id: &message_id,
                        tail: tail.as_deref(),
                        client_id: sent.client_id.as_ref(),
                        needs: sent.needs,
                    };
                    // Places ascend in both.
                    let mut full = full.iter().copied().peekable();
                    let all = sent.recipients.iter().enumerate();
                    let taken = all.filter(|(place, _)| full.next_if_eq(place).is_none());
                    self.offer(&offer, taken.map(|(_, address)| address));
                }
                self.answer_sent(&sent, Ok(&first));
                match first {
                    Outcome::Accepted { seq, .. }
                        if sent.channel.is_some() && sent.recipients.is_empty() =>
                    {
                        self.flush_acks(sent.conn);
                        self.told_nobody(&sent, seq);
                    }
                    _ => {
                        touched.insert(sent.conn);
                    }
                }
            }
            Then::Settled {
                delivery,
                client_id,
            } => {
                if let Outcome::Settled { sender, left, many } = first {
                    self.no_longer_waits(&delivery);
                    let message_id = self.ids.mint(delivery.seq, &sender);
                    let client_id = client_id.as_deref().map(str::to_owned);
                    if let Some(many) = many.filter(|_| left == 0) {
                        let receipt = ending(message_id, client_id, &many);
                        self.tell_sender(&delivery.mesh, &sender, &receipt);
                    } else if left == 0 {
                        let receipt = Receipt {
                            message_id,
                            client_message_id: client_id,
                            state: ReceiptState::Delivered,
                            reason: None,
                            delivered: None,
                            failed: None,
                            of: None,
                        };
                        self.tell_sender(&delivery.mesh, &sender, &receipt);
                    }
                }
            }
            Then::Expired => {
                self.expiring = false;
                if let Outcome::Expired(rows) = first {
                    self.tell_failed(rows);
                }
            }
            Then::Failed { mesh, address } => {
                if let Outcome::Expired(rows) = first {
                    let more = rows.len() >= usize::try_from(FAIL_STEP).unwrap_or(usize::MAX);
                    self.tell_failed(rows);
                    if more {
                        self.fail_mailbox(&mesh, address);
                    }
                }
            }
            Then::Appended(mesh) => self.appended(&mesh, &first),
            Then::Channel(then) => match *then {
                ThenChannel::Appended { mesh, channel } => {
                    self.channel_appended(&mesh, &channel, &first);
                }
                ThenChannel::Published(publishing) => self.key_published(publishing, &first),
            },
            Then::Created {
                request,
                entry,
                member,
            } => self.created(request, *entry, member, &first),
            Then::Put {
                request,
                row,
                token,
            } => self.member_put(request, *row, &token, matches!(first, Outcome::Done)),
        }
    }

    /// What follows when nothing of a batch is kept, or when nobody knows.
    fn failed(&mut self, then: Then, error: &StoreError, touched: &mut BTreeSet<ConnId>) {
        let unknown = matches!(error, StoreError::Unknown { .. });
        match then {
            Then::Nothing => {}
            Then::Value(wrote) => self.wrote(*wrote, None),
            Then::Sent(sent) if sent.schedule.is_some() => self.fired(&sent, None),
            Then::Sent(sent) if unknown => {
                // No ack: its retry decides. If it was kept after all, it waits in its mailboxes.
                for address in &sent.recipients {
                    self.look_again(&sent.mesh, address, sent.class);
                }
                self.close(sent.conn, CloseCode::OVERLOAD, "store_unknown");
            }
            Then::Sent(sent) => {
                self.answer_sent(&sent, Err(error));
                touched.insert(sent.conn);
            }
            Then::Settled {
                delivery,
                client_id,
            } => {
                if unknown {
                    self.start_over(&delivery.mesh);
                }
                let again = delivery.clone();
                self.try_again(
                    again,
                    Then::Settled {
                        delivery,
                        client_id,
                    },
                );
            }
            Then::Expired => self.expiring = false,
            Then::Failed { .. } => {}
            Then::Appended(mesh) => self.append_failed(&mesh, unknown),
            Then::Channel(then) => match *then {
                ThenChannel::Appended { mesh, .. } if unknown => self.forget_mesh(&mesh),
                ThenChannel::Appended { mesh, channel } => {
                    self.channel_append_failed(&mesh, &channel);
                }
                ThenChannel::Published(publishing) => self.key_failed(publishing, unknown),
            },
            Then::Created { request, .. } => self.respond(request, store_unavailable()),
            Then::Put {
                request,
                row,
                token,
            } => {
                if unknown {
                    // Whether the use was counted is not known: ask the store again.
                    self.forget_mesh(&Arc::new(row.mesh.clone()));
                } else if let Some(mesh) = self.mesh_mut(&row.mesh) {
                    mesh.joining.remove(&row.key);
                    if let Some(invite) = mesh.invites.get_mut(&token) {
                        invite.legacy_uses = invite.legacy_uses.saturating_sub(1);
                    }
                }
                self.respond(request, store_unavailable());
            }
        }
    }

    /// Tells senders that are connected what failed.
    fn tell_failed(&mut self, rows: Vec<Expired>) {
        for row in rows {
            self.no_longer_waits(&row.delivery);
            if let Some(many) = row.many {
                // One word for all recipients, when none waits any more.
                if many.left == 0 {
                    let message_id = self.ids.mint(row.delivery.seq, &row.sender);
                    let receipt = ending(message_id, None, &many);
                    self.tell_sender(&row.delivery.mesh, &row.sender, &receipt);
                }
                continue;
            }
            let receipt = Receipt {
                message_id: self.ids.mint(row.delivery.seq, &row.sender),
                client_message_id: None,
                state: ReceiptState::Failed,
                reason: Some(row.reason),
                delivered: None,
                failed: None,
                of: None,
            };
            self.tell_sender(&row.delivery.mesh, &row.sender, &receipt);
        }
    }

    /// Takes a delivery that is gone out of the windows in which it still stands.
    fn no_longer_waits(&mut self, delivery: &Delivery) {
        let Some(mesh) = self.mesh(&delivery.mesh) else {
            return;
        };
        let Some(ids) = mesh.drains.get(&delivery.address).cloned() else {
            return;
        };
        for id in ids {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            let drain = conn
                .drains
                .iter()
                .position(|drain| drain.address == delivery.address)
                .and_then(|drain| u8::try_from(drain).ok());
            let gone = drain.and_then(|drain| conn.window.remove(&(delivery.seq, drain)));
            if gone.is_some() {
                self.fill(id);
            }
        }
    }

    pub(super) fn tell_sender(
        &mut self,
        mesh: &MeshId,
        sender: &claudemesh_core::id::PublicKey,
        receipt: &Receipt,
    ) {
        let Some(mesh) = self.mesh(mesh) else { return };
        let ids = mesh.conns_of.get(sender).into_iter().flatten().copied();
        let modern = |id: &ConnId| self.conns.get(id).is_some_and(|conn| conn.modern);
        let ids: Vec<_> = ids.filter(modern).collect();
        for id in ids {
            self.reply(id, receipt.clone());
        }
    }

    /// Closes all connections of a mesh. A settling that was kept after all finds nothing when it is
    /// tried again, so its sender is not told; who comes back asks what became of its messages.
    fn start_over(&mut self, mesh: &MeshId) {
        let conns: Vec<_> = (self.mesh(mesh).into_iter())
            .flat_map(|mesh| mesh.conns.iter().copied())
            .collect();
        for conn in conns {
            self.close(conn, CloseCode::OVERLOAD, "store_unknown");
        }
    }
}

/// Drops nothing, keeps nothing: the store did not take it.
pub(super) fn store_unavailable() -> HttpReply {
    HttpReply::Error {
        status: 503,
        code: code::STORE_UNAVAILABLE,
        message: "the broker could not write to its store; try again".to_owned(),
        retry_after_ms: Some(1_000),
    }
}
