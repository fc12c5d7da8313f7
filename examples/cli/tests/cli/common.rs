//! A broker, people with a folder each, and what their commands said.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use broker_min::testing::HeldPort;
use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_claudemesh");

/// The program, with nothing of this machine's settings.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    // Windows programs do not start without it.
    if let Some(root) = std::env::var_os("SystemRoot") {
        command.env("SystemRoot", root);
    }
    command
}

/// A broker that dies with this value.
pub(crate) struct Broker {
    child: Child,
    port: HeldPort,
    dir: TempDir,
    /// Where it logs at the finest level; else errors go to stderr.
    log: Option<NamedTempFile>,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// One that logs everything it can, into a file.
    pub(crate) fn traced() -> Self {
        Self::start_with(Some(NamedTempFile::new().unwrap()))
    }

    fn start_with(log: Option<NamedTempFile>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = HeldPort::take().unwrap();
        let child = serve(dir.path(), &port, log.as_ref());
        Self {
            child,
            port,
            dir,
            log,
        }
    }

    /// What it logged, over all its restarts.
    pub(crate) fn log(&self) -> Vec<u8> {
        std::fs::read(self.log.as_ref().unwrap()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.port.addr())
    }

    /// Its folder.
    pub(crate) fn data(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    /// SIGKILL, on unix.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Copies all that it keeps; while it does not run.
    pub(crate) fn back_up(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.dir.path(), copy.path());
        copy
    }

    /// Puts a copy back; while it does not run.
    pub(crate) fn put_back(&mut self, copy: TempDir) {
        self.dir = copy;
    }

    /// All files that it keeps.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut folders, mut files) = (vec![self.dir.path().to_owned()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push((path.clone(), std::fs::read(path).unwrap())),
                }
            }
        }
        assert!(!files.is_empty());
        files
    }

    /// Same port, same folder.
    pub(crate) fn restart(&mut self) {
        self.child = serve(self.dir.path(), &self.port, self.log.as_ref());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_files(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn serve(data: &Path, port: &HeldPort, log: Option<&NamedTempFile>) -> Child {
    let mut broker = program();
    if let Some(log) = log {
        let mut file = std::fs::OpenOptions::new();
        broker.stderr(file.append(true).open(log).unwrap());
    }
    let level = if log.is_some() { "trace" } else { "error" };
    let mut child = broker
        .args(["broker", "--log", level, "--listen"])
        .arg(port.addr().to_string())
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, format!("listening on ws://{}/ws\n", port.addr()));
    child
}

/// Somebody with a configuration of their own.
pub(crate) struct Person {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Person {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).env("CLAUDEMESH_CONFIG_DIR", self.dir());
        // Whatever clients are used on this machine, these people have none.
        command.env("HOME", self.home());
        command.env("USERPROFILE", self.home());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Said {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        said(child.wait_with_output().unwrap())
    }

    /// Runs with `--json`, expects this code, gives the answer.
    pub(crate) fn json(&self, code: i32, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let said = self.run(&all);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert_eq!(said.out.lines().count(), 1, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    /// The texts of new messages.
    pub(crate) fn inbox(&self, args: &[&str]) -> Vec<String> {
        let mut all = vec!["inbox"];
        all.extend(args);
        let answer = self.json(0, &all);
        let texts = answer.as_array().unwrap().iter();
        texts
            .map(|m| m["body"].as_str().unwrap().to_owned())
            .collect()
    }
}

pub(crate) fn said(output: std::process::Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A new mesh of this name.
pub(crate) fn create(broker: &Broker, person: &Person, mesh: &str, name: &str) {
    person.json(
        0,
        &["create", mesh, "--broker", &broker.url(), "--name", name],
    );
}

pub(crate) fn link(person: &Person, args: &[&str]) -> String {
    let mut all = vec!["invite"];
    all.extend(args);
    person.json(0, &all)["link"].as_str().unwrap().to_owned()
}

/// A mesh of Ana's with Bob in it.
pub(crate) fn pair(broker: &Broker) -> (Person, Person) {
    let (ana, bob) = (Person::new(), Person::new());
    create(broker, &ana, "team", "ana");
    bob.json(0, &["join", &link(&ana, &[]), "--name", "bob"]);
    // Ana learns of Bob while the broker is there.
    ana.json(0, &["peers"]);
    (ana, bob)
}
