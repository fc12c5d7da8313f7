//! Lies about what is said in channels.

use claudemesh_core::channel::{KeyStatement, SignedKeyStatement, StatementError};
use claudemesh_core::encoding::base64;
use claudemesh_core::id::ChannelName;

use super::channels::*;
use super::*;

#[tokio::test]
async fn a_channel_message_is_taken_once_in_its_channel_and_as_its_senders() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    let other = topic("#other", &owner, &[&ana, &ben]).await;
    let (mut incoming, mut events) = (ana.incoming().await.unwrap(), ana.events());
    say(&owner, &name, "once").await;
    assert_eq!(next(&mut incoming).await.text(), "once");
    let real = liar.pushed(ana.key()).await;
    let with = |id: &str, changes: &[(&str, Value)]| {
        let mut push = real.clone();
        push["messageId"] = id.into();
        for (name, value) in changes {
            push[name] = value.clone();
        }
        push
    };
    // Again, and moved to another topic: it was taken already.
    liar.tell(ana.key(), &with("again", &[]));
    liar.tell(ana.key(), &with("moved", &[("target", "#other".into())]));
    // Under another id, of another mesh, without a channel, changed: named.
    for (id, field, value) in [
        ("id", "client_message_id", json!("other")),
        ("mesh", "meshId", json!("other")),
        ("direct", "target", json!(ana.key())),
        ("nonce", "nonce", json!(base64(&[1; 24]))),
        ("plain", "ciphertext", json!(base64(b"buy now"))),
    ] {
        liar.tell(ana.key(), &with(id, &[(field, value)]));
        let (_, reason) = rejected(&mut events).await;
        assert!(!reason.contains("once"), "{reason}");
    }
    // A new one: told as of another topic, and of another sender.
    let ben_key = ben.key();
    liar.change(ana.key(), "push", move |frame| {
        if frame["subtype"] != "system" {
            frame["target"] = "#other".into();
            frame["senderPubkey"] = json!(ben_key);
            frame["senderMemberPubkey"] = json!(ben_key);
            frame["senderName"] = "ben".into();
        }
    });
    say(&owner, &name, "moved").await;
    let message = next(&mut incoming).await;
    assert_eq!(
        (message.text().as_str(), message.channel.as_ref()),
        ("moved", Some(&name))
    );
    assert_eq!(message.from.key, owner.key());
    assert_eq!(message.from.name.as_ref().unwrap().as_str(), "owner");
    liar.honest(ana.key());
    // To somebody who is not in: kept locked, never opened.
    let mut at_ben = ben.events();
    liar.tell(ben.key(), &with("to-ben", &[]));
    let locked = told(&mut at_ben, |event| match event {
        Event::Locked { channel, .. } => Some(channel),
        _ => None,
    });
    assert_eq!(locked.await, name);
    say(&owner, &other, "the end").await;
    let mut at_ben = ben.incoming().await.unwrap();
    assert_eq!(next(&mut at_ben).await.text(), "the end");
    assert_eq!(next(&mut incoming).await.text(), "the end");
}

#[tokio::test]
async fn what_a_removed_member_says_under_an_old_key_is_not_delivered() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    say(&owner, &name, "before").await;
    let mut incoming = ana.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "before");
    liar.pushed(ben.key()).await;
    let (id, root) = keys_of(&liar, &ben, "#plans").pop().unwrap();
    let pair = ben.mesh().key_pair();
    // Who left the topic, and is a member still: *limit*, it can speak where it was as long as the
    // broker lets it.
    ben.leave_channel(&name).await.unwrap();
    ana.channel(&name).await.unwrap();
    liar.tell(ana.key(), &push(&liar, &name, pair, (&id, &root), "left"));
    let message = next(&mut incoming).await;
    assert!(message.from.key == ben.key() && message.from.verified);
    // Who is out of the mesh: not even under a key that it made in good time.
    let mut events = ana.events();
    owner.remove(ben.key(), true).await.unwrap();
    soon(async {
        while ana.members().len() != 2 {
            let _ = ana.sync().await;
        }
    })
    .await;
    let made = push(&liar, &name, pair, (&id, &root), "removed");
    liar.tell(ana.key(), &made);
    assert_eq!(
        rejected(&mut events).await,
        (ben.key(), "sender_removed".to_owned())
    );
    // Nor does it make keys.
    let old = SignedKeyStatement {
        signature: pair.sign(b"x"),
        bytes: b"x".to_vec(),
    };
    liar.tell(ana.key(), &new_key("#plans", &old, None));
    assert!(matches!(
        bad_key(&mut events).await,
        StatementError::Decode(_)
    ));
    let mut late = KeyStatement::parse(
        &rotation(&owner, &ChannelName::everyone(), None)
            .statement
            .bytes,
    );
    let late = late.as_mut().unwrap();
    late.author = ben.key();
    late.epoch = 9;
    liar.tell(ana.key(), &new_key("*", &late.make(pair), None));
    assert_eq!(bad_key(&mut events).await, StatementError::NotInAudience);
}

#[tokio::test]
async fn stale_epoch_for_ever_is_no_storm_and_loses_nothing() {
    let liar = LyingBroker::start().await;
    let [owner, ana, ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    say(&ana, &name, "before").await;
    let mut at_owner = owner.incoming().await.unwrap();
    heard(&mut at_owner, "before").await;
    let mut events = ana.events();
    liar.answer(ana.key(), "send", |frame| {
        let id = &frame["client_message_id"];
        Some(
            json!({ "type": "ack", "id": id, "client_message_id": id, "messageId": "",
                     "queued": false, "code": "stale_epoch", "error": "stale_epoch" }),
        )
    });
    let before = liar.count(ana.key(), Way::ToBroker, "send");
    let receipt = ana.send(name.clone(), "patience").await.unwrap();
    let held = Event::ChannelContention {
        channel: name.clone(),
    };
    told(&mut events, |event| (event == held).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let sent = liar.count(ana.key(), Way::ToBroker, "send") - before;
    assert!((2..=8).contains(&sent), "{sent}");
    liar.honest(ana.key());
    soon(receipt.accepted()).await.unwrap();
    heard(&mut at_owner, "patience").await;
}

#[tokio::test]
async fn a_broker_that_serves_no_sealing_gets_nothing_in_the_clear() {
    let liar = LyingBroker::start().await;
    let [owner, ana, _ben] = three(&liar).await;
    let name = topic("#plans", &owner, &[&ana]).await;
    say(&owner, &name, "sealed").await;
    let mut events = owner.events();
    liar.change(owner.key(), "hello_ack", |frame| {
        frame["capabilities"] = json!(["delivery/1", "log/1"]);
    });
    liar.close(owner.key(), 1001, "");
    back(&mut events).await;
    let mark = liar.so_far();
    let why = owner.send(name.clone(), "canary-clear").await.unwrap_err();
    assert!(why.to_string().contains("nothing was sent"), "{why}");
    let at = std::time::SystemTime::now() + Duration::from_secs(600);
    let later = claudemesh_core::Outgoing::text("canary-clear");
    let kept = [
        owner.set_state("k", "canary-clear", None).await.err(),
        owner.remember("canary-clear", Vec::new()).await.err(),
    ];
    for why in kept {
        let named = matches!(why, Some(PeerError::Session(SessionError::ValuesUnserved)));
        assert!(named, "{why:?}");
    }
    owner.schedule("ana", later, at).await.unwrap_err();
    owner.set_summary("canary-clear").await.unwrap();
    owner.sync().await.unwrap();
    let said = &liar.everything()[mark..];
    let leaked = said
        .iter()
        .find(|frame| frame.to_string().contains("canary-clear"));
    assert_eq!(leaked, None);
}
