//! The mesh's state: values under keys.

use super::Task;
use crate::channel::{MAX_VALUE_VERSION, Value, What};
use crate::id::{ChannelName, Hash};
use crate::session::requests::Asked;
use crate::session::{CommandId, Reply, Session, SessionError};
use crate::wire::{
    GetState, ListState, SetState, StateList, StateResult, StateSaved, errors::code,
};

/// How often a value is written anew after somebody else was faster.
const MAX_TRIES: u32 = 5;

/// A value that is to be kept.
pub(in crate::session) struct StateWrite {
    pub(super) command: CommandId,
    pub(super) key: String,
    pub(super) body: Vec<u8>,
    /// What the caller wants the kept version to be.
    pub(super) if_version: Option<u64>,
    /// What it is.
    current: u64,
    tries: u32,
    /// As it was sent: version and hash.
    sent: Option<(u64, Hash)>,
}

impl StateWrite {
    pub(in crate::session) fn command(&self) -> CommandId {
        self.command
    }
}

impl Session {
    pub(in crate::session) fn set_state(
        &mut self,
        command: CommandId,
        key: String,
        body: Vec<u8>,
        if_version: Option<u64>,
    ) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        self.ask_state_version(StateWrite {
            command,
            key,
            body,
            if_version,
            current: 0,
            tries: 0,
            sent: None,
        });
    }

    /// The broker is asked which version it keeps; the next one is sealed for one above it.
    fn ask_state_version(&mut self, write: StateWrite) {
        let key = write.key.clone();
        let req_id = Some(self.ask(Asked::StateVersion(Box::new(write))));
        self.transmit(GetState { key, req_id });
    }

    pub(in crate::session) fn state_result(&mut self, result: StateResult) {
        match self.requests.take(result.req_id.as_deref()) {
            Some(Asked::StateVersion(mut write)) => {
                write.current = result.entry.version.unwrap_or(0);
                if write
                    .if_version
                    .is_some_and(|wanted| wanted != write.current)
                {
                    let current = write.current;
                    return self.done(write.command, Err(SessionError::StateConflict { current }));
                }
                self.when_keyed(&ChannelName::state(), Task::State(*write));
            }
            Some(Asked::State(command, key)) => {
                // Under the name that was asked for, whatever the answer says: a value that was
                // sealed for another does not open then.
                let entry = crate::wire::StateEntry {
                    key,
                    ..result.entry
                };
                self.read_state(command, vec![entry]);
            }
            _ => {}
        }
    }

    pub(super) fn save_state(&mut self, mut write: StateWrite) {
        let seen = self.values.seen.get(&(What::State, write.key.clone()));
        let seen = seen.map_or(0, |(version, _)| *version);
        let version = write
            .current
            .max(seen)
            .saturating_add(1)
            .min(MAX_VALUE_VERSION);
        let value = Value {
            what: What::State,
            name: write.key.clone(),
            version,
            written_at: self.now.wall,
            body: write.body.clone(),
        };
        let (sealed, hash) = match self.seal_value(&value) {
            Ok(sealed) => sealed,
            Err(error) => return self.done(write.command, Err(error)),
        };
        write.sent = Some((version, hash));
        let (key, current) = (write.key.clone(), write.current);
        let req_id = Some(self.ask(Asked::SaveState(Box::new(write))));
        self.transmit(SetState {
            key,
            value: sealed.to_json(),
            version: Some(version),
            if_version: Some(current),
            client_message_id: None,
            req_id,
        });
    }

    pub(in crate::session) fn state_saved(&mut self, saved: &StateSaved) {
        let asked = self.requests.take(saved.req_id.as_deref());
        let Some(Asked::SaveState(write)) = asked else {
            return;
        };
        let Some((version, hash)) = write.sent else {
            return;
        };
        self.saw_value(What::State, &write.key, (version, hash));
        self.done(write.command, Ok(Reply::Kept(version)));
    }

    pub(in crate::session) fn state_refused(
        &mut self,
        write: Box<StateWrite>,
        error: SessionError,
    ) {
        let conflict =
            matches!(&error, SessionError::Refused { code, .. } if code == code::STATE_CONFLICT);
        if !conflict {
            return self.done(write.command, Err(error));
        }
        if write.if_version.is_some() {
            let current = write.current;
            return self.done(write.command, Err(SessionError::StateConflict { current }));
        }
        if write.tries >= MAX_TRIES {
            return self.done(write.command, Err(SessionError::Contention));
        }
        let mut write = write;
        write.tries += 1;
        self.ask_state_version(*write);
    }

    pub(in crate::session) fn get_state(&mut self, command: CommandId, key: String) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        let req_id = Some(self.ask(Asked::State(command, key.clone())));
        self.transmit(GetState { key, req_id });
    }

    pub(in crate::session) fn list_state(&mut self, command: CommandId) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        self.next_state_page(command, None, Vec::new());
    }

    fn next_state_page(
        &mut self,
        command: CommandId,
        after: Option<String>,
        so_far: Vec<crate::wire::StateEntry>,
    ) {
        let req_id = Some(self.ask(Asked::StateList(command, so_far)));
        self.transmit(ListState { after, req_id });
    }

    pub(in crate::session) fn state_list(&mut self, list: StateList) {
        let asked = self.requests.take(list.req_id.as_deref());
        let Some(Asked::StateList(command, mut entries)) = asked else {
            return;
        };
        let last = list.entries.last().map(|entry| entry.key.clone());
        entries.extend(list.entries);
        let more = list.more == Some(true) && entries.len() < super::read::MAX_ENTRIES;
        match last {
            Some(last) if more => self.next_state_page(command, Some(last), entries),
            _ => self.read_state(command, entries),
        }
    }

    /// Why no value can be read or written now.
    pub(in crate::session) fn values_refused(&self) -> Option<SessionError> {
        if !self.link.is_ready() {
            let why = "state and memory are kept by the broker".to_owned();
            return Some(SessionError::NotConnected(why));
        }
        if !self.link.has_values() {
            return Some(SessionError::ValuesUnserved);
        }
        None
    }
}
