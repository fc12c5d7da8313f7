//! Lies about what was accepted and delivered.

use claudemesh_core::SendState;

use super::*;

#[tokio::test]
async fn late_and_reordered_messages_all_come_once() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = bob.incoming().await.unwrap();
    // Three are kept back, and come the other way round with the third.
    let mut late: Vec<Value> = Vec::new();
    liar.script(bob.key(), move |way, frame| {
        if way == Way::ToBroker || frame["type"] != "push" || frame["subtype"] == "system" {
            return vec![frame];
        }
        late.push(frame);
        if late.len() < 3 {
            return Vec::new();
        }
        late.drain(..).rev().collect()
    });
    let mut receipts = Vec::new();
    for text in ["1", "2", "3"] {
        receipts.push(ana.send("bob", text).await.unwrap());
    }
    let mut texts = Vec::new();
    for _ in 0..3 {
        texts.push(next(&mut incoming).await.text());
    }
    assert_eq!(texts, ["3", "2", "1"], "the limit: the order is the liar's");
    for receipt in receipts {
        soon(receipt.delivered()).await.unwrap();
    }
    liar.honest(bob.key());
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn a_message_whose_acknowledgement_is_dropped_is_taken_once() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = bob.incoming().await.unwrap();
    liar.script(bob.key(), |way, frame| {
        let acked = way == Way::ToBroker && frame["type"] == "client_ack";
        if acked { Vec::new() } else { vec![frame] }
    });
    let receipt = ana.send("bob", "hello").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    liar.first(bob.key(), Way::ToBroker, "client_ack").await;
    assert_ne!(receipt.state(), SendState::Delivered);
    liar.honest(bob.key());
    liar.close(bob.key(), 1001, "");
    soon(receipt.delivered()).await.unwrap();
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn what_was_acked_and_dropped_is_sent_again_once_the_truth_is_told() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = bob.incoming().await.unwrap();
    let mut acked = Vec::new();
    liar.script(ana.key(), move |way, frame| {
        if way == Way::ToBroker && frame["type"] == "send" {
            let id = &frame["client_message_id"];
            acked.push(json!({ "type": "ack", "id": id, "client_message_id": id,
                               "messageId": "00000000000000000000000000000000",
                               "queued": true, "recipients": 1 }));
            // Any frame that goes on makes room for the answer.
            return vec![json!({ "type": "list_peers", "_reqId": "room" })];
        }
        if way == Way::ToPeer && frame["type"] == "peers_list" && !acked.is_empty() {
            return std::mem::take(&mut acked);
        }
        vec![frame]
    });
    let mut events = ana.events();
    let receipt = ana.send("bob", "hello").await.unwrap();
    // The limit: it is believed.
    soon(receipt.accepted()).await.unwrap();
    liar.honest(ana.key());
    liar.close(ana.key(), 1001, "");
    back(&mut events).await;
    assert_eq!(next(&mut incoming).await.text(), "hello");
    soon(receipt.delivered()).await.unwrap();
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn a_false_receipt_is_believed_and_opens_nothing() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = bob.incoming().await.unwrap();
    liar.withhold(bob.key(), "push");
    let mut events = ana.events();
    let receipt = ana.send("bob", "hello").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    let broker_id = liar.first(ana.key(), Way::ToPeer, "ack").await.frame["messageId"].clone();
    // For nothing, and for somebody's.
    liar.tell(
        ana.key(),
        &json!({ "type": "receipt", "messageId": "none", "state": "delivered" }),
    );
    let told_so = json!({ "type": "receipt", "messageId": broker_id, "state": "delivered" });
    liar.tell(ana.key(), &told_so);
    // The limit.
    soon(receipt.delivered()).await.unwrap();
    told(&mut events, |event| match event {
        Event::Sent { state, .. } => (state == SendState::Delivered).then_some(()),
        _ => None,
    })
    .await;
    // A final state stays.
    let failed = json!({ "type": "receipt", "messageId": broker_id, "state": "failed" });
    liar.tell(ana.key(), &failed);
    ana.sync().await.unwrap();
    assert_eq!(receipt.state(), SendState::Delivered);
    liar.honest(bob.key());
    liar.close(bob.key(), 1001, "");
    assert_eq!(next(&mut incoming).await.text(), "hello");
    only(&mut incoming, &ana, &bob).await;
}

/// A message that is accepted while its recipient is away, so that its outcome is open.
async fn waiting(liar: &LyingBroker, ana: &Peer) -> claudemesh_core::Receipt {
    liar.member("bob").await;
    ana.sync().await.unwrap();
    let receipt = ana.send("bob", "hello").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    receipt
}

fn outcomes(liar: &LyingBroker, who: PublicKey, state: &'static str) {
    let mut left = 3;
    liar.change(who, "outcomes_result", move |frame| {
        for outcome in frame["outcomes"].as_array_mut().unwrap() {
            if left > 0 {
                left -= 1;
                outcome["state"] = state.into();
            }
        }
    });
    liar.close(who, 1001, "");
}

#[tokio::test]
async fn a_false_failure_is_told_as_one() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let receipt = waiting(&liar, &ana).await;
    outcomes(&liar, ana.key(), "failed");
    // The limit: named as failed, and it arrives all the same.
    assert!(soon(receipt.delivered()).await.is_err());
    assert_eq!(receipt.state(), SendState::Failed);
    let bob = liar.peer("bob").await;
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
}

#[tokio::test]
async fn what_is_said_to_be_unknown_goes_again_and_is_taken_once() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let receipt = waiting(&liar, &ana).await;
    outcomes(&liar, ana.key(), "unknown");
    liar.seen(0, |seen| seen.frame["duplicate"] == true).await;
    let bob = liar.peer("bob").await;
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    soon(receipt.delivered()).await.unwrap();
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn acks_twice_and_acks_for_nothing_change_nothing() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut incoming = bob.incoming().await.unwrap();
    liar.script(ana.key(), |way, frame| {
        if way == Way::ToBroker || frame["type"] != "ack" {
            return vec![frame];
        }
        let mut refused = frame.clone();
        refused["queued"] = false.into();
        refused["code"] = "not_found".into();
        let mut other = frame.clone();
        other["client_message_id"] = "never sent".into();
        vec![other, frame.clone(), frame, refused]
    });
    let receipt = ana.send("bob", "hello").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    soon(receipt.delivered()).await.unwrap();
    assert_eq!(ana.outbox(true).await.unwrap().len(), 1);
    only(&mut incoming, &ana, &bob).await;
}
