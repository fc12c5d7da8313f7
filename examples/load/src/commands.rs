//! One module per subcommand.

mod beside;
mod drain;
mod idle;
mod pairs;
mod soak;
mod storm;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::broker::Broker;
use crate::cli::{Cli, Command};
use crate::error::LoadError;
use crate::kill9;
use crate::members::{Member, Mesh};
use crate::report::Report;
use crate::wire::Wire;

/// Hellos under way at once.
const HELLOS: usize = 64;

/// Runs the command; whether nothing was found broken.
pub(crate) async fn run(cli: Cli, report: &Report) -> Result<bool, LoadError> {
    if let Command::Peer(args) = cli.command {
        kill9::peer(args).await?;
        return Ok(true);
    }
    let broker = Broker::start(&cli.broker, report).await?;
    match cli.command {
        Command::Pairs(args) => pairs::pairs(&args, &cli.broker, &broker, report).await,
        Command::Fanout(args) => pairs::fanout(&args, &cli.broker, &broker, report).await,
        Command::Drain(args) => drain::run(&args, &broker, report).await,
        Command::Storm(args) => storm::run(&args, broker, report).await,
        Command::Slow(args) => beside::slow(&args, broker, report).await,
        Command::Hostile(args) => beside::hostile(&args, broker, report).await,
        Command::Idle(args) => idle::run(&args, &broker, report).await,
        Command::Soak(args) => soak::run(&args, &broker, report).await,
        Command::Kill9(args) => kill9::run(&args, broker, report).await,
        Command::Peer(_) => Ok(true),
    }
}

/// Connects all of them, some at once.
async fn connect_all(
    mesh: &Mesh,
    members: &[Member],
    report: &Report,
) -> Result<Vec<Wire>, LoadError> {
    let bar = report.bar(u64::try_from(members.len()).unwrap_or(0), "connecting");
    let connecting = members.iter().map(|member| async {
        let wire = Wire::connect(mesh, member).await;
        bar.inc(1);
        wire
    });
    let wires = stream::iter(connecting)
        .buffered(HELLOS)
        .try_collect()
        .await;
    bar.finish_and_clear();
    wires
}
