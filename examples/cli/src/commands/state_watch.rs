//! `claudemesh state watch`: values as they change.

use std::collections::HashMap;
use std::time::Duration;

use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::{Event, Kept, SessionError};

use super::{listen, state};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::indented;
use crate::output::{json_line, print};
use crate::signals::interrupted;

/// How long the end may take.
const PARTING: Duration = Duration::from_secs(1);
/// How often all is read again: a broker tells of a change at most once, and may not tell at all.
const AGAIN: Duration = Duration::from_secs(60);

pub(super) async fn run(context: &mut Context, key: Option<&str>) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = Peer::builder(&mesh).presence(false).connect().await?;
    let mut stop = std::pin::pin!(interrupted());
    let result = tokio::select! {
        result = follow(context, &peer, key) => result,
        () = &mut stop => Ok(Code::Ok),
    };
    peer.close(PARTING).await;
    result
}

async fn follow(context: &mut Context, peer: &Peer, key: Option<&str>) -> Result<Code, Failure> {
    let mut events = peer.events();
    let mut told = listen::Told::new(context, peer);
    let mut again = tokio::time::interval(AGAIN);
    let mut watch = Watch::default();
    loop {
        let changed = tokio::select! {
            event = events.next() => {
                let Some(event) = event else {
                    return Err(listen::ended(&mut events, peer).await);
                };
                told.event(context, peer, &event);
                match event {
                    Event::Removed { .. } | Event::Kicked => {
                        return Err(listen::why_ended(&event, peer));
                    }
                    Event::StateChanged { key: changed } => {
                        if key.is_some_and(|key| key != changed) {
                            continue;
                        }
                        Some(changed)
                    }
                    // What changed meanwhile was not told.
                    Event::Connected => key.map(str::to_owned),
                    _ => continue,
                }
            }
            _ = again.tick() => key.map(str::to_owned),
        };
        watch.look(context, peer, changed.as_deref()).await?;
    }
}

/// What was shown, or was there at the start.
#[derive(Default)]
struct Watch {
    known: HashMap<String, Kept>,
    began: bool,
}

impl Watch {
    /// Reads one value, or all, and shows what is new.
    async fn look(
        &mut self,
        context: &Context,
        peer: &Peer,
        key: Option<&str>,
    ) -> Result<(), Failure> {
        let read = match key {
            Some(key) => peer.state(key).await.map(Vec::from_iter),
            None => peer.list_state().await,
        };
        let values = match read {
            Ok(values) => values,
            Err(error @ PeerError::Session(SessionError::ValuesUnserved)) => {
                return Err(error.into());
            }
            // Without a connection all is read again when there is one.
            Err(_) if !peer.is_connected() => return Ok(()),
            Err(error) => {
                context.out.warn(&format!(
                    "a change cannot be read now, and is tried again: {error}"
                ));
                return Ok(());
            }
        };
        for value in values {
            let before = self.known.get(&value.name);
            if before.is_some_and(|before| same(before, &value)) {
                continue;
            }
            if self.began {
                show(context, &value)?;
            }
            self.known.insert(value.name.clone(), value);
        }
        if !self.began {
            self.began = true;
            context.out.note("Watching; Ctrl-C ends.");
        }
        Ok(())
    }
}

/// Whether it is the same value; that its writer is out now changes nothing of it.
fn same(before: &Kept, now: &Kept) -> bool {
    let of = |kept: &Kept| (kept.version, kept.newest, kept.protected);
    of(before) == of(now) && before.body == now.body
}

fn show(context: &Context, value: &Kept) -> Result<(), Failure> {
    if context.out.is_json() {
        return print(&json_line(&state::as_json(value))?);
    }
    let text = match &value.body {
        Ok(_) => indented(&state::plain(value)),
        Err(why) => indented(&format!("(cannot be read: {why})")),
    };
    print(&format!("{}\n{text}\n\n", state::head(value)))
}
