//! Who is here: joins, leases, leaves, statuses, lists.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::id::{MeshId, PublicKey, Status};
use claudemesh_core::wire::{
    MemberRecord, PeerRecord, PeersList, Push, SUBTYPE_SYSTEM, SetStatus, SignedBlob,
};
use serde_json::{Value, json};

use super::Router;
use super::clock::{MESH_IDLE_MS, Timer};
use super::conn::HINT_BYTES;
use super::legacy::people::Remembered;
use super::mesh::{Mesh, Presence};
use super::text::iso;
use super::types::{Address, ConnId, Kind, Out};
use super::writer::Then;
use crate::store::{AuditRow, Op};

/// How long `working` holds if the peer does not say, and at most, ms.
const WORKING_MS: u64 = 60_000;
const WORKING_MAX_MS: u64 = 3_600_000;
/// Bytes of summaries in one list; those of later sessions are left out.
const SUMMARIES_BYTES: usize = 4 << 20;
/// Between two notes of when a member was seen, ms.
const SEEN_MS: u64 = 60_000;

impl Router {
    /// Forgets a connection. Its presence stays for the lease.
    pub(super) fn gone(&mut self, id: ConnId) {
        self.unstage(id);
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        if let Some(timer) = conn.working {
            self.timers.remove(&timer);
        }
        let now = self.now.mono;
        let lease_ms = self.limits.lease_ms;
        let shared = Arc::clone(&conn.mesh);
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        mesh.conns.remove(&id);
        Mesh::unindex(&mut mesh.conns_of, &conn.member, id);
        for drain in &conn.drains {
            Mesh::unindex(&mut mesh.drains, &drain.address, id);
        }
        let presence = conn.presence.and_then(|key| mesh.presences.get_mut(&key));
        let leased = match presence {
            // It may have moved on to a newer connection.
            Some(presence) if presence.conn == Some(id) => {
                presence.conn = None;
                presence.leased_until = now.saturating_add(lease_ms);
                conn.presence
            }
            _ => None,
        };
        if let Some(key) = leased {
            if lease_ms == 0 {
                self.end_presence(&shared, key);
            } else {
                self.at(now + lease_ms, Timer::Lease(Arc::clone(&shared), key));
            }
        }
        self.hand_on(&shared, &conn);
        self.seen(&shared, &conn.member);
        self.maybe_idle(&shared);
    }

    pub(super) fn lease_over(&mut self, shared: &Arc<MeshId>, key: u64) {
        let now = self.now.mono;
        let over = self
            .mesh(shared)
            .and_then(|mesh| mesh.presences.get(&key))
            .is_some_and(|presence| presence.conn.is_none() && presence.leased_until <= now);
        if over {
            self.end_presence(shared, key);
            self.maybe_idle(shared);
        }
    }

    fn maybe_idle(&mut self, shared: &Arc<MeshId>) {
        let now = self.now.mono;
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        if !mesh.is_idle() {
            return;
        }
        mesh.idle_since = now;
        if !mesh.idle_watched {
            mesh.idle_watched = true;
            self.at(now + MESH_IDLE_MS, Timer::MeshIdle(Arc::clone(shared)));
        }
    }

    /// Ends a presence and tells the others.
    pub(super) fn end_presence(&mut self, shared: &Arc<MeshId>, key: u64) {
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Some(presence) = mesh.presences.remove(&key) else {
            return;
        };
        if let Some(session) = presence.session
            && mesh.by_session.get(&session) == Some(&key)
        {
            mesh.by_session.remove(&session);
        }
        let by = (presence.member, presence.session_id.clone());
        if mesh.by_session_id.get(&by) == Some(&key) {
            mesh.by_session_id.remove(&by);
        }
        if let Some(conn) = presence.conn
            && let Some(conn) = self.conns.get_mut(&conn)
        {
            conn.presence = None;
        }
        self.remember_gone(shared, &presence);
        self.audit(shared, "peer_left", &presence.member);
        if presence.announced && self.announces() {
            let data = json!({
                "name": presence.name,
                "pubkey": presence.routing_key().to_hex(),
            });
            self.tell(
                shared,
                "peer_left",
                data,
                Some(presence.member),
                presence.conn,
            );
        }
    }

    /// Tells the others that a presence is new.
    pub(super) fn announce(
        &mut self,
        shared: &Arc<MeshId>,
        key: u64,
        remembered: Option<&Remembered>,
    ) {
        let silent = !self.announces();
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Some(presence) = mesh.presences.get_mut(&key) else {
            return;
        };
        // Also in the silent time, in which all come back: they are there afterwards, and leave.
        presence.announced = true;
        let mut data = json!({
            "name": presence.name,
            "pubkey": presence.routing_key().to_hex(),
            "groups": presence.groups,
        });
        if let Some(statement) = &presence.statement {
            data["statement"] = json!(statement);
        }
        if let Some(address) = &presence.address {
            data["address"] = json!(address.blob);
        }
        let event = match remembered.filter(|_| !presence.session_form) {
            Some(remembered) => {
                remembered.returned(&mut data);
                "peer_returned"
            }
            None => "peer_joined",
        };
        let (member, conn) = (presence.member, presence.conn);
        let but = (!presence.session_form).then_some(member);
        self.audit(shared, "peer_joined", &member);
        if !silent {
            self.tell(shared, event, data, but, conn);
        }
    }

    /// Pushes an event to all connections but one, and but those of one member.
    pub(super) fn tell(
        &mut self,
        shared: &Arc<MeshId>,
        event: &str,
        data: Value,
        but: Option<PublicKey>,
        but_conn: Option<ConnId>,
    ) {
        let message_id = self.fresh_id();
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let to: Vec<ConnId> = mesh
            .conns
            .iter()
            .filter(|id| Some(**id) != but_conn)
            .filter_map(|id| self.conns.get(id))
            .filter(|conn| conn.receive && Some(conn.member) != but)
            .filter(|conn| conn.unwritten <= HINT_BYTES && conn.counts_left == 0)
            .map(|conn| conn.id)
            .collect();
        if to.is_empty() {
            return;
        }
        let push = Push {
            message_id,
            mesh_id: shared.as_str().to_owned(),
            sender_pubkey: SUBTYPE_SYSTEM.to_owned(),
            priority: "low".to_owned(),
            created_at: iso(self.now.wall),
            subtype: Some(SUBTYPE_SYSTEM.to_owned()),
            event: Some(event.to_owned()),
            event_data: Some(data),
            ..Push::default()
        };
        self.outs.push_back(Out::Write {
            conns: to,
            text: Bytes::from(push.encode()),
            kind: Kind::Hint,
        });
    }

    /// Writes an audit row about a member.
    fn audit(&mut self, shared: &Arc<MeshId>, event: &'static str, member: &PublicKey) {
        let row = AuditRow {
            mesh: MeshId::clone(shared),
            event,
            actor: Some(member.short()),
            target: None,
            size: None,
            priority: None,
            at: self.now.wall,
        };
        self.writer.push(vec![Op::Audit(row)], Then::Nothing);
    }

    /// Notes when a member was seen, at most once a minute.
    pub(super) fn seen(&mut self, shared: &Arc<MeshId>, member: &PublicKey) {
        let at = self.now.wall;
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Some(row) = mesh.members.get_mut(member) else {
            return;
        };
        if at.saturating_sub(row.last_seen) < SEEN_MS {
            return;
        }
        row.last_seen = at;
        let op = Op::Seen {
            mesh: MeshId::clone(shared),
            member: *member,
            at,
        };
        self.writer.push(vec![op], Then::Nothing);
    }

    pub(super) fn set_status(&mut self, id: ConnId, ask: &SetStatus) {
        let Ok(status) = ask.status() else {
            let why = "a status is idle, working or dnd";
            self.error(id, "invalid_argument", why, None);
            return;
        };
        if let Some(address) = &ask.address {
            self.new_address(id, address);
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.status = status;
        if let Some(timer) = conn.working.take() {
            self.timers.remove(&timer);
        }
        match status {
            Status::Working => {
                let ttl = ask.ttl_ms.unwrap_or(WORKING_MS).clamp(1, WORKING_MAX_MS);
                let due = self.now.mono.saturating_add(ttl);
                let timer = self.at(due, Timer::Working(id));
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.working = Some(timer);
                }
            }
            Status::Idle => self.fill(id),
            Status::Dnd => {}
        }
    }

    /// A session says its address anew: another name, or another way to wake it.
    fn new_address(&mut self, id: ConnId, shown: &SignedBlob) {
        if !self.may_ask(id, None) {
            return;
        }
        let wall = self.now.wall;
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let own = |address: &Address| {
            address.member == conn.member && Some(address.session) == conn.session
        };
        let address = match Address::open(shown, &conn.mesh, wall) {
            Ok(address) if own(&address) => Arc::new(address),
            Ok(_) => return self.bad_address(id, "it is another session's"),
            Err(error) => return self.bad_address(id, &error.to_string()),
        };
        let (shared, presence) = (Arc::clone(&conn.mesh), conn.presence);
        if let Some(mesh) = self.mesh_mut(&shared) {
            mesh.address_shown(&address);
            let presence = presence.and_then(|key| mesh.presences.get_mut(&key));
            if let Some(presence) = presence {
                presence.address = Some(Arc::clone(&address));
            }
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.address = Some(address);
        }
    }

    fn bad_address(&mut self, id: ConnId, why: &str) {
        let why = format!("the session's address is not taken: {why}");
        self.error(id, "invalid_argument", &why, None);
    }

    pub(super) fn working_over(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.working.take().is_some() && conn.status == Status::Working {
            conn.status = Status::Idle;
            self.fill(id);
        }
    }

    pub(super) fn list_peers(&mut self, id: ConnId, req_id: Option<String>) {
        if !self.may_ask(id, req_id.as_ref()) {
            return;
        }
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Some(mesh) = self.mesh(&conn.mesh) else {
            return;
        };
        let status = |conn: Option<ConnId>| {
            let conn = conn.and_then(|conn| self.conns.get(&conn));
            conn.map_or(Status::Idle, |conn| conn.status)
        };
        let mut room = SUMMARIES_BYTES;
        let mut summary = |presence: &Presence| {
            let text = presence.summary.as_ref()?;
            room = room.checked_sub(text.len())?;
            Some(text.clone())
        };
        let peers = mesh
            .presences
            .values()
            .filter(|presence| presence.visible || presence.member == conn.member)
            .map(|presence| PeerRecord {
                pubkey: presence.routing_key().to_hex(),
                member_pubkey: Some(presence.member.to_hex()),
                display_name: presence.name.clone(),
                status: status(presence.conn).as_str().to_owned(),
                summary: Some(summary(presence)),
                groups: Some(presence.groups.clone()),
                session_id: Some(presence.session_id.clone()),
                connected_at: Some(iso(presence.connected_at)),
                cwd: Some(presence.cwd.clone().unwrap_or_default()),
                peer_role: Some(role(presence).to_owned()),
                hostname: presence.hostname.clone(),
                peer_type: presence.peer_type.clone(),
                channel: presence.channel.clone(),
                model: presence.model.clone(),
                stats: presence.stats.clone(),
                visible: Some(presence.visible),
                profile: presence.profile.clone(),
                statement: presence.statement.clone(),
                address: presence
                    .address
                    .as_ref()
                    .map(|address| address.blob.clone()),
                leased: (conn.modern && presence.conn.is_none()).then_some(true),
                extra: presence
                    .pid
                    .map(|pid| ("pid".to_owned(), pid.into()))
                    .into_iter()
                    .collect(),
            })
            .collect();
        let members = conn.modern.then(|| {
            let mut here: HashMap<PublicKey, Status> = HashMap::new();
            for presence in mesh.presences.values().filter(|p| p.conn.is_some()) {
                let own = status(presence.conn);
                // Someone with one free session is free.
                let best = here.entry(presence.member).or_insert(own);
                if busy(own) < busy(*best) {
                    *best = own;
                }
            }
            let current = mesh.members.values().filter(|row| row.removed_at == 0);
            let mut rows: Vec<_> = current.collect();
            rows.sort_by_key(|row| (row.joined_at, row.key));
            rows.into_iter()
                .map(|row| MemberRecord {
                    member_pubkey: row.key.to_hex(),
                    online: here.contains_key(&row.key),
                    last_seen: (row.last_seen > 0).then_some(row.last_seen),
                    status: here.get(&row.key).map(|own| own.as_str().to_owned()),
                })
                .collect()
        });
        let away = conn.modern.then(|| mesh.away(self.now.wall));
        let list = PeersList {
            peers,
            members,
            away: away.filter(|away| !away.is_empty()),
            req_id,
            ..PeersList::default()
        };
        self.reply(id, list);
    }
}

const fn busy(status: Status) -> u8 {
    match status {
        Status::Idle => 0,
        Status::Working => 1,
        Status::Dnd => 2,
    }
}

/// What existing clients take a session for. They find only sessions: theirs come by
/// `session_hello`, ours by either hello.
const fn role(presence: &Presence) -> &'static str {
    if presence.session_form || presence.sealed {
        "session"
    } else {
        "control-plane"
    }
}
