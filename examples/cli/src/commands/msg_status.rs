//! `claudemesh msg-status`: what became of one message.

use std::time::Duration;

use claudemesh_core::store::{OutboxRow, SendState};
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use super::outbox::find;
use crate::cli::MsgStatus;
use crate::context::{Context, finish, target_json, target_name};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time};

/// How long the broker is waited for: it may know more.
const WAIT: Duration = Duration::from_secs(2);

pub(super) async fn run(context: &Context, args: MsgStatus) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let id = find(&peer.outbox(true).await?, &args.id);
    if id.is_ok() && peer.connected_within(WAIT).await.is_ok() {
        // Outcomes that came while nobody ran here.
        drop(peer.sync().await);
    }
    let rows = peer.outbox(true).await;
    finish(&peer).await;
    let (id, mut rows) = (id?, rows?);
    rows.retain(|row| row.message.id.base() == id);
    let first = rows.first().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("the outbox has no message {id:?} any more"),
        )
    })?;
    let state = rows
        .iter()
        .map(|row| row.state)
        .min_by_key(|state| rank(*state));
    let state = state.unwrap_or(first.state);
    let (created, expires) = (first.message.created_at, first.message.expires_at);
    let recipients: Vec<Value> = (rows.iter())
        .map(|row| {
            json!({
                "to": target_json(&peer, &row.message.to),
                "state": row.state.as_str(),
                "reason": row.reason,
            })
        })
        .collect();
    let answer = json!({
        "message_id": id,
        "state": state.as_str(),
        "created_at": iso(created),
        "expires_at": iso(expires),
        "recipients": recipients,
    });
    context.out.answer(&answer, || {
        let line = |row: &OutboxRow| {
            let reason = row.reason.as_deref().map(clean_line);
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            let name = clean_line(&target_name(&peer, &row.message.to));
            format!("  {name}: {}{reason}\n", row.state.as_str())
        };
        let lines: String = rows.iter().map(line).collect();
        format!("{id}, written {}\n{lines}", human_time(created))
    })?;
    Ok(Code::Ok)
}

/// What stands for all of them: the one that is behind, or went wrong.
const fn rank(state: SendState) -> u8 {
    match state {
        SendState::Failed => 0,
        SendState::Queued => 1,
        SendState::Accepted => 2,
        _ => 3,
    }
}
