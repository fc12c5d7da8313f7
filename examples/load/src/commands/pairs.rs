//! `pairs` and `fanout`.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::cli::{BrokerArgs, Fanout, Pairs, Peers, Shape};
use crate::drive::{self, Flow, Load, Outcome};
use crate::error::LoadError;
use crate::full;
use crate::members::{Member, Mesh};
use crate::report::{Report, rounded};

pub(super) async fn pairs(
    args: &Pairs,
    started: &BrokerArgs,
    broker: &Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(2 * args.pairs, report).await?;
    let before = broker.cpu_s();
    let flows = (0..args.pairs).map(pair).collect();
    let outcome = drive(&mesh, &members, flows, &args.shape).await?;
    let mut answer = figures(&outcome);
    let used = before
        .zip(broker.cpu_s())
        .map(|(then, now)| rounded(now - then));
    extend(
        &mut answer,
        json!({
            "pairs": args.pairs,
            "broker_cpu_s": used,
        }),
    );
    extend(&mut answer, shape(&args.shape, started, broker));
    report.answer(&answer)?;
    Ok(sound(&outcome))
}

pub(super) async fn fanout(
    args: &Fanout,
    started: &BrokerArgs,
    broker: &Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let mut mesh = Mesh::make(broker.url()).await?;
    let members = mesh.join(args.wide + 1, report).await?;
    let wide = 1..=args.wide;
    let to_one = wide.clone().map(|from| Flow {
        from,
        to: vec![0],
        under: None,
    });
    let to_many = Flow {
        from: 0,
        to: wide.collect(),
        under: None,
    };
    let to_one = drive(&mesh, &members, to_one.collect(), &args.shape).await?;
    let by_turns = drive(&mesh, &members, vec![to_many.clone()], &args.shape).await?;
    let to_all = match (args.shape.peers, members.last()) {
        (Peers::Wire, Some(listener)) => {
            let under = Some(mesh.key_for_all(listener).await?);
            let to_all = Flow { under, ..to_many };
            Some(drive(&mesh, &members, vec![to_all], &args.shape).await?)
        }
        _ => None,
    };
    let mut answer = json!({
        "to_one": figures(&to_one),
        "to_many": figures(&by_turns),
        "to_all": to_all.as_ref().map(figures),
        "wide": args.wide,
    });
    extend(&mut answer, shape(&args.shape, started, broker));
    report.answer(&answer)?;
    Ok(sound(&to_one) && sound(&by_turns) && to_all.as_ref().is_none_or(sound))
}

async fn drive(
    mesh: &Mesh,
    members: &[Member],
    flows: Vec<Flow>,
    shape: &Shape,
) -> Result<Outcome, LoadError> {
    let load = Load {
        flows,
        size: shape.size,
        window: shape.window,
        rate: shape.rate,
        duration: shape.duration,
        online: shape.online,
    };
    if shape.online && shape.peers == Peers::Full {
        let text = "--online is driven by --peers wire";
        return Err(LoadError::Usage(text.to_owned()));
    }
    match shape.peers {
        Peers::Wire => drive::run(mesh, members, &load).await,
        Peers::Full => full::run(mesh, members, &load).await,
    }
}

/// The flow of a pair: each has two members of its own.
pub(super) fn pair(place: usize) -> Flow {
    Flow {
        from: 2 * place,
        to: vec![2 * place + 1],
        under: None,
    }
}

/// What every run of flows answers.
pub(super) fn figures(outcome: &Outcome) -> Value {
    json!({
        "delivered_per_s": outcome.per_s(),
        "latency_ms": outcome.latency(),
        "accepted": outcome.accepted,
        "delivered": outcome.delivered,
        "refused": outcome.refused,
        "repeated": outcome.repeated,
    })
}

fn shape(shape: &Shape, started: &BrokerArgs, broker: &Broker) -> Value {
    let durability = started.url.is_none().then(|| started.durability.as_str());
    json!({
        "size": shape.size,
        "duration_s": rounded(shape.duration.as_secs_f64()),
        "window": shape.window,
        "rate": shape.rate,
        "peers": shape.peers.as_str(),
        "online": shape.online,
        "durability": durability,
        "broker_rss_mib": broker.memory_mib(),
    })
}

/// Puts the fields of one object behind those of another.
pub(super) fn extend(answer: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (answer, more) {
        fields.extend(more);
    }
}

/// Everything accepted arrived, and nothing twice.
pub(super) fn sound(outcome: &Outcome) -> bool {
    outcome.missing() == 0 && outcome.repeated == 0
}
