//! `claudemesh wait`: ends when a message is there. Takes nothing.

use std::time::Duration;

use claudemesh_core::id::{PublicKey, Wake};
use claudemesh_core::peer::{Peer, Received};
use claudemesh_core::session::{Event, Retry};
use serde_json::json;
use tokio::time::Instant;

use super::read_ahead::{LOOK_AT, ReadAhead};
use crate::agent::address;
use crate::agent::frame;
use crate::cli::Wait;
use crate::context::{Context, finish, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::signals::interrupted;

/// How often the store is looked at; another process may write to it.
const LOOK: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context, args: Wait) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let found = address::find(&mesh, context.named(), None)?;
    let receives = !found.as_ref().is_some_and(|found| found.lives);
    let builder = context
        .bare_builder(&mesh)
        .presence(false)
        .receive(receives);
    let builder = match &found {
        Some(found) if found.lives => found.attach(builder),
        // It is the session, as long as it waits.
        Some(found) => found.attach(builder).presence(true).wake(Wake::Wait),
        None => builder,
    };
    // It may wait for long: it comes back by itself, and not all at once with others.
    let peer = builder.retry(Retry::Backoff).connect().await?;
    let result = wait(context, &peer, &args, found.is_some()).await;
    finish(&peer).await;
    result
}

async fn wait(context: &Context, peer: &Peer, args: &Wait, own: bool) -> Result<Code, Failure> {
    let from = match &args.from {
        Some(name) => Some(resolve(peer, name).await?),
        None => None,
    };
    let until = Instant::now() + args.timeout;
    let ahead = (!own).then(|| ReadAhead::of(peer.mesh()));
    let mut events = peer.events();
    let mut stop = std::pin::pin!(interrupted());
    loop {
        let unread = unread(peer, ahead.as_ref(), from).await?;
        if let Some(first) = unread.first() {
            return there(context, first, unread.len());
        }
        if Instant::now() >= until {
            let from = args
                .from
                .as_deref()
                .map(|name| format!(" from {}", clean_line(name)));
            let from = from.unwrap_or_default();
            let away = match peer.is_connected() || own {
                true => String::new(),
                false => format!("; the broker is away: {}", peer.connection()),
            };
            let message = format!("no message{from} came in this time{away}");
            return Err(Failure::new(Code::NotFound, message));
        }
        let look = Instant::now() + LOOK;
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Removed { reason }) => return Err(Failure::new(
                    Code::Auth,
                    format!("you are not in this mesh any more: {}", clean_line(&reason)),
                )),
                Some(_) => {}
                None => tokio::time::sleep_until(look).await,
            },
            () = tokio::time::sleep_until(look.min(until)) => {}
            () = &mut stop => return Err(Failure::new(Code::Failed, "interrupted")),
        }
    }
}

async fn unread(
    peer: &Peer,
    ahead: Option<&ReadAhead>,
    from: Option<PublicKey>,
) -> Result<Vec<Received>, Failure> {
    let wanted =
        |message: &Received| !message.muted && from.is_none_or(|from| message.from.key == from);
    match ahead {
        Some(ahead) => ahead.unread(peer, LOOK_AT, wanted).await,
        None => {
            let mut unread = peer.unread(LOOK_AT).await?;
            unread.retain(wanted);
            Ok(unread)
        }
    }
}

fn there(context: &Context, first: &Received, unread: usize) -> Result<Code, Failure> {
    let answer = json!({
        "unread": unread,
        "message_id": first.id,
        "from_name": first.from.name,
        "from_pubkey": first.from.key,
        "verified": first.from.verified,
    });
    context.out.answer(&answer, || {
        format!(
            "Unread: {unread}, the first from {}.\n",
            frame::sender(first)
        )
    })?;
    Ok(Code::Ok)
}
