//! Drives flows of messages over the wire and measures them.
//!
//! A flow is one sender and its recipients, each on a connection of its own. A sender keeps a
//! window of unanswered sends, or a rate; a recipient settles what it was pushed on arrival. The
//! time of a message is from just before its send is written to the reading of its push.

mod board;
pub(crate) mod receive;
mod send;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claudemesh_core::id::KeyId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{During as _, LoadError};
use crate::frames::Template;
use crate::members::{Member, Mesh, random};
use crate::report::rounded;
use crate::wire::Wire;
pub(crate) use board::Board;
use send::Plan;

/// For how long what was accepted may take to arrive after the last send.
pub(crate) const TAIL: Duration = Duration::from_secs(20);
/// Connections that are opened at once.
const OPENING: usize = 32;

/// One sender and those it sends to, as places in the list of members.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) from: usize,
    /// In turn, or all at once if there is a key for that.
    pub(crate) to: Vec<usize>,
    /// The key of the channel of everyone.
    pub(crate) under: Option<KeyId>,
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) flows: Vec<Flow>,
    /// Bytes of a message before it is sealed.
    pub(crate) size: usize,
    /// Unanswered sends of each flow at most.
    pub(crate) window: usize,
    /// Messages a second of all flows together; as many as go if there is none.
    pub(crate) rate: Option<u32>,
    pub(crate) duration: Duration,
    /// The broker is to hand messages on and keep nothing.
    pub(crate) online: bool,
}

impl Load {
    /// The time between two sends of a flow.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let flows = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        Some(Duration::from_secs(1) * flows / self.rate?.max(1))
    }

    /// Everyone who is sent to.
    pub(crate) fn recipients(&self) -> BTreeSet<usize> {
        self.flows
            .iter()
            .flat_map(|flow| flow.to.iter().copied())
            .collect()
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Deliveries that the broker has taken over: a message to many counts once for each.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    /// Delivered before the time was over.
    pub(crate) in_time: u64,
    /// Pushed more than once.
    pub(crate) repeated: u64,
    /// Microseconds of each message, in order once the run is done.
    pub(crate) micros: Vec<u32>,
    pub(crate) duration: Duration,
}

impl Outcome {
    /// Deliveries a second while there was load.
    pub(crate) fn per_s(&self) -> f64 {
        let count = f64::from(u32::try_from(self.in_time).unwrap_or(u32::MAX));
        rounded(count / self.duration.as_secs_f64())
    }

    /// A latency in milliseconds, below which so many of a thousand lie.
    pub(crate) fn ms(&self, per_mille: usize) -> f64 {
        let at = self.micros.len() * per_mille / 1_000;
        let at = at.min(self.micros.len().saturating_sub(1));
        let micros = self.micros.get(at).copied().unwrap_or(0);
        rounded(f64::from(micros) / 1_000.0)
    }

    /// For an answer.
    pub(crate) fn latency(&self) -> Value {
        json!({"p50": self.ms(500), "p99": self.ms(990), "max": self.ms(1_000)})
    }

    /// Accepted, but not delivered by the end.
    pub(crate) fn missing(&self) -> u64 {
        self.accepted.saturating_sub(self.delivered)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.in_time += other.in_time;
        self.repeated += other.repeated;
        self.micros.extend(other.micros);
    }
}

/// Sends and receives over the wire; returns when all that was accepted has arrived, or after
/// [`TAIL`].
pub(crate) async fn run(
    mesh: &Mesh,
    members: &[Member],
    load: &Load,
) -> Result<Outcome, LoadError> {
    let member = |place: usize| {
        let found = members.get(place);
        found.ok_or_else(|| LoadError::Usage(format!("there is no member {place}")))
    };
    let connect = |place| async move { Wire::connect(mesh, member(place)?).await };
    let froms = stream::iter(load.flows.iter().map(|flow| connect(flow.from)));
    let senders: Vec<Wire> = froms.buffered(OPENING).try_collect().await?;
    let tos = stream::iter(load.recipients().into_iter().map(connect));
    let recipients: Vec<Wire> = tos.buffered(OPENING).try_collect().await?;
    let mut templates = Vec::new();
    for flow in &load.flows {
        let from = member(flow.from)?;
        let seal = |to: &usize| {
            let to = member(*to)?.public();
            let template = Template::seal(mesh, from, &to, load.size)?;
            Ok(if load.online {
                template.online()
            } else {
                template
            })
        };
        templates.push(match &flow.under {
            Some(key) => vec![Template::to_everyone(key, load.size, load.online)?],
            None => flow
                .to
                .iter()
                .map(seal)
                .collect::<Result<Vec<_>, LoadError>>()?,
        });
    }

    let board = Arc::new(Board::new(u64::from_le_bytes(random()?), load.flows.len()));
    let (stop, stopped) = watch::channel(false);
    let start = Instant::now();
    let until = start + load.duration;
    let mut receiving = JoinSet::new();
    for wire in recipients {
        receiving.spawn(receive::run(
            wire,
            Arc::clone(&board),
            until,
            stopped.clone(),
        ));
    }
    let mut sending = JoinSet::new();
    for (flow, (wire, templates)) in senders.into_iter().zip(templates).enumerate() {
        let to = load.flows.get(flow);
        let all = to.filter(|flow| flow.under.is_some());
        let plan = Plan {
            flow,
            templates,
            copies: all.map_or(1, |flow| flow.to.len()),
            window: load.window,
            // Flows that keep a rate take turns instead of all sending at once.
            first: stagger(start, load, flow),
            pause: load.pause(),
            until,
        };
        sending.spawn(send::run(wire, plan, Arc::clone(&board)));
    }
    let mut outcome = Outcome {
        duration: load.duration,
        ..Outcome::default()
    };
    while let Some(done) = sending.join_next().await {
        outcome.add(done.during("a sender")??);
    }
    let late = Instant::now() + TAIL;
    while board.delivered() < outcome.accepted && Instant::now() < late {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send_replace(true);
    while let Some(done) = receiving.join_next().await {
        outcome.add(done.during("a recipient")??);
    }
    outcome.micros.sort_unstable();
    Ok(outcome)
}

/// When a flow begins.
pub(crate) fn stagger(start: Instant, load: &Load, flow: usize) -> Instant {
    let (Some(pause), Ok(flow)) = (load.pause(), u32::try_from(flow)) else {
        return start;
    };
    let flows = u32::try_from(load.flows.len()).unwrap_or(u32::MAX).max(1);
    start + pause * flow / flows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let outcome = Outcome {
            micros: (1..=1_000).collect(),
            ..Outcome::default()
        };
        assert_eq!(
            (outcome.ms(500), outcome.ms(990), outcome.ms(1_000)),
            (0.501, 0.991, 1.0)
        );
        assert_eq!(Outcome::default().ms(990), 0.0);
    }

    #[test]
    fn a_rate_is_shared_by_the_flows() {
        let flow = Flow {
            from: 0,
            to: vec![1],
            under: None,
        };
        let load = Load {
            flows: vec![flow; 4],
            size: 1,
            window: 1,
            rate: Some(1_000),
            duration: Duration::from_secs(1),
            online: false,
        };
        assert_eq!(load.pause(), Some(Duration::from_millis(4)));
    }
}
