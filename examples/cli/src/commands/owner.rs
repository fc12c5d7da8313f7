//! `claudemesh owner`: taking a mesh back with its recovery key, or handing it over.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::enroll::RecoveryKey;
use claudemesh_core::id::MeshId;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::cli::{OwnerCommand, Recover};
use crate::context::{Context, ask, finish, is_interactive, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// Bytes that are read from stdin at most.
const MAX_KEY: u64 = 4_096;
/// How long the broker is waited for.
const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &mut Context, command: OwnerCommand) -> Result<Code, Failure> {
    match command {
        OwnerCommand::Recover(args) => recover(context, args).await,
        OwnerCommand::Transfer { peer, yes } => transfer(context, &peer, yes).await,
        OwnerCommand::Accept => accept(context).await,
    }
}

async fn transfer(context: &Context, wanted: &str, yes: bool) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = offer(context, &peer, wanted, yes).await;
    finish(&peer).await;
    result
}

async fn offer(context: &Context, peer: &Peer, wanted: &str, yes: bool) -> Result<Code, Failure> {
    let key = resolve(peer, wanted).await?;
    let name = name_of(&peer.members(), &key).unwrap_or_else(|| key.short());
    let name = clean_line(&name);
    let what = format!(
        "{name} ({}) would own the mesh, and you be an admin",
        key.short()
    );
    if !yes {
        if !is_interactive(&context.out) {
            return Err(Failure::usage(format!("{what}. Say --yes to do it")));
        }
        if !ask(&format!("{what}. Offer it?")).await? {
            return Err(Failure::new(Code::Failed, "not offered"));
        }
    }
    let receipt = peer.transfer_owner(key).await?;
    if let Ok(Err(error)) = tokio::time::timeout(WAIT, receipt.accepted()).await {
        return Err(Failure::new(Code::Failed, error.to_string()));
    }
    let answer = json!({ "name": name, "pubkey": key, "state": receipt.state().as_str() });
    context.out.answer(&answer, || {
        format!(
            "Offered to {name}, who accepts with `claudemesh owner accept`. The offer ends when \
             the members or links of the mesh change.\n"
        )
    })?;
    Ok(Code::Ok)
}

async fn accept(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, true).await?;
    // The offer may be waiting at the broker.
    drop(peer.caught_up(WAIT).await);
    let result = peer.accept_ownership().await;
    finish(&peer).await;
    result?;
    let answer = json!({ "mesh": mesh.slug, "mesh_id": mesh.mesh_id, "pubkey": peer.key() });
    context.out.answer(&answer, || {
        format!(
            "You own {} now. Its recovery key is the one that was made with it.\n",
            clean_line(&mesh.slug)
        )
    })?;
    Ok(Code::Ok)
}

async fn recover(context: &mut Context, args: Recover) -> Result<Code, Failure> {
    if args.key != "-" {
        return Err(Failure::usage(
            "the recovery key is read from stdin, never from the arguments, which others on this \
             machine can see: --key -",
        ));
    }
    let (mesh, broker, called) = match (args.mesh_id, args.broker) {
        (Some(mesh), Some(broker)) => (mesh, broker, None),
        (None, None) => {
            let known = context.mesh()?;
            let broker: BrokerUrl = known.broker_url.parse()?;
            (known.mesh_id, broker, known.display_name)
        }
        _ => return Err(Failure::usage("--mesh-id and --broker go together")),
    };
    let mesh: MeshId = mesh;
    // Who was known here by a name stays known by it.
    let name = context.display_name(args.name.or(called).as_deref());
    let key = RecoveryKey::parse(&secret()?).map_err(|_| {
        Failure::usage("this is no recovery key: it is 128 digits, as `claudemesh create` showed")
    })?;
    let entry = context.config.recover(&mesh, &broker, &key, &name).await?;
    let answer = json!({
        "mesh": entry.slug,
        "mesh_id": entry.mesh_id,
        "broker": entry.broker_url,
        "display_name": name,
        "pubkey": entry.pubkey(),
    });
    context.out.answer(&answer, || {
        format!(
            "You own {} now, as {}. The owner before is out, with all devices, and every open \
             link is closed.\nThe recovery key stays good: keep it as before.\n",
            clean_line(&entry.slug),
            clean_line(&name)
        )
    })?;
    Ok(Code::Ok)
}

fn secret() -> Result<String, Failure> {
    let mut stdin = std::io::stdin().lock();
    let mut text = String::new();
    let read = if stdin.is_terminal() {
        crate::output::hint("Recovery key (it is shown as you paste it), then Enter:");
        stdin.read_line(&mut text)
    } else {
        stdin.by_ref().take(MAX_KEY).read_to_string(&mut text)
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(
            Code::Io,
            format!("the key on stdin cannot be read: {error}"),
        )),
    }
}
