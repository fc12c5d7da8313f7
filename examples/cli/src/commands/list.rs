//! `claudemesh list`: the meshes of this machine.

use serde_json::json;

use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table};

pub(super) fn run(context: &Context) -> Result<Code, Failure> {
    let meshes = context.config.meshes();
    let answer: Vec<_> = meshes
        .iter()
        .map(|mesh| {
            json!({
                "mesh": mesh.slug,
                "mesh_id": mesh.mesh_id,
                "broker": mesh.broker_url,
                "display_name": mesh.display_name,
                "pubkey": mesh.pubkey(),
                "joined_at": mesh.joined_at,
            })
        })
        .collect();
    context.out.answer(&answer, || {
        if meshes.is_empty() {
            return "No meshes yet: `claudemesh create NAME --broker URL` makes one, \
                    `claudemesh join 'LINK'` joins one.\n"
                .to_owned();
        }
        let rows = meshes.iter().map(|mesh| {
            vec![
                clean_line(&mesh.slug),
                clean_line(mesh.display_name.as_deref().unwrap_or("")),
                mesh.pubkey().short(),
                clean_line(&mesh.broker_url),
            ]
        });
        table(&["MESH", "AS", "KEY", "BROKER"], rows.collect())
    })?;
    Ok(Code::Ok)
}
