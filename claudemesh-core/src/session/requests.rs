//! Questions to the broker and their answers.

use std::collections::BTreeMap;

use super::answers::Asking;
use super::values::StateWrite;
use super::{CommandId, Reply, Session, SessionError, clean};
use crate::id::{ChannelName, KeyId, Status};
use crate::wire::{ErrorFrame, ListPeers, MemoryRecord, PeersList, StateEntry};

/// Milliseconds until a question must be answered.
const ANSWER_MS: u64 = 10_000;
/// Milliseconds for which a broker may ask a question to wait, at most: an hour.
const MAX_RETRY_MS: u64 = 3_600_000;

/// What was asked.
pub(super) enum Asked {
    Peers(CommandId),
    /// How the sessions of this member are called.
    Names,
    /// For the session itself.
    Here,
    /// Whether a message has arrived, by the broker's id.
    Status(String),
    TopicMembers(ChannelName),
    Log,
    Append,
    /// An entry of the mesh's log that is brought back.
    Repost(u64),
    /// One of a channel's.
    ChannelRepost(ChannelName),
    Audit(CommandId),
    /// A wish of an owner or admin.
    Service(CommandId),
    ChannelLog(ChannelName),
    ChannelAppend(ChannelName),
    /// Which; none: the newest.
    Keys(ChannelName, Vec<KeyId>),
    Publish(ChannelName),
    History(CommandId, ChannelName),
    StateVersion(Box<StateWrite>),
    SaveState(Box<StateWrite>),
    /// Of which key.
    State(CommandId, String),
    StateList(CommandId, Vec<StateEntry>),
    Remember(CommandId),
    Memories(CommandId, Vec<MemoryRecord>),
    Forget(CommandId),
    Schedule(Option<CommandId>),
    Schedules(CommandId),
    CancelScheduled(CommandId),
    /// And where the next page begins, if there may be one.
    Outcomes(Option<Asking>),
}

/// Questions without an answer yet.
#[derive(Default)]
pub(super) struct Requests {
    next: u64,
    /// In order: what is told of several must not depend on how a map hashes.
    open: BTreeMap<String, (Asked, u64)>,
}

impl Requests {
    pub(super) fn deadline(&self) -> Option<u64> {
        self.open.values().map(|(_, until)| *until).min()
    }

    pub(super) fn asks_outcomes(&self) -> bool {
        let mut open = self.open.values();
        open.any(|(asked, _)| matches!(asked, Asked::Outcomes(_)))
    }

    pub(super) fn take(&mut self, id: Option<&str>) -> Option<Asked> {
        self.open.remove(id?).map(|(asked, _)| asked)
    }
}

impl Session {
    /// Notes a question and gives the id that its answer will name.
    pub(super) fn ask(&mut self, asked: Asked) -> String {
        self.requests.next += 1;
        let id = format!("r{}", self.requests.next);
        self.requests
            .open
            .insert(id.clone(), (asked, self.now.mono + ANSWER_MS));
        id
    }

    pub(super) fn list_peers(&mut self, command: CommandId) {
        if !self.link.is_ready() {
            let why = "waiting for the connection".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        let req_id = Some(self.ask(Asked::Peers(command)));
        self.transmit(ListPeers { req_id });
    }

    pub(super) fn peers_list(&mut self, mut list: PeersList) {
        let asked = self.requests.take(list.req_id.as_deref());
        let Some(asked @ (Asked::Peers(_) | Asked::Here | Asked::Names)) = asked else {
            return;
        };
        for record in &mut list.peers {
            self.show_summary(record);
            self.statement_of_profile(record);
        }
        let here = self.judge_list(list);
        self.note_here(&here, matches!(asked, Asked::Here));
        if matches!(asked, Asked::Names) {
            self.check_own_name();
        }
        if let Asked::Peers(command) = asked {
            self.done(command, Ok(Reply::Peers(Box::new(here))));
        }
    }

    pub(super) fn set_status(&mut self, command: CommandId, status: Status) {
        self.status = status;
        self.tell_status();
        self.done(command, Ok(Reply::Done));
    }

    pub(super) fn request_failed(&mut self, error: &ErrorFrame) {
        let asked = self.requests.take(error.request());
        let refused = SessionError::Refused {
            code: clean(&error.code, 64),
            message: clean(&error.message, 256),
        };
        if let Some(asked) = asked {
            self.answer_failed(asked, refused, error.retry_after_ms);
        }
    }

    pub(super) fn tick_requests(&mut self) {
        let mono = self.now.mono;
        let late: Vec<String> = (self.requests.open.iter())
            .filter(|(_, (_, until))| mono >= *until)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            if let Some(asked) = self.requests.take(Some(&id)) {
                self.answer_failed(asked, SessionError::Timeout, None);
            }
        }
    }

    pub(super) fn fail_requests(&mut self, reason: &str) {
        for (_, (asked, _)) in std::mem::take(&mut self.requests.open) {
            let error = SessionError::NotConnected(reason.to_owned());
            match asked {
                // What is known of channels was forgotten with the connection.
                Asked::ChannelLog(_)
                | Asked::ChannelAppend(_)
                | Asked::ChannelRepost(_)
                | Asked::Repost(_)
                // And whoever waits for these was told.
                | Asked::Audit(_)
                | Asked::Here
                | Asked::Status(_)
                | Asked::TopicMembers(_)
                | Asked::Keys(..)
                | Asked::Publish(_) => {}
                asked => self.answer_failed(asked, error, None),
            }
        }
        self.log_commands_failed(reason);
        self.channel_commands_failed(reason);
    }

    fn answer_failed(&mut self, asked: Asked, error: SessionError, retry_after: Option<u64>) {
        let retry_after = retry_after.map(|ms| ms.min(MAX_RETRY_MS));
        match asked {
            Asked::Peers(command) => self.done(command, Err(error)),
            Asked::Here => self.here_failed(),
            Asked::Status(id) => {
                let gone =
                    matches!(&error, SessionError::Refused { code, .. } if code == "not_found");
                self.status_failed(&id, gone);
            }
            Asked::TopicMembers(name) => self.topic_members_failed(&name, error),
            Asked::Log => self.log_failed(error),
            Asked::Append => self.append_refused(error),
            Asked::Repost(number) => self.repost_refused(number, error, retry_after),
            Asked::ChannelRepost(name) => self.channel_repost_refused(&name, &error, retry_after),
            Asked::ChannelLog(name) => self.channel_log_failed(&name, &error, retry_after),
            Asked::ChannelAppend(name) => self.channel_append_refused(&name, error),
            Asked::Keys(name, wanted) => self.keys_failed(&name, wanted, &error, retry_after),
            Asked::Publish(name) => self.publish_failed(&name, &error, retry_after),
            Asked::SaveState(write) => self.state_refused(write, error),
            Asked::StateVersion(write) => self.done(write.command(), Err(error)),
            Asked::Audit(command) => self.audit_failed(command, error, retry_after),
            Asked::Service(command)
            | Asked::History(command, _)
            | Asked::State(command, _)
            | Asked::StateList(command, _)
            | Asked::Remember(command)
            | Asked::Memories(command, _)
            | Asked::Forget(command)
            | Asked::Schedule(Some(command))
            | Asked::Schedules(command)
            | Asked::CancelScheduled(command) => self.done(command, Err(error)),
            Asked::Schedule(None) | Asked::Names => {}
            Asked::Outcomes(_) => self.outcomes_failed(),
        }
    }
}
