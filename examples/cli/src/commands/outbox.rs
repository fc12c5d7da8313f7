//! `claudemesh outbox`: what was sent and has not arrived yet.

use std::time::Duration;

use claudemesh_core::id::MessageId;
use claudemesh_core::peer::Peer;
use claudemesh_core::store::{OutboxRow, SendState};
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use crate::cli::OutboxCommand;
use crate::context::{Context, finish, target_json, target_name};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, table};

pub(super) async fn run(context: &Context, command: OutboxCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        OutboxCommand::List { all } => list(context, &peer, all).await,
        OutboxCommand::Cancel { id } => cancel(context, &peer, &id).await,
        OutboxCommand::Flush { timeout } => flush(context, &peer, timeout).await,
    };
    finish(&peer).await;
    result
}

async fn list(context: &Context, peer: &Peer, all: bool) -> Result<Code, Failure> {
    let rows = peer.outbox(all).await?;
    let answer: Vec<Value> = rows.iter().map(|row| as_json(peer, row)).collect();
    context.out.answer(&answer, || {
        if rows.is_empty() {
            return "Nothing waits.\n".to_owned();
        }
        let cells = rows.iter().map(|row| {
            let message = &row.message;
            let reason = row.reason.as_deref().unwrap_or("");
            vec![
                message.id.base().to_string(),
                clean_line(&target_name(peer, &message.to)),
                row.state.as_str().to_owned(),
                human_time(message.created_at),
                clean_line(reason),
            ]
        });
        table(&["ID", "TO", "STATE", "WRITTEN", ""], cells.collect())
    })?;
    Ok(Code::Ok)
}

fn as_json(peer: &Peer, row: &OutboxRow) -> Value {
    let message = &row.message;
    json!({
        "message_id": message.id.base(),
        "to": target_json(peer, &message.to),
        "state": row.state.as_str(),
        "priority": message.priority,
        "reason": row.reason,
        "created_at": iso(message.created_at),
        "expires_at": iso(message.expires_at),
    })
}

async fn cancel(context: &Context, peer: &Peer, wanted: &str) -> Result<Code, Failure> {
    let id = find(&peer.outbox(true).await?, wanted)?;
    if !peer.cancel(id.clone()).await? {
        return Err(Failure::new(
            Code::Failed,
            format!("{id} cannot be cancelled: it left this machine already, or is final"),
        ));
    }
    let answer = json!({ "message_id": id, "state": "failed", "reason": "cancelled" });
    context
        .out
        .answer(&answer, || format!("Cancelled {id}; nobody gets it.\n"))?;
    Ok(Code::Ok)
}

pub(super) fn find(rows: &[OutboxRow], wanted: &str) -> Result<MessageId, Failure> {
    let ids = rows.iter().map(|row| row.message.id.base());
    let mut found: Vec<MessageId> = ids.filter(|id| id.as_str().starts_with(wanted)).collect();
    // A message to somebody with devices has a row for each.
    found.dedup();
    match found.as_slice() {
        [one] if !wanted.is_empty() => Ok(one.clone()),
        [] => Err(Failure::new(
            Code::NotFound,
            format!("the outbox has no message {wanted:?}; `claudemesh outbox list` shows them"),
        )),
        many => {
            if let Some(whole) = many.iter().find(|id| id.as_str() == wanted) {
                return Ok(whole.clone());
            }
            let message = format!("{} messages begin with {wanted:?}; write more", many.len());
            Err(Failure::usage(message))
        }
    }
}

async fn flush(context: &Context, peer: &Peer, timeout: Duration) -> Result<Code, Failure> {
    let waiting = |rows: &[OutboxRow]| {
        let queued = rows.iter().filter(|row| row.state == SendState::Queued);
        queued.count()
    };
    let before = waiting(&peer.outbox(false).await?);
    let until = tokio::time::Instant::now() + timeout;
    let connected = peer.connected_within(timeout).await;
    if connected.is_ok() {
        // What a process that died left behind is found a moment later: ask until all is gone.
        while tokio::time::Instant::now() < until {
            let left = until - tokio::time::Instant::now();
            let settled = peer.flush(left).await;
            if settled.is_err() || waiting(&peer.outbox(false).await?) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let left = waiting(&peer.outbox(false).await?);
    let answer = json!({ "sent": before.saturating_sub(left), "waiting": left });
    context.out.answer(&answer, || match (before, left) {
        (0, 0) => "Nothing waited.\n".to_owned(),
        (before, 0) => format!("The broker has all of it: {before}.\n"),
        (_, left) => format!("{left} wait still.\n"),
    })?;
    if left == 0 {
        return Ok(Code::Ok);
    }
    if let Err(error) = connected {
        context.out.warn(&format!("nothing is lost, but: {error}"));
    }
    Ok(Code::Network)
}
