//! `claudemesh topic`: what is talked about, and with whom.

use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::ChannelLogError;
use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::SessionError;
use serde_json::json;

use super::{channel, channel_list, history, topic_read};
use crate::cli::TopicCommand;
use crate::context::{Context, finish, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &mut Context, command: TopicCommand) -> Result<Code, Failure> {
    // These two receive messages, the others only ask.
    match command {
        TopicCommand::Read(args) => return topic_read::read(context, args).await,
        TopicCommand::Tail { name } => return topic_read::tail(context, &name).await,
        _ => {}
    }
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = ask(context, &peer, command).await;
    finish(&peer).await;
    result
}

async fn ask(context: &Context, peer: &Peer, command: TopicCommand) -> Result<Code, Failure> {
    let topic = channel::topic;
    match command {
        TopicCommand::List => channel_list::list(context, peer, '#').await,
        TopicCommand::Create { name, private } => {
            create(context, peer, &topic(&name)?, !private).await
        }
        TopicCommand::Join { name } => channel::join(context, peer, &topic(&name)?).await,
        TopicCommand::Leave { name } => channel::leave(context, peer, &topic(&name)?).await,
        TopicCommand::Members { name } => channel::members(context, peer, &topic(&name)?).await,
        TopicCommand::Invite {
            name,
            peer: who,
            lead,
        } => invite(context, peer, &topic(&name)?, &who, lead).await,
        TopicCommand::Remove { name, peer: who } => {
            remove(context, peer, &topic(&name)?, &who).await
        }
        TopicCommand::History(args) => {
            let name = topic(&args.name)?;
            history::show(context, peer, &name, args.before, args.limit).await
        }
        TopicCommand::Read(_) | TopicCommand::Tail { .. } => Ok(Code::Ok),
    }
}

async fn create(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
    public: bool,
) -> Result<Code, Failure> {
    let created = peer.create_channel(name, public).await;
    created.map_err(|error| channel::refused(peer, name, error))?;
    let answer = json!({ "channel": name, "public": public, "created": true });
    context.out.answer(&answer, || {
        let typed = channel::typed(name);
        let others = match public {
            true => format!("Every member may join: claudemesh topic join {typed}"),
            false => format!("Who is to be in it you invite: claudemesh topic invite {typed} PEER"),
        };
        format!("Made {name}, which you lead. {others}\n")
    })?;
    Ok(Code::Ok)
}

async fn invite(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
    who: &str,
    lead: bool,
) -> Result<Code, Failure> {
    peer.sync().await?;
    let key = resolve(peer, who).await?;
    let members = peer.members();
    let key = channel::person(&members, key);
    let shown = name_of(&members, &key).unwrap_or_else(|| key.short());
    let cleaned = clean_line(&shown);
    let view = peer.channel(name).await;
    let listed = view.ok().and_then(|view| {
        let found = view.members.into_iter().find(|(member, _)| *member == key);
        found.map(|(_, leads)| leads)
    });
    // Who leads stays a lead: to be invited once more takes nothing away.
    if listed.is_some_and(|leads| leads || !lead) {
        let message = format!("{cleaned} is in {name} already");
        return Err(Failure::new(Code::Exists, message));
    }
    let added = peer.add_to_channel(name, key, lead).await;
    added.map_err(|error| match error {
        PeerError::Session(SessionError::ChannelLog(ChannelLogError::NotAMember)) => Failure::new(
            Code::NotFound,
            format!(
                "{cleaned} is no verified member; who waits is let in by `claudemesh admit \
                 {cleaned}`"
            ),
        ),
        error => channel::refused(peer, name, error),
    })?;
    let answer = json!({
        "channel": name,
        "added": { "name": shown, "pubkey": key },
        "lead": lead,
    });
    context.out.answer(&answer, || {
        let leads = if lead { ", and leads it" } else { "" };
        format!("{cleaned} is in {name} now{leads}. What was said before stays closed to them.\n")
    })?;
    Ok(Code::Ok)
}

async fn remove(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
    who: &str,
) -> Result<Code, Failure> {
    peer.sync().await?;
    let key = resolve(peer, who).await?;
    let members = peer.members();
    let key = channel::person(&members, key);
    let shown = name_of(&members, &key).unwrap_or_else(|| key.short());
    let cleaned = clean_line(&shown);
    let removed = peer.remove_from_channel(name, key).await;
    removed.map_err(|error| match error {
        PeerError::Session(SessionError::ChannelLog(ChannelLogError::NotIn)) => {
            Failure::new(Code::NotFound, format!("{cleaned} is not in {name}"))
        }
        error => channel::refused(peer, name, error),
    })?;
    let answer = json!({ "channel": name, "removed": { "name": shown, "pubkey": key } });
    context.out.answer(&answer, || {
        format!("{cleaned} is out of {name}: what is said there from now on they cannot read.\n")
    })?;
    Ok(Code::Ok)
}
