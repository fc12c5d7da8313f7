//! Channels' logs over a connection: reading them, and growing them one entry at a time.

use std::collections::HashMap;
use std::sync::Arc;

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::membership::{ChannelLog, SignedEntry};
use claudemesh_core::wire::{
    BrokerFrame, ErrorFrame, LogAppended, LogEntries, LogGet, LogHead, errors::code,
};

use super::Router;
use super::append::blob;
use super::bucket::Bucket;
use super::channel_entry::check;
use super::channels::View;
use super::entry::{No, no};
use super::log::log_page;
use super::mesh::Mesh;
use super::repost::is_repost;
use super::types::{ConnId, Kind, Out};
use super::writer::{Then, ThenChannel};
use crate::store::{ChannelOp, Op, Outcome};

/// Entries of one channel that wait for their turn.
const APPENDS_MAX: usize = 64;
pub(super) const HOUR_MS: u64 = 3_600_000;

/// An entry on its way into a channel's log.
#[derive(Debug)]
pub(super) struct ChannelAppend {
    conn: ConnId,
    member: PublicKey,
    req_id: Option<String>,
    signed: SignedEntry,
}

impl ChannelAppend {
    /// Whether it is brought back by somebody who may.
    fn is_repost(&self, mesh: &mut Mesh, name: &ChannelName, now: u64) -> bool {
        let entry = self.signed.decode_channel();
        entry.is_ok_and(|entry| is_repost(&entry.signer, &self.member, entry.at, now))
            && mesh.may_repost_in(name, &self.member)
    }
}

/// An entry that is being committed, and what the log becomes by it.
#[derive(Debug)]
pub(super) struct Pending {
    append: ChannelAppend,
    next: ChannelLog,
}

impl Router {
    /// Refuses what a connection asked for.
    pub(super) fn refuse_ask(&mut self, id: ConnId, no: No, req_id: Option<String>) {
        let mut error = ErrorFrame::new(no.code, no.message);
        error.req_id = req_id;
        error.retry_after_ms = (no.status == 503).then_some(1_000);
        self.reply(id, error);
    }

    /// Refuses what came too often.
    pub(super) fn refuse_rate(
        &mut self,
        id: ConnId,
        (limit, what): (u32, &str),
        wait: u64,
        req_id: Option<String>,
    ) {
        let why = format!("rate_limit: max {limit} {what} an hour");
        let mut error = ErrorFrame::new(code::RATE_LIMIT, why);
        error.req_id = req_id;
        error.retry_after_ms = Some(wait);
        error.limit = Some(limit.into());
        self.reply(id, error);
    }

    /// Mesh and member of a connection.
    pub(super) fn who(&self, id: ConnId) -> Option<(Arc<MeshId>, PublicKey)> {
        let conn = self.conns.get(&id)?;
        Some((Arc::clone(&conn.mesh), conn.member))
    }

    /// A page of a channel's log; the question was counted.
    pub(super) fn channel_log_get(&mut self, id: ConnId, ask: LogGet) {
        let Some((shared, member)) = self.who(id) else {
            return;
        };
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        match page(mesh, &member, &ask) {
            Ok(mut page) => {
                page.req_id = ask.req_id;
                self.reply(id, page);
            }
            Err(no) => self.refuse_ask(id, no, ask.req_id),
        }
    }

    /// An entry of a channel's log.
    pub(super) fn channel_append(
        &mut self,
        id: ConnId,
        channel: &ChannelName,
        signed: SignedEntry,
        req_id: Option<String>,
    ) {
        if !self.may_ask(id, req_id.as_ref()) {
            return;
        }
        let Some((shared, member)) = self.who(id) else {
            return;
        };
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        let append = ChannelAppend {
            conn: id,
            member,
            req_id,
            signed,
        };
        match mesh.channel(channel) {
            Err(no) => self.refuse_ask(id, no, append.req_id),
            Ok((held, _)) if held.appends.len() >= APPENDS_MAX => {
                let why = "the log of this channel is busy; try again in a moment";
                self.refuse_ask(id, no(503, code::BUSY, why), append.req_id);
            }
            Ok((held, _)) => {
                held.appends.push_back(append);
                self.next_channel_append(&shared, channel);
            }
        }
    }

    fn next_channel_append(&mut self, shared: &Arc<MeshId>, name: &ChannelName) {
        let per_hour = self.limits.channel_entries_per_hour;
        let now = self.now;
        loop {
            let Some(mesh) = self.mesh_mut(shared) else {
                return;
            };
            let Ok((channel, _)) = mesh.channel(name) else {
                return;
            };
            if channel.pending.is_some() {
                return;
            }
            let Some(append) = channel.appends.pop_front() else {
                return;
            };
            let repost = append.is_repost(mesh, name, now.wall);
            let next = match check(mesh, name, &append.signed, now.wall, repost) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    self.channel_append_done(shared, name, append.conn, append.req_id);
                    continue;
                }
                Err(no) => {
                    if self.conns.contains_key(&append.conn) {
                        self.refuse_ask(append.conn, no, append.req_id);
                    }
                    continue;
                }
            };
            let Ok((channel, _)) = mesh.channel(name) else {
                return;
            };
            // Only what is good counts: who lost a race tries again.
            let turn = if repost {
                mesh.repost_turn(append.member, now.mono)
            } else {
                let buckets = &mut channel.entry_buckets;
                take_turn(buckets, append.member, now.mono, per_hour)
            };
            if let Err(wait) = turn {
                if self.conns.contains_key(&append.conn) {
                    let what = (per_hour, "entries of one channel's log");
                    self.refuse_rate(append.conn, what, wait, append.req_id);
                }
                continue;
            }
            let op = Op::Channel(ChannelOp::Append {
                mesh: MeshId::clone(shared),
                channel: name.clone(),
                seq: next.head().seq,
                entry: append.signed.clone(),
            });
            let then = ThenChannel::Appended {
                mesh: Arc::clone(shared),
                channel: name.clone(),
            };
            let Some(mesh) = self.mesh_mut(shared) else {
                return;
            };
            let Ok((channel, _)) = mesh.channel(name) else {
                return;
            };
            channel.pending = Some(Box::new(Pending { append, next }));
            self.writer.push(vec![op], Then::Channel(Box::new(then)));
        }
    }

    /// The pending entry of a channel is in the store's log.
    pub(super) fn channel_appended(
        &mut self,
        shared: &Arc<MeshId>,
        name: &ChannelName,
        outcome: &Outcome,
    ) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Ok((channel, log)) = mesh.channel(name) else {
            return;
        };
        let pending = channel.pending.take();
        let Some(pending) = pending.filter(|_| matches!(outcome, Outcome::Done)) else {
            // Somebody else wrote to this store, or the mesh was loaded before this was in it:
            // what is in memory is not the log.
            self.forget_mesh(shared);
            return;
        };
        let Pending { append, next } = *pending;
        let before = channel.view(name, log);
        let head = next.head();
        channel.log = Some(next);
        channel.entries.push(append.signed.clone());
        let after = channel.view(name, log);
        let others = readers(mesh, name, [&before, &after]);
        let others: Vec<ConnId> = others
            .into_iter()
            .filter(|id| *id != append.conn)
            .filter(|id| self.conns.get(id).is_some_and(|conn| conn.channels))
            .collect();
        if !others.is_empty() {
            let told: BrokerFrame = LogAppended {
                channel: name.as_str().to_owned(),
                head: LogHead::new(head.seq, &head.hash),
                entry: Some(blob(&append.signed)),
                req_id: None,
            }
            .into();
            self.outs.push_back(Out::Write {
                conns: others,
                text: told.encode().into(),
                kind: Kind::Reply,
            });
        }
        self.channel_append_done(shared, name, append.conn, append.req_id);
        self.next_channel_append(shared, name);
    }

    /// The pending entry of a channel was not committed.
    pub(super) fn channel_append_failed(&mut self, shared: &Arc<MeshId>, name: &ChannelName) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Ok((channel, _)) = mesh.channel(name) else {
            return;
        };
        if let Some(pending) = channel.pending.take() {
            let ChannelAppend { conn, req_id, .. } = pending.append;
            let why = "the broker could not write to its store; try again";
            if self.conns.contains_key(&conn) {
                self.refuse_ask(conn, no(503, code::STORE_UNAVAILABLE, why), req_id);
            }
        }
        self.next_channel_append(shared, name);
    }

    fn channel_append_done(
        &mut self,
        shared: &Arc<MeshId>,
        name: &ChannelName,
        conn: ConnId,
        req_id: Option<String>,
    ) {
        if !self.conns.contains_key(&conn) {
            return;
        }
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Ok((channel, _)) = mesh.channel(name) else {
            return;
        };
        let Some(head) = channel.log.as_ref().map(ChannelLog::head) else {
            return;
        };
        let told = LogAppended {
            channel: name.as_str().to_owned(),
            head: LogHead::new(head.seq, &head.hash),
            entry: None,
            req_id,
        };
        self.reply(conn, told);
    }
}

fn page(mesh: &mut Mesh, member: &PublicKey, ask: &LogGet) -> Result<LogEntries, No> {
    let name = ChannelName::new(&ask.channel);
    let name = name.ok().filter(ChannelName::has_log).ok_or_else(|| {
        let why = "channel: '@group', '#topic', or empty for the mesh's log";
        no(400, code::INVALID_ARGUMENT, why)
    })?;
    mesh.may_see(&name, member)?;
    let (channel, _) = mesh.channel(&name)?;
    let Some(head) = channel.log.as_ref().map(ChannelLog::head) else {
        return Err(no(404, code::NOT_FOUND, "not_found: no such channel"));
    };
    // The first entry has seq 1.
    let from = ask.from.max(1);
    Ok(LogEntries {
        channel: name.as_str().to_owned(),
        from,
        entries: log_page(&channel.entries, from - 1)
            .iter()
            .map(blob)
            .collect(),
        head: LogHead::new(head.seq, &head.hash),
        req_id: None,
    })
}

/// The connections of those who may read a channel before or after a change; of a public one all
/// verified members.
fn readers(mesh: &Mesh, name: &ChannelName, views: [&View; 2]) -> Vec<ConnId> {
    let roster = mesh.log.roster();
    let public = roster.channel(name).is_some_and(|it| it.public);
    let may = |key: &PublicKey| {
        views.iter().any(|view| view.has(key))
            || (public && roster.member(key).is_some_and(|it| it.is_verified()))
    };
    let all = mesh.conns_of.iter().filter(|(key, _)| may(key));
    let mut ids: Vec<ConnId> = all.flat_map(|(_, ids)| ids).copied().collect();
    ids.sort_unstable();
    ids
}

/// Counts one of `per_hour`, or says after how many milliseconds it may come again.
pub(super) fn take_turn(
    buckets: &mut HashMap<PublicKey, Bucket>,
    key: PublicKey,
    now: u64,
    per_hour: u32,
) -> Result<(), u64> {
    let per_hour = u64::from(per_hour);
    let bucket = buckets
        .entry(key)
        .or_insert_with(|| Bucket::full(per_hour, now));
    bucket.take(now, per_hour, per_hour, HOUR_MS)
}
