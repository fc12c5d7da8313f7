//! Lies about messages: who sent them, to whom, and what they say.

use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::encoding::{base64, unbase64};

use super::*;
use support::key;

/// Three members who are connected through the liar.
async fn three(liar: &LyingBroker) -> (Peer, Peer, Peer) {
    (
        liar.peer("ana").await,
        liar.peer("bob").await,
        liar.peer("cem").await,
    )
}

fn with(push: &Value, changes: &[(&str, Value)]) -> Value {
    let mut push = push.clone();
    for (name, value) in changes {
        push[name] = value.clone();
    }
    push
}

#[tokio::test]
async fn a_push_is_never_taken_as_somebody_elses() {
    let liar = LyingBroker::start().await;
    let (ana, bob, cem) = three(&liar).await;
    let (mut events, mut incoming) = (bob.events(), bob.incoming().await.unwrap());
    let other = cem.key();
    liar.change(bob.key(), "push", move |frame| {
        if frame["subtype"] != "system" {
            frame["senderMemberPubkey"] = json!(other);
            frame["senderPubkey"] = json!(other);
            frame["senderName"] = "cem".into();
        }
    });
    let receipt = ana.send("bob", "from ana").await.unwrap();
    let (named, reason) = rejected(&mut events).await;
    assert_eq!(named, cem.key());
    assert!(!reason.contains("from ana"), "{reason}");
    // The limit: it is settled, so the sender believes that it arrived; the receiver knows better.
    soon(receipt.delivered()).await.unwrap();
    liar.honest(bob.key());
    // Only the name that is shown: the log's counts.
    liar.change(bob.key(), "push", |frame| {
        frame["senderName"] = "cem".into();
    });
    ana.send("bob", "from ana").await.unwrap();
    let message = next(&mut incoming).await;
    assert_eq!(message.from.key, ana.key());
    assert_eq!(message.from.name.as_ref().unwrap().as_str(), "ana");
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn a_push_is_taken_once_and_by_whom_it_was_sealed_for() {
    let liar = LyingBroker::start().await;
    let (ana, bob, cem) = three(&liar).await;
    let mut incoming = bob.incoming().await.unwrap();
    let (mut at_bob, mut at_cem) = (bob.events(), cem.events());
    ana.send("bob", "hello").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    let push = liar.pushed(bob.key()).await;
    // Again, under the same and under a new number, and as if it had another time or priority.
    for push in [
        push.clone(),
        with(&push, &[("messageId", "another".into())]),
        with(
            &push,
            &[("messageId", "third".into()), ("priority", "now".into())],
        ),
    ] {
        liar.tell(bob.key(), &push);
    }
    // Under another id of the sender's.
    let other_id = [
        ("messageId", "fourth".into()),
        ("client_message_id", "other".into()),
    ];
    liar.tell(bob.key(), &with(&push, &other_id));
    assert_eq!(rejected(&mut at_bob).await.0, ana.key());
    // To another, and in another mesh.
    liar.tell(cem.key(), &push);
    assert_eq!(rejected(&mut at_cem).await.0, ana.key());
    let elsewhere = [("messageId", "fifth".into()), ("meshId", "other".into())];
    liar.tell(bob.key(), &with(&push, &elsewhere));
    assert_eq!(rejected(&mut at_bob).await.1, "made for another mesh");
    // Changed on the way.
    let mut bytes = unbase64(push["ciphertext"].as_str().unwrap()).unwrap();
    bytes[40] ^= 1;
    for (id, name, value) in [
        ("sixth", "ciphertext", base64(&bytes)),
        ("seventh", "nonce", base64(&[1; 24])),
        ("eighth", "ciphertext", "no base64".to_owned()),
    ] {
        let changes = [("messageId", id.into()), (name, value.into())];
        liar.tell(bob.key(), &with(&push, &changes));
        assert_eq!(rejected(&mut at_bob).await.0, ana.key());
    }
    only(&mut incoming, &ana, &bob).await;
    let mut at_cem = cem.incoming().await.unwrap();
    only(&mut at_cem, &ana, &cem).await;
}

/// A push of bare text, as members without an entry write it.
fn bare(liar: &LyingBroker, from: &KeyPair, to: PublicKey, text: &str) -> Value {
    let sealed = DirectKey::agree(&X25519Secret::of(from), &to).unwrap();
    let sealed = sealed.seal(&[9; 24], text.as_bytes()).unwrap();
    json!({ "type": "push", "messageId": format!("bare-{text}"), "meshId": liar.mesh.id(),
            "senderPubkey": from.public(), "senderMemberPubkey": from.public(),
            "senderName": "ana", "priority": "next", "nonce": base64(&[9; 24]),
            "ciphertext": base64(&sealed), "createdAt": "" })
}

#[tokio::test]
async fn bare_text_is_nothing_from_members_and_unverified_from_others() {
    let liar = LyingBroker::start().await;
    let (ana, bob, _) = three(&liar).await;
    let (mut events, mut incoming) = (bob.events(), bob.incoming().await.unwrap());
    // Even by the member's own key: nothing in it names mesh, recipient or time.
    let text = bare(&liar, ana.mesh().key_pair(), bob.key(), "x");
    liar.tell(bob.key(), &text);
    assert_eq!(rejected(&mut events).await.0, ana.key());
    let mut as_envelope = bare(&liar, ana.mesh().key_pair(), bob.key(), "y");
    as_envelope["form"] = "envelope/1".into();
    liar.tell(bob.key(), &as_envelope);
    assert_eq!(rejected(&mut events).await.0, ana.key());
    // The limit: a key that the liar made, under a member's name.
    liar.tell(bob.key(), &bare(&liar, &key(66), bob.key(), "I am ana"));
    let message = next(&mut incoming).await;
    assert!(!message.from.verified && message.from.key == key(66).public());
    // The envelope of a message, without its form: not taken as text.
    ana.send("bob", "hello").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    let push = liar.pushed(bob.key()).await;
    let (sender, id) = (json!(key(66).public()), "stripped".into());
    let changes = [
        ("messageId", id),
        ("senderMemberPubkey", sender),
        ("form", Value::Null),
    ];
    liar.tell(bob.key(), &with(&push, &changes));
    assert_eq!(rejected(&mut events).await.0, key(66).public());
    only(&mut incoming, &ana, &bob).await;
}
