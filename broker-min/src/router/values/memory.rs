//! What is remembered, and summaries.

use claudemesh_core::id::MeshId;
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{Forget, Recall, Remember, SetSummary, errors::code};

use super::sealed::is_sealed_text;
use super::{Ask, PAGE_BYTES, Wrote, is_id};
use crate::router::Router;
use crate::router::text::shown;
use crate::router::types::ConnId;
use crate::store::{MemoryRow, ValueOp, ValueQuery, json_len};

const TAGS: usize = 16;
const TAG_BYTES: usize = 64;
const SUMMARY_BYTES: usize = 4_096;
const QUERY_BYTES: usize = 1_024;
/// Memories that a search finds at most.
const FOUND: usize = 20;
/// Characters of an id that is passed back.
const PASSED_BACK: usize = 256;

impl Router {
    pub(in crate::router) fn remember(&mut self, id: ConnId, it: Remember) {
        let Some(who) = self.asker(id, it.req_id.as_ref()) else {
            return;
        };
        let tags = it.tags.unwrap_or_default();
        let sealed = is_sealed_text(&it.content);
        let wrong = if it.content.is_empty() {
            Some("there is nothing to remember")
        } else if who.values && !sealed {
            Some("a peer that lists values/1 keeps sealed memories only")
        } else if tags.len() > TAGS || tags.iter().any(|tag| tag.len() > TAG_BYTES) {
            Some("a memory has at most 16 tags of 64 bytes")
        } else if it.id.as_deref().is_some_and(|id| !is_id(id)) {
            Some("an id is 32 lower-case hex digits")
        } else {
            None
        };
        if let Some(why) = wrong {
            return self.invalid(id, why, it.req_id);
        }
        if it.content.len() > self.limits.value_bytes {
            let why = format!("a memory has at most {} bytes", self.limits.value_bytes);
            return self.error(id, code::TOO_LARGE, &why, it.req_id);
        }
        if !self.may_write(id, &who, it.req_id.as_ref()) {
            return;
        }
        let memory = it.id.unwrap_or_else(|| self.fresh_id());
        let op = ValueOp::Remember {
            mesh: MeshId::clone(&who.mesh),
            row: MemoryRow {
                id: memory.clone(),
                content: it.content,
                tags,
                sealed,
                writer: who.member,
                name: who.name,
                at: self.now.wall,
            },
            max: self.limits.memories,
        };
        let wrote = Wrote::Memory {
            conn: id,
            id: memory,
            req_id: it.req_id,
        };
        self.write_value(op, wrote);
    }

    pub(in crate::router) fn recall(&mut self, id: ConnId, ask: Recall) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        let long = |text: &str| text.len() > QUERY_BYTES;
        if long(&ask.query) || ask.after.as_deref().is_some_and(long) {
            return self.invalid(id, "a query has at most 1,024 bytes", ask.req_id);
        }
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let mesh = MeshId::clone(&who.mesh);
        let words = ask.query.to_lowercase();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let query = if ask.all == Some(true) {
            let (after, bytes) = (ask.after, PAGE_BYTES);
            ValueQuery::Memories { mesh, after, bytes }
        } else {
            // No words find nothing, as ever.
            let limit = if words.is_empty() { 0 } else { FOUND };
            ValueQuery::Search { mesh, words, limit }
        };
        let req_id = ask.req_id;
        self.ask_value(query, Ask::Memories { conn: id, req_id });
    }

    pub(in crate::router) fn forget_memory(&mut self, id: ConnId, it: Forget) {
        let Some(who) = self.asker(id, it.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, it.req_id.as_ref()) {
            return;
        }
        let memory = shown(&it.memory_id, PASSED_BACK);
        let op = ValueOp::Forget {
            mesh: MeshId::clone(&who.mesh),
            id: memory.clone(),
            by: who.member,
            any: matches!(who.role, Role::Owner | Role::Admin),
            at: self.now.wall,
        };
        let wrote = Wrote::Forgot {
            conn: id,
            id: memory,
            req_id: it.req_id,
        };
        self.write_value(op, wrote);
    }

    pub(in crate::router) fn set_summary(&mut self, id: ConnId, it: &SetSummary) {
        let Some(who) = self.asker(id, None) else {
            return;
        };
        // As JSON it may be longer, and it is in every list of peers.
        if json_len(&it.summary) > SUMMARY_BYTES + 2 {
            return self.invalid(id, "a summary has at most 4,096 bytes", None);
        }
        if who.values && !it.summary.is_empty() && !is_sealed_text(&it.summary) {
            let why = "a peer that lists values/1 shows sealed summaries only";
            return self.invalid(id, why, None);
        }
        if !self.may_ask(id, None) {
            return;
        }
        let presence = self.conns.get(&id).and_then(|conn| conn.presence);
        let Some(mesh) = self.mesh_mut(&who.mesh) else {
            return;
        };
        if let Some(presence) = presence.and_then(|key| mesh.presences.get_mut(&key)) {
            presence.summary = Some(it.summary.clone()).filter(|text| !text.is_empty());
        }
    }
}
