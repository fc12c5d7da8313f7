//! `claudemesh listen`: messages as they come.

use std::time::Duration;

use claudemesh_core::Wake;
use claudemesh_core::peer::{Events, Peer, Received};
use claudemesh_core::session::{About, Event};

use crate::cli::Listen;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::output::{Output, json_line, print};
use crate::signals::interrupted;

use super::read_ahead::ReadAhead;
use super::{message, status, summary};

/// How often the status that is wished for is read.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &mut Context, args: Listen) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let status = status::wished(&context.config, &mesh);
    let about = About {
        cwd: if args.share_cwd { folder() } else { None },
        ..About::default()
    };
    let peer = context.builder(&mesh)?;
    // Somebody watches, or reads what this writes.
    let peer = peer.status(status).about(about).wake(Wake::Push).connect();
    let peer = peer.await?;
    let mut said = summary::Said::new(args.summary);
    let mut events = peer.events();
    let mut incoming = peer.incoming().await?;
    let mut look = tokio::time::interval(LOOK);
    let mut stop = std::pin::pin!(interrupted());
    let ahead = ReadAhead::of(&mesh);
    let mut told = Told::new(context, &peer);
    let result = loop {
        tokio::select! {
            message = incoming.next() => match message {
                Some(message) => if let Err(error) = show(context, &ahead, &message).await {
                    break Err(error);
                },
                None => break Err(ended(&mut events, &peer).await),
            },
            Some(event) = events.next() => told.event(context, &peer, &event),
            _ = look.tick() => {
                told.look(context, &peer).await;
                said.look(context, &peer).await;
            }
            () = &mut stop => break Ok(Code::Ok),
        }
    };
    peer.close(LOOK).await;
    result
}

/// Writes a message out, and only then takes it.
async fn show(context: &Context, ahead: &ReadAhead, message: &Received) -> Result<(), Failure> {
    let mesh = context.mesh()?;
    if ahead.has(message) {
        // Read already, in its topic.
        return Ok(message.taken().await?);
    }
    if context.out.is_json() {
        print(&json_line(&message::json(&mesh.slug, message))?)?;
    } else {
        print(&format!("{}\n", message::text(message)))?;
    }
    Ok(message.taken().await?)
}

/// What was said or set last, so that it is not said or set again.
pub(super) struct Told {
    status: claudemesh_core::id::Status,
    away: bool,
}

impl Told {
    pub(super) fn new(context: &Context, peer: &Peer) -> Self {
        Self {
            status: status::wished(&context.config, peer.mesh()),
            away: false,
        }
    }

    async fn look(&mut self, context: &mut Context, peer: &Peer) {
        // A file that is just being repaired by hand leaves everything as it is.
        if context.config.reload().is_err() {
            return;
        }
        let wished = status::wished(&context.config, peer.mesh());
        if wished != self.status && peer.set_status(wished).await.is_ok() {
            self.status = wished;
            context.out.note(&format!("Status: {wished}"));
        }
    }

    pub(super) fn event(&mut self, context: &Context, peer: &Peer, event: &Event) {
        let out = &context.out;
        match event {
            Event::Connected => {
                self.away = false;
                out.note(&format!(
                    "Connected to {}; Ctrl-C ends.",
                    clean_line(&peer.mesh().broker_url)
                ));
            }
            Event::Reconnecting { reason, .. } if !self.away => {
                self.away = true;
                out.note(&format!(
                    "Not connected ({}); it is tried again by itself.",
                    clean_line(reason)
                ));
            }
            Event::Refused { code, message } => {
                out.warn(&format!(
                    "refused by the broker: {} ({})",
                    clean_line(message),
                    clean_line(code)
                ));
            }
            Event::Rejected { sender, reason } => out.warn(&format!(
                "a message that says it is from {} was not taken: {}",
                sender.short(),
                clean_line(reason)
            )),
            Event::LiedTo(lie) => out.warn(&format!("{lie}; `claudemesh doctor` says what to do")),
            Event::MemberJoined { key, name } => out.note(&format!(
                "{} ({}) joined.",
                clean_line(name.as_str()),
                key.short()
            )),
            Event::RoleChanged { key, role } => {
                out.note(&format!("{} is {role} now.", key.short()));
            }
            Event::OwnerChanged { key } => {
                out.note(&format!("{} owns the mesh now.", key.short()));
            }
            Event::MemberRemoved { key } => {
                out.note(&format!("{} is not a member any more.", key.short()));
            }
            Event::Asked { sender } => out.note(&format!(
                "A message of {} waits for your answer: `claudemesh requests list`.",
                sender.short()
            )),
            Event::SessionRenamed { name } => {
                out.note(&format!("This session is called {name} now."));
            }
            Event::StoreFailed(error) => out.warn(&error.to_string()),
            other => about_channels(out, other),
        }
    }
}

/// What is told about topics and groups.
fn about_channels(out: &Output, event: &Event) {
    match event {
        Event::ChannelChanged { channel } => {
            out.note(&format!("{channel}: its members are others now."));
        }
        Event::ChannelRekeyed { channel, epoch } => {
            out.note(&format!("{channel}: sealed under its key {epoch} from now on."));
        }
        Event::ChannelFork { channel, epoch } => out.warn(&format!(
            "{channel} has two keys {epoch}: a member or the broker is not honest, or two were made \
             at once; each opens what it sealed"
        )),
        Event::KeyWithheld { channel, author } => out.warn(&format!(
            "{} gave you no good key of {channel}; the next one is made before you send",
            author.short()
        )),
        Event::ChannelContention { channel } => out.note(&format!(
            "{channel}: others make keys at the same time; it is tried again by itself."
        )),
        Event::Locked {
            channel, reason, ..
        } => out.note(&format!(
            "A message in {channel} waits for its key: {}.",
            clean_line(reason)
        )),
        _ => {}
    }
}

/// Why there are no more messages.
pub(super) async fn ended(events: &mut Events, peer: &Peer) -> Failure {
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await
    {
        if let Event::Removed { .. } | Event::Kicked = &event {
            return why_ended(&event, peer);
        }
    }
    Failure::new(Code::Network, peer.connection().to_string())
}

/// What that event means for who listens.
pub(super) fn why_ended(event: &Event, peer: &Peer) -> Failure {
    match event {
        Event::Removed { reason } => Failure::new(
            Code::Auth,
            format!("you are not in this mesh any more: {}", clean_line(reason)),
        ),
        Event::Kicked => Failure::new(
            Code::Permission,
            "the broker's operator closed this connection for good",
        ),
        _ => Failure::new(Code::Network, peer.connection().to_string()),
    }
}

/// The last part of the current folder's name.
fn folder() -> Option<String> {
    let dir = std::env::current_dir().ok()?;
    let name = dir.file_name()?.to_string_lossy();
    Some(name.chars().filter(|c| !c.is_control()).take(64).collect())
}
