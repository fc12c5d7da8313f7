//! `claudemesh audit`: what the broker wrote down, and whether it is still what it was.

use claudemesh_core::audit::Record;
use claudemesh_core::session::AuditReport;
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use crate::cli::Audit;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, table};

pub(super) async fn run(context: &Context, args: Audit) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    if args.accept {
        let accepted = peer.accept_audit().await;
        finish(&peer).await;
        accepted?;
        let answer = json!({ "mesh": mesh.slug, "accepted": true });
        context.out.answer(&answer, || {
            "The broker's audit table is taken as it is now.\n".to_owned()
        })?;
        return Ok(Code::Ok);
    }
    let report = peer.audit(args.all).await;
    finish(&peer).await;
    let report = report?;
    let fault = report.fault.as_ref().map(ToString::to_string);
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "holds": fault.is_none(),
        "fault": fault,
        "from": report.from.n,
        "from_hash": report.from.hash,
        "to": report.to.n,
        "hash": report.to.hash,
        "rows": report.rows.iter().map(as_json).collect::<Vec<_>>(),
    });
    context.out.answer(&answer, || text(&report))?;
    match fault {
        None => Ok(Code::Ok),
        Some(fault) => {
            context.out.warn(&format!(
                "{fault}. The broker's operator may know why: a backup that was put back, for \
                 example. If the answer is good, `claudemesh audit --accept` takes the table as \
                 it is now."
            ));
            Ok(Code::Failed)
        }
    }
}

fn text(report: &AuditReport) -> String {
    let rows = report.rows.iter().map(|row| {
        vec![
            human_time(row.created_at),
            clean_line(&row.event),
            clean_line(row.actor.as_deref().unwrap_or("-")),
            clean_line(row.target.as_deref().unwrap_or("-")),
            clean_line(&row.metadata),
        ]
    });
    let shown = match report.rows.is_empty() {
        true => String::new(),
        false => table(&["TIME", "EVENT", "BY", "ABOUT", "FURTHER"], rows.collect()),
    };
    let (from, to) = (report.from.n, report.to.n);
    let result = match report.fault {
        Some(_) => format!("Rows from {from} on do NOT hold.\n"),
        None if from == to => format!("Nothing new: {to} rows so far.\n"),
        None => format!("Rows {} to {to} hold.\n", from + 1),
    };
    format!("{shown}{result}")
}

fn as_json(row: &Record) -> Value {
    json!({
        "id": row.id,
        "event": row.event,
        "actor": row.actor,
        "target": row.target,
        "metadata": row.metadata,
        "at": iso(row.created_at),
    })
}
