//! The server's peer: opened in the background, and again by the next tool if that failed.

use std::sync::Arc;
use std::time::Duration;

use claudemesh_core::id::{ChannelName, Wake};
use claudemesh_core::peer::Peer;
use tokio::sync::Mutex;

use super::mood::Mood;
use crate::agent::address::Address;
use crate::agent::attention::Attention;
use crate::agent::replies::Replies;
use crate::cli::{Global, Mcp};
use crate::commands::status;
use crate::context::{Context, name_of};
use crate::exit::Failure;
use crate::output::Output;

/// The peer, and the session it is.
pub(super) struct Joined {
    pub(super) peer: Peer,
    pub(super) address: Address,
    pub(super) replies: Replies,
    pub(super) mood: Mood,
}

impl Joined {
    /// How others write to this agent: `member/session`.
    pub(super) fn shown(&self) -> String {
        let peer = &self.peer;
        let member = name_of(&peer.members_and_former(), &peer.key());
        let member = member.unwrap_or_else(|| peer.key().short());
        // Another machine may have had the name before; then it has a number here.
        let session = peer.session();
        let session = session.as_ref().map(|session| session.name().as_str());
        format!(
            "{member}/{}",
            session.unwrap_or_else(|| self.address.name())
        )
    }
}

/// How the server gets its peer.
pub(super) struct Link {
    global: Global,
    out: Output,
    summary: Option<String>,
    groups: Vec<ChannelName>,
    wake: Wake,
    turn_limit: Duration,
    joined: Mutex<Option<Arc<Joined>>>,
}

impl Link {
    pub(super) fn new(global: Global, out: Output, args: &Mcp) -> Self {
        Self {
            global,
            out,
            summary: args.summary.clone(),
            groups: args.groups.clone(),
            wake: args.wake(),
            turn_limit: args.turn_limit,
            joined: Mutex::new(None),
        }
    }

    /// The peer. The configuration is read when this is asked for first, and again as long as it
    /// names no mesh: a mesh may be joined while the server runs.
    pub(super) async fn joined(&self) -> Result<Arc<Joined>, Failure> {
        let mut joined = self.joined.lock().await;
        if let Some(joined) = &*joined {
            return Ok(Arc::clone(joined));
        }
        let context = Context::load(&self.global, &self.out)?;
        let mesh = context.mesh()?;
        let address = Address::claim(&mesh, context.named())?;
        let wished = status::wished(&context.config, &mesh);
        let builder = context.bare_builder(&mesh).status(wished);
        let peer = address.attach(builder, self.wake).connect().await?;
        if let Some(summary) = &self.summary {
            peer.set_summary(summary.as_str()).await?;
        }
        tokio::spawn(join_groups(peer.clone(), self.groups.clone()));
        let new = Arc::new(Joined {
            peer,
            address,
            replies: Replies::of_model(),
            mood: Mood::new(wished),
        });
        if let Some(attention) = Attention::of(&mesh, new.address.name()) {
            attention.clear();
            let (joined, limit) = (Arc::clone(&new), self.turn_limit);
            // Ends with the process, as the agent does.
            tokio::spawn(async move { joined.mood.follow(&joined.peer, &attention, limit).await });
        }
        *joined = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Sends what was accepted, for so long at most, and ends the peer.
    pub(super) async fn close(&self, limit: Duration) {
        // Somebody may be opening it: what that one would send, nobody has accepted yet.
        let Ok(joined) = tokio::time::timeout(limit, self.joined.lock()).await else {
            return;
        };
        if let Some(joined) = &*joined {
            joined.peer.close(limit).await;
        }
    }
}

/// The groups that the agent was launched with. What cannot be joined is not: `mesh_info` and the
/// group's members tell.
async fn join_groups(peer: Peer, groups: Vec<ChannelName>) {
    if groups.is_empty() {
        return;
    }
    let connected = peer.connected_within(Duration::from_secs(60)).await;
    if connected.is_ok() && peer.sync().await.is_ok() {
        for group in groups {
            drop(peer.join_channel(&group).await);
        }
    }
}
