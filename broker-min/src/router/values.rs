//! State, memory and summaries: who asks, what is written, what is answered. What is sealed stays
//! sealed; its shape is all that is looked at.

mod loaded;
mod memory;
mod sealed;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    Ack, BrokerFrame, ErrorFrame, MemoryStored, StateChange, errors::code,
};

use super::Router;
use super::legacy::items::{Edited, Told};
use super::load::Asked;
use super::schedule;
use super::settle::ASKING_MAX;
use super::types::{ApiCall, ConnId};
use super::writer::Then;
use crate::store::{MemberRow, Op, Outcome, Query, ValueOp, ValueQuery};

/// Bytes of rows in one frame to a peer that takes pages.
pub(super) const PAGE_BYTES: usize = 192 << 10;

/// Reads wait for the writes that came before them.
#[derive(Debug, Default)]
pub(super) struct Values {
    begun: u64,
    done: u64,
    waiting: VecDeque<(u64, ValueQuery, Ask)>,
}

/// What follows a write.
#[derive(Debug)]
pub(super) enum Wrote {
    State {
        conn: ConnId,
        mesh: Arc<MeshId>,
        change: Box<StateChange>,
        req_id: Option<String>,
    },
    Memory {
        conn: ConnId,
        id: String,
        req_id: Option<String>,
    },
    Forgot {
        conn: ConnId,
        id: String,
        req_id: Option<String>,
    },
    Schedule(schedule::Wrote),
    /// Something that existing clients keep.
    Item {
        conn: Option<ConnId>,
        mesh: Arc<MeshId>,
        told: Told,
        req_id: Option<String>,
    },
    /// Something that was asked for by HTTP.
    Asked {
        mesh: Arc<MeshId>,
        edit: Box<Edited>,
    },
    /// Whether a member without a log entry may come.
    Standing {
        conn: ConnId,
        row: Box<MemberRow>,
        ack: Box<BrokerFrame>,
        req_id: Option<String>,
    },
}

/// What a question was for.
#[derive(Debug)]
pub(super) enum Ask {
    State {
        conn: ConnId,
        key: String,
        req_id: Option<String>,
    },
    States {
        conn: ConnId,
        req_id: Option<String>,
    },
    Memories {
        conn: ConnId,
        req_id: Option<String>,
    },
    Schedule(schedule::Ask),
    /// What existing clients keep, anew.
    Items {
        mesh: Arc<MeshId>,
    },
    /// Whose an API key is.
    ApiKey {
        request: u64,
        call: Box<ApiCall>,
    },
    /// How much of everything there is: keys of state, then memories.
    Info {
        conn: ConnId,
        keys: Option<Vec<String>>,
        req_id: Option<String>,
    },
}

/// Who asks or writes.
pub(super) struct Who {
    pub(super) mesh: Arc<MeshId>,
    pub(super) member: PublicKey,
    /// The member's own name, not the session's.
    pub(super) name: String,
    pub(super) role: Role,
    /// Lists values/1: everything it keeps is sealed.
    pub(super) values: bool,
    /// Lists envelope/1: all that it sends is sealed.
    pub(super) envelope: bool,
}

impl Who {
    /// Whether it is the owner or an admin.
    pub(super) const fn moderates(&self) -> bool {
        matches!(self.role, Role::Owner | Role::Admin)
    }
}

impl Router {
    /// Who is on a connection; one that is pending is refused.
    pub(super) fn asker(&mut self, id: ConnId, req_id: Option<&String>) -> Option<Who> {
        let conn = self.conns.get(&id)?;
        let row = self.mesh(&conn.mesh)?.member(&conn.member)?;
        let who = Who {
            mesh: Arc::clone(&conn.mesh),
            member: row.key,
            name: row.name.as_str().to_owned(),
            role: row.role,
            values: conn.values,
            envelope: conn.envelope,
        };
        if who.role == Role::Pending {
            let why = "you are not admitted to this mesh yet; ask an admin";
            self.error(id, code::FORBIDDEN, why, req_id.cloned());
            return None;
        }
        Some(who)
    }

    /// Whether a connection may write now: it counts as a message. If not, it is told when.
    pub(super) fn may_write(&mut self, id: ConnId, who: &Who, req_id: Option<&String>) -> bool {
        let Err(ack) = self.check_rate(&who.mesh, who.member, 1) else {
            return true;
        };
        let mut error = ErrorFrame::new(code::RATE_LIMIT, ack.error.unwrap_or_default());
        error.req_id = req_id.cloned();
        error.retry_after_ms = ack.retry_after_ms;
        error.limit = ack.limit;
        self.reply(id, error);
        false
    }

    /// Whether a connection may ask now, and counts the question.
    pub(super) fn may_wait(&mut self, id: ConnId, req_id: Option<&String>) -> bool {
        if !self.may_ask(id, req_id) {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        if conn.asking >= ASKING_MAX {
            let why = "too many questions at a time; wait for their answers";
            self.error(id, code::BUSY, why, req_id.cloned());
            return false;
        }
        conn.asking += 1;
        true
    }

    pub(super) fn write_value(&mut self, op: ValueOp, wrote: Wrote) {
        self.write_others(vec![Op::Value(op)], wrote);
    }

    /// As [`Self::write_value`], for any operations: all of them in one commit, or none. What follows
    /// is told the outcome of the first.
    pub(super) fn write_others(&mut self, ops: Vec<Op>, wrote: Wrote) {
        self.values.begun += 1;
        self.writer.push(ops, Then::Value(Box::new(wrote)));
    }

    /// Asks the store once everything that was written before is there.
    pub(super) fn ask_value(&mut self, query: ValueQuery, ask: Ask) {
        if self.values.done < self.values.begun {
            let mark = self.values.begun;
            self.values.waiting.push_back((mark, query, ask));
        } else {
            self.load(Query::Value(query), Asked::Value(ask));
        }
    }

    /// A write came back; without an outcome the store failed.
    pub(super) fn wrote(&mut self, wrote: Wrote, outcome: Option<Outcome>) {
        self.values.done += 1;
        match wrote {
            Wrote::State {
                conn,
                mesh,
                change,
                req_id,
            } => self.state_set(conn, &mesh, *change, req_id, outcome),
            Wrote::Memory { conn, id, req_id } => match outcome {
                Some(Outcome::Done) => {
                    let memory_id = self.is_daemon(conn).then(|| id.clone());
                    let stored = MemoryStored {
                        id,
                        memory_id,
                        req_id,
                    };
                    self.answer(conn, stored);
                }
                other => self.not_written(conn, other.as_ref(), req_id),
            },
            Wrote::Forgot { conn, id, req_id } => match outcome {
                // Who forgets what is not there has what it wants.
                Some(Outcome::Done | Outcome::NotThere) => {
                    let ack = Ack {
                        id: id.clone(),
                        message_id: id,
                        req_id,
                        ..Ack::default()
                    };
                    self.answer(conn, ack);
                }
                other => self.not_written(conn, other.as_ref(), req_id),
            },
            Wrote::Schedule(wrote) => self.schedule_wrote(wrote, outcome),
            Wrote::Item {
                conn,
                mesh,
                told,
                req_id,
            } => self.item_written(conn, &mesh, told, req_id, outcome),
            Wrote::Asked { mesh, edit } => self.asked_written(&mesh, *edit, outcome),
            Wrote::Standing {
                conn,
                row,
                ack,
                req_id,
            } => match outcome {
                Some(Outcome::Done) => self.standing_put(conn, *row, *ack),
                other => self.not_written(conn, other.as_ref(), req_id),
            },
        }
        while let Some((mark, _, _)) = self.values.waiting.front()
            && *mark <= self.values.done
            && let Some((_, query, ask)) = self.values.waiting.pop_front()
        {
            self.load(Query::Value(query), Asked::Value(ask));
        }
    }

    /// Writes to a connection, if it is still there.
    pub(super) fn answer(&mut self, conn: ConnId, frame: impl Into<BrokerFrame>) {
        if self.conns.contains_key(&conn) {
            self.reply(conn, frame);
        }
    }

    /// Tells why something is not kept.
    pub(super) fn not_written(
        &mut self,
        conn: ConnId,
        outcome: Option<&Outcome>,
        req_id: Option<String>,
    ) {
        let (code, why) = match outcome {
            None => (
                code::STORE_UNAVAILABLE,
                "the broker could not write to its store; try again".to_owned(),
            ),
            Some(Outcome::Conflict { head }) => (
                code::STATE_CONFLICT,
                format!("the value has version {head} by now; read it and set it anew"),
            ),
            Some(Outcome::Full) => (
                code::QUEUE_FULL,
                "there are as many of these as the broker keeps; remove some first".to_owned(),
            ),
            Some(Outcome::Reused) => (
                code::INVALID,
                "id reused: this id names something else".to_owned(),
            ),
            Some(Outcome::Refused) => (
                code::FORBIDDEN,
                "only its writer, the owner and admins may do that".to_owned(),
            ),
            Some(_) => (code::NOT_FOUND, "there is no such thing".to_owned()),
        };
        let mut error = ErrorFrame::new(code, why);
        error.req_id = req_id;
        error.retry_after_ms = outcome.is_none().then_some(1_000);
        self.answer(conn, error);
    }

    fn invalid(&mut self, id: ConnId, why: &str, req_id: Option<String>) {
        self.error(id, code::INVALID, why, req_id);
    }

    pub(super) fn unreadable(&mut self, id: ConnId, req_id: Option<String>) {
        let why = "the broker cannot read its store now; try again in a moment";
        self.error(id, code::STORE_UNAVAILABLE, why, req_id);
    }
}

/// Ids that peers choose: 32 lower-case hex digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
