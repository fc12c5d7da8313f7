//! What topics and groups have in common: names, who is in, and why something is refused.

use std::time::Duration;

use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::membership::{ChannelLogError, LogError, RuleError};
use claudemesh_core::peer::{MemberInfo, Peer, PeerError};
use claudemesh_core::session::{ChannelView, SessionError};
use serde_json::{Value, json};

use crate::context::{Context, name_of};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table};

/// The topic that is meant: `#name`, or `name`.
pub(super) fn topic(text: &str) -> Result<ChannelName, Failure> {
    let text = text.trim();
    if text.starts_with('@') {
        return Err(Failure::usage(format!(
            "{text} is a group, not a topic: `claudemesh group --help`"
        )));
    }
    named('#', text)
}

/// The group that is meant: `@name`, or `name`.
pub(super) fn group(text: &str) -> Result<ChannelName, Failure> {
    let text = text.trim();
    if text.starts_with('#') {
        return Err(Failure::usage(format!(
            "{text} is a topic, not a group: `claudemesh topic --help`"
        )));
    }
    if matches!(text, "all" | "@all" | "*" | "@*") {
        return Err(Failure::usage(
            "everybody is in '*' already: `claudemesh send '*' TEXT` reaches all",
        ));
    }
    named('@', text)
}

fn named(mark: char, text: &str) -> Result<ChannelName, Failure> {
    let bare = text.strip_prefix(mark).unwrap_or(text);
    ChannelName::new(format!("{mark}{bare}")).map_err(|_| {
        Failure::usage(format!(
            "{text:?} cannot be the name: lower-case letters, digits, '.', '_' or '-', as in \
             {mark}deploys"
        ))
    })
}

/// As it is typed into a shell.
pub(super) fn typed(name: &ChannelName) -> String {
    match name.is_group() {
        true => name.to_string(),
        false => format!("'{name}'"),
    }
}

/// The commands for this kind of channel.
fn noun(name: &ChannelName) -> &'static str {
    if name.is_group() { "group" } else { "topic" }
}

/// Whose device this is, or itself: in channels are people.
pub(super) fn person(members: &[MemberInfo], key: PublicKey) -> PublicKey {
    let own = members.iter().find(|member| member.key == key);
    own.and_then(|member| member.device_of).unwrap_or(key)
}

/// Whether the peer's member is in.
pub(super) fn is_in(peer: &Peer, view: &ChannelView) -> bool {
    let me = person(&peer.members_and_former(), peer.key());
    view.members.iter().any(|(key, _)| *key == me)
}

/// What was refused, as a sentence with the next step.
pub(super) fn refused(peer: &Peer, name: &ChannelName, error: PeerError) -> Failure {
    use ChannelLogError as Log;
    let noun = noun(name);
    let PeerError::Session(session) = &error else {
        return error.into();
    };
    match session {
        SessionError::NoSuchChannel(_) | SessionError::ChannelLog(Log::UnknownChannel) => {
            unknown(name)
        }
        SessionError::NotInChannel(_) => not_in(peer, name),
        SessionError::NobodyTrusted(_) => Failure::new(
            Code::Permission,
            format!(
                "nobody who is in {name} now is trusted by you and reads encrypted channels; nothing \
                 was sent. `claudemesh members` shows whom you know here, `claudemesh trust PEER` \
                 trusts one after you compared safety numbers (`claudemesh verify PEER`); \
                 `claudemesh send --plaintext` sends it readable for the broker"
            ),
        ),
        SessionError::Refused { code, .. } if code == "forbidden" => not_in(peer, name),
        SessionError::ChannelLog(Log::NotPublic) => not_in(peer, name),
        SessionError::ChannelLog(Log::NotAllowed | Log::NoLongerAllowed) => Failure::new(
            Code::Permission,
            format!(
                "only those who lead {name}, and the mesh's owner, do this; `claudemesh {noun} \
                 members {}` shows who leads it",
                typed(name)
            ),
        ),
        SessionError::Log(LogError::Rule {
            source: RuleError::ChannelKnown,
            ..
        }) => Failure::new(
            Code::Exists,
            format!(
                "there is a {noun} {name} already; `claudemesh {noun} join {}` joins it",
                typed(name)
            ),
        ),
        _ => error.into(),
    }
}

fn unknown(name: &ChannelName) -> Failure {
    let makes = match name.is_group() {
        true => "join",
        false => "create",
    };
    let (noun, typed) = (noun(name), typed(name));
    Failure::new(
        Code::NotFound,
        format!(
            "this mesh has no {noun} {name}; `claudemesh {noun} list` shows them, `claudemesh \
             {noun} {makes} {typed}` makes it"
        ),
    )
}

/// This peer is not in the channel; how it gets in depends on the channel.
pub(super) fn not_in(peer: &Peer, name: &ChannelName) -> Failure {
    let (noun, typed) = (noun(name), typed(name));
    let known = peer.channels().into_iter().find(|c| c.name == *name);
    let message = match known {
        None => return unknown(name),
        Some(channel) if channel.public => {
            format!("you are not in {name}; `claudemesh {noun} join {typed}` joins it")
        }
        Some(channel) => {
            let members = peer.members_and_former();
            let lead = name_of(&members, &channel.lead).unwrap_or_else(|| channel.lead.short());
            let own = members.iter().find(|member| member.key == peer.key());
            let own = own.map_or_else(|| "YOU".to_owned(), |own| own.shown.clone());
            format!(
                "you are not in {name}, which is private; {} made it and can take you in: \
                 `claudemesh topic invite {typed} {}`",
                clean_line(&lead),
                clean_line(own.split('/').next().unwrap_or_default())
            )
        }
    };
    Failure::new(Code::Permission, message)
}

/// Why this peer can say nothing there: the log does not have it in.
pub(super) async fn not_in_now(peer: &Peer, name: &ChannelName) -> Option<Failure> {
    match peer.channel(name).await {
        Ok(view) if is_in(peer, &view) => None,
        Ok(_) => Some(not_in(peer, name)),
        Err(error) => Some(refused(peer, name, error)),
    }
}

pub(super) async fn join(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
) -> Result<Code, Failure> {
    peer.sync().await?;
    let joined = match peer.join_channel(name).await {
        Ok(()) => true,
        Err(PeerError::Session(SessionError::ChannelLog(ChannelLogError::AlreadyIn))) => false,
        Err(error) => return Err(refused(peer, name, error)),
    };
    let answer = json!({ "channel": name, "joined": joined });
    context.out.answer(&answer, || match joined {
        true => format!(
            "Joined {name}; what is said there from now on comes to you.\n  claudemesh send {} \
             'hello'\n",
            typed(name)
        ),
        false => format!("You are in {name} already.\n"),
    })?;
    Ok(Code::Ok)
}

pub(super) async fn leave(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
) -> Result<Code, Failure> {
    peer.sync().await?;
    let before = peer.channel(name).await;
    let left = peer.leave_channel(name).await;
    left.map_err(|error| match error {
        PeerError::Session(SessionError::ChannelLog(ChannelLogError::NotIn)) => {
            Failure::new(Code::NotFound, format!("you are not in {name}"))
        }
        error => refused(peer, name, error),
    })?;
    let answer = json!({ "channel": name, "left": true });
    context.out.answer(&answer, || {
        format!("Left {name}; what is said there from now on you cannot read.\n")
    })?;
    let me = person(&peer.members_and_former(), peer.key());
    let stay = before.map(|view| view.members).unwrap_or_default();
    let mut stay = stay.iter().filter(|(key, _)| *key != me).peekable();
    if !name.is_group() && stay.peek().is_some() && !stay.any(|(_, lead)| *lead) {
        context.out.note(&format!(
            "Nobody leads it now; the mesh's owner can change that: claudemesh topic invite {} \
             PEER --lead",
            typed(name)
        ));
    }
    Ok(Code::Ok)
}

pub(super) async fn members(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
) -> Result<Code, Failure> {
    // Fetches the logs, too; without a broker, what is held is told.
    let view = peer.channel(name).await;
    let view = view.map_err(|error| refused(peer, name, error))?;
    let fresh = peer.connected_within(Duration::ZERO).await;
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    let known = peer.members();
    let me = person(&known, peer.key());
    let mut rows: Vec<(String, PublicKey, bool)> = (view.members.iter())
        .map(|(key, lead)| {
            let shown = name_of(&known, key).unwrap_or_else(|| key.short());
            (shown, *key, *lead)
        })
        .collect();
    rows.sort_by_key(|(name, key, _)| (name.to_lowercase(), *key));
    let answer: Vec<Value> = (rows.iter())
        .map(|(name, key, lead)| json!({ "name": name, "pubkey": key, "lead": lead }))
        .collect();
    context.out.answer(&answer, || {
        let cells = rows.iter().map(|(name, key, lead)| {
            let you = if *key == me { " (you)" } else { "" };
            let lead = if *lead { "lead" } else { "" };
            vec![
                format!("{}{you}", clean_line(name)),
                key.short(),
                lead.to_owned(),
            ]
        });
        table(&["NAME", "KEY", ""], cells.collect())
    })?;
    Ok(fresh.map_or(Code::Network, |()| Code::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_with_and_without_their_mark() {
        assert_eq!(topic("deploys").unwrap().as_str(), "#deploys");
        assert_eq!(topic(" #deploys").unwrap().as_str(), "#deploys");
        assert_eq!(group("oncall").unwrap().as_str(), "@oncall");
        assert_eq!(group("@oncall").unwrap().as_str(), "@oncall");
        for bad in ["@oncall", "", "#", "##a", "A b", "*", "$state"] {
            assert_eq!(topic(bad).unwrap_err().code(), Code::Usage, "{bad}");
        }
        for bad in ["#deploys", "", "@", "@@a", "all", "@all", "*"] {
            assert_eq!(group(bad).unwrap_err().code(), Code::Usage, "{bad}");
        }
    }
}
