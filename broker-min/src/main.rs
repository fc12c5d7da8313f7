//! Runs the broker, and what its operator does to it.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use broker_min::cli::{Args, run};
use broker_min::{operator, settings};
use clap::{CommandFactory as _, Parser as _};

fn main() -> ExitCode {
    match begin(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "broker-min: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: Vec<OsString>) -> Result<(), String> {
    if operator::is_verb(arguments.first()) {
        let done = operator::run(arguments, None, &mut std::io::stdout());
        return done.map_err(|error| error.to_string());
    }
    let arguments = settings::expand_from_env(&Args::command(), arguments);
    let arguments = arguments.map_err(|error| error.to_string())?;
    let name = OsString::from("broker-min");
    let args = Args::parse_from(std::iter::once(name).chain(arguments));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime
        .block_on(run(args))
        .map_err(|error| error.to_string())
}
