//! The examples are run as programs: a broker, a peer that echoes, a bot that answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use claudemesh_core::{Config, InviteOptions, Peer};

/// A program that is ended with the test.
struct Program(Child);

impl Program {
    fn start(path: &str, args: &[&str], config_dir: &std::path::Path) -> Self {
        let child = Command::new(path)
            .args(args)
            .env("CLAUDEMESH_CONFIG_DIR", config_dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_examples_talk() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let data = at("broker");
    let args = [data.to_str().unwrap(), "127.0.0.1:0"];
    let mut broker = Program::start(env!("CARGO_BIN_EXE_embed-broker"), &args, &at("none"));
    let url = broker
        .line()
        .strip_prefix("listening on ")
        .unwrap()
        .parse()
        .unwrap();

    let created = Config::load(at("ana"))
        .unwrap()
        .create("examples", &url, "ana")
        .await
        .unwrap();
    let ana = Peer::connect(&created.mesh).await.unwrap();
    let link = async || {
        ana.invite(InviteOptions::default())
            .await
            .unwrap()
            .issued
            .link()
    };
    let _peer = Program::start(
        env!("CARGO_BIN_EXE_embed-peer"),
        &[&link().await],
        &at("peer"),
    );
    let _bot = Program::start(
        env!("CARGO_BIN_EXE_embed-bot"),
        &[&link().await],
        &at("bot"),
    );

    let mut incoming = ana.incoming().await.unwrap();
    for (to, text, answer) in [("echo", "hi", "you said: hi"), ("bot", "ping", "pong")] {
        wait_for(&ana, to).await;
        ana.send(to, text).await.unwrap();
        let message = tokio::time::timeout(Duration::from_secs(10), incoming.next()).await;
        let message = message.expect("an answer in time").unwrap();
        assert_eq!(message.text(), answer);
        assert_eq!(message.from.name.unwrap().as_str(), to);
    }
}

async fn wait_for(peer: &Peer, name: &str) {
    for _ in 0..500 {
        if peer
            .members()
            .iter()
            .any(|member| member.name.as_str() == name)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name} did not join");
}

/// The crate documentation of the core shows the very text of the first example.
#[test]
fn the_crate_docs_show_the_example() {
    let docs = include_str!("../../../claudemesh-core/src/lib.rs");
    let shown: Vec<&str> = (docs.lines())
        .skip_while(|line| !line.starts_with("//! ```no_run"))
        .skip(1)
        .take_while(|line| !line.starts_with("//! ```"))
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' '))
        .collect();
    let example = include_str!("../src/bin/peer.rs");
    let code: Vec<&str> = example
        .lines()
        .skip_while(|line| !line.starts_with("use "))
        .map(str::trim_start)
        .collect();
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_start()).collect();
    assert_eq!(shown, code);
}
