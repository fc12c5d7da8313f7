//! One connection to the broker.

use std::sync::Arc;

use claudemesh_core::crypto::verify;
use claudemesh_core::id::{PublicKey, Signature};
use claudemesh_core::identity::hello_bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::{MESH, Presence, Seen, Shared, State, Way};

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { serve(stream, &shared).await });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut socket = accept_async(stream).await.ok()?;
    let (line, mut lines) = mpsc::unbounded_channel();
    let (close, mut closed) = watch::channel(false);
    let mut who: Option<(u64, PublicKey)> = None;
    let end = loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { break None };
                let Some(frame) = json_of(&message) else { continue };
                match who {
                    Some((id, key)) => {
                        for frame in shared.pass(key, Way::ToBroker, frame) {
                            shared.state().frame(id, &frame);
                        }
                    }
                    None => match hello(shared, &frame, &line, &close) {
                        Ok(entered) => who = Some(entered),
                        Err(error) => {
                            let _ = socket.send(Message::text(error.to_string())).await;
                            if error["code"] != "no_hello" {
                                break Some(());
                            }
                        }
                    },
                }
            }
            frame = lines.recv() => {
                let (Some(frame), Some((_, key))) = (frame, who) else { continue };
                for frame in shared.pass(key, Way::ToPeer, frame) {
                    if socket.send(Message::text(frame.to_string())).await.is_err() {
                        break;
                    }
                }
            }
            _ = closed.changed() => break None,
        }
    };
    if let Some((id, _)) = who {
        shared.state().leave(id);
    }
    end
}

fn json_of(message: &Message) -> Option<Value> {
    serde_json::from_str(message.to_text().ok()?).ok()
}

impl Shared {
    /// Notes a frame, and gives what a test makes of it.
    fn pass(&self, who: PublicKey, way: Way, frame: Value) -> Vec<Value> {
        let mut state = self.state();
        let noted = frame.clone();
        state.seen.push(Seen {
            who,
            way,
            frame: noted,
        });
        self.changed.send_replace(state.seen.len());
        match state.scripts.get_mut(&who) {
            Some(script) => script(way, frame),
            None => vec![frame],
        }
    }
}

/// The checks of a hello, in their order as far as they matter here.
fn hello(
    shared: &Shared,
    frame: &Value,
    line: &mpsc::UnboundedSender<Value>,
    close: &watch::Sender<bool>,
) -> Result<(u64, PublicKey), Value> {
    let refused = |code: &str| json!({ "type": "error", "code": code, "message": code });
    if frame["type"] != "hello" {
        return Err(
            json!({ "type": "error", "code": "no_hello", "message": "must send hello first" }),
        );
    }
    let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
    let key = PublicKey::from_hex(&text("pubkey")).map_err(|_| refused("malformed"))?;
    let at = frame["timestamp"].as_u64().unwrap_or_default();
    let bytes = hello_bytes(&text("meshId"), &text("memberId"), &text("pubkey"), at);
    let signature = Signature::from_hex(&text("signature")).map_err(|_| refused("malformed"))?;
    if !verify(&key, bytes.as_bytes(), &signature) {
        return Err(refused("bad_signature"));
    }
    let mut state = shared.state();
    if text("meshId") != MESH || !state.members.contains_key(&key) {
        return Err(refused("unauthorized"));
    }
    let name = match frame["displayName"].as_str() {
        Some(name) => name.to_owned(),
        None => state.members[&key].clone(),
    };
    let session = frame["sessionPubkey"]
        .as_str()
        .filter(|key| !key.is_empty());
    let presence = Presence {
        member: key,
        routing: session.map_or(key.to_hex(), str::to_owned),
        name,
        session_id: text("sessionId"),
        groups: frame["groups"].as_array().cloned().unwrap_or_default(),
        profile: json!({}),
        status: "idle".to_owned(),
        since: at,
        line: line.clone(),
        close: close.clone(),
    };
    Ok((state.enter(presence), key))
}

impl State {
    fn enter(&mut self, presence: Presence) -> u64 {
        let same = |other: &Presence| other.session_id == presence.session_id;
        let replaced = self.presences.iter().find(|(_, other)| same(other));
        if let Some(id) = replaced.map(|(id, _)| *id)
            && let Some(other) = self.presences.remove(&id)
        {
            other.close.send_replace(true);
        }
        self.numbers += 1;
        let (id, line) = (self.numbers, presence.line.clone());
        let joined =
            json!({ "name": presence.name, "pubkey": presence.routing, "groups": presence.groups });
        let name = presence.name.clone();
        self.system("peer_joined", joined, presence.member);
        self.presences.insert(id, presence);
        // What waits may be pushed before the answer.
        self.drain(id);
        let _ = line.send(json!({ "type": "hello_ack", "presenceId": format!("P{id}"),
            "memberDisplayName": name, "memberProfile": { "roleTag": null, "groups": [],
            "messageMode": "push" }, "services": [] }));
        id
    }

    pub(super) fn leave(&mut self, id: u64) {
        if let Some(gone) = self.presences.remove(&id) {
            let left = json!({ "name": gone.name, "pubkey": gone.routing });
            self.system("peer_left", left, gone.member);
        }
    }

    fn system(&mut self, event: &str, data: Value, about: PublicKey) {
        self.numbers += 1;
        let push = json!({ "type": "push", "subtype": "system", "event": event, "eventData": data,
            "messageId": format!("uuid-{}", self.numbers), "meshId": MESH,
            "senderPubkey": "system", "priority": "low", "nonce": "", "ciphertext": "",
            "createdAt": "2026-11-24T16:00:02.000Z" });
        let others = self
            .presences
            .values()
            .filter(|other| other.member != about);
        others.for_each(|other| {
            let _ = other.line.send(push.clone());
        });
    }
}
