//! How often one sender's messages are run: so and so many an hour, some of them at once.

use std::collections::HashMap;
use std::time::Duration;

use claudemesh_core::id::PublicKey;
use claudemesh_core::peer::Received;
use tokio::time::Instant;

use crate::agent::frame;
use crate::context::Context;

/// Senders that are remembered at most; who was quiet for longest is forgotten first.
const SENDERS: usize = 1_024;

/// A bucket of runs per sender, which fills up again over an hour.
pub(super) struct Allowance {
    most: f64,
    /// Runs that are left, as of a time.
    left: HashMap<PublicKey, (f64, Instant)>,
}

impl Allowance {
    pub(super) fn new(per_hour: u32) -> Self {
        let (most, left) = (f64::from(per_hour.max(1)), HashMap::new());
        Self { most, left }
    }

    /// Waits until the sender of this message has a run left, and takes it. What comes after waits
    /// behind it, as the messages are run one at a time and in their order.
    pub(super) async fn wait(&mut self, context: &Context, message: &Received) {
        let pause = self.take(message.from.key, Instant::now());
        if pause.is_zero() {
            return;
        }
        context.out.warn(&format!(
            "{} has sent more than {} messages an hour; the next one is run in {} s",
            frame::sender(message),
            self.most,
            pause.as_secs() + 1
        ));
        tokio::time::sleep(pause).await;
    }

    /// How long to wait for the run that is taken by this.
    fn take(&mut self, sender: PublicKey, now: Instant) -> Duration {
        if self.left.len() >= SENDERS && !self.left.contains_key(&sender) {
            let oldest = self.left.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.left.remove(&oldest);
            }
        }
        let (left, at) = self.left.entry(sender).or_insert((self.most, now));
        let hours = now.saturating_duration_since(*at).as_secs_f64() / 3_600.0;
        *left = (*left + hours * self.most).min(self.most);
        *at = now;
        *left -= 1.0;
        if *left >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-*left / self.most * 3_600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sender_has_so_many_runs_an_hour_and_others_have_theirs() {
        let mut allowance = Allowance::new(4);
        let (ana, bob) = (
            PublicKey::from_hex(&"6".repeat(64)),
            PublicKey::from_hex(&"5".repeat(64)),
        );
        let (Ok(ana), Ok(bob)) = (ana, bob) else {
            panic!("no keys")
        };
        let now = Instant::now();
        for _ in 0..4 {
            assert_eq!(allowance.take(ana, now), Duration::ZERO);
        }
        let pause = allowance.take(ana, now);
        assert_eq!(pause, Duration::from_secs(900));
        assert_eq!(allowance.take(bob, now), Duration::ZERO);
        let later = now + Duration::from_secs(7_200);
        assert_eq!(allowance.take(ana, later), Duration::ZERO);
    }
}
