//! The real program: what it prints, how it ends, and SIGKILL between accept and delivery.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use broker_min::testing::{TestMesh, http};
use claudemesh_core::{Config, InviteOptions, Peer};
use support::*;

struct Program {
    child: Child,
    addr: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-min"));
    command
        .args(["--listen", listen, "--log", "warn", "--data"])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(dir: &Path, listen: &str) -> Program {
    let mut child = command(dir, listen).spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("listening on ws://").unwrap();
    let addr = url.strip_suffix("/ws").unwrap().parse().unwrap();
    Program { child, addr }
}

/// A mesh that was made in this process, its folder handed to the program.
async fn stopped_mesh() -> TestMesh {
    let mesh = mesh_of(2).await;
    mesh.stop_broker().await.unwrap();
    mesh
}

#[tokio::test]
async fn sigkill_between_accept_and_delivery_loses_nothing() {
    let mesh = stopped_mesh().await;
    let listen = mesh.addr().to_string();
    let mut program = start(mesh.data_dir(), &listen);
    let mut alice = online(&mesh, &key(1)).await;
    for n in 0..20 {
        alice.json(send(&key(2), &format!("m-{n:02}"))).await;
    }
    let mut acked = 0;
    while acked < 20 {
        match alice.next().await {
            Got::Frame(frame) if frame["type"] == "ack" => acked += 1,
            Got::Frame(frame) => acked += frame["items"].as_array().map_or(0, Vec::len),
            got => panic!("{got:?}"),
        }
    }
    program.child.kill().unwrap();
    program.child.wait().unwrap();

    let _again = start(mesh.data_dir(), &listen);
    let mut bob = online(&mesh, &key(2)).await;
    for n in 0..20 {
        let push = bob.expect("push").await;
        assert_eq!(push["client_message_id"], format!("m-{n:02}"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_closes_everyone_and_ends_well() {
    let mesh = stopped_mesh().await;
    let mut program = start(mesh.data_dir(), &mesh.addr().to_string());
    let mut alice = online(&mesh, &key(1)).await;
    let id = program.child.id().to_string();
    Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert_eq!(alice.closed().await.0, 1001);
    let status = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
    assert!(status.await.unwrap().success());
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_under_load_loses_nothing_that_was_answered() {
    // Fewer than are pushed without an answer.
    const SENT: usize = 200;
    let mesh = stopped_mesh().await;
    let listen = mesh.addr().to_string();
    let mut program = start(mesh.data_dir(), &listen);
    let mut alice = online(&mesh, &key(1)).await;
    for n in 0..SENT {
        alice.json(send(&key(2), &format!("m-{n:03}"))).await;
    }
    let id = program.child.id().to_string();
    let mut acked = Vec::new();
    let mut told = false;
    let code = loop {
        if !told && !acked.is_empty() {
            Command::new("kill").args(["-TERM", &id]).status().unwrap();
            told = true;
        }
        match alice.next().await {
            Got::Frame(frame) if frame["type"] == "ack" => acked.push(frame),
            Got::Frame(frame) => {
                acked.extend(frame["items"].as_array().into_iter().flatten().cloned());
            }
            Got::Closed(frame) => break frame.map(|frame| u16::from(frame.code)),
            got => panic!("{got:?}"),
        }
    };
    assert_eq!(code, Some(1001));
    let status = tokio::task::spawn_blocking(move || program.child.wait().unwrap());
    assert!(status.await.unwrap().success());

    let _again = start(mesh.data_dir(), &listen);
    let mut bob = online(&mesh, &key(2)).await;
    for ack in acked {
        let push = bob.expect("push").await;
        assert_eq!(push["client_message_id"], ack["client_message_id"]);
    }
}

#[tokio::test]
async fn it_prints_one_line_and_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = start(dir.path(), "127.0.0.1:0");
    let health = http(program.addr, "GET", "/health", &[], "").await.unwrap();
    assert_eq!(health.status, 200);
    program.child.kill().unwrap();
    let mut rest = String::new();
    let stdout = program.child.stdout.as_mut().unwrap();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let mut log = String::new();
    let stderr = program.child.stderr.as_mut().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(log.contains("no public URL is set"), "{log}");
}

#[tokio::test]
async fn what_is_held_by_another_is_refused_with_advice() {
    let mesh = TestMesh::start().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let port = command(other.path(), &mesh.addr().to_string())
        .spawn()
        .unwrap();
    let folder = command(mesh.data_dir(), "127.0.0.1:0").spawn().unwrap();
    let wait = |child: Child| tokio::task::spawn_blocking(move || child.wait_with_output());
    let (port, folder) = tokio::join!(wait(port), wait(folder));
    for (output, advice) in [
        (port, "choose another --listen"),
        (folder, "another --data"),
    ] {
        let output = output.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(advice), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_flags_are_refused() {
    let dir = Path::new("unused");
    let output = command(dir, "nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut limits = command(dir, "127.0.0.1:0");
    let output = limits.args(["--mailbox-rows", "many"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!dir.exists());
}

/// With everything logged that can be logged, from real peers over a whole life.
#[tokio::test]
async fn no_log_line_has_a_text_a_secret_or_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("broker");
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_broker-min"));
    program.args(["--listen", "127.0.0.1:0", "--log", "trace", "--data"]);
    program.arg(&data).stdout(Stdio::piped()).stderr(log);
    let mut child = program.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim_end().strip_prefix("listening on ").unwrap();
    let url = url.parse().unwrap();

    let soon = std::time::Duration::from_secs(10);
    let mut ana = Config::load(dir.path().join("ana")).unwrap();
    let created = ana.create("team", &url, "ana").await.unwrap();
    let owner = Peer::connect(&created.mesh).await.unwrap();
    let invite = owner.invite(InviteOptions::default()).await.unwrap();
    let link = invite.issued.link();
    let mut bob = Config::load(dir.path().join("bob")).unwrap();
    let entry = bob.join(&link, "bob").await.unwrap();
    // The second one is refused, and what it tried is not logged either.
    let mut eve = Config::load(dir.path().join("eve")).unwrap();
    eve.join(&link, "eve").await.unwrap_err();
    let peer = Peer::connect(&entry).await.unwrap();
    let canary = "canary-in-the-logs-51c0";
    let receipt = owner.send("bob", canary).await.unwrap();
    tokio::time::timeout(soon, receipt.delivered())
        .await
        .unwrap()
        .unwrap();
    peer.close(soon).await;
    owner.close(soon).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(text.contains("hello"), "it does log what happens");
    let (address, fragment) = link.split_once('#').unwrap();
    let token = address.rsplit('/').next().unwrap();
    let secret = created.recovery_key.expose().to_string();
    let key = created.mesh.key_pair().expose_secret_hex().to_string();
    for secret in [canary, fragment, token, &secret[..64], &key[..64]] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}
