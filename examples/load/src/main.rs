//! Load, chaos and bookkeeping against any broker that speaks this wire.

#![forbid(unsafe_code)]

mod broker;
mod cli;
mod commands;
mod drive;
mod error;
mod frames;
mod full;
mod http;
mod kill9;
mod members;
mod report;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::{During as _, LoadError};
use crate::report::Report;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let report = Report::new(cli.json);
    match run(cli, &report) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(LoadError::Interrupted) => {
            report.note("interrupted; processes and files of this run are gone");
            ExitCode::from(130)
        }
        Err(error) => {
            report.note(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was lost, taken twice, or otherwise broken.
fn run(cli: Cli, report: &Report) -> Result<bool, LoadError> {
    let mut runtime = match cli.command {
        Command::Peer(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().during("starting")?;
    // Whoever ends this program ends its children and takes its folders away.
    let found = runtime.block_on(async {
        tokio::select! {
            found = commands::run(cli, report) => found,
            () = interrupted() => Err(LoadError::Interrupted),
        }
    });
    // A thread that waits for stdin would hold the end up.
    runtime.shutdown_background();
    found
}

/// Returns on Ctrl-C, and where there is one, on SIGTERM.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the signal ends the process by itself.
        std::future::pending::<()>().await;
    }
}
