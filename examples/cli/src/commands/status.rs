//! `claudemesh status`: how attentive `listen` is.
//!
//! A status belongs to a session and ends with it; a command that runs for a moment cannot hold
//! one. So the wish is kept in the configuration, and the session that listens follows it.

use std::collections::BTreeMap;

use claudemesh_core::config::{Config, MeshEntry};
use claudemesh_core::id::Status;
use serde_json::json;

use crate::cli::StatusCommand;
use crate::context::Context;
use crate::exit::{Code, Failure};

/// Where the wishes stand in the configuration: mesh id → status.
const WISHES: &str = "claudemeshStatus";
type Wishes = BTreeMap<String, Status>;

/// What this mesh's `listen` is to say; idle if nothing was wished for.
pub(super) fn wished(config: &Config, mesh: &MeshEntry) -> Status {
    let wishes: Wishes = config.data().extra.get(WISHES).unwrap_or_default();
    let wish = wishes.get(mesh.mesh_id.as_str());
    wish.copied().unwrap_or_default()
}

pub(super) fn run(context: &mut Context, command: StatusCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let status = match command {
        StatusCommand::Show => wished(&context.config, &mesh),
        StatusCommand::Set { status } => {
            context.config.update(|data| {
                let mut wishes: Wishes = data.extra.get(WISHES).unwrap_or_default();
                wishes.insert(mesh.mesh_id.as_str().to_owned(), status);
                data.extra.set(WISHES, &wishes);
            })?;
            context
                .out
                .note("`claudemesh listen` follows it, also one that runs already.");
            status
        }
    };
    let answer = json!({ "mesh": mesh.slug, "status": status });
    context.out.answer(&answer, || format!("{status}\n"))?;
    Ok(Code::Ok)
}
