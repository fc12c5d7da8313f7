//! One connection through the broker that lies.

use std::sync::Arc;

use claudemesh_core::encoding::base64url;
use claudemesh_core::id::PublicKey;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::{Challenge, Seen, Shared, Told, Way, held};

const CHALLENGE: &str = "claudemesh-challenge";

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // An end of either side is an end of both: what a test sees is the peer's side.
            let _ = serve(stream, &shared).await;
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut broker = TcpStream::connect(shared.upstream).await.ok()?;
    let mut start = [0; 8];
    let count = stream.peek(&mut start).await.ok()?;
    if !start[..count].starts_with(b"GET /ws") {
        tokio::io::copy_bidirectional(&mut stream, &mut broker)
            .await
            .ok()?;
        return Some(());
    }
    // The host is the one that the peer dialled: its proof names it, and the broker expects it.
    let request = format!("ws://{}/ws", shared.addr)
        .into_client_request()
        .ok()?;
    let (broker, answer) = client_async(request, broker).await.ok()?;
    let mut challenge = answer.headers().get(CHALLENGE).cloned();
    match *held(&shared.challenge) {
        Challenge::Passed => {}
        Challenge::Stripped => challenge = None,
        Challenge::Other(bytes) => challenge = base64url(&bytes).parse().ok(),
    }
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let shown = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        if let Some(challenge) = challenge {
            response.headers_mut().insert(CHALLENGE, challenge);
        }
        Ok(response)
    };
    let peer = accept_hdr_async(stream, shown).await.ok()?;
    carry(peer, broker, shared).await
}

type Socket = WebSocketStream<TcpStream>;

async fn carry(mut peer: Socket, mut broker: Socket, shared: &Shared) -> Option<()> {
    let (line, mut told) = mpsc::unbounded_channel();
    let mut who = None;
    loop {
        tokio::select! {
            message = peer.next() => {
                let message = message?.ok()?;
                let frame = json(&message);
                if let Some(frame) = &frame
                    && who.is_none()
                {
                    who = member(frame);
                    let key = who?;
                    held(&shared.lines).insert(key, line.clone());
                }
                for message in changed(shared, who, Way::ToBroker, message, frame) {
                    broker.send(message).await.ok()?;
                }
            }
            message = broker.next() => {
                let message = message?.ok()?;
                let frame = json(&message);
                for message in changed(shared, who, Way::ToPeer, message, frame) {
                    peer.send(message).await.ok()?;
                }
            }
            Some(told) = told.recv() => match told {
                Told::ToPeer(message) => peer.send(message).await.ok()?,
                Told::ToBroker(message) => broker.send(message).await.ok()?,
            },
        }
    }
}

fn json(message: &Message) -> Option<Value> {
    let data = message.is_text() || message.is_binary();
    serde_json::from_str(message.to_text().ok().filter(|_| data)?).ok()
}

/// Whose connection it is, by its hello.
fn member(hello: &Value) -> Option<PublicKey> {
    let key = hello["pubkey"].as_str();
    PublicKey::from_hex(key.or(hello["parentMemberPubkey"].as_str())?).ok()
}

fn changed(
    shared: &Shared,
    who: Option<PublicKey>,
    way: Way,
    message: Message,
    frame: Option<Value>,
) -> Vec<Message> {
    let (Some(who), Some(frame)) = (who, frame) else {
        // Each side has its own pings.
        let passed = !matches!(message, Message::Ping(_) | Message::Pong(_));
        return passed.then_some(message).into_iter().collect();
    };
    {
        let mut seen = held(&shared.seen);
        let text = message.to_text().unwrap_or_default().to_owned();
        let frame = frame.clone();
        seen.push(Seen {
            who,
            way,
            frame,
            text,
        });
        shared.changed.send_replace(seen.len());
    }
    let mut scripts = held(&shared.scripts);
    let Some(script) = scripts.get_mut(&who) else {
        return vec![message];
    };
    let untouched = frame.clone();
    let frames = script(way, frame);
    let passed = |frame: Value| match frame == untouched {
        // A hello is proven by its exact text.
        true => message.clone(),
        false => Message::text(frame.to_string()),
    };
    frames.into_iter().map(passed).collect()
}
