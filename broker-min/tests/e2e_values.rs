//! State, memory, schedules and the audit chain, over real sockets and a real file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::time::Duration;

use broker_min::store::{AuditFault, verify_audit};
use broker_min::testing::TestMesh;
use claudemesh_core::audit::{self, Head, Place, Record};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::base64url;
use claudemesh_core::wire::{AuditHead, AuditRows};
use serde_json::{Value, json};
use support::*;

fn sealed() -> Value {
    let mut blob = [7; 90];
    blob[..2].copy_from_slice(&[0xCE, 2]);
    json!({"$sealed": base64url(&blob)})
}

/// A connection that seals what it keeps, and its `hello_ack`.
async fn sealing(mesh: &TestMesh, key: &KeyPair) -> (Raw, Value) {
    let mut raw = Raw::connect(mesh).await;
    let mut hello = full_hello(mesh, key);
    hello["capabilities"] = json!(["delivery/1", "envelope/1", "log/1", "values/1"]);
    hello["sessionId"] = Value::Null;
    raw.prove(&hello, key).await;
    let ack = raw.expect("hello_ack").await;
    (raw, ack)
}

#[tokio::test]
async fn state_and_memory_are_shared_and_outlive_the_broker() {
    let mesh = mesh_of(2).await;
    let (mut one, ack) = sealing(&mesh, &key(1)).await;
    assert!(
        ack["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("values/1"))
    );
    let mut old = legacy(&mesh, &key(2)).await;
    one.json(
        json!({"type": "set_state", "key": "k", "value": sealed(), "version": 1,
        "if_version": 0, "_reqId": "s"}),
    )
    .await;
    assert_eq!(one.expect("state_saved").await["_reqId"], "s");
    let change = old.expect("state_change").await;
    assert_eq!(
        (&change["value"], &change["updatedBy"]),
        (&sealed(), &json!("m1"))
    );
    old.json(json!({"type": "set_state", "key": "plain", "value": {"a": [1]}}))
        .await;
    assert_eq!(one.expect("state_change").await["value"], json!({"a": [1]}));
    old.json(json!({"type": "remember", "content": "prod db is pg16", "_reqId": "m"}))
        .await;
    let id = old.expect("memory_stored").await["id"].clone();

    mesh.kill_broker().await.unwrap();
    let mut old = legacy(&mesh, &key(2)).await;
    old.json(json!({"type": "list_state", "_reqId": "l"})).await;
    let list = old.expect("state_list").await;
    let keys: Vec<_> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["key"])
        .collect();
    assert_eq!(keys, ["k", "plain"]);
    old.json(json!({"type": "recall", "query": "DB prod", "_reqId": "q"}))
        .await;
    assert_eq!(old.expect("memory_results").await["memories"][0]["id"], id);
}

#[tokio::test]
async fn a_schedule_is_sent_at_its_time_and_a_late_one_at_the_start() {
    let mesh = mesh_of(2).await;
    let (mut author, _) = sealing(&mesh, &key(1)).await;
    let mut to = online(&mesh, &key(2)).await;
    for (id, after) in [("soon", 60_000), ("late", 3_600_000)] {
        let mut send = send(&key(2), id);
        send.as_object_mut().unwrap().remove("type");
        let at = now(&mesh) + after;
        author
            .json(
                json!({"type": "schedule", "to": key(2).public().to_hex(), "deliverAt": at,
                "send": send, "_reqId": id}),
            )
            .await;
        assert_eq!(author.expect("scheduled_ack").await["deliverAt"], at);
    }
    author
        .json(
            json!({"type": "schedule", "to": "#ops", "sealed": "c2VhbGVk", "cron": "0 * * * *",
            "_reqId": "c"}),
        )
        .await;
    let cron = author.expect("scheduled_ack").await["scheduledId"].clone();
    to.quiet(Duration::from_millis(100)).await;
    mesh.advance(Duration::from_secs(60));
    assert_eq!(to.expect("push").await["client_message_id"], "soon");

    mesh.stop_broker().await.unwrap();
    mesh.advance(Duration::from_secs(7_200));
    mesh.start_broker().await.unwrap();
    let mut to = online(&mesh, &key(2)).await;
    let push = loop {
        let push = to.expect("push").await;
        // `soon` was not acknowledged and comes once more.
        if push["client_message_id"] != "soon" {
            break push;
        }
    };
    assert_eq!(push["client_message_id"], "late");
    assert_eq!(push["senderMemberPubkey"], key(1).public().to_hex());
    let (mut author, _) = sealing(&mesh, &key(1)).await;
    let due = author.expect("schedule_due").await;
    assert_eq!(
        (&due["scheduledId"], &due["sealed"]),
        (&cron, &json!("c2VhbGVk"))
    );
    author
        .json(json!({"type": "schedule_taken", "scheduledId": cron, "due": due["due"]}))
        .await;
    author
        .json(json!({"type": "list_scheduled", "_reqId": "l"}))
        .await;
    let list = author.expect("scheduled_list").await;
    assert_eq!(list["messages"].as_array().unwrap().len(), 1);
}

fn head(value: &Value) -> Head {
    let head: AuditHead = serde_json::from_value(value.clone()).unwrap();
    head.head().unwrap()
}

#[tokio::test]
async fn the_audit_chain_holds_over_a_restart_and_an_altered_file_is_found_out() {
    let mesh = mesh_of(2).await;
    let (mut owner, ack) = sealing(&mesh, mesh.owner()).await;
    let pinned = head(&ack["audit_head"]);
    pinned.check(&mesh.id(), None).unwrap();
    for n in 0..5 {
        owner.json(send(&key(1), &format!("m{n}"))).await;
        owner.expect("ack").await;
    }
    mesh.stop_broker().await.unwrap();
    mesh.start_broker().await.unwrap();
    let (mut owner, _) = sealing(&mesh, mesh.owner()).await;
    owner
        .json(json!({"type": "audit_get", "from": pinned.place.n, "_reqId": "a"}))
        .await;
    let page: AuditRows = serde_json::from_value(owner.expect("audit_rows").await).unwrap();
    let rows: Vec<Record> = page.rows.into_iter().map(Into::into).collect();
    let (base, newest): (Place, Head) = (page.base.place().unwrap(), page.head.head().unwrap());
    let known = Some(&pinned.place);
    audit::check(&mesh.id(), known, base, &rows, &newest, Some(&pinned.key)).unwrap();
    assert_eq!(
        rows.iter()
            .filter(|row| row.event == "message_sent")
            .count(),
        5
    );

    mesh.stop_broker().await.unwrap();
    let reports = verify_audit(mesh.data_dir(), Some(&mesh.id())).unwrap();
    assert_eq!(reports[0].fault, None);
    let victim = rows
        .iter()
        .find(|row| row.event == "message_sent")
        .unwrap()
        .id;
    let conn = rusqlite::Connection::open(mesh.data_dir().join("broker.db")).unwrap();
    conn.execute(
        "UPDATE audit_log SET targetPeerId = 'ff' WHERE id = ?",
        [victim.cast_signed()],
    )
    .unwrap();
    drop(conn);
    let reports = verify_audit(mesh.data_dir(), Some(&mesh.id())).unwrap();
    assert_eq!(reports[0].fault, Some(AuditFault::Altered { id: victim }));
    // A broker on that file goes on; who pinned the old head sees that the rows do not lead on.
    mesh.start_broker().await.unwrap();
    let (mut owner, _) = sealing(&mesh, mesh.owner()).await;
    owner
        .json(json!({"type": "audit_get", "from": pinned.place.n, "_reqId": "a"}))
        .await;
    let page: AuditRows = serde_json::from_value(owner.expect("audit_rows").await).unwrap();
    let rows: Vec<Record> = page.rows.into_iter().map(Into::into).collect();
    let newest = page.head.head().unwrap();
    let checked = audit::check(&mesh.id(), known, base, &rows, &newest, Some(&pinned.key));
    assert!(
        matches!(checked, Err(audit::AuditError::Altered { .. })),
        "{checked:?}"
    );
}
