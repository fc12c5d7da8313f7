//! Reading the log, and asking to append to it, over a connection.

use std::sync::Arc;

use claudemesh_core::membership::SignedEntry;
use claudemesh_core::wire::{
    ErrorFrame, LOG_PAGE_BYTES, LogAppend, LogEntries, LogGet, LogHead, errors::code,
};

use super::Router;
use super::append::{Append, Author, blob};
use super::bucket::Bucket;
use super::types::ConnId;

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
            let why = "channels are not served yet: only the mesh's own log is";
            self.error(id, "unsupported", why, ask.req_id);
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
        let now = self.now.mono;
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
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        let bucket = mesh
            .log_buckets
            .entry(member)
            .or_insert_with(|| Bucket::full(per_hour, now));
        if let Err(wait) = bucket.take(now, per_hour, per_hour, HOUR_MS) {
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
            changes: Vec::new(),
        };
        self.append(&shared, append);
    }
}
