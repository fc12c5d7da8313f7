//! The broker's time: monotonic for leases and timers, wall time for what is shown and kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::router::Now;

/// A step of the system's clock that is followed; smaller ones would only make times go back.
const STEP_MS: i64 = 2_000;

/// The broker's clock. Clones share it.
///
/// Wall time is the time at the start plus monotonic time, so that it does not go back when the
/// system's clock is trimmed. A real step (a suspended machine, a clock set by hand) is followed:
/// otherwise every hello after it would be refused.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Wall time at monotonic zero, without the offset.
    base: AtomicI64,
    offset: AtomicU64,
    moved: Notify,
}

impl Clock {
    /// A clock that starts now.
    pub fn system() -> Self {
        Self(Arc::new(Inner {
            start: Instant::now(),
            base: AtomicI64::new(system_ms()),
            offset: AtomicU64::new(0),
            moved: Notify::new(),
        }))
    }

    /// The time.
    pub fn now(&self) -> Now {
        let inner = &*self.0;
        let real = elapsed_ms(inner.start);
        let offset = inner.offset.load(Ordering::Acquire);
        let system = system_ms();
        let mut base = inner.base.load(Ordering::Acquire);
        if (system - base - signed(real)).abs() > STEP_MS {
            base = system - signed(real);
            inner.base.store(base, Ordering::Release);
            tracing::warn!("the system's clock was changed; the broker follows it");
        }
        let mono = real + offset;
        let wall = u64::try_from(base).unwrap_or(0) + mono;
        Now { mono, wall }
    }

    /// Moves this clock forward, for tests.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX / 4);
        self.0.offset.fetch_add(ms, Ordering::AcqRel);
        self.0.moved.notify_waiters();
    }

    /// Returns when `mono` is reached. Sees [`Clock::advance`].
    pub(crate) async fn until(&self, mono: u64) {
        loop {
            let moved = self.0.moved.notified();
            let now = self.now().mono;
            let Some(left) = mono.checked_sub(now).filter(|left| *left > 0) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(left)) => {}
                () = moved => {}
            }
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

fn elapsed_ms(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX / 4)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

fn system_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_move_together() {
        let clock = Clock::system();
        let before = clock.now();
        clock.clone().advance(Duration::from_secs(3_600));
        let after = clock.now();
        assert!(after.mono - before.mono >= 3_600_000);
        assert_eq!(after.mono - before.mono, after.wall - before.wall);
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_clock_is_moved() {
        let clock = Clock::system();
        let due = clock.now().mono + 3_600_000;
        let waiter = tokio::spawn({
            let clock = clock.clone();
            async move { clock.until(due).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3_600));
        waiter.await.unwrap();
    }
}
