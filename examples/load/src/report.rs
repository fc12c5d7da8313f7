//! The answer on stdout, everything else on stderr.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::error::{During as _, LoadError};

/// How a run speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// The answer: one JSON object, or a table of its fields.
    pub(crate) fn answer(&self, answer: &Value) -> Result<(), LoadError> {
        let text = if self.json {
            answer.to_string()
        } else {
            table(answer).to_string()
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}").during("stdout")
    }

    /// Says something that is not the answer.
    pub(crate) fn note(&self, text: &str) {
        // Nobody to tell it to.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A bar on stderr if that is a terminal, else nothing.
    pub(crate) fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar
    }
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    rows(&mut table, "", answer);
    table
}

fn rows(table: &mut Table, name: &str, value: &Value) {
    let Value::Object(fields) = value else {
        let text = value.as_str().map_or(value.to_string(), str::to_owned);
        table.add_row([name.to_owned(), text]);
        return;
    };
    for (field, value) in fields {
        let name = match name {
            "" => field.clone(),
            outer => format!("{outer} {field}"),
        };
        rows(table, &name, value);
    }
}

/// Three decimals are enough for anything that is measured here.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
