//! What lies about channels need: members, topics, and keys and messages made by hand.

use claudemesh_core::channel::{
    Keyring, Root, Rotation, SignedKeyStatement, StatementError, seal_to_channel,
};
use claudemesh_core::crypto::{Drbg, KeyPair};
use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::id::{ChannelName, KeyId, MessageId};
use claudemesh_core::membership::ChannelLog;
use claudemesh_core::message::{Content, TEXT};
use claudemesh_core::wire::SignedBlob;

use super::*;
use support::now;

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// Owner, ana and ben, who know each other, all through the liar.
pub(super) async fn three(liar: &LyingBroker) -> [Peer; 3] {
    let peers = [
        liar.peer("owner").await,
        liar.peer("ana").await,
        liar.peer("ben").await,
    ];
    for peer in &peers {
        soon(async {
            while peer.members().len() != 3 {
                let _ = peer.sync().await;
            }
        })
        .await;
    }
    peers
}

/// A topic that all of them are in.
pub(super) async fn topic(name: &str, lead: &Peer, others: &[&Peer]) -> ChannelName {
    let name = channel(name);
    lead.create_channel(&name, true).await.unwrap();
    for other in others {
        other.sync().await.unwrap();
        other.join_channel(&name).await.unwrap();
    }
    name
}

pub(super) async fn say(peer: &Peer, to: &ChannelName, text: &str) {
    let receipt = peer.send(to.clone(), text).await.unwrap();
    soon(receipt.accepted()).await.unwrap();
}

/// Waits for the message with this text, and gives all that was there before.
pub(super) async fn heard(incoming: &mut Incoming, text: &str) -> Vec<Received> {
    let mut before = Vec::new();
    loop {
        let message = next(incoming).await;
        if message.text() == text {
            return before;
        }
        before.push(message);
    }
}

pub(super) async fn epoch(peer: &Peer, name: &ChannelName) -> u64 {
    peer.channel(name).await.unwrap().epoch
}

pub(super) fn record(signed: &SignedKeyStatement, copy: Option<&[u8]>) -> Value {
    let blob = SignedBlob::new(&signed.bytes, &signed.signature, None);
    let mut record = serde_json::to_value(blob).unwrap();
    if let Some(copy) = copy {
        record["copy"] = base64url(copy).into();
    }
    record
}

/// A broker tells of a new key.
pub(super) fn new_key(name: &str, signed: &SignedKeyStatement, copy: Option<&[u8]>) -> Value {
    let mut frame = record(signed, copy);
    frame["type"] = "channel_key".into();
    frame["channel"] = name.into();
    frame
}

pub(super) fn statement_of(record: &Value) -> SignedKeyStatement {
    let blob: SignedBlob = serde_json::from_value(record.clone()).unwrap();
    SignedKeyStatement {
        bytes: blob.bytes().unwrap(),
        signature: blob.signature().unwrap(),
    }
}

/// The keys of a channel that a member was given, and their roots.
pub(super) fn keys_of(liar: &LyingBroker, who: &Peer, name: &str) -> Vec<(KeyId, Root)> {
    let pair = who.mesh().key_pair();
    let mut records = liar.all(who.key(), Way::ToPeer, "channel_key");
    for keys in liar.all(who.key(), Way::ToPeer, "channel_keys") {
        records.extend(keys["keys"].as_array().unwrap().iter().cloned());
    }
    let mut roots = Vec::new();
    for record in records {
        let (signed, copy) = (statement_of(&record), record["copy"].as_str());
        let Ok(statement) = signed.open() else {
            continue;
        };
        let (id, copy) = (signed.key_id(), unbase64url(copy.unwrap_or_default()));
        if statement.channel.as_str() == name
            && let Ok(root) = statement.open_copy(&id, pair, &copy.unwrap())
        {
            roots.push((id, root));
        }
    }
    roots
}

/// A key that this member makes by itself, with all copies.
pub(super) fn rotation(
    who: &Peer,
    name: &ChannelName,
    channel_log: Option<&ChannelLog>,
) -> Rotation {
    let (pair, log) = (who.mesh().key_pair(), who.log().unwrap());
    let ring = Keyring::new(log.mesh().clone(), name.clone(), pair.public());
    ring.rotate(&mut Drbg::new([41; 32]), pair, &log, channel_log)
        .unwrap()
}

pub(super) fn copy_for(rotation: &Rotation, key: PublicKey) -> &[u8] {
    let copy = rotation.copies.iter().find(|(member, _)| *member == key);
    &copy.unwrap().1
}

/// A message that its sender sealed under a key it has.
pub(super) fn push(
    liar: &LyingBroker,
    name: &ChannelName,
    from: &KeyPair,
    (id, root): (&KeyId, &Root),
    text: &str,
) -> Value {
    let now = now(&liar.mesh);
    let content = Content {
        id: MessageId::from_parts(now, [text.len() as u8; 10]),
        sent_at: now,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: text.as_bytes().to_vec(),
    };
    let (mesh, secret) = (liar.mesh.id(), root.message_key(id));
    let sealed = seal_to_channel(&mesh, from, name, id, &secret, None, &content, [7; 24]).unwrap();
    json!({ "type": "push", "messageId": format!("made-{text}"), "meshId": mesh,
            "senderPubkey": from.public(), "senderMemberPubkey": from.public(),
            "target": name.as_str(), "form": "envelope/1", "priority": "now",
            "nonce": sealed.nonce, "ciphertext": sealed.ciphertext, "createdAt": "" })
}

pub(super) async fn bad_key(events: &mut Events) -> StatementError {
    told(events, |event| match event {
        Event::LiedTo(Lie::BadChannelKey { error, .. }) => Some(error),
        _ => None,
    })
    .await
}
