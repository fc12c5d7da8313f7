//! A broker's file of the first format, with a mesh in it and a message that waits: the broker of now
//! starts on it, and everybody goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are not seen as tests"
)]

use std::path::Path;
use std::time::Duration;

use broker_min::store::verify_audit;
use broker_min::testing::HeldPort;
use broker_min::{Broker, BrokerHandle};
use claudemesh_core::{Config, InviteOptions, MeshEntry, Peer, Retry};
use rusqlite::Connection;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);
/// The tables of then, and what made a file a broker's.
const FIRST: &str = include_str!("../testdata/format-1.sql");
const APPLICATION_ID: u32 = 0x636c_6272;

async fn broker(data: &Path, port: &HeldPort) -> BrokerHandle {
    let listener = port.listen().await.unwrap();
    let broker = Broker::builder().data_dir(data);
    broker.serve(listener).await.unwrap()
}

async fn peer(mesh: &MeshEntry) -> Peer {
    let peer = Peer::builder(mesh).in_memory().retry(Retry::Every(50));
    let peer = peer.connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

async fn send(peer: &Peer, to: &str, text: &str) {
    let receipt = peer.send(to, text).await.unwrap();
    timeout(SOON, receipt.accepted()).await.unwrap().unwrap();
}

async fn next(peer: &Peer) -> String {
    let mut incoming = peer.incoming().await.unwrap();
    loop {
        let message = timeout(SOON, incoming.next()).await.unwrap().unwrap();
        if !message.again {
            return message.text();
        }
    }
}

fn names(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// Puts in the file's place one of the first format, with all that it could hold of this one.
fn turn_back(data: &Path) {
    let (file, old) = (data.join("broker.db"), data.join("old.db"));
    let conn = Connection::open(&old).unwrap();
    conn.execute_batch(FIRST).unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    conn.execute("ATTACH ? AS now", [file.to_str().unwrap()])
        .unwrap();
    let tables = "SELECT name FROM main.sqlite_master WHERE type = 'table'
                  AND name NOT LIKE 'sqlite_%' AND name IN (SELECT name FROM now.sqlite_master)";
    for table in names(&conn, tables) {
        let columns = format!(
            "SELECT name FROM pragma_table_info('{table}', 'main')
             INTERSECT SELECT name FROM pragma_table_info('{table}', 'now')"
        );
        let columns = names(&conn, &columns).join(", ");
        let copy =
            format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}");
        conn.execute(&copy, []).unwrap();
    }
    conn.execute_batch("DETACH now").unwrap();
    drop(conn);
    for beside in ["broker.db-wal", "broker.db-shm"] {
        let _ = std::fs::remove_file(data.join(beside));
    }
    std::fs::rename(&old, &file).unwrap();
}

#[tokio::test]
async fn a_broker_of_the_first_format_goes_on_with_its_meshes_and_what_waited() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let port = HeldPort::take().unwrap();
    let first = broker(&data, &port).await;
    let ana = Config::in_memory()
        .create("team", &first.url(), "ana")
        .await
        .unwrap()
        .mesh;
    let sender = peer(&ana).await;
    let link = sender.invite(InviteOptions::default()).await.unwrap();
    let link = link.issued.link();
    let bob = Config::in_memory().join(&link, "bob").await.unwrap();
    sender.sync().await.unwrap();
    send(&sender, "bob", "waits").await;
    sender.close(SOON).await;
    first.shutdown(SOON).await.unwrap();
    turn_back(&data);

    let now = broker(&data, &port).await;
    assert!(data.join("broker.db.v1.bak").is_file());
    let receiver = peer(&bob).await;
    assert_eq!(next(&receiver).await, "waits");
    let sender = peer(&ana).await;
    send(&sender, "bob", "after the upgrade").await;
    assert_eq!(next(&receiver).await, "after the upgrade");
    send(&receiver, "ana", "and back").await;
    assert_eq!(next(&sender).await, "and back");
    now.shutdown(SOON).await.unwrap();
    // Rows of then are in no chain; those since are.
    let reports = verify_audit(&data, None).unwrap();
    assert_eq!(reports.len(), 1);
    assert!(
        reports[0].rows > 0 && reports[0].fault.is_none(),
        "{reports:?}"
    );

    // The way back: the copy, with the program of then.
    let copy = Connection::open(data.join("broker.db.v1.bak")).unwrap();
    let waiting: i64 = copy
        .query_row("SELECT count(*) FROM delivery", [], |row| row.get(0))
        .unwrap();
    assert_eq!(waiting, 1);
}
