//! Runs the broker.

use std::io::Write as _;
use std::process::ExitCode;

use broker_min::audit::{self, AuditArgs};
use broker_min::cli::{Args, run};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let result = if args.nth(1).is_some_and(|first| first == "audit") {
        let args = AuditArgs::parse_from(std::env::args_os().skip(1));
        audit::run(&args, &mut std::io::stdout()).map_err(|error| error.to_string())
    } else {
        run(Args::parse()).await.map_err(|error| error.to_string())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "broker-min: {error}");
            ExitCode::FAILURE
        }
    }
}
