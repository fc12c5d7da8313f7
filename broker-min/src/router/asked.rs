//! What members and programs ask of a mesh by HTTP, and what is told of sessions there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey, Status};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{SetStatus, errors::code};
use serde_json::{Value, json};

use super::Router;
use super::http::refused;
use super::legacy::profile;
use super::mesh::{Mesh, Presence};
use super::text::iso;
use super::types::{Asker, ConnId, HttpReply, MeshAsk, MeshCall, StatusBy, StatusCall};
use crate::store::MemberRow;

/// How long a status waits for the session that it is of, ms.
const PENDING_MS: u64 = 10_000;
/// Statuses that wait at most.
const PENDING: usize = 256;

/// Statuses of sessions that are not there yet.
#[derive(Debug, Default)]
pub(super) struct ToldStatuses(VecDeque<(u64, StatusCall)>);

/// The row of who asks, if it may ask.
fn asking<'m>(mesh: &'m Mesh, by: &Asker) -> Option<&'m MemberRow> {
    let key = match by {
        Asker::Member(key, _) => *key,
        Asker::Maker => mesh.log.roster().owner(),
    };
    mesh.member(&key).filter(|row| row.role != Role::Pending)
}

/// Whether a member is the owner or an admin.
pub(super) const fn moderates(row: &MemberRow) -> bool {
    matches!(row.role, Role::Owner | Role::Admin)
}

const fn permission(role: Role) -> &'static str {
    match role {
        Role::Owner | Role::Admin => "admin",
        _ => "member",
    }
}

pub(super) fn member_json(mesh: &Mesh, row: &MemberRow) -> Value {
    let own = mesh.presences.values().filter(|it| it.member == row.key);
    member_with(mesh, row, own.filter(|it| it.conn.is_some()).count())
}

fn member_with(mesh: &Mesh, row: &MemberRow, sessions: usize) -> Value {
    let profile = mesh.profile_json(&row.key);
    let mut member = json!({
        "id": row.id,
        "pubkey": row.key,
        "displayName": row.name,
        "roleTag": profile["roleTag"],
        "groups": profile["groups"],
        "messageMode": profile["messageMode"],
        "permission": permission(row.role),
        "dashboardUserId": null,
        "joinedAt": iso(row.joined_at),
        "online": sessions > 0,
        "sessionCount": sessions,
    });
    if row.last_seen > 0 {
        member["lastSeenAt"] = iso(row.last_seen).into();
    }
    member
}

fn members(mesh: &Mesh) -> Value {
    let current = mesh.members.values().filter(|row| row.removed_at == 0);
    let mut rows: Vec<_> = current.collect();
    rows.sort_by_key(|row| (row.joined_at, row.key));
    // Counted once for all: a mesh may have thousands of both.
    let mut sessions: HashMap<PublicKey, usize> = HashMap::new();
    for presence in mesh.presences.values().filter(|it| it.conn.is_some()) {
        *sessions.entry(presence.member).or_default() += 1;
    }
    let of = |row: &MemberRow| sessions.get(&row.key).copied().unwrap_or(0);
    let rows = rows.into_iter().map(|row| member_with(mesh, row, of(row)));
    let rows: Vec<Value> = rows.collect();
    json!({ "ok": true, "members": rows })
}

fn about(mesh: &Mesh, asker: &MemberRow) -> Value {
    let members = mesh.members.values().filter(|row| row.removed_at == 0);
    let active = mesh.presences.values().filter(|it| it.conn.is_some());
    json!({
        "id": mesh.row.id,
        "slug": mesh.row.slug,
        "name": mesh.row.slug,
        "role": permission(asker.role),
        "is_owner": asker.key == mesh.log.roster().owner(),
        "member_count": members.count(),
        "active_peers": active.count(),
        "joined_at": iso(asker.joined_at),
        "member_id": asker.id,
    })
}

impl StatusCall {
    /// Whether it is of this session.
    fn is_of(&self, presence: &Presence) -> bool {
        let by = match &self.by {
            StatusBy::ThisMachine => true,
            StatusBy::Member(key, _) => presence.member == *key,
        };
        // A peer of ours tells no process unless its owner wants that.
        let pid = |pid: i64| presence.pid.is_none_or(|own| own == 0 || own == pid);
        by && presence.cwd.as_deref() == Some(self.cwd.as_str()) && self.pid.is_none_or(pid)
    }
}

impl Router {
    /// Answers what is asked of a loaded mesh.
    pub(super) fn mesh_asked(&mut self, request: u64, shared: &Arc<MeshId>, call: MeshCall) {
        if let Some(reply) = self.mesh_answer(request, shared, call) {
            self.respond(request, reply);
        }
    }

    /// None: it is answered once something is kept.
    fn mesh_answer(
        &mut self,
        request: u64,
        shared: &Arc<MeshId>,
        call: MeshCall,
    ) -> Option<HttpReply> {
        let MeshCall { by, ask, .. } = call;
        let Some(mesh) = self.mesh(shared) else {
            return Some(refused(503, code::BUSY, "try again in a moment"));
        };
        let Some(asker) = asking(mesh, &by) else {
            let why = "this key is no admitted member of the mesh; sign with one that is";
            return Some(refused(403, code::FORBIDDEN, why));
        };
        let key = asker.key;
        let edit = match ask {
            MeshAsk::Members => return Some(HttpReply::Json(members(mesh))),
            MeshAsk::About => return Some(HttpReply::Json(about(mesh, asker))),
            MeshAsk::Delete => {
                let owner = asker.key == mesh.log.roster().owner();
                let (Asker::Member(..), true) = (&by, owner) else {
                    let why =
                        "only its owner deletes a mesh: sign the request with the owner's key";
                    return Some(refused(403, code::FORBIDDEN, why));
                };
                let deleted = json!({ "ok": true, "deleted": mesh.row.slug });
                let no = self.first_time(shared, &by);
                return Some(no.unwrap_or(HttpReply::Json(deleted)));
            }
            MeshAsk::Edit { member, fields } => profile::edit(mesh, asker, &member, &fields),
            MeshAsk::Settings(fields) => profile::set_policy(mesh, asker, &fields),
            MeshAsk::Grants(fields) => profile::grant(mesh, asker, &fields),
        };
        match edit {
            Err(no) => Some(no),
            Ok(edit) => {
                let no = self
                    .too_fast(shared, key)
                    .or_else(|| self.first_time(shared, &by));
                if no.is_none() {
                    self.keep_edit(request, shared, edit);
                }
                no
            }
        }
    }

    /// Why a change is not made: its member makes too many.
    fn too_fast(&mut self, shared: &Arc<MeshId>, member: PublicKey) -> Option<HttpReply> {
        let ack = self.check_rate(shared, member, 1).err()?;
        Some(HttpReply::Error {
            status: 429,
            code: code::RATE_LIMIT,
            message: ack.error.unwrap_or_default(),
            retry_after_ms: ack.retry_after_ms,
        })
    }

    /// Why a change is not made: its request was signed for another one, which was made.
    fn first_time(&mut self, shared: &Arc<MeshId>, by: &Asker) -> Option<HttpReply> {
        let Asker::Member(key, signature) = by else {
            return None;
        };
        let now = self.now.mono;
        match self.mesh_mut(shared)?.see(now, *key, *signature) {
            Some(true) => None,
            Some(false) => {
                let why = "this signature was used; sign the request anew";
                Some(refused(401, code::BAD_SIGNATURE, why))
            }
            None => Some(refused(503, code::BUSY, "try again in two minutes")),
        }
    }

    /// A program says how busy the session is that it belongs to.
    pub(super) fn status_told(&mut self, request: u64, call: StatusCall) {
        let mut found: Vec<(Arc<MeshId>, ConnId, String)> = Vec::new();
        for id in self.here() {
            let Some(mesh) = self.mesh(&id) else { continue };
            let own = mesh.presences.values().filter(|it| call.is_of(it));
            let own = own.filter_map(|it| Some((it.conn?, it.id.clone(), it.session_id.clone())));
            let mut own: Vec<_> = own.collect();
            let named = |it: &(ConnId, String, String)| Some(&it.2) == call.session.as_ref();
            // Of several in one folder the one that it names, if it names one.
            if own.iter().any(named) {
                own.retain(named);
            }
            found.extend(
                own.into_iter()
                    .map(|(conn, it, _)| (Arc::clone(&id), conn, it)),
            );
        }
        let Some((first, _, presence)) = found.first() else {
            let told = &mut self.told_statuses.0;
            let now = self.now.mono;
            told.retain(|(until, _)| *until > now);
            if told.len() >= PENDING {
                told.pop_front();
            }
            told.push_back((now + PENDING_MS, call));
            let pending = json!({ "ok": true, "pending": true });
            return self.respond(request, HttpReply::Json(pending));
        };
        if let StatusBy::Member(key, signature) = &call.by {
            let by = Asker::Member(*key, *signature);
            if let Some(no) = self.first_time(&Arc::clone(first), &by) {
                return self.respond(request, no);
            }
        }
        let done = json!({ "ok": true, "presence_id": presence });
        for (_, conn, _) in found {
            self.take_status(conn, call.status);
        }
        self.respond(request, HttpReply::Json(done));
    }

    /// A status that was told just before its session came.
    pub(super) fn take_told_status(&mut self, id: ConnId) {
        let now = self.now.mono;
        self.told_statuses.0.retain(|(until, _)| *until > now);
        if self.told_statuses.0.is_empty() {
            return;
        }
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let mesh = self.mesh(&conn.mesh);
        let Some(presence) = conn
            .presence
            .and_then(|key| mesh.and_then(|mesh| mesh.presences.get(&key)))
        else {
            return;
        };
        let told = &self.told_statuses.0;
        let Some(place) = told.iter().rposition(|(_, call)| call.is_of(presence)) else {
            return;
        };
        if let Some((_, call)) = self.told_statuses.0.remove(place) {
            self.take_status(id, call.status);
        }
    }

    /// What a program says of a session does not end that it is not to be disturbed.
    fn take_status(&mut self, id: ConnId, status: Status) {
        let dnd = self
            .conns
            .get(&id)
            .is_none_or(|conn| conn.status == Status::Dnd);
        if dnd && status != Status::Dnd {
            return;
        }
        let status = SetStatus {
            status: status.as_str().to_owned(),
            ttl_ms: None,
            address: None,
        };
        self.set_status(id, &status);
    }

    fn here(&self) -> Vec<Arc<MeshId>> {
        let ids = self.meshes.keys().filter(|id| self.mesh(id).is_some());
        let mut ids: Vec<Arc<MeshId>> = ids.map(|id| Arc::new(id.clone())).collect();
        ids.sort();
        ids
    }
}
