//! `claudemesh completions`: what a shell completes.

use clap::CommandFactory as _;
use serde_json::json;

use crate::cli::{Cli, Completions};
use crate::exit::{Code, Failure};
use crate::output::Output;

pub(super) fn run(args: &Completions, out: &Output) -> Result<Code, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "claudemesh", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let answer = json!({ "shell": args.shell.to_string(), "script": script });
    out.answer(&answer, || script.clone())?;
    Ok(Code::Ok)
}
