//! A client of the existing system beside our peers: a session key of its own, bare boxes, no
//! statement, plain text to topics.

use std::sync::Arc;

use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::encoding::base64;
use claudemesh_core::id::PublicKey;
use claudemesh_core::identity::hello_bytes;
use claudemesh_core::message::{SealedText, open_bare, seal_bare};
use claudemesh_core::session::SessionError;
use claudemesh_core::{Outgoing, PeerError, SendError};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::existing::{Existing, MESH};
use super::{next, peer, soon, stated};

const TOPIC: &str = "T0pic00000000000000000000000Abc2";
const NOW: u64 = 1_795_000_000_000;

pub(super) struct Client {
    socket: WebSocketStream<TcpStream>,
    session: Arc<KeyPair>,
    sent: u8,
    /// What it writes as the fingerprint of its requests.
    pub(super) claims: Option<String>,
}

impl Client {
    /// The form of hello that the existing command line uses: signed by the member's key, which
    /// names a session key.
    pub(super) async fn connect(broker: &Existing, member: &KeyPair) -> Self {
        let url = broker.url();
        let host = url.trim_start_matches("ws://").trim_end_matches("/ws");
        let stream = TcpStream::connect(host).await.unwrap();
        let (mut socket, _) = client_async(url.as_str(), stream).await.unwrap();
        let session = Arc::new(KeyPair::from_seed(&[0x77; 32]));
        let pubkey = member.public().to_hex();
        let signed = hello_bytes(MESH, "M9", &pubkey, NOW);
        let hello = json!({ "type": "hello", "meshId": MESH, "memberId": "M9", "pubkey": pubkey,
            "sessionPubkey": session.public(), "sessionId": "legacy-1", "pid": 1, "cwd": "/",
            "timestamp": NOW, "signature": member.sign(signed.as_bytes()) });
        socket.send(Message::text(hello.to_string())).await.unwrap();
        let mut client = Self {
            socket,
            session,
            sent: 0,
            claims: None,
        };
        client.until("hello_ack").await;
        client
    }

    async fn until(&mut self, kind: &str) -> Value {
        soon(async {
            loop {
                let message = self.socket.next().await.unwrap().unwrap();
                let frame: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
                if frame["type"] == kind && frame["subtype"] != "system" {
                    return frame;
                }
            }
        })
        .await
    }

    async fn frame(&mut self, target: &str, nonce: String, ciphertext: String) {
        self.sent += 1;
        let mut send = json!({ "type": "send", "id": format!("c-{}", self.sent), "targetSpec": target,
            "priority": "now", "nonce": nonce, "ciphertext": ciphertext });
        if let Some(claims) = &self.claims {
            send["request_fingerprint"] = claims.as_str().into();
        }
        self.socket
            .send(Message::text(send.to_string()))
            .await
            .unwrap();
        let ack = self.until("ack").await;
        assert_eq!(ack["queued"], true, "{ack}");
    }

    fn key(&self, other: &PublicKey) -> DirectKey {
        DirectKey::agree(&X25519Secret::of(&self.session), other).unwrap()
    }

    pub(super) async fn say(&mut self, to: &PublicKey, text: &str) {
        let sealed = seal_bare(&self.key(to), text, [self.sent; 24]).unwrap();
        self.frame(&to.to_hex(), sealed.nonce, sealed.ciphertext)
            .await;
    }

    /// The next message, as a box of the sender's that the broker names.
    pub(super) async fn read(&mut self) -> (PublicKey, String) {
        let push = self.until("push").await;
        let text = |name: &str| push[name].as_str().unwrap().to_owned();
        let from = PublicKey::from_hex(&text("senderPubkey")).unwrap();
        let sealed = SealedText {
            nonce: text("nonce"),
            ciphertext: text("ciphertext"),
        };
        (from, open_bare(&self.key(&from), &sealed).unwrap())
    }

    /// Whom the existing command line writes to if it is told a name: it looks among sessions
    /// alone, at the keys that they are addressed by.
    pub(super) async fn find(&mut self, name: &str) -> Option<PublicKey> {
        let ask = json!({ "type": "list_peers", "_reqId": "find" });
        self.socket
            .send(Message::text(ask.to_string()))
            .await
            .unwrap();
        let list = self.until("peers_list").await;
        let mut found = list["peers"].as_array().unwrap().iter();
        let found = found.find(|it| it["peerRole"] == "session" && it["displayName"] == name)?;
        Some(PublicKey::from_hex(found["pubkey"].as_str().unwrap()).unwrap())
    }
}

#[tokio::test]
async fn a_client_of_the_existing_system_is_talked_to_in_bare_text_both_ways() {
    let broker = Existing::start().await;
    let ana_entry = broker.member("ana", 1);
    broker.member("leo", 9);
    let leo_key = KeyPair::from_seed(&[9; 32]);
    let mut leo = Client::connect(&broker, &leo_key).await;
    broker.has_been_here(leo_key.public());
    let ana = peer(&ana_entry).await;
    ana.peers().await.unwrap();
    leo.say(&ana.key(), "canary from leo").await;
    let mut incoming = ana.incoming().await.unwrap();
    let came = next(&mut incoming).await;
    assert_eq!(came.text(), "canary from leo");
    // Whose session it is, only the broker says.
    assert!(!came.protected && !came.from.verified && !came.is_plaintext());
    assert_eq!(came.from.key, leo.session.public());
    // Not without a word.
    match ana.send(leo.session.public(), "canary unsaid").await {
        Err(SendError::Peer(PeerError::Session(SessionError::NotTrusted(key)))) => {
            assert_eq!(key, leo.session.public());
        }
        other => panic!("{other:?}"),
    }
    let said = Outgoing::text("canary to leo").to_unverified(true);
    let sent = ana.send_message(leo.session.public(), said).await.unwrap();
    assert!(!sent.is_protected());
    // It is by the key under which the broker shows ana, and which leo writes back to.
    let (from, text) = leo.read().await;
    assert_eq!(text, "canary to leo");
    assert_eq!(leo.find("ana").await, Some(from));
    leo.say(&from, "canary back").await;
    assert_eq!(next(&mut incoming).await.text(), "canary back");
    // It holds no keys of channels, and nothing is sealed for it.
    ana.trust(leo_key.public()).await.unwrap();
    let everyone = claudemesh_core::id::ChannelName::everyone();
    let receipt = ana.send(everyone, "canary for all").await.unwrap();
    soon(receipt.accepted()).await.unwrap_err();
    assert!(receipt.reason().unwrap().contains("nothing was sent"));
    assert!(!broker.shows("canary"));
}

#[tokio::test]
async fn plain_text_in_a_topic_is_shown_to_who_joined_one_and_marked() {
    let broker = Existing::start().await;
    let ana_entry = broker.member("ana", 1);
    broker.member("leo", 9);
    let leo_key = KeyPair::from_seed(&[9; 32]);
    let mut leo = Client::connect(&broker, &leo_key).await;
    let ana = peer(&ana_entry).await;
    stated(&broker, &[&ana]).await;
    let topic = broker.topic(TOPIC, &[]);
    ana.join_channel(&topic).await.unwrap();
    ana.peers().await.unwrap();
    let nonce = base64(&[7; 24]);
    leo.frame(topic.as_str(), nonce, base64(b"said in a topic"))
        .await;
    // That broker pushes what waits in a topic beside the next direct message.
    leo.say(&ana.key(), "and directly").await;
    let mut incoming = ana.incoming().await.unwrap();
    let mut came = [next(&mut incoming).await, next(&mut incoming).await];
    came.sort_by_key(|message| message.text());
    let [direct, plain] = &came;
    assert_eq!(direct.text(), "and directly");
    assert!(!direct.protected && !direct.is_plaintext());
    assert_eq!(plain.text(), "said in a topic");
    assert!(plain.is_plaintext() && !plain.protected && !plain.from.verified);
}
