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
        let passed = now.saturating_sub(self.filled);
        let gained = passed.saturating_mul(per).saturating_mul(1_000) / window_ms.max(1);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(burst * 1_000);
            self.filled = now;
        }
        if self.left >= 1_000 {
            self.left -= 1_000;
            return Ok(());
        }
        let missing = 1_000 - self.left;
        Err((missing * window_ms).div_ceil((per * 1_000).max(1)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
