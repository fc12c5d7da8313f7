//! What the mesh remembers.

use super::Task;
use crate::channel::{Value, What};
use crate::encoding::hex;
use crate::id::ChannelName;
use crate::session::requests::Asked;
use crate::session::{CommandId, Reply, Session};
use crate::wire::{Forget, MemoryRecord, MemoryResults, MemoryStored, Recall, Remember};

impl Session {
    pub(in crate::session) fn remember(
        &mut self,
        command: CommandId,
        body: Vec<u8>,
        tags: Vec<String>,
    ) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        let id = hex(&self.rng.bytes::<16>());
        let task = Task::Memory {
            command,
            id,
            body,
            tags,
        };
        self.when_keyed(&ChannelName::state(), task);
    }

    pub(super) fn save_memory(
        &mut self,
        command: CommandId,
        id: String,
        body: Vec<u8>,
        tags: Vec<String>,
    ) {
        let value = Value {
            what: What::Memory,
            name: id.clone(),
            version: 1,
            written_at: self.now.wall,
            body,
        };
        let sealed = match self.seal_value(&value) {
            Ok((sealed, _)) => sealed,
            Err(error) => return self.done(command, Err(error)),
        };
        let req_id = Some(self.ask(Asked::Remember(command)));
        self.transmit(Remember {
            content: sealed.to_text(),
            tags: Some(tags),
            id: Some(id),
            req_id,
        });
    }

    pub(in crate::session) fn memory_stored(&mut self, stored: MemoryStored) {
        if let Some(Asked::Remember(command)) = self.requests.take(stored.req_id.as_deref()) {
            self.done(
                command,
                Ok(Reply::Remembered(super::super::clean(&stored.id, 64))),
            );
        }
    }

    pub(in crate::session) fn list_memories(&mut self, command: CommandId) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        self.next_memory_page(command, None, Vec::new());
    }

    fn next_memory_page(
        &mut self,
        command: CommandId,
        after: Option<String>,
        so_far: Vec<MemoryRecord>,
    ) {
        let req_id = Some(self.ask(Asked::Memories(command, so_far)));
        self.transmit(Recall {
            query: String::new(),
            all: Some(true),
            after,
            req_id,
        });
    }

    pub(in crate::session) fn memory_results(&mut self, results: MemoryResults) {
        let asked = self.requests.take(results.req_id.as_deref());
        let Some(Asked::Memories(command, mut memories)) = asked else {
            return;
        };
        let last = results.memories.last().map(|memory| memory.id.clone());
        memories.extend(results.memories);
        let more = results.more == Some(true) && memories.len() < super::read::MAX_ENTRIES;
        match last {
            Some(last) if more => self.next_memory_page(command, Some(last), memories),
            _ => self.read_memories(command, memories),
        }
    }

    pub(in crate::session) fn forget(&mut self, command: CommandId, memory_id: String) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        let req_id = Some(self.ask(Asked::Forget(command)));
        self.transmit(Forget { memory_id, req_id });
    }
}
