//! `claudemesh remove`: takes out a member and its devices, for good.

use claudemesh_core::membership::Invite;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::cli::Remove;
use crate::context::{Context, ask, finish, is_interactive, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms};

pub(super) async fn run(context: &Context, args: Remove) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = take_out(context, &peer, &args.peer, args.yes).await;
    finish(&peer).await;
    result
}

/// Removes a member or a device, once a person agreed.
pub(super) async fn take_out(
    context: &Context,
    peer: &Peer,
    wanted: &str,
    yes: bool,
) -> Result<Code, Failure> {
    let key = resolve(peer, wanted).await?;
    let members = peer.members();
    let name = name_of(&members, &key).unwrap_or_else(|| key.short());
    let name = clean_line(&name);
    let falls: Vec<_> = members
        .iter()
        .filter(|member| member.device_of == Some(key))
        .collect();
    // Who takes out its own device shuts no doors for others.
    let own = members.iter().any(|member| {
        member.key == key && (member.key == peer.key() || member.device_of == Some(peer.key()))
    });
    let open: Vec<Invite> = peer.invites();
    let open: Vec<_> = open
        .iter()
        .filter(|invite| !own && invite.check_open(now_ms()).is_ok())
        .map(|invite| invite.id.to_hex().chars().take(12).collect::<String>())
        .collect();
    let mut what = format!("{name} ({}) would be removed for good", key.short());
    if !falls.is_empty() {
        what.push_str(&format!(", with {} devices", falls.len()));
    }
    what.push_str("; only a new link with a new key leads back");
    if !open.is_empty() {
        what.push_str(&format!(". Every open link is closed: {}", open.join(", ")));
    }
    if !yes {
        if !is_interactive(&context.out) {
            return Err(Failure::usage(format!("{what}. Say --yes to do it")));
        }
        if !ask(&format!("{what}. Do it?")).await? {
            return Err(Failure::new(Code::Failed, "not removed"));
        }
    }
    peer.remove(key, !own).await?;
    let devices: Vec<_> = falls.iter().map(|device| device.key).collect();
    let answer = json!({
        "name": name,
        "pubkey": key,
        "devices": devices,
        "closed_invites": open,
    });
    context.out.answer(&answer, || {
        let closed = match open.len() {
            0 => String::new(),
            _ => format!("Closed links: {}.\n", open.join(", ")),
        };
        format!("Removed {name}; final for this key.\n{closed}")
    })?;
    Ok(Code::Ok)
}
