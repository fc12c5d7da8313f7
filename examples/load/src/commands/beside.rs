//! `slow` and `hostile`: what the others notice, measured with and without in one run.

mod attack;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::pairs::{extend, figures, pair, sound};
use crate::broker::Broker;
use crate::cli::Beside;
use crate::drive::{self, Load, Outcome};
use crate::error::LoadError;
use crate::frames::Template;
use crate::members::{Mesh, random};
use crate::report::{Report, rounded};
use crate::wire::{Frame, Wire};

/// Bytes of a message to the reader that may not read.
const LARGE: usize = 40_000;
/// Time between two of them.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn slow(
    args: &Beside,
    mut broker: Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(2 * args.pairs + 3, report).await?;
    let [flooder, good, bad] = [0, 1, 2].map(|last| members.len() - 1 - last);
    let mut outcomes = Vec::new();
    for (to, reads) in [(good, true), (bad, false)] {
        let (Some(from), Some(to)) = (members.get(flooder), members.get(to)) else {
            break;
        };
        let frames = Template::seal(&mesh, from, &to.public(), LARGE)?;
        let mut beside = JoinSet::new();
        beside.spawn(flood(Wire::connect(&mesh, from).await?, frames));
        beside.spawn(reader(Wire::connect(&mesh, to).await?, reads));
        outcomes.push(drive::run(&mesh, &members, &load(args)).await?);
        beside.abort_all();
    }
    let names = ["reader_reads", "reader_never_reads"];
    answer(args, &mut broker, &outcomes, names, json!({}), report)
}

pub(super) async fn hostile(
    args: &Beside,
    mut broker: Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(2 * args.pairs + 1, report).await?;
    let load = load(args);
    let alone = drive::run(&mesh, &members, &load).await?;
    let counts = Arc::new(attack::Counts::default());
    let mut beside = JoinSet::new();
    let impostor = members.last().map(attack::Victim::of);
    if let Some(victim) = impostor {
        for _ in 0..args.attackers {
            let (url, victim) = (mesh.url.clone(), victim.clone());
            beside.spawn(attack::run(
                url,
                mesh.id.clone(),
                victim,
                Arc::clone(&counts),
            ));
        }
    }
    let attacked = drive::run(&mesh, &members, &load).await?;
    beside.abort_all();
    // Whom it would not greet now, it would not greet at all.
    let greets = match members.last() {
        Some(member) => Wire::connect(&mesh, member).await.is_ok(),
        None => false,
    };
    let more = json!({"attacks": counts.answer(), "greets": greets});
    let outcomes = [alone, attacked];
    let fine = answer(
        args,
        &mut broker,
        &outcomes,
        ["alone", "attacked"],
        more,
        report,
    )?;
    Ok(fine && greets)
}

fn load(args: &Beside) -> Load {
    Load {
        flows: (0..args.pairs).map(pair).collect(),
        size: args.size,
        window: 64,
        rate: Some(args.rate),
        duration: args.duration,
        online: false,
    }
}

fn answer(
    args: &Beside,
    broker: &mut Broker,
    outcomes: &[Outcome],
    names: [&str; 2],
    more: Value,
    report: &Report,
) -> Result<bool, LoadError> {
    let [without, with] = outcomes else {
        return Err(LoadError::Usage("two halves make a run".to_owned()));
    };
    let mut answer = json!({
        names[0]: figures(without),
        names[1]: figures(with),
        "p99_ratio": rounded(with.ms(990) / without.ms(990).max(0.001)),
    });
    extend(&mut answer, more);
    let alive = broker.runs();
    extend(
        &mut answer,
        json!({
            "alive": alive,
            "pairs": args.pairs,
            "rate": args.rate,
            "size": args.size,
            "duration_s": rounded(args.duration.as_secs_f64()),
            "broker_rss_mib": broker.memory_mib(),
        }),
    );
    report.answer(&answer)?;
    Ok(sound(without) && sound(with) && alive != Some(false))
}

/// Sends large messages, one by one, for as long as it may.
async fn flood(mut wire: Wire, frames: Template) -> Result<(), LoadError> {
    let run = u64::from_le_bytes(random()?);
    for number in 0u64.. {
        wire.feed(frames.frame(&format!("flood-{run:x}-{number}")))
            .await?;
        wire.flush().await?;
        tokio::time::sleep(PAUSE).await;
        while let Some(text) = wire.ready() {
            text?;
        }
    }
    Ok(())
}

/// Reads and settles, or holds its connection and does neither.
async fn reader(mut wire: Wire, reads: bool) -> Result<(), LoadError> {
    if !reads {
        std::future::pending::<()>().await;
    }
    loop {
        let text = wire.next().await?;
        let frame = Frame::read(&text)?;
        if let Some(id) = frame.broker_id.filter(|_| frame.kind == "push") {
            wire.settle(vec![id.to_owned()]).await?;
        }
    }
}
