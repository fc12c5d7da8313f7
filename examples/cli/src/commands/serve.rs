//! `claudemesh serve`: runs a command for each message, or nudges an agent in a terminal.

mod allowance;
mod parked;
mod program;
mod tmux;

use std::time::Duration;

use claudemesh_core::message::MAX_BODY;
use claudemesh_core::peer::{Events, Outgoing, Peer, Received};
use serde_json::json;
use tokio::time::Instant;

use super::{listen, status};
use crate::agent::address::Address;
use crate::agent::frame::{self, EXPECTS_REPLY};
use crate::cli::Serve;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::signals::interrupted;

use allowance::Allowance;
use parked::Parked;
use program::{Ended, Program};

/// The pause after the first try that failed; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const SELDOM: Duration = Duration::from_secs(60);
/// How long what was answered may take to reach the broker at the end.
const PARTING: Duration = Duration::from_secs(2);

pub(super) async fn run(context: &mut Context, args: Serve) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    if args.parked {
        return parked::list(context, &mesh, args.session.as_deref());
    }
    if let Some(pane) = &args.tmux {
        return tmux::run(context, &args, pane).await;
    }
    if args.command.is_empty() {
        return Err(Failure::usage(
            "say what to run for each message: claudemesh serve -- CMD ARG…; or --tmux PANE",
        ));
    }
    let address = Address::claim(&mesh, args.session.as_deref())?;
    let status = status::wished(&context.config, &mesh);
    let peer = address
        .attach(context.builder(&mesh).status(status))
        .connect()
        .await?;
    if let Some(summary) = &args.summary {
        peer.set_summary(summary.as_str()).await?;
    }
    let parked = Parked::of(&mesh, address.name());
    context.out.note(&format!(
        "Serving as session {}; Ctrl-C ends.",
        address.name()
    ));
    let served = tokio::select! {
        served = serve(context, &peer, &args, &parked, address.name()) => served,
        () = interrupted() => Ok(Code::Ok),
    };
    // A command that runs still was ended with the future: its message is not taken.
    peer.close(PARTING).await;
    served
}

async fn serve(
    context: &mut Context,
    peer: &Peer,
    args: &Serve,
    parked: &Parked,
    session: &str,
) -> Result<Code, Failure> {
    let mut events: Events = peer.events();
    let mut told = listen::Told::new(context, peer);
    let mut incoming = peer.incoming().await?;
    let mut allowance = Allowance::new(args.per_hour);
    let program = Program::new(args, peer.mesh(), session);
    loop {
        let message = tokio::select! {
            message = incoming.next() => match message {
                Some(message) => message,
                None => return Err(listen::ended(&mut events, peer).await),
            },
            Some(event) = events.next() => {
                told.event(context, peer, &event);
                continue;
            }
        };
        allowance.wait(context, &message).await;
        one(context, peer, args, parked, &program, &message).await?;
        if args.once {
            return Ok(Code::Ok);
        }
    }
}

/// One message: as often as it takes, and then it is taken; or it is parked, where it can be seen.
async fn one(
    context: &Context,
    peer: &Peer,
    args: &Serve,
    parked: &Parked,
    program: &Program<'_>,
    message: &Received,
) -> Result<(), Failure> {
    let mut pause = PAUSE;
    let mut why = String::new();
    for attempt in 1..=args.tries {
        let ended = program.run(message).await?;
        match ended {
            Ended::Well { said, cut } => {
                if cut {
                    context
                        .out
                        .warn("the command said more than fits in an answer; it was cut");
                }
                // The answer is in the outbox before the message is taken: a crash in between runs
                // the command once more, and loses nothing.
                if args.reply {
                    reply(context, peer, message, &said).await?;
                }
                message.taken().await?;
                return told(context, message, "done", None);
            }
            Ended::Badly(reason) => why = reason,
        }
        if attempt < args.tries {
            context.out.warn(&format!(
                "{why}; message {} is tried again in {} s",
                message.id,
                pause.as_secs()
            ));
            let until = Instant::now() + pause;
            tokio::time::sleep_until(until).await;
            pause = (pause * 2).min(SELDOM);
        }
    }
    // Noted before it is taken: in a crash in between it is tried once more.
    parked.add(message, &why)?;
    message.taken().await?;
    context.out.warn(&format!(
        "message {} is put aside after {} tries: {why}. `claudemesh serve --parked` lists what was",
        message.id, args.tries
    ));
    told(context, message, "parked", Some(&why))
}

/// Sends what the command said, unless it said nothing, or the sender wants no answer. It says
/// itself that it wants none: two programs that answer each other come to rest.
async fn reply(
    context: &Context,
    peer: &Peer,
    message: &Received,
    said: &str,
) -> Result<(), Failure> {
    let said = said.trim_end();
    if said.is_empty() {
        return Ok(());
    }
    if frame::expects_reply(message) == Some(false) {
        context.out.note(&format!(
            "{} wants no answer: what the command said is not sent.",
            frame::sender(message)
        ));
        return Ok(());
    }
    let answer = Outgoing::text(said)
        .reply_to(message.id.clone())
        .attribute(format!("{EXPECTS_REPLY}0"));
    match &message.channel {
        Some(channel) => peer.send_message(channel.clone(), answer).await?,
        None => peer.send_message(message.from.key, answer).await?,
    };
    Ok(())
}

fn told(
    context: &Context,
    message: &Received,
    done: &str,
    why: Option<&str>,
) -> Result<(), Failure> {
    let answer = json!({
        "message_id": message.id,
        "from_name": message.from.name,
        "from_pubkey": message.from.key,
        "done": done,
        "reason": why,
    });
    context.out.answer(&answer, || {
        format!(
            "{done}: {} from {}\n",
            message.id,
            clean_line(&frame::sender(message))
        )
    })
}

/// Bytes of an answer at most.
const fn longest() -> usize {
    MAX_BODY
}
