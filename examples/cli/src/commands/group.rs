//! `claudemesh group`: who is called by one name.

use claudemesh_core::membership::{LogError, RuleError};
use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::SessionError;
use serde_json::json;

use super::{channel, channel_list};
use crate::cli::GroupCommand;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};

pub(super) async fn run(context: &Context, command: GroupCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match &command {
        GroupCommand::List => channel_list::list(context, &peer, '@').await,
        GroupCommand::Join { name } => join(context, &peer, name).await,
        GroupCommand::Leave { name } => leave(context, &peer, name).await,
        GroupCommand::Members { name } => members(context, &peer, name).await,
    };
    finish(&peer).await;
    result
}

/// Joins, or makes the group.
async fn join(context: &Context, peer: &Peer, name: &str) -> Result<Code, Failure> {
    let name = channel::group(name)?;
    peer.sync().await?;
    // Without a log there is nothing to be made: whoever joins is in.
    if peer.log().is_none() || peer.channels().iter().any(|group| group.name == name) {
        return channel::join(context, peer, &name).await;
    }
    match peer.create_channel(&name, true).await {
        Ok(()) => {}
        // Somebody else was faster.
        Err(PeerError::Session(SessionError::Log(LogError::Rule {
            source: RuleError::ChannelKnown,
            ..
        }))) => return channel::join(context, peer, &name).await,
        Err(error) => return Err(channel::refused(peer, &name, error)),
    }
    let answer = json!({ "channel": name, "joined": true, "created": true });
    context.out.answer(&answer, || {
        format!("Made {name}, with you in it; others join by `claudemesh group join {name}`.\n")
    })?;
    Ok(Code::Ok)
}

async fn leave(context: &Context, peer: &Peer, name: &str) -> Result<Code, Failure> {
    channel::leave(context, peer, &channel::group(name)?).await
}

async fn members(context: &Context, peer: &Peer, name: &str) -> Result<Code, Failure> {
    channel::members(context, peer, &channel::group(name)?).await
}
