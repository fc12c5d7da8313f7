//! What is asked by HTTP: making a mesh, reading its log, looking at a link.

use std::sync::Arc;

use claudemesh_core::id::{MemberId, MeshId, PublicKey};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, Log, SignedEntry};
use claudemesh_core::wire::errors;

use super::Router;
use super::entry::rule;
use super::join::{imported_uses, open_invite};
use super::legacy::no_key;
use super::log::log_page;
use super::mesh::{Mesh, Slot};
use super::types::{HttpCall, HttpReply, In, LinkInfo, Out, StatusCall};
use super::writer::Then;
use crate::store::{AuditRow, MeshRow, Op, Outcome};

/// How far the time of a first entry may be off the broker's clock, ms.
const CREATE_SKEW_MS: u64 = 600_000;

/// A page of the log.
fn page(mesh: &Mesh, from: u64) -> HttpReply {
    HttpReply::Log {
        entries: log_page(&mesh.entries, from).to_vec(),
        head: mesh.head(),
    }
}

/// A refusal.
pub(super) fn refused(status: u16, code: &'static str, message: impl Into<String>) -> HttpReply {
    HttpReply::Error {
        status,
        code,
        message: message.into(),
        retry_after_ms: (status == 503).then_some(1_000),
    }
}

impl Router {
    pub(super) fn respond(&mut self, request: u64, reply: HttpReply) {
        self.outs.push_back(Out::Respond { request, reply });
    }

    pub(super) fn http(&mut self, request: u64, call: HttpCall) {
        if self.stopping {
            let why = "the broker is stopping; try again in a moment";
            self.respond(request, refused(503, errors::code::BUSY, why));
            return;
        }
        let mesh = match &call {
            HttpCall::Status(told) => {
                self.status_told(request, StatusCall::clone(told));
                return;
            }
            HttpCall::Api(asked) if asked.mesh.is_none() => {
                if let HttpCall::Api(call) = call {
                    self.by_key(request, *call);
                }
                return;
            }
            HttpCall::Api(call) => call.mesh.clone(),
            HttpCall::Gauges => {
                let gauges = self.gauges();
                self.respond(request, HttpReply::Gauges(gauges));
                return;
            }
            HttpCall::Create { entry } => Some(entry.mesh_id()),
            HttpCall::Join(join) => MeshId::new(&join.payload.mesh_id).ok(),
            HttpCall::Log { mesh, .. } | HttpCall::Append { mesh, .. } => Some(mesh.clone()),
            HttpCall::Mesh(call) => Some(call.mesh.clone()),
            HttpCall::Link { token } => InviteToken::parse(token)
                .ok()
                .and_then(|token| MeshId::new(&token.mesh_id).ok()),
        };
        let Some(mesh) = mesh else {
            self.no_mesh(request, &call);
            return;
        };
        if let Some(reply) = self.refused_call(&mesh, &call) {
            self.respond(request, reply);
            return;
        }
        if self.mesh(&mesh).is_none() {
            self.park(mesh, In::Http { request, call });
            return;
        }
        let shared = Arc::new(mesh);
        match call {
            HttpCall::Create { .. } => self.made_before(request, &shared),
            HttpCall::Join(join) => self.join(request, &shared, *join),
            HttpCall::Log { key, from, .. } => self.read_log(request, &shared, &key, from),
            HttpCall::Append { entry, .. } => self.post_entry(request, &shared, entry),
            HttpCall::Link { token } => self.link(request, &shared, &token),
            HttpCall::Mesh(call) => self.mesh_asked(request, &shared, *call),
            HttpCall::Api(call) => self.api(request, &shared, *call),
            HttpCall::Gauges | HttpCall::Status(_) => {}
        }
    }

    fn gauges(&self) -> [u64; 3] {
        let meshes = self.meshes.values();
        let ready = meshes.filter(|slot| matches!(slot, Slot::Ready(_))).count();
        let unsettled: usize = self.conns.values().map(|conn| conn.window.len()).sum();
        [self.conns.len() as u64, ready as u64, unsettled as u64]
    }

    /// Answers a call about a mesh that is not there.
    pub(super) fn no_mesh(&mut self, request: u64, call: &HttpCall) {
        let why = "this broker has no such mesh; check the link and the broker's address";
        let reply = match call {
            HttpCall::Link { .. } => HttpReply::Link(LinkInfo::Closed("invite_not_found")),
            HttpCall::Log { .. } | HttpCall::Append { .. } | HttpCall::Mesh(_) => {
                refused(404, "mesh_not_found", why)
            }
            HttpCall::Api(_) => no_key(),
            _ => refused(400, "mesh_not_found", why),
        };
        self.respond(request, reply);
    }

    /// Makes a mesh that is not there.
    pub(super) fn create(&mut self, request: u64, entry: SignedEntry) {
        let (log, body) = match (Log::begin(&entry), entry.decode()) {
            (Ok(log), Ok(opened)) => (log, opened.body),
            (Err(error), _) => {
                let why = error.to_string();
                self.respond(request, refused(400, errors::code::MALFORMED, why));
                return;
            }
            (_, Err(error)) => {
                let why = error.to_string();
                self.respond(request, refused(400, errors::code::MALFORMED, why));
                return;
            }
        };
        if log.at().abs_diff(self.now.wall) > CREATE_SKEW_MS {
            let why = "the entry's time is more than 10 minutes off the broker's clock";
            self.respond(request, refused(400, errors::code::TIMESTAMP_SKEW, why));
            return;
        }
        let Body::MeshCreated { slug, name, .. } = body else {
            return;
        };
        let member = self.fresh_id();
        let Ok(owner_member) = MemberId::new(&member) else {
            return;
        };
        let owner = log.roster().owner();
        let row = MeshRow {
            id: log.mesh().clone(),
            slug: slug.as_str().to_owned(),
            owner,
            owner_name: name,
            owner_member,
            created_at: self.now.wall,
        };
        let audit = AuditRow {
            mesh: log.mesh().clone(),
            event: "mesh_created",
            actor: Some(owner.short()),
            target: None,
            size: None,
            priority: None,
            at: self.now.wall,
        };
        let create = Op::CreateMesh {
            mesh: Box::new(row),
            entry: Box::new(entry.clone()),
        };
        let then = Then::Created {
            request,
            entry: Box::new(entry),
            member,
        };
        self.writer.push(vec![create], then);
        self.writer.push(vec![Op::Audit(audit)], Then::Nothing);
    }

    pub(super) fn created(
        &mut self,
        request: u64,
        entry: SignedEntry,
        member: String,
        outcome: &Outcome,
    ) {
        if matches!(outcome, Outcome::Done) {
            let mesh = entry.mesh_id();
            self.respond(
                request,
                HttpReply::Created {
                    mesh,
                    member,
                    new: true,
                },
            );
        } else {
            // The same entry was posted twice at a time: the other one made it.
            self.http(request, HttpCall::Create { entry });
        }
    }

    /// The same first entry again: the mesh is there.
    fn made_before(&mut self, request: u64, shared: &Arc<MeshId>) {
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let owner = mesh.members.get(&mesh.row.owner);
        let member = owner.map_or(&mesh.row.owner_member, |row| &row.id);
        let reply = HttpReply::Created {
            mesh: MeshId::clone(shared),
            member: member.as_str().to_owned(),
            new: false,
        };
        self.respond(request, reply);
    }

    fn read_log(&mut self, request: u64, shared: &Arc<MeshId>, key: &PublicKey, from: u64) {
        let now = self.now.wall;
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let roster = mesh.log.roster();
        let invite = roster.invites().find(|invite| invite.key == *key);
        let invited = invite.map(|invite| invite.check_open(now));
        let reply = match invited {
            // Who recovers a mesh has nothing else of it.
            _ if mesh.member(key).is_some() || roster.recovery() == Some(*key) => page(mesh, from),
            Some(Ok(())) => page(mesh, from),
            // Who holds the link's secret may know why the link is of no use.
            Some(Err(error)) => {
                let no = rule(error);
                refused(no.status, no.code, no.message)
            }
            None => {
                let why =
                    "this key is neither a member's, nor an open invite's, nor the recovery key";
                refused(403, errors::code::FORBIDDEN, why)
            }
        };
        self.respond(request, reply);
    }

    fn link(&mut self, request: u64, shared: &Arc<MeshId>, token: &str) {
        let now = self.now.wall;
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let left = if mesh.log.has_entries() {
            let invite = open_invite(mesh, token, now);
            invite
                .map(|invite| mesh.uses_left(invite))
                .map_err(|(code, _)| code)
        } else {
            imported_uses(mesh, token, now)
        };
        let info = match left {
            Ok(left) => LinkInfo::Open { left },
            Err(code) => LinkInfo::Closed(code),
        };
        self.respond(request, HttpReply::Link(info));
    }
}
