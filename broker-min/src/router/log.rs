//! Reading the log, and asking to append to it, over a connection.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::SignedEntry;
use claudemesh_core::wire::{
    ErrorFrame, LOG_PAGE_BYTES, LogAppend, LogEntries, LogGet, LogHead, errors::code,
};

use super::Router;
use super::append::{Append, Author, blob};
use super::bucket::Bucket;
use super::http::refused;
use super::mesh::Mesh;
use super::repost::is_repost;
use super::types::{ConnId, HttpReply};

const HOUR_MS: u64 = 3_600_000;

/// The entries from `from` on that fit a page; at least one if there is one.
pub(super) fn log_page(entries: &[SignedEntry], from: u64) -> &[SignedEntry] {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let rest = entries.get(from..).unwrap_or_default();
    let mut bytes = 0;
    let fits = rest
        .iter()
        .take_while(|entry| {
            // Base64 of the bytes, hex of the signatures, and the names of the fields.
            let cosignature = if entry.cosignature.is_some() { 140 } else { 0 };
            bytes += entry.bytes.len().div_ceil(3) * 4 + 150 + cosignature;
            bytes <= LOG_PAGE_BYTES
        })
        .count();
    rest.get(..fits.max(1).min(rest.len())).unwrap_or_default()
}

impl Router {
    pub(super) fn log_get(&mut self, id: ConnId, ask: LogGet) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some(shared) = self.mesh_of(id) else {
            return;
        };
        if !ask.channel.is_empty() {
            self.channel_log_get(id, ask);
            return;
        }
        let Some(mesh) = self.mesh(&shared) else {
            return;
        };
        let head = mesh.head();
        let page = LogEntries {
            channel: String::new(),
            from: ask.from,
            entries: log_page(&mesh.entries, ask.from).iter().map(blob).collect(),
            head: LogHead::new(head.seq, &head.hash),
            req_id: ask.req_id,
        };
        self.reply(id, page);
    }

    pub(super) fn log_append(&mut self, id: ConnId, ask: LogAppend) {
        let per_hour = u64::from(self.limits.log_entries_per_hour);
        let (now, wall) = (self.now.mono, self.now.wall);
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (shared, member) = (Arc::clone(&conn.mesh), conn.member);
        let LogAppend {
            entry,
            invite_token,
            req_id,
        } = ask;
        let signed = match SignedEntry::from_text(&entry.e, &entry.sig, entry.cosig.as_deref()) {
            Ok(signed) => signed,
            Err(error) => {
                self.error(id, code::MALFORMED, &error.to_string(), req_id);
                return;
            }
        };
        if let Ok(entry) = signed.decode_channel() {
            self.channel_append(id, &entry.channel, signed, req_id);
            return;
        }
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        let repost = mesh.may_repost(&member);
        let back = repost
            && signed
                .decode()
                .is_ok_and(|entry| is_repost(&entry.signer, &member, entry.at, wall));
        let turn = if back {
            mesh.repost_turn(member, now)
        } else {
            take_turn(mesh, member, now, per_hour)
        };
        if let Err(wait) = turn {
            let why = format!("rate_limit: max {per_hour} log entries an hour");
            let mut error = ErrorFrame::new(code::RATE_LIMIT, why);
            error.req_id = req_id;
            error.retry_after_ms = Some(wait);
            error.limit = Some(per_hour);
            self.reply(id, error);
            return;
        }
        let append = Append {
            author: Author::Conn { conn: id, req_id },
            signed,
            token: invite_token,
            repost,
            changes: Vec::new(),
        };
        self.append(&shared, append);
    }

    /// An entry by HTTP. Who may sign one at all is known by the log: anyone else is turned away
    /// before it costs more than a look.
    pub(super) fn post_entry(&mut self, request: u64, shared: &Arc<MeshId>, signed: SignedEntry) {
        let per_hour = u64::from(self.limits.log_entries_per_hour);
        let now = self.now.mono;
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let signer = signed.decode().ok().map(|entry| entry.signer);
        let Some(signer) = signer.filter(|key| may_sign(mesh, key)) else {
            let why = "the entry is signed by nobody who may add to this log";
            self.respond(request, refused(403, code::FORBIDDEN, why));
            return;
        };
        if let Err(wait) = take_turn(mesh, signer, now, per_hour) {
            let reply = HttpReply::Error {
                status: 429,
                code: code::RATE_LIMIT,
                message: format!("rate_limit: max {per_hour} log entries an hour"),
                retry_after_ms: Some(wait),
            };
            self.respond(request, reply);
            return;
        }
        let append = Append {
            author: Author::Post { request },
            signed,
            token: None,
            repost: false,
            changes: Vec::new(),
        };
        self.append(shared, append);
    }
}

fn may_sign(mesh: &Mesh, key: &PublicKey) -> bool {
    let roster = mesh.log.roster();
    roster.member(key).is_some()
        || roster.recovery() == Some(*key)
        || roster.invites().any(|invite| invite.key == *key)
}

/// Counts an entry of a signer, or says after how many milliseconds it may come again.
fn take_turn(mesh: &mut Mesh, key: PublicKey, now: u64, per_hour: u64) -> Result<(), u64> {
    let bucket = mesh
        .log_buckets
        .entry(key)
        .or_insert_with(|| Bucket::full(per_hour, now));
    bucket.take(now, per_hour, per_hour, HOUR_MS)
}
