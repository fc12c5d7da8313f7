//! `idle`: what a peer that says nothing costs.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::connect_all;
use crate::broker::Broker;
use crate::cli::Idle;
use crate::error::LoadError;
use crate::members::Mesh;
use crate::report::{Report, rounded};

pub(super) async fn run(args: &Idle, broker: &Broker, report: &Report) -> Result<bool, LoadError> {
    let empty = broker.memory_mib();
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(args.count, report).await?;
    let before = broker.memory_kib();
    let begun = Instant::now();
    let wires = connect_all(&mesh, &members, report).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut reading = JoinSet::new();
    for mut wire in wires {
        // Pings are answered while reading; this ends when the broker drops the connection.
        reading.spawn(async move { while wire.next().await.is_ok() {} });
    }
    tokio::time::sleep(args.duration).await;
    let mut dropped = 0;
    while reading.try_join_next().is_some() {
        dropped += 1;
    }
    let float = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let count = float(u64::try_from(args.count).unwrap_or(u64::MAX)).max(1.0);
    let each = before.zip(broker.memory_kib());
    let each = each.map(|((before, _), (now, _))| rounded((float(now) - float(before)) / count));
    let answer = json!({
        "peers": args.count,
        "dropped": dropped,
        "kib_per_peer": each,
        "hellos_per_s": rounded(count / seconds),
        "broker_rss_mib": {
            "empty": empty,
            "idle": broker.memory_mib(),
        },
    });
    report.answer(&answer)?;
    Ok(dropped == 0)
}
