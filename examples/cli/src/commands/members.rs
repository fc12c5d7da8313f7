//! `claudemesh members`: who is in the mesh, as its membership log has it.

use claudemesh_core::KnownKey;
use claudemesh_core::peer::{MemberInfo, PeerError};
use serde_json::json;

use super::known;
use crate::cli::Members;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, table};

pub(super) async fn run(context: &Context, args: Members) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let fresh = peer.sync().await;
    let mut members = if args.all {
        peer.members_and_former()
    } else {
        peer.members()
    };
    let own = peer.key();
    let known = match peer.log() {
        Some(_) => None,
        None => Some(known::keys(&peer).await?),
    };
    finish(&peer).await;
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    if let Some(known) = known {
        without_log(context, &known)?;
        return Ok(code(&fresh));
    }
    members.sort_by_key(|member| (member.removed, member.shown.to_lowercase(), member.key));
    let answer: Vec<_> = members.iter().map(as_json).collect();
    context.out.answer(&answer, || {
        let rows = members.iter().map(|member| {
            let mut name = clean_line(&member.shown);
            if member.key == own {
                name.push_str(" (you)");
            }
            if !member.verified && !member.removed {
                name.push_str(" (unverified)");
            }
            let role = match member.removed {
                true => "removed".to_owned(),
                false => member.role.to_string(),
            };
            vec![name, member.key.short(), role, human_time(member.since)]
        });
        table(&["NAME", "KEY", "ROLE", "SINCE"], rows.collect())
    })?;
    Ok(code(&fresh))
}

fn code(fresh: &Result<(), PeerError>) -> Code {
    match fresh {
        Ok(()) => Code::Ok,
        Err(_) => Code::Network,
    }
}

/// Those whose keys are known, where no log says who is a member.
fn without_log(context: &Context, known: &[KnownKey]) -> Result<(), Failure> {
    let answer: Vec<_> = (known.iter())
        .map(|one| {
            json!({
                "name": known::names(one),
                "pubkey": one.key,
                "role": null,
                "verified": false,
                "removed": false,
                "device_of": null,
                "trust": one.trust.as_str(),
            })
        })
        .collect();
    context.out.answer(&answer, || {
        let rows = known.iter().map(|one| {
            let trust = known::in_words(one.trust).to_owned();
            vec![known::names(one), one.key.short(), trust]
        });
        table(&["NAME", "KEY", "TRUST"], rows.collect())
    })?;
    context.out.note(
        "This mesh has no membership log: these are the keys that its broker has shown. Compare \
         safety numbers (`claudemesh verify`) before you trust one (`claudemesh trust`).",
    );
    Ok(())
}

/// A member, as JSON has it.
pub(super) fn as_json(member: &MemberInfo) -> serde_json::Value {
    json!({
        "name": member.shown,
        "pubkey": member.key,
        "role": member.role,
        "verified": member.verified,
        "removed": member.removed,
        "device_of": member.device_of,
        "trust": null,
    })
}
