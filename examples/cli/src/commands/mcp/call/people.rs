//! `list_peers`, `set_summary`, `set_status` and `mesh_info`.

use claudemesh_core::id::{PublicKey, Status};
use claudemesh_core::peer::{MemberInfo, Peer, PeerInfo, SessionInfo};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::link::Joined;
use super::{Answer, Nothing};
use crate::agent::frame::quoted;
use crate::exit::Failure;
use crate::format::{ago, short};

/// Peers in one answer at most.
const MOST: usize = 100;
/// Agents of one peer that are shown.
const SESSIONS: usize = 8;
/// Characters of a summary that are shown.
const SUMMARY: usize = 160;
/// Unread messages that are counted.
const COUNT: u32 = 100;

pub(super) async fn list(peer: &Peer, _: Nothing) -> Result<Answer, Failure> {
    let own = peer.key();
    let asked = peer.peers().await;
    let sessions = peer.sessions().await.unwrap_or_default();
    let mut rows: Vec<Value> = match &asked {
        Ok(peers) => {
            let mut peers: Vec<&PeerInfo> = peers.iter().collect();
            peers.sort_by_key(|peer| (!peer.online, peer.name.to_lowercase(), peer.key));
            peers
                .into_iter()
                .map(|peer| row(peer, own, &sessions))
                .collect()
        }
        Err(_) => peer.members().iter().map(|m| offline(m, own)).collect(),
    };
    let of = rows.len();
    rows.truncate(MOST);
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    let mut answer = Map::new();
    if of > rows.len() {
        lines.push(format!(
            "…and {} more; write to them by name",
            of - rows.len()
        ));
        answer.insert("of".to_owned(), json!(of));
    }
    if let Err(error) = &asked {
        lines.push(format!("Who is online is not known: {error}"));
        answer.insert("away".to_owned(), json!(error.to_string()));
    }
    answer.insert("peers".to_owned(), json!(rows));
    Ok(Answer::new(lines.join("\n"), Value::Object(answer)))
}

fn row(peer: &PeerInfo, own: PublicKey, sessions: &[SessionInfo]) -> Value {
    let mut row = Map::new();
    row.insert("name".to_owned(), json!(peer.name));
    row.insert("key".to_owned(), json!(peer.key.short()));
    row.insert("online".to_owned(), json!(peer.online));
    if let Some(status) = peer.status {
        row.insert("status".to_owned(), json!(status));
    }
    let of_peer = sessions
        .iter()
        .filter(|session| session.member == peer.key && session.online);
    let of_peer = of_peer.take(SESSIONS).map(|session| {
        json!({ "to": session.shown, "status": session.status, "woken_by": session.wake.as_str() })
    });
    let of_peer: Vec<Value> = of_peer.collect();
    if !of_peer.is_empty() {
        row.insert("agents".to_owned(), json!(of_peer));
    }
    if let (Some(text), true) = (&peer.summary, peer.online) {
        row.insert("summary".to_owned(), json!(short(text, SUMMARY)));
        if !peer.summary_protected {
            row.insert("summary_protected".to_owned(), json!(false));
        }
    }
    if let (Some(seen), false) = (peer.last_seen, peer.online) {
        row.insert("seen".to_owned(), json!(ago(seen)));
    }
    if !peer.verified {
        row.insert("verified".to_owned(), json!(false));
    }
    if peer.key == own {
        row.insert("you".to_owned(), json!(true));
    }
    Value::Object(row)
}

fn offline(member: &MemberInfo, own: PublicKey) -> Value {
    let mut row = json!({ "name": member.shown, "key": member.key.short() });
    if let (Some(row), true) = (row.as_object_mut(), member.key == own) {
        row.insert("you".to_owned(), json!(true));
    }
    row
}

/// A row, for a model that sees the text alone.
fn line(row: &Value) -> String {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let is = |name: &str, wanted: bool| row.get(name) == Some(&json!(wanted));
    let mut line = vec![format!(
        "{} ({})",
        quoted(text("name").unwrap_or_default()),
        text("key").unwrap_or_default()
    )];
    line.extend(is("you", true).then(|| "you".to_owned()));
    line.extend(is("verified", false).then(|| "UNVERIFIED".to_owned()));
    match (is("online", true), text("seen")) {
        (true, _) => line.push(format!("online, {}", text("status").unwrap_or("idle"))),
        (false, Some(seen)) => line.push(format!("offline, seen {seen}")),
        (false, None) if is("online", false) => line.push("offline".to_owned()),
        (false, None) => {}
    }
    line.extend(text("summary").map(|text| format!("says: {}", quoted(text))));
    let agents = row.get("agents").and_then(Value::as_array);
    for agent in agents.into_iter().flatten() {
        let text = |name: &str| agent.get(name).and_then(Value::as_str).unwrap_or_default();
        line.push(format!("agent {} {}", quoted(text("to")), text("status")));
    }
    line.join(", ")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetSummary {
    summary: String,
}

pub(super) async fn set_summary(peer: &Peer, args: SetSummary) -> Result<Answer, Failure> {
    // Empty: nothing is said any more.
    let text = match args.summary.trim() {
        "" => String::new(),
        text => crate::cli::summary(text).map_err(Failure::usage)?,
    };
    peer.set_summary(text.as_str()).await?;
    Ok(Answer::new("Said.", json!({ "summary": text })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetStatus {
    status: String,
}

pub(super) async fn set_status(joined: &Joined, args: SetStatus) -> Result<Answer, Failure> {
    let status: Status = args.status.parse()?;
    joined.mood.say(&joined.peer, status).await?;
    let text = match status {
        Status::Idle => "idle: messages come as they are sent",
        Status::Working | Status::Dnd => "only urgent messages come until you are idle again",
    };
    Ok(Answer::new(text, json!({ "status": status })))
}

pub(super) async fn info(joined: &Joined, channel: bool, _: Nothing) -> Result<Answer, Failure> {
    let peer = &joined.peer;
    let members = peer.members_and_former();
    let own = members.iter().find(|member| member.key == peer.key());
    let name = own.map(|own| own.shown.clone());
    let unread = peer.unread(COUNT).await?.len();
    let waking = if channel {
        "channel pushes"
    } else {
        "tools and hooks"
    };
    let json = json!({
        "mesh": peer.mesh().slug,
        "broker": peer.mesh().broker_url,
        "you": name,
        "key": peer.key(),
        "address": joined.shown(),
        "session": joined.address.name(),
        "role": own.filter(|own| !own.removed).map(|own| own.role),
        "verified": own.is_some_and(|own| own.verified),
        "connection": peer.connection().to_string(),
        "connected": peer.is_connected(),
        "unread": unread,
        "members": peer.members().len(),
        "waking": waking,
    });
    let text = format!(
        "You are {} ({}) in the mesh {} of {} members.\n{}; unread: {unread}; told by {waking}.",
        quoted(&joined.shown()),
        peer.key().short(),
        quoted(&peer.mesh().slug),
        peer.members().len(),
        peer.connection()
    );
    Ok(Answer::new(text, json))
}
