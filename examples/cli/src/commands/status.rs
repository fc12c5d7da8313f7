//! `claudemesh status`: how attentive `listen` is.
//!
//! A status belongs to a session and ends with it; a command that runs for a moment cannot hold
//! one. So the wish is kept in the configuration, and the session that listens follows it.

use claudemesh_core::config::{Config, MeshEntry};
use claudemesh_core::id::Status;
use serde_json::{Map, Value, json};

use crate::cli::StatusCommand;
use crate::context::Context;
use crate::exit::{Code, Failure};

/// Where the wishes stand in the configuration: mesh id → status.
const WISHES: &str = "claudemeshStatus";

/// What this mesh's `listen` is to say; idle if nothing was wished for.
pub(super) fn wished(config: &Config, mesh: &MeshEntry) -> Status {
    let wishes = config.data().extra.get(WISHES);
    let wish = wishes.and_then(|wishes| wishes.get(mesh.mesh_id.as_str()));
    wish.and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

pub(super) fn run(context: &mut Context, command: StatusCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let status = match command {
        StatusCommand::Show => wished(&context.config, &mesh),
        StatusCommand::Set { status } => {
            context.config.update(|data| {
                let wishes = data
                    .extra
                    .entry(WISHES)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Some(wishes) = wishes.as_object_mut() {
                    wishes.insert(mesh.mesh_id.as_str().to_owned(), json!(status));
                }
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
