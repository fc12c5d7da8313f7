//! Sessions with addresses of their own, over real sockets: two agents of one member never get each
//! other's messages, and what is sent to one that is away waits for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::config::{SessionIdentity, SessionKeys};
use claudemesh_core::crypto::{DirectKey, X25519Secret};
use claudemesh_core::encoding::base64;
use claudemesh_core::id::Target;
use claudemesh_core::message::{SealedText, open_bare};
use claudemesh_core::{
    Config, Incoming, InviteOptions, MeshEntry, Outgoing, Peer, PublicKey, Received, ResolveError,
    Rule, SendError, SessionId, SessionName, Status, Wake, Who,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

async fn next(incoming: &mut Incoming) -> Received {
    soon(incoming.next()).await.unwrap()
}

fn id(n: u8) -> SessionId {
    SessionId::from_random([n; 16])
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

/// The session of this number on this machine.
fn session(member: &MeshEntry, n: u8, wanted: &str) -> SessionIdentity {
    let keys = SessionKeys::of(member).unwrap();
    keys.open(&id(n), &name(wanted), false).unwrap()
}

async fn connect(member: &MeshEntry, session: SessionIdentity) -> Peer {
    let peer = Peer::builder(member).as_session(session).connect().await;
    let peer = peer.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

/// Waits until a session has this name.
async fn is_called(peer: &Peer, wanted: &str) {
    soon(async {
        while peer.session().unwrap().name() != &name(wanted) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn end(peer: Peer) {
    peer.close(SOON).await;
}

/// Waits until a peer sees so many sessions of others that are connected.
async fn sees(peer: &Peer, count: usize) {
    soon(async {
        loop {
            let sessions = peer.sessions().await.unwrap();
            if sessions.iter().filter(|s| s.online).count() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn two_sessions_of_one_member_never_take_each_others_messages() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let api = connect(&bob, session(&bob, 1, "app")).await;
    let web = connect(&bob, session(&bob, 2, "app")).await;
    assert_eq!(api.session().unwrap().name(), &name("app"));
    assert_eq!(web.session().unwrap().name(), &name("app-2"));
    assert_ne!(api.address(), web.address());
    assert_eq!(api.key(), web.key());
    let (mut at_api, mut at_web) = (api.incoming().await.unwrap(), web.incoming().await.unwrap());

    let ana = mesh.peer("ana").await.unwrap();
    for n in 0..5 {
        ana.send("bob/app", format!("api {n}")).await.unwrap();
        ana.send("bob/app-2", format!("web {n}")).await.unwrap();
    }
    for n in 0..5 {
        let message = next(&mut at_api).await;
        assert_eq!(message.text(), format!("api {n}"));
        assert_eq!(message.to_session, Some(api.address()));
        assert_eq!(next(&mut at_web).await.text(), format!("web {n}"));
    }
    // What is for the member is unread in each of its sessions. Order is one mailbox's, so it is
    // sent only now.
    let both = ana.send("bob", "to both").await.unwrap();
    assert_eq!(next(&mut at_api).await.text(), "to both");
    assert_eq!(next(&mut at_web).await.text(), "to both");
    soon(both.delivered()).await.unwrap();
    // Nothing else is in anybody's inbox.
    assert!(api.unread(10).await.unwrap().len() <= 1);
    let history = web.history(100).await.unwrap();
    assert!(history.iter().all(|m| !m.text().starts_with("api")));
}

#[tokio::test]
async fn what_is_sent_to_a_session_that_is_away_waits_for_it() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let other = connect(&bob, session(&bob, 2, "other")).await;
    let api = connect(&bob, session(&bob, 1, "api")).await;
    let (key, api_name) = (api.address(), api.session().unwrap().name().clone());
    let ana = mesh.peer("ana").await.unwrap();
    sees(&ana, 2).await;
    end(api).await;
    // Neither the broker's restart nor an empty memory of it changes that.
    mesh.kill_broker().await.unwrap();
    let receipt = ana.send("bob/api", "while you were away").await.unwrap();
    assert_eq!(soon(receipt.accepted()).await.unwrap().recipients, Some(1));
    let mut elsewhere = other.incoming().await.unwrap();
    ana.send("bob/other", "the end").await.unwrap();
    assert_eq!(next(&mut elsewhere).await.text(), "the end");

    // Resumed under its id it has the same address.
    let api = connect(&bob, session(&bob, 1, "elsewhere")).await;
    assert_eq!(api.address(), key);
    assert_eq!(*api.session().unwrap().name(), api_name);
    let mut incoming = api.incoming().await.unwrap();
    let message = next(&mut incoming).await;
    assert_eq!(message.text(), "while you were away");
    soon(receipt.delivered()).await.unwrap();
}

#[tokio::test]
async fn an_answer_goes_to_the_session_that_asked() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.member("ana").await.unwrap(),
        mesh.member("bob").await.unwrap(),
    );
    let (one, two) = (
        connect(&ana, session(&ana, 1, "one")).await,
        connect(&ana, session(&ana, 2, "two")).await,
    );
    let bob = connect(&bob, session(&bob, 3, "bot")).await;
    let (mut at_one, mut at_two) = (one.incoming().await.unwrap(), two.incoming().await.unwrap());
    let mut at_bob = bob.incoming().await.unwrap();
    one.send("bob/bot", "who asks?").await.unwrap();
    let question = next(&mut at_bob).await;
    let from = question.from.session.clone().unwrap();
    assert_eq!((from.key, from.name.as_str()), (one.address(), "one"));
    assert_eq!(question.from.key, one.key());
    assert_eq!(question.from.shown(), "ana/one");
    question.reply("you").await.unwrap();
    let answer = next(&mut at_one).await;
    assert_eq!(answer.text(), "you");
    assert_eq!(answer.from.shown(), "bob/bot");
    bob.send("ana/two", "the end").await.unwrap();
    assert_eq!(next(&mut at_two).await.text(), "the end");
}

#[tokio::test]
async fn a_session_gives_up_the_name_of_a_device_and_of_an_older_session_elsewhere() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    // Two machines with one member: their folders know nothing of each other.
    let elsewhere = tempfile::tempdir().unwrap();
    let there = SessionKeys::in_dir(elsewhere.path(), &bob).unwrap();
    let first = connect(&bob, session(&bob, 1, "app")).await;
    let ana = mesh.peer("ana").await.unwrap();
    sees(&ana, 1).await;
    let second = there.open(&id(2), &name("app"), false).unwrap();
    assert_eq!(second.name(), &name("app"));
    let store = tempfile::tempdir().unwrap();
    let second = Peer::builder(&bob)
        .data_dir(store.path())
        .as_session(second)
        .connect()
        .await
        .unwrap();
    is_called(&second, "app-2").await;
    // The new name is kept for the next time, and others are told.
    assert_eq!(
        there.open(&id(2), &name("x"), false).unwrap().name(),
        &name("app-2")
    );
    assert_eq!(first.session().unwrap().name(), &name("app"));
    soon(async {
        while ana.resolve_session("bob/app-2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let found = ana.resolve_session("bob/app-2").await.unwrap();
    assert_eq!(found.key, second.address());
    assert_eq!(
        ana.resolve_session("BOB/App").await.unwrap().key,
        first.address()
    );

    // A device of that name comes: even the older session gives it up, and the device is written to.
    let link = first.link_device(Duration::from_secs(60)).await.unwrap();
    let device = Config::in_memory().join(&link.issued.link(), "app").await;
    let device = device.unwrap();
    for peer in [&first, &second, &ana] {
        peer.sync().await.unwrap();
    }
    is_called(&first, "app-3").await;
    assert_eq!(second.session().unwrap().name(), &name("app-2"));
    let to = ana.target("bob/app").await.unwrap();
    assert_eq!(to, Target::Peer(device.pubkey()));
    // One that wants it later does not get it.
    let third = connect(&bob, session(&bob, 3, "APP")).await;
    is_called(&third, "APP-4").await;
}

#[tokio::test]
async fn removing_a_member_ends_its_sessions() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let (here, away) = (
        connect(&bob, session(&bob, 1, "here")).await,
        connect(&bob, session(&bob, 2, "away")).await,
    );
    let ana = mesh.peer("ana").await.unwrap();
    sees(&ana, 2).await;
    end(away).await;
    let waits = ana.send("bob/away", "too late").await.unwrap();
    soon(waits.accepted()).await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    owner.remove(bob.pubkey(), true).await.unwrap();
    soon(async {
        while !here.connection().is_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // What waited has failed, and nothing more is sealed for them.
    let failed = soon(waits.delivered()).await.unwrap_err().to_string();
    assert!(failed.contains("removed"), "{failed}");
    ana.sync().await.unwrap();
    let refused = ana.send("bob/away", "still?").await.unwrap_err();
    assert!(
        matches!(refused, SendError::Resolve(ResolveError::Unknown { .. })),
        "{refused}"
    );
    let key = here.address();
    let refused = ana.send(key, "by key?").await.unwrap_err().to_string();
    assert!(refused.contains("removed"), "{refused}");
    assert!(ana.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn several_processes_may_be_one_session() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let long = connect(&bob, session(&bob, 1, "api")).await;
    let mut incoming = long.incoming().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    // A hook of the same session looks for messages meanwhile; nobody is pushed out.
    let hook = connect(&bob, session(&bob, 1, "api")).await;
    let sender = Peer::builder(&bob)
        .as_session(session(&bob, 1, "api"))
        .receive(false)
        .connect()
        .await
        .unwrap();
    sender.send("ana", "from a session").await.unwrap();
    ana.send("bob/api", "hello").await.unwrap();
    let message = next(&mut incoming).await;
    assert_eq!(message.text(), "hello");
    soon(async {
        while hook.unread(10).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    message.taken().await.unwrap();
    assert!(hook.unread(10).await.unwrap().is_empty());
    assert_eq!(ana.sessions().await.unwrap().len(), 1);
    assert!(long.is_connected() && hook.is_connected());
    let mut at_ana = ana.incoming().await.unwrap();
    let heard = next(&mut at_ana).await;
    assert_eq!(heard.from.session.unwrap().key, long.address());
}

#[tokio::test]
async fn a_sender_is_told_how_a_session_is_woken() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let peer = Peer::builder(&bob)
        .as_session(session(&bob, 1, "api"))
        .wake(Wake::Hook)
        .connect()
        .await
        .unwrap();
    peer.connected_within(SOON).await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let to = ana.target("bob/api").await.unwrap();
    let told = |reach: Option<claudemesh_core::Reach>| reach.unwrap().to_string();
    let reach = ana.reach(&to).await.unwrap();
    assert_eq!(told(reach), "bob/api is idle and sees it at its next turn");
    let member = ana.target("bob").await.unwrap();
    assert_eq!(member, Target::Peer(bob.pubkey()));
    let reach = ana.reach(&member).await.unwrap();
    assert_eq!(told(reach), "bob is idle and sees it at its next turn");
    peer.set_wake(Wake::Push).await.unwrap();
    peer.set_status(Status::Working).await.unwrap();
    soon(async {
        loop {
            let reach = ana.reach(&to).await.unwrap().unwrap();
            if reach.wake == Some(Wake::Push) && reach.status == Some(Status::Working) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    end(peer).await;
    soon(async {
        loop {
            let sessions = ana.sessions().await.unwrap();
            if sessions.iter().all(|session| !session.online) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let told = told(ana.reach(&to).await.unwrap());
    assert_eq!(told, "bob/api is away and gets it when it is back");
}

#[tokio::test]
async fn rules_decide_what_becomes_unread() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let peer = connect(&bob, session(&bob, 1, "api")).await;
    let mut incoming = peer.incoming().await.unwrap();
    let mut senders = Vec::new();
    for name in ["ask", "mute", "block", "free"] {
        senders.push(mesh.peer(name).await.unwrap());
    }
    let key = |n: usize| senders[n].key();
    for (n, rule) in [(0, Rule::Ask), (1, Rule::Mute), (2, Rule::Block)] {
        peer.set_rule(Who::Peer(key(n)), Some(rule)).await.unwrap();
        assert_eq!(peer.rule_for(&key(n)).await.unwrap(), rule);
    }
    assert_eq!(peer.rule_for(&key(3)).await.unwrap(), Rule::Allow);
    for (n, sender) in senders.iter().enumerate().take(3) {
        let receipt = sender.send("bob/api", format!("from {n}")).await.unwrap();
        // Nobody is told more than that it is delivered.
        soon(receipt.delivered()).await.unwrap();
    }
    // Muted ones wake nobody: they are shown with what does, and to who looks.
    let unread = peer.unread(10).await.unwrap();
    assert_eq!(unread.len(), 1);
    assert!(unread[0].muted && unread[0].text() == "from 1");
    senders[3].send("bob/api", "from 3").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "from 1");
    assert_eq!(next(&mut incoming).await.text(), "from 3");
    // Blocked ones are counted and nowhere else.
    let rules = peer.rules().await.unwrap();
    let blocked = rules.iter().find(|kept| kept.who == Who::Peer(key(2)));
    assert_eq!(blocked.unwrap().dropped, 1);
    let history = peer.history(100).await.unwrap();
    assert!(
        history
            .iter()
            .all(|m| m.from.key != key(2) && m.from.key != key(0))
    );
    // What waits for an answer comes when the answer is yes, also behind what was read since.
    let requests = peer.requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].text(), requests[0].from.key),
        ("from 0".to_owned(), key(0))
    );
    assert!(peer.answer_request(&requests[0], true).await.unwrap());
    assert!(!peer.answer_request(&requests[0], true).await.unwrap());
    assert_eq!(next(&mut incoming).await.text(), "from 0");
    // And not when it is no.
    senders[0].send("bob/api", "again").await.unwrap();
    soon(async {
        while peer.requests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let requests = peer.requests().await.unwrap();
    assert!(peer.answer_request(&requests[0], false).await.unwrap());
    senders[3].send("bob/api", "the end").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "the end");
}

#[tokio::test]
async fn two_programs_that_answer_everything_come_to_an_end() {
    use claudemesh_core::{NoReply, ReplyGuard, ReplyLimits};
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let mut sides = [
        (
            bob.incoming().await.unwrap(),
            ReplyGuard::new(ReplyLimits::default()),
        ),
        (
            ana.incoming().await.unwrap(),
            ReplyGuard::new(ReplyLimits::default()),
        ),
    ];
    ana.send("bob", "ping").await.unwrap();
    let mut answers = 0;
    let why = loop {
        let (incoming, guard) = &mut sides[answers % 2];
        let message = next(incoming).await;
        assert_eq!(usize::from(message.hops()), answers);
        match guard.may_reply(answers as u64 * 60_000, &message.question()) {
            Ok(hops) => message.reply_automatically("ack", hops).await.unwrap(),
            Err(why) => break why,
        };
        answers += 1;
    };
    assert_eq!(
        (answers, why),
        (8, NoReply::TooManyHops { hops: 8, limit: 8 })
    );
    let (incoming, guard) = &mut sides[0];
    let quiet = Outgoing::text("fyi").expects_reply(false);
    ana.send_message("bob", quiet).await.unwrap();
    let message = next(incoming).await;
    assert_eq!(
        guard.may_reply(u64::MAX, &message.question()),
        Err(NoReply::NotExpected)
    );
}

#[tokio::test]
async fn a_key_that_is_nobodys_is_no_recipient() {
    let mesh = TestMesh::start().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let nobody = claudemesh_core::crypto::KeyPair::from_seed(&[9; 32]).public();
    ana.send(nobody, "hello?").await.unwrap_err();
    ana.send("ana/nobody", "hello?").await.unwrap_err();
    ana.resolve_session(&PublicKey([0; 32]).to_hex())
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_session_and_an_existing_client_read_each_others_bare_text() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let invite = owner.invite(InviteOptions::default()).await.unwrap();
    let eve = support::key(7);
    let joined = support::join_legacy(&mesh, &invite.issued.token, &eve, "eve").await;
    assert_eq!(joined.status, 200, "{joined:?}");
    let mut raw = support::legacy(&mesh, &eve).await;
    let bob = mesh.member("bob").await.unwrap();
    let api = connect(&bob, session(&bob, 1, "api")).await;
    let text = Outgoing::text("from api").to_unverified(true);
    let receipt = api.send_message(eve.public(), text).await.unwrap();
    let push = raw.expect("push").await;
    // She opens it by the key that the frame names, as hers do.
    let named = PublicKey::from_hex(push["senderPubkey"].as_str().unwrap()).unwrap();
    let shared = |key: &PublicKey| DirectKey::agree(&X25519Secret::of(&eve), key).unwrap();
    let sealed = SealedText {
        nonce: push["nonce"].as_str().unwrap().to_owned(),
        ciphertext: push["ciphertext"].as_str().unwrap().to_owned(),
    };
    assert_eq!(open_bare(&shared(&named), &sealed).unwrap(), "from api");
    raw.json(json!({ "type": "client_ack", "brokerMessageId": push["messageId"] }))
        .await;
    soon(receipt.delivered()).await.unwrap();
    // She writes to the session, and to its member.
    let mut incoming = api.incoming().await.unwrap();
    for (n, to) in [(3, api.address()), (4, api.key())] {
        let sealed = shared(&to).seal(&[n; 24], b"hello").unwrap();
        let (nonce, sealed) = (base64(&[n; 24]), base64(&sealed));
        raw.json(
            json!({ "type": "send", "id": "s", "targetSpec": to, "priority": "now",
                         "nonce": nonce, "ciphertext": sealed }),
        )
        .await;
        let message = next(&mut incoming).await;
        assert_eq!(message.text(), "hello");
        assert!(!message.protected && !message.from.verified);
        let own = Some(to).filter(|to| *to == api.address());
        assert_eq!(message.to_session, own);
    }
}
