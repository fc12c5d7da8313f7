//! A token bucket: so many at once, so many in a time.

/// How much one member has used of what it may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// What is left, in thousandths.
    left: u64,
    /// Up to when it was filled, ms.
    filled: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(burst: u64, now: u64) -> Self {
        Self {
            left: burst * 1_000,
            filled: now,
        }
    }

    /// Takes one, or says in how many ms there is one. `per` is refilled in each `window_ms`.
    pub(super) fn take(
        &mut self,
        now: u64,
        burst: u64,
        per: u64,
        window_ms: u64,
    ) -> Result<(), u64> {
        self.take_many(1, now, burst, per, window_ms)
    }

    /// Gives one back.
    pub(super) fn give(&mut self, burst: u64) {
        self.left = self.left.saturating_add(1_000).min(burst * 1_000);
    }

    /// As [`Bucket::take`], of `count`; what is more than a full bucket takes a full one.
    pub(super) fn take_many(
        &mut self,
        count: u64,
        now: u64,
        burst: u64,
        per: u64,
        window_ms: u64,
    ) -> Result<(), u64> {
        let wanted = count.min(burst.max(1)).saturating_mul(1_000);
        let passed = now.saturating_sub(self.filled);
        let gained = passed.saturating_mul(per).saturating_mul(1_000) / window_ms.max(1);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(burst * 1_000);
            self.filled = now;
        }
        let Some(missing) = wanted.checked_sub(self.left).filter(|missing| *missing > 0) else {
            self.left -= wanted;
            return Ok(());
        };
        Err((missing * window_ms).div_ceil((per * 1_000).max(1)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once() {
        let mut bucket = Bucket::full(10, 0);
        bucket.take_many(7, 0, 10, 10, 1_000).unwrap();
        assert_eq!(bucket.take_many(5, 0, 10, 10, 1_000), Err(200));
        bucket.take_many(5, 200, 10, 10, 1_000).unwrap();
        assert_eq!(bucket.take_many(99, 200, 10, 10, 1_000), Err(1_000));
        bucket.take_many(99, 1_200, 10, 10, 1_000).unwrap();
        bucket.take(1_200, 10, 10, 1_000).unwrap_err();
    }

    #[test]
    fn a_burst_then_a_rate() {
        let mut bucket = Bucket::full(2, 0);
        bucket.take(0, 2, 4, 1_000).unwrap();
        bucket.take(0, 2, 4, 1_000).unwrap();
        assert_eq!(bucket.take(0, 2, 4, 1_000), Err(250));
        assert_eq!(bucket.take(249, 2, 4, 1_000), Err(1));
        bucket.take(250, 2, 4, 1_000).unwrap();
        assert!(bucket.take(251, 2, 4, 1_000).is_err());
        for _ in 0..2 {
            bucket.take(1_000_000, 2, 4, 1_000).unwrap();
        }
        bucket.take(1_000_000, 2, 4, 1_000).unwrap_err();
    }
}
