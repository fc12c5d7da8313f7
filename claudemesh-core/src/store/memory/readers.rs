//! Reading positions in memory.

use std::collections::BTreeMap;

use crate::id::Priority;
use crate::store::{FORGET_MS, KEEP_MS, ReaderName, ReaderStart};

/// Positions of all readers, and how far any of them came.
#[derive(Debug, Default)]
pub(super) struct Readers {
    passed: [u64; 3],
    readers: BTreeMap<ReaderName, Reader>,
}

#[derive(Debug, Default)]
struct Reader {
    positions: [Option<Position>; 3],
    /// When it was first found unused; none if it was used since.
    idle_since: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    cursor: u64,
    offered: u64,
}

impl Readers {
    pub(super) fn open(&mut self, name: &ReaderName, start: ReaderStart) {
        let passed = self.passed;
        for class in Priority::ALL {
            let position = self.position_mut(name, class);
            if start == ReaderStart::AfterAny {
                position.cursor = passed[class as usize];
            }
        }
    }

    pub(super) fn offer(&mut self, name: &ReaderName, class: Priority, seq: u64) {
        let position = self.position_mut(name, class);
        position.offered = position.offered.max(seq);
    }

    pub(super) fn take(&mut self, name: &ReaderName, class: Priority, seq: u64) {
        let position = self.position_mut(name, class);
        position.cursor = position.cursor.max(seq);
        let passed = &mut self.passed[class as usize];
        *passed = (*passed).max(seq);
    }

    /// Its cursor and how far it was offered rows.
    pub(super) fn position(&self, name: &ReaderName, class: Priority) -> (u64, u64) {
        let position = self
            .readers
            .get(name)
            .and_then(|r| r.positions[class as usize]);
        position.map_or((self.passed[class as usize], 0), |p| (p.cursor, p.offered))
    }

    pub(super) const fn passed_by_any(&self, class: Priority) -> u64 {
        self.passed[class as usize]
    }

    pub(super) fn passed_by_all(&self, class: Priority) -> u64 {
        let positions = self
            .readers
            .values()
            .filter_map(|r| r.positions[class as usize]);
        positions
            .map(|p| p.cursor)
            .fold(self.passed[class as usize], u64::min)
    }

    /// See `PeerOp::Prune`.
    pub(super) fn forget_idle(&mut self, now: u64) {
        let passed = self.passed;
        self.readers.retain(|_, reader| {
            let idle = now.saturating_sub(*reader.idle_since.get_or_insert(now));
            for (position, passed) in reader.positions.iter_mut().zip(passed) {
                let behind = position.is_some_and(|p| p.cursor < passed);
                if idle > FORGET_MS || (idle > KEEP_MS && behind) {
                    *position = None;
                }
            }
            reader.positions.iter().any(Option::is_some)
        });
    }

    /// Makes what is missing of a reader; marks it as used.
    fn position_mut(&mut self, name: &ReaderName, class: Priority) -> &mut Position {
        let reader = self.readers.entry(name.clone()).or_default();
        reader.idle_since = None;
        for (position, passed) in reader.positions.iter_mut().zip(self.passed) {
            position.get_or_insert(Position {
                cursor: passed,
                offered: 0,
            });
        }
        let start = Position {
            cursor: self.passed[class as usize],
            offered: 0,
        };
        reader.positions[class as usize].get_or_insert(start)
    }
}
