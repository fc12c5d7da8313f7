//! What existing clients keep of their own kind: in memory as it is in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use claudemesh_core::id::{MeshId, Name, PublicKey};
use claudemesh_core::wire::{BrokerFrame, errors::code};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::router::Router;
use crate::router::http::refused;
use crate::router::types::{ConnId, HttpReply};
use crate::router::values::{Ask, Wrote};
use crate::store::{ItemRow, Op, Outcome, ValueOp, ValueQuery, ValueRows};

const FULL: &str = "there are as many of these as the broker keeps; remove some first";

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::router) enum Kind {
    /// A topic, by its id.
    Topic,
    /// A link of a mesh without a log, by the hash of its token.
    Invite,
    /// Who is in a topic, by the topic's id and the member's key.
    TopicMember,
    /// What is remembered of a member's sessions, by its key.
    Peer,
    /// Whom a member lets send to it, by its key.
    Grants,
    /// A key for HTTP, by the hash of its secret.
    ApiKey,
    /// A task, by its id.
    Task,
    /// A context, by its member's key.
    Context,
    /// A stream, by its name.
    Stream,
    /// What is said of a member by HTTP, by its key.
    Profile,
    /// What members may change of themselves.
    Policy,
}

const KINDS: &[(Kind, &str, u64)] = &[
    (Kind::Topic, "topic", 1_000),
    (Kind::Invite, "invite", 20_000),
    (Kind::TopicMember, "topic_member", 20_000),
    (Kind::Peer, "peer", 5_000),
    (Kind::Grants, "grants", 5_000),
    (Kind::ApiKey, "api_key", 1_000),
    (Kind::Task, "task", 1_000),
    (Kind::Context, "context", 5_000),
    (Kind::Stream, "stream", 200),
    (Kind::Profile, "profile", 5_000),
    (Kind::Policy, "policy", 1),
];

impl Kind {
    fn entry(self) -> Option<&'static (Self, &'static str, u64)> {
        KINDS.iter().find(|(kind, _, _)| *kind == self)
    }

    pub(in crate::router) fn name(self) -> &'static str {
        self.entry().map_or("", |(_, name, _)| name)
    }

    /// Items of this kind in a mesh at most.
    fn max(self) -> u64 {
        self.entry().map_or(0, |(_, _, max)| *max)
    }
}

/// The items of a mesh. They run ahead of the store by what is being committed.
#[derive(Debug, Default)]
pub(in crate::router) struct Items(BTreeMap<(Kind, String), Value>);

impl Items {
    pub(in crate::router) fn new(rows: Vec<ItemRow>) -> Self {
        let known = rows.into_iter().filter_map(|row| {
            let (kind, _, _) = KINDS.iter().find(|(_, name, _)| *name == row.kind)?;
            let value = serde_json::from_str(&row.value).ok()?;
            Some(((*kind, row.key), value))
        });
        Self(known.collect())
    }

    pub(in crate::router) fn get<T: DeserializeOwned>(&self, kind: Kind, key: &str) -> Option<T> {
        let value = self.0.get(&(kind, key.to_owned()))?;
        serde_json::from_value(value.clone()).ok()
    }

    pub(in crate::router) fn has(&self, kind: Kind, key: &str) -> bool {
        self.0.contains_key(&(kind, key.to_owned()))
    }

    /// All of a kind, by key.
    pub(in crate::router) fn all<T: DeserializeOwned>(
        &self,
        kind: Kind,
    ) -> impl Iterator<Item = (&str, T)> {
        self.under(kind, "")
    }

    /// Those of a kind whose key begins so, by key.
    pub(in crate::router) fn under<T: DeserializeOwned>(
        &self,
        kind: Kind,
        prefix: &str,
    ) -> impl Iterator<Item = (&str, T)> {
        let prefix = prefix.to_owned();
        let from = (kind, prefix.clone());
        self.0
            .range(from..)
            .take_while(move |((of, key), _)| *of == kind && key.starts_with(&prefix))
            .filter_map(|((_, key), value)| {
                Some((key.as_str(), serde_json::from_value(value.clone()).ok()?))
            })
    }

    /// An item as it is kept, for who looks at a part of it.
    pub(in crate::router) fn value(&self, kind: Kind, key: &str) -> Option<&Value> {
        self.0.get(&(kind, key.to_owned()))
    }

    fn is_full(&self, kind: Kind, key: &str) -> bool {
        let count = self.0.range((kind, String::new())..);
        let count = count.take_while(|((of, _), _)| *of == kind).count();
        !self.has(kind, key) && count as u64 >= kind.max()
    }
}

/// What is told, and to whom, once an item is kept.
pub(in crate::router) type Told = Vec<(Vec<ConnId>, BrokerFrame)>;

/// What follows once a change that was asked for by HTTP is kept.
#[derive(Debug)]
pub(in crate::router) struct Edited {
    pub(in crate::router) request: u64,
    /// Who is called otherwise from then on.
    pub(in crate::router) named: Option<(PublicKey, Name)>,
    pub(in crate::router) told: Told,
    pub(in crate::router) reply: Value,
}

/// A change of an item.
#[derive(Debug)]
pub(in crate::router) struct Change {
    pub(in crate::router) kind: Kind,
    pub(in crate::router) key: String,
    /// None: it is taken away.
    pub(in crate::router) value: Option<Value>,
    /// The audit row that belongs to it.
    pub(in crate::router) event: Option<(&'static str, PublicKey)>,
}

impl Change {
    pub(in crate::router) fn put(
        kind: Kind,
        key: impl Into<String>,
        value: &impl Serialize,
    ) -> Self {
        Self {
            kind,
            key: key.into(),
            value: serde_json::to_value(value).ok(),
            event: None,
        }
    }

    pub(in crate::router) fn drop(kind: Kind, key: impl Into<String>) -> Self {
        Self {
            kind,
            key: key.into(),
            value: None,
            event: None,
        }
    }

    pub(in crate::router) fn noted(mut self, event: &'static str, actor: PublicKey) -> Self {
        self.event = Some((event, actor));
        self
    }
}

impl Router {
    /// Changes an item, and tells what is to be told once that is kept. Without a connection
    /// nobody waits for it.
    pub(in crate::router) fn change_item(
        &mut self,
        conn: Option<ConnId>,
        shared: &Arc<MeshId>,
        change: Change,
        told: Told,
        req_id: Option<String>,
    ) {
        let Some(op) = self.stage_item(shared, change) else {
            if let Some(conn) = conn {
                self.error(conn, code::QUEUE_FULL, FULL, req_id);
            }
            return;
        };
        let wrote = Wrote::Item {
            conn,
            mesh: Arc::clone(shared),
            told,
            req_id,
        };
        self.write_value(op, wrote);
    }

    /// Takes the oldest item of a kind away, by the time that `over` gives to those that are of no
    /// use any more, if there is no room for another one.
    pub(in crate::router) fn make_room<T: DeserializeOwned>(
        &mut self,
        shared: &Arc<MeshId>,
        kind: Kind,
        over: impl Fn(&T) -> Option<u64>,
    ) {
        let Some(mesh) = self.mesh(shared) else {
            return;
        };
        if !mesh.items.is_full(kind, "") {
            return;
        }
        let all = mesh.items.all::<T>(kind);
        let over = all.filter_map(|(key, item)| Some((over(&item)?, key)));
        if let Some(key) = over.min().map(|(_, key)| key.to_owned()) {
            let change = Change::drop(kind, key);
            self.change_item(None, shared, change, Vec::new(), None);
        }
    }

    /// As [`Self::change_item`], for a request by HTTP, which is answered once it is kept. A new name
    /// is kept in the same commit, and shown from then on.
    pub(in crate::router) fn change_asked(
        &mut self,
        shared: &Arc<MeshId>,
        change: Change,
        edit: Edited,
    ) {
        let Some(op) = self.stage_item(shared, change) else {
            return self.respond(edit.request, refused(409, code::QUEUE_FULL, FULL));
        };
        let mut ops = vec![Op::Value(op)];
        ops.extend(edit.named.as_ref().map(|(member, name)| Op::NameMember {
            mesh: MeshId::clone(shared),
            member: *member,
            name: name.clone(),
        }));
        let wrote = Wrote::Asked {
            mesh: Arc::clone(shared),
            edit: Box::new(edit),
        };
        self.write_others(ops, wrote);
    }

    /// A change that was asked for by HTTP is kept, or not.
    pub(in crate::router) fn asked_written(
        &mut self,
        shared: &Arc<MeshId>,
        edit: Edited,
        outcome: Option<Outcome>,
    ) {
        if !matches!(outcome, Some(Outcome::Done | Outcome::NotThere)) {
            let why = "the broker could not keep that; try again";
            self.respond(edit.request, refused(503, code::BUSY, why));
            return self.item_written(None, shared, Vec::new(), None, outcome);
        }
        if let Some((member, name)) = edit.named
            && let Some(row) = self
                .mesh_mut(shared)
                .and_then(|mesh| mesh.members.get_mut(&member))
        {
            row.name = name;
        }
        for (conns, frame) in edit.told {
            self.tell_each(conns, &frame);
        }
        self.respond(edit.request, HttpReply::Json(edit.reply));
    }

    /// Changes an item in memory, and gives what is to be written. None: there is no room.
    fn stage_item(&mut self, shared: &Arc<MeshId>, change: Change) -> Option<ValueOp> {
        let at = self.now.wall;
        let mesh = self.mesh_mut(shared)?;
        let place = (change.kind, change.key.clone());
        match &change.value {
            Some(_) if mesh.items.is_full(change.kind, &change.key) => return None,
            Some(value) => {
                mesh.items.0.insert(place, value.clone());
            }
            None => {
                mesh.items.0.remove(&place);
            }
        }
        let row = ItemRow {
            mesh: MeshId::clone(shared),
            kind: change.kind.name().to_owned(),
            key: change.key,
            value: change
                .value
                .map(|value| value.to_string())
                .unwrap_or_default(),
            at,
        };
        Some(ValueOp::Item {
            row,
            max: change.kind.max(),
            event: change.event,
        })
    }

    pub(in crate::router) fn item_written(
        &mut self,
        conn: Option<ConnId>,
        mesh: &Arc<MeshId>,
        told: Told,
        req_id: Option<String>,
        outcome: Option<Outcome>,
    ) {
        if matches!(outcome, Some(Outcome::Done | Outcome::NotThere)) {
            for (conns, frame) in told {
                self.tell_each(conns, &frame);
            }
            return;
        }
        if let Some(conn) = conn {
            self.not_written(conn, outcome.as_ref(), req_id);
        }
        // What is in memory is not what is kept: look.
        let query = ValueQuery::Items {
            mesh: MeshId::clone(mesh),
        };
        let mesh = Arc::clone(mesh);
        self.ask_value(query, Ask::Items { mesh });
    }

    pub(in crate::router) fn items_loaded(&mut self, mesh: &Arc<MeshId>, rows: Option<ValueRows>) {
        match (self.mesh_mut(mesh), rows) {
            (Some(mesh), Some(ValueRows::Items(rows))) => mesh.items = Items::new(rows),
            (Some(_), _) => self.forget_mesh(mesh),
            (None, _) => {}
        }
    }

    /// Writes a frame to each of these connections that is still there.
    pub(in crate::router) fn tell_each(&mut self, conns: Vec<ConnId>, frame: &BrokerFrame) {
        for conn in conns {
            self.answer(conn, frame.clone());
        }
    }
}
