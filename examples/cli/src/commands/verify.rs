//! `claudemesh verify`: safety numbers.

use claudemesh_core::peer::{MemberInfo, Peer};
use serde_json::json;

use crate::cli::Verify;
use crate::context::{Context, finish, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, args: Verify) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let chosen = choose(&peer, args.peer.as_deref()).await;
    let own = peer.key();
    finish(&peer).await;
    let chosen = chosen?;
    let answer: Vec<_> = chosen
        .iter()
        .map(|member| {
            json!({
                "mesh": mesh.slug,
                "peer": member.shown,
                "pubkey": member.key,
                "verified": member.verified,
                "safety_number": peer.safety_number(&member.key),
            })
        })
        .collect();
    context.out.answer(&answer, || {
        if chosen.is_empty() {
            return "Nobody else is in this mesh yet: `claudemesh invite` makes a link.\n"
                .to_owned();
        }
        let lines = chosen.iter().map(|member| {
            format!(
                "{} ({})\n  {}\n",
                clean_line(&member.shown),
                member.key.short(),
                peer.safety_number(&member.key)
            )
        });
        let lines: String = lines.collect();
        format!(
            "{lines}\nYour key is {}. Compare the digits with what the other side sees, in person \
             or by voice.\nThe same digits: nobody stands between you. Other digits: somebody \
             may; trust nothing that was said.\n",
            own.short()
        )
    })?;
    Ok(Code::Ok)
}

/// The member that was named, or all but this one.
async fn choose(peer: &Peer, wanted: Option<&str>) -> Result<Vec<MemberInfo>, Failure> {
    let members = peer.members();
    let Some(wanted) = wanted else {
        let others = members.into_iter().filter(|m| m.key != peer.key());
        return Ok(others.collect());
    };
    let key = resolve(peer, wanted).await?;
    let members = peer.members();
    Ok(members.into_iter().filter(|m| m.key == key).collect())
}
