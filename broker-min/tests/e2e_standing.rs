//! Who is in stays in, who is out stays out: owners who are away, admins at odds, links that were
//! kept, and members without a log entry. Real peers, a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::id::{Name, PublicKey};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, LogError, Role, RuleError};
use claudemesh_core::message::{SealedText, open_bare};
use claudemesh_core::session::SessionError;
use claudemesh_core::{
    Config, Connection, Event, InviteOptions, JoinError, Outgoing, Peer, PeerError, ResolveError,
    SendError,
};
use serde_json::json;
use support::{body, key};

const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

/// Waits until a peer's log says so.
async fn sees(peer: &Peer, what: impl Fn(&Peer) -> bool) {
    soon(async {
        while !what(peer) {
            let _ = peer.sync().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn role(peer: &Peer, key: PublicKey) -> Option<Role> {
    let mut members = peer.members().into_iter();
    members.find(|m| m.key == key).map(|member| member.role)
}

async fn joins(mesh: &TestMesh, link: &str, name: &str) -> Peer {
    let mut config = Config::load(mesh.config_dir(name)).unwrap();
    let entry = config.join(link, name).await.unwrap();
    let peer = Peer::connect(&entry).await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

const SEVERAL: fn() -> InviteOptions = || InviteOptions {
    uses: 8,
    ..InviteOptions::default()
};

/// An owner and two admins, who know of each other.
async fn two_admins(mesh: &TestMesh) -> (Peer, Peer, Peer) {
    let owner = mesh.peer("owner").await.unwrap();
    let (ana, ben) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("ben").await.unwrap(),
    );
    owner.sync().await.unwrap();
    for key in [ana.key(), ben.key()] {
        owner.set_role(key, Role::Admin).await.unwrap();
    }
    for peer in [&ana, &ben] {
        sees(peer, |peer| role(peer, ben.key()) == Some(Role::Admin)).await;
    }
    (owner, ana, ben)
}

async fn same_logs(peers: &[&Peer]) {
    let mut heads = Vec::new();
    for peer in peers {
        peer.sync().await.unwrap();
        heads.push(peer.log().unwrap().head());
    }
    assert!(heads.windows(2).all(|two| two[0] == two[1]), "{heads:?}");
}

#[tokio::test]
async fn people_come_and_talk_while_the_owner_is_away() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let link = owner.invite(SEVERAL()).await.unwrap().issued.link();
    owner.close(SOON).await;
    let (ana, ben) = (
        joins(&mesh, &link, "ana").await,
        joins(&mesh, &link, "ben").await,
    );
    sees(&ana, |ana| ana.members().len() == 3).await;
    let mut incoming = ben.incoming().await.unwrap();
    ana.send("ben", "who are you?").await.unwrap();
    let message = soon(incoming.next()).await.unwrap();
    assert!(message.from.verified && message.protected);
    // Also while the broker was killed in between, and what is for the owner waits.
    mesh.kill_broker().await.unwrap();
    soon(async { while ben.connected_within(SOON).await.is_err() {} }).await;
    let cem = joins(&mesh, &link, "cem").await;
    cem.send("owner", "thanks for the link").await.unwrap();
    cem.flush(SOON).await.unwrap();
    let owner = Peer::connect(&mesh.member("owner").await.unwrap())
        .await
        .unwrap();
    let mut incoming = owner.incoming().await.unwrap();
    let message = soon(incoming.next()).await.unwrap();
    assert!(message.from.verified && message.from.key == cem.key());
    assert_eq!(owner.members().len(), 4);
    let here = owner.peers().await.unwrap();
    assert!(here.iter().all(|peer| peer.verified));
    same_logs(&[&owner, &ana, &ben, &cem]).await;
}

#[tokio::test]
async fn several_admins_change_the_mesh_at_once() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = two_admins(&mesh).await;
    let (cem, dan) = (
        mesh.peer("cem").await.unwrap(),
        mesh.peer("dan").await.unwrap(),
    );
    for peer in [&owner, &ana, &ben] {
        sees(peer, |peer| peer.members().len() == 5).await;
    }
    let (a, b, c, d, e) = tokio::join!(
        ana.invite(SEVERAL()),
        ben.invite(SEVERAL()),
        ana.remove(cem.key(), false),
        ben.remove(dan.key(), false),
        owner.invite(SEVERAL()),
    );
    c.unwrap();
    d.unwrap();
    let links = [a.unwrap(), b.unwrap(), e.unwrap()];
    same_logs(&[&owner, &ana, &ben]).await;
    assert_eq!(owner.members().len(), 3);
    let open = owner.invites().into_iter().filter(|invite| !invite.closed);
    let open: Vec<_> = open.map(|invite| invite.id).collect();
    assert!(links.iter().all(|link| open.contains(&link.id)));
    for (place, link) in links.iter().enumerate() {
        joins(&mesh, &link.issued.link(), &format!("new-{place}")).await;
    }
}

fn rule(result: &Result<(), PeerError>) -> Option<RuleError> {
    match result {
        Err(PeerError::Session(SessionError::Log(LogError::Rule { source, .. }))) => Some(*source),
        _ => None,
    }
}

#[tokio::test]
async fn two_admins_cannot_remove_each_other_in_either_order() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = two_admins(&mesh).await;
    let (a, b) = tokio::join!(ana.remove(ben.key(), true), ben.remove(ana.key(), true));
    assert_eq!(rule(&a), Some(RuleError::NotAllowed));
    assert_eq!(rule(&b), Some(RuleError::NotAllowed));
    // Nor past their own peers: signed by hand for the same place, in either order.
    let log = owner.log().unwrap();
    let keys = [&ana, &ben].map(|peer| peer.mesh().key_pair());
    for (first, second) in [(0, 1), (1, 0)] {
        for (by, whom) in [(first, second), (second, first)] {
            let gone = Body::MemberRemoved {
                key: keys[whom].public(),
                close_all: true,
            };
            let entry = log.draft(support::now(&mesh), gone).sign(keys[by], None);
            let mut raw = support::online(&mesh, keys[by]).await;
            raw.json(
                json!({ "type": "log_append", "entry": support::blob(&entry),
                             "_reqId": "r" }),
            )
            .await;
            let support::Got::Frame(answer) = raw.next().await else {
                panic!("no answer")
            };
            assert_eq!(
                (answer["type"].as_str(), answer["code"].as_str()),
                (Some("error"), Some("forbidden")),
                "{answer}"
            );
        }
    }
    same_logs(&[&owner, &ana, &ben]).await;
    assert_eq!(owner.members().len(), 3);
    assert!(owner.invites().iter().filter(|i| !i.closed).count() <= 2);
}

/// Two changes that exclude each other: an admin takes out a member, the owner the admin's rights.
/// Both are signed for the same place; whichever comes first, all see one outcome.
#[tokio::test]
async fn what_excludes_each_other_has_one_outcome_in_either_order() {
    for owner_first in [true, false] {
        let mesh = TestMesh::start().await.unwrap();
        let (owner, ana, ben) = two_admins(&mesh).await;
        let cem = mesh.peer("cem").await.unwrap();
        for peer in [&owner, &ana, &ben] {
            sees(peer, |peer| peer.members().len() == 4).await;
        }
        let log = owner.log().unwrap();
        let demote = Body::RoleChanged {
            key: ana.key(),
            role: Role::Member,
        };
        let remove = Body::MemberRemoved {
            key: cem.key(),
            close_all: false,
        };
        let mut entries = [(demote, &owner), (remove, &ana)].map(|(body, by)| {
            let entry = log.draft(support::now(&mesh), body);
            (entry.sign(by.mesh().key_pair(), None), by)
        });
        if !owner_first {
            entries.reverse();
        }
        let mut answers = Vec::new();
        for (entry, by) in &entries {
            let mut raw = support::online(&mesh, by.mesh().key_pair()).await;
            let append = json!({ "type": "log_append", "entry": support::blob(entry),
                                 "_reqId": "r" });
            raw.json(append).await;
            let support::Got::Frame(answer) = raw.next().await else {
                panic!("no answer")
            };
            answers.push(answer);
        }
        assert_eq!(answers[0]["type"], "log_appended");
        assert_eq!(answers[1]["code"], "log_conflict");
        // The loser decides again, by the log as it is now.
        if owner_first {
            let removed = ana.remove(cem.key(), false).await;
            assert_eq!(rule(&removed), Some(RuleError::NotAllowed));
        } else {
            owner.set_role(ana.key(), Role::Member).await.unwrap();
        }
        same_logs(&[&owner, &ana, &ben]).await;
        for peer in [&owner, &ana, &ben] {
            assert_eq!(role(peer, cem.key()).is_some(), owner_first);
            assert_eq!(role(peer, ana.key()), Some(Role::Member));
        }
    }
}

#[tokio::test]
async fn what_excludes_each_other_has_one_outcome_at_one_moment() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = two_admins(&mesh).await;
    let cem = mesh.peer("cem").await.unwrap();
    for peer in [&owner, &ana, &ben] {
        sees(peer, |peer| peer.members().len() == 4).await;
    }
    let (demoted, removed) = tokio::join!(
        owner.set_role(ana.key(), Role::Member),
        ana.remove(cem.key(), false),
    );
    demoted.unwrap();
    if removed.is_err() {
        assert_eq!(rule(&removed), Some(RuleError::NotAllowed));
    }
    same_logs(&[&owner, &ana, &ben]).await;
    for peer in [&owner, &ana, &ben] {
        assert_eq!(role(peer, cem.key()).is_none(), removed.is_ok());
        assert_eq!(role(peer, ana.key()), Some(Role::Member));
    }
}

#[tokio::test]
async fn no_link_leads_a_removed_member_back_in() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    // One he came by, one he saw, one he issued; each good for more than one.
    let came_by = owner.invite(SEVERAL()).await.unwrap();
    let bob = joins(&mesh, &came_by.issued.link(), "bob").await;
    let saw = owner.invite(SEVERAL()).await.unwrap();
    sees(&owner, |owner| role(owner, bob.key()).is_some()).await;
    owner.set_role(bob.key(), Role::Admin).await.unwrap();
    sees(&bob, |bob| role(bob, bob.key()) == Some(Role::Admin)).await;
    let issued = bob.invite(SEVERAL()).await.unwrap();
    sees(&owner, |owner| owner.invites().len() >= 3).await;
    owner.remove(bob.key(), true).await.unwrap();
    soon(async {
        while !matches!(bob.connection(), Connection::Removed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let old = KeyPair::from_seed(&bob.mesh().key_pair().expose_seed());
    let members = owner.members().len();
    for link in [&came_by, &saw, &issued] {
        // As a program of ours does it, with a key made for it.
        let joined = Config::in_memory().join(&link.issued.link(), "bob").await;
        assert!(
            matches!(&joined, Err(JoinError::Refused { code, .. }) if code == "invite_revoked"),
            "{joined:?}"
        );
        // By hand: an entry signed for the newest place, with the old key or another one; and as
        // existing clients do, by the token alone.
        for (seed, again) in [(0, &old), (1, &key(66))] {
            let log = owner.log().unwrap();
            let fragment = &link.issued.fragment;
            let body_of = Body::MemberJoined {
                key: again.public(),
                name: Name::new("bob").unwrap(),
                invite: fragment.invite(),
            };
            let entry = log
                .draft(support::now(&mesh), body_of)
                .sign(&fragment.key(), Some(again));
            let token = &link.issued.token;
            let by_hand = support::join_with(&mesh, token, again, "bob", &entry).await;
            let by_token = support::join_legacy(&mesh, token, again, "bob").await;
            for answer in [by_hand, by_token] {
                assert_ne!(answer.status, 200, "{seed}: {answer:?}");
                let code = body(&answer)["error"].clone();
                assert!(code.is_string() || body(&answer)["code"].is_string());
            }
        }
    }
    same_logs(&[&owner]).await;
    assert_eq!(owner.members().len(), members);
    // The old key opens no connection either.
    let mut raw = support::Raw::connect(&mesh).await;
    raw.prove(&support::full_hello(&mesh, &old), &old).await;
    let (error, code, _) = raw.refused().await;
    assert_eq!((error["code"].as_str(), code), (Some("revoked"), 4002));
}

#[tokio::test]
async fn a_link_that_stayed_open_lets_in_a_new_key_and_never_the_old_one() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let came_by = owner.invite(SEVERAL()).await.unwrap();
    let bob = joins(&mesh, &came_by.issued.link(), "bob").await;
    let other = owner.invite(SEVERAL()).await.unwrap();
    sees(&owner, |owner| role(owner, bob.key()).is_some()).await;
    // The named exception: the other links stay open.
    owner.remove(bob.key(), false).await.unwrap();
    let old = KeyPair::from_seed(&bob.mesh().key_pair().expose_seed());
    let answer = support::join(&mesh, &other.issued, &old, "bob").await;
    assert_ne!(answer.status, 200, "{answer:?}");
    let link = came_by.issued.link();
    let joined = Config::in_memory().join(&link, "bob").await;
    assert!(joined.is_err(), "the one he came by is closed");
    joins(&mesh, &other.issued.link(), "bob-again").await;
}

/// A member that joined as existing clients do, and its connection.
async fn legacy(mesh: &TestMesh, owner: &Peer, seed: u8, name: &str) -> (KeyPair, support::Raw) {
    let link = owner.invite(InviteOptions::default()).await.unwrap();
    let pair = key(seed);
    let answer = support::join_legacy(mesh, &link.issued.token, &pair, name).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let raw = support::legacy(mesh, &pair).await;
    (pair, raw)
}

fn unverified(result: Result<impl Sized, SendError>) -> PublicKey {
    match result.map(|_| ()) {
        Err(SendError::Peer(PeerError::Session(SessionError::Unverified(key)))) => key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_member_without_an_entry_is_written_to_only_where_that_is_said() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let (eve, mut raw) = legacy(&mesh, &owner, 7, "eve").await;
    // By key, by name, by a part of the key: an error that says what to do.
    let prefix = eve.public().to_hex()[..8].to_owned();
    let key = eve.public();
    assert_eq!(unverified(ana.send(key, "hello").await), key);
    assert_eq!(unverified(ana.send("eve", "hello").await), key);
    assert_eq!(unverified(ana.send(prefix, "hello").await), key);
    assert!(ana.outbox(true).await.unwrap().is_empty());
    raw.quiet(Duration::from_millis(50)).await;
    let shown = ana.peers().await.unwrap();
    let shown = shown.iter().find(|peer| peer.key == key).unwrap();
    assert_eq!(
        (shown.verified, shown.role, shown.verified_sessions),
        (false, None, 0)
    );
    // Who is in the log is never found by a name that the broker tells.
    let (_, _other) = legacy(&mesh, &owner, 8, "eve").await;
    let twice = ana.send("eve", "hello").await.unwrap_err();
    let named = matches!(&twice, SendError::Resolve(
        ResolveError::AmbiguousUnverified { candidates, .. }) if candidates.len() == 2);
    assert!(named, "{twice:?}");
    // Said so: bare text, which is all that she reads.
    let text = |text: &str| Outgoing::text(text).to_unverified(true);
    let receipt = ana.send_message(key, text("hello")).await.unwrap();
    assert!(!receipt.is_protected());
    let push = raw.expect("push").await;
    assert!(push.get("form").is_none(), "{push}");
    assert_eq!(push["senderMemberPubkey"], json!(ana.key()));
    let shared = DirectKey::agree(&X25519Secret::of(&eve), &ana.key()).unwrap();
    let opened = |push: &serde_json::Value| {
        let sealed = SealedText {
            nonce: push["nonce"].as_str().unwrap().to_owned(),
            ciphertext: push["ciphertext"].as_str().unwrap().to_owned(),
        };
        open_bare(&shared, &sealed)
    };
    assert_eq!(opened(&push).unwrap(), "hello");
    raw.json(json!({ "type": "client_ack", "brokerMessageId": push["messageId"] }))
        .await;
    soon(receipt.delivered()).await.unwrap();
    // Her answer is marked.
    let mut incoming = ana.incoming().await.unwrap();
    let sealed = shared.seal(&[3; 24], b"hi ana").unwrap();
    raw.json(
        json!({ "type": "send", "id": "s", "targetSpec": ana.key(), "priority": "now",
                     "nonce": claudemesh_core::encoding::base64(&[3; 24]),
                     "ciphertext": claudemesh_core::encoding::base64(&sealed) }),
    )
    .await;
    let message = soon(incoming.next()).await.unwrap();
    assert_eq!(message.text(), "hi ana");
    assert!(!message.protected && !message.from.verified);
    // The option does nothing to a member: it gets the protected form.
    let receipt = owner.send_message("ana", text("hello")).await.unwrap();
    assert!(receipt.is_protected());
    let message = soon(incoming.next()).await.unwrap();
    assert!(message.protected && message.from.verified);
    // Nothing but text goes bare.
    let more = ana.send_message(key, text("x").attribute("hops=1")).await;
    assert!(
        matches!(
            &more,
            Err(SendError::Peer(PeerError::Session(SessionError::TextOnly)))
        ),
        "{more:?}"
    );
}

#[tokio::test]
async fn who_was_let_in_is_not_written_to_in_bare_text_any_more() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let (eve, _raw) = legacy(&mesh, &owner, 7, "eve").await;
    let key = eve.public();
    let mut events = ana.events();
    let name = Name::new("eve").unwrap();
    owner.admit(key, name, Role::Member).await.unwrap();
    let text = Outgoing::text("hello").to_unverified(true);
    let receipt = ana.send_message(key, text).await.unwrap();
    assert!(receipt.is_protected());
    soon(async {
        while !matches!(events.next().await, Some(Event::MemberJoined { .. }) | None) {}
    })
    .await;
    // Nor is bare text taken from her.
    let mut raw = support::legacy(&mesh, &eve).await;
    let shared = DirectKey::agree(&X25519Secret::of(&eve), &ana.key()).unwrap();
    let sealed = shared.seal(&[3; 24], b"hi").unwrap();
    raw.json(
        json!({ "type": "send", "id": "s", "targetSpec": ana.key(), "priority": "now",
                     "nonce": claudemesh_core::encoding::base64(&[3; 24]),
                     "ciphertext": claudemesh_core::encoding::base64(&sealed) }),
    )
    .await;
    let refused = soon(async {
        loop {
            if let Some(Event::Rejected { sender, .. }) = events.next().await {
                return sender;
            }
        }
    });
    assert_eq!(refused.await, key);
}

#[tokio::test]
async fn bare_text_does_not_go_by_what_was_known_some_time_ago() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let (eve, _raw) = legacy(&mesh, &owner, 7, "eve").await;
    let key = eve.public();
    let text = || Outgoing::text("hello").to_unverified(true);
    assert!(!ana.send_message(key, text()).await.unwrap().is_protected());
    // Without the broker nobody can say what she is by now.
    mesh.stop_broker().await.unwrap();
    soon(async {
        while ana.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let sent = ana.send_message(key, text()).await;
    let named = matches!(&sent, Err(SendError::Peer(PeerError::NotConnected(_))));
    assert!(named, "{sent:?}");
    assert_eq!(ana.outbox(true).await.unwrap().len(), 1);
}

/// The link of the existing form, as a peer of ours makes it, and their steps with it: the token
/// behind its last slash, a join under a key of their own, a hello, the list of people, boxes.
#[tokio::test]
async fn a_user_of_the_existing_clients_moves_by_a_link() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let issued = owner.invite(InviteOptions::default()).await.unwrap().issued;
    let link = issued.legacy_link();
    assert!(!link.contains('#'), "its secret is not for them: {link}");
    // What they know of the broker is what the token says.
    let token = link.rsplit('/').next().unwrap();
    let payload = InviteToken::parse(token).unwrap();
    payload.verify(support::now(&mesh) / 1_000).unwrap();
    assert_eq!(payload.mesh_id, mesh.id().as_str());
    assert_eq!(payload.broker_url, mesh.url().to_string());
    let eve = key(7);
    let joined = support::join_legacy(&mesh, token, &eve, "eve").await;
    assert_eq!(joined.status, 200, "{}", joined.body);
    let mut raw = support::legacy(&mesh, &eve).await;
    raw.json(json!({ "type": "list_peers" })).await;
    let list = raw.expect("peers_list").await;
    let people = list["peers"].as_array().unwrap();
    let found = people
        .iter()
        .find(|one| one["memberPubkey"] == json!(owner.key()) && one["peerRole"] == "session");
    assert!(found.is_some(), "{list}");
    // Both ways, marked as what only the broker vouches for.
    let shared = DirectKey::agree(&X25519Secret::of(&eve), &owner.key()).unwrap();
    let mut incoming = owner.incoming().await.unwrap();
    let sealed = shared.seal(&[3; 24], b"moved").unwrap();
    raw.json(
        json!({ "type": "send", "id": "s", "targetSpec": owner.key(), "priority": "now",
                     "nonce": claudemesh_core::encoding::base64(&[3; 24]),
                     "ciphertext": claudemesh_core::encoding::base64(&sealed) }),
    )
    .await;
    let message = soon(incoming.next()).await.unwrap();
    assert_eq!(message.text(), "moved");
    assert!(!message.protected && !message.from.verified);
    let answer = Outgoing::text("welcome").to_unverified(true);
    owner.send_message(eve.public(), answer).await.unwrap();
    let push = raw.expect("push").await;
    let sealed = SealedText {
        nonce: push["nonce"].as_str().unwrap().to_owned(),
        ciphertext: push["ciphertext"].as_str().unwrap().to_owned(),
    };
    assert_eq!(open_bare(&shared, &sealed).unwrap(), "welcome");
    // The link is used up; who has it is in again, and nobody else comes in.
    let again = support::join_legacy(&mesh, token, &eve, "eve").await;
    assert_eq!(body(&again)["alreadyMember"], true);
    let other = support::join_legacy(&mesh, token, &key(8), "mallory").await;
    assert_eq!(body(&other)["error"], "invite_exhausted");
}
