//! A channel from its making to its history, over real sockets and through the end of the broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use broker_min::testing::TestMesh;
use claudemesh_core::channel::{
    ExpectedInChannel, Keyring, SignedKeyStatement, Taken, open_in_channel, seal_to_channel,
};
use claudemesh_core::crypto::{Drbg, KeyPair};
use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::id::{ChannelName, MessageId};
use claudemesh_core::membership::{Body, ChannelBody, ChannelLog, Log};
use claudemesh_core::message::{Content, SealedText};
use claudemesh_core::wire::SignedBlob;
use serde_json::{Value, json};
use support::*;

async fn online_with_channels(mesh: &TestMesh, key: &KeyPair) -> Raw {
    let mut raw = Raw::connect(mesh).await;
    let mut hello = full_hello(mesh, key);
    hello["capabilities"] = json!(["delivery/1", "envelope/1", "log/1", "channels/1"]);
    raw.prove(&hello, key).await;
    let ack = raw.expect("hello_ack").await;
    let told = ack["capabilities"].as_array().unwrap();
    assert!(told.contains(&json!("channels/1")));
    raw
}

/// Takes a key as a peer does: from `channel_key` or a record of `channel_keys`.
fn take(ring: &mut Keyring, record: &Value, me: &KeyPair, log: &Log, channel: &ChannelLog) {
    let blob: SignedBlob = serde_json::from_value(record.clone()).unwrap();
    let statement = SignedKeyStatement {
        bytes: blob.bytes().unwrap(),
        signature: blob.signature().unwrap(),
    };
    assert_eq!(ring.take(&statement, log, Some(channel)), Taken::Newer);
    let copy = unbase64url(record["copy"].as_str().unwrap()).unwrap();
    ring.take_copy(&statement.key_id(), me, &copy).unwrap();
}

fn open(ring: &Keyring, mesh: &TestMesh, channel: &ChannelName, push: &Value) -> String {
    let text = |name: &str| push[name].as_str().unwrap().to_owned();
    let sealed = SealedText {
        nonce: text("nonce"),
        ciphertext: text("ciphertext"),
    };
    let (key_id, key) = ring.current().unwrap();
    let expected = ExpectedInChannel {
        mesh: &mesh.id(),
        channel,
        key_id,
        frame_id: push["client_message_id"].as_str(),
        now: now(mesh),
    };
    let opened = open_in_channel(expected, key, &sealed).unwrap();
    String::from_utf8(opened.content.body).unwrap()
}

#[tokio::test]
async fn what_is_said_in_a_topic_is_read_by_who_is_in_it_also_later() {
    let mesh = mesh_of(3).await;
    let (alice, bob) = (key(1), key(2));
    let name = ChannelName::new("#ops").unwrap();
    let (channel, public) = (name.clone(), true);
    append(&mesh, Body::ChannelCreated { channel, public }, None).await;
    let log = read_log(&mesh, &alice).await.unwrap();
    let mut topic = ChannelLog::begin(&log, &name).unwrap();
    let mut a = online_with_channels(&mesh, &alice).await;
    let mut b = online_with_channels(&mesh, &bob).await;
    let mut owner = online_with_channels(&mesh, mesh.owner()).await;
    let mut stranger = online_with_channels(&mesh, &key(3)).await;
    for (raw, pair) in [(&mut a, &alice), (&mut b, &bob)] {
        let body = ChannelBody::Joined { key: pair.public() };
        let entry = topic.draft(now(&mesh), &log, body).sign(pair);
        raw.json(json!({"type": "log_append", "entry": blob(&entry), "_reqId": "j"}))
            .await;
        while raw.expect("log_appended").await["_reqId"] != "j" {}
        topic.append(&entry, &log).unwrap();
    }

    // Alice makes the key, Bob is told.
    let mut ring = Keyring::new(mesh.id(), name.clone(), alice.public());
    let mut random = Drbg::new([6; 32]);
    let rotation = ring
        .rotate(&mut random, &alice, &log, Some(&topic))
        .unwrap();
    let (statement, key_id) = (&rotation.statement, rotation.statement.key_id());
    let copies: Vec<u8> = rotation
        .copies
        .iter()
        .flat_map(|(member, copy)| member.0.iter().chain(copy))
        .copied()
        .collect();
    a.json(
        json!({"type": "channel_key_copies", "key_id": key_id.to_hex(),
        "copies": base64url(&copies)}),
    )
    .await;
    a.json(
        json!({"type": "channel_key", "e": base64url(&statement.bytes),
        "sig": statement.signature.to_hex()}),
    )
    .await;
    assert_eq!(a.expect("channel_key_ok").await["key_id"], key_id.to_hex());
    let told = b.expect("channel_key").await;
    let mut bobs = Keyring::new(mesh.id(), name.clone(), bob.public());
    take(&mut bobs, &told, &bob, &log, &topic);

    // She seals, he opens.
    let own = rotation.copies.iter().find(|it| it.0 == alice.public());
    ring.take(statement, &log, Some(&topic));
    ring.take_copy(&key_id, &alice, &own.unwrap().1).unwrap();
    let (_, secret) = ring.current().unwrap();
    let id = MessageId::new("m-1").unwrap();
    let content = Content {
        id,
        sent_at: now(&mesh),
        reply_to: None,
        content_type: "text/plain".into(),
        attributes: Vec::new(),
        body: b"all hands".to_vec(),
    };
    let head = Some(log.head());
    let sealed = seal_to_channel(
        &mesh.id(),
        &alice,
        &name,
        &key_id,
        secret,
        head,
        &content,
        [4; 24],
    )
    .unwrap();
    a.json(
        json!({"type": "send", "id": "m-1", "client_message_id": "m-1", "targetSpec": "#ops",
        "priority": "now", "nonce": sealed.nonce, "ciphertext": sealed.ciphertext,
        "form": "envelope/1"}),
    )
    .await;
    // The owner made the channel, so it is in it.
    assert_eq!(a.expect("ack").await["recipients"], 2);
    let push = b.expect("push").await;
    assert_eq!(open(&bobs, &mesh, &name, &push), "all hands");
    owner.expect("push").await;
    for raw in [&mut b, &mut owner] {
        raw.json(json!({"type": "client_ack", "brokerMessageIds": [push["messageId"]]}))
            .await;
    }
    let receipt = a.expect("receipt").await;
    assert_eq!(
        (&receipt["state"], &receipt["of"]),
        (&json!("delivered"), &json!(2))
    );

    // The broker dies. Bob, who lost all, reads it again; a stranger reads nothing.
    mesh.kill_broker().await.unwrap();
    drop(stranger);
    let mut b = online_with_channels(&mesh, &bob).await;
    b.json(json!({"type": "channel_get", "channel": "#ops"}))
        .await;
    let keys = b.expect("channel_keys").await;
    assert_eq!(keys["current"], key_id.to_hex());
    let mut again = Keyring::new(mesh.id(), name.clone(), bob.public());
    take(&mut again, &keys["keys"][0], &bob, &log, &topic);
    b.json(json!({"type": "channel_history", "channel": "#ops"}))
        .await;
    let page = b.expect("channel_messages").await;
    assert_eq!(
        open(&again, &mesh, &name, &page["messages"][0]),
        "all hands"
    );
    stranger = online_with_channels(&mesh, &key(3)).await;
    for kind in ["channel_get", "channel_history"] {
        stranger
            .json(json!({"type": kind, "channel": "#ops"}))
            .await;
        assert_eq!(stranger.expect("error").await["code"], "forbidden");
    }
}
