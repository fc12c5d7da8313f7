//! Lies about who is in the mesh.

use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{Hash, Name};
use claudemesh_core::membership::{Body, Log, Role, SignedEntry};
use claudemesh_core::wire::LogHead;

use super::*;
use support::{blob, key, now};

/// Entries of someone with the right, which differ by this byte.
fn issued(log: &Log, liar: &LyingBroker, byte: u8) -> SignedEntry {
    let now = now(&liar.mesh);
    let body = Body::InviteIssued {
        key: key(byte).public(),
        role: Role::Member,
        expires_at: now + 60_000,
        max_uses: 1,
    };
    log.draft(now, body).sign(liar.mesh.owner(), None)
}

pub(super) fn appended(seq: u64, entry: &SignedEntry) -> Value {
    json!({ "type": "log_appended", "channel": "", "entry": blob(entry),
            "head": LogHead::new(seq, &entry.hash()) })
}

/// The log that the peer holds, after it fetched.
pub(super) async fn held(peer: &Peer) -> std::sync::Arc<Log> {
    peer.sync().await.unwrap();
    peer.log().unwrap()
}

/// Hides all that comes after the log as it is held now.
pub(super) async fn freeze(liar: &LyingBroker, peer: &Peer) {
    let head = held(peer).await.head();
    liar.script(peer.key(), move |way, mut frame| {
        if way == Way::ToBroker {
            return vec![frame];
        }
        if frame["type"] == "log_appended" {
            return Vec::new();
        }
        if frame["type"] == "hello_ack" {
            frame["log_head"] = json!(LogHead::new(head.seq, &head.hash));
        }
        if frame["type"] == "log_entries" {
            let from = frame["from"].as_u64().unwrap();
            let entries = frame["entries"].as_array_mut().unwrap();
            entries.truncate((head.seq + 1 - from) as usize);
            frame["head"] = json!(LogHead::new(head.seq, &head.hash));
        }
        vec![frame]
    });
}

#[tokio::test]
async fn a_ghost_among_those_who_are_here_is_nobody() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let ghost = key(66).public();
    liar.change(ana.key(), "peers_list", move |frame| {
        let mut record = frame["peers"][0].clone();
        record["pubkey"] = json!(ghost);
        record["memberPubkey"] = json!(ghost);
        record["displayName"] = "bob".into();
        frame["peers"].as_array_mut().unwrap().push(record);
        let member = json!({ "memberPubkey": ghost, "online": true });
        frame["members"].as_array_mut().unwrap().push(member);
    });
    let peers = ana.peers().await.unwrap();
    let shown = peers.iter().find(|peer| peer.key == ghost).unwrap();
    assert_eq!((shown.verified, shown.role), (false, None));
    // A name is looked up in the log, so the real one is not ambiguous.
    assert_eq!(ana.resolve("bob").await.unwrap(), bob.key());
    assert!(ana.members().iter().all(|member| member.key != ghost));
    refuses_to_write(&ana, ghost).await;
}

#[tokio::test]
async fn forged_entries_are_named_and_change_nothing() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut events = ana.events();
    let (log, ghost) = (held(&ana).await, key(66));
    let head = log.head();
    let draft = |body| log.draft(now(&liar.mesh), body);
    let admitted = || Body::MemberAdmitted {
        key: ghost.public(),
        name: Name::new("ghost").unwrap(),
        role: Role::Admin,
    };
    let removed = || Body::MemberRemoved {
        key: bob.key(),
        close_all: true,
    };
    let mut unsigned = draft(admitted()).sign(liar.mesh.owner(), None);
    unsigned.signature = ghost.sign(&unsigned.bytes);
    for forged in [
        // By nobody, with another's signature, by a member who may not.
        draft(admitted()).sign(&ghost, None),
        unsigned,
        draft(admitted()).sign(bob.mesh().key_pair(), None),
        draft(removed()).sign(&ghost, None),
    ] {
        liar.tell(ana.key(), &appended(head.seq + 1, &forged));
        assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
        assert_eq!(ana.log().unwrap().head(), head);
    }
    // In a page, behind the true entries.
    let page = blob(&draft(admitted()).sign(&ghost, None));
    liar.change(ana.key(), "log_entries", move |frame| {
        frame["entries"].as_array_mut().unwrap().push(page.clone());
    });
    assert!(ana.sync().await.is_err());
    assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
    refuses_to_write(&bob, ghost.public()).await;
    // What is true is still taken.
    liar.honest(ana.key());
    let cem = liar.mesh.peer("cem").await.unwrap();
    ana.sync().await.unwrap();
    assert_eq!(ana.resolve("cem").await.unwrap(), cem.key());
    assert_eq!(ana.resolve("bob").await.unwrap(), bob.key());
}

#[tokio::test]
async fn a_withheld_removal_is_named_by_who_knows_it_and_counts_once_shown() {
    let liar = LyingBroker::start().await;
    let owner = liar.mesh.peer("owner").await.unwrap();
    let bob = liar.mesh.peer("bob").await.unwrap();
    let patience = Duration::from_millis(200);
    let ana = liar.builder("ana").await.log_patience(patience);
    let ana = ana.connect().await.unwrap();
    ana.connected_within(SOON).await.unwrap();
    let (mut events, mut incoming) = (ana.events(), ana.incoming().await.unwrap());
    owner.sync().await.unwrap();
    freeze(&liar, &ana).await;
    owner.remove(bob.key(), false).await.unwrap();
    // The limit: who does not know it still seals for the removed one. The real broker refuses it.
    let late = ana.send(bob.key(), "are you there?").await.unwrap();
    assert!(soon(late.accepted()).await.is_err());
    owner.send("ana", "bob is out").await.unwrap();
    let withheld = Lie::LogWithheld {
        peer: owner.key(),
        seq: owner.log().unwrap().head().seq,
    };
    assert_eq!(lie(&mut events).await, withheld);
    assert_eq!(next(&mut incoming).await.text(), "bob is out");
    assert!(ana.members().iter().any(|member| member.key == bob.key()));
    // It shows it after all.
    liar.honest(ana.key());
    ana.sync().await.unwrap();
    let out = Event::MemberRemoved { key: bob.key() };
    told(&mut events, |event| (event == out).then_some(())).await;
    let sent = ana.send(bob.key(), "x").await;
    assert!(matches!(
        sent,
        Err(SendError::Peer(PeerError::Session(
            SessionError::RecipientRemoved(_)
        )))
    ));
}

#[tokio::test]
async fn two_logs_for_two_peers_are_named_when_they_talk() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut at_bob = bob.events();
    let mut incoming = bob.incoming().await.unwrap();
    let (log, seq) = (held(&ana).await, held(&bob).await.head().seq + 1);
    for (peer, byte) in [(&ana, 71), (&bob, 72)] {
        let mut events = peer.events();
        let entry = issued(&log, &liar, byte);
        liar.tell(peer.key(), &appended(seq, &entry));
        let at = told(&mut events, |event| match event {
            Event::LogAt(head) => Some(head),
            _ => None,
        });
        assert_eq!(at.await.hash, entry.hash());
    }
    ana.send(bob.key(), "hello").await.unwrap();
    let peer = ana.key();
    assert_eq!(lie(&mut at_bob).await, Lie::HeadMismatch { peer, seq });
    // A claim stops nothing.
    assert!(next(&mut incoming).await.from.verified);
    // The honest log is shorter than what the liar showed.
    assert!(bob.sync().await.is_ok());
    let shorter = Lie::LogRollback {
        held: seq + 1,
        shown: seq,
    };
    assert_eq!(lie(&mut at_bob).await, shorter);
}

#[tokio::test]
async fn another_entry_at_a_place_that_is_held_is_a_fork() {
    let liar = LyingBroker::start().await;
    let owner = liar.peer("owner").await;
    let mut events = owner.events();
    let before = held(&owner).await;
    let invite = claudemesh_core::InviteOptions::default();
    owner.invite(invite).await.unwrap();
    let seq = before.head().seq + 1;
    let other = blob(&issued(&before, &liar, 71));
    liar.change(owner.key(), "log_entries", move |frame| {
        let from = frame["from"].as_u64().unwrap();
        frame["entries"][(seq - from) as usize] = other.clone();
    });
    let head = owner.log().unwrap().head();
    let _ = owner.sync().await;
    assert_eq!(lie(&mut events).await, Lie::LogFork { seq });
    assert_eq!(owner.log().unwrap().head(), head);
    let refused = owner.remove(key(1).public(), false).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_shorter_log_and_no_log_are_named_and_the_own_one_counts() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let (mut events, log) = (ana.events(), held(&ana).await);
    let (seq, first) = (log.head().seq, log.hash_at(0).unwrap());
    liar.change(ana.key(), "hello_ack", move |frame| {
        frame["log_head"] = json!(LogHead::new(0, &first));
    });
    liar.close(ana.key(), 1001, "");
    let shorter = Lie::LogRollback {
        held: seq + 1,
        shown: 1,
    };
    assert_eq!(lie(&mut events).await, shorter);
    assert_eq!(ana.resolve("bob").await.unwrap(), bob.key());
    liar.change(ana.key(), "hello_ack", |frame| {
        frame.as_object_mut().unwrap().remove("log_head");
    });
    liar.close(ana.key(), 1001, "");
    assert_eq!(lie(&mut events).await, Lie::LogMissing);
    assert_eq!(ana.log().unwrap().head(), log.head());
    refuses_to_write(&ana, key(66).public()).await;
    // The same place, another hash.
    liar.change(ana.key(), "hello_ack", move |frame| {
        frame["log_head"] = json!(LogHead::new(seq, &Hash([6; 32])));
    });
    liar.close(ana.key(), 1001, "");
    assert_eq!(lie(&mut events).await, Lie::LogFork { seq });
}

#[tokio::test]
async fn pages_are_cut_reordered_or_end_too_early() {
    let liar = LyingBroker::start().await;
    liar.mesh.peer("bob").await.unwrap();
    let member = liar.member("ana").await;
    let who = member.pubkey();
    // One entry a page: the rest is asked for.
    liar.change(who, "log_entries", |frame| {
        let entries = frame["entries"].as_array_mut().unwrap();
        // The first one is held already, save at the very beginning.
        entries.truncate(2);
    });
    // What is fetched when a mesh is joined is kept; this peer begins with nothing.
    let ana = liar.builder("ana").await.in_memory();
    let ana = ana.connect().await.unwrap();
    let mut events = ana.events();
    let log = held(&ana).await;
    assert_eq!(log.head().seq, 4);
    let asked = liar.count(who, Way::ToBroker, "log_get");
    assert!(asked > 2, "{asked}");
    // The other way round, and with an entry that is none.
    liar.withhold(who, "log_appended");
    let cem = liar.mesh.peer("cem").await.unwrap();
    liar.change(who, "log_entries", |frame| {
        frame["entries"].as_array_mut().unwrap()[1..].reverse();
    });
    assert!(ana.sync().await.is_err());
    assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
    liar.change(who, "log_entries", |frame| {
        frame["entries"][1]["e"] = base64url(b"claudemesh/log-entry/1").into();
    });
    assert!(ana.sync().await.is_err());
    assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
    assert_eq!(ana.log().unwrap().head(), log.head());
    // A page that says that there is more, and never shows it.
    liar.change(who, "log_entries", |frame| {
        frame["entries"].as_array_mut().unwrap().truncate(1);
    });
    let error = ana.sync().await.unwrap_err();
    let named = matches!(error, PeerError::Session(SessionError::LogUnusable(_)));
    assert!(named, "{error:?}");
    assert_eq!(ana.log().unwrap().head(), log.head());
    // Who is in what is not shown is no member, and is one as soon as it is shown.
    refuses_to_write(&ana, cem.key()).await;
    liar.honest(who);
    assert_eq!(ana.resolve("cem").await.unwrap(), cem.key());
}
