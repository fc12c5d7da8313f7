//! The broker on PostgreSQL, from outside: killed under flow with its database, moved, backed up,
//! put back, looked after. Skipped, visibly, without a server (tests/support/postgres.rs).
#![cfg(all(feature = "postgres", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

#[path = "support/pair.rs"]
mod pair;
#[path = "support/postgres.rs"]
mod postgres;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use broker_min::testing::{HeldPort, http};
use broker_min::{Broker, BrokerHandle, operator};
use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::store::SendState;
use tokio::time::timeout;

use pair::{SOON, peer, send, take, texts, two};

/// A PostgreSQL of one's own, to be killed.
struct Database(PathBuf);

impl Database {
    fn script(&self, verb: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        let ran = Command::new(script)
            .arg(verb)
            .arg(&self.0)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{verb}: {said}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.script("stop");
    }
}

struct Program {
    child: Child,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dir: &Path, store: &str, addr: SocketAddr) -> Program {
    let mut child = Command::new(env!("CARGO_BIN_EXE_broker-min"))
        .args(["--listen", &addr.to_string(), "--log", "error"])
        .arg("--data")
        .arg(dir)
        .env("CLAUDEMESH_BROKER_STORE", store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, format!("listening on ws://{addr}/ws\n"));
    Program { child }
}

async fn ready(addr: SocketAddr) -> (u16, String) {
    match http(addr, "GET", "/ready", &[], "").await {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, error.to_string()),
    }
}

async fn until_ready(addr: SocketAddr, status: u16) -> String {
    let asked = async {
        loop {
            let (found, body) = ready(addr).await;
            if found == status {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, asked).await.expect("the state of /ready")
}

/// Broker and database are killed in turn while messages flow. The broker outlives its database,
/// says the truth about it meanwhile, and goes on by itself; everything comes, once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_and_database_killed_under_flow_lose_nothing() {
    const MESSAGES: usize = 600;
    if postgres::server("broker_and_database_killed_under_flow_lose_nothing").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Whoever the database runs as must reach its folder.
    Command::new("chmod")
        .arg("755")
        .arg(dir.path())
        .status()
        .unwrap();
    let at = |name: &str| dir.path().join(name);
    let database = Database(at("postgres"));
    let store = database.script("start");
    let port = HeldPort::take().unwrap();
    let addr = port.addr();
    let mut program = start(&at("data"), &store, addr);
    let url: BrokerUrl = format!("ws://{addr}/ws").parse().unwrap();
    let (ana, bob) = two(&url, "team").await;
    let sender = peer(&ana, &at("ana")).await;
    let receiver = peer(&bob, &at("bob")).await;

    let flow = {
        let sender = sender.clone();
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                sender.send("bob", format!("m-{n:04}")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let taking = tokio::spawn(async move {
        let all = timeout(SOON * 3, take(&receiver, MESSAGES))
            .await
            .expect("all messages");
        (all, receiver)
    });
    for round in 0..3u64 {
        tokio::time::sleep(Duration::from_millis(400 + 130 * round)).await;
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        program = start(&at("data"), &store, addr);
        tokio::time::sleep(Duration::from_millis(500)).await;
        database.script("kill");
        let said = until_ready(addr, 503).await;
        assert!(said.contains("db_down"), "{said}");
        database.script("start");
        until_ready(addr, 200).await;
        assert!(
            program.child.try_wait().unwrap().is_none(),
            "the broker ended"
        );
    }
    flow.await.unwrap();
    let (all, _receiver) = taking.await.unwrap();
    let wanted: Vec<String> = (0..MESSAGES).map(|n| format!("m-{n:04}")).collect();
    assert_eq!(texts(&all), wanted);
    let settled = async {
        loop {
            let rows = sender.outbox(false).await.unwrap();
            if rows.iter().all(|row| row.state == SendState::Delivered) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, settled).await.unwrap();
    drop(program);
    // The books: nothing waits, and the counter says so.
    let counts = postgres::query(
        &store,
        "SELECT (SELECT count(*) FROM claudemesh.delivery), (SELECT count(*) FROM claudemesh.message),
                (SELECT queued FROM claudemesh.meta)",
    );
    let zero = Some("0".to_owned());
    assert_eq!(counts, [vec![zero.clone(), zero.clone(), zero]]);
}

/// Runs a command as `broker-min` does; gives what it says.
fn operate(arguments: &[&str], data: &Path, store: &str) -> Result<String, String> {
    let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    all.extend(["--data".into(), data.into(), "--store".into(), store.into()]);
    // Not within the test's runtime: the program has none either.
    let run = move || {
        let mut out = Vec::new();
        operator::run(all, None, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    };
    std::thread::spawn(run).join().unwrap()
}

async fn broker(data: &Path, store: Option<&str>, port: &HeldPort) -> BrokerHandle {
    let listener = port.listen().await.unwrap();
    let mut broker = Broker::builder().data_dir(data);
    if let Some(store) = store {
        broker = broker.postgres(store.parse().unwrap());
    }
    broker.serve(listener).await.unwrap()
}

/// From a file into PostgreSQL, and from a backup of that into another schema and into a file.
#[tokio::test]
async fn a_store_is_moved_backed_up_and_restored_and_peers_lose_nothing() {
    let test = "a_store_is_moved_backed_up_and_restored_and_peers_lose_nothing";
    let Some(server) = postgres::server(test) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (schema, other) = (server.schema(), server.schema());
    let (store, second) = (
        schema.with_passfile(dir.path()),
        other.with_passfile(dir.path()),
    );
    let port = HeldPort::take().unwrap();
    let running = broker(&at("data"), None, &port).await;
    let (ana, bob) = two(&running.url(), "team").await;
    let sender = peer(&ana, &at("ana")).await;
    send(&sender, "into the file").await;
    let busy = operate(&["move"], &at("data"), &store).unwrap_err();
    assert!(busy.contains("in use"), "{busy}");
    running.shutdown(SOON).await.unwrap();

    let said = operate(&["move"], &at("data"), &store).unwrap();
    assert!(said.contains("moved to PostgreSQL at"), "{said}");
    assert!(!at("data").join("broker.db").exists());
    let missing = operate(&["move"], &at("data"), &store).unwrap_err();
    assert!(missing.contains("no broker's store here"), "{missing}");

    let running = broker(&at("data"), Some(&store), &port).await;
    send(&sender, "into PostgreSQL").await;
    let receiver = peer(&bob, &at("bob")).await;
    assert_eq!(texts(&take(&receiver, 1).await), ["into the file"]);
    receiver.close(SOON).await;
    let backup = at("backup");
    operate(
        &["backup", "--to", backup.to_str().unwrap()],
        &at("data"),
        &store,
    )
    .unwrap();
    send(&sender, "after the backup").await;
    running.kill().await;

    // The other kind of store takes the backup as well.
    let mut out = Vec::new();
    let from: Vec<OsString> = [
        "restore".into(),
        "--from".into(),
        backup.clone().into(),
        "--data".into(),
        at("file").into(),
    ]
    .to_vec();
    operator::run(from, None, &mut out).unwrap();
    let full = operate(
        &["restore", "--from", backup.to_str().unwrap()],
        &at("new"),
        &store,
    )
    .unwrap_err();
    assert!(full.contains("holds a store already"), "{full}");
    operate(
        &["restore", "--from", backup.to_str().unwrap()],
        &at("new"),
        &second,
    )
    .unwrap();
    let ids = [&schema, &other].map(|schema| schema.sql("SELECT store FROM meta"));
    assert_ne!(ids[0], ids[1]);
    let running = broker(&at("new"), Some(&second), &port).await;
    let receiver = peer(&bob, &at("bob")).await;
    let got: BTreeSet<String> = texts(&take(&receiver, 2).await).into_iter().collect();
    let wanted = ["after the backup", "into PostgreSQL"].map(str::to_owned);
    assert_eq!(got, wanted.into());
    send(&sender, "goes on").await;
    assert_eq!(texts(&take(&receiver, 1).await), ["goes on"]);
    running.shutdown(SOON).await.unwrap();
    let running = broker(&at("file"), None, &port).await;
    send(&sender, "and in the file").await;
    assert_eq!(texts(&take(&receiver, 1).await), ["and in the file"]);
    running.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_operator_looks_after_meshes_in_postgres() {
    let Some(server) = postgres::server("an_operator_looks_after_meshes_in_postgres") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let schema = server.schema();
    let store = schema.with_passfile(dir.path());
    let data = at("data");
    let nothing = operate(&["mesh", "list"], &data, &store).unwrap_err();
    assert!(nothing.contains("no broker's store here"), "{nothing}");
    let port = HeldPort::take().unwrap();
    let running = broker(&data, Some(&store), &port).await;
    let (ana, _) = two(&running.url(), "team").await;
    let (other, _) = two(&running.url(), "other").await;
    let sender = peer(&ana, &at("ana")).await;
    send(&sender, "waits").await;
    send(&peer(&other, &at("other")).await, "stays").await;

    let show = operate(&["mesh", "show", "team"], &data, &store).unwrap();
    assert!(show.contains("waiting:       1"), "{show}");
    operate(&["mesh", "suspend", "team"], &data, &store).unwrap();
    let away = async {
        while sender.is_connected() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, away).await.unwrap();
    operate(&["mesh", "resume", "team"], &data, &store).unwrap();
    sender.connected_within(SOON).await.unwrap();
    let export = operate(&["mesh", "export", "team"], &data, &store).unwrap();
    let rows: Vec<serde_json::Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for table in ["mesh", "member", "log", "message", "delivery", "audit_log"] {
        assert!(rows.iter().any(|row| row["table"] == table), "{table}");
    }
    let message = rows.iter().find(|row| row["table"] == "message").unwrap();
    assert!(
        message["row"]["tail"]
            .as_str()
            .unwrap()
            .contains("ciphertext"),
        "{message}"
    );
    let held = operate(&["audit", "verify"], &data, &store).unwrap();
    assert_eq!(held.matches("rows hold").count(), 2, "{held}");

    operate(&["mesh", "delete", "team", "--yes"], &data, &store).unwrap();
    let busy = operate(&["gc"], &data, &store).unwrap_err();
    assert!(busy.contains("in use by another broker"), "{busy}");
    running.shutdown(SOON).await.unwrap();
    let said = operate(&["gc"], &data, &store).unwrap();
    assert!(said.contains("deleted 1 meshes"), "{said}");
    let list = operate(&["mesh", "list"], &data, &store).unwrap();
    assert!(!list.contains("team") && list.contains("other"), "{list}");
    schema
        .sql(r#"UPDATE audit_log SET "createdAt" = 7 WHERE id = (SELECT max(id) FROM audit_log)"#);
    let altered = operate(&["audit", "verify"], &data, &store).unwrap_err();
    assert!(altered.contains("altered"), "{altered}");
    let renewed = operate(&["restore", "--renew"], &data, &store).unwrap();
    assert!(renewed.contains("as store"), "{renewed}");
    drop(broker(&data, Some(&store), &port).await);
}

/// What the program says, to whom it may concern.
fn program(arguments: &[&str], store: Option<&str>, dir: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-min"));
    command.args(arguments).arg("--data").arg(dir);
    if let Some(store) = store {
        command.env("CLAUDEMESH_BROKER_STORE", store);
    }
    let ran = command.output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn check_and_errors_say_what_to_do_and_never_the_password() {
    let Some(server) = postgres::server("check_and_errors_say_what_to_do_and_never_the_password")
    else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let schema = server.schema();
    let secret = server.password();
    let check = ["check", "--listen", "127.0.0.1:0"];
    let run = |arguments: &[&str], store: Option<&str>| {
        let (fine, said) = program(arguments, store, dir.path());
        assert!(!said.contains(secret) && !said.contains("hush"), "{said}");
        (fine, said)
    };
    let (fine, said) = run(&check, Some(schema.text()));
    assert!(fine && said.contains("there is no store yet"), "{said}");
    assert!(said.contains("with TLS: PostgreSQL 1"), "{said}");
    let (fine, said) = run(&check, Some("postgres://hush:hush@127.0.0.1:1/x"));
    assert!(!fine && said.contains("cannot be reached"), "{said}");
    let wrong = schema.text().replace(secret, "hush");
    let (fine, said) = run(&check, Some(&wrong));
    assert!(
        !fine && said.contains("password authentication failed"),
        "{said}"
    );
    let (fine, said) = run(&["--listen", "127.0.0.1:0"], Some(&wrong));
    assert!(
        !fine && said.contains("password authentication failed"),
        "{said}"
    );
    let (fine, said) = run(&check, Some("postgres://a:hush@b/c?sslmode=sometimes"));
    assert!(!fine && said.contains("verify-full"), "{said}");
    let (fine, said) = run(&check, Some("nonsense:hush@x"));
    assert!(!fine && said.contains("postgres://"), "{said}");
    // Whoever lists processes would see it.
    for verb in [&check[..], &["mesh", "list"], &["--listen", "127.0.0.1:0"]] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--store", "postgres://a:hush@b/c"]);
        let (fine, said) = run(&arguments, None);
        assert!(!fine && said.contains("CLAUDEMESH_BROKER_STORE"), "{said}");
    }
    for arguments in [
        &["--help"][..],
        &["check", "--help"],
        &["mesh", "list", "--help"],
    ] {
        run(arguments, Some(schema.text()));
    }

    let log = dir.path().join("log");
    let mut broker = Command::new(env!("CARGO_BIN_EXE_broker-min"))
        .args(["--listen", "127.0.0.1:0", "--log", "trace", "--data"])
        .arg(dir.path().join("data"))
        .env("CLAUDEMESH_BROKER_STORE", schema.text())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(broker.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (_, second) = run(&["--listen", "127.0.0.1:0"], Some(schema.text()));
    assert!(second.contains("in use by another broker"), "{second}");
    broker.kill().unwrap();
    broker.wait().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        log.contains("broker started") && !log.contains(secret),
        "{log}"
    );
}
