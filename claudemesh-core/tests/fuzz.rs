//! What is fuzzed with coverage (`fuzz/`), without it: the corpus as it is, and inputs made from it
//! by cutting, joining and changing bytes. `CLAUDEMESH_FUZZ_COUNT` says how many for each target.
#![cfg(feature = "config")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

#[path = "fuzz/config.rs"]
mod config;
#[path = "fuzz/envelope.rs"]
mod envelope;
#[path = "fuzz/invite.rs"]
mod invite;
#[path = "fuzz/log_entry.rs"]
mod log_entry;
#[path = "fuzz/session.rs"]
mod session;
#[path = "support/mod.rs"]
mod support;
#[path = "fuzz/wire.rs"]
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use claudemesh_core::crypto::Drbg;

/// Inputs longer than that say nothing new.
const LONGEST: usize = 16 * 1024;

/// The corpus of a target, each file by its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn place(rng: &mut Drbg, length: usize) -> usize {
    usize::try_from(rng.below(length as u64 + 1)).unwrap()
}

/// One input made from others.
fn changed(rng: &mut Drbg, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
    let pick = |rng: &mut Drbg| &corpus[place(rng, corpus.len() - 1)].1;
    let mut data = pick(rng).clone();
    for _ in 0..=rng.below(4) {
        let at = place(rng, data.len());
        let to = (at + place(rng, 16)).min(data.len());
        match rng.below(7) {
            0 => data.truncate(at),
            1 => drop(data.drain(at..to)),
            2 => data.insert(at, rng.bytes::<1>()[0]),
            3 if at < data.len() => data[at] ^= 1 << rng.below(8),
            4 if at < data.len() => {
                let telling = *b"\0\n\"\\{}[]:,0-9\xff\x7f\x80 #@*";
                data[at] = telling[place(rng, telling.len() - 1)];
            }
            5 => {
                let part = data[at..to].to_vec();
                data.splice(at..at, part);
            }
            _ => {
                let other = pick(rng);
                let from = place(rng, other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data.truncate(LONGEST);
    data
}

fn drive(target: &str, default: u64, run: fn(&[u8])) {
    let count = std::env::var("CLAUDEMESH_FUZZ_COUNT").ok();
    let count = count.map_or(default, |count| count.parse().unwrap());
    let corpus = corpus(target);
    for (_, data) in &corpus {
        run(data);
    }
    let mut rng = Drbg::new([7; 32]);
    for number in 0..count {
        let data = changed(&mut rng, &corpus);
        if catch_unwind(AssertUnwindSafe(|| run(&data))).is_err() {
            panic!(
                "{target}, input {number} made from the corpus: {}",
                data.escape_ascii()
            );
        }
    }
    eprintln!(
        "{target}: {} inputs kept, {count} made from them",
        corpus.len()
    );
}

#[test]
fn frames() {
    drive("wire", 20_000, wire::run);
}

#[test]
fn links_and_tokens() {
    drive("invite", 5_000, invite::run);
}

#[test]
fn what_stands_in_a_box() {
    drive("envelope", 1_000, envelope::run);
}

#[test]
fn log_entries() {
    drive("log_entry", 500, log_entry::run);
}

#[test]
fn session_operations() {
    drive("session", 300, session::run);
}

#[test]
fn configuration() {
    drive("config", 5_000, config::run);
}
