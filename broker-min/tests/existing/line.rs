//! One connection to the broker.

use std::sync::Arc;

use claudemesh_core::crypto::verify;
use claudemesh_core::id::{PublicKey, Signature};
use claudemesh_core::identity::{attestation_bytes, hello_bytes, session_hello_bytes};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::{MESH, Presence, Seen, Shared, State, Way};

/// Milliseconds for which an attestation may hold at most.
const DAY_MS: u64 = 86_400_000;
/// Milliseconds by which a hello may be off the broker's clock.
const SKEW_MS: u64 = 60_000;

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
    let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
    let (key, routing, role) = match text("type").as_str() {
        "hello" => {
            let key = signed_by_member(frame)?;
            let session = frame["sessionPubkey"].as_str();
            let session = session.filter(|key| !key.is_empty());
            let routing = session.map_or(key.to_hex(), str::to_owned);
            (key, routing, "control-plane")
        }
        "session_hello" => (signed_by_session(frame)?, text("sessionPubkey"), "session"),
        _ => {
            let message = "must send hello first";
            return Err(json!({ "type": "error", "code": "no_hello", "message": message }));
        }
    };
    let mut state = shared.state();
    if text("meshId") != MESH || !state.members.contains_key(&key) {
        return Err(refused("unauthorized"));
    }
    let name = match frame["displayName"].as_str() {
        Some(name) => name.to_owned(),
        None => state.members[&key].clone(),
    };
    let presence = Presence {
        member: key,
        routing,
        role,
        name,
        session_id: text("sessionId"),
        groups: frame["groups"].as_array().cloned().unwrap_or_default(),
        profile: json!({}),
        status: "idle".to_owned(),
        since: frame["timestamp"].as_u64().unwrap_or_default(),
        line: line.clone(),
        close: close.clone(),
    };
    state.hellos.push((key, frame.clone()));
    state.held.remove(&key);
    Ok((state.enter(presence), key))
}

fn refused(code: &str) -> Value {
    json!({ "type": "error", "code": code, "message": code })
}

/// Whether `signature` is `key`'s over this text.
fn checked(key: &str, text: &str, signature: &Value) -> Result<PublicKey, Value> {
    let signature = signature.as_str().unwrap_or_default();
    let key = PublicKey::from_hex(key).map_err(|_| refused("malformed"))?;
    let signature = Signature::from_hex(signature).map_err(|_| refused("malformed"))?;
    let good = verify(&key, text.as_bytes(), &signature);
    good.then_some(key).ok_or_else(|| refused("bad_signature"))
}

fn signed_by_member(frame: &Value) -> Result<PublicKey, Value> {
    let text = |name: &str| frame[name].as_str().unwrap_or_default();
    let at = frame["timestamp"].as_u64().unwrap_or_default();
    let bytes = hello_bytes(text("meshId"), text("memberId"), text("pubkey"), at);
    checked(text("pubkey"), &bytes, &frame["signature"])
}

/// The member that vouches for the session key which has signed.
fn signed_by_session(frame: &Value) -> Result<PublicKey, Value> {
    let text = |name: &str| frame[name].as_str().unwrap_or_default();
    let (parent, session) = (text("parentMemberPubkey"), text("sessionPubkey"));
    let hex = |key: &str| key.len() == 64 && key == key.to_lowercase();
    if !hex(session) {
        return Err(refused("bad_session_pubkey"));
    }
    if !hex(parent) {
        return Err(refused("bad_parent_pubkey"));
    }
    let attestation = &frame["parentAttestation"];
    if attestation["sessionPubkey"] != session || attestation["parentMemberPubkey"] != parent {
        return Err(refused("attestation_mismatch"));
    }
    let (at, now) = (frame["timestamp"].as_u64(), super::wall());
    let expires = attestation["expiresAt"].as_u64().unwrap_or_default();
    if expires <= now {
        return Err(refused("expired"));
    }
    if expires > now + DAY_MS {
        return Err(refused("ttl_too_long"));
    }
    let vouched = attestation_bytes(parent, session, expires);
    let key = checked(parent, &vouched, &attestation["signature"])?;
    let at = at.filter(|at| at.abs_diff(now) <= SKEW_MS);
    let at = at.ok_or_else(|| refused("timestamp_skew"))?;
    let bytes = session_hello_bytes(text("meshId"), parent, session, at);
    checked(session, &bytes, &frame["signature"])?;
    Ok(key)
}

impl State {
    fn enter(&mut self, presence: Presence) -> u64 {
        // A session that comes again takes the place of the one that is there.
        let same = |other: &Presence| {
            let routing = presence.role == "session" && other.routing == presence.routing;
            routing || other.session_id == presence.session_id
        };
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
        // Of a session the member's other connections are told, too.
        let session = presence.role == "session";
        let but = (!session).then_some(presence.member);
        self.system("peer_joined", joined, but);
        self.presences.insert(id, presence);
        // What waits may be pushed before the answer.
        self.drain(id);
        let mut ack = json!({ "type": "hello_ack", "presenceId": format!("P{id}"),
            "memberDisplayName": name, "memberProfile": { "roleTag": null, "groups": [],
            "messageMode": "push" }, "meshPolicy": { "selfEditable": { "groups": true,
            "roleTag": true, "displayName": true, "messageMode": true } } });
        if !session {
            ack["services"] = json!([]);
        }
        let _ = line.send(ack);
        id
    }

    pub(super) fn leave(&mut self, id: u64) {
        if let Some(gone) = self.presences.remove(&id) {
            let left = json!({ "name": gone.name, "pubkey": gone.routing });
            self.system("peer_left", left, Some(gone.member));
        }
    }

    fn system(&mut self, event: &str, data: Value, but: Option<PublicKey>) {
        self.numbers += 1;
        let push = json!({ "type": "push", "subtype": "system", "event": event, "eventData": data,
            "messageId": format!("uuid-{}", self.numbers), "meshId": MESH,
            "senderPubkey": "system", "priority": "low", "nonce": "", "ciphertext": "",
            "createdAt": "2026-11-24T16:00:02.000Z" });
        let others = self
            .presences
            .values()
            .filter(|other| Some(other.member) != but);
        others.for_each(|other| {
            let _ = other.line.send(push.clone());
        });
    }
}
