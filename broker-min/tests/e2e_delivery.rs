//! Accept, keep, deliver, settle: over real sockets and through the end of the broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::time::Duration;

use broker_min::limits::Limits;
use broker_min::testing::{TestMesh, http};
use serde_json::json;
use support::*;

#[tokio::test]
async fn who_is_away_gets_it_after_the_broker_was_killed() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    alice.json(send(&key(2), "m-1")).await;
    let ack = alice.expect("ack").await;
    assert_eq!(
        (&ack["queued"], &ack["recipients"]),
        (&json!(true), &json!(1))
    );

    mesh.kill_broker().await.unwrap();
    let mut bob = online(&mesh, &key(2)).await;
    let push = bob.expect("push").await;
    assert_eq!(push["client_message_id"], "m-1");
    assert_eq!(push["messageId"], ack["messageId"]);
    assert_eq!(push["ciphertext"], "b3BhcXVl");
    assert_eq!(push["senderMemberPubkey"], key(1).public().to_hex());
    assert_eq!(push["senderName"], "m1");
}

#[tokio::test]
async fn a_retry_is_the_same_message_also_after_a_crash() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    alice.json(send(&key(2), "m-1")).await;
    let first = alice.expect("ack").await;
    alice.json(send(&key(2), "m-1")).await;
    let second = alice.expect("ack").await;
    assert_eq!(second["messageId"], first["messageId"]);
    assert_eq!(second["duplicate"], true);

    mesh.kill_broker().await.unwrap();
    let mut alice = online(&mesh, &key(1)).await;
    alice.json(send(&key(2), "m-1")).await;
    let third = alice.expect("ack").await;
    assert_eq!(third["messageId"], first["messageId"]);
    assert_eq!(third["duplicate"], true);

    let mut bob = online(&mesh, &key(2)).await;
    bob.expect("push").await;
    bob.quiet(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn an_id_is_not_used_for_two_contents() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    alice.json(send(&key(2), "m-1")).await;
    alice.expect("ack").await;
    let mut other = send(&key(2), "m-1");
    other["ciphertext"] = "YW5kZXJz".into();
    alice.json(other).await;
    let ack = alice.expect("ack").await;
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("invalid"))
    );
}

#[tokio::test]
async fn what_is_acked_is_settled_and_its_sender_is_told() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    let mut bob = online(&mesh, &key(2)).await;
    alice.json(send(&key(2), "m-1")).await;
    alice.expect("ack").await;
    let push = bob.expect("push").await;
    bob.json(json!({"type": "client_ack", "brokerMessageIds": [push["messageId"]]}))
        .await;
    let receipt = alice.expect("receipt").await;
    assert_eq!(receipt["messageId"], push["messageId"]);
    assert_eq!(receipt["state"], "delivered");

    mesh.kill_broker().await.unwrap();
    let mut bob = online(&mesh, &key(2)).await;
    bob.quiet(Duration::from_millis(100)).await;
    let mut alice = online(&mesh, &key(1)).await;
    let ask = json!({"type": "outcomes", "messageIds": [push["messageId"]], "_reqId": "o"});
    alice.json(ask).await;
    let result = alice.expect("outcomes_result").await;
    assert_eq!(result["outcomes"][0]["state"], "delivered");
}

#[tokio::test]
async fn what_is_not_acked_is_pushed_to_the_next_connection() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    let mut bob = online(&mesh, &key(2)).await;
    alice.json(send(&key(2), "m-1")).await;
    let push = bob.expect("push").await;
    mesh.drop_connection().await;
    let mut bob = online(&mesh, &key(2)).await;
    assert_eq!(bob.expect("push").await["messageId"], push["messageId"]);
}

#[tokio::test]
async fn nobody_settles_what_is_anothers() {
    let mesh = mesh_of(3).await;
    let mut alice = online(&mesh, &key(1)).await;
    let mut mallory = online(&mesh, &key(3)).await;
    alice.json(send(&key(2), "m-1")).await;
    let ack = alice.expect("ack").await;
    let steal = json!({"type": "client_ack", "brokerMessageIds": [ack["messageId"]],
                       "brokerMessageId": ack["messageId"], "clientMessageId": "m-1"});
    mallory.json(steal).await;
    mallory.json(json!({"type": "list_peers"})).await;
    mallory.expect("peers_list").await;
    let mut bob = online(&mesh, &key(2)).await;
    assert_eq!(bob.expect("push").await["messageId"], ack["messageId"]);
}

#[tokio::test]
async fn order_holds_and_nothing_is_lost_under_a_kill() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    for n in 0..200 {
        alice.json(send(&key(2), &format!("m-{n:03}"))).await;
    }
    // Killed while commits are under way: what was acked is kept, what was not may be.
    let mut acked = Vec::new();
    while acked.len() < 20 {
        match alice.next().await {
            Got::Frame(frame) if frame["type"] == "ack" => {
                acked.push(frame["id"].as_str().unwrap().to_owned());
            }
            Got::Frame(frame) if frame["type"] == "acks" => {
                let items = frame["items"].as_array().unwrap();
                acked.extend(
                    items
                        .iter()
                        .map(|ack| ack["id"].as_str().unwrap().to_owned()),
                );
            }
            got => panic!("{got:?}"),
        }
    }
    mesh.kill_broker().await.unwrap();
    let mut bob = online(&mesh, &key(2)).await;
    let mut got = Vec::new();
    while !acked.iter().all(|id| got.contains(id)) {
        let push = bob.expect("push").await;
        bob.json(json!({"type": "client_ack", "brokerMessageIds": [push["messageId"]]}))
            .await;
        got.push(push["client_message_id"].as_str().unwrap().to_owned());
    }
    assert!(got.is_sorted(), "{got:?}");
}

#[tokio::test]
async fn an_expired_message_is_not_delivered_and_its_sender_is_told() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    let mut frame = send(&key(2), "m-1");
    frame["expires_at"] = (now(&mesh) + 60_000).into();
    alice.json(frame).await;
    alice.expect("ack").await;
    mesh.advance(Duration::from_secs(120));
    let receipt = alice.expect("receipt").await;
    assert_eq!(
        (&receipt["state"], &receipt["reason"]),
        (&json!("failed"), &json!("expired"))
    );
    let mut bob = online(&mesh, &key(2)).await;
    bob.quiet(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_legacy_client_is_served_as_it_knows_it() {
    let mesh = mesh_of(2).await;
    let mut alice = legacy(&mesh, &key(1)).await;
    let mut bob = legacy(&mesh, &key(2)).await;
    alice.json(send(&key(2), "m-1")).await;
    let ack = alice.expect("ack").await;
    assert_eq!((&ack["id"], &ack["queued"]), (&json!("m-1"), &json!(true)));
    let push = bob.expect("push").await;
    assert_eq!(push["senderPubkey"], key(1).public().to_hex());
    let settle = json!({"type": "client_ack", "clientMessageId": "m-1",
                        "brokerMessageId": push["messageId"]});
    bob.json(settle).await;
    bob.json(json!({"type": "list_peers", "_reqId": "after"}))
        .await;
    bob.expect("peers_list").await;
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_slows_nobody_else() {
    let mut limits = Limits::default();
    (limits.slow_ms, limits.window) = (200, 1_000);
    let mesh = TestMesh::start_with(limits).await.unwrap();
    members(&mesh, 2).await;
    let _deaf = online(&mesh, &key(2)).await;
    let mut alice = online(&mesh, &key(1)).await;
    // More than the system's own buffers hold for a socket that nobody reads.
    let pad = "YWFh".repeat(15_000);
    for n in 0..300 {
        let mut frame = send(&key(2), &format!("m-{n}"));
        frame["ciphertext"] = pad.clone().into();
        alice.json(frame).await;
    }
    let mut acked = 0;
    while acked < 300 {
        match alice.next().await {
            Got::Frame(frame) if frame["type"] == "ack" => acked += 1,
            Got::Frame(frame) => acked += frame["items"].as_array().map_or(0, Vec::len),
            got => panic!("{got:?}"),
        }
    }
    let closed = async {
        loop {
            let metrics = http(mesh.addr(), "GET", "/metrics", &[], "").await.unwrap();
            if metrics.body.contains("{reason=\"slow_consumer\"} 1") {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, closed).await.unwrap();
    let mut back = online(&mesh, &key(2)).await;
    assert_eq!(back.expect("push").await["client_message_id"], "m-0");
}
