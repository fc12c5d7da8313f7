//! One peer process: sends numbered messages, reads its own, writes both down.

use std::sync::Arc;
use std::time::Duration;

use claudemesh_core::{Config, Event, Incoming, Peer, PublicKey, SendState};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

use super::journal::{Journal, Line};
use crate::cli::PeerArgs;
use crate::error::{During as _, LoadError};
use crate::members::unix_ms;

/// The session whose reading position is kept over restarts.
pub(super) const SESSION: &str = "load";
/// What is said on stdin to end the sending; its end ends the process.
pub(super) const QUIET: &str = "quiet";
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs until stdin ends.
pub(crate) async fn run(args: PeerArgs) -> Result<(), LoadError> {
    let config = Config::load(&args.config).during("the configuration")?;
    let mesh = config.meshes().first();
    let mesh = mesh.ok_or_else(|| LoadError::Usage("the configuration has no mesh".to_owned()))?;
    let journal = Arc::new(Journal::open(&args.journal)?);
    let peer = Peer::builder(mesh)
        .session(SESSION)
        .connect()
        .await
        .during("the peer")?;
    let incoming = peer.incoming().await.during("reading")?;
    let (quiet, quieted) = watch::channel(false);
    tokio::select! {
        done = follow(peer.clone(), Arc::clone(&journal)) => done?,
        done = take(incoming, Arc::clone(&journal)) => done?,
        done = send(peer.clone(), args.to, args.rate, Arc::clone(&journal), quieted) => done?,
        done = listen(quiet) => done?,
    }
    peer.close(GOODBYE).await;
    Ok(())
}

/// Writes down what becomes of messages, those of earlier processes too.
async fn follow(peer: Peer, journal: Arc<Journal>) -> Result<(), LoadError> {
    let mut events = peer.events();
    while let Some(event) = events.next().await {
        let Event::Sent { id, state, .. } = event else {
            continue;
        };
        let id = id.as_str().to_owned();
        match state {
            SendState::Queued => {}
            // What was delivered was accepted before.
            SendState::Accepted | SendState::Delivered => journal.write(&Line::Accepted { id })?,
            SendState::Failed => journal.write(&Line::Failed { id })?,
        }
    }
    Ok(())
}

/// Takes one message after the other.
async fn take(mut incoming: Incoming, journal: Arc<Journal>) -> Result<(), LoadError> {
    while let Some(message) = incoming.next().await {
        let id = message.id.as_str().to_owned();
        let text = message.text();
        let numbers = text.split_once(' ');
        let numbers = numbers.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (process, number) = numbers.ok_or_else(|| LoadError::step("a message", text))?;
        journal.write(&Line::Offered {
            id: id.clone(),
            from: message.from.key.to_hex(),
            again: message.again,
            process,
            number,
        })?;
        message.taken().await.during("taking")?;
        journal.write(&Line::Taken { id })?;
    }
    Ok(())
}

/// Sends at a rate until it is told to be quiet; then waits.
async fn send(
    peer: Peer,
    to: Vec<PublicKey>,
    rate: u32,
    journal: Arc<Journal>,
    quieted: watch::Receiver<bool>,
) -> Result<(), LoadError> {
    let process = unix_ms();
    let mut turns = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    for (number, to) in (0u64..).zip(to.iter().cycle()) {
        turns.tick().await;
        if *quieted.borrow() {
            break;
        }
        let receipt = peer
            .send(*to, format!("{process} {number}"))
            .await
            .during("sending")?;
        let id = receipt.id().as_str().to_owned();
        journal.write(&Line::Sent { id })?;
    }
    std::future::pending().await
}

/// Hears what stdin says.
async fn listen(quiet: watch::Sender<bool>) -> Result<(), LoadError> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.during("stdin")? {
        if line == QUIET {
            quiet.send_replace(true);
        }
    }
    Ok(())
}
