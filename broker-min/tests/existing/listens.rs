//! Listening peers of ours are sessions there: found by name, written to under either key.

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::PublicKey;
use claudemesh_core::{MeshEntry, Outgoing, Peer, Retry, Trust};

use super::existing::{Existing, SOON};
use super::legacy::Client;
use super::{next, peer, peer_with, soon, stated};

fn hello(broker: &Existing, who: PublicKey) -> serde_json::Value {
    let kinds = ["hello", "session_hello"];
    let mut all = broker.seen_hellos(who).into_iter();
    all.rfind(|frame| kinds.iter().any(|kind| frame["type"] == *kind))
        .unwrap()
}

/// What the broker shows of a member: the one session that it has.
fn session(broker: &Existing, who: PublicKey) -> PublicKey {
    let routes = broker.routes(who);
    let sessions: Vec<_> = routes
        .iter()
        .filter(|(_, role)| *role == "session")
        .collect();
    assert_eq!(sessions.len(), 1, "{routes:?}");
    PublicKey::from_hex(&sessions[0].0).unwrap()
}

async fn leo_of(broker: &Existing) -> Client {
    broker.member("leo", 9);
    Client::connect(broker, &KeyPair::from_seed(&[9; 32])).await
}

#[tokio::test]
async fn a_listening_peer_is_found_by_name_and_gets_what_is_for_either_key_once() {
    let broker = Existing::start().await;
    let ana_entry = broker.member("ana", 1);
    let mut leo = leo_of(&broker).await;
    assert_eq!(leo.find("ana").await, None);
    let ana = peer(&ana_entry).await;
    let shown = leo.find("ana").await.unwrap();
    assert_eq!(shown, session(&broker, ana.key()));
    assert_ne!(shown, ana.key());
    let mut incoming = ana.incoming().await.unwrap();
    leo.say(&shown, "to the session").await;
    leo.say(&ana.key(), "to the member").await;
    for text in ["to the session", "to the member"] {
        let came = next(&mut incoming).await;
        assert_eq!((came.text().as_str(), came.again), (text, false));
    }
    // Both are settled there: nothing comes a second time on the next connection.
    let settled = |b: &Existing| b.sent(ana.key(), "client_ack").len() >= 2;
    broker.until("both are acknowledged", settled).await;
    broker.cut(ana.key());
    let back = |b: &Existing| b.seen_hellos(ana.key()).len() == 2;
    broker.until("ana is back", back).await;
    leo.say(&shown, "after").await;
    assert_eq!(next(&mut incoming).await.text(), "after");
    let texts = broker.pushed(ana.key());
    assert_eq!(texts, 3);
}

#[tokio::test]
async fn a_restart_keeps_the_session_key_and_mints_a_new_attestation() {
    let broker = Existing::start().await;
    let ana_entry = broker.member("ana", 1);
    let dir = tempfile::tempdir().unwrap();
    let mut leo = leo_of(&broker).await;
    let ana = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    let (key, first) = (session(&broker, ana.key()), hello(&broker, ana.key()));
    let word = &first["parentAttestation"];
    let lasts = word["expiresAt"].as_u64().unwrap() - first["timestamp"].as_u64().unwrap();
    assert!(lasts <= 86_400_000, "{lasts}");
    assert_eq!(first["parentMemberId"], ana_entry.member_id.as_str());
    assert!(first["address"].is_null() && first["proof"].is_null());
    ana.close(SOON).await;
    drop(ana);
    let gone = |b: &Existing| b.routes(ana_entry.pubkey()).is_empty();
    broker.until("ana is gone", gone).await;
    let ana = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    assert_eq!(session(&broker, ana.key()), key);
    leo.say(&key, "to the key of before").await;
    let came = next(&mut ana.incoming().await.unwrap()).await;
    assert_eq!(came.text(), "to the key of before");
    // The secret is where session keys are, for its owner only, and never went out.
    let file = files(dir.path()).into_iter().find(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.contains(&key.to_hex())
    });
    let text = std::fs::read_to_string(file.unwrap()).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!broker.shows(kept["secretKey"].as_str().unwrap()));
    assert!(!broker.shows(&kept["secretKey"].as_str().unwrap()[..64]));
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|kind| kind == "json") {
            found.push(path);
        }
    }
    found
}

async fn sender(entry: &MeshEntry, dir: &std::path::Path) -> Peer {
    let builder = Peer::builder(entry).retry(Retry::Every(20)).data_dir(dir);
    let peer = builder.receive(false).connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

#[tokio::test]
async fn of_several_processes_one_is_the_session_and_no_other_pushes_it_out() {
    let broker = Existing::start().await;
    let ana_entry = broker.member("ana", 1);
    let dir = tempfile::tempdir().unwrap();
    let first = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    let key = session(&broker, first.key());
    let second = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    let third = sender(&ana_entry, dir.path()).await;
    assert_eq!(broker.routes(first.key()).len(), 3);
    assert_eq!(session(&broker, first.key()), key);
    // The first goes, and the next to come is the session.
    first.close(SOON).await;
    drop(first);
    second.close(SOON).await;
    drop(second);
    let third_key = third.key();
    let alone = |b: &Existing| b.routes(third_key).len() == 1;
    broker.until("only the sender is there", alone).await;
    let fourth = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    assert_eq!(session(&broker, fourth.key()), key);
}

#[tokio::test]
async fn our_peers_know_each_other_by_member_whatever_key_the_broker_names() {
    let broker = Existing::start().await;
    let (ana, ben) = (broker.member("ana", 1), broker.member("ben", 2));
    let ana = peer(&ana).await;
    let ben_dir = tempfile::tempdir().unwrap();
    let ben_peer = peer_with(&ben, Trust::Named, Some(ben_dir.path())).await;
    stated(&broker, &[&ana, &ben_peer]).await;
    ana.trust(ben.pubkey()).await.unwrap();
    // What ana sends while ben is away, and ana goes, names ana's member key all the same: nobody
    // is listed by then.
    let to_session = Outgoing::text("to the session").to_unverified(true);
    let shown = session(&broker, ben.pubkey());
    let sent = ana.send_message(shown, to_session).await.unwrap();
    assert!(
        sent.is_protected(),
        "who showed that it understands envelopes gets no less"
    );
    let mut incoming = ben_peer.incoming().await.unwrap();
    let came = next(&mut incoming).await;
    assert_eq!((came.from.key, came.protected), (ana.key(), true));
    broker.hold(ben.pubkey());
    let sent = ana.send("ben", "while ben was busy").await.unwrap();
    soon(sent.accepted()).await.unwrap();
    let key = ana.key();
    ana.close(SOON).await;
    drop(ana);
    let gone = |b: &Existing| b.routes(key).is_empty();
    broker.until("ana is gone", gone).await;
    broker.cut(ben.pubkey());
    let came = next(&mut incoming).await;
    assert_eq!(came.text(), "while ben was busy");
    assert_eq!((came.from.key, came.protected), (key, true));
}

#[tokio::test]
async fn what_is_forged_under_a_members_name_is_not_that_members() {
    let broker = Existing::start().await;
    let (ana, ben) = (broker.member("ana", 1), broker.member("ben", 2));
    let mut leo = leo_of(&broker).await;
    let (ana, ben) = (peer(&ana).await, peer(&ben).await);
    stated(&broker, &[&ana, &ben]).await;
    // leo says that its bare text is ana's.
    leo.claims = Some(ana.key().to_hex());
    leo.say(&ben.key(), "as if ana said it").await;
    let came = next(&mut ben.incoming().await.unwrap()).await;
    assert_ne!(came.from.key, ana.key());
    assert!(!came.protected && !came.from.verified);
}
