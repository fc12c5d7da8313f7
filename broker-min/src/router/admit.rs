//! Letting a connection in: who may, and which presence it takes over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use claudemesh_core::id::{Signature, Status};
use claudemesh_core::wire::{
    BrokerInfo, CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, ClientFrame, CloseCode, HelloAck, LogHead,
    Waiting, errors, errors::code, reason,
};
use serde_json::{Map, Value, json};

use super::Router;
use super::conn::{Conn, Drain};
use super::load::Asked;
use super::mesh::{Mesh, Presence, SessionKey};
use super::text;
use super::types::{ConnId, Verified};
use crate::store::Query;

/// The code for a session key that is another's.
const SESSION_KEY_TAKEN: &str = "session_key_taken";

/// What a hello tells, in either form.
struct Told<'a> {
    claimed_id: Option<&'a str>,
    signature: &'a str,
    display_name: Option<&'a str>,
    session_id: &'a str,
    cwd: Option<&'a str>,
    hostname: Option<&'a str>,
    peer_type: Option<&'a str>,
    channel: Option<&'a str>,
    model: Option<&'a str>,
    pid: Option<i64>,
    groups: Option<&'a Value>,
    capabilities: &'a [String],
    durable: bool,
    receive: bool,
    presence: bool,
}

macro_rules! told {
    ($hello:expr, $claimed:expr) => {
        Some(Told {
            claimed_id: $claimed,
            signature: &$hello.signature,
            display_name: $hello.display_name.as_deref(),
            session_id: $hello.session_id.as_deref().unwrap_or_default(),
            cwd: $hello.cwd.as_deref(),
            hostname: $hello.hostname.as_deref(),
            peer_type: $hello.peer_type.as_deref(),
            channel: $hello.channel.as_deref(),
            model: $hello.model.as_deref(),
            pid: $hello.pid,
            groups: $hello.groups.as_ref(),
            capabilities: $hello.capabilities.as_deref().unwrap_or_default(),
            durable: $hello.durable.unwrap_or(false),
            receive: $hello.receive.unwrap_or(true),
            presence: $hello.presence.unwrap_or(true),
        })
    };
}

fn told(frame: &ClientFrame) -> Option<Told<'_>> {
    match frame {
        ClientFrame::Hello(hello) => told!(hello, None),
        ClientFrame::SessionHello(hello) => {
            let claimed = hello.parent_member_id.as_deref();
            told!(hello, claimed.filter(|id| !id.is_empty()))
        }
        _ => None,
    }
}

/// Why a hello is refused.
struct Refusal {
    code: &'static str,
    message: String,
    close: CloseCode,
}

fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
        close: CloseCode::POLICY,
    }
}

/// What a hello does to the presences that are there.
#[derive(Default)]
struct Taking {
    /// This one goes on with the new connection, in silence.
    goes_on: Option<u64>,
    /// This one ends, because the same session comes back with another key.
    ends: Option<u64>,
    /// This one named a session key without proof that now is proven by another member.
    squatter: Option<u64>,
}

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
        if let Some(squatter) = taking.squatter {
            let conn = mesh.presences.get(&squatter).and_then(|p| p.conn);
            self.end_presence(&shared, squatter);
            if let Some(conn) = conn {
                let why = "another member proved the session key that this connection only named";
                self.error(conn, SESSION_KEY_TAKEN, why, None);
                self.close(conn, CloseCode::POLICY, SESSION_KEY_TAKEN);
            }
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

    fn enter(
        &mut self,
        id: ConnId,
        verified: &Verified,
        told: &Told<'_>,
        shared: &Arc<claudemesh_core::id::MeshId>,
        goes_on: Option<u64>,
    ) {
        let now = self.now;
        let fresh_id = self.fresh_id();
        let head = self.head;
        let visible = told.receive && told.presence;
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
            };
            mesh.own_session(key, owner);
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
                connected_at: now.wall,
                conn: Some(id),
                leased_until: 0,
                announced: false,
            };
            let key = match goes_on.and_then(|key| mesh.presences.remove(&key).map(|p| (key, p))) {
                Some((key, old)) => {
                    presence_id.clone_from(&old.id);
                    presence.id = old.id;
                    presence.connected_at = old.connected_at;
                    presence.announced = old.announced;
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
            drains.push(Drain::new(verified.member, 0));
            if let Some(key) = session {
                // Who only names a key gets what comes from now on, not what waits for another.
                let after = if verified.session_proven { 0 } else { head };
                drains.push(Drain::new(key, after));
            }
        }
        let has = |capability: &str| told.capabilities.iter().any(|c| c == capability);
        let modern = has(CAP_DELIVERY);
        let counts = if modern { drains.len() } else { 0 };
        let conn = Conn {
            id,
            mesh: Arc::clone(shared),
            member: verified.member,
            member_id,
            name,
            session,
            presence: presence_key,
            modern,
            envelope: has(CAP_ENVELOPE),
            log: has(CAP_LOG),
            durable: told.durable,
            receive: told.receive,
            status: Status::Idle,
            working_until: 0,
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
            progress_at: now.mono,
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
        self.seen(shared, &verified.member);
        if let Some(key) = announce {
            self.announce(shared, key);
        }
        if counts == 0 {
            self.welcome(id, &presence_id, verified.session_form);
            self.fill(id);
            return;
        }
        for (drain, address) in addresses.into_iter().enumerate() {
            let mesh = verified.mesh.clone();
            self.load(
                Query::Counts { mesh, address },
                Asked::Counts { conn: id, drain },
            );
        }
    }

    /// Takes what waits in a mailbox; when all of them are counted the connection is welcomed.
    pub(super) fn counted(&mut self, id: ConnId, drain: usize, counts: Option<[u64; 3]>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let (Some(counts), Some(drain)) = (counts, conn.drains.get_mut(drain)) {
            for (cursor, count) in drain.classes.iter_mut().zip(counts) {
                // What came while it was counted may or may not be in it.
                cursor.behind = count > 0 || cursor.overtaken;
                cursor.overtaken = false;
            }
            for (sum, count) in conn.waiting_rows.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        conn.counts_left = conn.counts_left.saturating_sub(1);
        if conn.counts_left > 0 {
            return;
        }
        let (mesh, key) = (Arc::clone(&conn.mesh), conn.presence);
        let presence = self.mesh(&mesh).zip(key);
        let presence = presence.and_then(|(mesh, key)| mesh.presences.get(&key));
        let (presence_id, session_form) = presence
            .map(|presence| (presence.id.clone(), presence.session_form))
            .unwrap_or_default();
        let presence_id = if presence_id.is_empty() {
            self.fresh_id()
        } else {
            presence_id
        };
        self.welcome(id, &presence_id, session_form);
        self.fill(id);
    }

    fn welcome(&mut self, id: ConnId, presence_id: &str, session_form: bool) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let Some(mesh) = self.mesh(&conn.mesh) else {
            return;
        };
        let member = mesh.member(&conn.member);
        let editable = json!({
            "displayName": true, "roleTag": true, "groups": true, "messageMode": true
        });
        let mut ack = HelloAck {
            presence_id: presence_id.to_owned(),
            member_display_name: member
                .map(|row| row.name.as_str().to_owned())
                .unwrap_or_default(),
            member_profile: Some(json!({"roleTag": null, "groups": [], "messageMode": "push"})),
            mesh_policy: Some(json!({"selfEditable": editable})),
            services: (!session_form).then(|| json!([])),
            ..HelloAck::default()
        };
        if conn.modern {
            let [now, next, low] = conn.waiting_rows;
            let head = mesh.head();
            ack.capabilities = Some(
                [CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG]
                    .map(str::to_owned)
                    .to_vec(),
            );
            ack.broker = Some(BrokerInfo {
                id: self.broker_id.clone(),
                store: self.store.clone(),
                head: self.head,
            });
            ack.waiting = Some(Waiting { now, next, low });
            ack.log_head = Some(LogHead::new(head.seq, &head.hash));
            ack.limits = Some(self.limits_told());
            ack.lease_ms = Some(self.limits.lease_ms);
        }
        self.reply(id, ack);
    }

    fn limits_told(&self) -> Map<String, Value> {
        let limits = &self.limits;
        let size = |number: usize| number as u64;
        [
            ("window", size(limits.window)),
            ("unanswered_sends", size(limits.unanswered_sends)),
            ("frame_bytes", size(limits.frame_bytes)),
            ("deliveries_per_s", limits.deliveries_per_s.into()),
            ("delivery_burst", limits.delivery_burst.into()),
            ("mailbox_rows", limits.mailbox_rows),
            ("mailbox_bytes", limits.mailbox_bytes),
            ("mailbox_rows_per_sender", limits.mailbox_rows_per_sender),
            ("expires_ms", limits.expires_ms),
            ("max_expires_ms", limits.max_expires_ms),
            ("ack_ms", limits.ack_ms),
            ("log_entries_per_hour", limits.log_entries_per_hour.into()),
        ]
        .into_iter()
        .map(|(name, number)| (name.to_owned(), number.into()))
        .collect()
    }
}

/// Checks a hello against the mesh, in the reference's order.
fn check(
    mesh: &mut Mesh,
    verified: &Verified,
    told: &Told<'_>,
    now: u64,
    limit: usize,
) -> Result<Taking, Refusal> {
    let taking = taking(mesh, verified, told);
    let replaces = taking
        .as_ref()
        .is_ok_and(|t| t.goes_on.is_some() || t.ends.is_some());
    if mesh.load() >= limit && !replaces {
        return Err(refusal(code::CAPACITY, errors::capacity(limit)));
    }
    match mesh.members.get(&verified.member) {
        None => return Err(refusal(code::UNAUTHORIZED, errors::UNAUTHORIZED)),
        Some(row) if row.removed_at != 0 => {
            return Err(Refusal {
                close: CloseCode::BANNED,
                ..refusal(code::REVOKED, errors::revoked(&mesh.row.slug))
            });
        }
        Some(row) if told.claimed_id.is_some_and(|id| id != row.id.as_str()) => {
            return Err(refusal(
                code::PARENT_MEMBER_ID_MISMATCH,
                errors::PARENT_MEMBER_ID_MISMATCH,
            ));
        }
        Some(_) => {}
    }
    let taking = taking?;
    if !verified.proven {
        let signature = Signature::from_hex(told.signature).unwrap_or(Signature([0; 64]));
        match mesh.see(now, verified.member, signature) {
            Some(true) => {}
            Some(false) => {
                let message = "hello rejected: bad_signature (replayed: this hello was used)";
                return Err(refusal(code::BAD_SIGNATURE, message));
            }
            None => {
                return Err(refusal(
                    code::BUSY,
                    "too many hellos; try again in a minute",
                ));
            }
        }
    }
    Ok(taking)
}

/// What a hello may do to the presences that are there. Who proves nothing touches only what is
/// not proven, and nobody touches what is another member's.
fn taking(mesh: &Mesh, verified: &Verified, told: &Told<'_>) -> Result<Taking, Refusal> {
    let mut taking = Taking::default();
    let session = verified.session.filter(|key| *key != verified.member);
    let taken = |message: &str| Err(refusal(SESSION_KEY_TAKEN, message));
    if let Some(key) = session {
        if mesh.members.contains_key(&key) {
            return taken("this session key is another member's key");
        }
        let by = mesh.by_session.get(&key);
        let held = by.and_then(|by| mesh.presences.get(by).map(|presence| (*by, presence)));
        match mesh.session_key(&key) {
            Some(owner) if owner.member != verified.member => {
                if owner.proven || !verified.session_proven {
                    return taken("this session key is another member's");
                }
                taking.squatter = held.map(|(by, _)| by);
            }
            _ => {
                if let Some((by, held)) = held {
                    if held.proven && !verified.proven {
                        return taken(
                            "this session is held by a connection that proved its key; \
                             connect with a proof",
                        );
                    }
                    taking.goes_on = Some(by);
                }
            }
        }
    }
    let visible = told.receive && told.presence;
    if !visible {
        taking.goes_on = None;
        return Ok(taking);
    }
    if taking.goes_on.is_none() && !told.session_id.is_empty() {
        let by = (verified.member, text::shown(told.session_id, 256));
        let held = mesh.by_session_id.get(&by);
        let held = held.and_then(|key| mesh.presences.get(key).map(|presence| (*key, presence)));
        if let Some((key, held)) = held {
            if held.session == session {
                if verified.proven || !held.proven {
                    taking.goes_on = Some(key);
                }
            } else if !held.proven {
                taking.ends = Some(key);
            }
        }
    }
    Ok(taking)
}
