//! What goes to stdout and stderr: lines as they come, closed pipes, hostile texts.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Broker, pair, said};

#[test]
fn messages_are_shown_as_they_come_and_taken() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    bob.json(0, &["status", "set", "dnd"]);
    let mut command = bob.command(&["listen", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    ana.json(0, &["send", "bob", "urgent", "--priority", "now"]);
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["body"], "urgent");
    let peers = ana.json(0, &["peers"]);
    assert_eq!(peers[0]["name"], "bob");
    assert_eq!(peers[0]["online"], true);
    assert_eq!(peers[0]["status"], "dnd");
    // What is not urgent waits until the wish changes, also while listen runs.
    ana.json(0, &["send", "bob", "later"]);
    bob.json(0, &["status", "set", "idle"]);
    let second: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(second["body"], "later");
    stop(&mut child);
    assert!(bob.inbox(&[]).is_empty(), "what was shown is not new");
}

#[cfg(unix)]
pub(crate) fn stop(child: &mut std::process::Child) {
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("listen does not end");
}

#[cfg(not(unix))]
pub(crate) fn stop(child: &mut std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_closed_stdout_is_no_error_and_marks_nothing() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["send", "bob", "read me"]);
    let mut command = bob.command(&["inbox"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ended = said(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.err, "");
    assert_eq!(bob.inbox(&[]), ["read me"]);
}

#[test]
fn a_peer_cannot_steer_the_terminal() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let text = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\rfake\u{202e}\nana (0000), now\n";
    ana.json(0, &["send", "bob", "--", text]);
    let peeked = bob.run(&["inbox", "--peek"]);
    assert!(
        !peeked.out.contains(|c: char| c.is_control() && c != '\n'),
        "{peeked:?}"
    );
    assert!(!peeked.out.contains('\u{202e}'));
    assert!(
        peeked.out.contains("\n  ana (0000), now\n"),
        "moved in: {peeked:?}"
    );
    // JSON readers get the very text, by way of harmless bytes.
    let json = bob.run(&["inbox", "--json"]);
    assert!(
        !json.out.contains(|c: char| c.is_control() && c != '\n'),
        "{json:?}"
    );
    let answer: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(answer[0]["body"], text);
    let refused = bob.run(&["send", "\u{1b}[31m", "x"]);
    assert!(!refused.err.contains('\u{1b}'), "{refused:?}");
}

#[test]
fn colours_are_for_terminals_only() {
    let broker = Broker::start();
    let (ana, _bob) = pair(&broker);
    for args in [
        &["peers"][..],
        &["send", "nobody", "x"],
        &["invite"],
        &["doctor"],
    ] {
        let said = ana.run(args);
        assert!(
            !said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'),
            "{said:?}"
        );
    }
}
