//! `claudemesh set-url`: a mesh's broker is at another address now.

use std::time::Duration;

use claudemesh_core::session::Retry;
use serde_json::json;

use crate::cli::SetUrl;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// How long the new address may take to take this member in.
const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &mut Context, args: SetUrl) -> Result<Code, Failure> {
    let known = context.config.mesh(&args.of).cloned();
    let known = known.ok_or_else(|| {
        let message = format!(
            "no mesh is called {:?} here; see `claudemesh list`",
            args.of
        );
        Failure::new(Code::NotFound, message)
    })?;
    let before = known.broker_url.clone();
    let mut moved = known;
    moved.broker_url = args.url.to_string();
    if let Some(file) = context.config.network().ca_file() {
        moved.set_ca_file(Some(file));
    }
    if !args.unchecked {
        ask(context, &moved).await?;
    }
    let (id, url) = (moved.mesh_id.clone(), moved.broker_url.clone());
    let ca = moved.ca_file();
    context.config.update(|data| {
        if let Some(entry) = data.meshes.iter_mut().find(|entry| entry.mesh_id == id) {
            entry.broker_url.clone_from(&url);
            entry.set_ca_file(ca.as_deref());
        }
    })?;
    let answer = json!({
        "mesh": moved.slug,
        "mesh_id": moved.mesh_id,
        "broker": moved.broker_url,
        "before": before,
    });
    context.out.answer(&answer, || {
        format!(
            "The broker of {} is at {} now (before: {before}). Programs that run, such as \
             `claudemesh listen`, must be started again.\n",
            clean_line(&moved.slug),
            moved.broker_url,
        )
    })?;
    Ok(Code::Ok)
}

/// Whether the broker there takes this member in.
async fn ask(context: &Context, moved: &claudemesh_core::MeshEntry) -> Result<(), Failure> {
    let peer = context
        .builder(moved)?
        .in_memory()
        .presence(false)
        .receive(false)
        .retry(Retry::Every(250))
        .connect()
        .await?;
    let result = peer.connected_within(WAIT).await;
    peer.close(Duration::from_secs(1)).await;
    result.map_err(|error| {
        let why = Failure::from(error);
        let message = format!("{why}. Nothing was changed; --unchecked sets it all the same");
        Failure::new(why.code(), message)
    })
}
