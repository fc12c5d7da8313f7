//! Which messages are under way, and since when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The messages of one run. An id is `<run>.<flow>.<number>`.
#[derive(Debug)]
pub(crate) struct Board {
    run: u64,
    flows: Vec<Mutex<HashMap<u64, UnderWay>>>,
    delivered: AtomicU64,
}

/// A message that has not arrived everywhere.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    since: Instant,
    /// With how many recipients it has still to arrive.
    left: usize,
}

impl Board {
    pub(crate) fn new(run: u64, flows: usize) -> Self {
        Self {
            run,
            flows: (0..flows).map(|_| Mutex::default()).collect(),
            delivered: AtomicU64::new(0),
        }
    }

    /// The id of a message that is about to be written, and that so many are to get.
    pub(crate) fn begin(&self, flow: usize, number: u64, left: usize) -> String {
        if let Some(mut under_way) = self.flow(flow) {
            let since = Instant::now();
            under_way.insert(number, UnderWay { since, left });
        }
        format!("{:x}.{flow}.{number}", self.run)
    }

    /// A message has arrived: for how long it was under way. None: it had arrived everywhere before.
    /// Messages of other runs are no business of this one's.
    pub(crate) fn end(&self, id: &str, now: Instant) -> Option<Option<u32>> {
        let mut parts = id.split('.');
        let run = u64::from_str_radix(parts.next()?, 16).ok()?;
        let flow = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        if run != self.run {
            return None;
        }
        let mut flow = self.flow(flow)?;
        let Some(message) = flow.get_mut(&number) else {
            return Some(None);
        };
        let begun = message.since;
        message.left = message.left.saturating_sub(1);
        if message.left == 0 {
            flow.remove(&number);
        }
        drop(flow);
        self.delivered.fetch_add(1, Ordering::Relaxed);
        let micros = now.saturating_duration_since(begun).as_micros();
        Some(Some(u32::try_from(micros).unwrap_or(u32::MAX)))
    }

    /// How many have arrived.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    fn flow(&self, flow: usize) -> Option<MutexGuard<'_, HashMap<u64, UnderWay>>> {
        Some(
            self.flows
                .get(flow)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_once() {
        let board = Board::new(7, 1);
        let id = board.begin(0, 3, 1);
        assert!(board.end(&id, Instant::now()).unwrap().is_some());
        assert_eq!(board.end(&id, Instant::now()), Some(None));
        assert_eq!(board.end("8.0.3", Instant::now()), None);
        assert_eq!(board.end("of.another.program", Instant::now()), None);
        assert_eq!(board.delivered(), 1);
    }

    #[test]
    fn a_message_to_two_arrives_twice() {
        let board = Board::new(7, 1);
        let id = board.begin(0, 3, 2);
        for _ in 0..2 {
            assert!(board.end(&id, Instant::now()).unwrap().is_some());
        }
        assert_eq!(board.end(&id, Instant::now()), Some(None));
    }
}
