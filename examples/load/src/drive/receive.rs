//! One recipient: settles what it was pushed as soon as it has read all that is there.

use std::sync::Arc;
use std::time::Instant;

use claudemesh_core::wire::MAX_IDS_PER_FRAME;
use tokio::sync::watch;

use super::{Board, Outcome};
use crate::error::LoadError;
use crate::wire::{Frame, Wire};

/// Receives until it is told to stop.
pub(crate) async fn run(
    mut wire: Wire,
    board: Arc<Board>,
    until: Instant,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome, LoadError> {
    let mut outcome = Outcome::default();
    loop {
        let mut text = tokio::select! {
            text = wire.next() => Some(text?),
            _ = stop.wait_for(|stop| *stop) => return Ok(outcome),
        };
        let now = Instant::now();
        let (mut settled, mut read) = (Vec::new(), 0);
        while let Some(one) = text {
            read += 1;
            let frame = Frame::read(&one)?;
            if frame.kind == "push"
                && let (Some(broker_id), Some(id)) = (frame.broker_id, frame.id)
            {
                if !frame.online {
                    settled.push(broker_id.to_owned());
                }
                match board.end(id, now) {
                    Some(Some(micros)) => {
                        outcome.delivered += 1;
                        outcome.in_time += u64::from(now <= until);
                        outcome.micros.push(micros);
                    }
                    Some(None) => outcome.repeated += 1,
                    None => {}
                }
            }
            text = if read < MAX_IDS_PER_FRAME {
                wire.ready().transpose()?
            } else {
                None
            };
        }
        if !settled.is_empty() {
            wire.settle(settled).await?;
        }
    }
}
