//! Lies in the handshake, about who is out, and frames that are none.

use claudemesh_core::Connection;
use tokio_tungstenite::tungstenite::Message;

use super::lying::Challenge;
use super::*;
use support::key;

#[tokio::test]
async fn no_challenge_after_there_was_one_means_no_hello() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let mut events = ana.events();
    let hellos = || liar.count(ana.key(), Way::ToBroker, "hello");
    liar.challenge(Challenge::Stripped);
    liar.close(ana.key(), 1001, "");
    assert_eq!(lie(&mut events).await, Lie::ChallengeMissing);
    assert_eq!(hellos(), 1);
    // Another one than the broker's: its proof holds nowhere.
    liar.challenge(Challenge::Other([7; 32]));
    let code = told(&mut events, |event| match event {
        Event::Refused { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(code.await, "bad_signature");
    liar.challenge(Challenge::Passed);
    back(&mut events).await;
    // The limit: who never saw one takes the broker for one of the existing system.
    liar.challenge(Challenge::Stripped);
    let bob = liar.peer("bob").await;
    let hello = liar.first(bob.key(), Way::ToBroker, "hello").await.frame;
    assert!(hello["proof"].is_null());
}

#[tokio::test]
async fn a_relayed_hello_opens_no_other_connection() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let hello = liar.first(ana.key(), Way::ToBroker, "hello").await.text;
    let mut raw = support::Raw::connect(&liar.mesh).await;
    raw.text(hello.clone()).await;
    let (error, ..) = raw.refused().await;
    assert_eq!(error["code"], "bad_signature");
    // Nor without its proof: its signature was used.
    let mut bare: Value = serde_json::from_str(&hello).unwrap();
    bare.as_object_mut().unwrap().remove("proof");
    let mut raw = support::Raw::connect(&liar.mesh).await;
    raw.json(bare).await;
    let (error, ..) = raw.refused().await;
    assert_eq!(error["code"], "bad_signature");
    assert!(ana.is_connected());
    // The limit: kept from the broker, its signature opens one connection without a proof, which
    // is what members without a proof have. It reads boxes that it cannot open.
    let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
    liar.script(ana.key(), move |way, frame| {
        if way == Way::ToBroker && frame["type"] == "hello" {
            let _ = sender.send(frame);
            return Vec::new();
        }
        vec![frame]
    });
    liar.close(ana.key(), 1001, "");
    let mut bare = soon(kept.recv()).await.unwrap();
    bare.as_object_mut().unwrap().remove("proof");
    let mut raw = support::Raw::connect(&liar.mesh).await;
    raw.json(bare).await;
    raw.expect("hello_ack").await;
}

#[tokio::test]
async fn somebody_who_does_not_exist_comes_online() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut events = ana.events();
    let ghost = key(66).public();
    liar.tell(
        ana.key(),
        &json!({ "type": "push", "messageId": "e1", "meshId": liar.mesh.id(),
                 "senderPubkey": "system", "priority": "low", "nonce": "", "ciphertext": "",
                 "createdAt": "", "subtype": "system", "event": "peer_joined",
                 "eventData": { "name": "bob\u{202e}\n", "pubkey": ghost } }),
    );
    // The limit: it is told, as the broker's word.
    let name = told(&mut events, |event| match event {
        Event::PeerOnline { key, name, .. } => (key == ghost.to_hex()).then_some(name),
        _ => None,
    });
    assert!(!name.await.contains('\n'));
    assert!(ana.members().iter().all(|member| member.key != ghost));
    refuses_to_write(&ana, ghost).await;
    let mut incoming = ana.incoming().await.unwrap();
    only(&mut incoming, &bob, &ana).await;
}

#[tokio::test]
async fn who_is_told_to_be_out_ends_and_is_in_at_the_next_start() {
    let liar = LyingBroker::start().await;
    let bob = liar.peer("bob").await;
    for (code, reason) in [(4002, "banned"), (4001, "kicked")] {
        let ana = liar.peer("ana").await;
        let mut events = ana.events();
        let sent = ana.send("bob", reason).await.unwrap();
        soon(sent.accepted()).await.unwrap();
        liar.close(ana.key(), code, reason);
        // The limit: it ends, and says why.
        told(&mut events, |event| {
            matches!(event, Event::Removed { .. } | Event::Kicked).then_some(())
        })
        .await;
        assert!(matches!(
            ana.connection(),
            Connection::Removed(_) | Connection::Kicked
        ));
        // What it holds says otherwise.
        assert!(ana.members().iter().any(|member| member.key == ana.key()));
        ana.close(SOON).await;
    }
    let ana = liar.builder("ana").await;
    let member = liar.member("ana").await.pubkey();
    liar.script(member, |way, frame| {
        let ack = way == Way::ToPeer && frame["type"] == "hello_ack";
        if !ack {
            return vec![frame];
        }
        vec![json!({ "type": "error", "code": "revoked", "message": "removed" })]
    });
    let ana = ana.connect().await.unwrap();
    let mut events = ana.events();
    if !matches!(ana.connection(), Connection::Removed(_)) {
        told(&mut events, |event| {
            matches!(event, Event::Removed { .. }).then_some(())
        })
        .await;
    }
    ana.close(SOON).await;
    liar.honest(member);
    let ana = liar.peer("ana").await;
    let mut incoming = bob.incoming().await.unwrap();
    let texts = [
        next(&mut incoming).await.text(),
        next(&mut incoming).await.text(),
    ];
    assert_eq!(texts, ["banned", "kicked"]);
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn garbage_is_passed_over() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = ana.incoming().await.unwrap();
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let texts = [
        "",
        "null",
        "{}",
        "{\"type\":7}",
        "{\"type\":\"push\"}",
        "{\"type\":\"ack\"",
        "{\"type\":\"no such\",\"x\":1}",
        "{\"type\":\"hello_ack\"}",
        "{\"type\":\"log_entries\",\"channel\":\"\",\"from\":18446744073709551615,\"entries\":[],\
         \"head\":{\"seq\":18446744073709551615,\"hash\":\"\"},\"_reqId\":\"r1\"}",
        "{\"type\":\"log_appended\",\"channel\":\"\",\"head\":{\"seq\":18446744073709551615,\
         \"hash\":\"\"}}",
        "\u{0}\u{ffff}",
        &deep,
    ];
    for text in texts {
        liar.tell_raw(ana.key(), Message::text(text));
    }
    for bytes in [&[][..], &[0xff, 0xfe], &[0; 100_000]] {
        liar.tell_raw(ana.key(), Message::binary(bytes.to_vec()));
    }
    only(&mut incoming, &bob, &ana).await;
}

#[tokio::test]
async fn a_frame_without_end_costs_the_connection_and_nothing_else() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut events = ana.events();
    let mut incoming = ana.incoming().await.unwrap();
    liar.tell_raw(ana.key(), Message::text(" ".repeat((16 << 20) + 1)));
    told(&mut events, |event| {
        matches!(event, Event::Reconnecting { .. }).then_some(())
    })
    .await;
    bob.send("ana", "meanwhile").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "meanwhile");
    only(&mut incoming, &bob, &ana).await;
}
