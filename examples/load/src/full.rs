//! The same flows with real peers: each message is sealed, kept in an outbox on the disk, opened,
//! kept in an inbox on the disk, and taken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use claudemesh_core::{Outgoing, Peer, PublicKey};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::drive::{Board, Load, Outcome, TAIL, stagger};
use crate::error::{During as _, LoadError};
use crate::members::{Member, Mesh, random};

const SOON: Duration = Duration::from_secs(20);
/// Sends of a peer that wait for its store or for the broker at once, at most.
const AT_ONCE: usize = 64;

/// A real peer of a member, with its store in `dir`.
pub(crate) async fn peer(mesh: &Mesh, member: &Member, dir: &Path) -> Result<Peer, LoadError> {
    let dir = dir.join(&member.name);
    let peer = Peer::builder(&mesh.entry(member))
        .data_dir(dir)
        .session("load");
    peer.connect().await.during("a peer")
}

/// As [`crate::drive::run`].
pub(crate) async fn run(
    mesh: &Mesh,
    members: &[Member],
    load: &Load,
) -> Result<Outcome, LoadError> {
    let dir = tempfile::tempdir().during("a folder for the peers")?;
    let mut peers = Vec::new();
    for member in members {
        peers.push(peer(mesh, member, dir.path()).await?);
    }
    for peer in &peers {
        peer.connected_within(SOON).await.during("a peer")?;
        peer.sync().await.during("the log")?;
    }
    let at = |place: usize| {
        let found = peers.get(place).cloned();
        found.ok_or_else(|| LoadError::Usage(format!("there is no member {place}")))
    };
    let board = Arc::new(Board::new(u64::from_le_bytes(random()?), load.flows.len()));
    let (stop, stopped) = watch::channel(false);
    let start = Instant::now();
    let until = start + load.duration;
    let mut receiving = JoinSet::new();
    for place in load.recipients() {
        receiving.spawn(receive(
            at(place)?,
            Arc::clone(&board),
            until,
            stopped.clone(),
        ));
    }
    let mut sending = JoinSet::new();
    for (number, flow) in load.flows.iter().enumerate() {
        let to: Result<Vec<PublicKey>, _> =
            flow.to.iter().map(|p| at(*p).map(|p| p.key())).collect();
        let sender = Arc::new(Sender {
            peer: at(flow.from)?,
            to: to?,
            flow: number,
            next: AtomicU64::new(0),
            size: load.size,
            board: Arc::clone(&board),
            first: stagger(start, load, number),
            pause: load.pause(),
            until,
        });
        for _ in 0..load.window.min(AT_ONCE) {
            sending.spawn(send(Arc::clone(&sender)));
        }
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
    for peer in &peers {
        peer.close(Duration::from_millis(100)).await;
    }
    outcome.micros.sort_unstable();
    Ok(outcome)
}

struct Sender {
    peer: Peer,
    to: Vec<PublicKey>,
    flow: usize,
    next: AtomicU64,
    size: usize,
    board: Arc<Board>,
    first: Instant,
    pause: Option<Duration>,
    until: Instant,
}

async fn send(sender: Arc<Sender>) -> Result<Outcome, LoadError> {
    let mut outcome = Outcome::default();
    loop {
        let number = sender.next.fetch_add(1, Ordering::Relaxed);
        if let Some(pause) = sender.pause {
            let due = sender.first + pause * u32::try_from(number).unwrap_or(u32::MAX);
            tokio::time::sleep_until(due.min(sender.until).into()).await;
        }
        if Instant::now() >= sender.until {
            return Ok(outcome);
        }
        let turn = usize::try_from(number).unwrap_or(0) % sender.to.len().max(1);
        let Some(to) = sender.to.get(turn) else {
            return Ok(outcome);
        };
        // The message's own id is not known before it is in the outbox; this one is.
        let id = sender.board.begin(sender.flow, number, 1);
        let body = format!("{id:<width$}", width = sender.size);
        let sent = sender.peer.send_message(*to, Outgoing::text(body)).await;
        let receipt = sent.during("sending")?;
        match receipt.accepted().await {
            Ok(_) => outcome.accepted += 1,
            Err(_) => outcome.refused += 1,
        }
    }
}

async fn receive(
    peer: Peer,
    board: Arc<Board>,
    until: Instant,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome, LoadError> {
    let mut outcome = Outcome::default();
    let mut incoming = peer.incoming().await.during("reading")?;
    loop {
        let message = tokio::select! {
            message = incoming.next() => message,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(message) = message else {
            return Ok(outcome);
        };
        let now = Instant::now();
        match board.end(message.text().trim_end(), now) {
            Some(Some(micros)) => {
                outcome.delivered += 1;
                outcome.in_time += u64::from(now <= until);
                outcome.micros.push(micros);
            }
            Some(None) => outcome.repeated += 1,
            None => {}
        }
    }
}
