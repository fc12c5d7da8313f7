//! Topics in the open. Whoever is in one gets what is said there, also later.

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::wire::{
    ErrorFrame, MAX_HISTORY_PAGE, Push, TopicCreate, TopicCreated, TopicHistory,
    TopicHistoryResponse, TopicJoin, TopicLeave, TopicList, TopicListResponse, TopicMarkRead,
    TopicMember, TopicMembers, TopicMembersResponse, TopicMessage, TopicRecord, TopicRef,
    errors::code, join_push,
};
use serde::{Deserialize, Serialize};

use super::items::{Change, Kind};
use crate::message_id::seq_of;
use crate::router::Router;
use crate::router::load::Asked;
use crate::router::mesh::Mesh;
use crate::router::text::{iso, shown};
use crate::router::types::ConnId;
use crate::router::values::Who;
use crate::store::{ChannelQuery, HistoryRows, Query};

/// Characters of a topic's name.
const NAME_CHARS: usize = 64;
const PAGE_BYTES: u64 = 192 << 10;
const TOPIC_NOT_FOUND: &str = "topic_not_found";
const INVALID_ARGS: &str = "invalid_args";

/// A topic as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::router) struct Topic {
    pub(in crate::router) name: String,
    description: Option<String>,
    visibility: String,
    created_at: u64,
}

/// A membership as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Membership {
    role: String,
    joined_at: u64,
    last_read_at: Option<u64>,
}

fn membership_key(topic: &str, member: &PublicKey) -> String {
    format!("{topic}/{}", member.to_hex())
}

impl Topic {
    /// Whether also those may read and write it who are not in it.
    fn is_open(&self) -> bool {
        self.visibility == "public"
    }
}

impl Mesh {
    /// A topic by its id or its name, with or without its mark.
    pub(in crate::router) fn topic(&self, text: &str) -> Option<(String, Topic)> {
        let text = text.strip_prefix('#').unwrap_or(text);
        if let Some(topic) = self.items.get(Kind::Topic, text) {
            return Some((text.to_owned(), topic));
        }
        let mut all = self.items.all::<Topic>(Kind::Topic);
        let found = all.find(|(_, topic)| topic.name == text);
        found.map(|(id, topic)| (id.to_owned(), topic))
    }

    /// A topic that a member may read and write.
    pub(in crate::router) fn own_topic(
        &self,
        text: &str,
        member: &PublicKey,
    ) -> Option<(String, Topic)> {
        let (id, topic) = self.topic(text)?;
        (topic.is_open()
            || self
                .items
                .has(Kind::TopicMember, &membership_key(&id, member)))
        .then_some((id, topic))
    }

    /// Who is in a topic, and is still a member of the mesh.
    pub(in crate::router) fn topic_members(&self, topic: &str) -> Vec<PublicKey> {
        let all = self.memberships(topic);
        all.into_iter().map(|(key, _)| key).collect()
    }

    fn memberships(&self, topic: &str) -> Vec<(PublicKey, Membership)> {
        let prefix = format!("{topic}/");
        let all = self.items.under::<Membership>(Kind::TopicMember, &prefix);
        let known = all.filter_map(|(key, membership)| {
            let key = PublicKey::from_hex(key.strip_prefix(&prefix)?).ok()?;
            self.member(&key).map(|row| (row.key, membership))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(key, membership)| (membership.joined_at, *key));
        known
    }
}

/// The channel under which the store keeps what is said in a topic.
pub(in crate::router) fn history_of(topic: &str) -> Option<ChannelName> {
    ChannelName::new(format!("#{topic}")).ok()
}

impl Router {
    /// A new id of 32 hex digits.
    pub(super) fn hex_id(&mut self) -> String {
        let random: [u8; 16] = self.rng.bytes();
        claudemesh_core::encoding::hex(&random)
    }

    pub(super) fn topic_create(&mut self, id: ConnId, ask: TopicCreate) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let name = shown(ask.name.trim().trim_start_matches('#'), NAME_CHARS);
        let visibility = ask.visibility.unwrap_or_else(|| "public".to_owned());
        if name.is_empty() || !["public", "private", "dm"].contains(&visibility.as_str()) {
            let why = "a topic has a name, and is public, private or dm";
            return self.topic_error(id, INVALID_ARGS, why, ask.req_id);
        }
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        if let Some((topic, found)) = mesh.topic(&name) {
            let answer = TopicCreated {
                topic: TopicRef {
                    id: topic,
                    name: found.name,
                    visibility: found.visibility,
                },
                created: false,
                req_id: ask.req_id,
            };
            return self.reply(id, answer);
        }
        let topic = self.hex_id();
        let row = Topic {
            name: name.clone(),
            description: ask.description.map(|text| shown(&text, 1_024)),
            visibility: visibility.clone(),
            created_at: self.now.wall,
        };
        let lead = Membership {
            role: "lead".to_owned(),
            joined_at: self.now.wall,
            last_read_at: None,
        };
        let created = TopicCreated {
            topic: TopicRef {
                id: topic.clone(),
                name,
                visibility,
            },
            created: true,
            req_id: ask.req_id.clone(),
        };
        let change = Change::put(Kind::Topic, topic.clone(), &row);
        let change = change.noted("topic_created", who.member);
        let has_room = self.has_item_after(id, &who, change, ask.req_id.clone());
        if has_room {
            let key = membership_key(&topic, &who.member);
            let change = Change::put(Kind::TopicMember, key, &lead);
            let told = vec![(vec![id], created.into())];
            self.change_item(Some(id), &who.mesh, change, told, ask.req_id);
        }
    }

    /// Changes an item that is only a part of what is asked for; says whether there was room.
    fn has_item_after(
        &mut self,
        id: ConnId,
        who: &Who,
        change: Change,
        req_id: Option<String>,
    ) -> bool {
        let (kind, key) = (change.kind, change.key.clone());
        self.change_item(Some(id), &who.mesh, change, Vec::new(), req_id);
        let mesh = self.mesh(&who.mesh);
        mesh.is_some_and(|mesh| mesh.items.has(kind, &key))
    }

    pub(super) fn topic_error(
        &mut self,
        id: ConnId,
        code: &str,
        why: &str,
        req_id: Option<String>,
    ) {
        let mut error = ErrorFrame::new(code, why);
        // Existing clients look for the request in `id` here.
        error.id.clone_from(&req_id);
        error.req_id = req_id;
        self.reply(id, error);
    }

    fn no_topic(&mut self, id: ConnId, topic: &str, req_id: Option<String>) {
        let why = format!("topic \"{}\" not found", shown(topic, NAME_CHARS));
        self.topic_error(id, TOPIC_NOT_FOUND, &why, req_id);
    }

    pub(super) fn topic_list(&mut self, id: ConnId, ask: TopicList) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let all = mesh.items.all::<Topic>(Kind::Topic);
        let own = all.filter(|(id, _)| mesh.own_topic(id, &who.member).is_some());
        let mut topics: Vec<_> = own
            .map(|(id, topic)| TopicRecord {
                id: id.to_owned(),
                name: topic.name,
                description: topic.description,
                visibility: topic.visibility,
                member_count: mesh.topic_members(id).len() as u64,
                created_at: iso(topic.created_at),
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let req_id = ask.req_id;
        self.reply(id, TopicListResponse { topics, req_id });
    }

    pub(super) fn topic_join(&mut self, id: ConnId, ask: TopicJoin) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let found = self.mesh(&who.mesh).and_then(|mesh| mesh.topic(&ask.topic));
        let Some((topic, row)) = found else {
            return self.no_topic(id, &ask.topic, ask.req_id);
        };
        let key = membership_key(&topic, &who.member);
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let before: Option<Membership> = mesh.items.get(Kind::TopicMember, &key);
        if before.is_none() && !row.is_open() && !who.moderates() {
            // To who is not in it, it is not there.
            return self.no_topic(id, &ask.topic, ask.req_id);
        }
        let lead = before.as_ref().is_some_and(|it| it.role == "lead") || who.moderates();
        let role = match ask.role.as_deref() {
            Some("lead") if lead => "lead",
            Some("observer") => "observer",
            None if lead && before.is_some() => "lead",
            _ => "member",
        };
        let membership = Membership {
            role: role.to_owned(),
            joined_at: before.as_ref().map_or(self.now.wall, |it| it.joined_at),
            last_read_at: before.and_then(|it| it.last_read_at),
        };
        let change = Change::put(Kind::TopicMember, key, &membership);
        self.change_item(Some(id), &who.mesh, change, Vec::new(), ask.req_id);
    }

    pub(super) fn topic_leave(&mut self, id: ConnId, ask: TopicLeave) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let found = self
            .mesh(&who.mesh)
            .and_then(|mesh| mesh.own_topic(&ask.topic, &who.member));
        let Some((topic, _)) = found else {
            return self.no_topic(id, &ask.topic, ask.req_id);
        };
        let change = Change::drop(Kind::TopicMember, membership_key(&topic, &who.member));
        self.change_item(Some(id), &who.mesh, change, Vec::new(), ask.req_id);
    }

    pub(super) fn topic_members(&mut self, id: ConnId, ask: TopicMembers) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let Some((topic, _)) = mesh.own_topic(&ask.topic, &who.member) else {
            return self.no_topic(id, &ask.topic, ask.req_id);
        };
        let rows = mesh.memberships(&topic).into_iter();
        let members = rows.filter_map(|(key, membership)| {
            let row = mesh.member(&key)?;
            Some(TopicMember {
                member_id: row.id.as_str().to_owned(),
                pubkey: key.to_hex(),
                display_name: row.name.as_str().to_owned(),
                role: membership.role,
                joined_at: iso(membership.joined_at),
                last_read_at: membership.last_read_at.map(iso),
            })
        });
        let answer = TopicMembersResponse {
            topic: shown(&ask.topic, 256),
            members: members.collect(),
            req_id: ask.req_id,
        };
        self.reply(id, answer);
    }

    pub(super) fn topic_mark_read(&mut self, id: ConnId, ask: TopicMarkRead) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let found = self
            .mesh(&who.mesh)
            .and_then(|mesh| mesh.own_topic(&ask.topic, &who.member));
        let Some((topic, _)) = found else {
            return self.no_topic(id, &ask.topic, ask.req_id);
        };
        let key = membership_key(&topic, &who.member);
        let mesh = self.mesh(&who.mesh);
        let before = mesh.and_then(|mesh| mesh.items.get::<Membership>(Kind::TopicMember, &key));
        if let Some(before) = before {
            let read = Membership {
                last_read_at: Some(self.now.wall),
                ..before
            };
            let change = Change::put(Kind::TopicMember, key, &read);
            self.change_item(Some(id), &who.mesh, change, Vec::new(), ask.req_id);
        }
    }

    pub(super) fn topic_history(&mut self, id: ConnId, ask: TopicHistory) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let found = self
            .mesh(&who.mesh)
            .and_then(|mesh| mesh.own_topic(&ask.topic, &who.member));
        let channel = found.and_then(|(topic, _)| history_of(&topic));
        let Some(channel) = channel else {
            return self.no_topic(id, &ask.topic, ask.req_id);
        };
        let before = match ask.before_id.as_deref() {
            None => u64::MAX,
            Some(text) => match seq_of(text) {
                Some(seq) => seq,
                None => {
                    let why = "beforeId is the broker's id of a message";
                    return self.topic_error(id, code::INVALID_ARGUMENT, why, ask.req_id);
                }
            },
        };
        if !self.begin_asking(id, ask.req_id.as_ref()) {
            return;
        }
        let query = Query::Channel(ChannelQuery::History {
            mesh: MeshId::clone(&who.mesh),
            channel,
            before,
            limit: ask.limit.unwrap_or(50).clamp(1, MAX_HISTORY_PAGE),
            bytes: PAGE_BYTES,
        });
        let asked = Asked::TopicHistory {
            conn: id,
            topic: shown(&ask.topic, 256),
            req_id: ask.req_id,
        };
        self.load(query, asked);
    }

    pub(in crate::router) fn topic_history_loaded(
        &mut self,
        id: ConnId,
        topic: String,
        req_id: Option<String>,
        rows: Option<HistoryRows>,
    ) {
        if !self.end_asking(id) {
            return;
        }
        let Some(page) = rows else {
            return self.unreadable(id, req_id);
        };
        let messages = page.rows.iter().filter_map(|row| {
            let text = join_push(&self.ids.mint(row.seq, &row.sender), &row.tail);
            let push: Push = serde_json::from_str(&text).ok()?;
            // A sealed channel may have the same name.
            push.plain?;
            Some(TopicMessage {
                id: push.message_id,
                sender_pubkey: push.sender_pubkey,
                sender_member_id: push.sender_member_id.unwrap_or_default(),
                sender_name: push.sender_name.unwrap_or_default(),
                nonce: push.nonce,
                ciphertext: push.ciphertext,
                body_version: push.body_version.unwrap_or(1),
                reply_to_id: push.reply_to_id,
                created_at: push.created_at,
            })
        });
        let answer = TopicHistoryResponse {
            topic,
            messages: messages.collect(),
            req_id,
        };
        self.reply(id, answer);
    }
}
