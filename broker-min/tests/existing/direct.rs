//! Messages to one peer.

use claudemesh_core::id::PublicKey;
use claudemesh_core::session::SessionError;
use claudemesh_core::store::SendState;
use claudemesh_core::{KeyTrust, Outgoing, PeerError, SendError, Trust};
use serde_json::json;

use super::existing::{Existing, Way};
use super::{next, peer, peer_with, read, soon, stated};

fn refusal(sent: Result<claudemesh_core::peer::Receipt, SendError>) -> SessionError {
    match sent {
        Err(SendError::Peer(PeerError::Session(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_statement_in_the_profile_makes_messages_envelopes_and_nothing_goes_without_a_word() {
    let broker = Existing::start().await;
    let (ana, ben) = (broker.member("ana", 1), broker.member("ben", 2));
    let (ana, ben) = (peer(&ana).await, peer(&ben).await);
    stated(&broker, &[&ana, &ben]).await;
    let mut incoming = ben.incoming().await.unwrap();
    // Nobody said that ben's key is fine.
    let refused = refusal(ana.send(ben.key(), "canary-unsaid").await);
    assert_eq!(refused, SessionError::NotTrusted(ben.key()));
    let said = Outgoing::text("hello ben").to_unverified(true);
    let sent = ana.send_message(ben.key(), said).await.unwrap();
    assert!(sent.is_protected());
    let came = next(&mut incoming).await;
    assert_eq!(came.text(), "hello ben");
    assert!(came.protected && !came.from.verified && !came.is_key_changed());
    assert_eq!(
        (
            came.from.key,
            came.from.name.as_ref().map(claudemesh_core::Name::as_str)
        ),
        (ana.key(), Some("ana"))
    );
    // The broker is asked whether it has arrived; both ids were in its ack.
    soon(sent.delivered()).await.unwrap();
    assert_eq!(sent.state(), SendState::Delivered);
    let acks = broker.sent(ben.key(), "client_ack");
    assert!(
        acks.iter()
            .all(|ack| !ack["clientMessageId"].is_null() && !ack["brokerMessageId"].is_null())
    );
    // Named once, it needs no word a message.
    assert!(ana.trust(ben.key()).await.unwrap().is_empty());
    ana.send("ben", "by name").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "by name");
    assert!(!broker.shows("canary-unsaid") && !broker.shows("hello ben"));
}

#[tokio::test]
async fn what_else_is_in_the_profile_stays() {
    let broker = Existing::start().await;
    let ana = broker.member("ana", 1);
    let key = ana.pubkey();
    // As the broker brings back what an earlier session said.
    broker.script(key, move |way, mut frame| {
        if way == Way::ToPeer && frame["type"] == "peers_list" {
            for record in frame["peers"].as_array_mut().unwrap() {
                if record["profile"]["capabilities"].is_null() {
                    record["profile"] = json!({ "title": "dev", "capabilities": ["review", "claudemesh-session/1:old.00"] });
                }
            }
        }
        vec![frame]
    });
    let ana = peer(&ana).await;
    broker
        .until("the profile", |b| !b.sent(key, "set_profile").is_empty())
        .await;
    let said = &broker.sent(key, "set_profile")[0];
    let items: Vec<&str> = said["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    assert_eq!(items.len(), 2);
    assert!(items[0].starts_with("claudemesh-session/1:") && items[0].len() > 200);
    assert_eq!(items[1], "review");
    assert!(said.get("title").is_none());
    ana.close(super::existing::SOON).await;
}

#[tokio::test]
async fn who_shows_no_statement_gets_bare_text_and_who_once_did_never_again() {
    let broker = Existing::start().await;
    let (ana_entry, ben) = (broker.member("ana", 1), broker.member("ben", 2));
    let dir = tempfile::tempdir().unwrap();
    // What ana is shown of statements is taken out, as from a client of the existing system.
    let strip = |broker: &Existing, who: PublicKey| {
        broker.script(who, |way, mut frame| {
            if way == Way::ToPeer && frame["type"] == "peers_list" {
                for record in frame["peers"].as_array_mut().unwrap() {
                    record["profile"] = json!({});
                }
            }
            vec![frame]
        });
    };
    strip(&broker, ana_entry.pubkey());
    let ben = peer(&ben).await;
    broker.has_been_here(ben.key());
    let ana = peer_with(&ana_entry, Trust::OnFirstUse, Some(dir.path())).await;
    let mut incoming = ben.incoming().await.unwrap();
    let bare = ana.send(ben.key(), "bare").await.unwrap();
    assert!(!bare.is_protected());
    let came = next(&mut incoming).await;
    assert!(!came.protected && !came.from.verified);
    broker.honest(ana.key());
    stated(&broker, &[&ben]).await;
    ana.peers().await.unwrap();
    assert!(ana.send(ben.key(), "sealed").await.unwrap().is_protected());
    assert!(next(&mut incoming).await.protected);
    // The statement is taken out again, and the process is another one.
    ana.close(super::existing::SOON).await;
    strip(&broker, ana_entry.pubkey());
    let ana = peer_with(&ana_entry, Trust::OnFirstUse, Some(dir.path())).await;
    assert!(
        ana.send(ben.key(), "still sealed")
            .await
            .unwrap()
            .is_protected()
    );
    let came = next(&mut incoming).await;
    assert_eq!(
        (came.text().as_str(), came.protected),
        ("still sealed", true)
    );
}

#[tokio::test]
async fn a_name_with_another_key_gets_nothing_until_it_is_trusted() {
    let broker = Existing::start().await;
    let (ana_entry, ben, eve) = (
        broker.member("ana", 1),
        broker.member("ben", 2),
        broker.member("ben", 3),
    );
    let dir = tempfile::tempdir().unwrap();
    let ben = peer(&ben).await;
    let ana = peer_with(&ana_entry, Trust::OnFirstUse, Some(dir.path())).await;
    ana.peers().await.unwrap();
    ana.close(super::existing::SOON).await;
    // The broker's own key under ben's name; in another process, too.
    let eve = peer(&eve).await;
    stated(&broker, &[&ben, &eve]).await;
    let ana = peer_with(&ana_entry, Trust::OnFirstUse, Some(dir.path())).await;
    let refused = refusal(
        ana.send_message(
            eve.key(),
            Outgoing::text("canary-changed").to_unverified(true),
        )
        .await,
    );
    assert_eq!(refused, SessionError::KeyChanged(eve.key()));
    let trust = |peers: Vec<claudemesh_core::peer::PeerInfo>, key: PublicKey| {
        peers
            .into_iter()
            .find(|peer| peer.key == key)
            .unwrap()
            .trust
    };
    assert_eq!(
        trust(ana.peers().await.unwrap(), eve.key()),
        Some(KeyTrust::Changed)
    );
    assert_eq!(
        trust(ana.peers().await.unwrap(), ben.key()),
        Some(KeyTrust::Trusted)
    );
    assert_eq!(ana.trust(eve.key()).await.unwrap().len(), 1);
    ana.send(eve.key(), "now").await.unwrap();
    assert_eq!(read(&eve).await.text(), "now");
    // Taken back: at first use is not enough any more.
    ana.distrust(eve.key()).await.unwrap();
    assert_eq!(
        refusal(ana.send(eve.key(), "x").await),
        SessionError::NotTrusted(eve.key())
    );
    assert!(!broker.shows("canary-changed"));
}

#[tokio::test]
async fn who_is_away_gets_it_when_they_come_and_once() {
    let broker = Existing::start().await;
    let (ana_entry, ben_entry) = (broker.member("ana", 1), broker.member("ben", 2));
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let ana = peer_with(&ana_entry, Trust::Named, Some(dirs[0].path())).await;
    ana.trust(ben_entry.pubkey()).await.unwrap();
    // Nobody is there: in which form it goes is not known before somebody is.
    let early = ana.send(ben_entry.pubkey(), "early").await.unwrap();
    let ben = peer_with(&ben_entry, Trust::Named, Some(dirs[1].path())).await;
    let came = read(&ben).await;
    assert_eq!((came.text().as_str(), came.protected), ("early", true));
    soon(early.delivered()).await.unwrap();
    ben.close(super::existing::SOON).await;
    // The broker refuses what is for nobody who is there, and it is tried again.
    let refused = |b: &Existing| {
        let told = |text: &str| text.starts_with("no connected peer");
        let mut seen = b.seen().into_iter();
        seen.any(|seen| seen.frame["error"].as_str().is_some_and(told))
    };
    let gone = |b: &Existing| {
        b.seen()
            .iter()
            .any(|seen| seen.frame["event"] == "peer_left")
    };
    broker.until("ben is gone", gone).await;
    let away = ana.send(ben_entry.pubkey(), "away").await.unwrap();
    broker.until("a refusal", refused).await;
    assert_eq!(away.state(), SendState::Queued);
    let ben = peer_with(&ben_entry, Trust::Named, Some(dirs[1].path())).await;
    let mut incoming = ben.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "away");
    soon(away.delivered()).await.unwrap();
    // The broker takes one, and its answer is lost: it is sent again, and taken once.
    broker.script(ana.key(), |way, frame| {
        let ack = way == Way::ToPeer && frame["type"] == "ack";
        if ack { Vec::new() } else { vec![frame] }
    });
    let before = broker.sent(ana.key(), "send").len();
    let sent = ana.send(ben.key(), "twice").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "twice");
    broker.honest(ana.key());
    broker.cut(ana.key());
    soon(sent.delivered()).await.unwrap();
    assert_eq!(broker.sent(ana.key(), "send").len(), before + 2);
    ana.send(ben.key(), "after").await.unwrap();
    let came = next(&mut incoming).await;
    assert_eq!((came.text().as_str(), came.again), ("after", false));
}
