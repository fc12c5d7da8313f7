//! What the store says of state and memory goes to who asked.

use claudemesh_core::wire::{
    MemoryRecallResult, MemoryRecord, MemoryResults, StateEntry, StateList, StateResult,
    StateValue, errors::code,
};

use super::Ask;
use crate::router::Router;
use crate::router::text::iso;
use crate::router::types::ConnId;
use crate::store::{MemoryRow, Rows, StateRow, StoreError, ValueRows};

impl Router {
    pub(in crate::router) fn value_loaded(&mut self, ask: Ask, result: Result<Rows, StoreError>) {
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
    pub(super) fn is_daemon(&self, conn: ConnId) -> bool {
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
