//! Whether a program may answer a message by itself: what keeps two agents from answering each
//! other for ever.
//!
//! A machine without clock: the time comes with each question. Three things end a chain of
//! automatic answers, whatever the other side does: a message that says that nobody waits for an
//! answer, a count of the answers that led to it, and a bucket for each peer that refills slowly.
//!
//! ```
//! use claudemesh_core::replies::{NoReply, Question, ReplyGuard, ReplyLimits};
//! # let bob = claudemesh_core::PublicKey([7; 32]);
//! let mut guard = ReplyGuard::new(ReplyLimits::default());
//! let question = Question { from: bob, hops: 0, expects_reply: true };
//! assert_eq!(guard.may_reply(0, &question), Ok(1)); // The answer carries one hop.
//! let last = Question { hops: 8, ..question };
//! assert_eq!(guard.may_reply(0, &last), Err(NoReply::TooManyHops { hops: 8, limit: 8 }));
//! ```

use std::collections::HashMap;

use crate::id::PublicKey;
use crate::message::{DEFAULT_HOP_LIMIT, MAX_HOPS};

/// How far automatic answers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// A message to which so many automatic answers led is not answered: 8 by default, 15 at most.
    pub hops: u8,
    /// Answers to one peer in a row: 5 by default; at least 1.
    pub burst: u32,
    /// Milliseconds until there is one more: 30 s by default; at least 1.
    pub refill_ms: u64,
    /// Peers that are told apart at most: 1,024 by default; at least 1. While so many are short of
    /// answers, others get none.
    pub peers: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            hops: DEFAULT_HOP_LIMIT,
            burst: 5,
            refill_ms: 30_000,
            peers: 1_024,
        }
    }
}

/// What is known of a message that might be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Its sender's member key: all sessions of a member share one bucket.
    pub from: PublicKey,
    /// How many automatic answers led to it.
    pub hops: u8,
    /// Whether its sender may wait for an answer.
    pub expects_reply: bool,
}

/// Why a message is not answered automatically. A person may answer it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReply {
    /// Its sender waits for none.
    #[error("its sender expects no reply")]
    NotExpected,
    /// Too many automatic answers led to it.
    #[error(
        "{hops} automatic replies led to this message and the limit is {limit}: a person has to go \
         on"
    )]
    TooManyHops {
        /// So many.
        hops: u8,
        /// And so many may be.
        limit: u8,
    },
    /// Too many answers went to this peer.
    #[error("too many automatic replies to this peer; the next may go in {retry_after_ms} ms")]
    TooFast {
        /// Milliseconds until the next one.
        retry_after_ms: u64,
    },
}

/// See the module's text.
#[derive(Debug)]
pub struct ReplyGuard {
    limits: ReplyLimits,
    buckets: HashMap<PublicKey, Bucket>,
}

/// What was used up, in ms of refilling.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    used_ms: u64,
    at: u64,
}

impl Bucket {
    fn used_at(&self, now: u64) -> u64 {
        self.used_ms.saturating_sub(now.saturating_sub(self.at))
    }
}

impl ReplyGuard {
    /// A guard that has let nothing through. Limits out of bounds are taken for the nearest bound.
    pub fn new(limits: ReplyLimits) -> Self {
        Self {
            limits: ReplyLimits {
                hops: limits.hops.min(MAX_HOPS),
                burst: limits.burst.max(1),
                refill_ms: limits.refill_ms.max(1),
                peers: limits.peers.max(1),
            },
            buckets: HashMap::new(),
        }
    }

    /// Whether a message may be answered now, and how many hops the answer has to carry. An answer
    /// that is allowed is counted. `now` is ms of a clock that never goes back.
    ///
    /// # Errors
    /// [`NoReply`]; nothing is counted then.
    pub fn may_reply(&mut self, now: u64, question: &Question) -> Result<u8, NoReply> {
        let limit = self.limits.hops;
        if !question.expects_reply {
            return Err(NoReply::NotExpected);
        }
        if question.hops >= limit {
            let hops = question.hops;
            return Err(NoReply::TooManyHops { hops, limit });
        }
        let refill = self.limits.refill_ms;
        let room = refill.saturating_mul(self.limits.burst.into());
        let used = self.buckets.get(&question.from).map(|b| b.used_at(now));
        if used.is_none() && self.buckets.len() >= self.limits.peers {
            self.buckets.retain(|_, bucket| bucket.used_at(now) > 0);
            if self.buckets.len() >= self.limits.peers {
                let soonest = self
                    .buckets
                    .values()
                    .map(|bucket| bucket.used_at(now))
                    .min();
                let retry_after_ms = soonest.unwrap_or(refill);
                return Err(NoReply::TooFast { retry_after_ms });
            }
        }
        let used_ms = used.unwrap_or(0).saturating_add(refill);
        if used_ms > room {
            let retry_after_ms = used_ms - room;
            return Err(NoReply::TooFast { retry_after_ms });
        }
        let bucket = Bucket { used_ms, at: now };
        self.buckets.insert(question.from, bucket);
        Ok(question.hops + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(peer: u8) -> Question {
        Question {
            from: PublicKey([peer; 32]),
            hops: 0,
            expects_reply: true,
        }
    }

    #[test]
    fn a_burst_then_one_for_each_refill() {
        let mut guard = ReplyGuard::new(ReplyLimits::default());
        for _ in 0..5 {
            guard.may_reply(0, &from(1)).unwrap();
        }
        let wait = |ms| Err(NoReply::TooFast { retry_after_ms: ms });
        assert_eq!(guard.may_reply(0, &from(1)), wait(30_000));
        assert_eq!(guard.may_reply(29_999, &from(1)), wait(1));
        guard.may_reply(30_000, &from(1)).unwrap();
        assert_eq!(guard.may_reply(30_000, &from(1)), wait(30_000));
        // Another peer has a bucket of its own.
        guard.may_reply(30_000, &from(2)).unwrap();
    }

    #[test]
    fn no_answer_where_none_is_expected_and_nothing_is_counted() {
        let limits = ReplyLimits {
            burst: 1,
            ..ReplyLimits::default()
        };
        let mut guard = ReplyGuard::new(limits);
        let silent = Question {
            expects_reply: false,
            ..from(1)
        };
        let far = Question { hops: 8, ..from(1) };
        for _ in 0..3 {
            assert_eq!(guard.may_reply(0, &silent), Err(NoReply::NotExpected));
            let limit = NoReply::TooManyHops { hops: 8, limit: 8 };
            assert_eq!(guard.may_reply(0, &far), Err(limit));
        }
        assert_eq!(guard.may_reply(0, &Question { hops: 7, ..from(1) }), Ok(8));
    }

    #[test]
    fn more_peers_than_are_told_apart_get_no_fresh_bursts() {
        let limits = ReplyLimits {
            peers: 2,
            burst: 1,
            refill_ms: 100,
            ..ReplyLimits::default()
        };
        let mut guard = ReplyGuard::new(limits);
        guard.may_reply(0, &from(1)).unwrap();
        guard.may_reply(50, &from(2)).unwrap();
        let wait = |ms| Err(NoReply::TooFast { retry_after_ms: ms });
        assert_eq!(guard.may_reply(60, &from(3)), wait(40));
        guard.may_reply(100, &from(3)).unwrap();
        assert_eq!(guard.may_reply(100, &from(2)), wait(50));
    }

    #[test]
    fn two_agents_that_answer_everything_stop() {
        let mut sides = [
            ReplyGuard::new(ReplyLimits::default()),
            ReplyGuard::new(ReplyLimits::default()),
        ];
        let (mut hops, mut answers) = (0, 0);
        while let Ok(next) =
            sides[answers % 2].may_reply(answers as u64 * 3_600_000, &Question { hops, ..from(9) })
        {
            hops = next;
            answers += 1;
        }
        assert_eq!(answers, 8);
    }

    proptest! {
        /// Whatever comes when: in any stretch of time no peer gets more answers than the burst and
        /// what has refilled since, and no answer carries more hops than the limit.
        #[test]
        fn answers_are_bounded(
            burst in 1u32..6,
            refill_ms in 1u64..1_000,
            steps in prop::collection::vec((0u64..500, 0u8..3, 0u8..16, any::<bool>()), 1..200),
        ) {
            let limits = ReplyLimits { burst, refill_ms, peers: 2, ..ReplyLimits::default() };
            let mut guard = ReplyGuard::new(limits);
            let (mut now, mut answered) = (0, Vec::new());
            for (pause, peer, hops, expects_reply) in steps {
                now += pause;
                let question = Question { hops, expects_reply, ..from(peer) };
                if let Ok(next) = guard.may_reply(now, &question) {
                    prop_assert!(expects_reply && next <= limits.hops && next == hops + 1);
                    answered.push((peer, now));
                }
            }
            for (index, (peer, start)) in answered.iter().enumerate() {
                let mut count = 0;
                for (_, at) in answered[index..].iter().filter(|(other, _)| other == peer) {
                    count += 1;
                    let may = u64::from(burst) + (at - start) / refill_ms;
                    prop_assert!(count <= may, "{count} in {} ms", at - start);
                }
            }
        }
    }
}
