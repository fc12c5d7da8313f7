//! What cannot be done there, and what it is refused with.

use std::time::Duration;

use claudemesh_core::id::{ChannelName, Name};
use claudemesh_core::membership::Role;
use claudemesh_core::peer::InviteOptions;
use claudemesh_core::session::SessionError;
use claudemesh_core::{KeyTrust, Outgoing, PeerError, SendError, Trust};

use super::existing::Existing;
use super::{next, peer, peer_with, soon, stated};

fn unserved<T: std::fmt::Debug>(result: Result<T, PeerError>) {
    match result {
        Err(PeerError::Session(error @ SessionError::ValuesUnserved)) => {
            assert!(error.to_string().contains("nothing was sent"));
        }
        other => panic!("{other:?}"),
    }
}

fn needs_a_log<T: std::fmt::Debug>(result: Result<T, PeerError>) {
    match result {
        Err(PeerError::Session(error @ SessionError::NoLog(_))) => {
            assert!(error.to_string().contains("no membership log"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn state_memory_summaries_and_schedules_are_refused_and_never_sent_in_plain() {
    let broker = Existing::start().await;
    let ana = peer(&broker.member("ana", 1)).await;
    let ben = peer(&broker.member("ben", 2)).await;
    stated(&broker, &[&ana, &ben]).await;
    ana.trust(ben.key()).await.unwrap();
    unserved(ana.set_state("canary-key", "\"canary-state\"", None).await);
    unserved(ana.state("canary-key").await);
    unserved(ana.list_state().await);
    unserved(
        ana.remember("canary-memory", vec!["canary-tag".to_owned()])
            .await,
    );
    unserved(ana.recall("canary-query").await);
    unserved(ana.forget("canary-id").await);
    unserved(ana.set_summary("canary-summary").await);
    let later = || Outgoing::text("canary-later");
    let at = std::time::SystemTime::now() + Duration::from_secs(60);
    for refused in [
        ana.schedule(ben.key(), later(), at).await.map(drop),
        ana.schedule(ChannelName::everyone(), later(), at)
            .await
            .map(drop),
        ana.schedule_cron(ben.key(), later(), "0 9 * * 1")
            .await
            .map(drop),
    ] {
        match refused {
            Err(SendError::Peer(error)) => unserved::<()>(Err(error)),
            other => panic!("{other:?}"),
        }
    }
    unserved(ana.schedules().await);
    unserved(ana.cancel_schedule("canary-schedule").await);
    // Nothing of it went out, not even the question.
    ana.peers().await.unwrap();
    assert!(!broker.shows("canary"));
    let state = [
        "set_state",
        "get_state",
        "remember",
        "recall",
        "schedule",
        "set_summary",
    ];
    for kind in state {
        assert!(broker.sent(ana.key(), kind).is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn what_needs_a_log_says_so_at_once() {
    let broker = Existing::start().await;
    let ana = peer(&broker.member("ana", 1)).await;
    let ben = peer(&broker.member("ben", 2)).await;
    stated(&broker, &[&ana, &ben]).await;
    let ops = ChannelName::new("@ops").unwrap();
    needs_a_log(soon(ana.create_channel(&ops, true)).await);
    needs_a_log(soon(ana.add_to_channel(&ops, ben.key(), false)).await);
    needs_a_log(soon(ana.remove_from_channel(&ops, ben.key())).await);
    needs_a_log(soon(ana.channel(&ops)).await);
    needs_a_log(soon(ana.channel_history(&ops, None, 10)).await);
    needs_a_log(soon(ana.invite(InviteOptions::default())).await.map(drop));
    needs_a_log(
        soon(ana.link_device(Duration::from_secs(60)))
            .await
            .map(drop),
    );
    let name = Name::new("ben").unwrap();
    needs_a_log(soon(ana.admit(ben.key(), name, Role::Member)).await);
    needs_a_log(soon(ana.set_role(ben.key(), Role::Admin)).await);
    needs_a_log(soon(ana.remove(ben.key(), true)).await);
}

#[tokio::test]
async fn the_list_of_known_keys_is_kept_and_a_key_that_changed_is_told_loudly() {
    let broker = Existing::start().await;
    let (ana_entry, ben, cem, other_ben) = (
        broker.member("ana", 1),
        broker.member("ben", 2),
        broker.member("cem", 3),
        broker.member("ben", 4),
    );
    let dir = tempfile::tempdir().unwrap();
    let (ben, cem) = (peer(&ben).await, peer(&cem).await);
    let ana = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    ana.peers().await.unwrap();
    ana.trust(ben.key()).await.unwrap();
    ana.distrust(cem.key()).await.unwrap();
    let held = |known: Vec<claudemesh_core::KnownKey>| {
        let mut held: Vec<_> = (known.into_iter())
            .map(|known| {
                let names: Vec<_> = known.names.iter().map(Name::to_string).collect();
                (names.join(","), known.key, known.trust)
            })
            .collect();
        held.sort_by_key(|(name, _, trust)| (name.clone(), trust.as_str()));
        held
    };
    let expected = [
        ("ben".to_owned(), ben.key(), KeyTrust::Trusted),
        ("cem".to_owned(), cem.key(), KeyTrust::Distrusted),
    ];
    assert_eq!(held(ana.known_keys().await.unwrap()), expected);
    ana.close(super::existing::SOON).await;
    // Another process holds on to the same, also to what the broker shows now.
    let other_ben = peer(&other_ben).await;
    let ana = peer_with(&ana_entry, Trust::Named, Some(dir.path())).await;
    ana.peers().await.unwrap();
    let key = other_ben.key().to_string();
    soon(async {
        // Written beside what is answered.
        while !ana
            .lies()
            .await
            .unwrap()
            .iter()
            .any(|lie| lie.what.contains(&key))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut expected = vec![("ben".to_owned(), other_ben.key(), KeyTrust::Changed)];
    expected.push(("ben".to_owned(), ben.key(), KeyTrust::Trusted));
    expected.push(("cem".to_owned(), cem.key(), KeyTrust::Distrusted));
    assert_eq!(held(ana.known_keys().await.unwrap()), expected);
    // What is said of the one changes nothing about the other.
    ana.distrust(other_ben.key()).await.unwrap();
    ana.send(ben.key(), "to the old one").await.unwrap();
    let mut incoming = ben.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "to the old one");
}

#[tokio::test]
async fn a_mesh_that_has_a_log_is_not_taken_for_one_without() {
    let broker = Existing::start().await;
    let (mut ana, ben) = (broker.member("ana", 1), broker.member("ben", 2));
    ana.log = Some(true);
    let ben = peer(&ben).await;
    let ana = peer_with(&ana, Trust::OnFirstUse, None).await;
    stated(&broker, &[&ben]).await;
    ana.peers().await.unwrap();
    let trusted = ana.trust(ben.key()).await;
    assert!(
        matches!(
            &trusted,
            Err(PeerError::Session(SessionError::TrustedByLog))
        ),
        "{trusted:?}"
    );
    let plain = claudemesh_core::Protection::LegacyPlaintext;
    for message in [
        Outgoing::text("canary"),
        Outgoing::text("canary").to_unverified(true),
    ] {
        ana.send_message(ben.key(), message)
            .await
            .map(drop)
            .unwrap_err();
    }
    for message in [
        Outgoing::text("canary"),
        Outgoing::text("canary").protection(plain),
    ] {
        let everyone = ChannelName::everyone();
        ana.send_message(everyone, message)
            .await
            .map(drop)
            .unwrap_err();
    }
    assert!(broker.sent(ana.key(), "send").is_empty());
    assert!(broker.sent(ana.key(), "set_profile").is_empty());
}
