//! Floods, slow senders, guesses and hostile shapes: each is bounded, told of and counted. And
//! health says what is so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use broker_min::limits::Limits;
use broker_min::store::{BrokerStore, MemoryStore, Op, Outcome, StoreError, StoreReader};
use broker_min::testing::{HttpAnswer, http};
use broker_min::{Broker, BrokerHandle};
use serde_json::json;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn broker(change: impl FnOnce(&mut Limits)) -> (tempfile::TempDir, BrokerHandle) {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder().data_dir(dir.path()).limits(limits);
    let broker = broker.serve(listener).await.unwrap();
    (dir, broker)
}

async fn get(broker: &BrokerHandle, path: &str) -> HttpAnswer {
    http(broker.local_addr(), "GET", path, &[], "")
        .await
        .unwrap()
}

async fn counted(broker: &BrokerHandle, name: &str) -> u64 {
    let text = get(broker, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_cut() {
    let (_dir, broker) = broker(|limits| limits.http_ms = 600).await;
    let mut slow = TcpStream::connect(broker.local_addr()).await.unwrap();
    let began = Instant::now();
    let ended = async {
        slow.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
            .await?;
        loop {
            slow.write_all(b"a").await?;
            let mut byte = [0; 1];
            let read = slow.read(&mut byte);
            match tokio::time::timeout(Duration::from_millis(50), read).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                _ => {}
            }
        }
    };
    let ended: std::io::Result<()> = tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
    drop(ended);
    assert!(began.elapsed() >= Duration::from_millis(600));
    assert_eq!(get(&broker, "/health").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_connections_is_bounded_and_counted() {
    let (_dir, broker) = broker(|limits| limits.connections = 20).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(broker.local_addr()).await.unwrap());
    }
    let refused = get(&broker, "/health").await;
    assert_eq!(refused.status, 503);
    drop(held);
    let served = async {
        while http(broker.local_addr(), "GET", "/health", &[], "")
            .await
            .is_ok_and(|answer| answer.status != 200)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .unwrap();
    let name = "broker_connections_rejected_total{reason=\"connections\"}";
    assert!(counted(&broker, name).await > 0);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let (_dir, broker) = broker(|limits| limits.connections_per_address = 5).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(TcpStream::connect(broker.local_addr()).await.unwrap());
    }
    let refused = get(&broker, "/health").await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("your address"), "{}", refused.body);
    drop(held);
    let served = async {
        while get(&broker, "/health").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .unwrap();
}

#[tokio::test]
async fn guesses_are_refused_counted_and_end() {
    let (_dir, broker) = broker(|limits| limits.refusals_per_hour = 10).await;
    for n in 0..10 {
        let answer = get(&broker, &format!("/join/guess-{n}")).await;
        assert_eq!(answer.status, 404);
    }
    let answer = get(&broker, "/join/guess").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    let other = http(broker.local_addr(), "POST", "/join", &[], "{}")
        .await
        .unwrap();
    assert_eq!(other.status, 429);
    assert_eq!(get(&broker, "/ready").await.status, 200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_counts_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.refusals_per_hour = 3;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(dir.path())
        .limits(limits)
        .trusted_proxy("127.0.0.1".parse().unwrap())
        .serve(listener)
        .await
        .unwrap();
    let ask = async |client: &str| {
        let headers = [("x-forwarded-for", client)];
        let answer = http(broker.local_addr(), "GET", "/join/x", &headers, "").await;
        answer.unwrap().status
    };
    for _ in 0..3 {
        // What the client itself wrote before is not believed.
        assert_eq!(ask("198.51.100.9, 203.0.113.1").await, 404);
    }
    assert_eq!(ask("203.0.113.1").await, 429);
    assert_eq!(ask("203.0.113.2").await, 404);
    assert_eq!(ask("198.51.100.9").await, 404);
}

#[tokio::test]
async fn nobody_from_outside_learns_who_is_in_a_mesh() {
    let mesh = mesh_of(2).await;
    // With a key that is no member's, a member's own key tells nothing, and neither does the mesh.
    let stranger = key(99);
    let log = |id: &str| format!("/mesh/{id}/log?from=0");
    let without = http(mesh.addr(), "GET", &log(mesh.id().as_str()), &[], "")
        .await
        .unwrap();
    let nowhere = http(mesh.addr(), "GET", &log("nothing-like-it"), &[], "")
        .await
        .unwrap();
    assert_eq!(
        (without.status, without.body),
        (nowhere.status, nowhere.body)
    );
    let mut raw = Raw::connect(&mesh).await;
    raw.json(hello(&mesh, &stranger)).await;
    let refused = raw.expect("error").await;
    assert_eq!(refused["code"], "unauthorized");
    assert!(!refused.to_string().contains(&key(1).public().to_hex()));
}

#[tokio::test]
async fn a_frame_at_the_limit_is_read_and_a_deep_one_is_refused() {
    let mesh = mesh_of(2).await;
    let limit = Limits::default().frame_bytes;
    let mut alice = online(&mesh, &key(1)).await;
    let frame = json!({"type": "ping_nobody_knows", "x": ""}).to_string();
    let fill = "x".repeat(limit - frame.len());
    let full = frame.replace("\"x\":\"\"", &format!("\"x\":\"{fill}\""));
    assert_eq!(full.len(), limit);
    alice.text(full).await;
    // Read, and not closed for its size.
    assert_eq!(alice.expect("error").await["code"], "unsupported");
    for open in ["[", "{\"a\":"] {
        let deep = format!("{{\"type\":\"send\",\"x\":{}", open.repeat(10_000));
        alice.text(deep).await;
        assert_eq!(alice.expect("error").await["code"], "malformed");
    }
    // It is still served.
    alice.json(send(&key(2), "m-1")).await;
    alice.expect("ack").await;
    let deep = "[".repeat(60_000);
    let answer = http(mesh.addr(), "POST", "/join", &[], &deep)
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
}

/// A store whose disk does what a test says: 0 writes, 1 full, 2 read-only.
struct Moody {
    store: MemoryStore,
    mood: Arc<AtomicU8>,
}

impl Moody {
    fn trouble(&self) -> Result<(), StoreError> {
        let path = "broker.db".to_owned();
        match self.mood.load(Ordering::Acquire) {
            0 => Ok(()),
            1 => Err(StoreError::Full { path }),
            _ => Err(StoreError::ReadOnly { path }),
        }
    }
}

impl BrokerStore for Moody {
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        self.trouble()?;
        self.store.commit(ops)
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        self.store.reader()
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.trouble()
    }
}

#[tokio::test]
async fn readiness_tells_a_full_and_a_read_only_disk_and_heals() {
    let mood = Arc::new(AtomicU8::new(0));
    let store = Moody {
        store: MemoryStore::new([7; 32]),
        mood: mood.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .store(store)
        .serve(listener)
        .await
        .unwrap();
    let until = async |status: u16, reason: &str| {
        let reached = async {
            loop {
                let ready = get(&broker, "/ready").await;
                let healthy = body(&get(&broker, "/health").await);
                let same = ready.status == status && healthy["store"] == reason;
                if same && (status == 200 || body(&ready)["reason"] == reason) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), reached)
            .await
            .unwrap();
    };
    until(200, "ok").await;
    mood.store(1, Ordering::Release);
    until(503, "disk_full").await;
    assert_eq!(counted(&broker, "broker_store_writable").await, 0);
    mood.store(2, Ordering::Release);
    until(503, "store_read_only").await;
    mood.store(0, Ordering::Release);
    until(200, "ok").await;
}
