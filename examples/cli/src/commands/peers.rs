//! `claudemesh peers`: who is in the mesh, and who is there now.

use std::time::Duration;

use claudemesh_core::id::PublicKey;
use claudemesh_core::membership::Role;
use claudemesh_core::peer::{MemberInfo, Peer, PeerInfo, SessionInfo};
use claudemesh_core::time::iso;
use claudemesh_core::{KeyTrust, PeerError};
use serde::Serialize;
use tokio::time::Instant;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{ago, clean_line, short, table};

/// How long the keys of summaries are waited for.
const KEYS: Duration = Duration::from_secs(1);
/// How often it is asked meanwhile.
const AGAIN: Duration = Duration::from_millis(50);
/// Characters of a summary that are shown.
const SUMMARY: usize = 60;

/// A member, as JSON has it.
#[derive(Serialize)]
struct Row {
    name: String,
    pubkey: PublicKey,
    role: Option<Role>,
    verified: bool,
    /// Its name is known with another key, in a mesh without a membership log.
    key_changed: bool,
    /// What is held of its key, in a mesh without a membership log.
    trust: Option<&'static str>,
    /// None: the broker was not reached.
    online: Option<bool>,
    status: Option<String>,
    summary: Option<String>,
    /// Whether the summary is this peer's word; if not, it is the broker's.
    summary_protected: bool,
    last_seen: Option<String>,
    sessions: usize,
    verified_sessions: usize,
    capabilities: Vec<String>,
    /// Those of the sessions that have an address of their own.
    named_sessions: Vec<Session>,
    #[serde(rename = "self")]
    is_self: bool,
    #[serde(skip)]
    seen_ms: Option<u64>,
    #[serde(skip)]
    summary_locked: bool,
}

/// A session with an address of its own.
#[derive(Clone, Serialize)]
struct Session {
    /// As it is written: `member/session`.
    name: String,
    pubkey: PublicKey,
    status: Option<String>,
    /// How a message gets its attention.
    wake: &'static str,
}

impl Session {
    fn of(session: &SessionInfo) -> Self {
        Self {
            name: session.shown.clone(),
            pubkey: session.key,
            status: session.status.map(|status| status.as_str().to_owned()),
            wake: session.wake.as_str(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let wake = match self.wake {
            "none" => "nothing wakes it".to_owned(),
            wake => format!("woken by {wake}"),
        };
        vec![
            format!("  {}", clean_line(&self.name)),
            self.pubkey.short(),
            "session".to_owned(),
            "yes".to_owned(),
            self.status.clone().unwrap_or_else(|| "-".to_owned()),
            "now".to_owned(),
            wake,
        ]
    }
}

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let asked = all_readable(&peer).await;
    let own = peer.key();
    let mut rows: Vec<Row> = match &asked {
        Ok(peers) => peers.iter().map(|p| Row::new(p, own)).collect(),
        Err(_) => peer
            .members()
            .iter()
            .map(|m| Row::offline(m, own))
            .collect(),
    };
    finish(&peer).await;
    rows.sort_by(|a, b| {
        let key = |row: &Row| {
            (
                row.online != Some(true),
                row.name.to_lowercase(),
                row.pubkey,
            )
        };
        key(a).cmp(&key(b))
    });
    if let Err(error) = &asked {
        context.out.warn(&format!(
            "these are the members as known here; who is online is not known: {error}"
        ));
    }
    context.out.answer(&rows, || {
        let lines = rows.iter().flat_map(|row| {
            let sessions = row.named_sessions.iter().map(Session::cells);
            std::iter::once(row.cells()).chain(sessions)
        });
        let lines = lines.collect();
        table(
            &[
                "NAME",
                "KEY",
                "ROLE",
                "ONLINE",
                "STATUS",
                "LAST SEEN",
                "SUMMARY",
            ],
            lines,
        )
    })?;
    Ok(match asked {
        Ok(_) => Code::Ok,
        Err(PeerError::Removed(_)) => Code::Auth,
        Err(_) => Code::Network,
    })
}

/// Who is here. The key of a summary is asked for when it is seen first: then it is asked again.
async fn all_readable(peer: &Peer) -> Result<Vec<PeerInfo>, PeerError> {
    let until = Instant::now() + KEYS;
    loop {
        let peers = peer.peers().await?;
        let locked = peers.iter().any(|one| one.summary_locked && one.online);
        if !locked || Instant::now() >= until {
            return Ok(peers);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Row {
    fn new(peer: &PeerInfo, own: PublicKey) -> Self {
        Self {
            name: peer.name.clone(),
            pubkey: peer.key,
            role: peer.role,
            verified: peer.verified,
            key_changed: peer.key_changed,
            trust: peer.trust.map(KeyTrust::as_str),
            online: Some(peer.online),
            status: peer.status.map(|status| status.as_str().to_owned()),
            // A broker keeps a session for a while that may come back; its summary is old then.
            summary: peer.summary.clone().filter(|_| peer.online),
            summary_protected: peer.summary_protected && peer.online,
            last_seen: peer.last_seen.map(iso),
            sessions: peer.sessions,
            verified_sessions: peer.verified_sessions,
            capabilities: peer.capabilities.clone(),
            named_sessions: peer.named.iter().map(Session::of).collect(),
            is_self: peer.key == own,
            seen_ms: peer.last_seen,
            summary_locked: peer.summary_locked && peer.online,
        }
    }

    fn offline(member: &MemberInfo, own: PublicKey) -> Self {
        Self {
            name: member.shown.clone(),
            pubkey: member.key,
            role: Some(member.role),
            verified: member.verified,
            key_changed: false,
            trust: None,
            online: None,
            status: None,
            summary: None,
            summary_protected: false,
            last_seen: None,
            sessions: 0,
            verified_sessions: 0,
            capabilities: Vec::new(),
            named_sessions: Vec::new(),
            is_self: member.key == own,
            seen_ms: None,
            summary_locked: false,
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut name = clean_line(&self.name);
        if self.is_self {
            name.push_str(" (you)");
        }
        match self.trust {
            Some("trusted") if !self.is_self => name.push_str(" (trusted)"),
            _ if !self.verified => name.push_str(" (unverified)"),
            _ => {}
        }
        if self.key_changed {
            name.push_str(" (another key than before)");
        }
        let online = match self.online {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let seen = match (self.online, self.seen_ms) {
            (Some(true), _) => "now".to_owned(),
            (_, Some(ms)) => ago(ms),
            _ => "-".to_owned(),
        };
        vec![
            name,
            self.pubkey.short(),
            self.role.map_or("-", Role::as_str).to_owned(),
            online.to_owned(),
            self.status.clone().unwrap_or_else(|| "-".to_owned()),
            seen,
            self.summary_cell(),
        ]
    }

    fn summary_cell(&self) -> String {
        match &self.summary {
            Some(text) if self.summary_protected => short(text, SUMMARY),
            Some(text) => format!("{} (unprotected)", short(text, SUMMARY)),
            None if self.summary_locked => "(its key is not here yet)".to_owned(),
            None => "-".to_owned(),
        }
    }
}
