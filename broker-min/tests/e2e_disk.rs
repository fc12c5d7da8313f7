//! The real program on disks that fail: writes that are errors, a file system that is full, files
//! that nobody may write. No false ack, a clear word, and it goes on once the disk does.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker_min::testing::TestMesh;
use serde_json::Value;
use support::*;

const LONG: Duration = Duration::from_secs(40);

struct Program(Child);

impl Program {
    /// It ended by itself, which it does when nobody knows what of a write is on the disk.
    fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program behind a line of shell, in which `$0` is the program and `$1` its folder.
fn start(shell: &str, wrap: &[&str], dir: &Path, listen: &str) -> Program {
    start_telling(shell, wrap, dir, listen, Stdio::null())
}

/// The same, and what it tells goes somewhere.
fn start_telling(shell: &str, wrap: &[&str], dir: &Path, listen: &str, told: Stdio) -> Program {
    let program = env!("CARGO_BIN_EXE_broker-min");
    let script = format!(
        "{shell} exec \"$0\" --listen {listen} --log warn --deliveries-per-s 1000000 \
         --delivery-burst 1000000 --data \"$1\""
    );
    let mut words: Vec<&str> = wrap.to_vec();
    words.extend(["sh", "-c", &script, program]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(dir);
    let mut child = command.stdout(Stdio::piped()).stderr(told).spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    Program(child)
}

async fn stopped_mesh() -> TestMesh {
    let mesh = mesh_of(2).await;
    mesh.stop_broker().await.unwrap();
    mesh
}

/// What became of sends.
#[derive(Default)]
struct Books {
    next: usize,
    accepted: BTreeSet<String>,
    /// Codes of refusals and of closed connections.
    words: BTreeSet<String>,
}

impl Books {
    /// Sends large messages, one by one, until one is not accepted, or so many are. Whether one was
    /// refused.
    async fn send(&mut self, mesh: &TestMesh, most: usize) -> bool {
        let mut alice = online(mesh, &key(1)).await;
        for _ in 0..most {
            self.next += 1;
            let id = format!("m-{:04}", self.next);
            let mut frame = send(&key(2), &id);
            frame["ciphertext"] = Value::String("A".repeat(32_000));
            alice.json(frame).await;
            loop {
                match alice.next().await {
                    Got::Frame(ack) if ack["type"] == "ack" => {
                        if ack["queued"] == true {
                            self.accepted.insert(id);
                            break;
                        }
                        self.words.insert(ack["code"].as_str().unwrap().to_owned());
                        return true;
                    }
                    Got::Frame(_) => {}
                    _ => {
                        self.words.insert("closed".to_owned());
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Sends until something is accepted again, by the same process.
    async fn recovered(&mut self, mesh: &TestMesh, program: &mut Program) {
        let before = self.accepted.len();
        let late = Instant::now() + LONG;
        while self.accepted.len() < before + 3 {
            assert!(
                Instant::now() < late,
                "it never recovered: {:?}",
                self.words
            );
            assert!(program.0.try_wait().unwrap().is_none(), "it ended");
            self.send(mesh, 5).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything that was accepted is there for its recipient, and each but once.
    async fn balance(&self, mesh: &TestMesh) {
        let mut bob = online(mesh, &key(2)).await;
        let mut seen = BTreeSet::new();
        while !self.accepted.is_subset(&seen) {
            let push = bob.expect("push").await;
            let id = push["client_message_id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id), "twice: {push}");
            bob.json(serde_json::json!({
                "type": "client_ack", "brokerMessageIds": [push["messageId"]]
            }))
            .await;
        }
    }
}

/// A mesh's folder, copied to where the disk fails.
fn copied(mesh: &TestMesh, to: &Path) {
    for file in std::fs::read_dir(mesh.data_dir()).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_disk_whose_writes_fail_acks_nothing_and_is_got_over() {
    let mesh = stopped_mesh().await;
    let listen = mesh.addr().to_string();
    // No file grows beyond 2 MiB; a write that would is an error, and the signal for it is ignored.
    let limited = "trap '' XFSZ; ulimit -S -f 4096;";
    let told = tempfile::NamedTempFile::new().unwrap();
    let pipe = Stdio::from(told.reopen().unwrap());
    let mut program = start_telling(limited, &[], mesh.data_dir(), &listen, pipe);
    let mut books = Books::default();
    assert!(books.send(&mesh, 400).await, "no write ever failed");
    assert!(!books.accepted.is_empty());
    // Whether the commit mark of the failed write is on the disk, nobody knows: the process ends, and
    // what starts it again finds what is there.
    let late = Instant::now() + LONG;
    while !program.is_over() {
        assert!(
            Instant::now() < late,
            "it went on after a write that failed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = program.0.wait().unwrap();
    assert!(!status.success(), "it ended as if all were well");
    let text = std::fs::read_to_string(told.path()).unwrap();
    assert!(
        text.contains("disk I/O error"),
        "it does not say why: {text}"
    );
    drop(program);
    let _again = start("", &[], mesh.data_dir(), &listen);
    books.balance(&mesh).await;
    let said = ["closed", "store_unavailable"];
    assert!(
        books.words.iter().all(|word| said.contains(&word.as_str())),
        "{:?}",
        books.words
    );
}

#[tokio::test]
async fn a_full_file_system_acks_nothing_and_is_got_over() {
    let mesh = stopped_mesh().await;
    let listen = mesh.addr().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mounts = ["unshare", "-Urm"];
    let mut probe = Command::new(mounts[0]);
    probe.args([mounts[1], "mount", "-t", "tmpfs", "-o", "size=1m", "none"]);
    if !probe
        .arg(dir.path())
        .output()
        .is_ok_and(|output| output.status.success())
    {
        eprintln!("SKIPPED: a full file system: nothing may be mounted here");
        return;
    }
    // A file system of its own, with a ballast that can be thrown out.
    let place = dir.path().display();
    let shell = format!(
        "mount -t tmpfs -o size=6m none {place} && cp {}/* {place}/ && \
         dd if=/dev/zero of={place}/ballast bs=1k count=3000 2>/dev/null;",
        mesh.data_dir().display()
    );
    let mut program = start(&shell, &mounts, dir.path(), &listen);
    let inside = |file: &str| {
        let inside = dir.path().strip_prefix("/").unwrap().join(file);
        PathBuf::from(format!("/proc/{}/root", program.0.id())).join(inside)
    };
    let (ballast, files) = (inside("ballast"), inside("."));
    let mut books = Books::default();
    assert!(books.send(&mesh, 400).await, "it was never full");
    assert!(!books.accepted.is_empty());
    for _ in 0..3 {
        books.send(&mesh, 3).await;
    }
    std::fs::remove_file(ballast).unwrap();
    books.recovered(&mesh, &mut program).await;
    // SIGKILL, and what it left is what is looked at.
    let stop = Command::new("kill")
        .args(["-STOP", &program.0.id().to_string()])
        .status();
    assert!(stop.unwrap().success());
    let saved = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(files).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), saved.path().join(file.file_name())).unwrap();
        }
    }
    drop(program);
    let _again = start("", &[], saved.path(), &listen);
    books.balance(&mesh).await;
    let said = ["closed", "store_unavailable"];
    assert!(
        books.words.iter().all(|word| said.contains(&word.as_str())),
        "{:?}",
        books.words
    );
}

#[tokio::test]
async fn a_read_only_disk_is_said_before_anybody_is_served() {
    let mesh = stopped_mesh().await;
    let dir = tempfile::tempdir().unwrap();
    copied(&mesh, dir.path());
    let place = dir.path().display();
    let script = format!(
        "mount --bind {place} {place} && mount -o remount,bind,ro {place} && \
         exec {} --listen 127.0.0.1:0 --data {place}",
        env!("CARGO_BIN_EXE_broker-min")
    );
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &script])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if error.contains("mount:") || error.contains("unshare:") {
        eprintln!("SKIPPED: a read-only disk: nothing may be mounted here");
        return;
    }
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "it said that it listens");
    assert!(
        error.contains(&place.to_string()),
        "it does not say where: {error}"
    );
}
