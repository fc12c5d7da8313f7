//! `claudemesh inbox`: what is new.

use std::time::Duration;

use claudemesh_core::peer::{Peer, Received};
use tokio::time::Instant;

use crate::cli::Inbox;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};

use super::arrive::arrived;
use super::message;
use super::read_ahead::ReadAhead;

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
    let mut events = peer.events();
    arrived(context, peer, &mut events, args.wait).await;
    let ahead = ReadAhead::of(peer.mesh());
    let mut messages = read(peer, &ahead, args).await?;
    if let (Some(until), false) = (until, args.all) {
        while messages.is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            messages = read(peer, &ahead, args).await?;
        }
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
        ahead.take(peer, &messages).await?;
        let full = messages.len() == args.limit as usize;
        if full && !ahead.unread(peer, 1, |_| true).await?.is_empty() {
            context
                .out
                .note("There are more: run `claudemesh inbox` again.");
        }
    }
    Ok(Code::Ok)
}

async fn read(peer: &Peer, ahead: &ReadAhead, args: &Inbox) -> Result<Vec<Received>, Failure> {
    Ok(if args.all {
        peer.history(args.limit).await?
    } else {
        ahead.unread(peer, args.limit, |_| true).await?
    })
}
