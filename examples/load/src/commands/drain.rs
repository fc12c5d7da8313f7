//! `drain`: what waited for peers who were away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claudemesh_core::Peer;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pairs::extend;
use crate::broker::Broker;
use crate::cli::{Drain, Peers};
use crate::drive::{Board, receive};
use crate::error::{During as _, LoadError};
use crate::frames::Sealer;
use crate::full;
use crate::members::{Member, Mesh, random};
use crate::report::{Report, rounded};
use crate::wire::{Frame, Wire};

/// Members who fill the mailboxes.
const FILLERS: usize = 10;
/// Unanswered sends of each.
const WINDOW: usize = 256;
/// For how long coming back may take.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn run(args: &Drain, broker: &Broker, report: &Report) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let fillers = mesh.join(FILLERS, report).await?;
    let away = mesh.join(args.away, report).await?;
    let dir = tempfile::tempdir().during("a folder for the peers")?;
    if args.peers == Peers::Full {
        // Who is away was here before, and has the log.
        for peer in connect(&mesh, &away, dir.path()).await? {
            peer.sync().await.during("the log")?;
            peer.close(Duration::from_secs(1)).await;
        }
    }
    let board = Arc::new(Board::new(u64::from_le_bytes(random()?), away.len()));
    let begun = Instant::now();
    let accepted = fill(args, &mesh, &fillers, &away, &board, report).await?;
    let filled = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let delivered = match args.peers {
        Peers::Full => drain_full(args, &mesh, &away, dir.path()).await?,
        Peers::Wire => drain_wire(&mesh, &away, accepted, &board).await?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let count = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let mut answer = json!({
        "drained_per_s": rounded(count(delivered) / seconds),
        "drain_s": rounded(seconds),
        "accepted": accepted,
        "delivered": delivered,
        "fill_s": rounded(filled),
        "accepted_per_s": rounded(count(accepted) / filled),
    });
    extend(
        &mut answer,
        json!({
            "away": args.away,
            "messages": args.messages,
            "size": args.size,
            "peers": args.peers.as_str(),
            "broker_rss_mib": broker.memory_mib(),
        }),
    );
    report.answer(&answer)?;
    Ok(delivered == accepted)
}

/// Puts the messages into the mailboxes; gives how many were accepted.
async fn fill(
    args: &Drain,
    mesh: &Mesh,
    fillers: &[Member],
    away: &[Member],
    board: &Arc<Board>,
    report: &Report,
) -> Result<u64, LoadError> {
    let bar = report.bar(
        u64::try_from(args.away * args.messages).unwrap_or(0),
        "filling",
    );
    let mut work = JoinSet::new();
    for (turn, filler) in fillers.iter().enumerate() {
        let mut wire = Wire::connect(mesh, filler).await?;
        let mut frames = Vec::new();
        for (place, to) in away.iter().enumerate().skip(turn).step_by(fillers.len()) {
            let sealer = Sealer::new(mesh, filler, &to.public())?;
            for number in 0..args.messages {
                let id = board.begin(place, u64::try_from(number).unwrap_or(0), 1);
                frames.push(sealer.frame(&id, args.size)?);
            }
        }
        let bar = bar.clone();
        work.spawn(async move {
            let (mut frames, mut unanswered, mut accepted) = (frames.into_iter(), 0usize, 0u64);
            loop {
                for frame in frames.by_ref().take(WINDOW - unanswered) {
                    wire.feed(frame).await?;
                    unanswered += 1;
                }
                wire.flush().await?;
                if unanswered == 0 {
                    return Ok::<_, LoadError>(accepted);
                }
                let text = wire.next().await?;
                for answer in Frame::read(&text)?.answers() {
                    unanswered = unanswered.saturating_sub(1);
                    accepted += u64::from(answer.queued);
                    bar.inc(1);
                }
            }
        });
    }
    let mut accepted = 0;
    while let Some(done) = work.join_next().await {
        accepted += done.during("filling")??;
    }
    bar.finish_and_clear();
    Ok(accepted)
}

async fn connect(mesh: &Mesh, members: &[Member], dir: &Path) -> Result<Vec<Peer>, LoadError> {
    let mut peers = Vec::new();
    for member in members {
        peers.push(full::peer(mesh, member, dir).await?);
    }
    Ok(peers)
}

/// Real peers come back; gives how many messages are in their inboxes.
async fn drain_full(
    args: &Drain,
    mesh: &Mesh,
    away: &[Member],
    dir: &Path,
) -> Result<u64, LoadError> {
    let peers = connect(mesh, away, dir).await?;
    for peer in &peers {
        peer.caught_up(LIMIT).await.during("coming back")?;
    }
    let limit = u32::try_from(args.messages)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let mut delivered = 0;
    for peer in &peers {
        let unread = peer.unread(limit).await.during("the inbox")?;
        delivered += u64::try_from(unread.len()).unwrap_or(0);
    }
    Ok(delivered)
}

/// Clients that only settle come back.
async fn drain_wire(
    mesh: &Mesh,
    away: &[Member],
    accepted: u64,
    board: &Arc<Board>,
) -> Result<u64, LoadError> {
    let (stop, stopped) = watch::channel(false);
    let late = Instant::now() + LIMIT;
    let mut work = JoinSet::new();
    for member in away {
        let wire = Wire::connect(mesh, member).await?;
        work.spawn(receive::run(wire, Arc::clone(board), late, stopped.clone()));
    }
    while board.delivered() < accepted && Instant::now() < late {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.send_replace(true);
    while let Some(done) = work.join_next().await {
        done.during("a recipient")??;
    }
    Ok(board.delivered())
}
