//! `claudemesh trust`: what this machine holds on to, whatever the broker says.

use std::time::Duration;

use claudemesh_core::peer::Peer;
use claudemesh_core::time::iso;
use serde_json::json;

use super::known;
use crate::cli::Trust;
use crate::context::{Context, finish, resolve};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time};

/// How long the broker is waited for, whose word for who is here is needed.
const AWAY: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &Context, args: Trust) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    if let Some(wanted) = &args.peer {
        let result = say(context, &peer, wanted, !args.distrust).await;
        finish(&peer).await;
        return result;
    }
    if args.forget_lies {
        // What is found in a moment is told all the same.
        peer.forget_lies().await?;
    }
    let fresh = peer.sync().await;
    let pinned = peer.pinned().await?;
    let log = peer.log();
    let known = known::keys(&peer).await?;
    finish(&peer).await;
    let lies = peer.lies().await?;
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
    let caught: Vec<_> = (lies.iter())
        .map(|lie| json!({ "at": iso(lie.at), "what": lie.what }))
        .collect();
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
        "lies": caught,
        "keys": known.iter().map(known::as_json).collect::<Vec<_>>(),
    });
    context.out.answer(&answer, || {
        let none = || "none".to_owned();
        let log = head.map_or_else(none, |head| {
            format!("{} entries, newest {}", head.seq + 1, head.hash)
        });
        let challenge = if pinned.challenge { "yes" } else { "not seen yet" };
        let store = pinned.broker_store.as_deref().map_or_else(none, clean_line);
        let told = lies.iter().map(|lie| {
            let when = human_time(lie.at);
            format!("\n    {when}  {}", clean_line(&lie.what))
        });
        let lies = match lies.len() {
            0 => "none known".to_owned(),
            _ => told.collect::<String>(),
        };
        let keys = known.iter().map(|one| {
            let (names, trust) = (known::names(one), known::in_words(one.trust));
            format!("\n    {}  {names}: {trust}", one.key.short())
        });
        let keys = match (known.len(), &head) {
            (_, Some(_)) => "the log says whose key is whose".to_owned(),
            (0, None) => "none known".to_owned(),
            _ => keys.collect::<String>(),
        };
        format!(
            "{}\n  mesh id    {}\n  known here since {}\n  owner      {}\n  recovery   {}\n  \
             log        {log}\n  challenge  {challenge}\n  broker's store  {store}\n  keys       {keys}\n  lies       {lies}\n",
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

/// Says that a key is trusted, or that it is not.
async fn say(context: &Context, peer: &Peer, wanted: &str, trusted: bool) -> Result<Code, Failure> {
    drop(peer.connected_within(AWAY).await);
    if peer.log().is_some() {
        return Err(Failure::usage(
            "this mesh has a membership log, which says whose key is whose; who is in it needs no \
             trust beside it, and `claudemesh admit` lets others in",
        ));
    }
    let key = match known::find(peer, wanted).await? {
        Some(key) => key,
        None => resolve(peer, wanted).await?,
    };
    let names = if trusted {
        peer.trust(key).await?
    } else {
        peer.distrust(key).await?;
        Vec::new()
    };
    let answer = json!({ "pubkey": key, "trusted": trusted, "names": names });
    context.out.answer(&answer, || {
        let names: Vec<_> = names.iter().map(|name| clean_line(name.as_str())).collect();
        match (trusted, names.as_slice()) {
            (false, _) => format!(
                "{} is not trusted: what you say from now on is not sealed for it\n",
                key.short()
            ),
            (true, []) => format!("{} is trusted\n", key.short()),
            (true, names) => format!(
                "{} is trusted, and taken for {}\n",
                key.short(),
                names.join(", ")
            ),
        }
    })?;
    Ok(Code::Ok)
}
