//! A minimal client: a proven hello, texts out, texts in. It keeps nothing.

use std::time::Duration;

use claudemesh_core::BrokerUrl;
use claudemesh_core::encoding::unbase64url;
use claudemesh_core::identity::{hello_bytes, prove_hello};
use claudemesh_core::wire::{
    CAP_CHANNELS, CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, ClientAck, ClientFrame, HEADER_CHALLENGE,
    Hello,
};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::error::{During as _, LoadError};
use crate::members::{Member, Mesh, unix_ms};

/// For how long a connection may take until its `hello_ack`.
const OPEN: Duration = Duration::from_secs(30);

/// What is read of a frame from the broker.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    /// Of a push.
    #[serde(rename = "messageId")]
    pub(crate) broker_id: Option<&'a str>,
    /// Of a push or an `ack`.
    #[serde(rename = "client_message_id")]
    pub(crate) id: Option<&'a str>,
    /// Of an `ack`.
    #[serde(default)]
    queued: bool,
    recipients: Option<u64>,
    reached: Option<u64>,
    /// Of a push: the broker keeps nothing of it.
    #[serde(default)]
    pub(crate) online: bool,
    /// What is sealed, of a push.
    pub(crate) ciphertext: Option<&'a str>,
    /// Of `acks`.
    #[serde(default)]
    items: Vec<Answer>,
    /// Of an `error`.
    message: Option<String>,
}

/// The answer to a send.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) queued: bool,
    recipients: Option<u64>,
    reached: Option<u64>,
}

impl Answer {
    /// To how many it goes.
    pub(crate) fn deliveries(&self) -> u64 {
        self.reached.or(self.recipients).unwrap_or(1)
    }
}

impl<'a> Frame<'a> {
    /// Reads a text.
    pub(crate) fn read(text: &'a str) -> Result<Self, LoadError> {
        serde_json::from_str(text).during("a frame of the broker")
    }

    /// The answers to sends in it.
    pub(crate) fn answers(self) -> Vec<Answer> {
        match self.kind {
            "ack" => vec![Answer {
                queued: self.queued,
                recipients: self.recipients,
                reached: self.reached,
            }],
            "acks" => self.items,
            _ => Vec::new(),
        }
    }
}

/// A socket that has not said hello.
pub(crate) struct Bare {
    pub(crate) socket: WebSocketStream<TcpStream>,
    challenge: [u8; 32],
}

/// A socket that was greeted.
pub(crate) struct Wire {
    socket: WebSocketStream<TcpStream>,
}

/// Opens a socket.
pub(crate) async fn open(url: &BrokerUrl) -> Result<Bare, LoadError> {
    let what = "opening a connection";
    let tcp = TcpStream::connect((url.host(), url.port()))
        .await
        .during(what)?;
    tcp.set_nodelay(true).during(what)?;
    let request = url.to_string().into_client_request().during(what)?;
    let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
    let opened = tokio_tungstenite::client_async_with_config(request, tcp, Some(config));
    let (socket, response) = opened.await.during(what)?;
    let header = response.headers().get(HEADER_CHALLENGE);
    let header = header.and_then(|value| value.to_str().ok());
    let challenge = header.and_then(|text| unbase64url(text).ok()?.try_into().ok());
    let challenge = challenge.ok_or_else(|| LoadError::step(what, "no challenge"))?;
    Ok(Bare { socket, challenge })
}

impl Bare {
    /// Says hello as a member; returns when the broker has answered.
    pub(crate) async fn greet(mut self, mesh: &Mesh, member: &Member) -> Result<Wire, LoadError> {
        let hello = prove_hello(
            &hello(mesh, member),
            &self.challenge,
            &mesh.url.authority(),
            &member.key,
        );
        let sent = self.socket.send(Message::text(hello)).await;
        sent.during("saying hello")?;
        let mut wire = Wire {
            socket: self.socket,
        };
        loop {
            let text = wire.next().await?;
            let frame = Frame::read(&text)?;
            match frame.kind {
                "hello_ack" => return Ok(wire),
                "error" => {
                    let why = frame.message.unwrap_or_default();
                    return Err(LoadError::step("hello refused", why));
                }
                _ => {}
            }
        }
    }
}

/// A hello of a member, without its proof.
pub(crate) fn hello(mesh: &Mesh, member: &Member) -> String {
    let (mesh, key, now) = (mesh.id.as_str(), member.public().to_hex(), unix_ms());
    let signed = hello_bytes(mesh, member.id.as_str(), &key, now);
    let signature = member.key.sign(signed.as_bytes()).to_hex();
    let mut hello = Hello::new(mesh, member.id.as_str(), key.clone(), now, signature);
    hello.display_name = Some(member.name.clone());
    hello.session_id = Some(format!("load-{}", key.get(..16).unwrap_or_default()));
    hello.pid = Some(0);
    hello.cwd = Some(String::new());
    let capabilities = [CAP_DELIVERY, CAP_ENVELOPE, CAP_LOG, CAP_CHANNELS];
    hello.capabilities = Some(capabilities.map(str::to_owned).to_vec());
    hello.durable = Some(true);
    ClientFrame::from(hello).encode()
}

impl Wire {
    /// Connects as a member.
    pub(crate) async fn connect(mesh: &Mesh, member: &Member) -> Result<Self, LoadError> {
        let work = async { open(&mesh.url).await?.greet(mesh, member).await };
        let done = tokio::time::timeout(OPEN, work).await;
        done.during("connecting")?
    }

    /// Hands a frame over; it goes out with the next flush.
    pub(crate) async fn feed(&mut self, text: String) -> Result<(), LoadError> {
        self.socket
            .feed(Message::text(text))
            .await
            .during("sending")
    }

    /// Writes what was handed over.
    pub(crate) async fn flush(&mut self) -> Result<(), LoadError> {
        self.socket.flush().await.during("sending")
    }

    /// The next text. May be dropped without losing one.
    pub(crate) async fn next(&mut self) -> Result<Utf8Bytes, LoadError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|f| format!("{} {}", u16::from(f.code), f.reason));
                    let why = why.unwrap_or_default();
                    return Err(LoadError::step("the broker closed the connection", why));
                }
                // The library answers a ping when it is polled next.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(LoadError::step("reading", error)),
                None => return Err(LoadError::step("reading", "the connection is gone")),
            }
        }
    }

    /// A text that is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Utf8Bytes, LoadError>> {
        self.next().now_or_never()
    }

    /// Settles pushes.
    pub(crate) async fn settle(&mut self, ids: Vec<String>) -> Result<(), LoadError> {
        let ack = ClientAck {
            broker_message_ids: Some(ids),
            ..ClientAck::default()
        };
        self.feed(ClientFrame::from(ack).encode()).await?;
        self.flush().await
    }
}
