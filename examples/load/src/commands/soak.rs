//! `soak`: whether the broker's memory stays what it is, however many messages went through it.

use serde_json::json;

use super::pairs::{pair, sound};
use crate::broker::Broker;
use crate::cli::Soak;
use crate::drive::{self, Load, Outcome};
use crate::error::LoadError;
use crate::members::Mesh;
use crate::report::{Report, rounded};

/// Laps without one accepted message after which there is no sense in going on.
const IDLE_LAPS: usize = 3;

pub(super) async fn run(args: &Soak, broker: &Broker, report: &Report) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(2 * args.pairs, report).await?;
    let load = Load {
        flows: (0..args.pairs).map(pair).collect(),
        size: args.size,
        window: 64,
        rate: args.rate,
        duration: args.lap,
        online: false,
    };
    let bar = report.bar(args.messages, "soaking");
    let (mut all, mut memory, mut sound_so_far) = (Outcome::default(), Vec::new(), true);
    let mut idle = 0;
    while all.accepted < args.messages && sound_so_far {
        let mut lap = drive::run(&mesh, &members, &load).await?;
        sound_so_far = sound(&lap);
        idle = if lap.accepted == 0 { idle + 1 } else { 0 };
        if idle >= IDLE_LAPS {
            let why = format!("nothing is accepted; {} were refused", lap.refused);
            return Err(LoadError::step("the broker", why));
        }
        // A million latencies are not wanted here.
        lap.micros.clear();
        all.duration += lap.duration;
        all.add(lap);
        memory.extend(broker.memory_kib().map(|(now, _)| mib(now)));
        bar.set_position(all.accepted.min(args.messages));
    }
    bar.finish_and_clear();
    let half = memory.len() / 2;
    let most = |laps: &[f64]| laps.iter().copied().fold(0.0, f64::max);
    let (early, late) = memory.split_at(half);
    let answer = json!({
        "accepted": all.accepted,
        "delivered": all.delivered,
        "refused": all.refused,
        "lost": all.missing(),
        "duplicated": all.repeated,
        "delivered_per_s": all.per_s(),
        "laps": memory.len(),
        "rss_mib": {
            "after_each_lap": memory,
            "most_in_first_half": most(early),
            "most_in_second_half": most(late),
        },
        "pairs": args.pairs,
        "size": args.size,
        "rate": args.rate,
        "lap_s": rounded(args.lap.as_secs_f64()),
        "broker_file_mib": broker.file_mib(),
        "broker_rss_mib": broker.memory_mib(),
    });
    report.answer(&answer)?;
    Ok(sound_so_far)
}

fn mib(kib: u64) -> f64 {
    rounded(f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1_024.0)
}
