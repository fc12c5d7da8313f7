//! Answers on stdout, everything else on stderr.
//!
//! An answer is written at once and as a whole: a reader never sees half of one. Text that others
//! wrote goes through [`crate::format::clean`] before it gets here.

use std::io::{ErrorKind, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;

use crate::exit::{Code, Failure};
use crate::format;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether answers are JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// The answer: as JSON if that was asked for, else as text.
    pub(crate) fn answer(
        &self,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            print(&json_line(json)?)
        } else {
            print(&text())
        }
    }

    /// Says something that is not the answer; `--quiet` leaves it out.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(&format::clean(text));
        }
    }

    /// Says something that should not be missed.
    pub(crate) fn warn(&self, text: &str) {
        say(&format!(
            "{WARNING}warning:{WARNING:#} {}",
            format::clean(text)
        ));
    }

    /// Says why the command failed: a sentence on stderr, with `--json` an object on stdout too.
    pub(crate) fn failure(&self, failure: &Failure) {
        let Failure::Error(code, message) = failure else {
            return;
        };
        if self.json {
            let error = json!({ "error": { "code": code.as_str(), "message": message } });
            if let Ok(line) = json_line(&error) {
                // There is no other place to tell this.
                drop(print(&line));
            }
        }
        say(&format!(
            "{ERROR}error:{ERROR:#} {}",
            format::clean(message)
        ));
    }
}

/// One line of JSON in which no control character is left: a terminal may be reading.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if format::is_unsafe(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

/// Writes to stdout, without colours if it is no terminal.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::AutoStream::auto(std::io::stdout());
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            Failure::Closed
        } else {
            Failure::new(Code::Io, format!("cannot write to stdout: {error}"))
        }
    })
}

/// Tells a person at the terminal what to do.
pub(crate) fn hint(text: &str) {
    say(text);
}

fn say(text: &str) {
    let mut stderr = anstream::AutoStream::auto(std::io::stderr());
    // Nobody to tell it to.
    drop(stderr.write_all(format!("{text}\n").as_bytes()));
}
