//! `claudemesh admit`, `remove` and `role`: what an owner and admins do.

use claudemesh_core::id::{Name, PublicKey};
use claudemesh_core::membership::{Invite, Role};
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::cli::{Admit, ChangeRole, MemberRole, Remove};
use crate::context::{Context, ask, finish, is_interactive, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms};

pub(super) async fn admit(context: &Context, args: Admit) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = let_in(context, &peer, &args).await;
    finish(&peer).await;
    result
}

async fn let_in(context: &Context, peer: &Peer, args: &Admit) -> Result<Code, Failure> {
    peer.sync().await?;
    let (key, known) = waiting(peer, &args.peer).await?;
    let Some(name) = args.name.clone().or(known) else {
        return Err(Failure::usage(
            "the log does not know this key's name; give it one with --name",
        ));
    };
    let (name, role) = (Name::new(name)?, role_of(args.role));
    let number = peer.safety_number(&key);
    if !args.yes && is_interactive(&context.out) {
        // That it holds its key shows only where both see the same digits.
        let question = format!(
            "{} ({})\n  {number}\nDo they see the same digits (`claudemesh verify`)? Let them in?",
            clean_line(name.as_str()),
            key.short()
        );
        if !ask(&question).await? {
            return Err(Failure::new(Code::Failed, "nobody was let in"));
        }
    }
    peer.admit(key, name.clone(), role).await?;
    let answer = json!({
        "name": name,
        "pubkey": key,
        "role": role,
        "safety_number": number,
    });
    context.out.answer(&answer, || {
        format!(
            "{} ({}) is {role} now.\n  {number}\nCompare the digits with what they see \
             (`claudemesh verify`), in person or by voice.\nOther digits: `claudemesh remove {}`.\n",
            clean_line(name.as_str()),
            key.short(),
            key.short()
        )
    })?;
    Ok(Code::Ok)
}

/// Who waits to be let in: a pending member, or one that the log does not have.
async fn waiting(peer: &Peer, wanted: &str) -> Result<(PublicKey, Option<String>), Failure> {
    let all = peer.peers().await?;
    let open = |role: Option<Role>| matches!(role, None | Some(Role::Pending));
    let mut found: Vec<_> = all.iter().filter(|p| p.name == wanted).collect();
    if found.is_empty() && wanted.len() >= 4 {
        let prefix = wanted.to_ascii_lowercase();
        let by_key = all.iter().filter(|p| p.key.to_hex().starts_with(&prefix));
        found = by_key.collect();
    }
    if found.iter().any(|peer| open(peer.role)) {
        found.retain(|peer| open(peer.role));
    }
    match found.as_slice() {
        [one] if open(one.role) => Ok((one.key, Some(one.name.clone()))),
        [one] => Err(Failure::new(
            Code::Exists,
            format!("{} is a member already", clean_line(&one.name)),
        )),
        [] => match PublicKey::from_hex(wanted) {
            Ok(key) => Ok((key, None)),
            Err(_) => Err(Failure::new(
                Code::NotFound,
                format!(
                    "nobody called {wanted:?} waits to be let in; `claudemesh peers` shows who is \
                     there. Who is offline is named by the whole key"
                ),
            )),
        },
        many => {
            let keys: Vec<String> = many.iter().map(|peer| peer.key.short()).collect();
            Err(Failure::usage(format!(
                "{wanted:?} could be {}; write the key, or more of it",
                keys.join(", ")
            )))
        }
    }
}

pub(super) async fn role(context: &Context, args: ChangeRole) -> Result<Code, Failure> {
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

fn role_of(role: MemberRole) -> Role {
    match role {
        MemberRole::Member => Role::Member,
        MemberRole::Admin => Role::Admin,
    }
}

pub(super) async fn remove(context: &Context, args: Remove) -> Result<Code, Failure> {
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
