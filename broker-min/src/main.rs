//! Runs the broker.

use std::io::Write as _;
use std::process::ExitCode;

use broker_min::cli::{Args, run};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "broker-min: {error}");
            ExitCode::FAILURE
        }
    }
}
