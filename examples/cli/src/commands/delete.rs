//! `claudemesh delete`: ends a mesh that one owns.

use std::time::Duration;

use claudemesh_core::config::{MeshEntry, SessionKeys};
use claudemesh_core::membership::Role;
use claudemesh_core::peer::Peer;
use serde_json::json;

use super::leave::purge;
use crate::cli::Delete;
use crate::context::{Context, ask, finish, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms};

/// How long the broker is waited for.
const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &mut Context, args: Delete) -> Result<Code, Failure> {
    let mesh = context.config.mesh(&args.of).cloned().ok_or_else(|| {
        let message = format!(
            "no mesh is called {:?} here; see `claudemesh list`",
            args.of
        );
        Failure::new(Code::NotFound, message)
    })?;
    let peer = context.open(&mesh, false).await?;
    let ended = end(context, &mesh, &peer, args.yes).await;
    finish(&peer).await;
    // What others read comes first: without the key nobody could say it any more.
    let ended = ended?;
    forget(context, &mesh)?;
    let slug = clean_line(&mesh.slug);
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "removed": ended.removed,
        "closed_invites": ended.closed,
    });
    context.out.answer(&answer, || match peer.log() {
        Some(_) => format!(
            "Deleted {slug}: removed {}, closed links: {}. Its keys and messages are gone from \
             this machine.\nWhat the broker keeps of it its operator deletes: `broker-min mesh \
             delete {}`\n",
            match ended.removed.len() {
                0 => "nobody".to_owned(),
                many => many.to_string(),
            },
            ended.closed,
            mesh.mesh_id
        ),
        None => format!("Forgot {slug}: its keys and messages are gone from this machine.\n"),
    })?;
    Ok(Code::Ok)
}

#[derive(Default)]
struct Ended {
    removed: Vec<String>,
    closed: usize,
}

async fn end(
    context: &Context,
    mesh: &MeshEntry,
    peer: &Peer,
    yes: bool,
) -> Result<Ended, Failure> {
    let slug = clean_line(&mesh.slug);
    let has_log = peer.log().is_some();
    if has_log {
        peer.connected_within(WAIT).await?;
        peer.sync().await?;
        let members = peer.members();
        let own = members.iter().find(|member| member.key == peer.key());
        if own.is_none_or(|member| member.role != Role::Owner) {
            let message = format!(
                "only its owner deletes {slug}; `claudemesh leave --mesh {slug} --purge` takes it \
                 off this machine"
            );
            return Err(Failure::new(Code::Permission, message));
        }
    }
    let others: Vec<_> = (peer.members().into_iter())
        .filter(|member| member.key != peer.key())
        .collect();
    if !yes {
        let what = match has_log {
            true => format!(
                "{slug} would end: {} others removed for good, every link closed, and its keys and \
                 messages deleted from this machine",
                others.len()
            ),
            false => format!(
                "The keys and messages of {slug} would be deleted from this machine; to come back \
                 you need a new link"
            ),
        };
        if !is_interactive(&context.out) {
            return Err(Failure::usage(format!("{what}. Say --yes to do it")));
        }
        if !ask(&format!("{what}. Delete it?")).await? {
            return Err(Failure::new(Code::Failed, "not deleted"));
        }
    }
    let mut ended = Ended::default();
    if !has_log {
        return Ok(ended);
    }
    let open = |peer: &Peer| {
        let invites = peer.invites().into_iter();
        invites
            .filter(|one| one.check_open(now_ms()).is_ok())
            .collect::<Vec<_>>()
    };
    ended.closed = open(peer).len();
    // The first removal closes every link; devices fall with their member.
    for member in others {
        let there = peer.members().iter().any(|one| one.key == member.key);
        if there {
            peer.remove(member.key, true).await?;
        }
        ended.removed.push(member.shown);
    }
    for invite in open(peer) {
        peer.close_invite(invite.id).await?;
    }
    Ok(ended)
}

fn forget(context: &mut Context, mesh: &MeshEntry) -> Result<(), Failure> {
    // Keys of sessions are of no use without the member's.
    if let Ok(keys) = SessionKeys::of(mesh) {
        keys.forget_all()?;
    }
    context.config.remove_mesh(mesh.mesh_id.as_str())?;
    purge(mesh)?;
    Ok(())
}
