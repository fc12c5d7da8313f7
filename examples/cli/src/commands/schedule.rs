//! `claudemesh schedule`: what goes out later, and giving it up.

use claudemesh_core::peer::Peer;
use claudemesh_core::session::Scheduled;
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use super::kept;
use crate::cli::ScheduleCommand;
use crate::context::{Context, finish, target_json, target_name};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table, until};
use crate::when;

pub(super) async fn run(context: &Context, command: ScheduleCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        ScheduleCommand::List => list(context, &peer).await,
        ScheduleCommand::Cancel { id } => cancel(context, &peer, &id).await,
    };
    finish(&peer).await;
    result
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let all = peer.schedules().await?;
    let answer: Vec<Value> = all.iter().map(|one| as_json(peer, one)).collect();
    context.out.answer(&answer, || {
        if all.is_empty() {
            return "Nothing is to go out later: `claudemesh remind TEXT --in 10m`.\n".to_owned();
        }
        let cells = all.iter().map(|one| {
            let to = one.to.parse();
            vec![
                clean_line(&one.id),
                match &to {
                    Ok(to) => clean_line(&target_name(peer, to)),
                    Err(_) => clean_line(&one.to),
                },
                when::told(one.due),
                match &one.failed {
                    Some(code) => format!("failed: {}", clean_line(code)),
                    None => until(one.due),
                },
                clean_line(one.cron.as_deref().unwrap_or("")),
            ]
        });
        table(&["ID", "TO", "DUE", "", "AGAIN"], cells.collect())
    })?;
    for one in &all {
        if let Some(code) = &one.failed {
            let id: String = one.id.chars().take(8).collect();
            context.out.warn(&format!(
                "{id} was not sent: {}; `claudemesh schedule cancel {id}` takes it off this list",
                advice(code)
            ));
        }
    }
    Ok(Code::Ok)
}

/// Why it was not sent, with what to do.
fn advice(code: &str) -> String {
    let told = match code {
        "stale_epoch" => "who reads it has changed since it was sealed: write it anew",
        "removed" => "its recipient is not in the mesh any more",
        "not_found" => "its recipient is not there any more",
        "forbidden" => "you may not write there any more: join it again, then write it anew",
        "queue_full" => "its recipient has too many messages that wait: write it anew later",
        "audience_too_large" => "more read it than the broker serves: write to fewer",
        "expired" => "it had expired before it could be sent: write it anew",
        _ => return format!("the broker refused it ({code}); write it anew"),
    };
    told.to_owned()
}

async fn cancel(context: &Context, peer: &Peer, wanted: &str) -> Result<Code, Failure> {
    let all = peer.schedules().await?;
    let one = kept::find(
        &all,
        |one| &one.id,
        wanted,
        "schedules",
        "`claudemesh schedule list`",
    )?;
    if !peer.cancel_schedule(&one.id).await? {
        return Err(Failure::new(
            Code::Failed,
            format!("{} cannot be given up: it has just gone out", one.id),
        ));
    }
    let answer = json!({ "schedule_id": one.id, "cancelled": true });
    context
        .out
        .answer(&answer, || format!("Given up: {}\n", clean_line(&one.id)))?;
    Ok(Code::Ok)
}

fn as_json(peer: &Peer, one: &Scheduled) -> Value {
    let to = match one.to.parse() {
        Ok(to) => target_json(peer, &to),
        Err(_) => Value::Null,
    };
    json!({
        "schedule_id": one.id,
        "to": to,
        "due_at": iso(one.due),
        "cron": one.cron,
        "failed": one.failed,
        "advice": one.failed.as_deref().map(advice),
    })
}
