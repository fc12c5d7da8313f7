//! `claudemesh forget`: what was remembered, no more.

use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::SessionError;
use serde_json::json;

use super::kept;
use crate::cli::Forget;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, args: Forget) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let forgotten = forget(&peer, &args.id).await;
    finish(&peer).await;
    let id = forgotten?;
    let answer = json!({ "memory_id": id, "forgotten": true });
    context
        .out
        .answer(&answer, || format!("Forgotten: {}\n", clean_line(&id)))?;
    Ok(Code::Ok)
}

async fn forget(peer: &Peer, wanted: &str) -> Result<String, Failure> {
    let all = peer.recall("").await?;
    let memory = kept::find(
        &all,
        |memory| &memory.name,
        wanted,
        "memories",
        "`claudemesh recall`",
    )?;
    match peer.forget(&memory.name).await {
        Ok(()) => Ok(memory.name.clone()),
        Err(PeerError::Session(SessionError::Refused { code, .. })) if code == "forbidden" => {
            let message = format!(
                "it is forgotten by who wrote it, {}, and by the owner and admins of the mesh: ask \
                 one of them",
                kept::writer(memory)
            );
            Err(Failure::new(Code::Permission, message))
        }
        Err(error) => Err(error.into()),
    }
}
