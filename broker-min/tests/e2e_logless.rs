//! A mesh of the existing system: its broker knows no logs, no sealed channels and no statements.
//! Played by a line that takes all of ours out of the frames, both ways, before a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lying;

use claudemesh_core::MeshEntry;
use claudemesh_core::id::{ChannelName, PublicKey, Target};
use claudemesh_core::peer::Received;
use claudemesh_core::session::SessionError;
use claudemesh_core::{Event, Lie, Outgoing, Peer, PeerError, Protection, Retry, SendError};
use lying::{Challenge, LyingBroker, SOON, Way};
use serde_json::{Value, json};

/// What the existing system does not know, wherever it stands in a frame.
const OURS: [&str; 9] = [
    "capabilities",
    "statement",
    "log_head",
    "audit_head",
    "broker",
    "limits",
    "store",
    "form",
    "target",
];

fn strip(frame: &mut Value) {
    match frame {
        Value::Object(fields) => {
            fields.retain(|name, _| !OURS.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Makes a line what the existing broker is for one member.
fn existing(liar: &LyingBroker, who: PublicKey) {
    liar.script(who, |way, mut frame| {
        strip(&mut frame);
        // A push to many names neither an id of its sender's nor what it was for.
        if way == Way::ToPeer
            && frame["type"] == "push"
            && let Some(fields) = frame.as_object_mut()
        {
            fields.remove("client_message_id");
        }
        // Plain text to many is answered by the test: a broker of ours serves none.
        let plain = way == Way::ToBroker && frame["type"] == "send" && frame["targetSpec"] == "*";
        if plain { Vec::new() } else { vec![frame] }
    });
}

/// A member as a program of the existing system has it: without a log.
async fn legacy_member(liar: &LyingBroker, name: &str) -> MeshEntry {
    let mut entry = liar.member(name).await;
    entry.log = None;
    existing(liar, entry.pubkey());
    entry
}

async fn connected(entry: &MeshEntry) -> Peer {
    let peer = Peer::builder(entry)
        .in_memory()
        .retry(Retry::Every(20))
        .connect()
        .await
        .unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

async fn next(peer: &Peer) -> Received {
    let mut incoming = peer.incoming().await.unwrap();
    let came = tokio::time::timeout(SOON, incoming.next()).await;
    came.expect("within 10 s").unwrap()
}

#[tokio::test]
async fn where_nothing_is_sealed_for_many_only_who_says_so_sends_plain_text_and_it_is_marked() {
    let liar = LyingBroker::start().await;
    liar.challenge(Challenge::Stripped);
    let [ana, ben] = [
        legacy_member(&liar, "ana").await,
        legacy_member(&liar, "ben").await,
    ];
    let (ana, ben) = (connected(&ana).await, connected(&ben).await);
    let everyone = Target::Channel(ChannelName::everyone());
    let mark = liar.so_far();
    let refused = ana
        .send_message(everyone.clone(), Outgoing::text("canary-default"))
        .await;
    let named = matches!(
        &refused,
        Err(SendError::Peer(PeerError::Session(
            SessionError::NobodyTrusted(_)
        )))
    );
    assert!(named, "{refused:?}");
    let plain = Outgoing::text("said on purpose").protection(Protection::LegacyPlaintext);
    let receipt = ana.send_message(everyone, plain).await.unwrap();
    let sent = liar.first(ana.key(), Way::ToBroker, "send").await.frame;
    assert_eq!((&sent["targetSpec"], sent.get("form")), (&json!("*"), None));
    // As the existing broker answers it and hands it on.
    liar.tell(
        ana.key(),
        &json!({ "type": "ack", "id": sent["id"], "messageId": "M1", "queued": true }),
    );
    liar.tell(
        ben.key(),
        &json!({ "type": "push", "messageId": "M1", "meshId": liar.mesh.id(),
                 "senderPubkey": ana.key(), "senderMemberPubkey": ana.key(), "senderName": "ana",
                 "priority": "next", "nonce": sent["nonce"], "ciphertext": sent["ciphertext"],
                 "createdAt": "2026-11-24T16:00:00.000Z" }),
    );
    receipt.accepted().await.unwrap();
    assert!(!receipt.is_protected());
    let came = next(&ben).await;
    assert_eq!(came.text(), "said on purpose");
    assert!(came.is_plaintext() && !came.protected && !came.from.verified);
    assert!(!came.is_key_changed());
    let leaked = (liar.everything()[mark..].iter())
        .any(|frame| frame.to_string().contains("canary-default"));
    assert!(!leaked);
}

#[tokio::test]
async fn a_name_that_comes_with_another_key_is_told_until_it_is_said_to_be_fine() {
    let liar = LyingBroker::start().await;
    liar.challenge(Challenge::Stripped);
    let [ana, ben, eve] = [
        legacy_member(&liar, "ana").await,
        legacy_member(&liar, "ben").await,
        legacy_member(&liar, "eve").await,
    ];
    let (ana, ben) = (connected(&ana).await, connected(&ben).await);
    assert!(
        ana.peers()
            .await
            .unwrap()
            .iter()
            .all(|peer| !peer.key_changed)
    );
    // The broker shows its own key as ben's.
    let eve = connected(&eve).await;
    let key = ana.key();
    liar.script(key, |way, mut frame| {
        strip(&mut frame);
        if way == Way::ToPeer && frame["type"] == "peers_list" {
            for peer in frame["peers"].as_array_mut().unwrap() {
                if peer["displayName"] == "eve" {
                    peer["displayName"] = "ben".into();
                }
            }
        }
        vec![frame]
    });
    let mut events = ana.events();
    let shown = ana.peers().await.unwrap();
    let marked: Vec<_> = shown
        .iter()
        .filter(|peer| peer.key_changed)
        .map(|peer| peer.key)
        .collect();
    assert_eq!(marked, [eve.key()]);
    let told = tokio::time::timeout(SOON, async {
        loop {
            if let Some(Event::LiedTo(Lie::KeyChanged { old, new, .. })) = events.next().await {
                return (old, new);
            }
        }
    });
    assert_eq!(told.await.unwrap(), (ben.key(), eve.key()));
    let names = ana.trust(eve.key()).await.unwrap();
    assert_eq!(
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["ben"]
    );
    assert!(
        ana.peers()
            .await
            .unwrap()
            .iter()
            .all(|peer| !peer.key_changed)
    );
}
