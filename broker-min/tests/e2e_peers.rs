//! Real peers and a real broker over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::store::{
    Kind, Outcome, PeerOp, PeerStore, Query, Rows, SqliteStore, StoreError,
};
use claudemesh_core::{
    Config, Event, Incoming, InviteOptions, JoinError, NotReached, Outgoing, Peer, PeerError,
    Priority, ReceiptError, Received, SendError, SendState, Status, session::SessionError,
};

const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

async fn next(incoming: &mut Incoming) -> Received {
    soon(incoming.next()).await.unwrap()
}

async fn texts(incoming: &mut Incoming, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(next(incoming).await.text());
    }
    texts
}

/// Nothing more comes: a message sent now is the next one.
async fn nothing_more(incoming: &mut Incoming, from: &Peer, to: &Peer) {
    from.send(to.key(), "the end").await.unwrap();
    assert_eq!(next(incoming).await.text(), "the end");
}

#[tokio::test]
async fn first_contact_both_ways() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let (mut at_ana, mut at_bob) = (ana.incoming().await.unwrap(), bob.incoming().await.unwrap());
    let receipt = ana.send("bob", "hello bob").await.unwrap();
    let message = next(&mut at_bob).await;
    assert_eq!(message.text(), "hello bob");
    assert!(message.from.verified && !message.again);
    assert_eq!(message.from.name.as_ref().unwrap().as_str(), "ana");
    assert_eq!(message.from.key, ana.key());
    assert_eq!(message.id, *receipt.id());
    soon(receipt.delivered()).await.unwrap();
    assert_eq!(receipt.state(), SendState::Delivered);
    message.reply("hello ana").await.unwrap();
    let answer = next(&mut at_ana).await;
    assert_eq!(answer.text(), "hello ana");
    assert_eq!(answer.reply_to.as_ref(), Some(receipt.id()));
    assert_eq!(ana.safety_number(&bob.key()), bob.safety_number(&ana.key()));
}

#[tokio::test]
async fn what_is_for_those_who_are_online_reaches_them_alone_and_is_kept_nowhere() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let mut incoming = bob.incoming().await.unwrap();
    bob.connected_within(SOON).await.unwrap();
    let reached = soon(ana.send_online("bob", Outgoing::text("quick")));
    assert_eq!(reached.await.unwrap().connections, 1);
    let message = next(&mut incoming).await;
    assert_eq!(message.text(), "quick");
    assert!(message.from.verified);
    message.taken().await.unwrap();
    assert!(ana.outbox(true).await.unwrap().is_empty());
    // To everyone, by a key that has to be made first.
    let everyone = claudemesh_core::id::ChannelName::everyone();
    let reached = soon(ana.send_online(everyone, Outgoing::text("all")));
    assert_eq!(reached.await.unwrap().connections, 1);
    assert_eq!(next(&mut incoming).await.text(), "all");

    bob.set_status(Status::Working).await.unwrap();
    let why = |result: Result<_, SendError>| match result {
        Err(SendError::Peer(PeerError::Session(SessionError::NotReached(why)))) => why,
        other => panic!("{other:?}"),
    };
    let gated = async {
        loop {
            match ana.send_online("bob", Outgoing::text("late")).await {
                // The broker hears of the status a moment later.
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                refused => return why(refused),
            }
        }
    };
    assert_eq!(soon(gated).await, NotReached::Gated);
    let urgent = Outgoing::text("urgent").priority(Priority::Now);
    assert_eq!(
        soon(ana.send_online("bob", urgent))
            .await
            .unwrap()
            .connections,
        1
    );
    let away = bob.mesh().clone();
    bob.close(SOON).await;
    let gone = async {
        loop {
            match ana.send_online("bob", Outgoing::text("gone")).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                refused => match why(refused) {
                    NotReached::NotOnline => return,
                    other => panic!("{other:?}"),
                },
            }
        }
    };
    soon(gone).await;
    // What was missed is missed: the next thing that comes was kept.
    let receipt = ana.send("bob", "kept").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    let bob = Peer::connect(&away).await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    loop {
        let text = next(&mut incoming).await.text();
        // A new process of his begins anew: what it did not take before is offered.
        match text.as_str() {
            "kept" => break,
            "all" | "late" | "urgent" | "gone" => {}
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_message_waits_for_who_is_away() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let receipt = ana.send("bob", "when you are back").await.unwrap();
    assert_eq!(soon(receipt.accepted()).await.unwrap().recipients, Some(1));
    assert_eq!(receipt.state(), SendState::Accepted);
    let bob = Peer::connect(&bob).await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "when you are back");
    soon(receipt.delivered()).await.unwrap();
}

#[tokio::test]
async fn the_broker_is_killed_between_accept_and_delivery() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let mut receipts = Vec::new();
    for i in 0..20 {
        receipts.push(ana.send("bob", format!("{i}")).await.unwrap());
    }
    for receipt in &receipts {
        soon(receipt.accepted()).await.unwrap();
    }
    mesh.kill_broker().await.unwrap();
    let bob = Peer::connect(&bob).await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    let expected: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    assert_eq!(
        texts(&mut incoming, 20).await,
        expected,
        "all of them, in order"
    );
    for receipt in &receipts {
        soon(receipt.delivered()).await.unwrap();
    }
    nothing_more(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn killed_and_cut_while_a_hundred_messages_flow() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let mut incoming = bob.incoming().await.unwrap();
    let sending = tokio::spawn({
        let (ana, bob) = (ana.clone(), bob.key());
        async move {
            let mut receipts = Vec::new();
            for i in 0..100 {
                receipts.push(ana.send(bob, format!("{i}")).await.unwrap());
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            receipts
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        mesh.drop_connection().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        mesh.kill_broker().await.unwrap();
    }
    let expected: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    assert_eq!(
        texts(&mut incoming, 100).await,
        expected,
        "each once, in order"
    );
    for receipt in sending.await.unwrap() {
        soon(receipt.delivered()).await.unwrap();
    }
    nothing_more(&mut incoming, &ana, &bob).await;
}

/// A store whose process dies right after a message was written, before anything is told of it.
struct DiesAfterInsert(SqliteStore, Arc<AtomicBool>);

impl PeerStore for DiesAfterInsert {
    fn apply(&mut self, ops: &[PeerOp]) -> Result<Vec<Outcome>, StoreError> {
        let outcomes = self.0.apply(ops)?;
        if ops.iter().any(|op| matches!(op, PeerOp::Insert(_))) {
            self.1.store(true, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        Ok(outcomes)
    }
    fn read(&self, query: &Query) -> Result<Rows, StoreError> {
        self.0.read(query)
    }
    fn version(&self) -> Result<u64, StoreError> {
        self.0.version()
    }
    fn is_durable(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_peer_dies_between_receipt_and_ack() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.member("bob").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let dead = Arc::new(AtomicBool::new(false));
    let file = bob.ensure_data_dir().unwrap().unwrap().join("peer.db");
    let store = DiesAfterInsert(SqliteStore::open(&file).unwrap(), Arc::clone(&dead));
    let dying = Peer::builder(&bob).store(store).connect().await.unwrap();
    let receipt = ana.send("bob", "once").await.unwrap();
    soon(async {
        while !dead.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    soon(receipt.accepted()).await.unwrap();
    assert_eq!(
        receipt.state(),
        SendState::Accepted,
        "nothing was acknowledged"
    );
    drop(dying);
    let bob = Peer::connect(&bob).await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    let message = next(&mut incoming).await;
    assert_eq!((message.text().as_str(), message.again), ("once", false));
    soon(receipt.delivered()).await.unwrap();
    nothing_more(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn what_was_shown_and_not_taken_comes_again_and_says_so() {
    let mesh = TestMesh::start().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let bob = mesh.peer("bob").await.unwrap();
    for text in ["one", "two", "three"] {
        ana.send("bob", text).await.unwrap();
    }
    let mut incoming = bob.incoming().await.unwrap();
    let first = next(&mut incoming).await;
    assert_eq!((first.text().as_str(), first.again), ("one", false));
    let second = next(&mut incoming).await;
    assert_eq!((second.text().as_str(), second.again), ("two", false));
    assert!(matches!(
        bob.incoming().await,
        Err(PeerError::AlreadyReading)
    ));
    let shown = second.id.clone();
    // A message holds its peer.
    drop((incoming, first, second, bob));
    let bob = reopened(&mesh, "bob").await;
    let mut incoming = bob.incoming().await.unwrap();
    let again = next(&mut incoming).await;
    assert_eq!((again.text().as_str(), again.again), ("two", true));
    assert_eq!(again.id, shown);
    again.taken().await.unwrap();
    drop((incoming, again, bob));
    let bob = reopened(&mesh, "bob").await;
    let mut incoming = bob.incoming().await.unwrap();
    let third = next(&mut incoming).await;
    assert_eq!((third.text().as_str(), third.again), ("three", false));
}

/// A peer of the member once the one before has let go of its lane.
async fn reopened(mesh: &TestMesh, name: &str) -> Peer {
    tokio::time::sleep(Duration::from_millis(100)).await;
    mesh.peer(name).await.unwrap()
}

#[tokio::test]
async fn two_processes_of_one_member_share_a_store() {
    let mesh = TestMesh::start().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let (one, two) = (
        mesh.peer("bob").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let (mut at_one, mut at_two) = (one.incoming().await.unwrap(), two.incoming().await.unwrap());
    let mut at_ana = ana.incoming().await.unwrap();
    for i in 0..10 {
        ana.send("bob", format!("{i}")).await.unwrap();
    }
    let expected: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    assert_eq!(
        texts(&mut at_one, 10).await,
        expected,
        "each session has a copy"
    );
    assert_eq!(texts(&mut at_two, 10).await, expected);
    let (a, b) = tokio::join!(one.send("ana", "from one"), two.send("ana", "from two"));
    let mut got = texts(&mut at_ana, 2).await;
    got.sort();
    assert_eq!(got, ["from one", "from two"]);
    soon(a.unwrap().delivered()).await.unwrap();
    soon(b.unwrap().delivered()).await.unwrap();
    nothing_more(&mut at_one, &ana, &one).await;
}

#[tokio::test]
async fn what_a_process_left_in_its_outbox_is_sent_by_the_next() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let other = mesh.peer("ana").await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    mesh.stop_broker().await.unwrap();
    let receipt = ana.send(bob.key(), "queued").await.unwrap();
    assert_eq!(receipt.state(), SendState::Queued);
    drop(ana);
    assert!(matches!(
        soon(receipt.accepted()).await,
        Err(ReceiptError::Closed)
    ));
    let queued = other.outbox(false).await.unwrap();
    assert_eq!((queued.len(), queued[0].state), (1, SendState::Queued));
    mesh.start_broker().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "queued");
    drop(other);
}

#[tokio::test]
async fn cancelled_before_it_was_sent() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let mut incoming = bob.incoming().await.unwrap();
    mesh.stop_broker().await.unwrap();
    soon(async {
        while ana.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let receipt = ana.send(bob.key(), "never mind").await.unwrap();
    assert!(ana.cancel(receipt.id().clone()).await.unwrap());
    assert!(!ana.cancel(receipt.id().clone()).await.unwrap());
    let failed = soon(receipt.delivered()).await;
    assert_eq!(failed, Err(ReceiptError::Failed("cancelled".into())));
    mesh.start_broker().await.unwrap();
    nothing_more(&mut incoming, &ana, &bob).await;
}

#[tokio::test]
async fn priorities_follow_the_recipients_status() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    bob.set_status(Status::Dnd).await.unwrap();
    bob.sync().await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    let send = async |text: &str, priority| {
        let message = Outgoing::text(text).priority(priority);
        let receipt = ana.send_message("bob", message).await.unwrap();
        soon(receipt.accepted()).await.unwrap();
    };
    send("low", Priority::Low).await;
    send("next", Priority::Next).await;
    send("now", Priority::Now).await;
    assert_eq!(next(&mut incoming).await.text(), "now");
    bob.set_status(Status::Idle).await.unwrap();
    assert_eq!(texts(&mut incoming, 2).await, ["next", "low"]);
}

#[tokio::test]
async fn a_memory_peer_acknowledges_what_was_taken() {
    let mesh = TestMesh::start().await.unwrap();
    let entry = mesh.member("bob").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let bob = Peer::builder(&entry).in_memory().connect().await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    let first = ana.send("bob", "one").await.unwrap();
    let message = next(&mut incoming).await;
    soon(first.accepted()).await.unwrap();
    assert_eq!(first.state(), SendState::Accepted);
    message.taken().await.unwrap();
    soon(first.delivered()).await.unwrap();
    let second = ana.send("bob", "two").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "two");
    drop((incoming, message, bob));
    let bob = Peer::builder(&entry).in_memory().connect().await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "two", "it was not taken");
    soon(second.accepted()).await.unwrap();
    assert_eq!(second.state(), SendState::Accepted);
}

#[tokio::test]
async fn names_that_are_unknown_or_not_unique() {
    let mesh = TestMesh::start().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let Err(SendError::Resolve(error)) = ana.send("nobody", "x").await else {
        panic!()
    };
    assert!(error.to_string().contains("ana (") && error.to_string().contains("owner ("));
    let link = mesh
        .invite(InviteOptions {
            uses: 2,
            ..InviteOptions::default()
        })
        .await
        .unwrap();
    for dir in ["one", "two"] {
        let mut config = Config::load(mesh.config_dir(dir)).unwrap();
        config.join(&link, "twin").await.unwrap();
    }
    ana.sync().await.unwrap();
    let Err(SendError::Resolve(error)) = ana.send("twin", "x").await else {
        panic!()
    };
    assert_eq!(error.to_string().matches("twin (").count(), 2, "{error}");
    let one = mesh.member("one").await.unwrap();
    ana.send(&one.pubkey().to_hex()[..16], "by prefix")
        .await
        .unwrap();
    assert!(matches!(ana.resolve("ANA").await, Ok(key) if key == ana.key()));
}

#[tokio::test]
async fn links_that_cannot_be_used() {
    let mesh = TestMesh::start().await.unwrap();
    let join = async |link: &str, name: &str| {
        let dir = mesh.config_dir(&format!("try-{name}"));
        let mut config = Config::load(&dir).unwrap();
        let result = config.join(link, name).await;
        if result.is_err() {
            let meshes = Config::load(&dir).unwrap();
            assert!(
                meshes.meshes().is_empty(),
                "nothing is kept of a join that failed"
            );
        }
        result.map(|_| ())
    };
    let link = mesh.invite(InviteOptions::default()).await.unwrap();
    let (address, fragment) = link.split_once('#').unwrap();

    // A fragment of another invite, a cut fragment, a changed token.
    let other = mesh.invite(InviteOptions::default()).await.unwrap();
    let mixed = format!("{address}#{}", other.split_once('#').unwrap().1);
    let error = join(&mixed, "mixed").await.unwrap_err();
    assert!(
        error.to_string().contains("invite_mesh_mismatch"),
        "{error}"
    );
    let cut = &link[..link.len() - 1];
    assert!(matches!(join(cut, "cut").await, Err(JoinError::Invite(_))));
    let changed = {
        let mut bytes = fragment.as_bytes().to_vec();
        bytes[0] = if bytes[0] == b'A' { b'B' } else { b'A' };
        format!("{address}#{}", String::from_utf8(bytes).unwrap())
    };
    join(&changed, "changed").await.unwrap_err();
    let elsewhere = TestMesh::start().await.unwrap();
    let theirs = elsewhere.invite(InviteOptions::default()).await.unwrap();
    let swapped = format!("{}#{fragment}", theirs.split_once('#').unwrap().0);
    join(&swapped, "swapped").await.unwrap_err();

    // Used up: idempotent for who used it, refused for others.
    join(&link, "first").await.unwrap();
    join(&link, "first").await.unwrap();
    let error = join(&link, "second").await.unwrap_err();
    assert!(error.to_string().contains("ask for a new link"), "{error}");

    // Expired, at the broker and in the link itself.
    let brief = InviteOptions {
        expires_in: Duration::from_secs(5),
        ..InviteOptions::default()
    };
    let link = mesh.invite(brief).await.unwrap();
    tokio::time::sleep(Duration::from_millis(6_100)).await;
    let error = join(&link, "late").await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");

    // Taken back.
    let owner = mesh.peer("owner").await.unwrap();
    let invite = owner.invite(InviteOptions::default()).await.unwrap();
    owner.close_invite(invite.id).await.unwrap();
    let error = join(&invite.issued.link(), "closed").await.unwrap_err();
    assert!(error.to_string().contains("ask for a new link"), "{error}");
}

#[tokio::test]
async fn a_removed_member_is_out() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("bob").await.unwrap(),
    );
    let mut events = bob.events();
    let mut at_bob = bob.incoming().await.unwrap();
    assert!(matches!(
        ana.remove(bob.key(), true).await,
        Err(PeerError::Session(_))
    ));
    owner.remove(bob.key(), true).await.unwrap();
    soon(async { while !matches!(events.next().await, Some(Event::Removed { .. })) {} }).await;
    assert!(soon(at_bob.next()).await.is_none(), "its stream ends");
    ana.sync().await.unwrap();
    assert!(matches!(
        ana.send(bob.key(), "x").await,
        Err(SendError::Peer(_))
    ));
    assert!(matches!(
        bob.send(ana.key(), "x").await,
        Err(SendError::Peer(_))
    ));
    let again = mesh.member("bob").await.unwrap();
    let again = Peer::connect(&again).await.unwrap();
    let error = again.connected_within(SOON).await.unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
}

#[tokio::test]
async fn presence_is_seen_and_one_shots_are_not() {
    let mesh = TestMesh::start().await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let mut events = ana.events();
    let bob = mesh.member("bob").await.unwrap();
    let silent = Peer::builder(&bob).presence(false).connect().await.unwrap();
    silent.connected_within(SOON).await.unwrap();
    let here = |peers: Vec<claudemesh_core::PeerInfo>, name: &str| {
        peers.into_iter().find(|peer| peer.name == name).unwrap()
    };
    assert!(!here(ana.peers().await.unwrap(), "bob").online);
    let seen = Peer::builder(&bob)
        .status(Status::Working)
        .connect()
        .await
        .unwrap();
    soon(async {
        loop {
            match events.next().await.unwrap() {
                Event::PeerOnline { name, .. } if name == "bob" => break,
                Event::PeerOffline { name, .. } => panic!("{name} was never seen"),
                _ => {}
            }
        }
    })
    .await;
    seen.sync().await.unwrap();
    let bob = here(ana.peers().await.unwrap(), "bob");
    assert!(bob.online && bob.verified && bob.last_seen.is_some());
    assert_eq!(bob.status, Some(Status::Working));
}

#[tokio::test]
async fn plaintext_is_in_none_of_the_brokers_files() {
    let mesh = TestMesh::start().await.unwrap();
    let (ana, bob) = (
        mesh.peer("ana").await.unwrap(),
        mesh.member("bob").await.unwrap(),
    );
    let canary = "canary-7d1f4c2a";
    let receipt = ana.send_message("bob", Outgoing::text(canary).attribute("k=canary-7d1f4c2a"));
    soon(receipt.await.unwrap().accepted()).await.unwrap();
    let link = mesh.invite(InviteOptions::default()).await.unwrap();
    let (_, fragment) = link.split_once('#').unwrap();
    let bob = Peer::connect(&bob).await.unwrap();
    let mut incoming = bob.incoming().await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), canary);
    mesh.stop_broker().await.unwrap();
    let files = mesh.data_files().unwrap();
    assert!(files.iter().any(|file| file.ends_with("broker.db")));
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for secret in [canary, fragment] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", file.display());
        }
    }
}

#[tokio::test]
async fn what_does_not_open_is_an_event_and_never_text() {
    let mesh = TestMesh::start().await.unwrap();
    let bob = mesh.peer("bob").await.unwrap();
    // A configuration that holds a key the mesh does not know: the broker refuses its hello.
    let stranger = mesh.member("bob").await.unwrap();
    let key = Arc::new(claudemesh_core::crypto::KeyPair::from_seed(&[9; 32]));
    let fake = claudemesh_core::MeshEntry::new(
        mesh.id(),
        stranger.member_id.clone(),
        "test",
        key,
        mesh.url().to_string(),
        "2026-01-01T00:00:00.000Z",
    );
    let fake = Peer::connect(&fake).await.unwrap();
    let error = fake
        .connected_within(Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("pubkey not found in mesh"),
        "{error}"
    );
    // Bytes that are no box, sent by a member's own connection.
    let mut events = bob.events();
    let member = support::key(77);
    let invite = support::invite(&mesh, 1, 60_000).await;
    assert_eq!(
        support::join(&mesh, &invite, &member, "mallory")
            .await
            .status,
        200
    );
    let mut raw = support::online(&mesh, &member).await;
    let mut frame = support::send(&member, "garbage-1");
    frame["targetSpec"] = bob.key().to_hex().into();
    raw.json(frame).await;
    let rejected = soon(async {
        loop {
            if let Some(Event::Rejected { sender, reason }) = events.next().await {
                return (sender, reason);
            }
        }
    })
    .await;
    assert_eq!(rejected.0, member.public());
    assert!(!rejected.1.contains("opaque"), "{}", rejected.1);
    assert!(bob.unread(10).await.unwrap().is_empty());
    let kept = bob.history(10).await.unwrap();
    assert_eq!((kept.len(), kept[0].kind), (1, Kind::Rejected));
}

#[tokio::test]
async fn many_peers_in_one_process_and_a_thousand_messages() {
    let mesh = TestMesh::start().await.unwrap();
    let link = mesh
        .invite(InviteOptions {
            uses: 8,
            ..InviteOptions::default()
        })
        .await
        .unwrap();
    let mut peers = Vec::new();
    for i in 0..8 {
        let name = format!("p{i}");
        let entry = Config::load(mesh.config_dir(&name))
            .unwrap()
            .join(&link, &name)
            .await
            .unwrap();
        peers.push(Peer::connect(&entry).await.unwrap());
    }
    for peer in &peers {
        peer.connected_within(SOON).await.unwrap();
        peer.sync().await.unwrap();
    }
    let keys: Vec<_> = peers.iter().map(Peer::key).collect();
    let tasks: Vec<_> = (peers.iter().cloned().enumerate())
        .map(|(i, peer)| {
            let keys = keys.clone();
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for n in 0..128 {
                    let to = keys[(i + 1 + n % 7) % 8];
                    receipts.push(peer.send(to, format!("{i}:{n}")).await.unwrap());
                }
                for receipt in receipts {
                    receipt.delivered().await.unwrap();
                }
            })
        })
        .collect();
    let readers: Vec<_> = (peers.iter())
        .map(|peer| {
            let peer = peer.clone();
            tokio::spawn(async move {
                let mut incoming = peer.incoming().await.unwrap();
                let mut got = Vec::new();
                for _ in 0..128 {
                    got.push(next(&mut incoming).await.text());
                }
                got
            })
        })
        .collect();
    let mut all = Vec::new();
    for reader in readers {
        all.extend(soon(reader).await.unwrap());
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    all.sort();
    let before = all.len();
    all.dedup();
    assert_eq!((before, all.len()), (1_024, 1_024));
}

#[tokio::test]
async fn a_join_that_was_cut_off_is_finished() {
    let mesh = TestMesh::start().await.unwrap();
    let link = mesh.invite(InviteOptions::default()).await.unwrap();
    let dir = mesh.config_dir("bob");
    let first = Config::load(&dir)
        .unwrap()
        .join(&link, "bob")
        .await
        .unwrap();
    // The broker has the entry, and the program died before it could write its own.
    let mut config = Config::load(&dir).unwrap();
    let invite = first.invite_id.clone().unwrap();
    let secret = first.key_pair().expose_secret_hex().to_string();
    config
        .update(|data| {
            data.meshes.clear();
            let pending = serde_json::json!({ invite: secret });
            data.extra.set("claudemeshPendingJoins", &pending);
        })
        .unwrap();
    let again = Config::load(&dir)
        .unwrap()
        .join(&link, "bob")
        .await
        .unwrap();
    assert_eq!(again.pubkey(), first.pubkey());
    assert_eq!(again.member_id, first.member_id);
    let config = Config::load(&dir).unwrap();
    assert!(config.data().extra.is_empty() && config.meshes().len() == 1);
}
