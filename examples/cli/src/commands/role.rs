//! `claudemesh role`: makes a member an admin, or an admin a member.

use claudemesh_core::membership::Role;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::cli::{ChangeRole, MemberRole};
use crate::context::{Context, finish, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, args: ChangeRole) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = change_role(context, &peer, &args).await;
    finish(&peer).await;
    result
}

async fn change_role(context: &Context, peer: &Peer, args: &ChangeRole) -> Result<Code, Failure> {
    let key = resolve(peer, &args.peer).await?;
    let role = role_of(args.role);
    peer.set_role(key, role).await?;
    let name = name_of(&peer.members(), &key);
    let answer = json!({ "name": name, "pubkey": key, "role": role });
    context.out.answer(&answer, || {
        let name = clean_line(name.as_deref().unwrap_or(&args.peer));
        match role {
            Role::Admin => format!("{name} is an admin now: invites and removes members.\n"),
            _ => format!("{name} is a member now; the links that {name} made are closed.\n"),
        }
    })?;
    Ok(Code::Ok)
}

pub(super) fn role_of(role: MemberRole) -> Role {
    match role {
        MemberRole::Member => Role::Member,
        MemberRole::Admin => Role::Admin,
    }
}
