//! What sessions of existing clients say of themselves, and what is remembered of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::identity::PROFILE_STATEMENT;
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    Ack, HelloAck, JoinGroup, LeaveGroup, MeshInfo, MeshInfoResult, MessageRecipient,
    MessageStatus, MessageStatusResult, SetProfile, SetStats, SetVisible, TaskCounts, errors::code,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::items::{Change, Kind};
use super::tasks::Task;
use crate::router::Router;
use crate::router::load::Asked;
use crate::router::mesh::{Mesh, Presence};
use crate::router::text::{self, iso, shown};
use crate::router::types::ConnId;
use crate::router::values::{Ask, PAGE_BYTES};
use crate::store::{Query, SendOutcome, StateRow, ValueQuery};

/// For so long after it was seen a member is in the groups that its client named, ms.
const REMEMBERED_MS: u64 = 30 * 86_400_000;
/// Messages of existing clients whose target is remembered, per mesh.
const SENT_MAX: usize = 4_096;
const STATS: [&str; 5] = ["messagesIn", "messagesOut", "toolCalls", "uptime", "errors"];

/// What is remembered of a member whose client is an existing one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::router) struct Remembered {
    pub(in crate::router) groups: Value,
    summary: Option<String>,
    stats: Option<Value>,
    seen: u64,
}

/// A message of an existing client, for `message_status`.
#[derive(Debug)]
pub(in crate::router) struct SentOpen {
    seq: u64,
    sender: PublicKey,
    target: String,
}

/// Whether a list of groups has one, or one below it: who is in `a/b` is in `a` too.
fn in_group(groups: &Value, group: &str) -> bool {
    let all = groups.as_array().into_iter().flatten();
    let mut names = all.filter_map(|it| it.get("name")?.as_str());
    names.any(|name| {
        let rest = name.strip_prefix(group);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

impl Mesh {
    fn remembered(&self, member: &PublicKey) -> Option<Remembered> {
        self.items.get(Kind::Peer, &member.to_hex())
    }

    /// Whether a member reads what is in the open: no log entry vouches for it, or its client is
    /// an existing one.
    pub(in crate::router) fn reads_open(&self, member: &PublicKey) -> bool {
        self.member(member).is_some_and(|row| {
            row.role != Role::Pending
                && (!row.logged || self.items.has(Kind::Peer, &member.to_hex()))
        })
    }

    /// Whether a member is let in: nothing in the open is for who still waits for that.
    pub(in crate::router) fn is_admitted(&self, member: &PublicKey) -> bool {
        let row = self.member(member);
        row.is_some_and(|row| row.role != Role::Pending)
    }

    /// Whether a member is in a group that existing clients name.
    pub(in crate::router) fn in_open_group(
        &self,
        member: &PublicKey,
        group: &str,
        now: u64,
    ) -> bool {
        let mut here = self.presences.values().filter(|it| it.member == *member);
        here.any(|it| in_group(&it.groups, group))
            || self.remembered(member).is_some_and(|it| {
                it.seen.saturating_add(REMEMBERED_MS) > now && in_group(&it.groups, group)
            })
    }

    /// Whether all sessions of a member that are here are hidden.
    pub(in crate::router) fn is_hidden(&self, member: &PublicKey) -> bool {
        let mut here = self.presences.values().filter(|it| it.member == *member);
        let first = here.next();
        first.is_some_and(|it| !it.visible) && here.all(|it| !it.visible)
    }

    /// Whether a member lets another one send to it.
    pub(in crate::router) fn grants(&self, to: &PublicKey, from: &PublicKey, what: &str) -> bool {
        // Asked for each recipient of each message: nothing is copied.
        let all = self.items.value(Kind::Grants, &to.to_hex());
        let own = all.and_then(|all| all.get(from.to_hex())?.as_array());
        own.is_none_or(|own| own.iter().any(|it| it == what || it == "all"))
    }

    /// Notes where a message of an existing client went.
    pub(in crate::router) fn sent_open(&mut self, seq: u64, sender: PublicKey, target: String) {
        if self.sent_open.len() >= SENT_MAX {
            self.sent_open.pop_front();
        }
        self.sent_open.push_back(SentOpen {
            seq,
            sender,
            target,
        });
    }
}

impl Router {
    /// Gives a new session of an existing client what is remembered of its member, and remembers
    /// that it is one. Says what is told to it.
    pub(in crate::router) fn remember_peer(
        &mut self,
        shared: &Arc<MeshId>,
        key: u64,
    ) -> Option<Remembered> {
        let now = self.now.wall;
        let mesh = self.mesh_mut(shared)?;
        let member = mesh.presences.get(&key)?.member;
        let before = mesh.remembered(&member);
        let default_groups = mesh.default_groups(&member);
        let presence = mesh.presences.get_mut(&key)?;
        if let Some(before) = &before
            && before.groups.is_array()
            && !presence.session_form
            && presence.groups.as_array().is_none_or(Vec::is_empty)
        {
            // What was imported is as it was there.
            presence.groups = text::groups(Some(&before.groups));
        }
        if presence.groups.as_array().is_none_or(Vec::is_empty) {
            presence.groups = default_groups;
        }
        let mut row = before.clone().unwrap_or_default();
        row.seen = now;
        if presence
            .groups
            .as_array()
            .is_some_and(|all| !all.is_empty())
        {
            row.groups = presence.groups.clone();
        }
        let change = Change::put(Kind::Peer, member.to_hex(), &row);
        self.change_item(None, shared, change, Vec::new(), None);
        before
    }

    /// Remembers what a session said of itself when it is gone.
    pub(in crate::router) fn remember_gone(&mut self, shared: &Arc<MeshId>, presence: &Presence) {
        let now = self.now.wall;
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        let Some(mut row) = mesh.remembered(&presence.member) else {
            return;
        };
        row.seen = now;
        if presence.summary.is_some() {
            row.summary.clone_from(&presence.summary);
        }
        if presence.stats.is_some() {
            row.stats.clone_from(&presence.stats);
        }
        let change = Change::put(Kind::Peer, presence.member.to_hex(), &row);
        self.change_item(None, shared, change, Vec::new(), None);
    }

    /// A member came with a client of ours: it reads what is in the open no longer.
    pub(in crate::router) fn forget_peer(&mut self, shared: &Arc<MeshId>, member: &PublicKey) {
        let known = self
            .mesh(shared)
            .is_some_and(|mesh| mesh.items.has(Kind::Peer, &member.to_hex()));
        if known {
            let change = Change::drop(Kind::Peer, member.to_hex());
            self.change_item(None, shared, change, Vec::new(), None);
        }
    }

    /// The presence of a connection.
    fn own_presence(&mut self, id: ConnId) -> Option<&mut Presence> {
        let conn = self.conns.get(&id)?;
        let (shared, key) = (Arc::clone(&conn.mesh), conn.presence?);
        self.mesh_mut(&shared)?.presences.get_mut(&key)
    }

    fn done(&mut self, id: ConnId, req_id: Option<String>) {
        let ack = Ack {
            id: req_id.clone().unwrap_or_default(),
            req_id,
            ..Ack::default()
        };
        self.reply(id, ack);
    }

    pub(super) fn set_visible(&mut self, id: ConnId, ask: &SetVisible) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        if let Some(presence) = self.own_presence(id) {
            let changed = presence.visible != ask.visible;
            presence.visible = ask.visible;
            let data = json!({
                "name": presence.name,
                "pubkey": presence.routing_key().to_hex(),
            });
            let event = if ask.visible {
                "peer_visible"
            } else {
                "peer_hidden"
            };
            if changed {
                self.tell(&who.mesh, event, data, None, Some(id));
            }
        }
        self.done(id, ask.req_id.clone());
    }

    pub(super) fn set_profile(&mut self, id: ConnId, ask: SetProfile) {
        if self.reader_of(id, ask.req_id.as_ref()).is_none() {
            return;
        }
        if let Some(presence) = self.own_presence(id) {
            let mut profile = match presence.profile.take() {
                Some(Value::Object(profile)) => profile,
                _ => Map::new(),
            };
            let fields = [
                ("avatar", ask.avatar),
                ("title", ask.title),
                ("bio", ask.bio),
            ];
            for (name, text) in fields {
                if let Some(text) = text {
                    profile.insert(name.to_owned(), shown(&text, 1_024).into());
                }
            }
            if let Some(all) = ask.capabilities {
                // Where there is no log, peers of ours say here who they are.
                // There is one of it: a profile is in every list of peers.
                let mut said = false;
                let mut room = |it: &str| {
                    let first = it.starts_with(PROFILE_STATEMENT) && !said;
                    said |= first;
                    if first { 2_048 } else { 64 }
                };
                let all = all.iter().take(32);
                let all: Vec<_> = all.map(|it| shown(it, room(it))).collect();
                profile.insert("capabilities".to_owned(), all.into());
            }
            presence.profile = Some(Value::Object(profile));
        }
        self.done(id, ask.req_id);
    }

    pub(super) fn set_stats(&mut self, id: ConnId, ask: &SetStats) {
        if self.reader_of(id, None).is_none() {
            return;
        }
        if let Some(presence) = self.own_presence(id) {
            let number = |name: &&str| Some(((*name).to_owned(), ask.stats.get(*name)?.clone()));
            let all = STATS.iter().filter_map(number);
            presence.stats = Some(Value::Object(
                all.filter(|(_, it)| it.is_number()).collect(),
            ));
        }
    }

    pub(super) fn join_group(&mut self, id: ConnId, ask: &JoinGroup) {
        self.change_groups(id, &ask.name, Some(ask.role.as_deref()));
    }

    pub(super) fn leave_group(&mut self, id: ConnId, ask: &LeaveGroup) {
        self.change_groups(id, &ask.name, None);
    }

    fn change_groups(&mut self, id: ConnId, name: &str, joins: Option<Option<&str>>) {
        let Some(who) = self.asker(id, None) else {
            return;
        };
        if !self.may_write(id, &who, None) {
            return;
        }
        let name = name.strip_prefix('@').unwrap_or(name);
        let Some(presence) = self.own_presence(id) else {
            let why = "this connection has no presence; say hello without presence: false";
            return self.error(id, code::INVALID, why, None);
        };
        let mut all = presence.groups.as_array().cloned().unwrap_or_default();
        all.retain(|it| it.get("name").and_then(Value::as_str) != Some(name));
        if let Some(role) = joins {
            let mut group = json!({ "name": name });
            if let Some(role) = role {
                group["role"] = role.into();
            }
            all.push(group);
        }
        presence.groups = text::groups(Some(&Value::Array(all)));
        let groups = presence.groups.clone();
        let mesh = self.mesh(&who.mesh);
        if let Some(mut row) = mesh.and_then(|mesh| mesh.remembered(&who.member)) {
            row.groups = groups;
            row.seen = self.now.wall;
            let change = Change::put(Kind::Peer, who.member.to_hex(), &row);
            self.change_item(Some(id), &who.mesh, change, Vec::new(), None);
        }
    }

    pub(super) fn mesh_info(&mut self, id: ConnId, ask: MeshInfo) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_wait(id, ask.req_id.as_ref()) {
            return;
        }
        let query = ValueQuery::States {
            mesh: MeshId::clone(&who.mesh),
            after: None,
            bytes: PAGE_BYTES,
        };
        let req_id = ask.req_id;
        self.ask_value(
            query,
            Ask::Info {
                conn: id,
                keys: None,
                req_id,
            },
        );
    }

    pub(in crate::router) fn info_keys(
        &mut self,
        id: ConnId,
        rows: Vec<StateRow>,
        req_id: Option<String>,
    ) {
        let Some(shared) = self.mesh_of(id) else {
            return;
        };
        let keys = rows.into_iter().map(|row| row.key).collect();
        let query = ValueQuery::Memories {
            mesh: MeshId::clone(&shared),
            after: None,
            bytes: PAGE_BYTES,
        };
        let keys = Some(keys);
        self.ask_value(
            query,
            Ask::Info {
                conn: id,
                keys,
                req_id,
            },
        );
    }

    pub(in crate::router) fn info_told(
        &mut self,
        id: ConnId,
        state_keys: Vec<String>,
        memories: usize,
        req_id: Option<String>,
    ) {
        if !self.end_asking(id) {
            return;
        }
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (own, name) = (conn.presence, conn.name.clone());
        let Some(mesh) = self.mesh(&conn.mesh) else {
            return;
        };
        let seen = mesh.presences.values().filter(|it| it.visible);
        let mut groups = BTreeSet::new();
        for presence in seen.clone() {
            let all = presence.groups.as_array().into_iter().flatten();
            let names = all.filter_map(|it| it.get("name")?.as_str());
            groups.extend(names.map(|name| format!("@{name}")));
        }
        let mut tasks = TaskCounts::default();
        for (_, task) in mesh.items.all::<Task>(Kind::Task) {
            match task.status.as_str() {
                "open" => tasks.open += 1,
                "claimed" => tasks.claimed += 1,
                _ => tasks.done += 1,
            }
        }
        let streams = mesh.items.all::<Value>(Kind::Stream);
        let own = own.and_then(|key| mesh.presences.get(&key));
        let info = MeshInfoResult {
            mesh: mesh.row.id.as_str().to_owned(),
            peers: seen.count() as u64,
            groups: groups.into_iter().collect(),
            state_keys,
            memory_count: memories as u64,
            tasks,
            streams: streams.map(|(name, _)| name.to_owned()).collect(),
            your_name: name,
            your_groups: own.map_or_else(|| json!([]), |own| own.groups.clone()),
            req_id,
            ..MeshInfoResult::default()
        };
        self.reply(id, info);
    }

    pub(super) fn message_status(&mut self, id: ConnId, ask: MessageStatus) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        let length = ask.message_id.chars().count();
        let plain = ask.message_id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !(8..=32).contains(&length) || !plain {
            let why = format!("messageId must be 8-32 base62 chars (got {length})");
            return self.error(id, code::INVALID_ARGUMENT, &why, ask.req_id);
        }
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        // Only who sent a message may know of it: a whole id is proof, a part of one is looked for
        // among the sender's newest.
        let seq = self.ids.check(&ask.message_id, &who.member).or_else(|| {
            let sent = self.mesh(&who.mesh)?.sent_open.iter().rev();
            let mut own = sent.filter(|it| it.sender == who.member).map(|it| it.seq);
            own.find(|seq| {
                let whole = self.ids.mint(*seq, &who.member);
                whole.starts_with(&ask.message_id)
            })
        });
        let Some(seq) = seq else {
            return self.error(id, code::NOT_FOUND, "message not found", ask.req_id);
        };
        if !self.begin_asking(id, ask.req_id.as_ref()) {
            return;
        }
        let query = Query::Outcomes {
            sender: who.member,
            seqs: vec![seq],
        };
        let asked = Asked::MessageStatus {
            conn: id,
            seq,
            message_id: ask.message_id,
            req_id: ask.req_id,
        };
        self.load(query, asked);
    }

    pub(in crate::router) fn message_status_loaded(
        &mut self,
        id: ConnId,
        (seq, message_id): (u64, String),
        req_id: Option<String>,
        rows: Option<Vec<SendOutcome>>,
    ) {
        if !self.end_asking(id) {
            return;
        }
        let Some(rows) = rows else {
            return self.unreadable(id, req_id);
        };
        let delivered = match rows.first() {
            Some(SendOutcome::Delivered) => true,
            Some(SendOutcome::Unknown) | None => {
                return self.error(id, code::NOT_FOUND, "message not found", req_id);
            }
            Some(_) => false,
        };
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let (member, now) = (conn.member, self.now.wall);
        let Some(mesh) = self.mesh(&conn.mesh) else {
            return;
        };
        let mut sent = mesh.sent_open.iter();
        let sent = sent.find(|it| it.seq == seq && it.sender == member);
        let target = sent.map(|it| it.target.clone()).unwrap_or_default();
        let is_to = |it: &&Presence| match target.chars().next() {
            None => false,
            Some('*') => it.member != member,
            Some('@') => {
                let group = target.strip_prefix('@').unwrap_or_default();
                it.member != member
                    && (group == "all" || mesh.in_open_group(&it.member, group, now))
            }
            Some('#') => {
                let topic = mesh.topic(&target);
                it.member != member
                    && topic.is_some_and(|(id, _)| mesh.topic_members(&id).contains(&it.member))
            }
            Some(_) => it.member.to_hex() == target || it.routing_key().to_hex() == target,
        };
        let recipients = mesh.presences.values().filter(is_to).map(|it| {
            // It is kept also for who is away for a moment.
            let status = if delivered { "delivered" } else { "held" };
            MessageRecipient {
                name: it.name.clone(),
                pubkey: it.routing_key().to_hex(),
                status: status.to_owned(),
            }
        });
        let mut recipients: Vec<_> = recipients.collect();
        if let Ok(key) = PublicKey::from_hex(&target)
            && recipients.is_empty()
        {
            let row = mesh.member(&mesh.owner_of(&key));
            let status = if delivered {
                "delivered"
            } else {
                "disconnected"
            };
            recipients.push(MessageRecipient {
                name: row.map_or("unknown", |row| row.name.as_str()).to_owned(),
                pubkey: target.clone(),
                status: status.to_owned(),
            });
        }
        let result = MessageStatusResult {
            message_id,
            target_spec: target.clone(),
            delivered,
            // When it was is not kept.
            delivered_at: None,
            recipients,
            req_id,
        };
        self.reply(id, result);
    }
}

impl Remembered {
    /// Tells the others of a member that comes back.
    pub(in crate::router) fn returned(&self, data: &mut Value) {
        data["lastSeenAt"] = iso(self.seen).into();
        if let Some(summary) = &self.summary {
            data["summary"] = summary.clone().into();
        }
    }

    /// Tells a client that comes back what is remembered of it.
    pub(in crate::router) fn tell(self, ack: &mut HelloAck) {
        let extra = &mut ack.extra;
        extra.insert("restored", true);
        extra.insert("lastSeenAt", iso(self.seen));
        if let Some(summary) = self.summary {
            extra.insert("lastSummary", summary);
        }
        if self.groups.as_array().is_some_and(|all| !all.is_empty()) {
            extra.insert("restoredGroups", self.groups);
        }
        if let Some(stats) = self.stats {
            extra.insert("restoredStats", stats);
        }
    }
}
