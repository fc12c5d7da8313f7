//! Lies about sessions: their statements stripped, swapped, replayed, old, or of another mesh.

use claudemesh_core::PeerInfo;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{MeshId, Name};
use claudemesh_core::identity::{SessionStatement, SessionStatementError};
use claudemesh_core::session::StatementFault;
use claudemesh_core::time::iso;
use claudemesh_core::wire::SignedBlob;

use super::*;
use support::{key, now};

/// What the list says of somebody.
async fn shown(peer: &Peer, whom: &Peer) -> PeerInfo {
    let all = peer.peers().await.unwrap();
    all.into_iter().find(|p| p.key == whom.key()).unwrap()
}

fn fault(peer: &Peer, error: impl Into<StatementFault>) -> Lie {
    let (peer, error) = (peer.key(), error.into());
    Lie::BadStatement { peer, error }
}

/// The records of the list, changed on the way.
fn records(
    liar: &LyingBroker,
    who: PublicKey,
    mut change: impl FnMut(&mut Vec<Value>) + Send + 'static,
) {
    liar.change(who, "peers_list", move |frame| {
        change(frame["peers"].as_array_mut().unwrap());
    });
}

fn of(records: &mut [Value], whom: PublicKey) -> &mut Value {
    let mut records = records.iter_mut();
    records
        .find(|record| record["memberPubkey"] == json!(whom))
        .unwrap()
}

fn made(
    liar: &LyingBroker,
    by: &KeyPair,
    change: impl Fn(&mut SessionStatement, u64),
) -> SignedBlob {
    let now = now(&liar.mesh);
    let mut statement = SessionStatement {
        mesh: liar.mesh.id(),
        member: by.public(),
        session: None,
        name: Name::new("bob").unwrap(),
        capabilities: Vec::new(),
        head: None,
        not_before: now - 60_000,
        expires_at: now + 60_000,
    };
    change(&mut statement, now);
    SignedBlob::from(&statement.make(by).unwrap())
}

#[tokio::test]
async fn an_honest_list_says_what_members_signed() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let bobs = shown(&ana, &bob).await;
    assert_eq!((bobs.sessions, bobs.verified_sessions), (1, 1));
    assert_eq!(
        bobs.capabilities,
        [
            "channels/1",
            "delivery/1",
            "envelope/1",
            "log/1",
            "values/1"
        ]
    );
    assert!(bobs.verified && !bobs.summary_protected && bobs.summary.is_none());
    // And of this one itself.
    assert_eq!(shown(&ana, &ana).await.verified_sessions, 1);
}

#[tokio::test]
async fn a_stripped_statement_leaves_a_session_that_proves_nothing() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let who = bob.key();
    records(&liar, ana.key(), move |records| {
        let record = of(records, who);
        record.as_object_mut().unwrap().remove("statement");
        record["displayName"] = "the owner".into();
        record["capabilities"] = json!(["made up"]);
    });
    let bobs = shown(&ana, &bob).await;
    assert_eq!((bobs.sessions, bobs.verified_sessions), (1, 0));
    assert_eq!((bobs.name.as_str(), bobs.capabilities.len()), ("bob", 0));
    // The member is one by the log, and written to as before.
    let mut incoming = bob.incoming().await.unwrap();
    only(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn a_swapped_or_replayed_statement_is_named() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let cem = liar.peer("cem").await;
    let mut events = ana.events();
    let (b, c) = (bob.key(), cem.key());
    records(&liar, ana.key(), move |records| {
        let (bobs, cems) = (
            of(records, b)["statement"].take(),
            of(records, c)["statement"].take(),
        );
        of(records, b)["statement"] = cems;
        of(records, c)["statement"] = bobs;
    });
    let all = ana.peers().await.unwrap();
    for peer in [&bob, &cem] {
        let shown = all.iter().find(|p| p.key == peer.key()).unwrap();
        assert_eq!((shown.verified_sessions, shown.capabilities.len()), (0, 0));
    }
    let mut told = [lie(&mut events).await, lie(&mut events).await];
    told.sort_by_key(|lie| *lie != fault(&bob, StatementFault::OtherSession));
    let swapped = [&bob, &cem].map(|peer| fault(peer, StatementFault::OtherSession));
    assert_eq!(told, swapped);
    // Another session of the same member, made up around its statement.
    records(&liar, ana.key(), move |records| {
        let copy = of(records, b).clone();
        records.push(copy);
    });
    let bobs = shown(&ana, &bob).await;
    assert_eq!((bobs.sessions, bobs.verified_sessions), (2, 1));
}

#[tokio::test]
async fn what_a_member_did_not_sign_for_now_and_here_is_named() {
    let liar = LyingBroker::start().await;
    let bob = liar.peer("bob").await;
    let signer = bob.mesh().key_pair();
    let mut changed = made(&liar, signer, |_, _| {});
    changed.e.replace_range(60..61, "A");
    let mut forged = made(&liar, signer, |_, _| {});
    forged.sig = made(&liar, &key(66), |_, _| {}).sig;
    let lies = [
        (
            made(&liar, signer, |s, now| s.expires_at = now - 1),
            SessionStatementError::Expired,
        ),
        (
            made(&liar, signer, |s, now| s.not_before = now + 30_000),
            SessionStatementError::NotYet,
        ),
        (
            made(&liar, signer, |s, _| s.mesh = MeshId::new("other").unwrap()),
            SessionStatementError::OtherMesh,
        ),
        (forged, SessionStatementError::BadSignature),
    ];
    let b = bob.key();
    for (statement, error) in lies {
        // Each on a connection of its own: they are told once.
        let ana = liar.peer("ana").await;
        let mut events = ana.events();
        records(&liar, ana.key(), move |records| {
            of(records, b)["statement"] = json!(statement);
            of(records, b)["connectedAt"] = json!(iso(u64::MAX >> 20));
        });
        assert_eq!(shown(&ana, &bob).await.verified_sessions, 0);
        assert_eq!(lie(&mut events).await, fault(&bob, error));
        ana.close(SOON).await;
    }
    let ana = liar.peer("ana").await;
    let mut events = ana.events();
    records(&liar, ana.key(), move |records| {
        of(records, b)["statement"] = json!(changed);
    });
    assert_eq!(shown(&ana, &bob).await.verified_sessions, 0);
    let told = lie(&mut events).await;
    assert!(matches!(told, Lie::BadStatement { peer, .. } if peer == b));
    // Another key for a known name is nobody's: the log says whose the name is.
    let other = key(66).public();
    records(&liar, ana.key(), move |records| {
        of(records, b)["pubkey"] = json!(other);
        of(records, b)["memberPubkey"] = json!(other);
    });
    let all = ana.peers().await.unwrap();
    let ghost = all.iter().find(|peer| peer.key == other).unwrap();
    assert!(!ghost.verified && ghost.verified_sessions == 0);
    assert_eq!(
        lie(&mut events).await,
        Lie::BadStatement {
            peer: other,
            error: StatementFault::OtherSession,
        }
    );
    assert_eq!(ana.resolve("bob").await.unwrap(), b);
}

#[tokio::test]
async fn a_statement_shows_that_entries_are_withheld_before_anybody_writes() {
    let liar = LyingBroker::start().await;
    let owner = liar.mesh.peer("owner").await.unwrap();
    let patience = Duration::from_millis(200);
    let ana = liar.builder("ana").await.log_patience(patience);
    let ana = ana.connect().await.unwrap();
    ana.connected_within(SOON).await.unwrap();
    let mut events = ana.events();
    log::freeze(&liar, &ana).await;
    let bob = liar.mesh.peer("bob").await.unwrap();
    owner.sync().await.unwrap();
    let seq = owner.log().unwrap().head().seq;
    // Bob himself is in what is hidden; the owner, whom Ana knows, comes back with a newer head.
    owner.close(SOON).await;
    let owner = liar.mesh.peer("owner").await.unwrap();
    let known = ana.peers().await.unwrap();
    assert!(
        known
            .iter()
            .any(|peer| peer.key == bob.key() && !peer.verified)
    );
    let peer = owner.key();
    assert_eq!(lie(&mut events).await, Lie::LogWithheld { peer, seq });
}

#[tokio::test]
async fn who_showed_that_it_understands_envelopes_is_not_talked_down() {
    let liar = LyingBroker::start().await;
    let ana = liar.peer("ana").await;
    let owner = liar.mesh.peer("owner").await.unwrap();
    // Eve joined as existing clients do, and says what hers understands.
    let eve = key(7);
    let link = owner.invite(claudemesh_core::InviteOptions::default());
    let link = link.await.unwrap();
    support::join_legacy(&liar.mesh, &link.issued.token, &eve, "eve").await;
    let mut hello = support::full_hello(&liar.mesh, &eve);
    let caps = |s: &mut SessionStatement, _| s.capabilities = vec!["envelope/1".into()];
    hello["statement"] = json!(made(&liar, &eve, caps));
    let mut raw = support::Raw::connect(&liar.mesh).await;
    raw.prove(&hello, &eve).await;
    raw.expect("hello_ack").await;
    let text = || claudemesh_core::Outgoing::text("hello").to_unverified(true);
    let receipt = ana.send_message(eve.public(), text()).await.unwrap();
    assert!(receipt.is_protected());
    assert_eq!(raw.expect("push").await["form"], "envelope/1");
    // From now on the broker hides it.
    records(&liar, ana.key(), |records| {
        for record in records {
            record.as_object_mut().unwrap().remove("statement");
        }
    });
    let receipt = ana.send_message(eve.public(), text()).await.unwrap();
    assert!(receipt.is_protected());
    // The limit: who never saw it has no more than the broker's word, and sends bare text.
    let bob = liar.peer("bob").await;
    records(&liar, bob.key(), |records| {
        for record in records {
            record.as_object_mut().unwrap().remove("statement");
        }
    });
    let receipt = bob.send_message(eve.public(), text()).await.unwrap();
    assert!(!receipt.is_protected());
}
