//! The HTTP side: health, metrics, pages, refusals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use broker_min::Broker;
use broker_min::limits::Limits;
use broker_min::testing::{HttpAnswer, TestMesh, http};
use serde_json::json;
use support::*;
use tokio::net::TcpListener;

async fn get(mesh: &TestMesh, path: &str) -> HttpAnswer {
    http(mesh.addr(), "GET", path, &[], "").await.unwrap()
}

async fn post(mesh: &TestMesh, path: &str, body: &str) -> HttpAnswer {
    http(mesh.addr(), "POST", path, &[], body).await.unwrap()
}

#[tokio::test]
async fn health_is_as_dashboards_know_it() {
    let mesh = TestMesh::start().await.unwrap();
    let health = body(&get(&mesh, "/health").await);
    assert_eq!(
        (&health["status"], &health["db"]),
        (&json!("ok"), &json!("up"))
    );
    for field in ["version", "gitSha"] {
        assert!(health[field].is_string(), "{field}");
    }
    assert!(health["uptime"].is_u64());
    let ready = get(&mesh, "/health/ready").await;
    assert_eq!(
        (ready.status, &body(&ready)["status"]),
        (200, &json!("ready"))
    );
    assert_eq!(ready.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn metrics_count_and_name_nobody() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    alice.json(send(&key(2), "m-1")).await;
    alice.expect("ack").await;
    let metrics = get(&mesh, "/metrics").await;
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    for line in [
        "broker_messages_routed_total{priority=\"now\"} 1",
        "broker_queue_depth 1",
        "broker_db_healthy 1",
        "broker_meshes 1",
        "broker_members 3",
    ] {
        let found = metrics.body.lines().any(|found| found == line);
        assert!(found, "{line} is not in\n{}", metrics.body);
    }
    assert!(metrics.body.trim_end().ends_with("# EOF"));
    assert!(!metrics.body.contains(&key(1).public().to_hex()[..16]));
    assert!(!metrics.body.contains(mesh.id().as_str()));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let mesh = TestMesh::start().await.unwrap();
    for path in ["/", "/nothing", "/ws?x=1", "/mesh/create", "/join"] {
        let answer = get(&mesh, path).await;
        let kind = answer.header("content-type");
        assert_eq!(
            (answer.status, kind),
            (404, Some("application/json")),
            "{path}"
        );
        assert_eq!(body(&answer)["error"], "not_found", "{path}");
    }
    assert_eq!(get(&mesh, "/ws").await.status, 426);
    let options = http(mesh.addr(), "OPTIONS", "/anything", &[], "")
        .await
        .unwrap();
    assert_eq!((options.status, options.body.as_str()), (204, ""));
    assert_eq!(
        options.header("access-control-allow-methods"),
        Some("POST, GET, OPTIONS")
    );
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_a_code() {
    let mesh = TestMesh::start().await.unwrap();
    let cases = [
        ("/join", "{", "malformed"),
        ("/join", "[]", "malformed"),
        (
            "/join",
            "{}",
            "invite_token, invite_payload, peer_pubkey, display_name required",
        ),
        (
            "/join",
            r#"{"invite_token":"x","invite_payload":{},"peer_pubkey":"z","display_name":"a"}"#,
            "peer_pubkey must be 64 hex chars (32 bytes)",
        ),
        ("/mesh/create", "{}", "invalid_argument"),
        (
            "/mesh/create",
            r#"{"log_entry":{"e":"AA","sig":"00"}}"#,
            "invalid_argument",
        ),
    ];
    for (path, text, error) in cases {
        let answer = post(&mesh, path, text).await;
        assert_eq!(answer.status, 400, "{path} {text}");
        assert_eq!(body(&answer)["ok"], false);
        assert_eq!(body(&answer)["error"], error, "{path} {text}");
    }
    let big = format!("{{\"pad\":\"{}\"}}", "a".repeat(70_000));
    assert_eq!(post(&mesh, "/join", &big).await.status, 413);
}

#[tokio::test]
async fn an_address_makes_few_meshes_an_hour() {
    let mut limits = Limits::default();
    limits.meshes_per_hour = 1;
    let mesh = TestMesh::start_with(limits).await.unwrap();
    let entry = json!({"log_entry": blob(mesh.first_entry())}).to_string();
    let answer = post(&mesh, "/mesh/create", &entry).await;
    assert_eq!(
        (answer.status, &body(&answer)["error"]),
        (429, &json!("rate_limit"))
    );
    assert!(body(&answer)["retry_after_ms"].as_u64().unwrap() <= 3_600_000);
    mesh.advance(std::time::Duration::from_secs(3_601));
    assert_ne!(post(&mesh, "/mesh/create", &entry).await.status, 429);
}

#[tokio::test]
async fn a_link_opens_a_page_without_script() {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 3, 60_000).await;
    let page = get(&mesh, &format!("/join/{}", link.token)).await;
    assert_eq!(page.status, 200);
    for text in [
        "test",
        "good for 3 more uses",
        "claudemesh join &#39;",
        "claudemesh join '",
    ] {
        let there = page.body.contains(text);
        assert_eq!(
            there,
            text != "claudemesh join &#39;",
            "{text}: {}",
            page.body
        );
    }
    assert!(!page.body.contains("<script"));
    assert!(
        !page.body.contains(&link.token),
        "the token is not repeated"
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    assert_eq!(page.header("access-control-allow-origin"), None);

    for bad in ["nonsense", "%3Cscript%3E"] {
        let page = get(&mesh, &format!("/join/{bad}")).await;
        assert_eq!(page.status, 404);
        assert!(page.body.contains("not valid") && !page.body.contains("<script"));
    }
    mesh.advance(std::time::Duration::from_secs(120));
    let page = get(&mesh, &format!("/join/{}", link.token)).await;
    assert!(page.body.contains("expired"), "{}", page.body);
    assert!(!page.body.contains("How to join"));
}

#[tokio::test]
async fn two_brokers_do_not_share_a_folder() {
    let mesh = TestMesh::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Broker::builder()
        .data_dir(mesh.data_dir())
        .serve(listener)
        .await;
    let error = second.unwrap_err().to_string();
    assert!(error.contains("in use by another broker"), "{error}");
    online(&mesh, mesh.owner()).await;
}
