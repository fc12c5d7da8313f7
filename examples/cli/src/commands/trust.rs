//! `claudemesh trust`: what this machine holds on to, whatever the broker says.

use claudemesh_core::session::Event;
use serde_json::json;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let mut events = peer.events();
    let fresh = peer.sync().await;
    let pinned = peer.pinned().await?;
    let log = peer.log();
    finish(&peer).await;
    let mut lies = Vec::new();
    // Closed, the peer has no more to tell: the stream ends.
    while let Some(event) = events.next().await {
        if let Event::LiedTo(lie) = event {
            lies.push(lie.to_string());
        }
    }
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    let owner = log.as_ref().map(|log| log.roster().owner());
    let recovery = log
        .as_ref()
        .is_some_and(|log| log.roster().recovery().is_some());
    let head = log.as_ref().map(|log| log.head());
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "known_since": mesh.joined_at,
        "owner": owner,
        "recovery_key": recovery,
        "log_entries": head.map(|head| head.seq + 1),
        "log_head": head.map(|head| head.hash),
        "challenge_pinned": pinned.challenge,
        "broker_store": pinned.broker_store,
        "lies": lies,
    });
    context.out.answer(&answer, || {
        let none = || "none".to_owned();
        let log = head.map_or_else(none, |head| {
            format!("{} entries, newest {}", head.seq + 1, head.hash)
        });
        let challenge = if pinned.challenge { "yes" } else { "not seen yet" };
        let store = pinned.broker_store.as_deref().map_or_else(none, clean_line);
        let lies = match lies.len() {
            0 => "none seen just now".to_owned(),
            _ => clean_line(&lies.join("; ")),
        };
        format!(
            "{}\n  mesh id    {}\n  known here since {}\n  owner      {}\n  recovery   {}\n  \
             log        {log}\n  challenge  {challenge}\n  broker's store  {store}\n  lies       {lies}\n",
            clean_line(&mesh.slug),
            mesh.mesh_id,
            clean_line(&mesh.joined_at),
            owner.map_or_else(none, |owner| owner.short()),
            if recovery { "a key is set" } else { "no key" },
        )
    })?;
    Ok(match fresh {
        _ if !lies.is_empty() => Code::Failed,
        Ok(()) => Code::Ok,
        Err(_) => Code::Network,
    })
}
