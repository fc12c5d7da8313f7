//! `claudemesh info`: a mesh at a glance.

use std::time::Duration;

use claudemesh_core::config::MeshEntry;
use claudemesh_core::membership::Role;
use claudemesh_core::peer::Peer;
use claudemesh_core::store::SendState;
use serde_json::json;

use super::read_ahead::ReadAhead;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms};

/// How long the broker is waited for.
const WAIT: Duration = Duration::from_secs(3);
/// Unread messages that are counted at most.
const COUNTED: u32 = 10_000;

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let connected = peer.connected_within(WAIT).await.is_ok();
    let result = show(context, &mesh, &peer, connected).await;
    finish(&peer).await;
    result
}

/// What only the broker has.
struct Kept {
    online: Option<usize>,
    state_keys: Option<usize>,
    memories: Option<usize>,
}

impl Kept {
    async fn at(peer: &Peer, connected: bool) -> Self {
        if !connected {
            return Self {
                online: None,
                state_keys: None,
                memories: None,
            };
        }
        let online = peer.peers().await.ok();
        // A broker without a log keeps these in the open, and they are not read there.
        let state = peer.list_state().await.ok();
        let memories = peer.recall("").await.ok();
        Self {
            online: online.map(|peers| peers.iter().filter(|peer| peer.online).count()),
            state_keys: state.map(|state| state.len()),
            memories: memories.map(|memories| memories.len()),
        }
    }
}

async fn show(
    context: &Context,
    mesh: &MeshEntry,
    peer: &Peer,
    connected: bool,
) -> Result<Code, Failure> {
    let kept = Kept::at(peer, connected).await;
    let members = peer.members();
    let own = members.iter().find(|member| member.key == peer.key());
    let owner = members.iter().find(|member| member.role == Role::Owner);
    let name = own
        .map(|member| member.shown.clone())
        .or_else(|| mesh.display_name.clone())
        .unwrap_or_default();
    let channels: Vec<String> = (peer.channels().iter())
        .map(|channel| channel.name.to_string())
        .collect();
    let entries = peer.log().map(|log| log.head().seq + 1);
    let now = now_ms();
    let open = peer
        .invites()
        .into_iter()
        .filter(|one| one.check_open(now).is_ok());
    let open = open.count();
    let unread = ReadAhead::of(mesh).unread(peer, COUNTED, |_| true).await?;
    let queued = peer.outbox(false).await?;
    let queued = queued.iter().filter(|row| row.state == SendState::Queued);
    let (unread, queued) = (unread.len(), queued.count());
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "broker": mesh.broker_url,
        "connected": connected,
        "display_name": name,
        "pubkey": mesh.pubkey(),
        "role": own.map(|member| member.role),
        "owner": owner.map(|member| &member.shown),
        "log_entries": entries,
        "members": members.len(),
        "online": kept.online,
        "channels": channels,
        "open_invites": open,
        "state_keys": kept.state_keys,
        "memories": kept.memories,
        "unread": unread,
        "queued": queued,
        "backed_up_at": mesh.backed_up_at(),
    });
    context.out.answer(&answer, || {
        let number = |number: Option<usize>| match number {
            Some(number) => number.to_string(),
            None => "not known".to_owned(),
        };
        let role = own.map_or_else(|| "unverified member".to_owned(), |m| m.role.to_string());
        let rows = [
            ("id", mesh.mesh_id.to_string()),
            (
                "broker",
                match connected {
                    true => clean_line(&mesh.broker_url),
                    false => format!("{} (away)", clean_line(&mesh.broker_url)),
                },
            ),
            ("you", format!("{} ({role})", clean_line(&name))),
            (
                "owner",
                owner.map_or_else(|| "not known".to_owned(), |m| clean_line(&m.shown)),
            ),
            (
                "members",
                format!("{}, online: {}", members.len(), number(kept.online)),
            ),
            (
                "log",
                match entries {
                    Some(entries) => format!("entries: {entries}"),
                    None => "none: who is a member is the broker's word alone".to_owned(),
                },
            ),
            ("channels", channels.len().to_string()),
            ("open links", open.to_string()),
            ("state keys", number(kept.state_keys)),
            ("memories", number(kept.memories)),
            ("unread", unread.to_string()),
            ("to be sent", queued.to_string()),
            (
                "backup",
                mesh.backed_up_at()
                    .map_or_else(|| "none".to_owned(), |at| clean_line(&at)),
            ),
        ];
        let lines = rows
            .into_iter()
            .map(|(name, value)| format!("  {name:<11} {value}\n"));
        format!("{}\n{}", clean_line(&mesh.slug), lines.collect::<String>())
    })?;
    Ok(Code::Ok)
}
