//! Nudging an agent that runs in a pane of tmux, by typing into it.
//!
//! What is typed is one fixed line and nothing of any message, whoever sent it: a line that is typed
//! is an instruction of the user. The message itself stays unread until the agent takes it.

use std::time::Duration;

use claudemesh_core::peer::Peer;
use claudemesh_core::session::Retry;
use tokio::process::Command;
use tokio::time::Instant;

use crate::agent::address;
use crate::cli::Serve;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::signals::interrupted;

/// What is typed.
pub(super) const LINE: &str = "Unread messages on claudemesh: call check_messages.";
/// How often the store is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The longest time between two nudges.
const SELDOM: Duration = Duration::from_secs(1_800);
/// How long tmux may take.
const TYPING: Duration = Duration::from_secs(5);
/// Unread messages that are told apart.
const LOOK_AT: u32 = 100;

pub(super) async fn run(context: &Context, args: &Serve, pane: &str) -> Result<Code, Failure> {
    if !is_pane(pane) {
        return Err(Failure::usage(format!(
            "{pane:?} names no pane of tmux; `tmux list-panes -a` shows them, as %3 or work:1.0"
        )));
    }
    let mesh = context.mesh()?;
    let found = address::find(&mesh, context.named(), None)?;
    let Some(found) = found else {
        return Err(Failure::usage(
            "say which agent is in that pane: --as NAME, as its mesh_info has it",
        ));
    };
    let builder = context
        .bare_builder(&mesh)
        .presence(false)
        .receive(!found.lives);
    let peer = found
        .attach(builder)
        .retry(Retry::Backoff)
        .connect()
        .await?;
    context.out.note(&format!(
        "Watching for session {}; Ctrl-C ends.",
        found.name()
    ));
    let result = tokio::select! {
        result = watch(&peer, pane, args) => result,
        () = interrupted() => Ok(Code::Ok),
    };
    finish(&peer).await;
    result
}

async fn watch(peer: &Peer, pane: &str, args: &Serve) -> Result<Code, Failure> {
    let (mut seen, mut pause) = (0, args.nudge_after);
    let mut due: Option<Instant> = None;
    loop {
        let mut unread = peer.unread(LOOK_AT).await?;
        unread.retain(|message| !message.muted);
        let now = Instant::now();
        if unread.is_empty() {
            (pause, due) = (args.nudge_after, None);
        } else if unread.len() > seen || due.is_some_and(|due| due <= now) {
            if unread.len() <= seen {
                pause = (pause * 2).min(SELDOM);
            }
            type_into(pane).await?;
            due = Some(now + pause);
            if args.once {
                return Ok(Code::Ok);
            }
        }
        seen = unread.len();
        tokio::time::sleep(LOOK).await;
    }
}

/// Types the line, and then, as a key of its own, Enter.
async fn type_into(pane: &str) -> Result<(), Failure> {
    for keys in [["-l", LINE], ["--", "Enter"]] {
        let mut tmux = Command::new("tmux");
        let run = tmux
            .args(["send-keys", "-t", pane])
            .args(keys)
            .kill_on_drop(true)
            .output();
        let failed = |why: String| {
            let message = format!("tmux did not type into {pane}: {why}");
            Failure::new(Code::Failed, message)
        };
        match tokio::time::timeout(TYPING, run).await {
            Ok(Ok(output)) if output.status.success() => {}
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(failed(said));
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("it does not answer".to_owned())),
        }
    }
    Ok(())
}

/// An id or a place, and nothing that could be an option or a command.
fn is_pane(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "%@$".contains(c));
    let rest = |c: char| c.is_ascii_alphanumeric() || "%@$:._-".contains(c);
    begins && text.len() <= 128 && text.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_panes_are_panes() {
        for good in ["%3", "work:1.0", "0", "@2", "$1:2.3", "my-agent"] {
            assert!(is_pane(good), "{good}");
        }
        for bad in [
            "",
            "-t",
            ";kill-server",
            "a b",
            "a;b",
            "a\n",
            "{last}",
            "#{x}",
        ] {
            assert!(!is_pane(bad), "{bad}");
        }
        assert!(
            LINE.chars()
                .all(|c| c.is_ascii() && !c.is_control() && c != ';')
        );
    }
}
