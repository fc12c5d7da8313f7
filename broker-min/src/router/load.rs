//! Loading: meshes when someone asks for them, and what waits until they are there.

use std::sync::Arc;

use claudemesh_core::id::{ChannelName, KeyId, MeshId, Priority};
use claudemesh_core::wire::{ClientFrame, CloseCode, errors};

use super::Router;
use super::clock::Timer;
use super::legacy::audit::Step;
use super::legacy::items::Items;
use super::mesh::{Mesh, Slot};
use super::types::{ConnId, HttpCall, HttpReply, In, Out, Verified};
use super::values::Ask;
use super::writer::Then;
use crate::store::{Op, Query, Rows, StoreError, ValueQuery, ValueRows};

/// Inputs that wait for one mesh at most.
const PARKED_MAX: usize = 4_096;
/// Removals after which a mailbox is looked at again when its mesh is loaded.
const REMOVED_MS: u64 = 31 * 86_400_000;

/// What a load was for.
#[derive(Debug)]
pub(super) enum Asked {
    /// A mesh.
    Mesh(MeshId),
    /// Rows for a connection.
    Page {
        conn: ConnId,
        drain: usize,
        class: Priority,
        limit: u32,
    },
    /// What waits in a mailbox, for `hello_ack`.
    Counts { conn: ConnId, drain: usize },
    /// Where the audit chain ends, for `hello_ack`.
    AuditHead { conn: ConnId },
    /// Rows of the audit chain.
    Audit {
        conn: ConnId,
        req_id: Option<String>,
    },
    /// What is kept besides messages.
    Value(Ask),
    /// What existing clients keep in a mesh that was loaded.
    Items(Box<(MeshId, Mesh)>),
    /// What was said in a topic in the open.
    TopicHistory {
        conn: ConnId,
        topic: String,
        req_id: Option<String>,
    },
    /// What was said in a topic, for a program with an API key.
    ApiHistory {
        request: u64,
        topic: String,
        id: String,
        sealed: bool,
    },
    /// How far a message is, for an existing client.
    MessageStatus {
        conn: ConnId,
        seq: u64,
        message_id: String,
        req_id: Option<String>,
    },
    /// The audit table, for an existing client.
    OpenAudit { conn: ConnId, step: Step },
    /// What became of messages.
    Outcomes {
        conn: ConnId,
        ids: Vec<(String, bool)>,
        req_id: Option<String>,
    },
    /// Keys of a channel.
    Keys {
        conn: ConnId,
        channel: ChannelName,
        current: Option<KeyId>,
        /// Who asked may read the channel.
        reads: bool,
        req_id: Option<String>,
    },
    /// What was said in a topic.
    History {
        conn: ConnId,
        channel: ChannelName,
        req_id: Option<String>,
    },
}

impl Router {
    /// Asks the store.
    pub(super) fn load(&mut self, query: Query, asked: Asked) -> u64 {
        let token = self.next_load;
        self.next_load += 1;
        self.loads.insert(token, asked);
        self.outs.push_back(Out::Load { token, query });
        token
    }

    pub(super) fn hello(&mut self, conn: ConnId, verified: Box<Verified>) {
        if self.stopping {
            self.outs.push_back(Out::Close {
                conn,
                code: CloseCode::GOING_AWAY,
                reason: claudemesh_core::wire::reason::SHUTTING_DOWN.to_owned(),
            });
            return;
        }
        if self.conns.contains_key(&conn) || self.parked.contains_key(&conn) {
            return;
        }
        if self.conns.len() + self.parked.len() >= self.limits.connections {
            let why = "this broker has as many connections as it takes; try again later";
            self.refuse(conn, errors::code::CAPACITY, why, CloseCode::OVERLOAD);
            return;
        }
        let mesh = verified.mesh.clone();
        if self.turned_away(conn, &mesh) {
            return;
        }
        if self.mesh(&mesh).is_some() {
            self.admit(conn, &verified);
            return;
        }
        self.parked.insert(conn, mesh.clone());
        self.park(mesh, In::Hello { conn, verified });
    }

    pub(super) fn park_frame(&mut self, conn: ConnId, frame: Box<ClientFrame>, size: usize) {
        if let Some(mesh) = self.parked.get(&conn).cloned() {
            self.park(mesh, In::Frame { conn, frame, size });
        }
    }

    /// Keeps an input until its mesh is there.
    pub(super) fn park(&mut self, mesh: MeshId, input: In) {
        let inputs = match self.meshes.get_mut(&mesh) {
            Some(Slot::Loading(inputs)) => inputs,
            Some(Slot::Ready(_)) => return,
            None => {
                self.meshes.insert(mesh.clone(), Slot::Loading(vec![input]));
                self.load(Query::Mesh(mesh.clone()), Asked::Mesh(mesh));
                return;
            }
        };
        if inputs.len() < PARKED_MAX {
            inputs.push(input);
            return;
        }
        // A frame that cannot wait takes its hello with it.
        if let In::Hello { conn, .. } | In::Frame { conn, .. } = &input {
            let conn = *conn;
            inputs.retain(|input| match input {
                In::Hello { conn: other, .. } | In::Frame { conn: other, .. } => *other != conn,
                _ => true,
            });
        }
        self.turn_away(input, errors::code::BUSY, BUSY);
    }

    /// Refuses an input that waited.
    fn turn_away(&mut self, input: In, code: &'static str, why: &str) {
        match input {
            In::Hello { conn, .. } | In::Frame { conn, .. }
                if self.parked.remove(&conn).is_some() =>
            {
                self.refuse(conn, code, why, CloseCode::OVERLOAD);
            }
            In::Http { request, .. } => self.respond(
                request,
                HttpReply::Error {
                    status: 503,
                    code,
                    message: why.to_owned(),
                    retry_after_ms: Some(1_000),
                },
            ),
            _ => {}
        }
    }

    pub(super) fn loaded(&mut self, token: u64, result: Result<Rows, StoreError>) {
        match self.loads.remove(&token) {
            Some(Asked::Mesh(mesh)) => self.mesh_loaded(&mesh, result),
            Some(Asked::Items(found)) => {
                let (id, mesh) = *found;
                self.items_of_mesh(&id, mesh, result);
            }
            Some(Asked::TopicHistory {
                conn,
                topic,
                req_id,
            }) => {
                let rows = match result {
                    Ok(Rows::History(rows)) => Some(rows),
                    _ => None,
                };
                self.topic_history_loaded(conn, topic, req_id, rows);
            }
            Some(Asked::ApiHistory {
                request,
                topic,
                id,
                sealed,
            }) => {
                let rows = match result {
                    Ok(Rows::History(rows)) => Some(rows),
                    _ => None,
                };
                self.api_history(request, (topic, id, sealed), rows);
            }
            Some(Asked::MessageStatus {
                conn,
                seq,
                message_id,
                req_id,
            }) => {
                let rows = match result {
                    Ok(Rows::Outcomes(rows)) => Some(rows),
                    _ => None,
                };
                self.message_status_loaded(conn, (seq, message_id), req_id, rows);
            }
            Some(Asked::OpenAudit { conn, step }) => self.open_audit_loaded(conn, step, result),
            Some(Asked::Page {
                conn,
                drain,
                class,
                limit,
            }) => {
                self.page_loads = self.page_loads.saturating_sub(1);
                let rows = match result {
                    Ok(Rows::Page(rows)) => Some(rows),
                    _ => None,
                };
                self.page(conn, token, (drain, class, limit), rows);
                self.feed();
            }
            Some(Asked::Counts { conn, drain }) => {
                let counts = match result {
                    Ok(Rows::Counts(counts)) => Some(counts),
                    _ => None,
                };
                self.counted(conn, drain, counts);
            }
            Some(Asked::AuditHead { conn }) => {
                if let (Some(conn), Ok(Rows::Audit(page))) = (self.conns.get_mut(&conn), &result) {
                    conn.audit = Some(page.head);
                }
                self.one_counted(conn);
            }
            Some(Asked::Audit { conn, req_id }) => self.audit_loaded(conn, req_id, result),
            Some(Asked::Value(ask)) => self.value_loaded(ask, result),
            Some(Asked::Outcomes { conn, ids, req_id }) => {
                let rows = match result {
                    Ok(Rows::Outcomes(rows)) => Some(rows),
                    _ => None,
                };
                self.outcomes_loaded(conn, ids, req_id, rows);
            }
            Some(Asked::Keys {
                conn,
                channel,
                current,
                reads,
                req_id,
            }) => {
                let rows = match result {
                    Ok(Rows::Keys(rows)) => Some(rows),
                    _ => None,
                };
                self.keys_loaded(conn, (channel, current, reads), req_id, rows);
            }
            Some(Asked::History {
                conn,
                channel,
                req_id,
            }) => {
                let rows = match result {
                    Ok(Rows::History(rows)) => Some(rows),
                    _ => None,
                };
                self.history_loaded(conn, &channel, req_id, rows);
            }
            None => {}
        }
    }

    /// The last part of a mesh is there.
    fn items_of_mesh(&mut self, id: &MeshId, mut mesh: Mesh, result: Result<Rows, StoreError>) {
        let Some(Slot::Loading(inputs)) = self.meshes.remove(id) else {
            return;
        };
        if let Ok(Rows::Value(ValueRows::Items(rows))) = result {
            mesh.items = Items::new(rows);
            self.begin(id, mesh, inputs);
            return;
        }
        for input in inputs {
            self.turn_away(input, errors::code::STORE_UNAVAILABLE, UNREADABLE);
        }
    }

    fn mesh_loaded(&mut self, id: &MeshId, result: Result<Rows, StoreError>) {
        let Some(Slot::Loading(inputs)) = self.meshes.remove(id) else {
            return;
        };
        match result {
            Ok(Rows::Mesh(Some(found))) => match Mesh::build(*found) {
                Some(mesh) => {
                    // Its inputs wait for the rest.
                    self.meshes.insert(id.clone(), Slot::Loading(inputs));
                    let query = ValueQuery::Items { mesh: id.clone() };
                    let asked = Asked::Items(Box::new((id.clone(), mesh)));
                    self.load(Query::Value(query), asked);
                }
                None => {
                    for input in inputs {
                        self.turn_away(input, errors::code::MESH_DAMAGED, DAMAGED);
                    }
                }
            },
            Ok(Rows::Mesh(None)) => {
                for input in inputs {
                    self.no_such_mesh(input);
                }
            }
            _ => {
                for input in inputs {
                    self.turn_away(input, errors::code::STORE_UNAVAILABLE, UNREADABLE);
                }
            }
        }
    }

    fn begin(&mut self, id: &MeshId, mut mesh: Mesh, inputs: Vec<In>) {
        mesh.idle_since = self.now.mono;
        mesh.idle_watched = true;
        let recent = |at: u64| at > 0 && at.saturating_add(REMOVED_MS) > self.now.wall;
        let removed = mesh.members.values().filter(|row| recent(row.removed_at));
        let removed: Vec<_> = removed.map(|row| row.key).collect();
        let shared = Arc::new(id.clone());
        self.meshes.insert(id.clone(), Slot::Ready(Box::new(mesh)));
        // A crash may have come between a removal and the failing of what waited.
        for key in removed {
            self.fail_mailbox(&shared, key);
        }
        self.at(
            self.now.mono + super::clock::MESH_IDLE_MS,
            Timer::MeshIdle(shared),
        );
        for input in inputs {
            match input {
                In::Hello { conn, verified } if self.parked.remove(&conn).is_some() => {
                    self.admit(conn, &verified);
                }
                In::Frame { conn, frame, size } => self.frame(conn, frame, size),
                In::Http { request, call } => self.http(request, call),
                // A schedule of the mesh was due.
                In::Tick => self.wake_schedules(self.now.mono),
                _ => {}
            }
        }
    }

    fn no_such_mesh(&mut self, input: In) {
        match input {
            In::Hello { conn, .. } if self.parked.remove(&conn).is_some() => {
                let code = errors::code::UNAUTHORIZED;
                self.refuse(conn, code, errors::UNAUTHORIZED, CloseCode::POLICY);
            }
            In::Http {
                request,
                call: HttpCall::Create { entry },
            } => self.create(request, entry),
            In::Http { request, call } => self.no_mesh(request, &call),
            _ => {}
        }
    }

    /// Fails, some at a time, what waits for an address that is gone.
    pub(super) fn fail_mailbox(
        &mut self,
        mesh: &Arc<MeshId>,
        address: claudemesh_core::id::PublicKey,
    ) {
        let op = Op::FailMailbox {
            mesh: MeshId::clone(mesh),
            address,
            reason: errors::code::REMOVED.to_owned(),
            now: self.now.wall,
            limit: FAIL_STEP,
        };
        let mesh = Arc::clone(mesh);
        self.writer.push(vec![op], Then::Failed { mesh, address });
    }
}

/// Rows of a mailbox that are failed in one step.
pub(super) const FAIL_STEP: u32 = 500;
const BUSY: &str = "the broker is busy with this mesh; try again in a moment";
const DAMAGED: &str = "this mesh's log does not verify at the broker; its operator must restore it";
const UNREADABLE: &str = "the broker cannot read its store now; try again in a moment";
