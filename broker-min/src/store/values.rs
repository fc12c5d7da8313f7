//! What a mesh keeps besides messages, as the store sees it: state, memory, schedules.

use claudemesh_core::id::{MeshId, PublicKey};

use super::{Accept, Outcome};

/// Bytes that a listed row is counted for beside its texts: names of fields, times, keys.
const ROW_BYTES: usize = 256;
/// How long a one-shot that failed is kept for its author: 30 days.
pub(super) const FAILED_MS: u64 = 30 * 86_400_000;
/// Bytes of contents that one search looks at.
pub(super) const SEARCH_BYTES: usize = 16 << 20;

/// A change of what is kept besides messages. Unless it says otherwise the outcome is
/// [`Outcome::Done`], or
/// [`Outcome::NotThere`] if there is no such mesh or row. What is done
/// at a member's wish writes its audit row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOp {
    /// Keeps a value. [`Outcome::Kept`] with its version,
    /// [`Outcome::Conflict`] with the kept version if
    /// that does not fit, [`Outcome::Full`] if there are too many keys.
    SetState(SetState),
    /// Keeps a memory. [`Outcome::Reused`] if its id names another one,
    /// [`Outcome::Full`] if there are too many.
    Remember {
        /// The mesh.
        mesh: MeshId,
        /// The memory.
        row: MemoryRow,
        /// Memories of the mesh at most.
        max: u64,
    },
    /// Forgets a memory. [`Outcome::Refused`] if it is another's.
    Forget {
        /// The mesh.
        mesh: MeshId,
        /// Which.
        id: String,
        /// Who forgets it.
        by: PublicKey,
        /// Whether that one may forget another's.
        any: bool,
        /// Unix ms.
        at: u64,
    },
    /// Keeps a schedule. [`Outcome::Kept`] with the time for which
    /// it is kept, [`Outcome::Reused`] if its id names another one,
    /// [`Outcome::Full`] if its member has too many.
    Schedule {
        /// The schedule.
        row: ScheduleRow,
        /// Schedules of a member at most.
        max: u64,
    },
    /// Gives up a member's own schedule.
    Cancel {
        /// The mesh.
        mesh: MeshId,
        /// Whose.
        member: PublicKey,
        /// Which.
        id: String,
        /// Unix ms.
        at: u64,
    },
    /// A schedule with cron is due: it waits for a session of its author, and for its next time.
    Due {
        /// The mesh.
        mesh: MeshId,
        /// Which.
        id: String,
        /// The time that is kept for it; at any other nothing changes.
        due: u64,
        /// The newest time that has come.
        pending: u64,
        /// The next time; none: there is no other.
        next: Option<u64>,
    },
    /// What was due at `due` is in its author's hands, or its author knows that it failed.
    /// [`Outcome::Conflict`] with the newer time that waits, if one does.
    Taken {
        /// The mesh.
        mesh: MeshId,
        /// Whose.
        member: PublicKey,
        /// Which.
        id: String,
        /// The time.
        due: u64,
    },
    /// Sends a one-shot: the message is taken, or its refusal is noted, and the schedule is over,
    /// in one commit. The outcomes of [`Op::Accept`](super::Op::Accept), or
    /// [`Outcome::NotThere`] if it was given up or is over.
    Fire(Box<Fire>),
    /// Keeps an item in place of the one with its kind and key, if there is one, or with an empty
    /// value takes it away. [`Outcome::Full`] if the mesh has too many of its kind.
    Item {
        /// The item.
        row: ItemRow,
        /// Items of this kind in the mesh at most.
        max: u64,
        /// The audit row that belongs to it: what happened, and who did it.
        event: Option<(&'static str, PublicKey)>,
    },
}

impl ValueOp {
    /// Bytes that it brings to the disk, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::SetState(set) => set.row.weight(),
            Self::Remember { row, .. } => row.weight(),
            Self::Schedule { row, .. } => ROW_BYTES + row.body.len(),
            Self::Fire(fire) => ROW_BYTES + fire.accept.tail.len(),
            Self::Item { row, .. } => ROW_BYTES + row.value.len(),
            _ => ROW_BYTES,
        }
    }
}

/// A value to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetState {
    /// The mesh.
    pub mesh: MeshId,
    /// The value. Its version is what it is kept under unless it is 0: then the one after the
    /// kept one.
    pub row: StateRow,
    /// The version that must be kept now; 0: none.
    pub if_version: Option<u64>,
    /// A hash of the writer's id of the request, if it has one: the newest request is done once.
    pub request: Option<[u8; 16]>,
    /// Keys of the mesh at most.
    pub max: u64,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Its key.
    pub key: String,
    /// JSON.
    pub value: String,
    /// Its number.
    pub version: u64,
    /// Who wrote it.
    pub writer: PublicKey,
    /// The name it had.
    pub name: String,
    /// Unix ms.
    pub at: u64,
}

impl StateRow {
    /// Bytes in a list, at most.
    pub fn weight(&self) -> usize {
        ROW_BYTES + json_len(&self.key) + self.value.len() + json_len(&self.name)
    }
}

/// A memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRow {
    /// Its id.
    pub id: String,
    /// What was kept.
    pub content: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Nobody but members can read it: it is not searched.
    pub sealed: bool,
    /// Who wrote it.
    pub writer: PublicKey,
    /// The name it had.
    pub name: String,
    /// Unix ms.
    pub at: u64,
}

impl MemoryRow {
    /// Bytes in a list, at most.
    pub fn weight(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| json_len(tag) + 1).sum();
        ROW_BYTES + json_len(&self.content) + tags + json_len(&self.name)
    }

    /// Whether it has all words, which are in lower case.
    pub(super) fn has(&self, words: &[String]) -> bool {
        let mut text = self.content.to_lowercase();
        for tag in &self.tags {
            text.push(' ');
            text.push_str(&tag.to_lowercase());
        }
        words.iter().all(|word| text.contains(word.as_str()))
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// The mesh.
    pub mesh: MeshId,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub member: PublicKey,
    /// The target, as in a send.
    pub to: String,
    /// When it is due next, unix ms; none: never again.
    pub due: Option<u64>,
    /// Unix ms.
    pub created_at: u64,
    /// Its five fields, if it comes again.
    pub cron: Option<String>,
    /// A one-shot's send frame, or what the author of a cron sealed for itself.
    pub body: String,
    /// How often it was due.
    pub fired: u64,
    /// With cron: the time for which it waits for a session of its author, unix ms. Of a one-shot
    /// that failed: when.
    pub pending: Option<u64>,
    /// Why a one-shot was refused: a code.
    pub failed: Option<String>,
}

impl ScheduleRow {
    /// Whether two are the same wish; of a cron the next time does not count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let of = |row: &Self| (row.member, row.to.clone(), row.cron.clone());
        let when = self.cron.is_some() || self.due == other.due;
        of(self) == of(other) && self.body == other.body && when
    }
}

/// Something small that clients of the existing system keep: a topic and who is in it, a task, a
/// key for HTTP. All items of a mesh are loaded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRow {
    /// The mesh.
    pub mesh: MeshId,
    /// What it is.
    pub kind: String,
    /// Which one.
    pub key: String,
    /// JSON; empty: it is taken away.
    pub value: String,
    /// Unix ms.
    pub at: u64,
}

/// A one-shot that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fire {
    /// Which schedule.
    pub id: String,
    /// Why the message is refused, if it was not taken before: a code.
    pub refusal: Option<String>,
    /// The message.
    pub accept: Accept,
}

impl Fire {
    /// The code that is noted if the message was not taken.
    pub(super) fn failure(&self, outcome: &Outcome) -> Option<&str> {
        match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate { .. } => None,
            Outcome::Full => Some("queue_full"),
            Outcome::Refused => Some(self.refusal.as_deref().unwrap_or("invalid")),
            _ => Some("invalid"),
        }
    }
}

/// A question about what is kept besides messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueQuery {
    /// A value. Answer: [`ValueRows::State`], with one row or none.
    State {
        /// The mesh.
        mesh: MeshId,
        /// Its key.
        key: String,
    },
    /// Values by key. Answer: [`ValueRows::State`].
    States {
        /// The mesh.
        mesh: MeshId,
        /// Only keys after this one.
        after: Option<String>,
        /// Bytes at most, but at least one row.
        bytes: usize,
    },
    /// Memories, newest first. Answer: [`ValueRows::Memory`], or [`ValueRows::Unknown`] if there
    /// is no memory `after`.
    Memories {
        /// The mesh.
        mesh: MeshId,
        /// Only those older than this one.
        after: Option<String>,
        /// Bytes at most, but at least one row.
        bytes: usize,
    },
    /// Memories that are not sealed and have all words, newest first; not all are looked at if
    /// they are very many. Answer: [`ValueRows::Memory`].
    Search {
        /// The mesh.
        mesh: MeshId,
        /// In lower case.
        words: Vec<String>,
        /// Rows at most.
        limit: usize,
    },
    /// The schedules of a member, by when they are due. Answer: [`ValueRows::Schedules`].
    Schedules {
        /// The mesh.
        mesh: MeshId,
        /// Whose.
        member: PublicKey,
        /// Whether their bodies are wanted; else those are empty.
        bodies: bool,
    },
    /// What waits for its author. Answer: [`ValueRows::Schedules`].
    Pending {
        /// The mesh.
        mesh: MeshId,
        /// Whose.
        member: PublicKey,
    },
    /// What is due in any mesh, by when. Answer: [`ValueRows::Due`].
    Due {
        /// Unix ms: what is due by then.
        until: u64,
        /// Only after this one: its time and its number.
        after: (u64, u64),
        /// Rows at most.
        limit: usize,
    },
    /// All items of a mesh, by kind and key. Answer: [`ValueRows::Items`].
    Items {
        /// The mesh.
        mesh: MeshId,
    },
    /// The items of one kind and key in any mesh. Answer: [`ValueRows::Items`].
    ItemsOf {
        /// The kind.
        kind: String,
        /// The key.
        key: String,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueRows {
    /// Values, and whether there are more.
    State(Vec<StateRow>, bool),
    /// Memories, and whether there are more.
    Memory(Vec<MemoryRow>, bool),
    /// Schedules.
    Schedules(Vec<ScheduleRow>),
    /// What is due with its number in the store, and when the next one after them is due.
    Due(Vec<(u64, ScheduleRow)>, Option<u64>),
    /// Items.
    Items(Vec<ItemRow>),
    /// There is no such row to go on after.
    Unknown,
}

/// Takes rows while they fit into `bytes`, at least one; says whether one was left.
pub(super) fn page<T, E>(
    rows: impl Iterator<Item = Result<T, E>>,
    bytes: usize,
    weight: impl Fn(&T) -> usize,
) -> Result<(Vec<T>, bool), E> {
    let (mut page, mut sum) = (Vec::new(), 0usize);
    for row in rows {
        let row = row?;
        sum = sum.saturating_add(weight(&row));
        if sum > bytes && !page.is_empty() {
            return Ok((page, true));
        }
        page.push(row);
    }
    Ok((page, false))
}

/// Bytes of a text as JSON.
pub(crate) fn json_len(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(of).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_json() {
        for text in [
            "",
            "a",
            "\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}",
            "ä日\u{2028}",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(json_len(text), json.len(), "{json}");
        }
    }

    #[test]
    fn a_page_has_at_least_one_row() {
        let rows = || [9usize, 1, 1, 9].into_iter().map(Ok::<_, ()>);
        assert_eq!(page(rows(), 5, |row| *row), Ok((vec![9], true)));
        assert_eq!(page(rows().skip(1), 5, |row| *row), Ok((vec![1, 1], true)));
        assert_eq!(page(rows(), 20, |row| *row), Ok((vec![9, 1, 1, 9], false)));
    }
}
