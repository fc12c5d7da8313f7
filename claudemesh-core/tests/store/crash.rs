//! SIGKILL at a random moment: what was confirmed is there afterwards.

use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{inbox, insert, integrity, open};
use claudemesh_core::store::{Outcome, PeerStore};

const FILE: &str = "CLAUDEMESH_TEST_STORE";
const WRITER: &str = "CLAUDEMESH_TEST_WRITER";
const ROUNDS: u32 = 3;
const WRITERS: u32 = 2;

/// What a writer's process runs; without its variables there is nothing to do.
#[test]
fn crash_writer() {
    let (Some(file), Ok(writer)) = (env::var_os(FILE), env::var(WRITER)) else {
        return;
    };
    let mut store = open(Path::new(&file));
    for n in 0.. {
        let pair = [format!("{writer}-{n}-a"), format!("{writer}-{n}-b")];
        let ops = pair.clone().map(|name| insert(&name, vec![b'x'; 300]));
        let outcomes = store.apply(&ops).unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Row(_)))
        );
        // One write, so that a killed process leaves whole lines or a last one without its end.
        let line = format!("kept {} {}\n", pair[0], pair[1]);
        stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    let mut confirmed = HashSet::new();
    for round in 0..ROUNDS {
        let (started, wait) = mpsc::channel();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| start(&path, &format!("r{round}-w{writer}"), started.clone()))
            .collect();
        for _ in 0..WRITERS {
            wait.recv_timeout(Duration::from_secs(20))
                .expect("the writers write");
        }
        thread::sleep(Duration::from_millis(50 + u64::from(random()) % 150));
        let mut lines = Vec::new();
        for (mut child, reader) in writers {
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success(), "it was still writing");
            lines.extend(reader.join().unwrap());
        }
        for line in lines {
            confirmed.extend(line.split(' ').map(str::to_owned));
        }

        let rows = inbox(&open(&path));
        let there: HashSet<_> = rows
            .into_iter()
            .map(|row| row.message.delivery.dedupe)
            .collect();
        let lost: Vec<_> = confirmed.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        for name in &there {
            let other = match name.strip_suffix('a') {
                Some(stem) => format!("{stem}b"),
                None => format!("{}a", name.trim_end_matches('b')),
            };
            assert!(there.contains(&other), "half a transaction: {name}");
        }
        assert_eq!(integrity(&path), "ok");
    }
    assert!(confirmed.len() as u32 >= 2 * ROUNDS * WRITERS);
}

/// Starts a writer; the thread collects its whole `kept` lines and tells of the first.
fn start(path: &Path, writer: &str, started: mpsc::Sender<()>) -> (Child, JoinHandle<Vec<String>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::crash_writer", "--nocapture"])
        .env(FILE, path)
        .env(WRITER, writer)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut kept = Vec::new();
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            // The test harness may have begun the line with words of its own.
            if let Some((_, names)) = line.split_once("kept ")
                && let Some(names) = names.strip_suffix('\n')
            {
                kept.push(names.to_owned());
                if kept.len() == 1 {
                    started.send(()).unwrap();
                }
            }
            line.clear();
        }
        kept
    });
    (child, reader)
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}
