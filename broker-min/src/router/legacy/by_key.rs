//! What programs do by HTTP with an API key of a mesh: the hook, and what is said in topics, sealed
//! alone. Each acts as the member that made the key, while that is one.

use std::sync::Arc;

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::wire::{
    Ack, MAX_HISTORY_PAGE, Push, SUBTYPE_WEBHOOK, Send, errors::code, join_push,
};
use serde_json::{Value, json};

use super::api_keys::ApiKey;
use super::items::Kind;
use super::topics::{Topic, history_of};
use crate::message_id::seq_of;
use crate::router::Router;
use crate::router::conn::HINT_BYTES;
use crate::router::http::refused;
use crate::router::load::Asked;
use crate::router::mesh::Mesh;
use crate::router::send::Posted;
use crate::router::text::{iso, shown};
use crate::router::types::{ApiAsk, ApiCall, ConnId, HttpCall, HttpReply, Kind as WriteKind, Out};
use crate::router::values::Ask;
use crate::store::{ChannelQuery, HistoryRows, Query, ValueQuery, ValueRows};

const INVALID: &str = "error.api_key_invalid";
const MISSING: &str = "error.api_key_missing_capability";
const OUT_OF_SCOPE: &str = "error.api_key_topic_out_of_scope";
const PAGE_BYTES: u64 = 192 << 10;
/// From this version on the body of a message in the open is sealed by its clients.
const SEALED_BODY: u64 = 2;

/// No such key.
pub(in crate::router) fn no_key() -> HttpReply {
    let why = "this broker knows no such API key: it was taken back, has expired, or its member is \
               out; make one with apikey_create";
    refused(401, INVALID, why)
}

fn missing(what: &str) -> HttpReply {
    let why = format!("this API key has not the capability `{what}`; make one that has it");
    refused(403, MISSING, why)
}

fn out_of_scope(what: &str) -> HttpReply {
    let why = format!("this API key is for certain topics, and not for {what}");
    refused(403, OUT_OF_SCOPE, why)
}

fn no_topic() -> HttpReply {
    let why = "the key's member can read no such topic; GET /api/v1/topics lists those it can";
    refused(404, "topic_not_found", why)
}

impl ApiKey {
    fn can(&self, what: &str) -> Result<(), HttpReply> {
        let can = self
            .capabilities
            .iter()
            .any(|it| it == what || it == "admin");
        can.then_some(()).ok_or_else(|| missing(what))
    }

    fn is_for(&self, topic: &str) -> bool {
        let topic = topic.trim_start_matches('#');
        let own = self.topics.as_ref();
        own.is_none_or(|own| own.iter().any(|name| name == topic))
    }
}

/// Where what is said in a topic is kept, and how it is named.
struct Place {
    name: String,
    id: String,
    channel: ChannelName,
    /// A channel of ours, in which everything is sealed.
    sealed: bool,
}

impl Place {
    fn open(id: String, topic: Topic) -> Option<Self> {
        let channel = history_of(&id)?;
        Some(Self {
            name: topic.name,
            id,
            channel,
            sealed: false,
        })
    }

    fn sealed(name: ChannelName) -> Self {
        Self {
            name: name.as_str().trim_start_matches('#').to_owned(),
            id: name.as_str().to_owned(),
            channel: name,
            sealed: true,
        }
    }
}

fn place(mesh: &mut Mesh, text: &str, member: &PublicKey) -> Option<Place> {
    if let Some((id, topic)) = mesh.own_topic(text, member) {
        return Place::open(id, topic);
    }
    let name = ChannelName::new(format!("#{}", text.trim_start_matches('#'))).ok()?;
    let (channel, log) = mesh.channel(&name).ok()?;
    let reads = channel.view(&name, log).has(member);
    reads.then(|| Place::sealed(name))
}

impl Router {
    /// A call with an API key: in the mesh whose key it is.
    pub(in crate::router) fn by_key(&mut self, request: u64, mut call: ApiCall) {
        if call.mesh.is_none() {
            let mut known = self.meshes.keys().filter_map(|id| self.mesh(id));
            let known = known.find(|mesh| mesh.items.has(Kind::ApiKey, &call.hash));
            call.mesh = known.map(|mesh| mesh.row.id.clone());
        }
        if call.mesh.is_some() {
            return self.http(request, HttpCall::Api(Box::new(call)));
        }
        let query = ValueQuery::ItemsOf {
            kind: Kind::ApiKey.name().to_owned(),
            key: call.hash.clone(),
        };
        let call = Box::new(call);
        self.ask_value(query, Ask::ApiKey { request, call });
    }

    /// Whose key it is, as the store says.
    pub(in crate::router) fn key_found(
        &mut self,
        request: u64,
        mut call: ApiCall,
        rows: Option<ValueRows>,
    ) {
        match rows {
            Some(ValueRows::Items(rows)) => match rows.into_iter().next() {
                Some(row) => {
                    call.mesh = Some(row.mesh);
                    self.http(request, HttpCall::Api(Box::new(call)));
                }
                None => self.respond(request, no_key()),
            },
            _ => {
                let why = "the broker cannot read its store; try again";
                self.respond(request, refused(503, code::BUSY, why));
            }
        }
    }

    /// A call with an API key of a mesh that is loaded.
    pub(in crate::router) fn api(&mut self, request: u64, shared: &Arc<MeshId>, call: ApiCall) {
        if let Err(no) = self.api_of(request, shared, call) {
            self.respond(request, no);
        }
    }

    fn api_of(
        &mut self,
        request: u64,
        shared: &Arc<MeshId>,
        call: ApiCall,
    ) -> Result<(), HttpReply> {
        let now = self.now.wall;
        let mesh = self.mesh(shared).ok_or_else(no_key)?;
        let key = mesh.api_key(&call.hash, now).ok_or_else(no_key)?;
        let member = key.issuer.key().ok_or_else(no_key)?;
        self.note_use(shared, &call.hash, &key);
        match call.ask {
            ApiAsk::Hook(data) => self.hook(request, shared, &key, member, data),
            ApiAsk::Topics => {
                key.can("read")?;
                let topics = self.topics_of(shared, &key, member);
                self.respond(request, HttpReply::Json(json!({ "topics": topics })));
                Ok(())
            }
            ApiAsk::Messages {
                topic,
                before,
                limit,
            } => {
                key.can("read")?;
                let place = self.place_of(shared, &key, member, &topic)?;
                let before = match before.as_deref() {
                    None => u64::MAX,
                    Some(text) => seq_of(text).ok_or_else(|| {
                        let why = "before is the broker's id of a message";
                        refused(400, code::INVALID_ARGUMENT, why)
                    })?,
                };
                let query = Query::Channel(ChannelQuery::History {
                    mesh: MeshId::clone(shared),
                    channel: place.channel,
                    before,
                    limit: limit.unwrap_or(50).clamp(1, MAX_HISTORY_PAGE),
                    bytes: PAGE_BYTES,
                });
                let asked = Asked::ApiHistory {
                    request,
                    topic: place.name,
                    id: place.id,
                    sealed: place.sealed,
                };
                self.load(query, asked);
                Ok(())
            }
            ApiAsk::Post { topic, send } => {
                key.can("send")?;
                let place = self.place_of(shared, &key, member, &topic)?;
                self.post(request, shared, member, place, *send)
            }
        }
    }

    fn place_of(
        &mut self,
        shared: &Arc<MeshId>,
        key: &ApiKey,
        member: PublicKey,
        topic: &str,
    ) -> Result<Place, HttpReply> {
        let mesh = self.mesh_mut(shared);
        let found = mesh.and_then(|mesh| place(mesh, topic, &member));
        // Whether there is another topic is not told to a key that is not for it.
        match found {
            Some(place) if key.is_for(&place.name) => Ok(place),
            None if key.is_for(topic) => Err(no_topic()),
            _ => Err(out_of_scope("this one")),
        }
    }

    fn topics_of(&mut self, shared: &Arc<MeshId>, key: &ApiKey, member: PublicKey) -> Vec<Value> {
        let Some(mesh) = self.mesh_mut(shared) else {
            return Vec::new();
        };
        let mut names: Vec<String> = mesh
            .items
            .all::<Topic>(Kind::Topic)
            .map(|(id, _)| id.to_owned())
            .collect();
        names.extend(
            mesh.log
                .roster()
                .channels()
                .map(|it| it.name.as_str().to_owned()),
        );
        let all = names.iter().filter(|name| !name.starts_with('@'));
        let all: Vec<Place> = all.filter_map(|name| place(mesh, name, &member)).collect();
        let mut all: Vec<Place> = all.into_iter().filter(|it| key.is_for(&it.name)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let told = all
            .into_iter()
            .map(|place| json!({ "id": place.id, "name": place.name, "sealed": place.sealed }));
        told.collect()
    }

    /// What was said in a topic: what is sealed of it.
    pub(in crate::router) fn api_history(
        &mut self,
        request: u64,
        (topic, id, sealed): (String, String, bool),
        rows: Option<HistoryRows>,
    ) {
        let Some(page) = rows else {
            let why = "the broker cannot read its store; try again";
            return self.respond(request, refused(503, code::BUSY, why));
        };
        let of_page = page.rows.len();
        let messages: Vec<Value> = page
            .rows
            .iter()
            .filter_map(|row| {
                let text = join_push(&self.ids.mint(row.seq, &row.sender), &row.tail);
                let push: Push = serde_json::from_str(&text).ok()?;
                let open = push.plain.is_some();
                let version = push.body_version.unwrap_or(1);
                // What is readable on its way is no business of this route.
                if open == sealed || (open && version < SEALED_BODY) {
                    return None;
                }
                Some(json!({
                    "id": push.message_id,
                    "senderPubkey": push.sender_pubkey,
                    "senderMemberId": push.sender_member_id,
                    "senderName": push.sender_name,
                    "nonce": push.nonce,
                    "ciphertext": push.ciphertext,
                    "bodyVersion": version.max(SEALED_BODY),
                    "form": push.form,
                    "replyToId": push.reply_to_id,
                    "createdAt": push.created_at,
                }))
            })
            .collect();
        let told = json!({
            "topic": topic,
            "topicId": id,
            "leftOut": of_page - messages.len(),
            "more": page.more,
            "messages": messages,
        });
        self.respond(request, HttpReply::Json(told));
    }

    fn post(
        &mut self,
        request: u64,
        shared: &Arc<MeshId>,
        member: PublicKey,
        place: Place,
        mut send: Send,
    ) -> Result<(), HttpReply> {
        let open_body = send.form.is_none() && send.body_version.unwrap_or(1) < SEALED_BODY;
        if open_body {
            let why = "only what is sealed is taken: bodyVersion 2, or form envelope/1";
            return Err(refused(400, "plaintext_refused", why));
        }
        send.target_spec = match place.sealed {
            true => place.id.clone(),
            false => format!("#{}", place.id),
        };
        if place.sealed {
            send.body_version = None;
        } else {
            send.form = None;
        }
        let told = json!({
            "topic": place.name,
            "topicId": place.id,
            "notifications": 0,
            "bodyVersion": send.body_version.unwrap_or(SEALED_BODY),
        });
        let posted = Posted { request, told };
        self.send_posted(shared, member, &send, !place.sealed, posted);
        Ok(())
    }

    /// A message of an API key was taken, or not.
    pub(in crate::router) fn posted(&mut self, posted: &Posted, ack: &Ack) {
        let reply = if ack.queued {
            let mut told = posted.told.clone();
            for name in ["messageId", "historyId", "queueId"] {
                told[name] = ack.message_id.clone().into();
            }
            HttpReply::Json(told)
        } else {
            let (status, code) = match ack.code.as_deref() {
                Some(code::RATE_LIMIT) => (429, code::RATE_LIMIT),
                Some(code::TOO_LARGE) => (413, code::TOO_LARGE),
                Some(code::NOT_FOUND) => (404, code::NOT_FOUND),
                Some(code::FORBIDDEN) => (403, code::FORBIDDEN),
                Some(code::STALE_EPOCH) => (409, code::STALE_EPOCH),
                Some(code::QUEUE_FULL) => (503, code::QUEUE_FULL),
                Some(code::BUSY | code::STORE_UNAVAILABLE) => (503, code::BUSY),
                _ => (400, code::INVALID),
            };
            HttpReply::Error {
                status,
                code,
                message: ack.error.clone().unwrap_or_default(),
                retry_after_ms: ack.retry_after_ms,
            }
        };
        self.respond(posted.request, reply);
    }

    /// What was posted to the hook, to those who read what is in the open.
    fn hook(
        &mut self,
        request: u64,
        shared: &Arc<MeshId>,
        key: &ApiKey,
        member: PublicKey,
        data: Value,
    ) -> Result<(), HttpReply> {
        key.can("send")?;
        if key.topics.is_some() {
            return Err(out_of_scope("the hook, which reaches the whole mesh"));
        }
        let mesh = self.mesh(shared).ok_or_else(no_key)?;
        let conns = mesh.conns.iter().filter_map(|id| self.conns.get(id));
        let to: Vec<ConnId> = conns
            .filter(|conn| conn.receive && !conn.envelope && conn.unwritten <= HINT_BYTES)
            .filter(|conn| mesh.is_admitted(&conn.member))
            .filter(|conn| mesh.grants(&conn.member, &member, "broadcast"))
            .map(|conn| conn.id)
            .collect();
        let count = to.len();
        if let Err(ack) = self.check_rate(shared, member, count.max(1) as u64) {
            return Err(HttpReply::Error {
                status: 429,
                code: "rate limited",
                message: ack.error.unwrap_or_default(),
                retry_after_ms: ack.retry_after_ms,
            });
        }
        let push = Push {
            message_id: self.fresh_id(),
            mesh_id: shared.as_str().to_owned(),
            sender_pubkey: format!("webhook:{}", shown(&key.label, 64)),
            priority: "next".to_owned(),
            created_at: iso(self.now.wall),
            subtype: Some(SUBTYPE_WEBHOOK.to_owned()),
            event: Some(key.label.clone()),
            event_data: Some(data),
            plain: Some(true),
            ..Push::default()
        };
        self.outs.push_back(Out::Write {
            conns: to,
            text: push.encode().into(),
            kind: WriteKind::Hint,
        });
        let told = json!({ "ok": true, "delivered": count });
        self.respond(request, HttpReply::Json(told));
        Ok(())
    }
}
