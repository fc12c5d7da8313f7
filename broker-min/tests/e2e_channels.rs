//! Channels between real peers over a real broker: encrypted, re-keyed when somebody leaves, and
//! there for those who were away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::session::SessionError;
use claudemesh_core::store::Kind;
use claudemesh_core::{Config, Connection, Event, MeshEntry, Peer, PeerError, Received, SendError};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for anything that could come on this machine to have come.
const A_WHILE: Duration = Duration::from_millis(400);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

async fn out(peer: &Peer) {
    soon(async {
        while !matches!(peer.connection(), Connection::Removed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until a peer has so many members in its log.
async fn knows(peer: &Peer, members: usize) {
    soon(async {
        while peer.members().len() != members {
            let _ = peer.sync().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn three(mesh: &TestMesh) -> (Peer, Peer, Peer) {
    let owner = mesh.peer("owner").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    let ben = mesh.peer("ben").await.unwrap();
    for peer in [&owner, &ana, &ben] {
        knows(peer, 3).await;
    }
    (owner, ana, ben)
}

/// A topic that all of them are in.
async fn topic(name: &str, lead: &Peer, others: &[&Peer]) -> ChannelName {
    let name = channel(name);
    lead.create_channel(&name, true).await.unwrap();
    for other in others {
        other.sync().await.unwrap();
        other.join_channel(&name).await.unwrap();
    }
    name
}

/// Says something, and waits until the broker has it.
async fn say(peer: &Peer, to: &ChannelName, text: &str) -> Option<u32> {
    let receipt = peer.send(to.clone(), text).await.unwrap();
    soon(receipt.accepted()).await.unwrap().recipients
}

async fn unread(peer: &Peer, count: usize) -> Vec<Received> {
    soon(async {
        loop {
            let unread = peer.unread(1_000).await.unwrap();
            if unread.len() >= count {
                return unread;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

fn texts(messages: &[Received]) -> Vec<String> {
    messages.iter().map(Received::text).collect()
}

fn session_error(result: Result<(), PeerError>) -> SessionError {
    match result {
        Err(PeerError::Session(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn refused(peer: &Peer, to: &ChannelName) -> String {
    match peer.send(to.clone(), "let me in").await {
        Err(SendError::Peer(PeerError::Session(error))) => error.to_string(),
        Ok(receipt) => soon(receipt.accepted()).await.unwrap_err().to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everybody_is_reached_and_nobody_else_reads() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let all = ChannelName::everyone();
    assert_eq!(say(&owner, &all, "canary-for-all").await, Some(2));
    for peer in [&ana, &ben] {
        let got = unread(peer, 1).await;
        assert_eq!(got[0].text(), "canary-for-all");
        assert_eq!(
            (got[0].kind, got[0].channel.as_ref()),
            (Kind::Channel, Some(&all))
        );
        assert!(got[0].from.verified && got[0].from.key == owner.key());
    }
    // Answers go where it was said.
    unread(&ana, 1).await[0].reply("heard").await.unwrap();
    let answer = &unread(&owner, 1).await[0];
    assert_eq!(
        (answer.text().as_str(), answer.channel.as_ref()),
        ("heard", Some(&all))
    );
    assert!(answer.reply_to.is_some());
    for file in mesh.data_files().unwrap() {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(14).any(|part| part == b"canary-for-all");
        assert!(!found, "{}", file.display());
    }
}

#[tokio::test]
async fn a_topic_reaches_its_members_only_and_waits_for_those_who_are_away() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#deploys", &owner, &[&ana]).await;
    let view = owner.channel(&name).await.unwrap();
    let members: Vec<PublicKey> = view.members.iter().map(|(key, _)| *key).collect();
    assert!(members.contains(&owner.key()) && members.contains(&ana.key()));
    assert_eq!(members.len(), 2);
    // Ana is away while it is said.
    let entry = ana.mesh().clone();
    ana.close(SOON).await;
    assert_eq!(say(&owner, &name, "one").await, Some(1));
    let receipt = owner.send(name.clone(), "two").await.unwrap();
    let ana = Peer::connect(&entry).await.unwrap();
    assert_eq!(texts(&unread(&ana, 2).await), ["one", "two"]);
    soon(receipt.delivered()).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(ben.unread(10).await.unwrap().is_empty());
    // Who is not in gets a clear answer, and says nothing.
    assert!(refused(&ben, &name).await.contains("not in #deploys"));
    // Who joins later reads from then on, also what comes from another than the maker.
    ben.join_channel(&name).await.unwrap();
    say(&ana, &name, "three").await;
    assert_eq!(texts(&unread(&ben, 1).await), ["three"]);
    say(&ben, &name, "four").await;
    assert_eq!(texts(&unread(&owner, 2).await), ["three", "four"]);
}

#[tokio::test]
async fn who_left_or_was_removed_reads_nothing_that_is_said_later() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#plans", &owner, &[&ana, &ben]).await;
    say(&owner, &name, "before").await;
    unread(&ana, 1).await;
    unread(&ben, 1).await;
    let epoch = owner.channel(&name).await.unwrap().epoch;
    ben.leave_channel(&name).await.unwrap();
    say(&owner, &name, "without ben").await;
    assert_eq!(texts(&unread(&ana, 2).await)[1], "without ben");
    let after = owner.channel(&name).await.unwrap();
    assert!(after.epoch > epoch && after.members.len() == 2);
    assert!(refused(&ben, &name).await.contains("not in #plans"));
    // Removed from the mesh altogether, ana is out of the topic, too.
    owner.remove(ana.key(), true).await.unwrap();
    out(&ana).await;
    say(&owner, &name, "alone").await;
    say(&owner, &ChannelName::everyone(), "two of us").await;
    assert_eq!(texts(&unread(&ben, 2).await)[1], "two of us");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        texts(&ana.unread(10).await.unwrap()),
        ["before", "without ben"]
    );
    assert_eq!(
        texts(&ben.unread(10).await.unwrap()),
        ["before", "two of us"]
    );
    let members = owner.channel(&name).await.unwrap().members;
    assert_eq!(members.len(), 1, "struck off its list: {members:?}");
}

#[tokio::test]
async fn a_private_topic_is_open_to_those_who_were_added_only() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = channel("#board");
    ana.create_channel(&name, false).await.unwrap();
    ben.sync().await.unwrap();
    let why = session_error(ben.join_channel(&name).await);
    assert!(
        matches!(
            why,
            SessionError::NotInChannel(_) | SessionError::ChannelLog(_)
        ),
        "{why}"
    );
    assert!(refused(&ben, &name).await.contains("not in #board"));
    ana.add_to_channel(&name, ben.key(), false).await.unwrap();
    say(&ana, &name, "welcome").await;
    assert_eq!(texts(&unread(&ben, 1).await), ["welcome"]);
    // A member adds nobody.
    session_error(ben.add_to_channel(&name, owner.key(), false).await);
    // The lead takes ben out again.
    ana.remove_from_channel(&name, ben.key()).await.unwrap();
    say(&ana, &name, "to myself").await;
    assert!(refused(&ben, &name).await.contains("not in #board"));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(texts(&ben.unread(10).await.unwrap()), ["welcome"]);
}

#[tokio::test]
async fn history_opens_for_those_who_were_there_and_says_why_for_others() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#log", &owner, &[&ana]).await;
    for n in 0..5 {
        say(&owner, &name, &format!("old {n}")).await;
    }
    ben.join_channel(&name).await.unwrap();
    say(&ana, &name, "new").await;
    let (said, more) = ana.channel_history(&name, None, 4).await.unwrap();
    let said: Vec<String> = said
        .iter()
        .map(|said| String::from_utf8(said.message.as_ref().unwrap().body.clone()).unwrap())
        .collect();
    assert_eq!(
        (said, more),
        (
            ["new", "old 4", "old 3", "old 2"]
                .map(String::from)
                .to_vec(),
            true
        )
    );
    let (said, more) = ben.channel_history(&name, None, 100).await.unwrap();
    assert_eq!((said.len(), more), (6, false));
    assert_eq!(said[0].message.as_ref().unwrap().body, b"new");
    for old in &said[1..] {
        let why = old.message.as_ref().unwrap_err();
        assert!(why.contains("not in the channel"), "{why}");
    }
    let (rest, _) = ben
        .channel_history(&name, Some(said[3].broker_id.clone()), 100)
        .await
        .unwrap();
    assert_eq!(rest.len(), 2);
    // A fresh start holds the keys still.
    let entry = ana.mesh().clone();
    ana.close(SOON).await;
    let ana = Peer::connect(&entry).await.unwrap();
    let (said, _) = ana.channel_history(&name, None, 100).await.unwrap();
    assert!(said.iter().all(|said| said.message.is_ok()));
}

#[tokio::test]
async fn what_is_said_without_a_connection_goes_out_under_the_key_of_then() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#offline", &owner, &[&ana, &ben]).await;
    say(&owner, &name, "hello").await;
    unread(&ana, 1).await;
    // The owner is away and writes; meanwhile ben is taken out.
    let entry = owner.mesh().clone();
    mesh.stop_broker().await.unwrap();
    let held = owner
        .send(name.clone(), "sealed for the members of later")
        .await
        .unwrap();
    let draft = owner
        .send(ChannelName::everyone(), "no key yet")
        .await
        .unwrap();
    owner.close(Duration::ZERO).await;
    let file = entry
        .data_dir()
        .map(|dir| std::fs::read(dir.join("peer.db")).unwrap());
    let plain = b"sealed for the members";
    let found = file.is_some_and(|bytes| bytes.windows(plain.len()).any(|part| part == plain));
    assert!(!found, "no plain text waits on the disk");
    mesh.start_broker().await.unwrap();
    soon(ben.connected_within(SOON)).await.unwrap();
    ben.leave_channel(&name).await.unwrap();
    let owner = Peer::connect(&entry).await.unwrap();
    owner.flush(SOON).await.unwrap();
    drop((held, draft));
    // To different targets there is no order.
    let mut got = texts(&unread(&ana, 3).await)[1..].to_vec();
    got.sort();
    assert_eq!(got, ["no key yet", "sealed for the members of later"]);
    assert_eq!(texts(&unread(&ben, 2).await)[1..], ["no key yet"]);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(ben.unread(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn devices_are_in_the_channels_of_their_person_and_fall_with_it() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#home", &owner, &[&ana]).await;
    let mut devices = Vec::new();
    for device in ["phone", "tablet", "watch"] {
        let link = ana.link_device(Duration::from_secs(600)).await.unwrap();
        let mut config = Config::load(mesh.config_dir(device)).unwrap();
        let entry = config.join(&link.issued.link(), device).await.unwrap();
        let peer = Peer::connect(&entry).await.unwrap();
        peer.connected_within(SOON).await.unwrap();
        devices.push(peer);
    }
    // The three, and ana, and the owner: four others.
    assert_eq!(say(&devices[0], &name, "from the phone").await, Some(4));
    for peer in [&owner, &ana, &devices[1], &devices[2]] {
        assert_eq!(unread(peer, 1).await[0].text(), "from the phone");
    }
    // Lost: the tablet is taken out, and reads nothing more.
    ana.remove(devices[1].key(), false).await.unwrap();
    out(&devices[1]).await;
    assert_eq!(say(&devices[2], &name, "without the tablet").await, Some(3));
    unread(&devices[0], 1).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(devices[1].unread(10).await.unwrap().len(), 1);
    assert!(ben.unread(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_who_speak_at_once_after_a_change_settle_on_one_key_and_lose_nothing() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#race", &owner, &[&ana, &ben]).await;
    let peers = [owner, ana, ben];
    for round in 0..3 {
        let receipts = futures_join(peers.iter().enumerate().map(|(n, peer)| {
            let name = name.clone();
            async move {
                let receipt = peer.send(name, format!("{round}/{n}")).await.unwrap();
                soon(receipt.accepted()).await.unwrap();
            }
        }));
        receipts.await;
    }
    for peer in &peers {
        assert_eq!(unread(peer, 6).await.len(), 6);
    }
    let epochs: Vec<u64> = {
        let mut epochs = Vec::new();
        for peer in &peers {
            epochs.push(peer.channel(&name).await.unwrap().epoch);
        }
        epochs
    };
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
}

async fn futures_join<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_is_made_joined_and_reached() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("@oncall", &ana, &[&ben]).await;
    assert_eq!(say(&ana, &name, "page").await, Some(1));
    assert_eq!(texts(&unread(&ben, 1).await), ["page"]);
    assert!(owner.unread(10).await.unwrap().is_empty());
    assert!(
        refused(&owner, &channel("@nobody"))
            .await
            .contains("no channel @nobody")
    );
    let target = owner.target("@oncall").await.unwrap();
    assert_eq!(target.channel(), Some(&name));
}

#[tokio::test]
async fn a_killed_broker_forgets_nothing_of_channels() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#durable", &owner, &[&ana]).await;
    let entry: MeshEntry = ana.mesh().clone();
    ana.close(SOON).await;
    say(&owner, &name, "kept").await;
    mesh.kill_broker().await.unwrap();
    mesh.start_broker().await.unwrap();
    let ana = Peer::connect(&entry).await.unwrap();
    assert_eq!(texts(&unread(&ana, 1).await), ["kept"]);
    soon(owner.connected_within(SOON)).await.unwrap();
    say(&ana, &name, "and goes on").await;
    assert_eq!(texts(&unread(&owner, 1).await), ["and goes on"]);
    assert_eq!(
        ana.channel_history(&name, None, 10).await.unwrap().0.len(),
        2
    );
    drop(ben);
}

#[tokio::test]
async fn a_change_is_told() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, _ben) = three(&mesh).await;
    let name = topic("#told", &owner, &[]).await;
    say(&owner, &name, "first").await;
    let mut events = owner.events();
    ana.sync().await.unwrap();
    ana.join_channel(&name).await.unwrap();
    let told = soon(async {
        loop {
            if let Some(Event::ChannelChanged { channel }) = events.next().await {
                return channel;
            }
        }
    });
    assert_eq!(told.await, name);
}

#[tokio::test]
async fn who_was_away_reads_in_the_order_it_was_said_over_changes_of_the_key() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = three(&mesh).await;
    let name = topic("#order", &owner, &[&ana]).await;
    say(&owner, &name, "0").await;
    unread(&ana, 1).await;
    let entry = ana.mesh().clone();
    ana.close(SOON).await;
    for round in 0..4 {
        for n in 1..4 {
            say(&owner, &name, &(round * 4 + n).to_string()).await;
        }
        // In and out: each is another key.
        if round % 2 == 0 {
            ben.join_channel(&name).await.unwrap();
        } else {
            ben.leave_channel(&name).await.unwrap();
        }
        say(&owner, &name, &(round * 4 + 4).to_string()).await;
    }
    let ana = Peer::connect(&entry).await.unwrap();
    let expected: Vec<String> = (0..=16).map(|n| n.to_string()).collect();
    assert_eq!(texts(&unread(&ana, 17).await), expected);
}
