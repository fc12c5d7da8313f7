//! A broker that is put back to an earlier state, a backup: its peers bring back what it lost, and
//! everything works for everybody again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::id::ChannelName;
use claudemesh_core::{
    Config, Event, Events, InviteOptions, Lie, MeshEntry, Peer, Received, Retry,
};
use support::{Raw, full_hello};

const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 20 s")
}

async fn peer_of(entry: &MeshEntry) -> Peer {
    let builder = Peer::builder(entry).retry(Retry::Every(50));
    let peer = builder.connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

async fn peer(mesh: &TestMesh, name: &str) -> Peer {
    peer_of(&mesh.member(name).await.unwrap()).await
}

async fn knows(peer: &Peer, members: usize) {
    soon(async {
        while peer.members().len() != members {
            let _ = peer.sync().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn told<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    soon(async {
        loop {
            let event = events.next().await.expect("the peer is there");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

/// How many entries of a log this peer gave back; of the mesh's log if there is no channel.
async fn reposted(events: &mut Events, of: Option<&ChannelName>) -> u64 {
    told(events, |event| match event {
        Event::RepostRefused { channel, reason } => panic!("{channel:?}: {reason}"),
        Event::Reposted { channel, entries } if channel.as_ref() == of => Some(entries),
        _ => None,
    })
    .await
}

async fn say(peer: &Peer, to: &ChannelName, text: &str) {
    let receipt = peer.send(to.clone(), text).await.unwrap();
    soon(receipt.accepted()).await.unwrap();
}

async fn texts(peer: &Peer, count: usize) -> Vec<String> {
    let unread = soon(async {
        loop {
            let unread = peer.unread(1_000).await.unwrap();
            if unread.len() >= count {
                return unread;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut texts: Vec<String> = unread.await.iter().map(Received::text).collect();
    texts.sort();
    texts
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

async fn backup(mesh: &TestMesh) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    mesh.stop_broker().await.unwrap();
    copy(mesh.data_dir(), folder.path());
    mesh.start_broker().await.unwrap();
    folder
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

#[tokio::test]
async fn what_was_lost_comes_back_and_all_goes_on() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = peer(&mesh, "owner").await;
    let (ana, ben) = (peer(&mesh, "ana").await, peer(&mesh, "ben").await);
    let dan = peer(&mesh, "dan").await;
    for one in [&owner, &ana, &ben, &dan] {
        knows(one, 4).await;
    }
    let (all, old, new) = (ChannelName::everyone(), channel("#old"), channel("#new"));
    ana.create_channel(&old, true).await.unwrap();
    for one in [&ben, &dan] {
        one.sync().await.unwrap();
        one.join_channel(&old).await.unwrap();
    }
    // Who removes somebody holds the logs from which it strikes them off.
    owner.sync().await.unwrap();
    owner.channel(&old).await.unwrap();
    say(&ana, &old, "a").await;
    say(&owner, &all, "b").await;
    owner.set_state("key", "before", None).await.unwrap();
    for one in [&ben, &dan] {
        texts(one, 2).await;
    }
    texts(&ana, 1).await;
    // Dan is away from here on.
    let dan_entry = dan.mesh().clone();
    dan.close(SOON).await;
    let folder = backup(&mesh).await;

    // All this will be lost at the broker.
    owner.connected_within(SOON).await.unwrap();
    let link = owner.invite(InviteOptions::default()).await.unwrap();
    let unused = link.issued.link();
    let cem = peer(&mesh, "cem").await;
    knows(&owner, 5).await;
    ana.connected_within(SOON).await.unwrap();
    knows(&ana, 5).await;
    owner.remove(ben.key(), false).await.unwrap();
    knows(&cem, 4).await;
    knows(&ana, 4).await;
    ana.create_channel(&new, false).await.unwrap();
    ana.add_to_channel(&new, cem.key(), false).await.unwrap();
    cem.sync().await.unwrap();
    // Only when the owner has struck off ben does the log of the topic hold for who comes late.
    soon(async {
        while cem.join_channel(&old).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    say(&ana, &new, "c").await;
    say(&cem, &old, "d").await;
    say(&owner, &all, "e").await;
    owner.set_state("key", "after", None).await.unwrap();
    let ana_to_dan = ana.send(dan_entry.pubkey(), "f").await.unwrap();
    soon(ana_to_dan.accepted()).await.unwrap();
    assert_eq!(texts(&cem, 2).await, ["c", "e"]);
    assert_eq!(texts(&ana, 3).await, ["b", "d", "e"]);
    assert_eq!(texts(&owner, 0).await, [""; 0]);

    let (mut at_owner, mut at_ana) = (owner.events(), ana.events());
    mesh.stop_broker().await.unwrap();
    copy(folder.path(), mesh.data_dir());
    // This was written down while nobody was there.
    let waiting = ana.send(cem.key(), "g").await.unwrap();
    let in_topic = ana.send(new.clone(), "h").await.unwrap();
    mesh.start_broker().await.unwrap();

    assert!(reposted(&mut at_owner, None).await >= 4);
    // That of the other topic is brought back by ana, its lead, or by the owner.
    assert!(reposted(&mut at_ana, Some(&new)).await >= 1);
    // Who joined is in by what it has, and who was removed is out.
    soon(cem.connected_within(SOON)).await.unwrap();
    let ben_entry = mesh.member("ben").await.unwrap();
    let mut raw = Raw::connect(&mesh).await;
    raw.prove(
        &full_hello(&mesh, ben_entry.key_pair()),
        ben_entry.key_pair(),
    )
    .await;
    let (error, ..) = raw.refused().await;
    assert_eq!(error["code"], "revoked");
    // What was not at its end arrives, once.
    soon(waiting.delivered()).await.unwrap();
    soon(in_topic.delivered()).await.unwrap();
    assert_eq!(texts(&cem, 4).await, ["c", "e", "g", "h"]);
    let dan = peer_of(&dan_entry).await;
    let got = texts(&dan, 5).await;
    assert_eq!(got, ["a", "b", "d", "e", "f"]);
    soon(ana_to_dan.delivered()).await.unwrap();
    // All can talk everywhere, also those who come only now.
    let eve = {
        let mut config = Config::in_memory();
        let entry = config.join(&unused, "eve").await.unwrap();
        peer_of(&entry).await
    };
    for one in [&owner, &ana, &cem, &dan, &eve] {
        knows(one, 5).await;
    }
    say(&eve, &all, "i").await;
    say(&cem, &new, "j").await;
    say(&dan, &old, "k").await;
    assert_eq!(texts(&dan, 6).await, ["a", "b", "d", "e", "f", "i"]);
    assert_eq!(texts(&cem, 6).await, ["c", "e", "g", "h", "i", "k"]);
    assert_eq!(texts(&ana, 6).await, ["b", "d", "e", "i", "j", "k"]);
    owner.set_state("key", "again", None).await.unwrap();
    let state = dan.state("key").await.unwrap().unwrap();
    assert_eq!(state.body.as_deref(), Ok("again"));
    let members = ana.channel(&new).await.unwrap().members.len();
    assert_eq!(members, 2);
    // It was told, at each of them.
    let caught = owner.lies().await.unwrap();
    assert!(caught.iter().any(|lie| lie.what.contains("membership log")));
}

#[tokio::test]
async fn two_admins_bring_it_back_at_once() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = (peer(&mesh, "owner").await, peer(&mesh, "ana").await);
    knows(&owner, 2).await;
    let admin = claudemesh_core::membership::Role::Admin;
    owner.set_role(ana.key(), admin).await.unwrap();
    ana.sync().await.unwrap();
    let folder = backup(&mesh).await;
    owner.connected_within(SOON).await.unwrap();
    for _ in 0..60 {
        let invite = InviteOptions::default();
        let id = owner.invite(invite).await.unwrap().id;
        owner.close_invite(id).await.unwrap();
    }
    ana.connected_within(SOON).await.unwrap();
    ana.sync().await.unwrap();
    let head = owner.log().unwrap().head();
    assert_eq!(ana.log().unwrap().head(), head);
    mesh.stop_broker().await.unwrap();
    copy(folder.path(), mesh.data_dir());
    let (mut at_owner, mut at_ana) = (owner.events(), ana.events());
    mesh.start_broker().await.unwrap();
    // Who comes first does most of it; who comes later may find nothing to do.
    let first = async {
        tokio::select! {
            entries = reposted(&mut at_owner, None) => entries,
            entries = reposted(&mut at_ana, None) => entries,
        }
    };
    assert!(first.await > 0);
    let ben = mesh.peer("ben").await.unwrap();
    ben.sync().await.unwrap();
    assert!(ben.log().unwrap().head().seq > head.seq);
    knows(&owner, 3).await;
    knows(&ana, 3).await;
    owner.sync().await.unwrap();
    assert_eq!(owner.log().unwrap().head(), ben.log().unwrap().head());
}

#[tokio::test]
async fn a_row_that_was_changed_in_the_file_is_found() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = peer(&mesh, "owner").await;
    let ana = peer(&mesh, "ana").await;
    let before = owner.audit(false).await.unwrap();
    assert_eq!(before.fault, None);
    say(&ana, &ChannelName::everyone(), "hello").await;
    // Reconnects, so that the newest head is pinned.
    mesh.drop_connection().await;
    knows(&owner, 2).await;
    let mut events = owner.events();
    mesh.stop_broker().await.unwrap();
    let conn = rusqlite::Connection::open(mesh.data_dir().join("broker.db")).unwrap();
    let changed = "UPDATE audit_log SET targetPeerId = 'ff' WHERE id =
                   (SELECT id FROM audit_log WHERE eventType = 'message_sent' LIMIT 1)";
    let rows = conn.execute(changed, []).unwrap();
    assert_eq!(rows, 1);
    drop(conn);
    mesh.start_broker().await.unwrap();
    owner.connected_within(SOON).await.unwrap();
    let report = owner.audit(false).await.unwrap();
    let fault = report.fault.expect("the row is not what it was");
    let told = told(&mut events, |event| match event {
        Event::LiedTo(Lie::AuditAltered(fault)) => Some(fault),
        _ => None,
    });
    assert_eq!(told.await, fault);
    // Taken as it is, the rest is checked from there.
    owner.accept_audit().await.unwrap();
}
