//! The claudemesh command line: a thin shell around `claudemesh-core`.

#![forbid(unsafe_code)]

mod agent;
mod cli;
mod commands;
mod context;
mod demo;
mod duration;
mod exit;
mod format;
mod input;
mod install;
mod output;
mod signals;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;

use broker_min::{operator, settings};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::exit::{Code, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = joining(std::env::args_os().collect());
    if arguments.len() <= 1 {
        let help = command().render_help();
        return exit(&Output::new(false, false), help_shown(&help));
    }
    let arguments = match for_broker(arguments) {
        Ok(Arguments::Own(arguments)) => arguments,
        Ok(Arguments::Done) => return ExitCode::SUCCESS,
        Err(failure) => return exit(&Output::new(false, false), Err(failure)),
    };
    let parsed = command().try_get_matches_from(&arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let json = arguments.iter().any(|a| a == "--json");
            return exit(&Output::new(json, false), not_parsed(&error, json));
        }
    };
    let out = Output::new(cli.global.json, cli.global.quiet);
    exit(&out, run(cli, &out))
}

/// A link alone is one to join by.
fn joining(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = command_at(&arguments)
        && let Some(text) = arguments.get(at).and_then(|word| word.to_str())
        && text.contains("://")
    {
        arguments.insert(at, "join".into());
    }
    arguments
}

/// What is left to do with the arguments.
enum Arguments {
    /// They are for this program.
    Own(Vec<OsString>),
    /// They were for the broker's folder, and are carried out.
    Done,
}

/// `claudemesh broker` takes what `broker-min` takes: its commands, and its settings from the
/// environment and a file.
fn for_broker(mut arguments: Vec<OsString>) -> Result<Arguments, Failure> {
    let Some(at) = broker_at(&arguments) else {
        return Ok(Arguments::Own(arguments));
    };
    let given = arguments.split_off(at + 1);
    if operator::is_verb(given.first()) {
        let data = cli::broker_data(cli::BROKER_DATA.as_ref(), || {
            let config = claudemesh_core::Config::load_default().ok()?;
            config.dir().map(std::path::Path::to_owned)
        });
        let done = operator::run(given, Some(data), &mut std::io::stdout());
        done.map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
        return Ok(Arguments::Done);
    }
    let expanded = settings::expand_from_env(&broker_min::cli::Args::command(), given);
    arguments.extend(expanded.map_err(|error| Failure::usage(error.to_string()))?);
    Ok(Arguments::Own(arguments))
}

/// Where the word `broker` stands, if it is the command.
fn broker_at(arguments: &[OsString]) -> Option<usize> {
    command_at(arguments).filter(|at| arguments.get(*at).is_some_and(|word| word == "broker"))
}

/// Where the command stands, behind what goes before any.
fn command_at(arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        match arguments.get(at)?.to_str()? {
            "--mesh" | "--ca" | "--session" | "--as" => at += 2,
            flag if flag.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
}

/// The broker's own program has no folder to begin with; here there is one.
fn command() -> clap::Command {
    let command = cli::groups::grouped(Cli::command());
    command.mut_subcommand("broker", |broker| {
        broker.mut_arg("data", |data| {
            data.required(false).default_value(cli::BROKER_DATA)
        })
    })
}

fn run(cli: Cli, out: &Output) -> Result<Code, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Internal, format!("cannot start: {error}")))?;
    let result = runtime.block_on(commands::run(cli, out));
    // A thread that waits for the terminal would hold the end up.
    runtime.shutdown_background();
    result
}

/// Help and version are answers; everything else is a wrong use.
fn not_parsed(error: &clap::Error, json: bool) -> Result<Code, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => help_shown(&error.render()),
        // Only half a command: what it can go on with says more than an error.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            output::hint(error.render().ansi().to_string().trim_end());
            Ok(Code::Usage)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Failure::usage(
            "the command goes on with another word; --help lists them",
        )),
        _ => {
            let text = error.render().to_string();
            let text = text.trim_end();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            Err(Failure::new(Code::Usage, text))
        }
    }
}

fn help_shown(help: &clap::builder::StyledStr) -> Result<Code, Failure> {
    output::print(&help.ansi().to_string())?;
    Ok(Code::Ok)
}

fn exit(out: &Output, result: Result<Code, Failure>) -> ExitCode {
    match result {
        Ok(code) => code.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.code().into()
        }
    }
}
