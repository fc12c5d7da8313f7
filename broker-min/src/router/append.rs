//! Growing a mesh's log: one entry at a time, and what follows from it in the same commit.
//!
//! The log in memory takes an entry first, because only so its rules are checked; the entries that
//! are told to anyone are those that the store has. If the commit fails, the log goes back.

use std::sync::Arc;

use claudemesh_core::id::{MemberId, MeshId, PublicKey};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, Entry, LogError, RuleError, SignedEntry};
use claudemesh_core::wire::{
    BrokerFrame, CloseCode, ErrorFrame, LogAppended, LogHead, SignedBlob, errors, errors::code,
    reason,
};

use super::Router;
use super::mesh::Mesh;
use super::types::{ConnId, HttpReply, Kind, Out};
use super::writer::Then;
use crate::store::{AuditRow, InviteRow, LogChange, MemberRow, Op, Outcome};

/// Entries of one mesh that wait for their turn.
const APPENDS_MAX: usize = 1_024;
/// How far an entry's time may be ahead of or behind the broker's clock, ms.
const ENTRY_SKEW_MS: u64 = 600_000;

/// Who wants to append.
#[derive(Debug)]
pub(super) enum Author {
    /// A connection.
    Conn {
        conn: ConnId,
        req_id: Option<String>,
    },
    /// A join by HTTP.
    Http { request: u64 },
}

/// An entry on its way into the log.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) author: Author,
    pub(super) signed: SignedEntry,
    pub(super) token: Option<String>,
    /// What follows from it, once it is checked.
    pub(super) changes: Vec<LogChange>,
}

/// Why an entry is refused.
#[derive(Debug)]
pub(super) struct No {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

fn no(status: u16, code: &'static str, message: impl Into<String>) -> No {
    No {
        status,
        code,
        message: message.into(),
    }
}

/// What came of checking an entry.
enum Checked {
    /// It can be committed; the log has it.
    Next(Box<Entry>, Vec<LogChange>),
    /// The log has it already.
    There,
}

impl Router {
    /// Appends an entry, or lets it wait for its turn.
    pub(super) fn append(&mut self, shared: &Arc<MeshId>, append: Append) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        if mesh.appends.len() >= APPENDS_MAX {
            let why = "the log of this mesh is busy; try again in a moment";
            self.append_refused(append.author, no(503, code::BUSY, why));
            return;
        }
        mesh.appends.push_back(append);
        self.next_append(shared);
    }

    fn next_append(&mut self, shared: &Arc<MeshId>) {
        loop {
            let member = self.fresh_id();
            let now = self.now.wall;
            let Some(mesh) = self.mesh_mut(shared) else {
                return;
            };
            if mesh.pending.is_some() {
                return;
            }
            let Some(mut append) = mesh.appends.pop_front() else {
                return;
            };
            match check(mesh, &append, now, member) {
                Ok(Checked::Next(entry, changes)) => {
                    let op = Op::AppendLog {
                        mesh: MeshId::clone(shared),
                        seq: entry.seq,
                        entry: Box::new(append.signed.clone()),
                        changes: changes.clone(),
                    };
                    append.changes = changes;
                    mesh.pending = Some(Box::new(append));
                    let then = Then::Appended(Arc::clone(shared));
                    self.writer.push(vec![op], then);
                }
                Ok(Checked::There) => self.append_done(shared, append.author, &append.signed),
                Err(no) => self.append_refused(append.author, no),
            }
        }
    }

    /// The pending entry is in the store's log.
    pub(super) fn appended(&mut self, shared: &Arc<MeshId>, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Done) {
            // Somebody else wrote to this store: what is in memory is not the log.
            self.append_failed(shared, true);
            return;
        }
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Some(append) = mesh.pending.take() else {
            return;
        };
        let Append {
            author,
            signed,
            changes,
            ..
        } = *append;
        mesh.entries.push(signed.clone());
        let mut removed = None;
        for change in changes {
            match change {
                LogChange::Join(row) => {
                    mesh.members.insert(row.key, *row);
                }
                LogChange::Remove { key, at } => {
                    if let Some(row) = mesh.members.get_mut(&key) {
                        row.removed_at = at;
                    }
                    removed = Some(key);
                }
                LogChange::Token(row) => {
                    mesh.invites.insert(row.token.clone(), *row);
                }
                LogChange::Audit(_) => {}
            }
        }
        let head = mesh.head();
        let by = match &author {
            Author::Conn { conn, .. } => Some(*conn),
            Author::Http { .. } => None,
        };
        let others: Vec<_> = mesh
            .conns
            .iter()
            .copied()
            .filter(|c| Some(*c) != by)
            .collect();
        let listens = |id: &ConnId| self.conns.get(id).is_some_and(|conn| conn.log);
        let others: Vec<_> = others.into_iter().filter(listens).collect();
        if !others.is_empty() {
            let told: BrokerFrame = LogAppended {
                channel: String::new(),
                head: LogHead::new(head.seq, &head.hash),
                entry: Some(blob(&signed)),
                req_id: None,
            }
            .into();
            self.outs.push_back(Out::Write {
                conns: others,
                text: told.encode().into(),
                kind: Kind::Reply,
            });
        }
        self.append_done(shared, author, &signed);
        if let Some(key) = removed {
            self.put_out(shared, key);
        }
        self.next_append(shared);
    }

    /// Closes everything of a removed member, and fails what waits for it.
    fn put_out(&mut self, shared: &Arc<MeshId>, key: PublicKey) {
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let conns = mesh.conns_of.get(&key).cloned().unwrap_or_default();
        let own = mesh.presences.iter().filter(|(_, p)| p.member == key);
        let presences: Vec<u64> = own.map(|(key, _)| *key).collect();
        let mailboxes = mesh.sessions_of(&key);
        let why = errors::revoked(&mesh.row.slug);
        for presence in presences {
            self.end_presence(shared, presence);
        }
        for conn in conns {
            self.error(conn, code::REVOKED, &why, None);
            self.close(conn, CloseCode::BANNED, reason::BANNED);
        }
        for mailbox in std::iter::once(key).chain(mailboxes) {
            self.fail_mailbox(shared, mailbox);
        }
    }

    /// The pending entry was not committed, or nobody knows.
    pub(super) fn append_failed(&mut self, shared: &Arc<MeshId>, unknown: bool) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let author = mesh.pending.take().map(|append| append.author);
        let restored = !unknown && mesh.take_back();
        if let Some(author) = author {
            let why = "the broker could not write to its store; try again";
            self.append_refused(author, no(503, "store_unavailable", why));
        }
        if restored {
            self.next_append(shared);
        } else {
            self.forget_mesh(shared);
        }
    }

    /// Drops a mesh whose state in memory may not be the store's; its peers come again.
    pub(super) fn forget_mesh(&mut self, shared: &Arc<MeshId>) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let waiting = std::mem::take(&mut mesh.appends);
        let conns = std::mem::take(&mut mesh.conns);
        for append in waiting {
            let why = "the broker could not write to its store; try again";
            self.append_refused(append.author, no(503, "store_unavailable", why));
        }
        for conn in conns {
            self.close(conn, CloseCode::OVERLOAD, "store_unknown");
        }
        self.meshes.remove(&**shared);
    }

    fn append_done(&mut self, shared: &Arc<MeshId>, author: Author, signed: &SignedEntry) {
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let head = mesh.head();
        match author {
            Author::Conn { conn, req_id } => {
                if self.conns.contains_key(&conn) {
                    let told = LogAppended {
                        channel: String::new(),
                        head: LogHead::new(head.seq, &head.hash),
                        entry: None,
                        req_id,
                    };
                    self.reply(conn, told);
                }
            }
            Author::Http { request } => {
                let key = signed.decode().ok().and_then(|entry| match entry.body {
                    Body::MemberJoined { key, .. } => Some(key),
                    _ => None,
                });
                let row = key.and_then(|key| mesh.members.get(&key));
                let member = row.map(|row| row.id.as_str().to_owned());
                let reply = HttpReply::Joined {
                    member: member.unwrap_or_default(),
                    already: false,
                    head: Some(head),
                };
                self.respond(request, reply);
            }
        }
    }

    fn append_refused(&mut self, author: Author, no: No) {
        let retry_after_ms = (no.status == 503).then_some(1_000);
        match author {
            Author::Conn { conn, req_id } => {
                if self.conns.contains_key(&conn) {
                    let mut error = ErrorFrame::new(no.code, no.message);
                    error.req_id = req_id;
                    error.retry_after_ms = retry_after_ms;
                    self.reply(conn, error);
                }
            }
            Author::Http { request } => self.respond(
                request,
                HttpReply::Error {
                    status: no.status,
                    code: no.code,
                    message: no.message,
                    retry_after_ms,
                },
            ),
        }
    }
}

/// An entry as it travels.
pub(super) fn blob(entry: &SignedEntry) -> SignedBlob {
    SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref())
}

/// Checks an entry and, if it is good, appends it to the log in memory.
fn check(mesh: &mut Mesh, append: &Append, now: u64, fresh: String) -> Result<Checked, No> {
    let signed = &append.signed;
    let entry = signed
        .decode()
        .map_err(|error| no(400, code::MALFORMED, error.to_string()))?;
    let at_place = mesh.log.hash_at(entry.seq);
    if at_place == Some(signed.hash()) {
        return Ok(Checked::There);
    }
    if at_place.is_some() || entry.seq != mesh.log.head().seq + 1 {
        return Err(no(409, code::LOG_CONFLICT, CONFLICT));
    }
    if entry.at != mesh.log.at() && entry.at.abs_diff(now) > ENTRY_SKEW_MS {
        let why = "the entry's time is more than 10 minutes off the broker's clock; set the clock";
        return Err(no(400, code::TIMESTAMP_SKEW, why));
    }
    if let Body::MemberJoined { invite, .. } = &entry.body
        && let Some(invite) = mesh.log.roster().invite(invite)
    {
        if mesh.uses_left(invite) == 0 {
            return Err(rule(RuleError::InviteUsedUp));
        }
        if now > invite.expires_at {
            return Err(rule(RuleError::InviteExpired));
        }
    }
    let token = token(mesh, append, &entry, now)?;
    let entry = mesh.log.append(signed).map_err(|error| match error {
        LogError::NotNext { .. } | LogError::OtherMesh | LogError::Empty => {
            no(409, code::LOG_CONFLICT, CONFLICT)
        }
        LogError::Rule { source, .. } => rule(source),
        error => no(400, code::MALFORMED, error.to_string()),
    })?;
    let mut changes: Vec<LogChange> = Vec::new();
    let (event, target) = match &entry.body {
        Body::MemberJoined { key, name, .. } => {
            let member = mesh.log.roster().member(key);
            let role = member.map(|member| member.role);
            let known = mesh.members.get(key);
            let id = known.map(|row| row.id.clone());
            if let (Some(role), Some(id)) = (role, id.or_else(|| MemberId::new(fresh).ok())) {
                changes.push(LogChange::Join(Box::new(MemberRow {
                    mesh: mesh.row.id.clone(),
                    key: *key,
                    id,
                    name: name.clone(),
                    role,
                    logged: true,
                    joined_at: known.map_or(now, |row| row.joined_at),
                    last_seen: known.map_or(0, |row| row.last_seen),
                    removed_at: 0,
                })));
            }
            ("member_joined", Some(key.short()))
        }
        Body::MemberRemoved { key, .. } => {
            changes.push(LogChange::Remove { key: *key, at: now });
            ("member_removed", Some(key.short()))
        }
        Body::InviteIssued { .. } => ("invite_issued", None),
        Body::InviteClosed { .. } => ("invite_closed", None),
        _ => ("mesh_created", None),
    };
    changes.extend(token.map(|row| LogChange::Token(Box::new(row))));
    changes.push(LogChange::Audit(AuditRow {
        mesh: mesh.row.id.clone(),
        event,
        actor: Some(entry.signer.short()),
        target,
        size: None,
        priority: None,
        at: now,
    }));
    Ok(Checked::Next(Box::new(entry), changes))
}

/// The row of the token that comes with an invite.
fn token(mesh: &Mesh, append: &Append, entry: &Entry, now: u64) -> Result<Option<InviteRow>, No> {
    let Some(text) = append.token.as_deref() else {
        return Ok(None);
    };
    let bad = |why: &str| no(400, code::INVALID_ARGUMENT, format!("invite_token: {why}"));
    if !matches!(entry.body, Body::InviteIssued { .. }) {
        return Err(bad("only an invite_issued entry has one"));
    }
    let token = InviteToken::parse(text).map_err(|error| bad(&error.to_string()))?;
    if token.mesh_id != mesh.row.id.as_str() {
        return Err(bad("it names another mesh"));
    }
    if token.issuer() != Some(entry.signer) {
        return Err(bad("it is not issued by the entry's signer"));
    }
    token
        .verify(now / 1_000)
        .map_err(|error| bad(&error.to_string()))?;
    if mesh.invites.contains_key(text) {
        return Err(bad("it belongs to another invite"));
    }
    Ok(Some(InviteRow {
        mesh: mesh.row.id.clone(),
        token: text.to_owned(),
        invite: append.signed.hash(),
        legacy_uses: 0,
    }))
}

/// A rule that an entry breaks, in the words of the existing system where it has them.
pub(super) fn rule(error: RuleError) -> No {
    let (status, code) = match error {
        RuleError::UnknownInvite => (400, "invite_not_found"),
        RuleError::InviteClosed => (400, "invite_revoked"),
        RuleError::InviteExpired => (400, "invite_expired"),
        RuleError::InviteUsedUp => (400, "invite_exhausted"),
        RuleError::NotAllowed | RuleError::OwnerStays => (403, code::FORBIDDEN),
        RuleError::UnknownMember => (404, code::NOT_FOUND),
        _ => (400, code::INVALID),
    };
    no(status, code, error.to_string())
}

const CONFLICT: &str = "the log has grown since this entry was signed: fetch it, decide and sign \
                        anew";
