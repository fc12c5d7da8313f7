//! State: checked, committed, then told to the others.

use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::crypto::sha256;
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    BrokerFrame, GetState, ListState, SetState, StateChange, StateSaved, errors::code,
};

use super::sealed::is_sealed_value;
use super::{Ask, PAGE_BYTES, Wrote};
use crate::router::Router;
use crate::router::conn::HINT_BYTES;
use crate::router::types::{ConnId, Kind, Out};
use crate::store::{self, Outcome, StateRow, ValueOp, ValueQuery};

/// Bytes of values in the one frame that other clients take.
const LEGACY_LIST_BYTES: usize = 1 << 20;
const KEY_BYTES: usize = 256;
/// Versions up to here; numbers in JSON are not exact in all clients above 2^53.
const VERSION_MAX: u64 = 1 << 53;

impl Router {
    pub(in crate::router) fn set_state(&mut self, id: ConnId, set: SetState) {
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

    pub(in crate::router) fn get_state(&mut self, id: ConnId, ask: GetState) {
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

    pub(in crate::router) fn list_state(&mut self, id: ConnId, ask: ListState) {
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

    pub(super) fn state_set(
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
