//! `claudemesh admit`: lets in who waits.

use claudemesh_core::id::{Name, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::peer::Peer;
use serde_json::json;

use super::role::role_of;
use crate::cli::Admit;
use crate::context::{Context, ask, finish, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, args: Admit) -> Result<Code, Failure> {
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
