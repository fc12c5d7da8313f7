//! Growing a mesh's log: one entry at a time, and what follows from it in the same commit.
//!
//! The log in memory takes an entry first, because only so its rules are checked; the entries that
//! are told to anyone are those that the store has. If the commit fails, the log goes back.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::SignedEntry;
use claudemesh_core::wire::{
    BrokerFrame, CloseCode, ErrorFrame, LogAppended, LogHead, SignedBlob, errors, errors::code,
    reason,
};

use super::Router;
use super::changes::target;
use super::entry::{Checked, No, check, no};
use super::mesh::Mesh;
use super::types::{ConnId, HttpReply, Kind, Out};
use super::writer::Then;
use crate::store::{LogChange, Op, Outcome};

/// Entries of one mesh that wait for their turn.
const APPENDS_MAX: usize = 1_024;

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
    /// An entry that was posted, with nothing but its own signatures.
    Post { request: u64 },
}

/// An entry on its way into the log.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) author: Author,
    pub(super) signed: SignedEntry,
    pub(super) token: Option<String>,
    /// Who brings it may bring back what this broker has lost.
    pub(super) repost: bool,
    /// What follows from it, once it is checked.
    pub(super) changes: Vec<LogChange>,
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
        let mut removed = Vec::new();
        for change in changes {
            match change {
                LogChange::Join(row) => {
                    mesh.members.insert(row.key, *row);
                }
                LogChange::Remove { key, at } => {
                    if let Some(row) = mesh.members.get_mut(&key) {
                        row.removed_at = at;
                    }
                    removed.push(key);
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
            Author::Http { .. } | Author::Post { .. } => None,
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
        for key in removed {
            self.put_out(shared, key);
        }
        self.next_append(shared);
    }

    /// Closes everything of a removed member, and fails what waits for it.
    pub(super) fn put_out(&mut self, shared: &Arc<MeshId>, key: PublicKey) {
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
            self.append_refused(author, no(503, code::STORE_UNAVAILABLE, why));
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
        let mut waiting = std::mem::take(&mut mesh.appends);
        waiting.extend(mesh.pending.take().map(|append| *append));
        let conns = std::mem::take(&mut mesh.conns);
        for append in waiting {
            let why = "the broker could not write to its store; try again";
            self.append_refused(append.author, no(503, code::STORE_UNAVAILABLE, why));
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
                let reply = HttpReply::Joined {
                    member: member_id(mesh, signed).unwrap_or_default(),
                    already: false,
                    head: Some(head),
                };
                self.respond(request, reply);
            }
            Author::Post { request } => {
                let member = member_id(mesh, signed);
                self.respond(request, HttpReply::Appended { member, head });
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
            Author::Http { request } | Author::Post { request } => self.respond(
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

/// The broker's id of the member that an entry is about.
fn member_id(mesh: &Mesh, signed: &SignedEntry) -> Option<String> {
    let key = signed.decode().ok().and_then(|entry| target(&entry.body))?;
    let row = mesh.member(&key)?;
    Some(row.id.as_str().to_owned())
}

/// An entry as it travels.
pub(super) fn blob(entry: &SignedEntry) -> SignedBlob {
    SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref())
}
