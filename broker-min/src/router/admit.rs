//! Letting a connection in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use claudemesh_core::id::{MeshId, Status};
use claudemesh_core::wire::{
    CAP_CHANNELS, CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, CAP_VALUES, CloseCode, reason,
};

use super::Router;
use super::bucket::Bucket;
use super::claim::{Refusal, SESSION_KEY_TAKEN, Told, check, told};
use super::conn::{Conn, Drain};
use super::load::Asked;
use super::mesh::{Mesh, Presence, SessionKey};
use super::settle::QUESTIONS_BURST;
use super::text;
use super::types::{ConnId, Verified};
use crate::store::Query;

impl Router {
    /// Lets a connection into its loaded mesh, or refuses it.
    pub(super) fn admit(&mut self, id: ConnId, verified: &Verified) {
        let Some(told) = told(&verified.frame) else {
            return;
        };
        let limit = self.limits.connections_per_mesh;
        let now = self.now.mono;
        let Some(mesh) = self.mesh_mut(&verified.mesh) else {
            return;
        };
        let taking = match check(mesh, verified, &told, now, limit) {
            Ok(taking) => taking,
            Err(Refusal {
                code,
                message,
                close,
            }) => {
                self.refuse(id, code, &message, close);
                return;
            }
        };
        let shared = Arc::new(verified.mesh.clone());
        if taking.squatted {
            self.evict_squatters(&shared, verified);
        }
        if let Some(old) = taking.ends {
            let conn = self.mesh(&shared).and_then(|mesh| mesh.presences.get(&old));
            let conn = conn.and_then(|presence| presence.conn);
            self.end_presence(&shared, old);
            if let Some(conn) = conn {
                self.close(conn, CloseCode::NORMAL, reason::SESSION_REPLACED);
            }
        }
        self.enter(id, verified, &told, &shared, taking.goes_on);
    }

    /// Ends what other members have by naming a session key that is proven now.
    fn evict_squatters(&mut self, shared: &Arc<MeshId>, verified: &Verified) {
        let (Some(mesh), Some(key)) = (self.mesh(shared), verified.session) else {
            return;
        };
        let foreign = |presence: &&u64| {
            let presence = mesh.presences.get(presence);
            presence.is_some_and(|presence| presence.member != verified.member)
        };
        let presence = mesh.by_session.get(&key).filter(foreign).copied();
        let drains = mesh.drains.get(&key).into_iter().flatten().copied();
        let foreign = |id: &ConnId| {
            let conn = self.conns.get(id);
            conn.is_some_and(|conn| conn.member != verified.member)
        };
        let conns: Vec<_> = drains.filter(foreign).collect();
        if let Some(presence) = presence {
            self.end_presence(shared, presence);
        }
        for conn in conns {
            let why = "another member proved the session key that this connection only named";
            self.error(conn, SESSION_KEY_TAKEN, why, None);
            self.close(conn, CloseCode::POLICY, SESSION_KEY_TAKEN);
        }
    }

    fn enter(
        &mut self,
        id: ConnId,
        verified: &Verified,
        told: &Told<'_>,
        shared: &Arc<MeshId>,
        goes_on: Option<u64>,
    ) {
        let now = self.now;
        let fresh_id = self.fresh_id();
        let head = self.head;
        let visible = told.receive && told.presence;
        let has = |capability: &str| told.capabilities.iter().any(|c| c == capability);
        let session = verified.session.filter(|key| *key != verified.member);
        let Some(mesh) = self.mesh_mut(shared) else {
            return;
        };
        let Some(member) = mesh.member(&verified.member) else {
            return;
        };
        let (member_id, member_name) = (member.id.clone(), member.name.clone());
        let name = told.display_name.map(|name| text::shown(name, 64));
        let name = name
            .filter(|name| !name.trim().is_empty())
            .unwrap_or_else(|| member_name.as_str().to_owned());
        if let Some(key) = session {
            let proven = mesh.session_key(&key).is_some_and(|owner| owner.proven);
            let owner = SessionKey {
                member: verified.member,
                proven: proven || verified.session_proven,
                address: None,
            };
            mesh.own_session(key, owner);
            if let Some(address) = &verified.address {
                mesh.address_shown(address);
            }
        }
        let mut old_conn = None;
        let mut announce = None;
        let mut presence_id = fresh_id;
        let mut presence_key = None;
        if visible {
            let short = |text: Option<&str>, max| text.map(|text| text::shown(text, max));
            let mut presence = Presence {
                id: presence_id.clone(),
                member: verified.member,
                session,
                proven: verified.proven,
                session_form: verified.session_form,
                session_id: text::shown(told.session_id, 256),
                name: name.clone(),
                groups: text::groups(told.groups),
                cwd: short(told.cwd, 1_024),
                hostname: short(told.hostname, 256),
                peer_type: short(told.peer_type, 64),
                channel: short(told.channel, 64),
                model: short(told.model, 64),
                pid: told.pid,
                statement: text::statement(told.statement),
                address: verified.address.clone(),
                connected_at: now.wall,
                conn: Some(id),
                leased_until: 0,
                announced: false,
                summary: None,
                sealed: has(CAP_ENVELOPE),
                visible: true,
                profile: None,
                stats: None,
            };
            let key = match goes_on.and_then(|key| mesh.presences.remove(&key).map(|p| (key, p))) {
                Some((key, old)) => {
                    presence_id.clone_from(&old.id);
                    presence.id = old.id;
                    presence.connected_at = old.connected_at;
                    presence.announced = old.announced;
                    presence.summary = old.summary;
                    presence.visible = old.visible;
                    presence.profile = old.profile;
                    presence.stats = old.stats;
                    if presence.groups.as_array().is_none_or(Vec::is_empty) {
                        presence.groups = old.groups;
                    }
                    old_conn = old.conn;
                    let by = (old.member, old.session_id);
                    if mesh.by_session_id.get(&by) == Some(&key) {
                        mesh.by_session_id.remove(&by);
                    }
                    key
                }
                None => {
                    let key = mesh.next_presence;
                    mesh.next_presence += 1;
                    announce = Some(key);
                    key
                }
            };
            if let Some(session) = session {
                mesh.by_session.insert(session, key);
            }
            if !presence.session_id.is_empty() {
                let by = (verified.member, presence.session_id.clone());
                // A proven presence keeps its name among the sessions of its member.
                mesh.by_session_id.entry(by).or_insert(key);
            }
            mesh.presences.insert(key, presence);
            presence_key = Some(key);
        }
        let mut drains = Vec::new();
        if told.receive {
            drains.push(Drain::new(verified.member, 0, true));
            if let Some(key) = session {
                // Who only names a key gets what comes from now on, not what waits for another.
                let after = if verified.session_proven { 0 } else { head };
                drains.push(Drain::new(key, after, verified.session_proven));
            }
        }
        let modern = has(CAP_DELIVERY);
        // What waits in each mailbox, and where the audit chain ends.
        let counts = if modern { drains.len() + 1 } else { 0 };
        let conn = Conn {
            id,
            mesh: Arc::clone(shared),
            member: verified.member,
            member_id,
            name,
            session,
            address: verified.address.clone(),
            presence: presence_key,
            modern,
            envelope: has(CAP_ENVELOPE),
            log: has(CAP_LOG),
            channels: has(CAP_CHANNELS),
            staged: None,
            values: has(CAP_VALUES),
            audit: None,
            channel: told.channel.map(|channel| text::shown(channel, 64)),
            streams: BTreeSet::new(),
            handed: Vec::new(),
            durable: told.durable,
            receive: told.receive,
            status: Status::Idle,
            working: None,
            low_standing: false,
            low_budget: 0,
            drains,
            window: BTreeMap::new(),
            watched: false,
            load: None,
            hungry: false,
            counts_left: counts,
            waiting_rows: [0; 3],
            asking: 0,
            told_caught_up: false,
            acks_itself: matches!(
                told.channel,
                Some("claudemesh-daemon" | "claudemesh-session")
            ),
            pong_at: now.mono,
            unwritten: 0,
            online_bytes: (0, 0),
            progress_at: now.mono,
            slow_watched: false,
            questions: Bucket::full(QUESTIONS_BURST, now.mono),
            session_form: verified.session_form,
            sends: VecDeque::new(),
            first_send: 0,
            reading: true,
        };
        mesh.conns.insert(id);
        Mesh::index(&mut mesh.conns_of, conn.member, id);
        for drain in &conn.drains {
            Mesh::index(&mut mesh.drains, drain.address, id);
        }
        let addresses: Vec<_> = conn.drains.iter().map(|drain| drain.address).collect();
        self.conns.insert(id, conn);
        if let Some(old) = old_conn {
            // Its presence has moved already, so that nothing of it ends here.
            self.close(old, CloseCode::NORMAL, reason::SESSION_REPLACED);
        }
        let logged = self
            .mesh(shared)
            .and_then(|mesh| mesh.member(&verified.member))
            .is_some_and(|row| row.logged);
        let mut remembered = None;
        if !has(CAP_ENVELOPE) {
            remembered = presence_key.and_then(|key| self.remember_peer(shared, key));
        } else if logged {
            self.forget_peer(shared, &verified.member);
        }
        self.seen(shared, &verified.member);
        self.take_told_status(id);
        if let Some(key) = announce {
            self.announce(shared, key, remembered.as_ref());
        }
        if counts == 0 {
            let remembered = remembered.filter(|_| announce.is_some() && !verified.session_form);
            self.welcome(id, &presence_id, remembered);
            self.fill(id);
            return;
        }
        self.load(
            Query::Audit {
                mesh: verified.mesh.clone(),
                from: u64::MAX,
                bytes: 0,
            },
            Asked::AuditHead { conn: id },
        );
        for (drain, address) in addresses.into_iter().enumerate() {
            let mesh = verified.mesh.clone();
            self.load(
                Query::Counts { mesh, address },
                Asked::Counts { conn: id, drain },
            );
        }
    }
}
