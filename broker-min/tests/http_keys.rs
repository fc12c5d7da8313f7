//! API keys by HTTP: they open the hook and what is sealed in topics, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use broker_min::testing::{HttpAnswer, TestMesh, http};
use claudemesh_core::Peer;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::{base64, unbase64};
use claudemesh_core::id::ChannelName;
use serde_json::{Value, json};
use support::*;

async fn with(mesh: &TestMesh, method: &str, path: &str, key: &str, body: &str) -> HttpAnswer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    http(mesh.addr(), method, path, &headers, body)
        .await
        .unwrap()
}

fn refused(answer: &HttpAnswer, status: u16, error: &str) {
    let said = body(answer);
    assert_eq!(
        (answer.status, &said["error"]),
        (status, &json!(error)),
        "{said}"
    );
    assert!(said["message"].as_str().unwrap().len() > 20, "{said}");
}

/// A mesh of members without log entries, `key(1)` to `key(n)`.
async fn legacy_mesh(n: u8) -> TestMesh {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 10, 60_000).await;
    for n in 1..=n {
        let answer = join_legacy(&mesh, &link.token, &key(n), &format!("m{n}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    mesh
}

async fn asked(raw: &mut Raw, ask: Value, answer: &str) -> Value {
    raw.json(ask).await;
    raw.expect(answer).await
}

/// An API key of this member's, and its id.
async fn made(mesh: &TestMesh, who: &KeyPair, fields: Value) -> (String, String) {
    let mut ask = json!({"type": "apikey_create", "label": "ci", "_reqId": "k"});
    for (name, value) in fields.as_object().unwrap() {
        ask[name] = value.clone();
    }
    let mut raw = legacy(mesh, who).await;
    let made = asked(&mut raw, ask, "apikey_created").await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("secret"), text("id"))
}

async fn topic(raw: &mut Raw, name: &str, visibility: &str) -> String {
    let ask = json!({"type": "topic_create", "name": name, "visibility": visibility});
    let made = asked(raw, ask, "topic_created").await;
    made["topic"]["id"].as_str().unwrap().to_owned()
}

fn sealed(topic: &str) -> Value {
    json!({"topic": topic, "nonce": base64(&[7; 24]), "ciphertext": base64(&[9; 40]),
           "bodyVersion": 2})
}

#[tokio::test]
async fn a_key_reads_and_writes_what_is_sealed_in_topics() {
    let mesh = legacy_mesh(2).await;
    let (mut alice, mut bob) = (legacy(&mesh, &key(1)).await, legacy(&mesh, &key(2)).await);
    let id = topic(&mut alice, "deploys", "public").await;
    topic(&mut bob, "secret", "private").await;
    bob.json(json!({"type": "topic_join", "topic": "deploys"}))
        .await;
    let members = json!({"type": "topic_members", "topic": "deploys"});
    let there = asked(&mut bob, members, "topic_members_response").await;
    assert_eq!(there["members"].as_array().unwrap().len(), 2);
    let (secret, _) = made(&mesh, &key(1), json!({"capabilities": ["send", "read"]})).await;
    let topics = body(&with(&mesh, "GET", "/api/v1/topics", &secret, "").await);
    let names: Vec<&Value> = topics["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert_eq!(
        names,
        [&json!("deploys")],
        "what its member cannot read is not there"
    );

    let answer = with(
        &mesh,
        "POST",
        "/api/v1/messages",
        &secret,
        &sealed("deploys").to_string(),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = body(&answer);
    assert_eq!(
        (&told["topicId"], &told["bodyVersion"]),
        (&json!(id), &json!(2))
    );
    assert_eq!(told["messageId"].as_str().unwrap().len(), 32);
    // It is alice's, and is pushed at once.
    let push = bob.expect("push").await;
    assert_eq!(push["senderMemberPubkey"], json!(key(1).public()));
    assert_eq!(push["ciphertext"], sealed("")["ciphertext"]);

    // Text in the open is neither taken nor shown here.
    let mut open = sealed("deploys");
    open["bodyVersion"] = 1.into();
    let answer = with(
        &mesh,
        "POST",
        "/api/v1/messages",
        &secret,
        &open.to_string(),
    )
    .await;
    refused(&answer, 400, "plaintext_refused");
    let target = format!("#{id}");
    bob.json(
        json!({"type": "send", "id": "open", "targetSpec": target, "priority": "next",
                    "nonce": base64(&[1; 24]), "ciphertext": base64(b"canary in the open")}),
    )
    .await;
    assert_eq!(bob.expect("ack").await["queued"], true);
    let path = "/api/v1/topics/deploys/messages";
    let answer = with(&mesh, "GET", path, &secret, "").await;
    let told = body(&answer);
    assert_eq!(
        (told["messages"].as_array().unwrap().len(), &told["leftOut"]),
        (1, &json!(1))
    );
    assert_eq!(told["messages"][0]["ciphertext"], sealed("")["ciphertext"]);
    assert!(!answer.body.contains(&base64(b"canary in the open")));
    let first = told["messages"][0]["id"].as_str().unwrap();
    let before = format!("{path}?limit=5&before={first}");
    let told = body(&with(&mesh, "GET", &before, &secret, "").await);
    assert_eq!(told["messages"], json!([]));

    let wrong = [
        (
            "GET",
            "/api/v1/topics/secret/messages".to_owned(),
            "",
            404,
            "topic_not_found",
        ),
        (
            "GET",
            format!("{path}?limit=x"),
            "",
            400,
            "invalid_argument",
        ),
        (
            "GET",
            format!("{path}?before=x"),
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            "/api/v1/messages".to_owned(),
            "{}",
            400,
            "invalid_argument",
        ),
        ("POST", "/api/v1/messages".to_owned(), "x", 400, "malformed"),
        ("GET", "/api/v1/peers".to_owned(), "", 501, "unsupported"),
        (
            "POST",
            "/api/v1/topics/deploys/seal".to_owned(),
            "{}",
            501,
            "unsupported",
        ),
    ];
    for (method, path, text, status, error) in wrong {
        refused(
            &with(&mesh, method, &path, &secret, text).await,
            status,
            error,
        );
    }
    let mut short = sealed("deploys");
    short["nonce"] = "AAAA".into();
    let answer = with(
        &mesh,
        "POST",
        "/api/v1/messages",
        &secret,
        &short.to_string(),
    )
    .await;
    refused(&answer, 400, "invalid_argument");
}

#[tokio::test]
async fn scopes_capabilities_expiry_and_revocation_hold() {
    let mesh = legacy_mesh(2).await;
    let mut alice = legacy(&mesh, &key(1)).await;
    topic(&mut alice, "deploys", "public").await;
    topic(&mut alice, "other", "public").await;
    let topics = "/api/v1/topics";
    let get = async |key: &str, path: &str| with(&mesh, "GET", path, key, "").await;
    let post = async |key: &str, topic: &str| {
        let text = sealed(topic).to_string();
        with(&mesh, "POST", "/api/v1/messages", key, &text).await
    };
    let none = http(mesh.addr(), "GET", topics, &[], "").await.unwrap();
    refused(&none, 401, "error.api_key_missing");
    for bad in ["nope", "cm_unknown"] {
        refused(&get(bad, topics).await, 401, "error.api_key_invalid");
    }
    let (reads, _) = made(&mesh, &key(1), json!({"capabilities": ["read"]})).await;
    refused(
        &post(&reads, "deploys").await,
        403,
        "error.api_key_missing_capability",
    );
    let (sends, _) = made(&mesh, &key(1), json!({"capabilities": ["send"]})).await;
    refused(
        &get(&sends, topics).await,
        403,
        "error.api_key_missing_capability",
    );

    let scoped = json!({"capabilities": ["send", "read"], "topicScopes": ["deploys"]});
    let (scoped, id) = made(&mesh, &key(1), scoped).await;
    assert_eq!(post(&scoped, "deploys").await.status, 200);
    for other in ["other", "nowhere"] {
        refused(
            &post(&scoped, other).await,
            403,
            "error.api_key_topic_out_of_scope",
        );
    }
    let listed = body(&get(&scoped, topics).await);
    assert_eq!(listed["topics"].as_array().unwrap().len(), 1);
    let hook = format!("/hook/{}/{scoped}", mesh.id());
    let answer = http(mesh.addr(), "POST", &hook, &[], "{}").await.unwrap();
    refused(&answer, 403, "error.api_key_topic_out_of_scope");

    // Revoked, over, and of a member that is out.
    let mut alice = legacy(&mesh, &key(1)).await;
    let revoke = json!({"type": "apikey_revoke", "id": id});
    let revoked = asked(&mut alice, revoke, "apikey_revoke_response").await;
    assert_eq!(revoked["status"], "revoked");
    refused(&get(&scoped, topics).await, 401, "error.api_key_invalid");
    let at = claudemesh_core::time::iso(now(&mesh) + 60_000);
    let brief = json!({"capabilities": ["read"], "expiresAt": at});
    let (brief, _) = made(&mesh, &key(1), brief).await;
    assert_eq!(get(&brief, topics).await.status, 200);
    mesh.advance(std::time::Duration::from_secs(61));
    refused(&get(&brief, topics).await, 401, "error.api_key_invalid");
    let (bobs, _) = made(&mesh, &key(2), json!({"capabilities": ["read"]})).await;
    assert_eq!(get(&bobs, topics).await.status, 200);

    // After a restart nobody has loaded the mesh, and the key is found all the same; only its hash
    // is kept.
    mesh.kill_broker().await.unwrap();
    assert_eq!(get(&bobs, topics).await.status, 200);
    let file = std::fs::read(mesh.data_dir().join("broker.db")).unwrap_or_default();
    let wal = std::fs::read(mesh.data_dir().join("broker.db-wal")).unwrap_or_default();
    for bytes in [file, wal] {
        let found = bytes
            .windows(bobs.len())
            .any(|part| part == bobs.as_bytes());
        assert!(!found, "the key is in the store");
    }
    let mut owner = legacy(&mesh, mesh.owner()).await;
    let ban = json!({"type": "ban", "target": key(2).public().to_hex()});
    asked(&mut owner, ban, "ban_ack").await;
    refused(&get(&bobs, topics).await, 401, "error.api_key_invalid");
}

#[tokio::test]
async fn the_hook_tells_existing_clients_and_nobody_else() {
    let mesh = legacy_mesh(2).await;
    let mut bob = legacy(&mesh, &key(2)).await;
    let mut ours = online(&mesh, mesh.owner()).await;
    let (secret, _) = made(
        &mesh,
        &key(1),
        json!({"label": "github", "capabilities": ["send"]}),
    )
    .await;
    let hook = format!("/hook/{}/{secret}", mesh.id());
    let post =
        async |path: &str, body: &str| http(mesh.addr(), "POST", path, &[], body).await.unwrap();
    let answer = post(&hook, r#"{"action":"opened"}"#).await;
    assert_eq!((answer.status, &body(&answer)["ok"]), (200, &json!(true)));
    assert!(body(&answer)["delivered"].as_u64().unwrap() >= 1);
    let push = bob.expect("push").await;
    assert_eq!(
        (&push["subtype"], &push["event"]),
        (&json!("webhook"), &json!("github"))
    );
    assert_eq!(push["eventData"], json!({"action": "opened"}));
    assert_eq!(push["senderPubkey"], "webhook:github");
    ours.json(json!({"type": "list_peers"})).await;
    let Got::Frame(next) = ours.next().await else {
        panic!("nothing came")
    };
    assert_eq!(
        next["type"], "peers_list",
        "a peer of ours takes nothing in the open"
    );

    refused(&post(&hook, "1").await, 400, "invalid JSON body");
    let big = format!("{{\"pad\":\"{}\"}}", "a".repeat(70_000));
    assert_eq!(post(&hook, &big).await.status, 413);
    let elsewhere = format!("/hook/nowhere/{secret}");
    assert_eq!(post(&elsewhere, "{}").await.status, 401);
    refused(
        &post(&format!("/hook/{}/x", mesh.id()), "{}").await,
        401,
        "unauthorized",
    );
    // It opens nothing of members, statuses or the operator's.
    for (method, path) in [
        ("GET", format!("/mesh/{}/members", mesh.id())),
        ("PATCH", format!("/mesh/{}/settings", mesh.id())),
        ("POST", "/hook/set-status".to_owned()),
    ] {
        let answer = with(&mesh, method, &path, &secret, "{}").await;
        refused(&answer, 403, "forbidden");
    }
    let answer = with(&mesh, "GET", "/cli/meshes", &secret, "").await;
    refused(&answer, 401, "invalid_or_revoked_token");
}

#[tokio::test]
async fn a_key_carries_what_its_member_sealed_for_a_channel_of_ours() {
    let mesh = TestMesh::start().await.unwrap();
    let entry = mesh.member("alice").await.unwrap();
    let alice = Peer::builder(&entry).in_memory().connect().await.unwrap();
    let ops = ChannelName::new("#ops").unwrap();
    alice.create_channel(&ops, true).await.unwrap();
    let sent = alice.send(ops, "canary sealed").await.unwrap();
    sent.accepted().await.unwrap();
    let fields = json!({"capabilities": ["send", "read"]});
    let (secret, _) = made(&mesh, entry.key_pair(), fields).await;
    let told = body(&with(&mesh, "GET", "/api/v1/topics", &secret, "").await);
    let listed = json!([{"id": "#ops", "name": "ops", "sealed": true}]);
    assert_eq!(told["topics"], listed);
    let path = "/api/v1/topics/ops/messages";
    let answer = with(&mesh, "GET", path, &secret, "").await;
    let told = body(&answer);
    assert_eq!(told["messages"].as_array().unwrap().len(), 1, "{told}");
    let first = &told["messages"][0];
    assert_eq!(first["form"], "envelope/1");
    assert!(!answer.body.contains("canary") && !answer.body.contains(&base64(b"canary")));

    // The same sealed bytes again: for the broker a message of alice's, under her newest key.
    let mut post = json!({"topic": "ops", "nonce": first["nonce"], "form": "envelope/1",
                          "ciphertext": first["ciphertext"]});
    let path = "/api/v1/messages";
    let answer = with(&mesh, "POST", path, &secret, &post.to_string()).await;
    assert_eq!(
        (answer.status, &body(&answer)["topic"]),
        (200, &json!("ops")),
        "{}",
        answer.body
    );
    // Under no key of the channel, and without the form that is sealed.
    let mut other = unbase64(first["ciphertext"].as_str().unwrap()).unwrap();
    other[5] ^= 1;
    post["ciphertext"] = base64(&other).into();
    let answer = with(&mesh, "POST", path, &secret, &post.to_string()).await;
    refused(&answer, 409, "stale_epoch");
    post["form"] = Value::Null;
    let answer = with(&mesh, "POST", path, &secret, &post.to_string()).await;
    refused(&answer, 400, "plaintext_refused");
}

#[tokio::test]
async fn when_a_key_was_used_last_is_told_and_kept() {
    let mesh = legacy_mesh(1).await;
    let (secret, _) = made(&mesh, &key(1), json!({"capabilities": ["read"]})).await;
    let used = async |mesh: &TestMesh| {
        let mut raw = legacy(mesh, &key(1)).await;
        let ask = json!({"type": "apikey_list", "_reqId": "l"});
        let list = asked(&mut raw, ask, "apikey_list_response").await;
        list["keys"][0]["lastUsedAt"].clone()
    };
    assert_eq!(used(&mesh).await, Value::Null);
    let topics = "/api/v1/topics";
    with(&mesh, "GET", topics, "cm_another", "").await;
    assert_eq!(used(&mesh).await, Value::Null);
    assert_eq!(with(&mesh, "GET", topics, &secret, "").await.status, 200);
    let first = used(&mesh).await;
    assert!(first.is_string(), "{first}");
    // It is written down once a minute.
    mesh.advance(std::time::Duration::from_secs(30));
    with(&mesh, "GET", topics, &secret, "").await;
    assert_eq!(used(&mesh).await, first);
    mesh.advance(std::time::Duration::from_secs(31));
    with(&mesh, "GET", topics, &secret, "").await;
    let second = used(&mesh).await;
    assert!(second.as_str() > first.as_str(), "{first} {second}");
    mesh.kill_broker().await.unwrap();
    mesh.start_broker().await.unwrap();
    assert_eq!(used(&mesh).await, second);
}
