//! `claudemesh verify`: safety numbers.

use std::time::Duration;

use claudemesh_core::id::PublicKey;
use claudemesh_core::peer::{MemberInfo, Peer};
use serde_json::json;

use super::known;
use crate::cli::Verify;
use crate::context::{Context, finish, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// How long the broker is waited for.
const AWAY: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &Context, args: Verify) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    // Where there is no log the broker names people.
    if peer.log().is_none() {
        drop(peer.connected_within(AWAY).await);
    }
    let chosen = match peer.log() {
        Some(_) => choose(&peer, args.peer.as_deref()).await,
        None => choose_without_log(&peer, args.peer.as_deref()).await,
    };
    let own = peer.key();
    finish(&peer).await;
    let chosen = chosen?;
    let answer: Vec<_> = chosen
        .iter()
        .map(|one| {
            json!({
                "mesh": mesh.slug,
                "peer": one.shown,
                "pubkey": one.key,
                "verified": one.verified,
                "safety_number": peer.safety_number(&one.key),
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

/// Whose digits are shown.
struct Chosen {
    shown: String,
    key: PublicKey,
    verified: bool,
}

impl From<MemberInfo> for Chosen {
    fn from(member: MemberInfo) -> Self {
        Self {
            shown: member.shown,
            key: member.key,
            verified: member.verified,
        }
    }
}

/// The member that was named, or all but this one.
async fn choose(peer: &Peer, wanted: Option<&str>) -> Result<Vec<Chosen>, Failure> {
    let members = peer.members();
    let Some(wanted) = wanted else {
        let others = members.into_iter().filter(|m| m.key != peer.key());
        return Ok(others.map(Chosen::from).collect());
    };
    let key = resolve(peer, wanted).await?;
    let members = peer.members().into_iter().filter(|m| m.key == key);
    Ok(members.map(Chosen::from).collect())
}

/// The same by the keys that are known here.
async fn choose_without_log(peer: &Peer, wanted: Option<&str>) -> Result<Vec<Chosen>, Failure> {
    let wanted = match wanted {
        Some(wanted) => match known::find(peer, wanted).await? {
            Some(key) => Some(key),
            None => Some(resolve(peer, wanted).await?),
        },
        None => None,
    };
    let keys = known::keys(peer).await?;
    let mut chosen: Vec<Chosen> = (keys.iter())
        .filter(|one| wanted.is_none_or(|key| key == one.key))
        .map(|one| Chosen {
            shown: known::names(one),
            key: one.key,
            verified: false,
        })
        .collect();
    // Somebody was named by a key that was never seen.
    if let (Some(key), true) = (wanted, chosen.is_empty()) {
        chosen.push(Chosen {
            shown: key.short(),
            key,
            verified: false,
        });
    }
    Ok(chosen)
}
