//! `claudemesh join`: becomes a member by a link.

use claudemesh_core::config::MeshEntry;
use claudemesh_core::enroll::{JoinError, Preview, preview_over};
use claudemesh_core::invite::{Link, parse_link};
use serde_json::json;

use crate::cli::Join;
use crate::context::{Context, ask, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time};

pub(super) async fn run(context: &mut Context, args: Join) -> Result<Code, Failure> {
    if let Some(known) = joined_before(context, &args.link)? {
        return answer(context, &known, true);
    }
    let name = context.display_name(args.name.as_deref());
    if !args.yes && is_interactive(&context.out) {
        let offer = preview_over(&args.link, context.config.network()).await?;
        if !ask(&question(&offer, &name)).await? {
            return Err(Failure::new(Code::Failed, "not joined"));
        }
    }
    let joined = context.config.join(&args.link, &name).await;
    let mesh = joined.map_err(explained)?;
    if mesh.log != Some(true) {
        context.out.warn(
            "this link had no secret part (after '#'): others see you as unverified. Ask for the \
             whole link to be a verified member",
        );
    }
    answer(context, &mesh, false)
}

/// A broker may show the log to holders of a link that it knows and takes for open only.
fn explained(error: JoinError) -> Failure {
    match error {
        JoinError::Refused { code, .. } if code == "forbidden" => Failure::new(
            Code::Failed,
            "this link is not open: it was closed, is used up or has expired, or it was changed \
             on the way; ask for a new link",
        ),
        other => other.into(),
    }
}

/// The mesh that was joined by this very link.
fn joined_before(context: &Context, link: &str) -> Result<Option<MeshEntry>, Failure> {
    let parts = match parse_link(link).map_err(JoinError::from)? {
        Link::Token(parts) | Link::Code(parts) => parts,
        _ => return Ok(None),
    };
    let Some(fragment) = parts.fragment else {
        return Ok(None);
    };
    let id = fragment.invite().to_hex();
    let mut meshes = context.config.meshes().iter();
    Ok(meshes
        .find(|mesh| mesh.invite_id.as_deref() == Some(&id))
        .cloned())
}

fn question(offer: &Preview, name: &str) -> String {
    let role = if offer.admin { "an admin" } else { "a member" };
    let verified = if offer.verified {
        ""
    } else {
        "\n  The link has no secret part: you would be an unverified member."
    };
    format!(
        "Mesh:    {}\n  Broker:  {}\n  From:    {} (ask them whether that is their key)\n  \
         Good:    until {}{verified}\n  Join as {role}, named {name}?",
        clean_line(&offer.slug),
        offer.broker,
        offer.issuer.short(),
        human_time(offer.expires_at.saturating_mul(1_000)),
    )
}

fn answer(context: &Context, mesh: &MeshEntry, before: bool) -> Result<Code, Failure> {
    let name = mesh.display_name.as_deref().unwrap_or_default();
    let json = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "broker": mesh.broker_url,
        "display_name": name,
        "pubkey": mesh.pubkey(),
        "verified": mesh.log == Some(true),
        "already_joined": before,
    });
    context.out.answer(&json, || {
        let (slug, name) = (clean_line(&mesh.slug), clean_line(name));
        if before {
            format!("You joined {slug} by this link before, as {name}; nothing was changed.\n")
        } else {
            format!(
                "Joined {slug} as {name}.\nNext: `claudemesh peers` shows who is there, \
                 `claudemesh send NAME 'hello'` writes to one of them.\n"
            )
        }
    })?;
    Ok(Code::Ok)
}
