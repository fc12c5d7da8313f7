//! `storm`: everyone comes back at once after the broker was killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connect_all;
use crate::broker::Broker;
use crate::cli::Many;
use crate::drive::Outcome;
use crate::error::{During as _, LoadError};
use crate::members::Mesh;
use crate::report::{Report, rounded};
use crate::wire::Wire;

/// For how long a peer tries.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause after a try that failed.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run(
    args: &Many,
    mut broker: Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(args.count, report).await?;
    let connected = connect_all(&mesh, &members, report).await?;
    broker.kill().await?;
    drop(connected);

    let mesh = Arc::new(mesh);
    let (release, released) = watch::channel(None);
    let mut work = JoinSet::new();
    for member in members {
        let (mesh, mut released) = (Arc::clone(&mesh), released.clone());
        work.spawn(async move {
            let begun: Instant = released
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|at| *at)?;
            loop {
                match Wire::connect(&mesh, &member).await {
                    Ok(wire) => return Some((wire, begun.elapsed())),
                    Err(_) if begun.elapsed() > LIMIT => return None,
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
    }
    let begun = Instant::now();
    broker.restart().await?;
    let started = begun.elapsed();
    release.send_replace(Some(Instant::now()));
    let (mut wires, mut times) = (Vec::new(), Outcome::default());
    let mut last = Duration::ZERO;
    while let Some(done) = work.join_next().await {
        if let Some((wire, time)) = done.during("a peer")? {
            wires.push(wire);
            last = last.max(time);
            let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
            times.micros.push(micros);
        }
    }
    times.micros.sort_unstable();
    let back = f64::from(u32::try_from(wires.len()).unwrap_or(u32::MAX));
    let answer = json!({
        "peers": args.count,
        "back": wires.len(),
        "all_back_s": rounded(last.as_secs_f64()),
        "hellos_per_s": rounded(back / last.as_secs_f64()),
        "back_ms": times.latency(),
        "broker_start_s": rounded(started.as_secs_f64()),
        "broker_rss_mib": broker.memory_mib(),
        "broker_cpu_s": broker.cpu_s(),
    });
    report.answer(&answer)?;
    Ok(wires.len() == args.count)
}
