//! Channels' keys: made by their members, one after the other, and handed out with the copies.

use std::sync::Arc;

use claudemesh_core::channel::{COPY_LEN, SignedKeyStatement};
use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{ChannelName, KeyId, MeshId};
use claudemesh_core::wire::{
    BrokerFrame, KeyPublished, KeyRecord, Keys, KeysGet, NewKey, PublishKey, SignedBlob,
    errors::code,
};

use super::Router;
use super::channel_log::take_turn;
use super::channels::NOT_IN;
use super::entry::{No, no};
use super::key_check::{KEY_CONFLICT, check, copies_of, wanted};
use super::load::Asked;
use super::types::{ConnId, Kind, Out};
use super::writer::{Then, ThenChannel};
use crate::store::{ChannelOp, ChannelQuery, KeyCopy, KeyRow, Op, Outcome, Query};

/// A key that is being committed.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) conn: ConnId,
    pub(super) req_id: Option<String>,
    pub(super) mesh: Arc<MeshId>,
    pub(super) channel: ChannelName,
    pub(super) signed: SignedKeyStatement,
    pub(super) copies: Arc<[KeyCopy]>,
}

impl Router {
    pub(super) fn publish_key(&mut self, id: ConnId, ask: PublishKey) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some((shared, member)) = self.who(id) else {
            return;
        };
        let staged = self.unstage(id);
        let (now, per_hour) = (self.now, self.limits.epochs_per_hour);
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        let good = match check(mesh, &member, &ask) {
            Ok(good) => good,
            Err(no) => return self.refuse_ask(id, no, ask.req_id),
        };
        let channel = good.statement.channel.clone();
        if good.known {
            let key_id = good.signed.key_id().to_hex();
            return self.key_told(id, &channel, key_id, ask.req_id);
        }
        let copies = match copies_of(staged, &good) {
            Ok(copies) => copies,
            Err(no) => return self.refuse_ask(id, no, ask.req_id),
        };
        if good.unchanged
            && let Ok((held, _)) = mesh.channel(&channel)
            && let Err(wait) = take_turn(&mut held.epoch_buckets, member, now.mono, per_hour)
        {
            let what = (per_hour, "keys for the same readers of one channel");
            return self.refuse_rate(id, what, wait, ask.req_id);
        }
        let op = Op::Channel(ChannelOp::PutKey {
            mesh: MeshId::clone(&shared),
            channel: channel.clone(),
            after: good.after,
            statement: good.signed.clone(),
            epoch: good.statement.epoch,
            copies: Arc::clone(&copies),
            now: now.wall,
        });
        let then = ThenChannel::Published(Publishing {
            conn: id,
            req_id: ask.req_id,
            mesh: shared,
            channel,
            signed: good.signed,
            copies,
        });
        self.writer.push(vec![op], Then::Channel(Box::new(then)));
    }

    fn key_told(
        &mut self,
        id: ConnId,
        channel: &ChannelName,
        key_id: String,
        req_id: Option<String>,
    ) {
        if self.conns.contains_key(&id) {
            let told = KeyPublished {
                channel: channel.as_str().to_owned(),
                key_id,
                req_id,
            };
            self.reply(id, told);
        }
    }

    /// A key is in the store, or another one was faster.
    pub(super) fn key_published(&mut self, publishing: Publishing, outcome: &Outcome) {
        let Publishing {
            conn: by,
            req_id,
            mesh: shared,
            channel,
            signed,
            copies,
        } = publishing;
        if !matches!(outcome, Outcome::Done) {
            if self.conns.contains_key(&by) {
                self.refuse_ask(by, no(409, code::KEY_CONFLICT, KEY_CONFLICT), req_id);
            }
            return;
        }
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        if !mesh.key_made(&channel, &signed) {
            self.forget_mesh(&shared);
            return;
        }
        let mut told = Vec::new();
        for (member, copy) in copies.iter() {
            let Some(mesh) = self.mesh(&shared) else {
                return;
            };
            let ids = mesh.conns_of.get(member).into_iter().flatten().copied();
            let ids: Vec<ConnId> = ids
                .filter(|id| *id != by)
                .filter(|id| self.conns.get(id).is_some_and(|conn| conn.channels))
                .collect();
            if !ids.is_empty() {
                told.push((ids, *copy));
            }
        }
        for (conns, copy) in told {
            let key = NewKey {
                channel: channel.as_str().to_owned(),
                key: record(&signed, Some(&copy)),
            };
            self.outs.push_back(Out::Write {
                conns,
                text: BrokerFrame::from(key).encode().into(),
                kind: Kind::Reply,
            });
        }
        self.key_told(by, &channel, signed.key_id().to_hex(), req_id);
    }

    /// A key was not committed.
    pub(super) fn key_failed(&mut self, publishing: Publishing, unknown: bool) {
        let (id, req_id) = (publishing.conn, publishing.req_id);
        if unknown {
            // Which key is the current one is not known: ask the store again.
            self.forget_mesh(&publishing.mesh);
        } else if self.conns.contains_key(&id) {
            let why = "the broker could not write to its store; try again";
            self.refuse_ask(id, no(503, code::STORE_UNAVAILABLE, why), req_id);
        }
    }

    pub(super) fn keys_get(&mut self, id: ConnId, ask: KeysGet) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some((shared, member)) = self.who(id) else {
            return;
        };
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        match wanted(mesh, &member, &ask) {
            Err(no) => self.refuse_ask(id, no, ask.req_id),
            Ok(wanted) => {
                if !self.begin_asking(id, ask.req_id.as_ref()) {
                    return;
                }
                let query = Query::Channel(ChannelQuery::Keys {
                    mesh: MeshId::clone(&shared),
                    channel: wanted.channel.clone(),
                    ids: wanted.ids,
                    member,
                });
                let asked = Asked::Keys {
                    conn: id,
                    channel: wanted.channel,
                    current: wanted.current,
                    reads: wanted.reads,
                    req_id: ask.req_id,
                };
                self.load(query, asked);
            }
        }
    }

    pub(super) fn keys_loaded(
        &mut self,
        id: ConnId,
        (channel, current, reads): (ChannelName, Option<KeyId>, bool),
        req_id: Option<String>,
        rows: Option<Vec<KeyRow>>,
    ) {
        if !self.end_asking(id) {
            return;
        }
        let Some(mut rows) = rows else {
            return self.refuse_ask(id, unreadable(), req_id);
        };
        if !reads {
            // Who is out keeps what it was given.
            rows.retain(|row| row.copy.is_some());
            if rows.is_empty() {
                return self.refuse_ask(id, no(403, code::FORBIDDEN, NOT_IN), req_id);
            }
        }
        let keys = Keys {
            channel: channel.as_str().to_owned(),
            current: current.map(|key| key.to_hex()),
            keys: rows
                .iter()
                .map(|row| record(&row.statement, row.copy.as_ref()))
                .collect(),
            req_id,
        };
        self.reply(id, keys);
    }
}

pub(super) fn unreadable() -> No {
    let why = "the broker cannot read its store now; try again in a moment";
    no(503, code::STORE_UNAVAILABLE, why)
}

fn record(signed: &SignedKeyStatement, copy: Option<&[u8; COPY_LEN]>) -> KeyRecord {
    KeyRecord {
        statement: SignedBlob::new(&signed.bytes, &signed.signature, None),
        copy: copy.map(|copy| base64url(copy)),
    }
}
