//! `claudemesh topic read` and `topic tail`: what is new in one topic.

use std::time::Duration;

use claudemesh_core::id::ChannelName;
use claudemesh_core::peer::{Peer, Received};
use claudemesh_core::session::Event;

use super::arrive::arrived;
use super::read_ahead::{LOOK_AT, ReadAhead};
use super::{channel, listen, message};
use crate::cli::ReadTopic;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::output::{json_line, print};
use crate::signals::interrupted;

/// How often the store is looked at while following; another process may write to it, too.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn read(context: &Context, args: ReadTopic) -> Result<Code, Failure> {
    let name = channel::topic(&args.name)?;
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, true).await?;
    let result = show_new(context, &peer, &name, &args).await;
    finish(&peer).await;
    result
}

async fn show_new(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
    args: &ReadTopic,
) -> Result<Code, Failure> {
    let mut events = peer.events();
    arrived(context, peer, &mut events, None).await;
    let ahead = ReadAhead::of(peer.mesh());
    let mut messages = unread(peer, &ahead, name).await?;
    if messages.is_empty() && peer.is_connected() {
        // There may be a reason.
        if let Some(refused) = channel::not_in_now(peer, name).await {
            return Err(refused);
        }
    }
    let more = messages.len() > args.limit as usize;
    messages.truncate(args.limit as usize);
    let mesh = &peer.mesh().slug;
    let answer: Vec<_> = messages.iter().map(|m| message::json(mesh, m)).collect();
    context.out.answer(&answer, || {
        let texts: Vec<String> = messages.iter().map(message::text).collect();
        texts.join("\n")
    })?;
    if messages.is_empty() && !context.out.is_json() {
        context.out.note(&format!("Nothing new in {name}."));
    }
    if !args.peek {
        ahead.take(peer, &messages).await?;
        if more {
            context.out.note("There are more: run it again.");
        }
    }
    Ok(Code::Ok)
}

async fn unread(
    peer: &Peer,
    ahead: &ReadAhead,
    name: &ChannelName,
) -> Result<Vec<Received>, Failure> {
    let of_topic = |message: &Received| message.channel.as_ref() == Some(name);
    ahead.unread(peer, LOOK_AT, of_topic).await
}

pub(super) async fn tail(context: &mut Context, name: &str) -> Result<Code, Failure> {
    let name = channel::topic(name)?;
    let mesh = context.mesh()?;
    let peer = context.builder(&mesh)?.presence(false).connect().await?;
    let result = follow(context, &peer, &name).await;
    peer.close(LOOK).await;
    result
}

async fn follow(context: &mut Context, peer: &Peer, name: &ChannelName) -> Result<Code, Failure> {
    let mut events = peer.events();
    let mut told = listen::Told::new(context, peer);
    let ahead = ReadAhead::of(peer.mesh());
    let mut stop = std::pin::pin!(interrupted());
    // Without a broker it waits for one, as `listen` does; with one, it is to be in the topic.
    let checked = tokio::select! {
        refused = channel::not_in_now(peer, name) => refused,
        () = &mut stop => return Ok(Code::Ok),
    };
    if let (Some(refused), true) = (checked, peer.is_connected()) {
        return Err(refused);
    }
    let mut look = tokio::time::interval(LOOK);
    loop {
        let came = tokio::select! {
            event = events.next() => {
                let Some(event) = event else {
                    return Err(listen::ended(&mut events, peer).await);
                };
                told.event(context, peer, &event);
                if let Event::Removed { .. } | Event::Kicked = &event {
                    return Err(listen::why_ended(&event, peer));
                }
                matches!(event, Event::Received)
            }
            _ = look.tick() => true,
            () = &mut stop => return Ok(Code::Ok),
        };
        if came {
            let messages = unread(peer, &ahead, name).await?;
            show(context, peer, &ahead, &messages).await?;
        }
    }
}

/// Writes messages out, and only then takes them.
async fn show(
    context: &Context,
    peer: &Peer,
    ahead: &ReadAhead,
    messages: &[Received],
) -> Result<(), Failure> {
    let mesh = &peer.mesh().slug;
    for message in messages {
        if context.out.is_json() {
            print(&json_line(&message::json(mesh, message))?)?;
        } else {
            print(&format!("{}\n", message::text(message)))?;
        }
        ahead.take(peer, std::slice::from_ref(message)).await?;
    }
    Ok(())
}
