//! `claudemesh profile`: what the broker keeps of a member beside the membership log.

use claudemesh_core::config::MeshEntry;
use claudemesh_core::{JoinError, MemberProfile, ProfileChange};
use serde_json::{Value, json};

use crate::cli::{MessageMode, Profile};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// Digits of a key by which a member may be named.
const DIGITS: usize = 4;
/// Ids that are named at most where several members are meant.
const NAMED: usize = 8;

pub(super) async fn run(context: &Context, args: Profile) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let change = ProfileChange {
        name: args.name,
        role_tag: args.role_tag,
        groups: args.groups.as_deref().map(groups).transpose()?,
        message_mode: args
            .message_mode
            .map(|mode: MessageMode| mode.as_str().to_owned()),
    };
    let all = context.config.member_profiles(&mesh).await?;
    let mut shown = find(&mesh, all, args.member.as_deref())?;
    let changed = change != ProfileChange::default();
    if changed {
        let asked = context.config.change_profile(&mesh, &shown.id, &change);
        let now = asked.await.map_err(explain)?;
        if let Some(now) = now {
            // A broker of the existing system leaves out here what it told before.
            let (key, online) = (now.key.or(shown.key), now.online || shown.online);
            shown = now;
            (shown.key, shown.online) = (key, online);
        }
    }
    let mut answer = as_json(&shown);
    answer["changed"] = changed.into();
    context.out.answer(&answer, || as_text(&shown))?;
    Ok(Code::Ok)
}

/// `name[:role]` with commas between them.
fn groups(text: &str) -> Result<Vec<(String, Option<String>)>, Failure> {
    let parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    let parts = parts.map(|part| {
        let (name, role) = match part.split_once(':') {
            Some((name, role)) => (name.trim(), Some(role.trim())),
            None => (part, None),
        };
        let name = name.trim_start_matches('@');
        if name.is_empty() || role == Some("") {
            let message = format!("--groups: {part:?} is no group; write ops or ops:lead");
            return Err(Failure::usage(message));
        }
        Ok((name.to_owned(), role.map(str::to_owned)))
    });
    parts.collect()
}

/// Oneself, or who is meant.
fn find(
    mesh: &MeshEntry,
    all: Vec<MemberProfile>,
    wanted: Option<&str>,
) -> Result<MemberProfile, Failure> {
    let fits = |one: &MemberProfile| match wanted {
        None => one.key == Some(mesh.pubkey()) || one.id == mesh.member_id,
        Some(text) => {
            let digits = text.len() >= DIGITS;
            let key = one.key.map(|key| key.to_hex());
            one.name == text
                || one.id.as_str() == text
                || (digits && key.is_some_and(|key| key.starts_with(&text.to_lowercase())))
        }
    };
    let mut found: Vec<_> = all.into_iter().filter(fits).collect();
    match (found.len(), wanted) {
        (1, _) => {}
        (0, None) => {
            let message = "the broker does not show you among the members; `claudemesh doctor` \
                           looks closer";
            return Err(Failure::new(Code::NotFound, message));
        }
        (0, Some(text)) => {
            let message = format!(
                "the broker shows no member called {text:?}; `claudemesh members` lists them"
            );
            return Err(Failure::new(Code::NotFound, message));
        }
        (many, _) => {
            let ids = found.iter().take(NAMED).map(|one| one.id.as_str());
            let ids = ids.collect::<Vec<_>>().join(", ");
            let more = if many > NAMED { ", …" } else { "" };
            let message = format!(
                "{many} members are meant by that; name the broker's id of one: {}{more}",
                clean_line(&ids)
            );
            return Err(Failure::usage(message));
        }
    }
    Ok(found.swap_remove(0))
}

/// What to do where the broker does not do it.
fn explain(error: JoinError) -> Failure {
    match &error {
        JoinError::Refused { code, .. } if code == "in_log" => Failure::new(
            Code::Permission,
            "this member's name stands in the mesh's membership log, which only its people sign; \
             nothing was changed. For another name: leave, and join by a new link (`claudemesh \
             leave`, `claudemesh join LINK --name NAME`); an owner hands the mesh over before \
             (`claudemesh owner transfer`). Roles are changed by `claudemesh role`",
        ),
        _ => Failure::from(error),
    }
}

fn as_json(one: &MemberProfile) -> Value {
    let group = |(name, role): &(String, Option<String>)| json!({ "name": name, "role": role });
    json!({
        "member_id": one.id,
        "pubkey": one.key,
        "name": one.name,
        "role_tag": one.role_tag,
        "groups": one.groups.iter().map(group).collect::<Vec<_>>(),
        "message_mode": one.message_mode,
        "permission": one.permission,
        "online": one.online,
    })
}

fn as_text(one: &MemberProfile) -> String {
    let groups = one.groups.iter().map(|(name, role)| match role {
        Some(role) => format!("{name}:{role}"),
        None => name.clone(),
    });
    let groups = groups.collect::<Vec<_>>().join(", ");
    let or = |text: &str| match text {
        "" => "-".to_owned(),
        text => clean_line(text),
    };
    format!(
        "{}\n  tag       {}\n  groups    {}\n  messages  {}\n  may       {}\n  id        {}\n",
        clean_line(&one.name),
        or(one.role_tag.as_deref().unwrap_or_default()),
        or(&groups),
        clean_line(&one.message_mode),
        clean_line(&one.permission),
        one.id,
    )
}
