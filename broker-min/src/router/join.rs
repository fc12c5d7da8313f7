//! Joining a mesh by HTTP, with a log entry or, as clients of the existing system do, without.

use std::sync::Arc;

use claudemesh_core::crypto::sha256;
use claudemesh_core::id::{MemberId, MeshId, Name, PublicKey};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, Invite, Role, RuleError, SignedEntry};
use claudemesh_core::wire::errors;

use serde::{Deserialize, Serialize};

use super::Router;
use super::append::{Append, Author};
use super::entry::rule;
use super::http::refused;
use super::legacy::items::{Change, Kind};
use super::mesh::Mesh;
use super::types::{HttpReply, JoinCall};
use super::writer::Then;
use crate::store::{AuditRow, MemberRow, Op};

impl Router {
    pub(super) fn join(&mut self, request: u64, shared: &Arc<MeshId>, join: JoinCall) {
        let now = self.now.wall;
        let fresh = self.fresh_id();
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        if let Some(row) = mesh.members.get(&join.key) {
            let reply = if row.removed_at == 0 {
                HttpReply::Joined {
                    member: row.id.as_str().to_owned(),
                    already: true,
                    head: Some(mesh.head()),
                }
            } else {
                let why = "this key was removed from the mesh; ask for a new link and join with \
                           a new key";
                refused(403, errors::code::REVOKED, why)
            };
            self.respond(request, reply);
            return;
        }
        if let Some(signed) = join.entry {
            match entry_fits(mesh, &join.token, &join.payload, &join.key, &signed) {
                Ok(()) => {
                    let append = Append {
                        author: Author::Http { request },
                        signed,
                        token: None,
                        repost: false,
                        changes: Vec::new(),
                    };
                    self.append(shared, append);
                }
                Err(reply) => self.respond(request, reply),
            }
            return;
        }
        if !mesh.log.has_entries() {
            return self.join_imported(request, shared, &join, fresh);
        }
        match legacy_row(mesh, &join, now, fresh) {
            Ok(row) => {
                mesh.joining.insert(row.key);
                if let Some(invite) = mesh.invites.get_mut(&join.token) {
                    invite.legacy_uses += 1;
                }
                let audit = AuditRow {
                    mesh: MeshId::clone(shared),
                    event: "member_joined",
                    actor: Some(row.key.short()),
                    target: Some(row.key.short()),
                    size: None,
                    priority: None,
                    at: now,
                };
                let ops = vec![
                    Op::PutMember(Box::new(row.clone())),
                    Op::UseInvite {
                        mesh: MeshId::clone(shared),
                        token: join.token.clone(),
                    },
                    Op::Audit(audit),
                ];
                let then = Then::Put {
                    request,
                    row: Box::new(row),
                    token: join.token,
                };
                self.writer.push(ops, then);
            }
            Err(reply) => self.respond(request, reply),
        }
    }

    /// Joins a mesh that came from the existing system, by a link that came with it.
    fn join_imported(
        &mut self,
        request: u64,
        shared: &Arc<MeshId>,
        join: &JoinCall,
        fresh: String,
    ) {
        let now = self.now.wall;
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let place = sha256(join.token.as_bytes()).to_hex();
        let row = imported_row(mesh, &place, join, now, fresh);
        let (row, invite) = match row {
            Ok(found) => found,
            Err(reply) => return self.respond(request, reply),
        };
        mesh.joining.insert(row.key);
        let audit = AuditRow {
            mesh: MeshId::clone(shared),
            event: "member_joined",
            actor: Some(row.key.short()),
            target: Some(row.key.short()),
            size: None,
            priority: None,
            at: now,
        };
        let change = Change::put(Kind::Invite, place, &invite);
        self.change_item(None, shared, change, Vec::new(), None);
        let ops = vec![Op::PutMember(Box::new(row.clone())), Op::Audit(audit)];
        let then = Then::Put {
            request,
            row: Box::new(row),
            token: join.token.clone(),
        };
        self.writer.push(ops, then);
    }

    /// A member without a log entry is in the store.
    pub(super) fn member_put(&mut self, request: u64, row: MemberRow, token: &str, done: bool) {
        let member = row.id.as_str().to_owned();
        let mut head = None;
        if let Some(mesh) = self.mesh_mut(&row.mesh) {
            mesh.joining.remove(&row.key);
            head = Some(mesh.head());
            if done {
                mesh.members.insert(row.key, row);
            } else if let Some(invite) = mesh.invites.get_mut(token) {
                invite.legacy_uses = invite.legacy_uses.saturating_sub(1);
            }
        }
        let reply = if done {
            HttpReply::Joined {
                member,
                already: false,
                head,
            }
        } else {
            refused(
                400,
                "member_insert_failed",
                "this mesh is not there any more",
            )
        };
        self.respond(request, reply);
    }
}

/// A link as it came from the existing system.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Imported {
    role: Role,
    max_uses: u64,
    used: u64,
    /// Unix ms.
    expires_at: u64,
}

/// The link of this place and issuer, if someone may join by it now.
fn open_imported(
    mesh: &Mesh,
    place: &str,
    issuer: Option<PublicKey>,
    now: u64,
) -> Result<Imported, (&'static str, &'static str)> {
    let Some(invite) = mesh.items.get::<Imported>(Kind::Invite, place) else {
        return Err(("invite_not_found", "no such invite; ask for a new link"));
    };
    if issuer != Some(mesh.row.owner) {
        let why = "the token was not issued by the owner of the mesh";
        return Err(("invite_owner_mismatch", why));
    }
    if now > invite.expires_at {
        let why = "this link has expired; ask for a new one";
        return Err(("invite_expired", why));
    }
    if invite.used >= invite.max_uses {
        let why = "this link is used up; ask for a new one";
        return Err(("invite_exhausted", why));
    }
    Ok(invite)
}

/// How many may still join by a link that came with a mesh of the existing system.
pub(super) fn imported_uses(mesh: &Mesh, token: &str, now: u64) -> Result<u64, &'static str> {
    let place = sha256(token.as_bytes()).to_hex();
    let issuer = InviteToken::parse(token).ok().and_then(|it| it.issuer());
    let invite = open_imported(mesh, &place, issuer, now).map_err(|(code, _)| code)?;
    Ok(invite.max_uses.saturating_sub(invite.used))
}

/// The row of a member that joins by such a link, and the link after that.
fn imported_row(
    mesh: &Mesh,
    place: &str,
    join: &JoinCall,
    now: u64,
    fresh: String,
) -> Result<(MemberRow, Imported), HttpReply> {
    let bad = |code, why: &str| refused(400, code, why);
    let issuer = join.payload.issuer();
    let mut invite =
        open_imported(mesh, place, issuer, now).map_err(|(code, why)| bad(code, why))?;
    if mesh.joining.contains(&join.key) {
        let why = "this key is joining already; try again in a moment";
        return Err(refused(503, errors::code::BUSY, why));
    }
    let name = Name::new(join.name.trim());
    let name = name.map_err(|error| {
        bad(
            errors::code::INVALID_ARGUMENT,
            &format!("display_name: {error}"),
        )
    })?;
    let id = MemberId::new(fresh)
        .map_err(|error| refused(500, "member_insert_failed", error.to_string()))?;
    invite.used += 1;
    let row = MemberRow {
        mesh: mesh.row.id.clone(),
        key: join.key,
        id,
        name,
        role: invite.role,
        logged: false,
        joined_at: now,
        last_seen: 0,
        removed_at: 0,
    };
    Ok((row, invite))
}

/// The invite of a token, if someone may join by it now.
pub(super) fn open_invite<'m>(
    mesh: &'m Mesh,
    token: &str,
    now: u64,
) -> Result<&'m Invite, (&'static str, String)> {
    let row = mesh.invites.get(token);
    let invite = row.and_then(|row| mesh.log.roster().invite(&row.invite));
    let Some(invite) = invite else {
        let why = "no such invite; ask for a new link".to_owned();
        return Err(("invite_not_found", why));
    };
    let exhausted = RuleError::InviteUsedUp;
    let left = mesh.uses_left(invite);
    invite
        .check_open(now)
        .and(if left == 0 { Err(exhausted) } else { Ok(()) })
        .map_err(rule)
        .map_err(|no| (no.code, no.message))?;
    Ok(invite)
}

/// Checks that an entry is the join that the call is about, by the token it names.
fn entry_fits(
    mesh: &Mesh,
    token: &str,
    payload: &InviteToken,
    key: &PublicKey,
    signed: &SignedEntry,
) -> Result<(), HttpReply> {
    let entry = signed
        .decode()
        .map_err(|error| refused(400, errors::code::MALFORMED, error.to_string()))?;
    let (Body::MemberJoined {
        key: joins, invite, ..
    }
    | Body::DeviceLinked {
        key: joins, invite, ..
    }) = &entry.body
    else {
        let why = "log_entry must be a member_joined or device_linked entry";
        return Err(refused(400, errors::code::INVALID, why));
    };
    if joins != key {
        let why = "log_entry is about another key than peer_pubkey";
        return Err(refused(400, errors::code::INVALID, why));
    }
    if mesh
        .invites
        .get(token)
        .is_some_and(|row| row.invite != *invite)
    {
        let why = "the token belongs to another invite than the one in log_entry";
        return Err(refused(400, "invite_mesh_mismatch", why));
    }
    let issuer = mesh.log.roster().invite(invite).map(|invite| invite.issuer);
    if issuer.is_some() && issuer != payload.issuer() {
        let why = "the token was not issued by who issued the invite";
        return Err(refused(400, "invite_owner_mismatch", why));
    }
    Ok(())
}

/// The row of a member that joins without a log entry.
fn legacy_row(
    mesh: &Mesh,
    join: &JoinCall,
    now: u64,
    fresh: String,
) -> Result<MemberRow, HttpReply> {
    let invite = open_invite(mesh, &join.token, now)
        .map_err(|(code, message)| refused(400, code, message))?;
    if join.payload.issuer() != Some(invite.issuer) {
        let why = "the token was not issued by who issued the invite";
        return Err(refused(400, "invite_owner_mismatch", why));
    }
    if invite.role == Role::Device {
        let why = "this link adds a device to a member, which takes a client that knows the \
                   membership log";
        return Err(refused(400, errors::code::INVALID, why));
    }
    if mesh.joining.contains(&join.key) {
        let why = "this key is joining already; try again in a moment";
        return Err(refused(503, errors::code::BUSY, why));
    }
    let known = mesh.log.roster().member_or_former(&join.key).is_some();
    if known
        || mesh
            .log
            .roster()
            .invites()
            .any(|invite| invite.key == join.key)
    {
        let why = "this key is known to the mesh already; join with a new one";
        return Err(refused(403, errors::code::REVOKED, why));
    }
    let name = Name::new(join.name.trim()).map_err(|error| {
        refused(
            400,
            errors::code::INVALID_ARGUMENT,
            format!("display_name: {error}"),
        )
    })?;
    let id = MemberId::new(fresh)
        .map_err(|error| refused(500, "member_insert_failed", error.to_string()))?;
    Ok(MemberRow {
        mesh: mesh.row.id.clone(),
        key: join.key,
        id,
        name,
        role: invite.role,
        logged: false,
        joined_at: now,
        last_seen: 0,
        removed_at: 0,
    })
}
