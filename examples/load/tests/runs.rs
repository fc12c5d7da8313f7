//! The program itself, against a real broker.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The program, with `broker-min` beside it.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_claudemesh-load"));
        let broker = own.with_file_name(format!("broker-min{}", std::env::consts::EXE_SUFFIX));
        if !broker.exists() {
            let cargo = std::env::var("CARGO").unwrap();
            let mut build = Command::new(cargo);
            build.args(["build", "-p", "broker-min"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
        }
        own
    })
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

/// The one JSON object on stdout.
fn answer(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text);
    answer.unwrap_or_else(|_| panic!("not one JSON object: {text}\n{error}"))
}

fn number(answer: &Value, field: &str) -> f64 {
    let value = answer.pointer(field).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no {field} in {answer}"))
}

#[test]
fn nothing_is_lost_when_broker_and_peers_are_killed() {
    let seeded = [
        "--seed",
        "7",
        "--processes",
        "3",
        "--rate",
        "50",
        "--pace",
        "700ms",
    ];
    let output = run(&[&["kill9", "--rounds", "3", "--json"][..], &seeded].concat());
    let answer = answer(&output);
    assert!(output.status.success(), "{answer}");
    assert_eq!(number(&answer, "/lost"), 0.0);
    assert_eq!(number(&answer, "/duplicated"), 0.0);
    assert_eq!(number(&answer, "/queued"), 0.0);
    assert_eq!(number(&answer, "/seed"), 7.0);
    assert!(number(&answer, "/kills/broker") + number(&answer, "/kills/peer") >= 3.0);
    let accepted = number(&answer, "/accepted");
    assert!(accepted > 0.0);
    assert_eq!(number(&answer, "/delivered"), accepted);
}

#[test]
fn pairs_measure_both_kinds_of_peers() {
    for peers in ["wire", "full"] {
        let arguments = [
            "pairs",
            "--pairs",
            "2",
            "--duration",
            "1s",
            "--json",
            "--peers",
            peers,
        ];
        let output = run(&arguments);
        let answer = answer(&output);
        assert!(output.status.success(), "{answer}");
        assert_eq!(answer["peers"], peers);
        assert!(number(&answer, "/delivered_per_s") > 0.0);
        assert!(number(&answer, "/latency_ms/p50") <= number(&answer, "/latency_ms/p99"));
        assert_eq!(number(&answer, "/delivered"), number(&answer, "/accepted"));
        assert_eq!(number(&answer, "/duration_s"), 1.0);
    }
}

/// Runs a scenario that must find nothing wrong.
fn fine(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    let answer = answer(&output);
    assert!(output.status.success(), "{arguments:?}: {answer}");
    answer
}

#[test]
fn one_to_many_is_measured_by_turns_and_at_once() {
    let answer = fine(&["fanout", "--wide", "4", "--duration", "500ms"]);
    for part in ["to_one", "to_many", "to_all"] {
        assert!(number(&answer, &format!("/{part}/delivered_per_s")) > 0.0);
        let accepted = number(&answer, &format!("/{part}/accepted"));
        assert_eq!(number(&answer, &format!("/{part}/delivered")), accepted);
    }
    // Each message to all is delivered four times.
    assert_eq!(number(&answer, "/to_all/accepted") % 4.0, 0.0);
}

#[test]
fn what_is_for_those_who_are_online_is_measured_too() {
    let answer = fine(&["pairs", "--online", "--pairs", "2", "--duration", "500ms"]);
    assert_eq!(answer["online"], true);
    assert!(number(&answer, "/delivered_per_s") > 0.0);
    assert_eq!(number(&answer, "/delivered"), number(&answer, "/accepted"));
    let answer = fine(&["fanout", "--online", "--wide", "3", "--duration", "500ms"]);
    assert!(number(&answer, "/to_all/delivered_per_s") > 0.0);
    let output = run(&["pairs", "--online", "--peers", "full"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_waited_is_drained_by_both_kinds_of_peers() {
    for peers in ["wire", "full"] {
        let size = ["--away", "3", "--messages", "40", "--peers", peers];
        let answer = fine(&[&["drain"][..], &size].concat());
        assert_eq!(number(&answer, "/accepted"), 120.0);
        assert_eq!(number(&answer, "/delivered"), 120.0);
    }
}

#[test]
fn everyone_comes_back_after_the_broker_was_killed() {
    let answer = fine(&["storm", "40"]);
    assert_eq!(number(&answer, "/back"), 40.0);
    assert!(number(&answer, "/back_ms/p50") <= number(&answer, "/back_ms/p99"));
}

#[test]
fn others_are_measured_beside_the_slow_and_the_hostile() {
    let pairs = ["--pairs", "2", "--rate", "100", "--duration", "1s"];
    let answer = fine(&[&["slow"][..], &pairs].concat());
    for half in ["reader_reads", "reader_never_reads"] {
        assert!(number(&answer, &format!("/{half}/delivered")) > 0.0);
    }
    assert!(number(&answer, "/p99_ratio") > 0.0);
    let answer = fine(&[&["hostile", "--attackers", "2"][..], &pairs].concat());
    assert!(number(&answer, "/attacks/garbage") > 0.0);
    assert_eq!(answer["alive"], true);
    assert_eq!(answer["greets"], true);
}

#[test]
fn a_soak_says_what_memory_was_used_after_each_lap() {
    let answer = fine(&["soak", "--messages", "50", "--lap", "300ms", "--pairs", "2"]);
    assert!(number(&answer, "/accepted") >= 50.0);
    assert_eq!(number(&answer, "/lost"), 0.0);
    assert_eq!(number(&answer, "/duplicated"), 0.0);
    let laps = answer["rss_mib"]["after_each_lap"].as_array().unwrap();
    assert_eq!(laps.len() as f64, number(&answer, "/laps"));
}

/// What the system says of the processes that are this one's children, by what they were called with.
#[cfg(target_os = "linux")]
fn called_with(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap();
    let lines = processes.filter_map(|at| std::fs::read(at.ok()?.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_interrupted_leaves_no_process_and_no_file() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(program())
        .args(["pairs", "--pairs", "2", "--duration", "1m", "--json"])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // The broker has a word of its own before.
    let said = stderr.by_ref().lines().map(Result::unwrap);
    assert_eq!(
        said.filter(|line| line.starts_with("broker at "))
            .take(1)
            .count(),
        1
    );
    let own = dir.path().to_str().unwrap().to_owned();
    assert_eq!(called_with(&own), 1);
    let interrupt = ["-INT", &child.id().to_string()];
    let mut kill = Command::new("kill");
    assert!(kill.args(interrupt).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.is_empty());
    // What it ended is given the time to go.
    let until = Instant::now() + Duration::from_secs(10);
    let left = || {
        (
            called_with(&own),
            std::fs::read_dir(dir.path()).unwrap().count(),
        )
    };
    while left() != (0, 0) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left(), (0, 0));
}

#[test]
fn a_broker_that_is_not_there_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("claudemesh-load");
    std::fs::copy(env!("CARGO_BIN_EXE_claudemesh-load"), &alone).unwrap();
    let output = Command::new(&alone)
        .args(["pairs", "--json"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error.contains("cargo build") && error.contains("--url"),
        "{error}"
    );
    assert!(output.stdout.is_empty());
    let output = run(&["pairs", "--url", "ws://127.0.0.1:9/ws", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn bad_flags_are_refused_before_anything_is_started() {
    for arguments in [
        &["pairs", "--pairs", "0"][..],
        &["pairs", "--duration", "5"],
        &["pairs", "--size", "1000000"],
        &["pairs", "--rate", "0"],
        &["kill9", "--processes", "1"],
        &["storm", "none"],
        &["pairs", "--url", "ftp://broker.example"],
    ] {
        let output = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error.contains("invalid value"), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_json_the_answer_is_a_table() {
    let output = run(&["idle", "3", "--duration", "50ms"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(
        text.contains("kib_per_peer") && !text.contains('{'),
        "{text}"
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let output = run(&["storm", "1", "--url", "wss://broker.example/ws"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error.contains("no TLS") && output.stdout.is_empty(),
        "{error}"
    );
}
