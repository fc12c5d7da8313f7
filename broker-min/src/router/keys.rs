//! Channels' keys: made by their members, one after the other, and handed out with the copies.

use std::collections::BTreeMap;
use std::sync::Arc;

use claudemesh_core::channel::{COPY_LEN, KeyStatement, SignedKeyStatement, StatementError};
use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::id::{ChannelName, KeyId, MeshId, PublicKey};
use claudemesh_core::wire::{
    BrokerFrame, KeyCopies, KeyPublished, KeyRecord, Keys, KeysGet, MAX_COPIES_PER_FRAME,
    MAX_KEYS_PER_FRAME, NewKey, PublishKey, SignedBlob, errors::code,
};

use super::Router;
use super::channel_log::take_turn;
use super::channels::NOT_IN;
use super::entry::{No, no};
use super::load::Asked;
use super::mesh::Mesh;
use super::types::{ConnId, Kind, Out};
use super::writer::{Then, ThenChannel};
use crate::store::{ChannelOp, ChannelQuery, KeyCopy, KeyRow, Op, Outcome, Query};

/// Bytes of one copy as it comes: the member's key, and the box.
const RECORD: usize = 32 + COPY_LEN;
/// Copies that are held for all connections until their key is published.
const STAGED_MAX: usize = 1 << 20;

/// Copies of a key that is about to be published.
#[derive(Debug)]
pub(super) struct Staged {
    key: KeyId,
    copies: BTreeMap<PublicKey, [u8; COPY_LEN]>,
}

impl Staged {
    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }
}

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

/// What is good about a statement, once all is checked.
struct Good {
    signed: SignedKeyStatement,
    statement: KeyStatement,
    after: Option<KeyId>,
    audience: Arc<[PublicKey]>,
    /// The audience is that of the key before.
    unchanged: bool,
    /// It is the current one already.
    known: bool,
}

impl Router {
    pub(super) fn key_copies(&mut self, id: ConnId, ask: KeyCopies) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        if let Err(no) = self.stage(id, &ask) {
            self.unstage(id);
            self.refuse_ask(id, no, ask.req_id);
        }
    }

    fn stage(&mut self, id: ConnId, ask: &KeyCopies) -> Result<(), No> {
        let bad = |why: &str| no(400, code::INVALID_ARGUMENT, why);
        let key = KeyId::from_hex(&ask.key_id);
        let key = key.map_err(|_| bad("key_id: 16 bytes in hex"))?;
        if ask.copies.len() > (MAX_COPIES_PER_FRAME * RECORD).div_ceil(3) * 4 {
            return Err(bad("copies: at most 500 in one frame"));
        }
        let bytes = unbase64url(&ask.copies).map_err(|_| bad("copies: base64url"))?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if !rest.is_empty() || records.is_empty() || records.len() > MAX_COPIES_PER_FRAME {
            return Err(bad("copies: 1 to 500 of member key and box, 80 bytes each"));
        }
        let (audience_max, room) = (self.limits.audience, STAGED_MAX - self.staged);
        let Some((shared, _)) = self.who(id) else {
            return Ok(());
        };
        let mesh = self.mesh(&shared);
        let members = mesh.map_or(0, |mesh| mesh.members.len());
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let mut staged = conn.staged.take().unwrap_or(Staged {
            key,
            copies: BTreeMap::new(),
        });
        self.staged -= staged.len();
        if staged.key != key {
            staged = Staged {
                key,
                copies: BTreeMap::new(),
            };
        }
        for record in records {
            let (member, copy) = record.split_at(32);
            let (Ok(member), Ok(copy)) = (member.try_into(), copy.try_into()) else {
                continue;
            };
            staged.copies.insert(PublicKey(member), copy);
        }
        let count = staged.len();
        if count > audience_max {
            let why = format!("audience_too_large: a channel has {audience_max} readers at most");
            return Err(no(400, code::AUDIENCE_TOO_LARGE, why));
        }
        if count > members {
            return Err(bad("copies: there are more than this mesh has members"));
        }
        if records.len() > room {
            let why = "many keys are being made; try again in a moment";
            return Err(no(503, code::BUSY, why));
        }
        self.staged += count;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.staged = Some(staged);
        }
        Ok(())
    }

    /// Forgets the copies that a connection brought, and gives them.
    pub(super) fn unstage(&mut self, id: ConnId) -> Option<Staged> {
        let staged = self.conns.get_mut(&id)?.staged.take()?;
        self.staged = self.staged.saturating_sub(staged.len());
        Some(staged)
    }

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

/// What is asked for of a channel's keys.
struct Wanted {
    channel: ChannelName,
    ids: Vec<KeyId>,
    current: Option<KeyId>,
    /// Who asks may read the channel now.
    reads: bool,
}

fn wanted(mesh: &mut Mesh, member: &PublicKey, ask: &KeysGet) -> Result<Wanted, No> {
    let bad = |why: &str| no(400, code::INVALID_ARGUMENT, why);
    let name = ChannelName::new(&ask.channel).map_err(|_| bad("channel: there is none such"))?;
    let (channel, log) = mesh.channel(&name)?;
    let reads = channel.view(&name, log).has(member);
    let current = channel.current.as_ref().map(|current| current.id);
    let ids = match &ask.key_ids {
        None => current.into_iter().collect(),
        Some(ids) if ids.len() > MAX_KEYS_PER_FRAME => {
            return Err(bad("key_ids: at most 32"));
        }
        Some(ids) => {
            let ids = ids.iter().map(|text| KeyId::from_hex(text));
            let ids = ids.collect::<Result<_, _>>();
            ids.map_err(|_| bad("key_ids: 16 bytes in hex each"))?
        }
    };
    Ok(Wanted {
        channel: name,
        ids,
        current,
        reads,
    })
}

/// Checks all of a statement but its copies.
fn check(mesh: &mut Mesh, member: &PublicKey, ask: &PublishKey) -> Result<Good, No> {
    let malformed = |why: String| no(400, code::MALFORMED, why);
    let invalid = |why: String| no(400, code::INVALID, why);
    let stored = mesh.head().seq;
    let bytes = ask.statement.bytes();
    let signature = ask.statement.signature();
    let signed = SignedKeyStatement {
        bytes: bytes.map_err(|_| malformed("e: base64url".to_owned()))?,
        signature: signature.map_err(|_| malformed("sig: 64 bytes in hex".to_owned()))?,
    };
    let after = ask.after.as_deref().map(KeyId::from_hex).transpose();
    let after = after.map_err(|_| malformed("after: 16 bytes in hex".to_owned()))?;
    let statement = signed.open().map_err(|error| match error {
        StatementError::BadSignature => no(400, code::BAD_SIGNATURE, error.to_string()),
        error => malformed(error.to_string()),
    })?;
    if statement.mesh != mesh.row.id {
        return Err(invalid(StatementError::Elsewhere.to_string()));
    }
    if statement.author != *member {
        let why = "forbidden: a channel's key is published by who made it";
        return Err(no(403, code::FORBIDDEN, why));
    }
    let (channel, log) = mesh.channel(&statement.channel)?;
    let view = channel.view(&statement.channel, log);
    if !view.has(member) {
        return Err(no(403, code::FORBIDDEN, NOT_IN));
    }
    let current = channel.current.as_ref();
    let known = current.is_some_and(|current| current.id == signed.key_id());
    if !known {
        if current.map(|current| current.id) != after {
            return Err(no(409, code::KEY_CONFLICT, KEY_CONFLICT));
        }
        let named = statement.log.map_or(0, |head| head.seq);
        if named > stored && named <= log.head().seq {
            let why = "the mesh's log is being written; try again in a moment";
            return Err(no(503, code::BUSY, why));
        }
        let previous = current.map(|current| &current.statement);
        let audience = statement.verify(log, channel.log.as_ref(), previous);
        let audience = audience.map_err(refusal)?;
        if *audience != *view.audience {
            return Err(no(409, code::STALE_EPOCH, STALE));
        }
    }
    Ok(Good {
        signed,
        statement,
        after,
        audience: view.audience,
        unchanged: view.unchanged,
        known,
    })
}

fn refusal(error: StatementError) -> No {
    let (status, code) = match &error {
        error if error.is_behind() => (409, code::STALE_EPOCH),
        StatementError::NotInAudience => (403, code::FORBIDDEN),
        _ => (400, code::INVALID),
    };
    no(status, code, error.to_string())
}

/// The copies that came before, which must be one for each of the audience.
fn copies_of(staged: Option<Staged>, good: &Good) -> Result<Arc<[KeyCopy]>, No> {
    let invalid = |why: &str| Err(no(400, code::INVALID, why));
    let Some(staged) = staged.filter(|staged| staged.key == good.signed.key_id()) else {
        return invalid("invalid: no copies of this key came before it on this connection");
    };
    if !staged.copies.keys().eq(good.audience.iter()) {
        return invalid("invalid: the copies are not one for each who may read the channel");
    }
    Ok(staged.copies.into_iter().collect())
}

const KEY_CONFLICT: &str = "key_conflict: another key of this channel is the current one: fetch \
                            it, and make another only if that is not good enough";
pub(super) const STALE: &str = "stale_epoch: the readers of this channel have changed: fetch the \
                                logs, make the next key or take it, and seal anew";
