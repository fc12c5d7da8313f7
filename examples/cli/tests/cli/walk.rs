//! Commands with a canary, what they said, and which of all verbs they were.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use claudemesh_core::encoding::{base64, hex};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::common::{Person, Said};
use crate::streams::stop;
use crate::verbs::verbs;

/// In all that is said.
pub(crate) const CANARY: &str = "canary-c41e07d9b352";
/// What a program that runs until it is stopped may take to show something.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// The verbs that show what somebody said, on stdout: each has to have done so.
pub(crate) const SHOW: [&str; 19] = [
    "hook",
    "inbox",
    "listen",
    "mcp",
    "peers",
    "recall",
    "requests list",
    "state get",
    "state list",
    "state watch",
    "summary set",
    "summary show",
    "task claim",
    "task complete",
    "task create",
    "task list",
    "topic history",
    "topic read",
    "topic tail",
];

/// How the canary could stand in bytes that were encoded: as it is, in hex, as a list of numbers,
/// in base64 at each of three places.
fn forms() -> Vec<Vec<u8>> {
    let numbers = format!("{:?}", CANARY.as_bytes());
    let mut forms = vec![
        CANARY.as_bytes().to_vec(),
        hex(CANARY.as_bytes()).into_bytes(),
        numbers.trim_matches(['[', ']']).as_bytes().to_vec(),
    ];
    for before in 0..3 {
        let text = format!("{}{CANARY}", "x".repeat(before));
        let encoded = base64(text.as_bytes());
        // Without the characters that what stands beside it has a part in.
        forms.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    forms
}

pub(crate) fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

pub(crate) fn is_not_in(place: &str, bytes: &[u8]) {
    for form in forms() {
        assert!(!holds(bytes, &form), "it is in {place}");
    }
}

/// Which verbs were called, and what they said.
pub(crate) struct Walk {
    pub(crate) verbs: BTreeSet<String>,
    pub(crate) called: BTreeSet<String>,
    pub(crate) showed: BTreeSet<String>,
}

impl Walk {
    pub(crate) fn new() -> Self {
        let (called, showed) = (BTreeSet::new(), BTreeSet::new());
        let verbs = verbs();
        assert!(verbs.len() > 50, "{verbs:?}");
        Self {
            verbs,
            called,
            showed,
        }
    }

    /// Runs a command that has to end with this code; one that failed is not one that was called.
    pub(crate) fn ends(&mut self, code: i32, person: &Person, args: &[&str]) -> Said {
        let said = person.run(args);
        self.note(code, args, said)
    }

    pub(crate) fn run(&mut self, person: &Person, args: &[&str]) -> Said {
        self.ends(0, person, args)
    }

    pub(crate) fn run_with_stdin(&mut self, person: &Person, args: &[&str], stdin: &str) {
        let said = person.run_with_stdin(args, stdin);
        self.note(0, args, said);
    }

    pub(crate) fn json(&mut self, person: &Person, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.push("--json");
        serde_json::from_str(&self.run(person, &all).out).unwrap()
    }

    pub(crate) fn note(&mut self, code: i32, args: &[&str], said: Said) -> Said {
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        // `invite list` is not `invite`.
        let names = [args.get(..2), args.get(..1)].into_iter().flatten();
        let verb = names
            .map(|names| names.join(" "))
            .find(|verb| self.verbs.contains(verb))
            .unwrap_or_else(|| panic!("{args:?} is no verb"));
        // What one does oneself is told by `listen` when that changes.
        let own = format!("Summary: {CANARY}");
        let err = match verb.as_str() {
            "listen" => said.err.replace(&own, ""),
            _ => said.err.clone(),
        };
        is_not_in(&format!("stderr of {args:?}"), err.as_bytes());
        if !SHOW.contains(&verb.as_str()) {
            is_not_in(&format!("stdout of {args:?}"), said.out.as_bytes());
        } else if said.out.contains(CANARY) {
            self.showed.insert(verb.clone());
        }
        if code == 0 {
            self.called.insert(verb);
        }
        said
    }
}

/// A command that runs until it is stopped.
pub(crate) struct Running {
    args: Vec<&'static str>,
    child: Child,
    out: NamedTempFile,
    err: NamedTempFile,
}

impl Running {
    pub(crate) fn start(person: &Person, args: &[&'static str]) -> Self {
        let file = || NamedTempFile::new().unwrap();
        let (out, err) = (file(), file());
        let to = |file: &NamedTempFile| Stdio::from(File::create(file.path()).unwrap());
        let mut command = person.command(args);
        let child = command.stdout(to(&out)).stderr(to(&err)).spawn().unwrap();
        let args = args.to_vec();
        Self {
            args,
            child,
            out,
            err,
        }
    }

    fn said(&self) -> Said {
        let read = |file: &NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
        Said {
            code: 0,
            out: read(&self.out),
            err: read(&self.err),
        }
    }

    /// Until one of its streams has this.
    pub(crate) fn until(&self, words: &str) {
        let until = Instant::now() + SOON;
        loop {
            let said = self.said();
            if said.out.contains(words) || said.err.contains(words) {
                return;
            }
            assert!(Instant::now() < until, "{:?}: {said:?}", self.args);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn stop(mut self, walk: &mut Walk) {
        stop(&mut self.child);
        walk.note(0, &self.args, self.said());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
