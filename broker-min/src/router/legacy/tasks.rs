//! Tasks, contexts and streams in the open.

use claudemesh_core::wire::{
    BrokerFrame, ClaimTask, CompleteTask, ContextList, ContextRecord, ContextResults,
    ContextShared, CreateStream, CreateTask, GetContext, ListContexts, ListStreams, ListTasks,
    Publish, ShareContext, StateChange, StreamCreated, StreamData, StreamList, StreamRecord,
    Subscribe, Subscribed, TaskCreated, TaskList, TaskRecord, Unsubscribe, errors::code,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::items::{Change, Kind};
use crate::router::Router;
use crate::router::conn::HINT_BYTES;
use crate::router::mesh::Mesh;
use crate::router::text::{iso, shown};
use crate::router::types::ConnId;
use crate::router::values::Who;

/// Characters of a text of a task or context.
const TEXT: usize = 4_096;
const SHORT: usize = 256;
const TAGS: usize = 16;
/// Tasks of one list, contexts of one search.
const LISTED: usize = 100;
const FOUND: usize = 20;
/// Streams that one connection gets.
const SUBSCRIPTIONS: usize = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::router) struct Task {
    title: String,
    assignee: Option<String>,
    claimed_by: Option<String>,
    pub(in crate::router) status: String,
    priority: String,
    created_by: String,
    tags: Vec<String>,
    created_at: u64,
    result: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Context {
    id: String,
    name: String,
    summary: String,
    files: Vec<String>,
    findings: Vec<String>,
    tags: Vec<String>,
    at: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stream {
    id: String,
    created_by: String,
    created_at: u64,
}

fn texts(list: Option<Vec<String>>, most: usize) -> Vec<String> {
    let list = list.unwrap_or_default().into_iter().take(most);
    list.map(|text| shown(&text, SHORT)).collect()
}

fn tasks(mesh: &Mesh, fits: impl Fn(&str, &Task) -> bool) -> Vec<TaskRecord> {
    let all = mesh.items.all::<Task>(Kind::Task);
    let mut found: Vec<_> = all.filter(|(id, task)| fits(id, task)).collect();
    found.sort_by_key(|(_, task)| std::cmp::Reverse(task.created_at));
    found
        .into_iter()
        .take(LISTED)
        .map(|(id, task)| TaskRecord {
            id: id.to_owned(),
            title: task.title,
            assignee: task.assignee,
            claimed_by: task.claimed_by,
            status: task.status,
            priority: task.priority,
            created_by: task.created_by,
            tags: task.tags,
            created_at: iso(task.created_at),
        })
        .collect()
}

impl Router {
    /// Who asks, if it may write.
    fn writer_of(&mut self, id: ConnId, req_id: Option<&String>) -> Option<Who> {
        let who = self.asker(id, req_id)?;
        self.may_write(id, &who, req_id).then_some(who)
    }

    /// Who asks, if it may ask.
    pub(super) fn reader_of(&mut self, id: ConnId, req_id: Option<&String>) -> Option<Who> {
        let who = self.asker(id, req_id)?;
        self.may_ask(id, req_id).then_some(who)
    }

    pub(super) fn create_task(&mut self, id: ConnId, ask: CreateTask) {
        let Some(who) = self.writer_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let task = Task {
            title: shown(&ask.title, TEXT),
            assignee: ask.assignee.map(|name| shown(&name, SHORT)),
            claimed_by: None,
            status: "open".to_owned(),
            priority: shown(ask.priority.as_deref().unwrap_or("normal"), 32),
            created_by: who.name.clone(),
            tags: texts(ask.tags, TAGS),
            created_at: self.now.wall,
            result: None,
        };
        if task.title.is_empty() {
            let why = "a task has a title";
            return self.error(id, code::INVALID_ARGUMENT, why, ask.req_id);
        }
        let task_id = self.hex_id();
        let told = TaskCreated {
            id: task_id.clone(),
            req_id: ask.req_id.clone(),
        };
        let change = Change::put(Kind::Task, task_id, &task).noted("task_created", who.member);
        self.make_room::<Task>(&who.mesh, Kind::Task, |task| {
            (task.status == "done").then_some(task.created_at)
        });
        let told = vec![(vec![id], told.into())];
        self.change_item(Some(id), &who.mesh, change, told, ask.req_id);
    }

    pub(super) fn claim_task(&mut self, id: ConnId, ask: &ClaimTask) {
        let Some(who) = self.writer_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let mesh = self.mesh(&who.mesh);
        let found = mesh.and_then(|mesh| mesh.items.get::<Task>(Kind::Task, &ask.task_id));
        let Some(task) = found.filter(|task| task.status == "open") else {
            let why = "task is not open or does not exist";
            return self.error(id, "task_not_claimable", why, ask.req_id.clone());
        };
        let task = Task {
            claimed_by: Some(who.name.clone()),
            status: "claimed".to_owned(),
            ..task
        };
        self.task_changed(id, &who, &ask.task_id, &task, ask.req_id.clone());
    }

    pub(super) fn complete_task(&mut self, id: ConnId, ask: CompleteTask) {
        let Some(who) = self.writer_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let mesh = self.mesh(&who.mesh);
        let found = mesh.and_then(|mesh| mesh.items.get::<Task>(Kind::Task, &ask.task_id));
        let own = |task: &Task| {
            let claimed = task.claimed_by.as_ref();
            claimed.is_none_or(|name| *name == who.name)
                || task.created_by == who.name
                || who.moderates()
        };
        let Some(task) = found.filter(own) else {
            let why = "task does not exist, or somebody else has taken it";
            return self.error(id, "task_not_found", why, ask.req_id);
        };
        let task = Task {
            status: "done".to_owned(),
            result: ask.result.map(|text| shown(&text, TEXT)),
            ..task
        };
        self.task_changed(id, &who, &ask.task_id, &task, ask.req_id);
    }

    fn task_changed(
        &mut self,
        id: ConnId,
        who: &Who,
        key: &str,
        task: &Task,
        req_id: Option<String>,
    ) {
        let change = Change::put(Kind::Task, key, task).noted("task_changed", who.member);
        let record = TaskRecord {
            id: key.to_owned(),
            title: task.title.clone(),
            assignee: task.assignee.clone(),
            claimed_by: task.claimed_by.clone(),
            status: task.status.clone(),
            priority: task.priority.clone(),
            created_by: task.created_by.clone(),
            tags: task.tags.clone(),
            created_at: iso(task.created_at),
        };
        let list = TaskList {
            tasks: vec![record],
            req_id: req_id.clone(),
        };
        let told = vec![(vec![id], list.into())];
        self.change_item(Some(id), &who.mesh, change, told, req_id);
    }

    pub(super) fn list_tasks(&mut self, id: ConnId, ask: ListTasks) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let tasks = tasks(mesh, |_, task| {
            ask.status.as_ref().is_none_or(|it| *it == task.status)
                && (ask.assignee.as_ref()).is_none_or(|it| Some(it) == task.assignee.as_ref())
        });
        let req_id = ask.req_id;
        self.reply(id, TaskList { tasks, req_id });
    }

    pub(super) fn share_context(&mut self, id: ConnId, ask: ShareContext) {
        let Some(who) = self.writer_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let context = Context {
            id: self.hex_id(),
            name: who.name.clone(),
            summary: shown(&ask.summary, TEXT),
            files: texts(ask.files_read, 64),
            findings: texts(ask.key_findings, 64),
            tags: texts(ask.tags, TAGS),
            at: self.now.wall,
        };
        let told = ContextShared {
            id: context.id.clone(),
            req_id: ask.req_id.clone(),
        };
        let news = StateChange {
            key: format!("_context:{}", who.name),
            value: Value::from(context.summary.clone()),
            updated_by: who.name.clone(),
            version: None,
        };
        let others = self.open_conns(&who, id);
        let change = Change::put(Kind::Context, who.member.to_hex(), &context);
        let change = change.noted("context_shared", who.member);
        let told = vec![(vec![id], told.into()), (others, news.into())];
        self.change_item(Some(id), &who.mesh, change, told, ask.req_id);
    }

    /// The other connections of existing clients, which read what is in the open.
    pub(super) fn open_conns(&self, who: &Who, but: ConnId) -> Vec<ConnId> {
        let Some(mesh) = self.mesh(&who.mesh) else {
            return Vec::new();
        };
        let conns = mesh.conns.iter().filter(|id| **id != but);
        let conns = conns.filter_map(|id| self.conns.get(id));
        let open = conns.filter(|conn| {
            conn.receive && !conn.envelope && conn.counts_left == 0 && conn.unwritten <= HINT_BYTES
        });
        let admitted = open.filter(|conn| mesh.is_admitted(&conn.member));
        admitted.map(|conn| conn.id).collect()
    }

    pub(super) fn get_context(&mut self, id: ConnId, ask: GetContext) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let query = ask.query.to_lowercase();
        let fits = |context: &Context| {
            context.summary.to_lowercase().contains(&query) || context.tags.contains(&ask.query)
        };
        let contexts = self.contexts(&who, fits, true, FOUND);
        let req_id = ask.req_id;
        self.reply(id, ContextResults { contexts, req_id });
    }

    pub(super) fn list_contexts(&mut self, id: ConnId, ask: ListContexts) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let contexts = self.contexts(&who, |_| true, false, LISTED);
        let req_id = ask.req_id;
        self.reply(id, ContextList { contexts, req_id });
    }

    fn contexts(
        &self,
        who: &Who,
        fits: impl Fn(&Context) -> bool,
        whole: bool,
        most: usize,
    ) -> Vec<ContextRecord> {
        let mesh = self.mesh(&who.mesh);
        let all = mesh
            .into_iter()
            .flat_map(|mesh| mesh.items.all::<Context>(Kind::Context));
        let mut found: Vec<_> = all.map(|(_, context)| context).filter(fits).collect();
        found.sort_by_key(|context| std::cmp::Reverse(context.at));
        let found = found.into_iter().take(most);
        found
            .map(|context| ContextRecord {
                peer_name: context.name,
                summary: context.summary,
                files_read: whole.then_some(context.files),
                key_findings: whole.then_some(context.findings),
                tags: context.tags,
                updated_at: iso(context.at),
            })
            .collect()
    }

    pub(super) fn create_stream(&mut self, id: ConnId, ask: &CreateStream) {
        let Some(who) = self.writer_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let name = shown(ask.name.trim(), 64);
        if name.is_empty() {
            let why = "a stream has a name";
            return self.error(id, code::INVALID_ARGUMENT, why, ask.req_id.clone());
        }
        let mesh = self.mesh(&who.mesh);
        let found = mesh.and_then(|mesh| mesh.items.get::<Stream>(Kind::Stream, &name));
        let told = |id| StreamCreated {
            id,
            name: name.clone(),
            req_id: ask.req_id.clone(),
        };
        if let Some(found) = found {
            return self.reply(id, told(found.id));
        }
        let stream = Stream {
            id: self.hex_id(),
            created_by: who.name.clone(),
            created_at: self.now.wall,
        };
        let told = vec![(vec![id], told(stream.id.clone()).into())];
        let change = Change::put(Kind::Stream, name, &stream).noted("stream_created", who.member);
        self.change_item(Some(id), &who.mesh, change, told, ask.req_id.clone());
    }

    pub(super) fn subscribe(&mut self, id: ConnId, ask: Subscribe) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let known = self
            .mesh(&who.mesh)
            .is_some_and(|mesh| mesh.items.has(Kind::Stream, &ask.stream));
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if !known || conn.streams.len() >= SUBSCRIPTIONS {
            let why = "there is no such stream, or this connection has too many; create_stream \
                       makes one";
            return self.error(id, code::NOT_FOUND, why, ask.req_id);
        }
        conn.streams.insert(ask.stream.clone());
        let (stream, req_id) = (ask.stream, ask.req_id);
        self.reply(id, Subscribed { stream, req_id });
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, ask: &Unsubscribe) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.streams.remove(&ask.stream);
        }
    }

    pub(super) fn publish(&mut self, id: ConnId, it: Publish) {
        let Some(who) = self.writer_of(id, None) else {
            return;
        };
        let mut to = self.open_conns(&who, id);
        to.retain(|id| {
            let conn = self.conns.get(id);
            conn.is_some_and(|conn| conn.streams.contains(&it.stream))
        });
        let data = StreamData {
            stream: it.stream,
            data: it.data,
            published_by: who.name,
        };
        self.tell_each(to, &BrokerFrame::StreamData(data));
    }

    pub(super) fn list_streams(&mut self, id: ConnId, ask: ListStreams) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let Some(mesh) = self.mesh(&who.mesh) else {
            return;
        };
        let subscribers = |name: &str| {
            let conns = mesh.conns.iter().filter_map(|id| self.conns.get(id));
            conns.filter(|conn| conn.streams.contains(name)).count() as u64
        };
        let all = mesh.items.all::<Stream>(Kind::Stream);
        let streams = all.map(|(name, stream)| StreamRecord {
            id: stream.id,
            name: name.to_owned(),
            created_by: stream.created_by,
            created_at: iso(stream.created_at),
            subscriber_count: subscribers(name),
        });
        let list = StreamList {
            streams: streams.collect(),
            req_id: ask.req_id,
        };
        self.reply(id, list);
    }
}
