//! Texts from stdin.

use std::io::{IsTerminal as _, Read as _};

use crate::exit::{Code, Failure};

/// Bytes of a text at most; what is larger does not fit a frame in any case.
const MAX_TEXT: u64 = 1 << 20;

/// What was given, or, for `-`, what stands on stdin without its last line end.
pub(crate) fn text(given: &str) -> Result<String, Failure> {
    match given {
        "-" => stdin(),
        text => Ok(text.to_owned()),
    }
}

fn stdin() -> Result<String, Failure> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        crate::output::hint("Write the text; Ctrl-D ends it.");
    }
    let mut text = String::new();
    let read = stdin.by_ref().take(MAX_TEXT + 1).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::new(
            Code::Io,
            format!("the text on stdin cannot be read: {error}"),
        )
    })?;
    if text.len() as u64 > MAX_TEXT {
        return Err(Failure::usage(
            "the text is longer than 1 MiB; send it in parts, or say where it can be found",
        ));
    }
    // The last line end is the shell's, not the writer's.
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}
