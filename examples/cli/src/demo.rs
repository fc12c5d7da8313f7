//! `claudemesh demo`: the whole thing at work, in one folder that is deleted at the end.
//!
//! Nothing of this user's configuration is read or written: each of the three peers has a folder
//! of its own in the demo's temporary one, and the broker is a process of its own.

mod broker;
mod search;
mod story;

use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::Demo;
use crate::exit::{Code, Failure};
use crate::output::{Output, print};
use crate::signals::interrupted;

const INTERRUPTED: &str = "interrupted; nothing is left behind";
const BY_HAND: &str = "\
The same by hand. In one terminal:
  claudemesh broker
In a second one:
  claudemesh create team --broker ws://localhost:7900/ws --name ana
  claudemesh invite
In a third one, as somebody else:
  export CLAUDEMESH_CONFIG_DIR=/tmp/bob
  claudemesh join 'LINK' --name bob
  claudemesh send ana 'hello'
And back in the second one:
  claudemesh inbox --wait 10s
";

pub(crate) async fn run(args: Demo, out: &Output) -> Result<Code, Failure> {
    let started = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("claudemesh-demo-")
        .tempdir()
        .map_err(|error| Failure::new(Code::Io, format!("no temporary folder: {error}")))?;
    let path = folder.path().to_owned();
    let mut teller = Teller::new(*out);
    // Whatever ends the story drops it first: the broker dies before its folder goes.
    let result = tokio::select! {
        biased;
        () = interrupted() => Err(Failure::new(Code::Failed, INTERRUPTED)),
        result = story::tell(&path, &mut teller) => result,
    };
    let kept = if args.keep {
        Some(folder.keep())
    } else {
        drop(folder);
        None
    };
    let took = started.elapsed();
    match &result {
        Ok(()) => {}
        Err(Failure::Closed) => return Err(Failure::Closed),
        Err(error) => {
            return Err(Failure::new(error.code(), teller.blame(error)));
        }
    }
    let answer = json!({
        "ok": true,
        "steps": teller.steps,
        "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "folder": kept,
    });
    let gone = match &kept {
        Some(path) => format!("Everything is still in {}.", path.display()),
        None => "The broker is stopped and the folder deleted.".to_owned(),
    };
    out.answer(&answer, || {
        format!(
            "\nThat took {:.1} s. {gone}\n\n{BY_HAND}",
            took.as_secs_f32()
        )
    })?;
    Ok(Code::Ok)
}

/// Tells the story step by step, or collects it for the JSON answer.
struct Teller {
    out: Output,
    began: Instant,
    steps: Vec<Value>,
    current: Option<(&'static str, Instant, Vec<String>)>,
}

impl Teller {
    fn new(out: Output) -> Self {
        Self {
            out,
            began: Instant::now(),
            steps: Vec::new(),
            current: None,
        }
    }

    /// A step begins; the one before it has succeeded.
    fn step(&mut self, title: &'static str) -> Result<(), Failure> {
        self.done();
        self.current = Some((title, Instant::now(), Vec::new()));
        if self.out.is_json() {
            return Ok(());
        }
        let seconds = self.began.elapsed().as_secs_f32();
        print(&format!(
            "\n{}. {title}  [{seconds:.1} s]\n",
            self.steps.len() + 1
        ))
    }

    /// Something that was seen.
    fn see(&mut self, text: impl Into<String>) -> Result<(), Failure> {
        let text = text.into();
        let line = format!("   {}\n", text.replace('\n', "\n   "));
        if let Some((_, _, seen)) = &mut self.current {
            seen.push(text);
        }
        if self.out.is_json() {
            return Ok(());
        }
        print(&line)
    }

    /// The last step has succeeded too.
    fn done(&mut self) {
        if let Some((title, began, seen)) = self.current.take() {
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.steps
                .push(json!({ "title": title, "ok": true, "ms": ms, "seen": seen }));
        }
    }

    /// Says at which step it ended.
    fn blame(&self, error: &Failure) -> String {
        match &self.current {
            Some((title, ..)) => {
                format!(
                    "the demo ended at step {} ({title}): {error}",
                    self.steps.len() + 1
                )
            }
            None => format!("the demo ended: {error}"),
        }
    }
}
