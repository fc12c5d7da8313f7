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
