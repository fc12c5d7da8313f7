//! State, memory and summaries: checked, committed, then told. What is sealed stays sealed; its
//! shape is all that is looked at.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::unbase64url;
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    Ack, BrokerFrame, ErrorFrame, Forget, GetState, ListState, MemoryRecallResult, MemoryRecord,
    MemoryResults, MemoryStored, Recall, Remember, SetState, SetSummary, StateChange, StateEntry,
    StateList, StateResult, StateSaved, StateValue, errors::code,
};
use serde_json::Value;

use super::Router;
use super::conn::HINT_BYTES;
use super::legacy::items::Told;
use super::load::Asked;
use super::schedule;
use super::settle::ASKING_MAX;
use super::text::{iso, shown};
use super::types::{ApiCall, ConnId, Kind, Out};
use super::writer::Then;
use crate::store::{
    self, MemberRow, MemoryRow, Op, Outcome, Query, Rows, StateRow, StoreError, ValueOp,
    ValueQuery, ValueRows, json_len,
};

/// Bytes of rows in one frame to a peer that takes pages.
pub(super) const PAGE_BYTES: usize = 192 << 10;
/// Bytes of values in the one frame that other clients take.
const LEGACY_LIST_BYTES: usize = 1 << 20;
const KEY_BYTES: usize = 256;
const TAGS: usize = 16;
const TAG_BYTES: usize = 64;
const SUMMARY_BYTES: usize = 4_096;
const QUERY_BYTES: usize = 1_024;
/// Memories that a search finds at most.
const FOUND: usize = 20;
/// Versions up to here; numbers in JSON are not exact in all clients above 2^53.
const VERSION_MAX: u64 = 1 << 53;
/// Magic, key id, nonce and tag of a sealed value.
const SEALED_BYTES: usize = 2 + 16 + 24 + 16;
/// Characters of an id that is passed back.
const PASSED_BACK: usize = 256;

/// Reads wait for the writes that came before them.
#[derive(Debug, Default)]
pub(super) struct Values {
    begun: u64,
    done: u64,
    waiting: VecDeque<(u64, ValueQuery, Ask)>,
}

/// What follows a write.
#[derive(Debug)]
pub(super) enum Wrote {
    State {
        conn: ConnId,
        mesh: Arc<MeshId>,
        change: Box<StateChange>,
        req_id: Option<String>,
    },
    Memory {
        conn: ConnId,
        id: String,
        req_id: Option<String>,
    },
    Forgot {
        conn: ConnId,
        id: String,
        req_id: Option<String>,
    },
    Schedule(schedule::Wrote),
    /// Something that existing clients keep.
    Item {
        conn: Option<ConnId>,
        mesh: Arc<MeshId>,
        told: Told,
        req_id: Option<String>,
    },
    /// Something that was asked for by HTTP.
    Asked {
        request: u64,
        mesh: Arc<MeshId>,
        told: Told,
        reply: Box<Value>,
    },
    /// Whether a member without a log entry may come.
    Standing {
        conn: ConnId,
        row: Box<MemberRow>,
        ack: Box<BrokerFrame>,
        req_id: Option<String>,
    },
}

/// What a question was for.
#[derive(Debug)]
pub(super) enum Ask {
    State {
        conn: ConnId,
        key: String,
        req_id: Option<String>,
    },
    States {
        conn: ConnId,
        req_id: Option<String>,
    },
    Memories {
        conn: ConnId,
        req_id: Option<String>,
    },
    Schedule(schedule::Ask),
    /// What existing clients keep, anew.
    Items {
        mesh: Arc<MeshId>,
    },
    /// Whose an API key is.
    ApiKey {
        request: u64,
        call: Box<ApiCall>,
    },
    /// How much of everything there is: keys of state, then memories.
    Info {
        conn: ConnId,
        keys: Option<Vec<String>>,
        req_id: Option<String>,
    },
}

/// Who asks or writes.
pub(super) struct Who {
    pub(super) mesh: Arc<MeshId>,
    pub(super) member: PublicKey,
    /// The member's own name, not the session's.
    pub(super) name: String,
    pub(super) role: Role,
    /// Lists values/1: everything it keeps is sealed.
    pub(super) values: bool,
    /// Lists envelope/1: all that it sends is sealed.
    pub(super) envelope: bool,
}

impl Who {
    /// Whether it is the owner or an admin.
    pub(super) const fn moderates(&self) -> bool {
        matches!(self.role, Role::Owner | Role::Admin)
    }
}

impl Router {
    /// Who is on a connection; one that is pending is refused.
    pub(super) fn asker(&mut self, id: ConnId, req_id: Option<&String>) -> Option<Who> {
        let conn = self.conns.get(&id)?;
        let row = self.mesh(&conn.mesh)?.member(&conn.member)?;
        let who = Who {
            mesh: Arc::clone(&conn.mesh),
            member: row.key,
            name: row.name.as_str().to_owned(),
            role: row.role,
            values: conn.values,
            envelope: conn.envelope,
        };
        if who.role == Role::Pending {
            let why = "you are not admitted to this mesh yet; ask an admin";
            self.error(id, code::FORBIDDEN, why, req_id.cloned());
            return None;
        }
        Some(who)
    }

    /// Whether a connection may write now: it counts as a message. If not, it is told when.
    pub(super) fn may_write(&mut self, id: ConnId, who: &Who, req_id: Option<&String>) -> bool {
        let Err(ack) = self.check_rate(&who.mesh, who.member, 1) else {
            return true;
        };
        let mut error = ErrorFrame::new(code::RATE_LIMIT, ack.error.unwrap_or_default());
        error.req_id = req_id.cloned();
        error.retry_after_ms = ack.retry_after_ms;
        error.limit = ack.limit;
        self.reply(id, error);
        false
    }

    /// Whether a connection may ask now, and counts the question.
    pub(super) fn may_wait(&mut self, id: ConnId, req_id: Option<&String>) -> bool {
        if !self.may_ask(id, req_id) {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        if conn.asking >= ASKING_MAX {
            let why = "too many questions at a time; wait for their answers";
            self.error(id, code::BUSY, why, req_id.cloned());
            return false;
        }
        conn.asking += 1;
        true
    }

    pub(super) fn write_value(&mut self, op: ValueOp, wrote: Wrote) {
        self.write_other(Op::Value(op), wrote);
    }

    /// As [`Self::write_value`], for another operation.
    pub(super) fn write_other(&mut self, op: Op, wrote: Wrote) {
        self.values.begun += 1;
        self.writer.push(vec![op], Then::Value(Box::new(wrote)));
    }

    /// Asks the store once everything that was written before is there.
    pub(super) fn ask_value(&mut self, query: ValueQuery, ask: Ask) {
        if self.values.done < self.values.begun {
            let mark = self.values.begun;
            self.values.waiting.push_back((mark, query, ask));
        } else {
            self.load(Query::Value(query), Asked::Value(ask));
        }
    }

    /// A write came back; without an outcome the store failed.
    pub(super) fn wrote(&mut self, wrote: Wrote, outcome: Option<Outcome>) {
        self.values.done += 1;
        match wrote {
            Wrote::State {
                conn,
                mesh,
                change,
                req_id,
            } => self.state_set(conn, &mesh, *change, req_id, outcome),
            Wrote::Memory { conn, id, req_id } => match outcome {
                Some(Outcome::Done) => {
                    let memory_id = self.is_daemon(conn).then(|| id.clone());
                    let stored = MemoryStored {
                        id,
                        memory_id,
                        req_id,
                    };
                    self.answer(conn, stored);
                }
                other => self.not_written(conn, other.as_ref(), req_id),
            },
            Wrote::Forgot { conn, id, req_id } => match outcome {
                // Who forgets what is not there has what it wants.
                Some(Outcome::Done | Outcome::NotThere) => {
                    let ack = Ack {
                        id: id.clone(),
                        message_id: id,
                        req_id,
                        ..Ack::default()
                    };
                    self.answer(conn, ack);
                }
                other => self.not_written(conn, other.as_ref(), req_id),
            },
            Wrote::Schedule(wrote) => self.schedule_wrote(wrote, outcome),
            Wrote::Item {
                conn,
                mesh,
                told,
                req_id,
            } => self.item_written(conn, &mesh, told, req_id, outcome),
            Wrote::Asked {
                request,
                mesh,
                told,
                reply,
            } => self.asked_written(request, &mesh, told, *reply, outcome),
            Wrote::Standing {
                conn,
                row,
                ack,
                req_id,
            } => match outcome {
                Some(Outcome::Done) => self.standing_put(conn, *row, *ack),
                other => self.not_written(conn, other.as_ref(), req_id),
            },
        }
        while let Some((mark, _, _)) = self.values.waiting.front()
            && *mark <= self.values.done
            && let Some((_, query, ask)) = self.values.waiting.pop_front()
        {
            self.load(Query::Value(query), Asked::Value(ask));
        }
    }

    /// Writes to a connection, if it is still there.
    pub(super) fn answer(&mut self, conn: ConnId, frame: impl Into<BrokerFrame>) {
        if self.conns.contains_key(&conn) {
            self.reply(conn, frame);
        }
    }

    /// Tells why something is not kept.
    pub(super) fn not_written(
        &mut self,
        conn: ConnId,
        outcome: Option<&Outcome>,
        req_id: Option<String>,
    ) {
        let (code, why) = match outcome {
            None => (
                code::STORE_UNAVAILABLE,
                "the broker could not write to its store; try again".to_owned(),
            ),
            Some(Outcome::Conflict { head }) => (
                code::STATE_CONFLICT,
                format!("the value has version {head} by now; read it and set it anew"),
            ),
            Some(Outcome::Full) => (
                code::QUEUE_FULL,
                "there are as many of these as the broker keeps; remove some first".to_owned(),
            ),
            Some(Outcome::Reused) => (
                code::INVALID,
                "id reused: this id names something else".to_owned(),
            ),
            Some(Outcome::Refused) => (
                code::FORBIDDEN,
                "only its writer, the owner and admins may do that".to_owned(),
            ),
            Some(_) => (code::NOT_FOUND, "there is no such thing".to_owned()),
        };
        let mut error = ErrorFrame::new(code, why);
        error.req_id = req_id;
        error.retry_after_ms = outcome.is_none().then_some(1_000);
        self.answer(conn, error);
    }

    fn invalid(&mut self, id: ConnId, why: &str, req_id: Option<String>) {
        self.error(id, code::INVALID, why, req_id);
    }

    pub(super) fn set_state(&mut self, id: ConnId, set: SetState) {
        let Some(who) = self.asker(id, set.req_id.as_ref()) else {
            return;
        };
        let wrong = if set.key.is_empty() || set.key.len() > KEY_BYTES {
            Some("a key has 1 to 256 bytes")
        } else if set.key.chars().any(char::is_control) {
            Some("a key has no control characters")
        } else if set.value.is_null() {
            Some("there is no value")
        } else if who.values && !is_sealed_value(&set.value) {
            Some("a peer that lists values/1 keeps sealed values only")
        } else if [set.version, set.if_version]
            .into_iter()
            .flatten()
            .any(|v| v > VERSION_MAX)
        {
            Some("a version is at most 2^53")
        } else if set.version == Some(0) {
            Some("a version is at least 1")
        } else {
            None
        };
        if let Some(why) = wrong {
            return self.invalid(id, why, set.req_id);
        }
        let value = set.value.to_string();
        if value.len() > self.limits.value_bytes {
            let why = format!("a value has at most {} bytes", self.limits.value_bytes);
            return self.error(id, code::TOO_LARGE, &why, set.req_id);
        }
        if !self.may_write(id, &who, set.req_id.as_ref()) {
            return;
        }
        let request = set.client_message_id.as_deref();
        let op = ValueOp::SetState(store::SetState {
            mesh: MeshId::clone(&who.mesh),
            request: request.map(|id| request_hash(&who.member, id, &value)),
            row: StateRow {
                key: set.key.clone(),
                value,
                version: set.version.unwrap_or(0),
                writer: who.member,
                name: who.name.clone(),
                at: self.now.wall,
            },
            if_version: set.if_version,
            max: self.limits.state_keys,
        });
        let wrote = Wrote::State {
            conn: id,
            mesh: who.mesh,
            change: Box::new(StateChange {
                key: set.key,
                value: set.value,
                updated_by: who.name,
                version: None,
            }),
            req_id: set.req_id,
        };
        self.write_value(op, wrote);
    }

    fn state_set(
        &mut self,
        conn: ConnId,
        mesh: &Arc<MeshId>,
        mut change: StateChange,
        req_id: Option<String>,
        outcome: Option<Outcome>,
    ) {
        let Some(Outcome::Kept(version)) = outcome else {
            return self.not_written(conn, outcome.as_ref(), req_id);
        };
        if req_id.is_some() {
            let key = change.key.clone();
            self.answer(conn, StateSaved { key, req_id });
        }
        change.version = Some(version);
        let Some(mesh) = self.mesh(mesh) else { return };
        let admitted = |key: &PublicKey| {
            let row = mesh.member(key);
            row.is_some_and(|row| row.role != Role::Pending)
        };
        let others = mesh.conns.iter().filter(|id| **id != conn);
        let others = others.filter_map(|id| self.conns.get(id));
        let others = others.filter(|conn| conn.receive && conn.counts_left == 0);
        // Who is slow reads the value when it is ready.
        let others = others.filter(|conn| conn.unwritten <= HINT_BYTES && admitted(&conn.member));
        let conns: Vec<ConnId> = others.map(|conn| conn.id).collect();
        if !conns.is_empty() {
            let told: BrokerFrame = change.into();
            self.outs.push_back(Out::Write {
                conns,
                text: Bytes::from(told.encode()),
                kind: Kind::Hint,
            });
        }
    }

    pub(super) fn get_state(&mut self, id: ConnId, ask: GetState) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if ask.key.len() > KEY_BYTES {
            return self.invalid(id, "a key has 1 to 256 bytes", ask.req_id);
        }
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let query = ValueQuery::State {
            mesh: MeshId::clone(&who.mesh),
            key: ask.key.clone(),
        };
        let ask = Ask::State {
            conn: id,
            key: ask.key,
            req_id: ask.req_id,
        };
        self.ask_value(query, ask);
    }

    pub(super) fn list_state(&mut self, id: ConnId, ask: ListState) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if ask
            .after
            .as_ref()
            .is_some_and(|after| after.len() > KEY_BYTES)
        {
            return self.invalid(id, "a key has 1 to 256 bytes", ask.req_id);
        }
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let query = ValueQuery::States {
            mesh: MeshId::clone(&who.mesh),
            after: ask.after,
            bytes: if who.values {
                PAGE_BYTES
            } else {
                LEGACY_LIST_BYTES
            },
        };
        let req_id = ask.req_id;
        self.ask_value(query, Ask::States { conn: id, req_id });
    }

    pub(super) fn remember(&mut self, id: ConnId, it: Remember) {
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

    pub(super) fn recall(&mut self, id: ConnId, ask: Recall) {
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

    pub(super) fn forget_memory(&mut self, id: ConnId, it: Forget) {
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

    pub(super) fn set_summary(&mut self, id: ConnId, it: &SetSummary) {
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

    pub(super) fn unreadable(&mut self, id: ConnId, req_id: Option<String>) {
        let why = "the broker cannot read its store now; try again in a moment";
        self.error(id, code::STORE_UNAVAILABLE, why, req_id);
    }

    pub(super) fn value_loaded(&mut self, ask: Ask, result: Result<Rows, StoreError>) {
        let rows = match result {
            Ok(Rows::Value(rows)) => Some(rows),
            _ => None,
        };
        let (conn, req_id) = match &ask {
            Ask::State { conn, req_id, .. }
            | Ask::States { conn, req_id }
            | Ask::Memories { conn, req_id } => (*conn, req_id.clone()),
            Ask::Schedule(_) | Ask::Items { .. } | Ask::ApiKey { .. } | Ask::Info { .. } => {
                return self.other_loaded(ask, rows);
            }
        };
        let Some(asking) = self.conns.get_mut(&conn) else {
            return;
        };
        asking.asking = asking.asking.saturating_sub(1);
        match (ask, rows) {
            (Ask::State { key, .. }, Some(ValueRows::State(rows, _))) => {
                let entry = rows.into_iter().next().map(entry);
                let entry = entry.unwrap_or(StateEntry {
                    key,
                    ..StateEntry::default()
                });
                if self.is_daemon(conn) {
                    // It waits for another word than the one that it was told.
                    let state = entry.clone();
                    let req_id = req_id.clone();
                    self.reply(conn, StateValue { state, req_id });
                }
                self.reply(conn, StateResult { entry, req_id });
            }
            (Ask::States { .. }, Some(ValueRows::State(rows, more))) => {
                let list = StateList {
                    entries: rows.into_iter().map(entry).collect(),
                    more: more.then_some(true),
                    req_id,
                };
                self.reply(conn, list);
            }
            (Ask::Memories { .. }, Some(ValueRows::Memory(rows, more))) => {
                let results = MemoryResults {
                    memories: rows.into_iter().map(record).collect(),
                    more: more.then_some(true),
                    req_id,
                };
                if self.is_daemon(conn) {
                    let again = MemoryRecallResult {
                        matches: results.memories.clone(),
                        req_id: results.req_id.clone(),
                    };
                    self.reply(conn, again);
                }
                self.reply(conn, results);
            }
            (_, Some(ValueRows::Unknown)) => {
                let why = "there is no such memory to go on after; begin anew";
                self.error(conn, code::NOT_FOUND, why, req_id);
            }
            _ => self.unreadable(conn, req_id),
        }
    }
}

impl Router {
    /// What was not asked for by one frame alone.
    fn other_loaded(&mut self, ask: Ask, rows: Option<ValueRows>) {
        match (ask, rows) {
            (Ask::Schedule(ask), rows) => self.schedule_loaded(ask, rows),
            (Ask::Items { mesh }, rows) => self.items_loaded(&mesh, rows),
            (Ask::ApiKey { request, call }, rows) => self.key_found(request, *call, rows),
            (Ask::Info { conn, req_id, .. }, Some(ValueRows::State(rows, _))) => {
                self.info_keys(conn, rows, req_id);
            }
            (Ask::Info { conn, keys, req_id }, Some(ValueRows::Memory(rows, _))) => {
                self.info_told(conn, keys.unwrap_or_default(), rows.len(), req_id);
            }
            (Ask::Info { conn, req_id, .. }, _) if self.end_asking(conn) => {
                self.unreadable(conn, req_id);
            }
            _ => {}
        }
    }

    /// Whether a connection is of the existing system's daemon, which waits for words of its own.
    fn is_daemon(&self, conn: ConnId) -> bool {
        let conn = self.conns.get(&conn);
        conn.is_some_and(|conn| {
            !conn.envelope && conn.channel.as_deref() == Some("claudemesh-daemon")
        })
    }
}

fn entry(row: StateRow) -> StateEntry {
    StateEntry {
        key: row.key,
        value: serde_json::from_str(&row.value).unwrap_or_default(),
        updated_by: row.name,
        updated_at: iso(row.at),
        version: Some(row.version),
    }
}

fn record(row: MemoryRow) -> MemoryRecord {
    MemoryRecord {
        id: row.id,
        content: row.content,
        tags: row.tags,
        remembered_by: row.name,
        remembered_at: iso(row.at),
    }
}

/// Ids that peers choose: 32 lower-case hex digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_sealed_text(text: &str) -> bool {
    text.strip_prefix("$sealed:").is_some_and(is_blob)
}

fn is_sealed_value(value: &Value) -> bool {
    let object = value.as_object().filter(|object| object.len() == 1);
    let blob = object.and_then(|object| object.get("$sealed"));
    blob.and_then(Value::as_str).is_some_and(is_blob)
}

fn is_blob(text: &str) -> bool {
    unbase64url(text).is_ok_and(|blob| blob.len() >= SEALED_BYTES && blob.starts_with(&[0xCE, 2]))
}

/// A hash of who asks what under which id.
fn request_hash(member: &PublicKey, id: &str, value: &str) -> [u8; 16] {
    let value = sha256(value.as_bytes());
    let parts = [
        member.as_bytes().as_slice(),
        value.as_bytes(),
        id.as_bytes(),
    ];
    let hash = sha256(&parts.concat());
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(hash.0) {
        *to = from;
    }
    short
}
