//! The books: what was promised, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use claudemesh_core::store::{PeerStore as _, Query, ReaderName, Rows, SqliteStore};
use claudemesh_core::{Config, SendState};

use super::journal::Line;
use super::peer::SESSION;
use crate::error::{During as _, LoadError};

/// Complaints that are put into words at most.
const SAID: usize = 20;

/// Everything that is known of every message.
#[derive(Debug, Default)]
pub(super) struct Books {
    sent: BTreeSet<String>,
    accepted: BTreeSet<String>,
    failed: BTreeSet<String>,
    offered: BTreeSet<String>,
    /// At the broker.
    at_broker: BTreeSet<String>,
    /// In an inbox and not taken.
    unread: BTreeSet<String>,
    /// Shown as new a second time, or shown after it was taken.
    twice: Vec<String>,
    /// Shown before one that the same process sent earlier.
    out_of_order: Vec<String>,
    again: usize,
}

/// The sums.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Balance {
    pub(super) accepted: usize,
    pub(super) delivered: usize,
    pub(super) queued: usize,
    pub(super) lost: usize,
    pub(super) duplicated: usize,
    pub(super) out_of_order: usize,
    /// Shown once more after a crash, and marked so.
    pub(super) again: usize,
    pub(super) failed: usize,
    /// In an outbox, and not accepted.
    pub(super) unanswered: usize,
    /// What is wrong, in words.
    pub(super) complaints: Vec<String>,
}

impl Books {
    /// Enters the journal of one peer.
    pub(super) fn read_journal(&mut self, peer: &str, lines: &[Line]) {
        let (mut offered, mut taken) = (BTreeSet::new(), BTreeSet::new());
        let mut newest: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for line in lines {
            match line {
                Line::Sent { id } => drop(self.sent.insert(id.clone())),
                Line::Accepted { id } => drop(self.accepted.insert(id.clone())),
                Line::Failed { id } => drop(self.failed.insert(id.clone())),
                Line::Taken { id } => drop(taken.insert(id.clone())),
                Line::Offered {
                    id,
                    from,
                    again,
                    process,
                    number,
                } => {
                    let seen = !offered.insert(id.clone());
                    if taken.contains(id) || (seen && !again) {
                        self.twice.push(format!("{id} was shown to {peer} twice"));
                    }
                    self.again += usize::from(*again);
                    let newest = newest.entry((from, *process)).or_default();
                    if !seen && *number < *newest {
                        let text = format!("{id} came to {peer} after a later one");
                        self.out_of_order.push(text);
                    }
                    *newest = (*newest).max(*number);
                }
            }
        }
        self.offered.append(&mut offered);
    }

    /// Enters what stands in a peer's store.
    pub(super) fn read_store(&mut self, config: &Path) -> Result<(), LoadError> {
        let what = "a peer's store";
        let config = Config::load(config).during(what)?;
        let dir = config.meshes().first().and_then(|mesh| mesh.data_dir());
        let dir = dir.ok_or_else(|| LoadError::step(what, "it has no folder"))?;
        let store = SqliteStore::open(&dir.join("peer.db")).during(what)?;
        let limit = u32::MAX;
        let outbox = store
            .read(&Query::OutboxList { all: true, limit })
            .during(what)?;
        if let Rows::Outbox(rows) = outbox {
            for row in rows {
                let id = row.message.id.as_str().to_owned();
                match row.state {
                    SendState::Queued => {}
                    SendState::Accepted | SendState::Delivered => {
                        self.accepted.insert(id.clone());
                    }
                    SendState::Failed => drop(self.failed.insert(id.clone())),
                }
                self.sent.insert(id);
            }
        }
        let reader = ReaderName(format!("session:{SESSION}"));
        let unread = store.read(&Query::Unread { reader, limit }).during(what)?;
        if let Rows::Inbox(rows) = unread {
            let ids = rows
                .into_iter()
                .map(|row| row.message.id.as_str().to_owned());
            self.unread.extend(ids);
        }
        Ok(())
    }

    /// Enters what stands in the broker's file.
    pub(super) fn waiting_at_broker(&mut self, ids: Vec<String>) {
        self.at_broker.extend(ids);
    }

    /// Whether there is nothing to wait for any more.
    pub(super) fn is_balanced(&self) -> bool {
        let mut known = self.sent.union(&self.accepted);
        known.all(|id| self.offered.contains(id) || self.failed.contains(id))
    }

    pub(super) fn balance(&self) -> Balance {
        // Of what was shown the store knows whether it was taken; a kill may have come between
        // the taking and its line in the journal.
        let delivered = |id: &&String| self.offered.contains(*id) && !self.unread.contains(*id);
        let held = |id: &String| self.at_broker.contains(id) || self.unread.contains(id);
        let open = self.accepted.iter().filter(|id| !delivered(id));
        let open = open.filter(|id| !self.failed.contains(*id));
        let (queued, lost): (Vec<_>, Vec<_>) = open.partition(|id| held(id));
        let lost_texts = lost
            .iter()
            .map(|id| format!("{id} was accepted and never shown"));
        let complaints = lost_texts
            .chain(self.twice.iter().cloned())
            .chain(self.out_of_order.iter().cloned())
            .take(SAID)
            .collect();
        let unanswered = |id: &&String| {
            let known = [&self.accepted, &self.failed, &self.offered];
            known.iter().all(|set| !set.contains(*id))
        };
        Balance {
            accepted: self.accepted.len(),
            delivered: self.accepted.iter().filter(delivered).count(),
            queued: queued.len(),
            lost: lost.len(),
            duplicated: self.twice.len(),
            out_of_order: self.out_of_order.len(),
            again: self.again,
            failed: self.failed.len(),
            unanswered: self.sent.iter().filter(unanswered).count(),
            complaints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(id: &str, again: bool, number: u64) -> Line {
        Line::Offered {
            id: id.to_owned(),
            from: "a".to_owned(),
            again,
            process: 1,
            number,
        }
    }

    fn taken(id: &str) -> Line {
        Line::Taken { id: id.to_owned() }
    }

    fn accepted(ids: &[&str]) -> Vec<Line> {
        let line = |id: &&str| Line::Accepted {
            id: (*id).to_owned(),
        };
        ids.iter().map(line).collect()
    }

    #[test]
    fn what_is_shown_again_after_a_crash_is_no_duplicate() {
        let mut books = Books::default();
        books.read_journal("a", &accepted(&["x"]));
        books.read_journal(
            "b",
            &[offered("x", false, 1), offered("x", true, 1), taken("x")],
        );
        let balance = books.balance();
        assert!(books.is_balanced());
        assert_eq!((balance.duplicated, balance.again, balance.lost), (0, 1, 0));
    }

    #[test]
    fn what_is_shown_twice_as_new_or_after_it_was_taken_is_one() {
        let mut books = Books::default();
        books.read_journal("b", &[offered("x", false, 1), offered("x", false, 1)]);
        books.read_journal(
            "c",
            &[offered("y", false, 2), taken("y"), offered("y", true, 2)],
        );
        assert_eq!(books.balance().duplicated, 2);
    }

    #[test]
    fn what_is_nowhere_is_lost() {
        let mut books = Books::default();
        books.read_journal("a", &accepted(&["x", "y", "z"]));
        books.read_journal("b", &[offered("x", false, 1), taken("x")]);
        books.waiting_at_broker(vec!["y".to_owned()]);
        let balance = books.balance();
        assert!(!books.is_balanced());
        assert_eq!((balance.queued, balance.lost), (1, 1));
        assert_eq!(balance.complaints, ["z was accepted and never shown"]);
    }

    #[test]
    fn an_earlier_number_after_a_later_one_is_out_of_order() {
        let mut books = Books::default();
        let lines = [
            offered("x", false, 2),
            offered("y", false, 1),
            offered("z", false, 3),
        ];
        books.read_journal("b", &lines);
        assert_eq!(books.balance().out_of_order, 1);
    }
}
