//! What an operator does beside a running broker, and the restore drill.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

#[path = "support/pair.rs"]
mod pair;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use broker_min::limits::Limits;
use broker_min::testing::HeldPort;
use broker_min::{Broker, BrokerHandle, operator};
use claudemesh_core::store::SendState;
use tokio::time::timeout;

use pair::{SOON, peer, send, take, texts, two};

async fn broker(data: &Path, port: &HeldPort) -> BrokerHandle {
    let listener = port.listen().await.unwrap();
    let broker = Broker::builder().data_dir(data).limits(Limits::default());
    broker.serve(listener).await.unwrap()
}

/// Runs a command as `broker-min` does; gives what it says.
fn operate(arguments: &[&str], data: &Path) -> Result<String, String> {
    let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    arguments.extend(["--data".into(), data.into()]);
    let mut out = Vec::new();
    operator::run(arguments, None, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

/// The drill: a backup of a running broker is put in place of it elsewhere, and serves the same
/// peers. What was accepted before the backup is there; what was accepted after it is sent again;
/// what had arrived already is not taken twice.
#[tokio::test]
async fn a_restored_broker_serves_the_same_peers_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let port = HeldPort::take().unwrap();
    let first = broker(&at("first"), &port).await;
    let (ana, bob) = two(&first.url(), "team").await;
    let sender = peer(&ana, &at("ana")).await;

    send(&sender, "taken before").await;
    let receiver = peer(&bob, &at("bob")).await;
    assert_eq!(texts(&take(&receiver, 1).await), ["taken before"]);
    receiver.close(SOON).await;
    for n in 0..5 {
        send(&sender, &format!("waits {n}")).await;
    }
    operate(
        &["backup", "--to", at("backup").to_str().unwrap()],
        &at("first"),
    )
    .unwrap();
    send(&sender, "after the backup").await;
    // Bob takes all of them: to the backup's queue they still wait.
    let receiver = peer(&bob, &at("bob")).await;
    assert_eq!(take(&receiver, 6).await.len(), 6);
    receiver.close(SOON).await;
    send(&sender, "after the backup, not taken").await;
    first.kill().await;

    let said = operate(
        &["restore", "--from", at("backup").to_str().unwrap()],
        &at("second"),
    );
    assert!(said.unwrap().contains("as store"));
    let second = broker(&at("second"), &port).await;
    let receiver = peer(&bob, &at("bob")).await;
    let got = take(&receiver, 1).await;
    assert_eq!(texts(&got), ["after the backup, not taken"]);
    send(&sender, "goes on").await;
    assert_eq!(texts(&take(&receiver, 1).await), ["goes on"]);
    // Nothing else comes: the six were taken once.
    let mut incoming = receiver.incoming().await.unwrap();
    while let Ok(Some(message)) = timeout(Duration::from_millis(500), incoming.next()).await {
        assert!(message.again, "{}", message.text());
    }
    let settled = async {
        while sender
            .outbox(false)
            .await
            .unwrap()
            .iter()
            .any(|row| row.state != SendState::Delivered)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, settled).await.unwrap();
    drop(incoming);
    drop(second);
}

#[tokio::test]
async fn a_restore_overwrites_nothing_unasked_and_a_backup_that_was_cut_off_is_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let port = HeldPort::take().unwrap();
    let running = broker(&at("data"), &port).await;
    two(&running.url(), "team").await;
    let backup = at("backup");
    let to = backup.to_str().unwrap();
    // What a backup that was cut off leaves.
    std::fs::create_dir(at("backup.part")).unwrap();
    std::fs::write(at("backup.part").join("broker.db"), "half").unwrap();
    assert!(operate(&["restore", "--from", to], &at("other")).is_err());
    operate(&["backup", "--to", to], &at("data")).unwrap();
    assert!(!at("backup.part").exists());
    let again = operate(&["backup", "--to", to], &at("data")).unwrap_err();
    assert!(again.contains("already"), "{again}");

    let busy = operate(&["restore", "--replace", "--from", to], &at("data")).unwrap_err();
    assert!(busy.contains("in use"), "{busy}");
    running.shutdown(SOON).await.unwrap();
    let there = operate(&["restore", "--from", to], &at("data")).unwrap_err();
    assert!(there.contains("--replace"), "{there}");
    operate(&["restore", "--replace", "--from", to], &at("data")).unwrap();
    assert!(at("data").join("broker.db.before-restore").exists());
    let list = operate(&["mesh", "list"], &at("data")).unwrap();
    assert!(list.contains("team"), "{list}");
}

#[tokio::test]
async fn sigkill_while_backing_up_leaves_a_whole_backup_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = HeldPort::take().unwrap();
    let running = broker(&data, &port).await;
    let (ana, _) = two(&running.url(), "team").await;
    let sender = peer(&ana, &dir.path().join("ana")).await;
    for n in 0..50 {
        send(&sender, &format!("{n} {}", "x".repeat(20_000))).await;
    }
    for round in 0..12u64 {
        let to = dir.path().join(format!("backup-{round}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_broker-min"))
            .args(["backup", "--to"])
            .arg(&to)
            .arg("--data")
            .arg(&data)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        let _ = child.kill();
        child.wait().unwrap();
        if to.exists() {
            let restored = dir.path().join(format!("restored-{round}"));
            operate(&["restore", "--from", to.to_str().unwrap()], &restored).unwrap();
            let list = operate(&["mesh", "list"], &restored).unwrap();
            assert!(list.contains("50 waiting"), "{list}");
        }
    }
}

#[tokio::test]
async fn a_suspended_mesh_is_turned_away_and_comes_back_with_what_waited() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = HeldPort::take().unwrap();
    let running = broker(&data, &port).await;
    let (ana, bob) = two(&running.url(), "team").await;
    let (other, _) = two(&running.url(), "other").await;
    let sender = peer(&ana, &dir.path().join("ana")).await;
    let beside = peer(&other, &dir.path().join("other")).await;
    beside.connected_within(SOON).await.unwrap();
    send(&sender, "waits").await;

    let said = operate(&["mesh", "suspend", "team"], &data).unwrap();
    assert!(said.contains("suspended"), "{said}");
    let away = async {
        while sender.is_connected() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, away).await.unwrap();
    let receiver = peer(&bob, &dir.path().join("bob")).await;
    let turned_away = receiver.connected_within(Duration::from_secs(1)).await;
    assert!(turned_away.is_err());
    assert!(beside.is_connected());
    let show = operate(&["mesh", "show", "team"], &data).unwrap();
    assert!(
        show.contains("suspended") && show.contains("waiting:       1"),
        "{show}"
    );

    operate(&["mesh", "resume", "team"], &data).unwrap();
    sender.connected_within(SOON).await.unwrap();
    assert_eq!(texts(&take(&receiver, 1).await), ["waits"]);
}

#[tokio::test]
async fn a_deleted_mesh_is_gone_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = HeldPort::take().unwrap();
    let running = broker(&data, &port).await;
    let (ana, _) = two(&running.url(), "team").await;
    let (other, bob) = two(&running.url(), "other").await;
    send(&peer(&ana, &dir.path().join("ana")).await, "goes").await;
    send(&peer(&other, &dir.path().join("other")).await, "stays").await;

    let export = operate(&["mesh", "export", "team"], &data).unwrap();
    let rows: Vec<serde_json::Value> = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for table in ["mesh", "member", "log", "message", "delivery", "audit_log"] {
        assert!(rows.iter().any(|row| row["table"] == table), "{table}");
    }
    let unsure = operate(&["mesh", "delete", "team"], &data).unwrap_err();
    assert!(unsure.contains("--yes"), "{unsure}");
    operate(&["mesh", "delete", "team", "--yes"], &data).unwrap();
    let missing = operate(&["mesh", "show", "nothing"], &data).unwrap_err();
    assert!(missing.contains("mesh list"), "{missing}");
    let busy = operate(&["gc"], &data).unwrap_err();
    assert!(busy.contains("in use"), "{busy}");

    running.shutdown(SOON).await.unwrap();
    let said = operate(&["gc"], &data).unwrap();
    assert!(said.contains("deleted 1 meshes"), "{said}");
    let list = operate(&["mesh", "list"], &data).unwrap();
    assert!(!list.contains("team") && list.contains("other"), "{list}");
    let _again = broker(&data, &port).await;
    let receiver = peer(&bob, &dir.path().join("bob")).await;
    assert_eq!(texts(&take(&receiver, 1).await), ["stays"]);
    let gone = peer(&ana, &dir.path().join("ana2")).await;
    assert!(gone.connected_within(Duration::from_secs(1)).await.is_err());
}

#[test]
fn check_says_what_is_wrong_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let check = |more: &[&str]| {
        let mut arguments = vec!["check", "--listen", "127.0.0.1:0"];
        arguments.extend(more);
        let mut out = Vec::new();
        let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        arguments.extend(["--data".into(), data.clone().into()]);
        let done = operator::run(arguments, None, &mut out);
        (done.is_ok(), String::from_utf8(out).unwrap())
    };
    let (fine, said) = check(&[]);
    assert!(
        fine && !said.contains("WRONG") && !said.contains("warning"),
        "{said}"
    );
    assert!(!data.exists());
    let (fine, said) = check(&["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"]);
    assert!(!fine && said.contains("/no/cert.pem"), "{said}");
    let (fine, said) = check(&["--trusted-proxy", "0.0.0.0/0"]);
    assert!(!fine && said.contains("strangers"), "{said}");
    let (fine, said) = check(&["--public-url", "wss://broker.example/ws"]);
    assert!(fine && said.contains("--tls-cert"), "{said}");
    assert!(said.contains("with a token"), "{said}");
    let (fine, said) = check(&["--public-url", "ws://b.example/ws", "--create", "open"]);
    assert!(fine && said.contains("anybody"), "{said}");
    std::fs::write(&data, "a file").unwrap();
    let (fine, said) = check(&[]);
    assert!(!fine && said.contains("no folder"), "{said}");
}

#[tokio::test]
async fn a_quota_of_one_mesh_is_held_to() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = HeldPort::take().unwrap();
    let running = broker(&data, &port).await;
    let (ana, _) = two(&running.url(), "team").await;
    let sender = peer(&ana, &dir.path().join("ana")).await;
    operate(
        &["mesh", "quota", "team", "--rows", "2", "--retention", "1d"],
        &data,
    )
    .unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    send(&sender, "one").await;
    send(&sender, "two").await;
    let third = sender.send("bob", "three").await.unwrap();
    assert!(
        timeout(Duration::from_secs(1), third.accepted())
            .await
            .is_err()
    );
    operate(&["mesh", "quota", "team", "--reset"], &data).unwrap();
    let show = operate(&["mesh", "show", "team"], &data).unwrap();
    assert!(!show.contains("2 deliveries"), "{show}");
}
