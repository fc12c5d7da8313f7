//! `claudemesh doctor`: looks for what is wrong, and says what to do.

mod agents;
mod path;

use std::time::Duration;

use claudemesh_core::KeyTrust;
use claudemesh_core::config::MeshEntry;
use claudemesh_core::peer::{Events, Peer, PeerError};
use claudemesh_core::session::Event;
use claudemesh_core::store::SendState;
use serde::Serialize;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time};

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    mesh: Option<String>,
    level: Level,
    message: String,
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn add(
        &mut self,
        check: &'static str,
        mesh: Option<&MeshEntry>,
        level: Level,
        message: impl Into<String>,
    ) {
        self.0.push(Check {
            check,
            mesh: mesh.map(|mesh| mesh.slug.clone()),
            level,
            message: message.into(),
        });
    }
}

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mut report = Report::default();
    config(context, &mut report);
    for mesh in context.config.meshes() {
        examine(context, mesh, &mut report).await;
    }
    agents::server(&mut report).await;
    agents::clients(context, &mut report).await;
    let failed = report.0.iter().any(|check| check.level == Level::Fail);
    context.out.answer(&report.0, || {
        let lines = report.0.iter().map(|check| {
            let level = match check.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            let mesh = match &check.mesh {
                Some(mesh) => format!("{}: ", clean_line(mesh)),
                None => String::new(),
            };
            format!(
                "{level}  {mesh}{}: {}\n",
                check.check,
                crate::format::clean(&check.message)
            )
        });
        lines.collect()
    })?;
    Ok(if failed { Code::Failed } else { Code::Ok })
}

fn config(context: &Context, report: &mut Report) {
    let path = context.config.path().unwrap_or_default();
    let meshes = context.config.meshes().len();
    if meshes == 0 {
        let message = format!(
            "{} has no mesh; `claudemesh create NAME --broker URL` makes one, `claudemesh join \
             'LINK'` joins one",
            path.display()
        );
        report.add("config", None, Level::Warn, message);
    } else {
        let message = format!("{}, meshes: {meshes}", path.display());
        report.add("config", None, Level::Ok, message);
    }
    match context.config.permissions_warning() {
        Some(warning) => report.add("permissions", None, Level::Fail, warning),
        None => report.add("permissions", None, Level::Ok, "only you can read the keys"),
    }
}

async fn examine(context: &Context, mesh: &MeshEntry, report: &mut Report) {
    let mesh = &mesh.clone();
    let peer = match context.open(mesh, false).await {
        Ok(peer) => peer,
        Err(error) => {
            return report.add("store", Some(mesh), Level::Fail, error.to_string());
        }
    };
    let mut events = peer.events();
    report.add("store", Some(mesh), Level::Ok, "opens");
    log(&peer, report);
    backup(&peer, report);
    broker(&peer, &mut events, report).await;
    trust(&peer, report).await;
    outbox(&peer, report).await;
    path::tls(&peer, report);
    path::itself(context, &peer, report).await;
    finish(&peer).await;
}

fn log(peer: &Peer, report: &mut Report) {
    let mesh = Some(peer.mesh());
    match peer.log() {
        Some(log) => {
            let entries = log.head().seq + 1;
            let message = format!(
                "verified, entries: {entries}, members: {}",
                peer.members().len()
            );
            report.add("log", mesh, Level::Ok, message);
            let own = log.roster().member_or_former(&peer.key());
            if own.is_none_or(|member| member.removed_at.is_some()) {
                report.add(
                    "membership",
                    mesh,
                    Level::Fail,
                    "this key is not a member any more; ask the owner for a new link",
                );
            }
        }
        None => report.add(
            "log",
            mesh,
            Level::Warn,
            "there is none: who is a member is the broker's word alone; ask for a link with a \
             secret part (after '#')",
        ),
    }
}

/// Who owns a mesh and loses the key has only the recovery key, if it was written down.
fn backup(peer: &Peer, report: &mut Report) {
    let mesh = Some(peer.mesh());
    let owns = (peer.log()).is_some_and(|log| log.roster().owner() == peer.key());
    match peer.mesh().backed_up_at() {
        Some(at) => report.add(
            "backup",
            mesh,
            Level::Ok,
            format!("made {}", clean_line(&at)),
        ),
        None if owns => report.add(
            "backup",
            mesh,
            Level::Warn,
            "you own this mesh, and there is no backup of its key: `claudemesh backup` makes one",
        ),
        None => {}
    }
}

async fn broker(peer: &Peer, events: &mut Events, report: &mut Report) {
    let mesh = Some(peer.mesh());
    let url = &peer.mesh().broker_url;
    let connected = peer.connected_within(PATIENCE).await;
    let synced = match &connected {
        Ok(()) => Some(peer.sync().await),
        Err(_) => None,
    };
    let mut skewed = false;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(20), events.next()).await
    {
        skewed |= matches!(event, Event::Refused { code, .. } if code == "timestamp_skew");
    }
    match connected {
        Ok(()) => report.add("broker", mesh, Level::Ok, format!("{url} answers")),
        Err(PeerError::NotConnected(reason)) => {
            let message = format!("{url} does not answer: {reason}");
            report.add("broker", mesh, Level::Fail, message);
        }
        Err(error) => report.add("broker", mesh, Level::Fail, error.to_string()),
    }
    clock(peer, skewed, report);
    // What it did just now is among them.
    let lies = peer.lies().await.unwrap_or_default();
    for lie in &lies {
        let message = format!(
            "{}: {}. The broker was restored from an old backup, or is not honest: ask its \
             operator, and compare with another member (`claudemesh verify`); once you know the \
             reason, `claudemesh trust --forget-lies`",
            human_time(lie.at),
            lie.what
        );
        report.add("honesty", mesh, Level::Fail, message);
    }
    match synced {
        Some(Ok(())) if lies.is_empty() && peer.log().is_some() => report.add(
            "head",
            mesh,
            Level::Ok,
            "the broker shows the same membership log",
        ),
        Some(Err(error)) if lies.is_empty() => {
            report.add("head", mesh, Level::Warn, format!("not compared: {error}"));
        }
        _ => {}
    }
}

/// Whose keys are trusted, where no log says whose they are.
async fn trust(peer: &Peer, report: &mut Report) {
    if peer.log().is_some() {
        return;
    }
    let mesh = Some(peer.mesh());
    let known = match super::known::keys(peer).await {
        Ok(known) => known,
        Err(error) => return report.add("trust", mesh, Level::Fail, error.to_string()),
    };
    let changed = known.iter().filter(|one| one.trust == KeyTrust::Changed);
    for one in changed {
        let message = format!(
            "the broker shows {} with the key {}, which is not the one it showed before; nothing is \
             sealed for it. Compare safety numbers (`claudemesh verify {}`), then `claudemesh trust \
             {}`, or with --distrust",
            super::known::names(one),
            one.key.short(),
            one.key.short(),
            one.key.short()
        );
        report.add("trust", mesh, Level::Fail, message);
    }
    let count = |trust| known.iter().filter(|one| one.trust == trust).count();
    let (trusted, pinned) = (count(KeyTrust::Trusted), count(KeyTrust::Pinned));
    if trusted == 0 {
        let message = "nobody is trusted, so nothing is sealed for channels, and messages need \
            --unverified; `claudemesh verify PEER`, then `claudemesh trust PEER`";
        report.add("trust", mesh, Level::Warn, message);
    } else {
        let message = format!("keys trusted: {trusted}, seen and not trusted: {pinned}");
        report.add("trust", mesh, Level::Ok, message);
    }
}

/// The broker tells whole seconds, so a difference of one or two is none.
fn clock(peer: &Peer, skewed: bool, report: &mut Report) {
    let mesh = Some(peer.mesh());
    let ahead = peer.broker_clock_ahead_ms();
    let seconds = ahead.map_or(0, |ms| ms.unsigned_abs() / 1_000);
    let side = if ahead.is_some_and(|ms| ms < 0) {
        "behind"
    } else {
        "ahead of"
    };
    if skewed || seconds >= 60 {
        let message = format!(
            "the broker's clock is {seconds} s {side} this one; set the clock of this machine, or \
             tell the broker's operator"
        );
        report.add("clock", mesh, Level::Fail, message);
    } else if seconds > 2 {
        let message = format!("the broker's clock is {seconds} s {side} this one");
        report.add("clock", mesh, Level::Warn, message);
    } else if ahead.is_some() {
        report.add("clock", mesh, Level::Ok, "agrees with the broker's");
    }
}

async fn outbox(peer: &Peer, report: &mut Report) {
    let mesh = Some(peer.mesh());
    if peer.is_connected() {
        // What waited goes out now; only what stays is worth a word.
        drop(peer.flush(Duration::from_secs(2)).await);
    }
    match peer.outbox(false).await {
        Ok(rows) => {
            let queued = rows
                .iter()
                .filter(|row| row.state == SendState::Queued)
                .count();
            let on_the_way = rows.len() - queued;
            if queued > 0 {
                let message = format!(
                    "{queued} wait to be sent; they go out when the broker can be reached \
                     (`claudemesh outbox list`)"
                );
                report.add("outbox", mesh, Level::Warn, message);
            } else {
                let message = format!("nothing waits, on the way: {on_the_way}");
                report.add("outbox", mesh, Level::Ok, message);
            }
        }
        Err(error) => report.add("outbox", mesh, Level::Fail, error.to_string()),
    }
}
