//! Hellos, refusals and hostile bytes, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::time::Duration;

use broker_min::limits::Limits;
use broker_min::testing::TestMesh;
use serde_json::json;
use support::*;

#[tokio::test]
async fn every_form_of_hello_is_answered() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.owner();
    let mut old = Raw::connect(&mesh).await;
    old.json(hello(&mesh, owner)).await;
    let ack = old.expect("hello_ack").await;
    assert_eq!(ack["memberDisplayName"], "owner");

    let mut proven = Raw::connect(&mesh).await;
    proven.prove(&full_hello(&mesh, owner), owner).await;
    let ack = proven.expect("hello_ack").await;
    assert!(
        ack["capabilities"]
            .as_array()
            .unwrap()
            .contains(&json!("delivery/1"))
    );
    assert_eq!(ack["log_head"]["seq"], 0);

    let mut session = Raw::connect(&mesh).await;
    session.json(session_hello(&mesh, owner, &key(40))).await;
    session.expect("hello_ack").await;

    let mut session = Raw::connect(&mesh).await;
    let hello = session_hello(&mesh, owner, &key(41));
    session.prove(&hello, &key(41)).await;
    session.expect("hello_ack").await;
}

#[tokio::test]
async fn a_wrong_hello_is_told_why_and_closed() {
    let mesh = TestMesh::start().await.unwrap();
    let at = now(&mesh);
    let owner = mesh.owner();
    let mut unsigned = hello(&mesh, owner);
    unsigned["signature"] = "00".repeat(64).into();
    let mut named = hello(&mesh, owner);
    named["sessionPubkey"] = "nothex".into();
    let mut elsewhere = session_hello(&mesh, owner, &key(9));
    elsewhere["sessionPubkey"] = key(8).public().to_hex().into();
    let cases = [
        (unsigned, "bad_signature"),
        (named, "bad_session_pubkey"),
        (hello_at(&mesh, owner, at - 61_000), "timestamp_skew"),
        (hello(&mesh, &key(77)), "unauthorized"),
        (session_hello(&mesh, &key(77), &key(78)), "unauthorized"),
        (elsewhere, "attestation_mismatch"),
    ];
    for (hello, code) in cases {
        let mut raw = Raw::connect(&mesh).await;
        raw.json(hello).await;
        let (error, close, reason) = raw.refused().await;
        assert_eq!(
            (error["code"].as_str(), close),
            (Some(code), 1008),
            "{error}"
        );
        assert_eq!(reason, code);
    }
}

#[tokio::test]
async fn a_challenge_is_good_on_its_own_socket_only() {
    let mesh = TestMesh::start().await.unwrap();
    let hello = full_hello(&mesh, mesh.owner());
    let first = Raw::connect(&mesh).await;
    let mut second = Raw::connect(&mesh).await;
    assert_ne!(first.challenge, second.challenge);
    second.challenge = first.challenge;
    second.prove(&hello, mesh.owner()).await;
    let (error, close, _) = second.refused().await;
    assert_eq!(
        (error["code"].as_str(), close),
        (Some("bad_signature"), 1008)
    );

    let mut third = Raw::connect(&mesh).await;
    third.host = "elsewhere.example:443".to_owned();
    third.prove(&hello, mesh.owner()).await;
    assert_eq!(third.refused().await.1, 1008);
}

#[tokio::test]
async fn a_hello_that_was_overheard_is_worth_nothing() {
    let mesh = TestMesh::start().await.unwrap();
    let overheard = hello(&mesh, mesh.owner());
    let mut victim = Raw::connect(&mesh).await;
    victim.json(overheard.clone()).await;
    victim.expect("hello_ack").await;
    let mut thief = Raw::connect(&mesh).await;
    thief.json(overheard).await;
    assert_eq!(thief.refused().await.1, 1008);
    victim.json(json!({"type": "list_peers"})).await;
    victim.expect("peers_list").await;
}

#[tokio::test]
async fn a_stolen_session_id_disturbs_nobody() {
    let mesh = mesh_of(2).await;
    let mut victim = Raw::connect(&mesh).await;
    let mut said = full_hello(&mesh, &key(1));
    said["sessionId"] = "shared".into();
    victim.prove(&said, &key(1)).await;
    victim.expect("hello_ack").await;
    let mut thief = Raw::connect(&mesh).await;
    let mut says = full_hello(&mesh, &key(2));
    says["sessionId"] = "shared".into();
    thief.prove(&says, &key(2)).await;
    thief.expect("hello_ack").await;
    // Neither may a legacy hello, not even of the same member, end a proven connection.
    let mut old = Raw::connect(&mesh).await;
    let mut says = hello(&mesh, &key(1));
    says["sessionId"] = "shared".into();
    old.json(says).await;
    victim
        .json(json!({"type": "list_peers", "_reqId": "r"}))
        .await;
    assert_eq!(victim.expect("peers_list").await["_reqId"], "r");
}

#[tokio::test]
async fn before_the_hello_little_is_said_and_not_for_long() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = Raw::connect(&mesh).await;
    for _ in 0..8 {
        raw.json(json!({"type": "list_peers"})).await;
        let Got::Frame(error) = raw.next().await else {
            panic!("no frame")
        };
        assert_eq!(error["code"], "no_hello");
        assert_eq!(error["message"], "must send hello first");
    }
    assert_eq!(raw.closed().await, (1008, "no_hello".to_owned()));
}

#[tokio::test]
async fn who_says_no_hello_is_closed() {
    let mut limits = Limits::default();
    limits.hello_ms = 100;
    let mesh = TestMesh::start_with(limits).await.unwrap();
    let mut raw = Raw::connect(&mesh).await;
    let (error, close, reason) = raw.refused().await;
    assert_eq!(error["code"], "hello_timeout");
    assert_eq!((close, reason.as_str()), (1008, "hello_timeout"));
}

#[tokio::test]
async fn an_address_has_few_connections_without_hello() {
    let mut limits = Limits::default();
    limits.pending_per_address = 2;
    let mesh = TestMesh::start_with(limits).await.unwrap();
    let (_one, two) = (Raw::connect(&mesh).await, Raw::connect(&mesh).await);
    let refused = broker_min::testing::http(mesh.addr(), "GET", "/health", &[], "").await;
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(two);
    // The place is free again as soon as the broker has noticed.
    let freed = async {
        loop {
            let answer = broker_min::testing::http(mesh.addr(), "GET", "/health", &[], "").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, freed).await.unwrap();
}

#[tokio::test]
async fn garbage_is_answered_and_changes_nothing() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = online(&mesh, mesh.owner()).await;
    let junk = [
        "not json",
        "[]",
        "7",
        "{\"type\":\"send\"}",
        "{\"type\":\"send\",\"id\":7}",
    ];
    for text in junk {
        raw.text(text).await;
        let Got::Frame(error) = raw.next().await else {
            panic!("no frame")
        };
        assert_eq!(error["code"], "malformed", "{text}: {error}");
    }
    raw.binary(b"{\"type\":\"list_peers\"}").await;
    raw.expect("peers_list").await;
    raw.binary(&[0xff, 0xfe]).await;
    let Got::Frame(error) = raw.next().await else {
        panic!("no frame")
    };
    assert_eq!(error["code"], "malformed");
    for _ in 0..26 {
        raw.text("{").await;
    }
    assert_eq!(raw.closed().await, (1008, "malformed".to_owned()));
}

#[tokio::test]
async fn a_frame_that_is_too_long_closes_with_1009() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = online(&mesh, mesh.owner()).await;
    let fits = format!("{{\"type\":\"x\",\"pad\":\"{}\"}}", "a".repeat(65_536 - 21));
    assert_eq!(fits.len(), 65_536);
    raw.text(fits.clone()).await;
    let Got::Frame(error) = raw.next().await else {
        panic!("no frame")
    };
    assert_eq!(error["type"], "error");
    raw.text(format!("{fits} ")).await;
    assert_eq!(raw.closed().await.0, 1009);
    let mut early = Raw::connect(&mesh).await;
    early.text("a".repeat(1 << 20)).await;
    assert_eq!(early.closed().await.0, 1009);
}

#[tokio::test]
async fn a_second_hello_on_a_socket_is_refused() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = online(&mesh, mesh.owner()).await;
    raw.json(hello(&mesh, mesh.owner())).await;
    let Got::Frame(error) = raw.next().await else {
        panic!("no frame")
    };
    assert_eq!(error["code"], "invalid");
    raw.json(json!({"type": "list_peers"})).await;
    raw.expect("peers_list").await;
}

#[tokio::test]
async fn peers_are_pinged_and_the_silent_are_dropped() {
    let mut limits = Limits::default();
    (limits.ping_ms, limits.stale_ms) = (50, 120);
    let mesh = TestMesh::start_with(limits).await.unwrap();
    members(&mesh, 1).await;
    let mut alive = online(&mesh, mesh.owner()).await;
    let mut dead = online(&mesh, &key(1)).await;
    // `alive` answers pings because it is read; `dead` is not read, so nobody answers for it.
    alive.quiet(Duration::from_millis(400)).await;
    alive.json(json!({"type": "list_peers"})).await;
    alive.expect("peers_list").await;
    assert!(matches!(dead.next().await, Got::Gone));
}

#[tokio::test]
async fn a_broker_that_stops_says_so() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = online(&mesh, mesh.owner()).await;
    let mut early = Raw::connect(&mesh).await;
    let (stopped, close, early) = tokio::join!(mesh.stop_broker(), raw.closed(), early.closed());
    stopped.unwrap();
    assert_eq!(close, (1001, "shutting down".to_owned()));
    assert_eq!(early.0, 1001);
    mesh.start_broker().await.unwrap();
    online(&mesh, mesh.owner()).await;
}

#[tokio::test]
async fn a_broken_network_shows_no_close_frame() {
    let mesh = TestMesh::start().await.unwrap();
    let mut raw = online(&mesh, mesh.owner()).await;
    mesh.drop_connection().await;
    loop {
        match raw.next().await {
            Got::Frame(_) => {}
            Got::Gone => break,
            Got::Closed(frame) => panic!("{frame:?}"),
        }
    }
    online(&mesh, mesh.owner()).await;
}
