//! Where the passphrase of a backup comes from: a file, the environment, or a person. Never from
//! the arguments.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use claudemesh_core::config::{PASSPHRASE_MIN, Passphrase};

use crate::cli::PASSPHRASE;
use crate::context::is_interactive;
use crate::exit::{Code, Failure};
use crate::output::Output;

/// Bytes of a passphrase at most.
const MAX: u64 = 4_096;

/// Gets it; `new` ones are asked for twice, and have to be long enough.
pub(super) async fn get(
    file: Option<&Path>,
    new: bool,
    out: &Output,
) -> Result<Passphrase, Failure> {
    let given = match file {
        Some(file) => Some(first_line(file)?),
        None => std::env::var(PASSPHRASE)
            .ok()
            .filter(|text| !text.is_empty()),
    };
    let text = match given {
        Some(text) => text,
        None if is_interactive(out) => ask(new).await?,
        None => {
            return Err(Failure::usage(format!(
                "which passphrase? Say --passphrase-file FILE ('-' is stdin), or set {PASSPHRASE}"
            )));
        }
    };
    let passphrase = Passphrase::new(text);
    if new && !passphrase.is_long_enough() {
        return Err(Failure::usage(format!(
            "the passphrase is too short: {PASSPHRASE_MIN} characters at least, four words are good"
        )));
    }
    Ok(passphrase)
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("{}: the passphrase cannot be read: {error}", path.display());
        Failure::new(Code::Io, message)
    };
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let mut line = String::new();
    BufReader::new(input.take(MAX))
        .read_line(&mut line)
        .map_err(failed)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        let message = format!("{}: its first line is empty", path.display());
        return Err(Failure::usage(message));
    }
    Ok(line)
}

async fn ask(new: bool) -> Result<String, Failure> {
    let asked = tokio::task::spawn_blocking(move || {
        let prompt = dialoguer::Password::new().with_prompt("Passphrase of the backup");
        match new {
            true => prompt.with_confirmation("Again", "They differ. Once more"),
            false => prompt,
        }
        .interact()
    });
    match asked.await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::new(Code::Io, format!("cannot ask: {error}"))),
        Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
    }
}
