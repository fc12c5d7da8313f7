//! `claudemesh send`: one message to one peer.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use claudemesh_core::id::PublicKey;
use claudemesh_core::peer::{Connection, Outgoing, Peer, Receipt, ReceiptError, SendError};
use claudemesh_core::store::SendState;
use serde_json::json;

use crate::cli::{Send, WaitFor};
use crate::context::{Context, finish, name_of, resolve};
use crate::exit::{Code, Failure, refused_code};
use crate::format::clean_line;

/// How long the state that was asked for is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// How long a broker that cannot be reached is tried.
const AWAY: Duration = Duration::from_secs(2);
/// Bytes of a text at most; what is larger does not fit a frame in any case.
const MAX_TEXT: u64 = 1 << 20;

pub(super) async fn run(context: &Context, args: Send) -> Result<Code, Failure> {
    let text = match args.text.as_str() {
        "-" => stdin()?,
        text => text.to_owned(),
    };
    if text.is_empty() {
        return Err(Failure::usage(
            "there is nothing to send: the text is empty",
        ));
    }
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = send(context, &peer, &args, text).await;
    finish(&peer).await;
    result
}

async fn send(context: &Context, peer: &Peer, args: &Send, text: String) -> Result<Code, Failure> {
    let to = recipient(peer, &args.to).await?;
    let mut message = Outgoing::text(text)
        .priority(args.priority)
        .to_unverified(args.unverified)
        .expires_in(args.expires);
    if let Some(id) = &args.reply_to {
        message = message.reply_to(id.clone());
    }
    let receipt = peer.send_message(to, message).await?;
    let reached = wait(peer, &receipt, args.wait).await;
    let state = receipt.state();
    let reason = receipt.reason();
    let name = name_of(&peer.members_and_former(), &to);
    let mut answer = json!({
        "message_id": receipt.id(),
        "state": state.as_str(),
        "protected": receipt.is_protected(),
        "to": { "name": name, "pubkey": to },
    });
    if let (Some(reason), Some(fields)) = (&reason, answer.as_object_mut()) {
        fields.insert("reason".to_owned(), json!(reason));
    }
    let name = clean_line(name.as_deref().unwrap_or(&args.to));
    context.out.answer(&answer, || match state {
        SendState::Queued => format!("Kept for {name}: {}\n", receipt.id()),
        SendState::Accepted => format!("Sent to {name}: {}\n", receipt.id()),
        SendState::Delivered => format!("Delivered to {name}: {}\n", receipt.id()),
        SendState::Failed => format!("Not sent to {name}: {}\n", receipt.id()),
    })?;
    if !receipt.is_protected() {
        context.out.note(&format!(
            "It went as bare text: sealed for the key that the broker names as {name}'s, and not \
             signed."
        ));
    }
    match (state, reached) {
        (SendState::Failed, _) => {
            let reason = reason.unwrap_or_else(|| "refused".to_owned());
            context
                .out
                .warn(&format!("{name} will not get it: {reason}"));
            let code = reason.split(':').next().unwrap_or_default();
            Ok(refused_code(code))
        }
        (SendState::Queued, _) if matches!(peer.connection(), Connection::Removed(_)) => {
            let why = clean_line(&peer.connection().to_string());
            context
                .out
                .warn(&format!("the message is kept here and goes nowhere: {why}"));
            Ok(Code::Auth)
        }
        (SendState::Queued, _) => {
            context.out.warn(&format!(
                "the message is kept here and goes out with the next command that reaches the \
                 broker, such as `claudemesh outbox flush`: {}",
                peer.connection()
            ));
            Ok(Code::Network)
        }
        (SendState::Accepted, false) => {
            context.out.note(&format!(
                "The broker has it; {name} has not fetched it within {} s and gets it later.",
                WAIT.as_secs()
            ));
            Ok(Code::Ok)
        }
        _ => Ok(Code::Ok),
    }
}

/// The key of who is meant: a member, or one whom only the broker names.
async fn recipient(peer: &Peer, wanted: &str) -> Result<PublicKey, Failure> {
    match resolve(peer, wanted).await {
        Err(unknown) if unknown.code() == Code::NotFound => {
            match peer.resolve_unverified(wanted).await {
                Ok(Some(key)) => Ok(key),
                Err(several @ SendError::Resolve(_)) => Err(several.into()),
                _ => Err(unknown),
            }
        }
        other => other,
    }
}

/// Waits for what was asked for; false if it was not reached in time.
async fn wait(peer: &Peer, receipt: &Receipt, far: WaitFor) -> bool {
    let reached = async {
        match far {
            WaitFor::Accepted => receipt.accepted().await.map(drop),
            WaitFor::Delivered => receipt.delivered().await,
        }
    };
    let away = async {
        // Once it was connected the answer is on its way; else there is nothing to wait for.
        if peer.connected_within(AWAY).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = reached => !matches!(result, Err(ReceiptError::Closed)),
        () = away => false,
        () = tokio::time::sleep(WAIT) => false,
    }
}

fn stdin() -> Result<String, Failure> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        crate::output::hint("Write the message; Ctrl-D ends it.");
    }
    let mut text = String::new();
    let read = stdin.by_ref().take(MAX_TEXT + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::new(
            Code::Io,
            format!("the text on stdin cannot be read: {error}"),
        )
    })?;
    if text.len() as u64 > MAX_TEXT {
        return Err(Failure::usage(
            "the text is longer than 1 MiB; send it in parts, or say where it can be found",
        ));
    }
    // The last line end is the shell's, not the writer's.
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}
