//! A raw WebSocket client: it says exactly what a test wants it to say.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::net::SocketAddr;
use std::time::Duration;

use broker_min::testing::{HttpAnswer, TestMesh, http};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::unbase64url;
use claudemesh_core::id::{Hash, MeshSlug, Name};
use claudemesh_core::identity::{
    attestation_bytes, hello_bytes, log_read_proof, prove_hello, session_hello_bytes,
};
use claudemesh_core::invite::{InviteToken, IssuedInvite, Offer};
use claudemesh_core::membership::{Body, Log, Role, SignedEntry};
use claudemesh_core::wire::SignedBlob;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

/// For how long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(2);

/// A key made from one byte.
pub fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

/// A connection of any kind.
pub struct Raw {
    ws: WebSocketStream<TcpStream>,
    pub challenge: [u8; 32],
    pub host: String,
}

impl Raw {
    pub async fn connect(mesh: &TestMesh) -> Self {
        Self::connect_to(mesh.addr()).await
    }

    pub async fn connect_to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let url = format!("ws://{addr}/ws");
        let (ws, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let challenge = response.headers()["claudemesh-challenge"].to_str().unwrap();
        Self {
            ws,
            challenge: unbase64url(challenge).unwrap().try_into().unwrap(),
            host: addr.to_string(),
        }
    }

    pub async fn text(&mut self, text: impl Into<String>) {
        self.ws.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn binary(&mut self, bytes: &[u8]) {
        self.ws.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    pub async fn json(&mut self, frame: Value) {
        self.text(frame.to_string()).await;
    }

    /// Says hello with a proof for this connection.
    pub async fn prove(&mut self, hello: &Value, key: &KeyPair) {
        let text = prove_hello(&hello.to_string(), &self.challenge, &self.host, key);
        self.text(text).await;
    }

    /// The next frame or close; events and `caught_up` are passed over.
    pub async fn next(&mut self) -> Got {
        loop {
            let message = timeout(SOON, self.ws.next()).await;
            match message.expect("nothing came in time") {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if !is_event(&frame) {
                        return Got::Frame(frame);
                    }
                }
                Some(Ok(Message::Close(frame))) => return Got::Closed(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::Gone,
            }
        }
    }

    /// The next frame of a type; others are passed over.
    pub async fn expect(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Got::Frame(frame) if frame["type"] == kind => return frame,
                Got::Frame(frame) if frame["type"] == "error" => {
                    panic!("waiting for {kind}: {frame}")
                }
                Got::Frame(_) => {}
                got => panic!("waiting for {kind}: {got:?}"),
            }
        }
    }

    /// The next event of this name; everything else is passed over.
    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            let message = timeout(SOON, self.ws.next()).await;
            let Some(Ok(message)) = message.expect("nothing came in time") else {
                panic!("the connection ended");
            };
            let Message::Text(text) = message else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["subtype"] == "system" && frame["event"] == name {
                return frame;
            }
        }
    }

    /// The close code and reason; frames before are passed over.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Got::Frame(_) => {}
                Got::Closed(Some(frame)) => {
                    // Reading on sends our half of the goodbye.
                    let _ = timeout(SOON, self.ws.next()).await;
                    return (frame.code.into(), frame.reason.to_string());
                }
                got => panic!("waiting for a close frame: {got:?}"),
            }
        }
    }

    /// The error frame and the close that follows on a refused hello.
    pub async fn refused(&mut self) -> (Value, u16, String) {
        let Got::Frame(error) = self.next().await else {
            panic!("no error frame came");
        };
        assert_eq!(error["type"], "error", "{error}");
        let (code, reason) = self.closed().await;
        (error, code, reason)
    }

    /// Nothing comes for a while, or only events.
    pub async fn quiet(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(end, self.ws.next()).await {
                Err(_) => return,
                Ok(Some(Ok(Message::Text(text)))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    assert!(is_event(&frame), "{frame}");
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(other) => panic!("{other:?}"),
            }
        }
    }
}

fn is_event(frame: &Value) -> bool {
    frame["subtype"] == "system" || frame["type"] == "caught_up"
}

#[derive(Debug)]
pub enum Got {
    Frame(Value),
    Closed(Option<CloseFrame>),
    Gone,
}

pub fn now(mesh: &TestMesh) -> u64 {
    mesh.clock().now().wall
}

/// A legacy hello.
pub fn hello(mesh: &TestMesh, key: &KeyPair) -> Value {
    hello_at(mesh, key, now(mesh))
}

pub fn hello_at(mesh: &TestMesh, key: &KeyPair, at: u64) -> Value {
    let (id, public) = (mesh.id(), key.public().to_hex());
    let signature = key.sign(hello_bytes(id.as_str(), "member", &public, at).as_bytes());
    json!({"type": "hello", "meshId": id.as_str(), "memberId": "member", "pubkey": public,
           "sessionId": format!("session-{}", key.public().short()), "pid": 1, "cwd": "/",
           "timestamp": at, "signature": signature})
}

/// A hello of a peer that speaks everything.
pub fn full_hello(mesh: &TestMesh, key: &KeyPair) -> Value {
    let mut hello = hello(mesh, key);
    hello["capabilities"] = json!(["delivery/1", "envelope/1", "log/1"]);
    hello["durable"] = true.into();
    hello
}

/// A legacy session hello.
pub fn session_hello(mesh: &TestMesh, member: &KeyPair, session: &KeyPair) -> Value {
    let (id, at) = (mesh.id(), now(mesh));
    let (parent, public) = (member.public().to_hex(), session.public().to_hex());
    let expires = at + 3_600_000;
    let word = member.sign(attestation_bytes(&parent, &public, expires).as_bytes());
    let signed = session_hello_bytes(id.as_str(), &parent, &public, at);
    json!({"type": "session_hello", "meshId": id.as_str(), "parentMemberPubkey": parent,
           "sessionPubkey": public, "sessionId": format!("s-{}", session.public().short()),
           "parentAttestation": {"sessionPubkey": public, "parentMemberPubkey": parent,
                                 "expiresAt": expires, "signature": word},
           "pid": 1, "cwd": "/", "timestamp": at,
           "signature": session.sign(signed.as_bytes())})
}

/// A connection that said a proven hello.
pub async fn online(mesh: &TestMesh, key: &KeyPair) -> Raw {
    let mut raw = Raw::connect(mesh).await;
    raw.prove(&full_hello(mesh, key), key).await;
    raw.expect("hello_ack").await;
    raw
}

/// A connection as existing clients make it.
pub async fn legacy(mesh: &TestMesh, key: &KeyPair) -> Raw {
    let mut raw = Raw::connect(mesh).await;
    raw.json(hello(mesh, key)).await;
    raw.expect("hello_ack").await;
    raw
}

/// A send with an id; nonce and ciphertext are opaque to the broker.
pub fn send(to: &KeyPair, id: &str) -> Value {
    json!({"type": "send", "id": id, "client_message_id": id, "priority": "now",
           "targetSpec": to.public().to_hex(), "nonce": "bm9uY2U=",
           "ciphertext": "b3BhcXVl"})
}

/// The mesh's log as `key` may read it.
pub async fn read_log(mesh: &TestMesh, key: &KeyPair) -> Result<Log, HttpAnswer> {
    let proof = log_read_proof(&mesh.id(), key, now(mesh));
    let path = format!("/mesh/{}/log?from=0", mesh.id());
    let headers = [("claudemesh-proof", proof.as_str())];
    let answer = http(mesh.addr(), "GET", &path, &headers, "").await.unwrap();
    if answer.status != 200 {
        return Err(answer);
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let blobs: Vec<SignedBlob> = serde_json::from_value(body["entries"].clone()).unwrap();
    let entries: Vec<SignedEntry> = blobs
        .iter()
        .map(|b| SignedEntry::from_text(&b.e, &b.sig, b.cosig.as_deref()).unwrap())
        .collect();
    Ok(Log::verify(&mesh.id(), &entries).unwrap())
}

pub fn blob(entry: &SignedEntry) -> Value {
    let blob = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
    serde_json::to_value(blob).unwrap()
}

/// The owner says something in the log.
pub async fn append(mesh: &TestMesh, body: Body, token: Option<&dyn Fn(Hash) -> String>) -> Hash {
    let log = read_log(mesh, mesh.owner()).await.unwrap();
    let entry = log.draft(now(mesh), body).sign(mesh.owner(), None);
    let mut frame = json!({"type": "log_append", "entry": blob(&entry), "_reqId": "append"});
    if let Some(token) = token {
        frame["invite_token"] = token(entry.hash()).into();
    }
    let mut owner = online(mesh, mesh.owner()).await;
    owner.json(frame).await;
    let appended = owner.expect("log_appended").await;
    assert_eq!(appended["_reqId"], "append");
    entry.hash()
}

/// Issues an invite that ends `ttl_ms` from now.
pub async fn invite(mesh: &TestMesh, max_uses: u64, ttl_ms: u64) -> IssuedInvite {
    let (mut seed, mut filler) = ([0; 32], [0; 32]);
    getrandom::fill(&mut seed).unwrap();
    getrandom::fill(&mut filler).unwrap();
    let offer = Offer {
        mesh: mesh.id(),
        slug: MeshSlug::new("test").unwrap(),
        broker: mesh.url(),
        expires_at: now(mesh) + ttl_ms,
        role: Role::Member,
    };
    let body = Body::InviteIssued {
        key: KeyPair::from_seed(&seed).public(),
        role: Role::Member,
        expires_at: offer.expires_at,
        max_uses,
    };
    let issue = |hash| IssuedInvite::new(&offer, mesh.owner(), hash, seed, &filler);
    let hash = append(mesh, body, Some(&|hash| issue(hash).token)).await;
    issue(hash)
}

/// Joins by an invite, with a log entry.
pub async fn join(mesh: &TestMesh, by: &IssuedInvite, key: &KeyPair, name: &str) -> HttpAnswer {
    let invite_key = by.fragment.key();
    let log = match read_log(mesh, &invite_key).await {
        Ok(log) => log,
        Err(answer) => return answer,
    };
    let body = Body::MemberJoined {
        key: key.public(),
        name: Name::new(name).unwrap(),
        invite: by.fragment.invite(),
    };
    let entry = log.draft(now(mesh), body).sign(&invite_key, Some(key));
    post_join(mesh, &by.token, key, name, Some(blob(&entry))).await
}

/// Joins as existing clients do: by the token alone.
pub async fn join_legacy(mesh: &TestMesh, token: &str, key: &KeyPair, name: &str) -> HttpAnswer {
    post_join(mesh, token, key, name, None).await
}

/// Joins by this token with this log entry, whatever it says.
pub async fn join_with(
    mesh: &TestMesh,
    token: &str,
    key: &KeyPair,
    name: &str,
    entry: &SignedEntry,
) -> HttpAnswer {
    post_join(mesh, token, key, name, Some(blob(entry))).await
}

async fn post_join(
    mesh: &TestMesh,
    token: &str,
    key: &KeyPair,
    name: &str,
    entry: Option<Value>,
) -> HttpAnswer {
    let mut body = json!({
        "invite_token": token,
        "invite_payload": InviteToken::parse(token).unwrap(),
        "peer_pubkey": key.public().to_hex(),
        "display_name": name,
    });
    if let Some(entry) = entry {
        body["log_entry"] = entry;
    }
    http(mesh.addr(), "POST", "/join", &[], &body.to_string())
        .await
        .unwrap()
}

/// A mesh with the members `key(1)` to `key(n)`, named `m1` and so on.
pub async fn mesh_of(n: u8) -> TestMesh {
    let mesh = TestMesh::start().await.unwrap();
    members(&mesh, n).await;
    mesh
}

pub async fn members(mesh: &TestMesh, n: u8) {
    let link = invite(mesh, 100, 60_000).await;
    for i in 1..=n {
        let answer = join(mesh, &link, &key(i), &format!("m{i}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

pub fn body(answer: &HttpAnswer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"))
}
