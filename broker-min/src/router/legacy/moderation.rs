//! What owners and admins do by existing clients: ending connections, and shutting members out.
//!
//! Whom the membership log has, only the log can take out; the broker's word is for the others.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    Ban, BanAck, BanRecord, BrokerFrame, CloseCode, Disconnect, DisconnectAck, Kick, KickAck,
    ListBans, ListBansResult, Unban, UnbanAck, errors::code, reason,
};

use crate::router::Router;
use crate::router::mesh::Mesh;
use crate::router::text::iso;
use crate::router::types::ConnId;
use crate::router::values::{Who, Wrote};
use crate::router::writer::Then;
use crate::store::{AuditRow, MemberRow, Op};

/// Digits of a key that are enough to name a member.
const PREFIX: usize = 8;

/// Whose connections are meant.
struct Whom {
    target: Option<String>,
    stale: Option<u64>,
    all: bool,
}

/// Whether a text names a member: its whole name or key, or enough of the key.
fn names(row: &MemberRow, text: &str) -> bool {
    // A whole key is that key's alone: also who calls itself so is not meant.
    if let Ok(key) = PublicKey::from_hex(text) {
        return row.key == key;
    }
    let key = row.key.to_hex();
    row.name.as_str() == text || (text.len() >= PREFIX && key.starts_with(&text.to_lowercase()))
}

/// The one member that a text names.
fn one(mesh: &Mesh, text: &str, which: impl Fn(&MemberRow) -> bool) -> Option<MemberRow> {
    let mut found = mesh
        .members
        .values()
        .filter(|row| which(row) && names(row, text));
    let first = found.next()?;
    found.next().is_none().then(|| first.clone())
}

impl Router {
    /// Who moderates, if it may.
    fn moderator(&mut self, id: ConnId, what: &str, req_id: Option<&String>) -> Option<Who> {
        let who = self.reader_of(id, req_id)?;
        if who.moderates() {
            return Some(who);
        }
        let why = format!("only owner or admin can {what}");
        self.error(id, code::FORBIDDEN, &why, req_id.cloned());
        None
    }

    pub(super) fn disconnect(&mut self, id: ConnId, ask: Disconnect) {
        let Some(who) = self.moderator(id, "disconnect", ask.req_id.as_ref()) else {
            return;
        };
        let whom = Whom {
            target: ask.target,
            stale: ask.stale,
            all: ask.all == Some(true),
        };
        let (kicked, _) = self.end_connections(id, &who, &whom, false);
        let affected = kicked.clone();
        let req_id = ask.req_id;
        self.answer(
            id,
            DisconnectAck {
                kicked,
                affected,
                req_id,
            },
        );
    }

    pub(super) fn kick(&mut self, id: ConnId, ask: Kick) {
        let Some(who) = self.moderator(id, "kick", ask.req_id.as_ref()) else {
            return;
        };
        let whom = Whom {
            target: ask.target,
            stale: ask.stale,
            all: ask.all == Some(true),
        };
        let (kicked, skipped) = self.end_connections(id, &who, &whom, true);
        let ack = KickAck {
            affected: kicked.clone(),
            kicked,
            skipped_control_plane: (!skipped.is_empty()).then_some(skipped),
            req_id: ask.req_id,
        };
        self.answer(id, ack);
    }

    /// Closes connections; gives the names of those that were closed, and of daemons that were
    /// left. The owner's are closed by the owner alone.
    fn end_connections(
        &mut self,
        own: ConnId,
        who: &Who,
        whom: &Whom,
        for_good: bool,
    ) -> (Vec<String>, Vec<String>) {
        let now = self.now.mono;
        let Some(mesh) = self.mesh(&who.mesh) else {
            return Default::default();
        };
        let named = |member: &PublicKey, name: &str| {
            whom.target.as_deref().is_some_and(|target| {
                let is_key = PublicKey::from_hex(target).is_ok();
                (name == target && !is_key)
                    || mesh.member(member).is_some_and(|row| names(row, target))
            })
        };
        let mut chosen = Vec::new();
        for id in mesh.conns.iter().filter(|id| **id != own) {
            let Some(conn) = self.conns.get(id) else {
                continue;
            };
            let row = mesh.member(&conn.member);
            if row.is_some_and(|row| row.role == Role::Owner) && who.role != Role::Owner {
                continue;
            }
            let silent = now.saturating_sub(conn.pong_at);
            let meant = match (&whom.target, whom.stale) {
                (Some(_), _) => named(&conn.member, &conn.name),
                (None, Some(stale)) => silent > stale,
                (None, None) => whom.all,
            };
            if meant {
                let daemon = conn.channel.as_deref() == Some("claudemesh-daemon");
                chosen.push((*id, conn.name.clone(), conn.presence, daemon && for_good));
            }
        }
        let (code, why) = match (for_good, whom.stale.is_some()) {
            (true, false) => (CloseCode::KICKED, reason::KICKED),
            (true, true) => (CloseCode::KICKED, reason::KICKED_STALE),
            (false, false) => (CloseCode::NORMAL, reason::DISCONNECTED),
            (false, true) => (CloseCode::NORMAL, reason::DISCONNECTED_STALE),
        };
        let (mut closed, mut left) = (Vec::new(), Vec::new());
        for (id, name, presence, skipped) in chosen {
            if skipped {
                left.push(name);
                continue;
            }
            if let Some(presence) = presence.filter(|_| for_good) {
                self.end_presence(&who.mesh, presence);
            }
            self.close(id, code, why);
            closed.push(name);
        }
        if !closed.is_empty() {
            let event = if for_good {
                "peer_kicked"
            } else {
                "peer_disconnected"
            };
            self.moderated(who, event, None);
        }
        (closed, left)
    }

    fn moderated(&mut self, who: &Who, event: &'static str, target: Option<&PublicKey>) {
        let row = AuditRow {
            mesh: MeshId::clone(&who.mesh),
            event,
            actor: Some(who.member.short()),
            target: target.map(PublicKey::short),
            size: None,
            priority: None,
            at: self.now.wall,
        };
        self.writer.push(vec![Op::Audit(row)], Then::Nothing);
    }

    pub(super) fn ban(&mut self, id: ConnId, ask: Ban) {
        let Some(who) = self.moderator(id, "ban", ask.req_id.as_ref()) else {
            return;
        };
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let Some(row) = one(mesh, &ask.target, |row| row.removed_at == 0) else {
            let why = "no member, or more than one, is called so; name its key";
            return self.error(id, code::NOT_FOUND, why, ask.req_id);
        };
        if row.logged || row.key == who.member || row.role == Role::Owner {
            let why = "this member is in the membership log, and only the log can take it out: \
                       claudemesh remove";
            return self.error(id, code::FORBIDDEN, why, ask.req_id);
        }
        let row = MemberRow {
            removed_at: self.now.wall,
            ..row
        };
        let ack = BanAck {
            banned: row.name.as_str().to_owned(),
            req_id: ask.req_id.clone(),
        };
        self.put_standing(id, &who, row, ("member_banned", ack.into()), ask.req_id);
    }

    pub(super) fn unban(&mut self, id: ConnId, ask: Unban) {
        let Some(who) = self.moderator(id, "unban", ask.req_id.as_ref()) else {
            return;
        };
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let banned = |row: &MemberRow| row.removed_at != 0 && !row.logged;
        let roster = mesh.log.roster();
        let Some(row) = one(mesh, &ask.target, banned)
            .filter(|row| roster.member_or_former(&row.key).is_none())
        else {
            let why = "nobody, or more than one, is shut out under this name; name the key";
            return self.error(id, code::NOT_FOUND, why, ask.req_id);
        };
        let row = MemberRow {
            removed_at: 0,
            ..row
        };
        let ack = UnbanAck {
            unbanned: row.name.as_str().to_owned(),
            req_id: ask.req_id.clone(),
        };
        self.put_standing(id, &who, row, ("member_unbanned", ack.into()), ask.req_id);
    }

    /// Writes whether a member without a log entry may come.
    fn put_standing(
        &mut self,
        id: ConnId,
        who: &Who,
        row: MemberRow,
        (event, ack): (&'static str, BrokerFrame),
        req_id: Option<String>,
    ) {
        self.moderated(who, event, Some(&row.key));
        let wrote = Wrote::Standing {
            conn: id,
            row: Box::new(row.clone()),
            ack: Box::new(ack),
            req_id,
        };
        self.write_others(vec![Op::PutMember(Box::new(row))], wrote);
    }

    /// Whether a member may come is kept.
    pub(in crate::router) fn standing_put(&mut self, id: ConnId, row: MemberRow, ack: BrokerFrame) {
        let shared = Arc::new(row.mesh.clone());
        let (key, banned) = (row.key, row.removed_at != 0);
        if let Some(mesh) = self.mesh_mut(&shared) {
            mesh.members.insert(key, row);
        }
        if banned {
            self.put_out(&shared, key);
        }
        self.answer(id, ack);
    }

    pub(super) fn list_bans(&mut self, id: ConnId, ask: ListBans) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let mut rows: Vec<_> = mesh
            .members
            .values()
            .filter(|row| row.removed_at != 0)
            .collect();
        rows.sort_by_key(|row| (row.removed_at, row.key));
        let bans = rows.into_iter().map(|row| BanRecord {
            name: row.name.as_str().to_owned(),
            pubkey: row.key.to_hex(),
            revoked_at: iso(row.removed_at),
        });
        let list = ListBansResult {
            bans: bans.collect(),
            req_id: ask.req_id,
        };
        self.reply(id, list);
    }
}
