//! `claudemesh peers`: who is in the mesh, and who is there now.

use claudemesh_core::PeerError;
use claudemesh_core::id::PublicKey;
use claudemesh_core::membership::Role;
use claudemesh_core::peer::{MemberInfo, PeerInfo};
use claudemesh_core::time::iso;
use serde::Serialize;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{ago, clean_line, table};

/// A member, as JSON has it.
#[derive(Serialize)]
struct Row {
    name: String,
    pubkey: PublicKey,
    role: Option<Role>,
    verified: bool,
    /// None: the broker was not reached.
    online: Option<bool>,
    status: Option<String>,
    summary: Option<String>,
    summary_protected: bool,
    last_seen: Option<String>,
    sessions: usize,
    verified_sessions: usize,
    capabilities: Vec<String>,
    #[serde(rename = "self")]
    is_self: bool,
    #[serde(skip)]
    seen_ms: Option<u64>,
}

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let asked = peer.peers().await;
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
        let lines = rows.iter().map(Row::cells).collect();
        table(
            &["NAME", "KEY", "ROLE", "ONLINE", "STATUS", "LAST SEEN"],
            lines,
        )
    })?;
    Ok(match asked {
        Ok(_) => Code::Ok,
        Err(PeerError::Removed(_)) => Code::Auth,
        Err(_) => Code::Network,
    })
}

impl Row {
    fn new(peer: &PeerInfo, own: PublicKey) -> Self {
        Self {
            name: peer.name.clone(),
            pubkey: peer.key,
            role: peer.role,
            verified: peer.verified,
            online: Some(peer.online),
            status: peer.status.map(|status| status.as_str().to_owned()),
            summary: peer.summary.clone(),
            summary_protected: peer.summary_protected,
            last_seen: peer.last_seen.map(iso),
            sessions: peer.sessions,
            verified_sessions: peer.verified_sessions,
            capabilities: peer.capabilities.clone(),
            is_self: peer.key == own,
            seen_ms: peer.last_seen,
        }
    }

    fn offline(member: &MemberInfo, own: PublicKey) -> Self {
        Self {
            name: member.shown.clone(),
            pubkey: member.key,
            role: Some(member.role),
            verified: member.verified,
            online: None,
            status: None,
            summary: None,
            summary_protected: false,
            last_seen: None,
            sessions: 0,
            verified_sessions: 0,
            capabilities: Vec::new(),
            is_self: member.key == own,
            seen_ms: None,
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut name = clean_line(&self.name);
        if self.is_self {
            name.push_str(" (you)");
        }
        if !self.verified {
            name.push_str(" (unverified)");
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
        ]
    }
}
