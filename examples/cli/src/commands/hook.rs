//! `claudemesh hook`: what a client calls when a session begins, the user asks, or a turn ends.
//!
//! Hands unread messages in, and takes them once they were written out. Whatever happens, the
//! client's turn goes on: a hook that fails says so on stderr and hands in nothing.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use claudemesh_core::config::MeshEntry;
use claudemesh_core::id::Status;
use claudemesh_core::session::Retry;

use crate::agent::address::{self, Found};
use crate::agent::attention::Attention;
use crate::agent::client::{Moment, Told};
use crate::agent::unread::Portion;
use crate::cli::Hook;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::output::{json_line, print};

/// Turns in a row that messages begin at most; then the agent comes to rest, and what is unread
/// stays so until it is asked something.
const TURNS: u32 = 3;
/// Bytes of what a client says that are read.
const MAX_TOLD: u64 = 1 << 20;
/// How long a hook waits for the broker, if no process of its session does the receiving.
const ARRIVE: Duration = Duration::from_millis(1_500);
/// How long what was held back during a turn may take to come.
const RELEASED: Duration = Duration::from_millis(1_500);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Switches off what hooks hand in, if it is `off`.
pub(crate) const MODE: &str = "CLAUDEMESH_MESSAGES";

pub(super) async fn run(context: &Context, args: Hook) -> Result<Code, Failure> {
    let told = Told::read(&stdin());
    if std::env::var(MODE).is_ok_and(|mode| mode == "off") || context.config.meshes().is_empty() {
        // Nobody has joined anything yet: that is no reason to disturb every session.
        return Ok(Code::Ok);
    }
    let done = tokio::time::timeout(LIMIT, hand_in(context, &args, &told)).await;
    let failure = match done {
        Ok(Ok(())) => return Ok(Code::Ok),
        Ok(Err(failure)) => failure,
        Err(_) => {
            let message = format!("not done within {} s", LIMIT.as_secs());
            Failure::new(Code::Network, message)
        }
    };
    let text = format!("claudemesh: {}", clean_line(&failure.to_string()));
    context.out.warn(&text);
    if let (Moment::SessionStart, Some(said)) = (args.moment, args.client.told(&text)) {
        // Once a session the user is told, where the client has a place for it.
        print(&json_line(&said)?)?;
    }
    Ok(Code::Ok)
}

async fn hand_in(context: &Context, args: &Hook, told: &Told) -> Result<(), Failure> {
    if args.client.event(args.moment).is_none() {
        return Ok(());
    }
    let mesh = context.mesh()?;
    let Some(found) = address::find(&mesh, context.named(), told.session.as_deref())? else {
        let why = "which agent this is, is not known: name it with --as";
        return Err(Failure::new(Code::NotFound, why));
    };
    let turns = Turns::of(&mesh, &found);
    // The mesh is told through the agent's own process.
    let attention = Attention::of(&mesh, found.name()).filter(|_| found.lives);
    if let (Moment::Stop, Some(attention)) = (args.moment, &attention)
        && attention
            .wished()
            .is_some_and(|status| status != Status::Idle)
    {
        attention.wish(Status::Idle);
        // What waited for the end of the turn comes now.
        attention.settled(Status::Idle, RELEASED).await;
    }
    let begun = match args.moment {
        Moment::Stop => turns.begun(told),
        _ => 0,
    };
    if begun >= TURNS {
        turns.set(0);
        return Ok(());
    }
    let builder = context
        .bare_builder(&mesh)
        .presence(false)
        .receive(!found.lives);
    let builder = found.attach(builder).retry(Retry::Every(100));
    let peer = builder.connect().await?;
    if !found.lives {
        // Without a broker, what is here is handed in.
        drop(peer.caught_up(ARRIVE).await);
    }
    let portion = Portion::next(&peer).await?;
    let mut is_in_turn = args.moment == Moment::Prompt;
    let quiet = args.moment == Moment::Stop && !portion.wakes();
    if portion.messages.is_empty() || quiet {
        turns.set(0);
    } else {
        let text = portion.text();
        print(&json_line(&args.client.handed_in(args.moment, &text))?)?;
        // Only now: what could not be written out is unread still.
        peer.take(&portion.messages).await?;
        is_in_turn = true;
        turns.set(if args.moment == Moment::Stop {
            begun + 1
        } else {
            0
        });
    }
    if let Some(attention) = attention.filter(|_| is_in_turn && args.moment != Moment::SessionStart)
    {
        attention.wish(Status::Working);
    }
    peer.close(Duration::from_millis(200)).await;
    Ok(())
}

pub(super) fn stdin() -> String {
    let mut stdin = std::io::stdin().lock();
    let mut text = String::new();
    if !stdin.is_terminal() {
        // What is no text tells nothing.
        drop(stdin.by_ref().take(MAX_TOLD).read_to_string(&mut text));
    }
    text
}

/// How many turns in a row messages have begun; kept beside the session, since each hook is a
/// process of its own and clients say only whether there was one.
struct Turns(Option<PathBuf>);

impl Turns {
    fn of(mesh: &MeshEntry, found: &Found) -> Self {
        let dir = mesh.data_dir();
        Self(dir.map(|dir| dir.join("agents").join(format!("{}.turns", found.name()))))
    }

    fn begun(&self, told: &Told) -> u32 {
        if told.turns == 0 {
            // The user has asked something since.
            return 0;
        }
        let kept = self
            .0
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        let kept = kept.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        told.turns.max(kept)
    }

    fn set(&self, turns: u32) {
        if let Some(file) = &self.0 {
            // If it cannot be kept, what the client says counts alone.
            drop(match turns {
                0 => std::fs::remove_file(file),
                turns => std::fs::write(file, turns.to_string()),
            });
        }
    }
}
