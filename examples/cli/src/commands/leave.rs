//! `claudemesh leave`: goes out of a mesh, for good.

use claudemesh_core::config::MeshEntry;
use claudemesh_core::membership::Role;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::cli::Leave;
use crate::context::{Context, ask, finish, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &mut Context, args: Leave) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let slug = clean_line(&mesh.slug);
    // A store that does not open is no reason to stay.
    let peer = context.open(&mesh, false).await.ok();
    let owner = peer.as_ref().is_some_and(is_owner);
    if !args.yes {
        let purge = if args.purge { " and its messages" } else { "" };
        let what = if owner {
            format!(
                "You own {slug}. Its owner key{purge} would be deleted from this machine, and the \
                 mesh would have no owner until the recovery key is used. Leave it?"
            )
        } else {
            format!(
                "Your key for {slug}{purge} would be deleted from this machine; to come back you \
                 need a new link. Leave it?"
            )
        };
        let leaves = if is_interactive(&context.out) {
            ask(&what).await?
        } else {
            let message = format!("{what} Say --yes to do it");
            end(peer.as_ref()).await;
            return Err(Failure::usage(message));
        };
        if !leaves {
            end(peer.as_ref()).await;
            return Err(Failure::new(Code::Failed, "not left"));
        }
    }
    let told = if owner {
        context
            .out
            .note("An owner cannot be removed: the mesh keeps you in its list of members.");
        false
    } else {
        tell(context, &mesh, peer.as_ref()).await
    };
    end(peer.as_ref()).await;
    context.config.remove_mesh(mesh.mesh_id.as_str())?;
    let purged = args.purge && purge(&mesh)?;
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "removed_from_log": told,
        "purged": purged,
    });
    context.out.answer(&answer, || {
        let kept = match mesh.data_dir() {
            Some(dir) if !purged && dir.exists() => {
                format!("Its messages are still in {}.\n", dir.display())
            }
            _ => String::new(),
        };
        format!("Left {slug}.\n{kept}")
    })?;
    Ok(Code::Ok)
}

fn is_owner(peer: &Peer) -> bool {
    let members = peer.members();
    members
        .iter()
        .any(|member| member.key == peer.key() && member.role == Role::Owner)
}

/// Says in the membership log that this member is out; without a broker the others are not told.
async fn tell(context: &Context, mesh: &MeshEntry, peer: Option<&Peer>) -> bool {
    let Some(peer) = peer.filter(|peer| peer.log().is_some()) else {
        return false;
    };
    match peer.remove(peer.key(), false).await {
        Ok(()) => true,
        Err(error) => {
            context.out.warn(&format!(
                "the others could not be told ({error}); they see you as a member of {} until its \
                 owner removes you",
                clean_line(&mesh.slug)
            ));
            false
        }
    }
}

async fn end(peer: Option<&Peer>) {
    if let Some(peer) = peer {
        finish(peer).await;
    }
}

pub(super) fn purge(mesh: &MeshEntry) -> Result<bool, Failure> {
    let Some(dir) = mesh.data_dir().filter(|dir| dir.exists()) else {
        return Ok(false);
    };
    std::fs::remove_dir_all(dir).map_err(|error| {
        let message = format!(
            "the mesh was left, but {} cannot be deleted: {error}",
            dir.display()
        );
        Failure::new(Code::Io, message)
    })?;
    Ok(true)
}
