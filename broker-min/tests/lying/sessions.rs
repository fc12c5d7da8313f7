//! Lies about addresses of sessions: keys swapped, names invented, old ones shown, mailboxes taken.

use std::sync::Arc;

use claudemesh_core::config::SessionIdentity;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{SessionId, SessionName, Wake};
use claudemesh_core::identity::{ADDRESS_MAX_TTL_MS, SessionAddress, SignedAddress};
use claudemesh_core::wire::SignedBlob;

use super::*;
use support::{key, now};

fn session(n: u8, name: &str) -> SessionIdentity {
    SessionIdentity::new(
        SessionId::from_random([n; 16]),
        Arc::new(KeyPair::from_seed(&[n; 32])),
        SessionName::new(name).unwrap(),
        1_700_000_000_000 + u64::from(n),
    )
}

async fn connect(liar: &LyingBroker, member: &str, n: u8, name: &str) -> Peer {
    let mut entry = liar.mesh.member(member).await.unwrap();
    entry.broker_url = liar.url();
    let peer = Peer::builder(&entry).as_session(session(n, name));
    let peer = peer.connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

/// Every address that the list shows, changed on the way.
fn addresses(liar: &LyingBroker, who: PublicKey, change: impl Fn(&mut Value) + Send + 'static) {
    liar.change(who, "peers_list", move |frame| {
        for record in frame["peers"].as_array_mut().unwrap() {
            if !record["address"].is_null() {
                change(record);
            }
        }
    });
}

fn made(liar: &LyingBroker, by: &KeyPair, session: &KeyPair, name: &str) -> SignedAddress {
    let now = now(&liar.mesh);
    let address = SessionAddress {
        mesh: liar.mesh.id(),
        member: by.public(),
        session: session.public(),
        name: SessionName::new(name).unwrap(),
        wake: Wake::None,
        since: 0,
        made_at: now,
        expires_at: now + 86_400_000,
    };
    address.make(by, session).unwrap()
}

#[tokio::test]
async fn a_swapped_session_key_is_written_to_by_nobody() {
    let liar = LyingBroker::start().await;
    let bob = connect(&liar, "bob", 1, "api").await;
    let ana = liar.peer("ana").await;
    // The broker's own key, with bob's name and signatures around it.
    let (ours, theirs) = (key(66).public(), bob.address());
    addresses(&liar, ana.key(), move |record| {
        let e = record["address"]["e"].as_str().unwrap();
        let mut bytes = claudemesh_core::encoding::unbase64url(e).unwrap();
        let at = bytes
            .windows(32)
            .position(|w| w == theirs.as_bytes())
            .unwrap();
        bytes[at..at + 32].copy_from_slice(ours.as_bytes());
        record["address"]["e"] = claudemesh_core::encoding::base64url(&bytes).into();
        record["pubkey"] = json!(ours);
    });
    assert!(ana.sessions().await.unwrap().is_empty());
    ana.send("bob/api", "for bob alone").await.unwrap_err();
    ana.send(ours, "nor by the key").await.unwrap_err();
    let sent = liar.all(ana.key(), Way::ToBroker, "send");
    assert!(sent.iter().all(|frame| frame["targetSpec"] != json!(ours)));
}

#[tokio::test]
async fn a_name_that_its_member_did_not_sign_is_not_shown() {
    let liar = LyingBroker::start().await;
    let bob = connect(&liar, "bob", 1, "api").await;
    let ana = liar.peer("ana").await;
    let cem = liar.peer("cem").await;
    // A session that a stranger and not bob signs for; bob's session, which cem says is his, with
    // another key's signature in the place of its own.
    let (stranger, own, theirs) = (key(66), key(67), KeyPair::from_seed(&[1; 32]));
    assert_eq!(theirs.public(), bob.address());
    let forged = made(&liar, &stranger, &own, "api");
    let mut stolen = made(&liar, cem.mesh().key_pair(), &theirs, "admin");
    stolen.cosignature = own.sign(&stolen.bytes);
    for lie in [forged, stolen] {
        let blob = SignedBlob::from(&lie);
        addresses(&liar, ana.key(), move |record| {
            record["address"] = json!(blob);
            record["displayName"] = "cem/admin".into();
        });
        assert!(ana.sessions().await.unwrap().is_empty());
    }
    // Told the truth, it is bob's.
    liar.honest(ana.key());
    let sessions = ana.sessions().await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(
        (sessions[0].shown.as_str(), sessions[0].key),
        ("bob/api", bob.address())
    );
}

#[tokio::test]
async fn an_address_beside_another_session_is_not_that_ones() {
    let liar = LyingBroker::start().await;
    let bob = connect(&liar, "bob", 1, "api").await;
    let cem = connect(&liar, "cem", 2, "web").await;
    let ana = liar.peer("ana").await;
    liar.change(ana.key(), "peers_list", |frame| {
        let records = frame["peers"].as_array_mut().unwrap();
        let named: Vec<usize> = (0..records.len())
            .filter(|at| !records[*at]["address"].is_null())
            .collect();
        let (one, two) = (named[0], named[1]);
        let first = records[one]["address"].take();
        records[one]["address"] = records[two]["address"].take();
        records[two]["address"] = first;
    });
    // Both are known by their own signed words; neither counts as here by the other's record.
    let sessions = ana.sessions().await.unwrap();
    assert!(sessions.iter().all(|session| !session.online));
    let mut found: Vec<(String, PublicKey)> = (sessions.into_iter())
        .map(|session| (session.shown, session.key))
        .collect();
    found.sort();
    let expected = [
        ("bob/api".to_owned(), bob.address()),
        ("cem/web".to_owned(), cem.address()),
    ];
    assert_eq!(found, expected);
    let mut incoming = bob.incoming().await.unwrap();
    ana.send("bob/api", "for bob").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "for bob");
}

#[tokio::test]
async fn an_earlier_address_takes_no_newer_ones_place() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let bob = connect(&liar, "bob", 1, "api").await;
    let seen = Arc::new(std::sync::Mutex::new(None));
    let first = Arc::clone(&seen);
    addresses(&liar, ana.key(), move |record| {
        let mut first = first.lock().unwrap();
        match first.as_ref() {
            None => *first = Some(record["address"].clone()),
            Some(address) => record["address"] = Value::clone(address),
        }
    });
    let before = ana.sessions().await.unwrap();
    assert_eq!(before[0].wake, Wake::None);
    // Of two of one millisecond the first would count.
    while now(&liar.mesh) + ADDRESS_MAX_TTL_MS <= before[0].expires_at {
        tokio::task::yield_now().await;
    }
    bob.set_wake(Wake::Push).await.unwrap();
    // The list shows the first one for ever; a message of bob's carries the newer one.
    let mut incoming = ana.incoming().await.unwrap();
    bob.send("ana", "hello").await.unwrap();
    next(&mut incoming).await;
    let after = ana.sessions().await.unwrap();
    assert_eq!(after[0].wake, Wake::Push);
    assert!(after[0].expires_at > before[0].expires_at);
}

#[tokio::test]
async fn a_message_for_one_session_is_opened_by_no_other() {
    let liar = LyingBroker::start().await;
    let one = connect(&liar, "bob", 1, "one").await;
    let two = connect(&liar, "cem", 2, "two").await;
    let ana = liar.peer("ana").await;
    ana.sessions().await.unwrap();
    let mut at_one = one.incoming().await.unwrap();
    let mut events = two.events();
    ana.send("bob/one", "for one alone").await.unwrap();
    let message = next(&mut at_one).await;
    assert_eq!(message.text(), "for one alone");
    // The same push, handed to another session: as its own, and as its member's.
    let push = liar.pushed(one.key()).await;
    for target in [two.address(), two.key()] {
        let mut push = push.clone();
        push["messageId"] = format!("other{target}").into();
        push["target"] = json!(target);
        liar.tell(two.key(), &push);
        rejected(&mut events).await;
    }
    assert!(two.unread(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_only_names_a_session_key_is_handed_nothing_sealed_for_it() {
    let liar = LyingBroker::start().await;
    let bob = connect(&liar, "bob", 1, "api").await;
    let address = bob.address();
    let ana = liar.peer("ana").await;
    ana.sessions().await.unwrap();
    bob.close(SOON).await;
    // A new broker process remembers nobody; a member who proves nothing names bob's session.
    liar.mesh.kill_broker().await.unwrap();
    let eve = liar.mesh.member("eve").await.unwrap();
    let mut raw = support::Raw::connect(&liar.mesh).await;
    let at = now(&liar.mesh);
    let (mesh, member) = (eve.mesh_id.as_str(), eve.member_id.as_str());
    let pubkey = eve.pubkey().to_hex();
    let signed = claudemesh_core::identity::hello_bytes(mesh, member, &pubkey, at);
    raw.json(json!({
        "type": "hello", "meshId": mesh, "memberId": member, "pubkey": pubkey,
        "timestamp": at, "signature": eve.key_pair().sign(signed.as_bytes()).to_hex(),
        "sessionPubkey": address, "sessionId": "x", "pid": 1, "cwd": "",
        "capabilities": ["delivery/1", "envelope/1"],
    }))
    .await;
    raw.expect("hello_ack").await;
    ana.connected_within(SOON).await.unwrap();
    let receipt = ana.send(address, "for bob alone").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    let again = connect(&liar, "bob", 1, "api").await;
    let mut incoming = again.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "for bob alone");
    soon(receipt.delivered()).await.unwrap();
    // The one that only named it was shut out when the key was proven, without a push.
    while let support::Got::Frame(frame) = raw.next().await {
        assert_ne!(frame["type"], "push", "{frame}");
    }
}
