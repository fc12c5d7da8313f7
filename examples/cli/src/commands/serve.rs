//! `claudemesh serve`: runs a command for each message, or nudges an agent in a terminal.

mod allowance;
mod parked;
mod program;
mod tmux;

use std::time::Duration;

use claudemesh_core::id::{SessionName, Wake};
use claudemesh_core::message::{DEFAULT_HOP_LIMIT, MAX_BODY};
use claudemesh_core::peer::{Events, Outgoing, Peer, Received};
use claudemesh_core::replies::NoReply;
use serde_json::json;

use super::{listen, status};
use crate::agent::address::Address;
use crate::agent::frame;
use crate::agent::replies::{Replies, led_here};
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
        return parked::list(
            context,
            &mesh,
            context.named().name.as_ref().map(SessionName::as_str),
        );
    }
    if let Some(pane) = &args.tmux {
        return tmux::run(context, &args, pane).await;
    }
    if args.command.is_empty() {
        return Err(Failure::usage(
            "say what to run for each message: claudemesh serve -- CMD ARG…; or --tmux PANE",
        ));
    }
    let address = Address::claim(&mesh, context.named())?;
    let status = status::wished(&context.config, &mesh);
    let peer = address
        .attach(context.bare_builder(&mesh).status(status), Wake::Serve)
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
    let replies = Replies::of_program();
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
        let hops = message.hops().max(led_here());
        if hops >= DEFAULT_HOP_LIMIT {
            let why = format!("{hops} automatic messages led to it: a person has to go on");
            put_aside(context, parked, &message, &why).await?;
        } else {
            allowance.wait(context, &message).await;
            let serving = Serving {
                context,
                args,
                parked,
                replies: &replies,
            };
            serving.one(&program, &message).await?;
        }
        if args.once {
            return Ok(Code::Ok);
        }
    }
}

/// What one message is dealt with by.
struct Serving<'a> {
    context: &'a Context,
    args: &'a Serve,
    parked: &'a Parked,
    replies: &'a Replies,
}

impl Serving<'_> {
    /// One message: as often as it takes, and then it is taken; or it is put aside, where it can be
    /// seen.
    async fn one(&self, program: &Program<'_>, message: &Received) -> Result<(), Failure> {
        let (context, args) = (self.context, self.args);
        let mut pause = PAUSE;
        let mut why = String::new();
        for attempt in 1..=args.tries {
            match program.run(message).await? {
                Ended::Well { said, cut } => {
                    if cut {
                        context
                            .out
                            .warn("the command said more than fits in an answer; it was cut");
                    }
                    // The answer is in the outbox before the message is taken: a crash in between
                    // runs the command once more, and loses nothing.
                    if args.reply {
                        self.reply(message, &said).await?;
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
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(SELDOM);
            }
        }
        put_aside(context, self.parked, message, &why).await
    }

    /// Sends what the command said, unless it said nothing, or the sender wants no answer. It says
    /// itself that it wants none, and counts the hop: two programs that answer each other come to
    /// rest.
    async fn reply(&self, message: &Received, said: &str) -> Result<(), Failure> {
        let said = said.trim_end();
        if said.is_empty() {
            return Ok(());
        }
        let hops = loop {
            match self.replies.ask(message.question()) {
                Ok(hops) => break hops,
                Err(why @ NoReply::TooFast { retry_after_ms }) => {
                    self.context
                        .out
                        .warn(&format!("{}: {why}", frame::sender(message)));
                    tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
                }
                Err(why) => {
                    let from = frame::sender(message);
                    self.context
                        .out
                        .note(&format!("No answer to {from}: {why}."));
                    return Ok(());
                }
            }
        };
        let answer = Outgoing::text(said)
            .reply_to(message.id.clone())
            .hops(hops)
            .expects_reply(false);
        message.reply_with(answer).await?;
        Ok(())
    }
}

async fn put_aside(
    context: &Context,
    parked: &Parked,
    message: &Received,
    why: &str,
) -> Result<(), Failure> {
    // Noted before it is taken: in a crash in between it is tried once more.
    parked.add(message, why)?;
    message.taken().await?;
    context.out.warn(&format!(
        "message {} is put aside: {why}. `claudemesh serve --parked` lists what was",
        message.id
    ));
    told(context, message, "parked", Some(why))
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
