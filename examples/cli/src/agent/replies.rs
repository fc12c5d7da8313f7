//! What keeps agents from answering each other for ever, where a model or a program answers.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use claudemesh_core::message::MAX_HOPS;
use claudemesh_core::replies::{NoReply, Question, ReplyGuard, ReplyLimits};

/// How many automatic answers led to what this process deals with; set by `claudemesh serve`.
pub(crate) const VARIABLE: &str = "CLAUDEMESH_MSG_HOPS";
/// Messages of a model to one peer in a row, and ms until there is one more. A model may have much
/// to say at once; two that only thank each other are slowed down, and stopped by the hops.
const BURST: u32 = 20;
const REFILL_MS: u64 = 15_000;

/// One process's answers.
pub(crate) struct Replies {
    guard: Mutex<ReplyGuard>,
    start: Instant,
}

impl Replies {
    /// For a model, which decides itself what it answers.
    pub(crate) fn of_model() -> Self {
        Self::new(ReplyLimits {
            hops: MAX_HOPS,
            burst: BURST,
            refill_ms: REFILL_MS,
            ..ReplyLimits::default()
        })
    }

    /// For a program, which answers whatever comes.
    pub(crate) fn of_program() -> Self {
        Self::new(ReplyLimits::default())
    }

    fn new(limits: ReplyLimits) -> Self {
        Self {
            guard: Mutex::new(ReplyGuard::new(limits)),
            start: Instant::now(),
        }
    }

    /// Whether an answer may go, and how many hops it carries; counts it.
    pub(crate) fn ask(&self, question: Question) -> Result<u8, NoReply> {
        let hops = question.hops.max(led_here());
        let question = Question { hops, ..question };
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.may_reply(now, &question)
    }
}

/// How many automatic answers led to what this process deals with, as the environment says.
pub(crate) fn led_here() -> u8 {
    let text = std::env::var(VARIABLE).ok();
    // What does not read as a number is not to feed a loop.
    text.map_or(0, |text| text.parse().unwrap_or(MAX_HOPS).min(MAX_HOPS))
}

/// What a message says that a program sends: one more than led here, and nothing outside of one.
pub(crate) fn next_hop() -> u8 {
    match std::env::var_os(VARIABLE) {
        Some(_) => led_here().saturating_add(1).min(MAX_HOPS),
        None => 0,
    }
}
