//! `claudemesh inbox`: what is new.

use std::time::Duration;

use claudemesh_core::peer::{Peer, Received};
use tokio::time::Instant;

use crate::cli::Inbox;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};

use super::message;

/// How long the broker is asked for news if nobody wants to wait.
const GLANCE: Duration = Duration::from_secs(2);
/// How often the store is looked at while waiting; another process may write to it too.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(context: &Context, args: Inbox) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, true).await?;
    let result = show(context, &peer, &args).await;
    finish(&peer).await;
    result
}

async fn show(context: &Context, peer: &Peer, args: &Inbox) -> Result<Code, Failure> {
    let until = args.wait.map(|wait| Instant::now() + wait);
    let mut caught_up = peer
        .caught_up(GLANCE.min(args.wait.unwrap_or(GLANCE)))
        .await;
    if let (Some(until), true) = (until, caught_up.is_err() && peer.is_connected()) {
        // A long queue, and time to fetch it.
        caught_up = peer
            .caught_up(until.saturating_duration_since(Instant::now()))
            .await;
    }
    let mut messages = read(peer, args).await?;
    if let (Some(until), false) = (until, args.all) {
        while messages.is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            messages = read(peer, args).await?;
        }
    }
    if let Err(error) = caught_up
        && !peer.is_connected()
    {
        context.out.warn(&format!(
            "this is what is stored here; there may be more: {error}"
        ));
    }
    let mesh = &peer.mesh().slug;
    let answer: Vec<_> = messages.iter().map(|m| message::json(mesh, m)).collect();
    context.out.answer(&answer, || {
        let texts: Vec<String> = messages.iter().map(message::text).collect();
        texts.join("\n")
    })?;
    if messages.is_empty() && !context.out.is_json() {
        context.out.note("No new messages.");
    }
    // Only now: what could not be written out is new still.
    if !args.peek && !args.all {
        peer.take(&messages).await?;
        if messages.len() == args.limit as usize && !peer.unread(1).await?.is_empty() {
            context
                .out
                .note("There are more: run `claudemesh inbox` again.");
        }
    }
    Ok(Code::Ok)
}

async fn read(peer: &Peer, args: &Inbox) -> Result<Vec<Received>, Failure> {
    Ok(if args.all {
        peer.history(args.limit).await?
    } else {
        peer.unread(args.limit).await?
    })
}
