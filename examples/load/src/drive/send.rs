//! One sender.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Board, Outcome};
use crate::error::LoadError;
use crate::frames::Template;
use crate::wire::{Frame, Wire};

/// For how long a broker may leave sends unanswered at the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one sender does.
pub(super) struct Plan {
    pub(super) flow: usize,
    /// One per recipient; they take turns. Or one for all.
    pub(super) templates: Vec<Template>,
    /// How many get each message.
    pub(super) copies: usize,
    pub(super) window: usize,
    pub(super) first: Instant,
    pub(super) pause: Option<Duration>,
    pub(super) until: Instant,
}

/// Sends until the time is over; returns when everything was answered.
pub(super) async fn run(
    mut wire: Wire,
    plan: Plan,
    board: Arc<Board>,
) -> Result<Outcome, LoadError> {
    let mut outcome = Outcome::default();
    let (mut number, mut unanswered) = (0u64, 0usize);
    let mut due = plan.first;
    loop {
        let mut turns = plan
            .templates
            .iter()
            .cycle()
            .skip(turn(number, plan.templates.len()));
        let mut fed = false;
        while unanswered < plan.window {
            let now = Instant::now();
            if now >= plan.until || (plan.pause.is_some() && now < due) {
                break;
            }
            let Some(template) = turns.next() else { break };
            wire.feed(template.frame(&board.begin(plan.flow, number, plan.copies)))
                .await?;
            (number, unanswered, fed) = (number + 1, unanswered + 1, true);
            due += plan.pause.unwrap_or_default();
        }
        if fed {
            wire.flush().await?;
        }
        let over = Instant::now() >= plan.until;
        if over && unanswered == 0 {
            return Ok(outcome);
        }
        let wake = match (over, plan.pause) {
            (true, _) => plan.until + PATIENCE,
            (false, Some(_)) if unanswered < plan.window => due.min(plan.until),
            (false, _) => plan.until,
        };
        let text = tokio::select! {
            text = wire.next() => text?,
            () = tokio::time::sleep_until(wake.into()) => {
                if over {
                    // What was not answered is neither accepted nor refused.
                    return Ok(outcome);
                }
                continue;
            }
        };
        let mut text = Some(text);
        while let Some(one) = text {
            for answer in Frame::read(&one)?.answers() {
                unanswered = unanswered.saturating_sub(1);
                if answer.queued {
                    // The owner is sent to as well, and is not here.
                    let copies = u64::try_from(plan.copies).unwrap_or(u64::MAX);
                    outcome.accepted += answer.deliveries().min(copies);
                } else {
                    outcome.refused += 1;
                }
            }
            text = wire.ready().transpose()?;
        }
    }
}

fn turn(number: u64, of: usize) -> usize {
    usize::try_from(number).unwrap_or(0) % of.max(1)
}
