//! What a mesh keeps besides messages, between real peers over a real broker: sealed state,
//! memories, summaries, and messages that go out later.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::{Duration, SystemTime};

use broker_min::testing::TestMesh;
use claudemesh_core::id::ChannelName;
use claudemesh_core::session::{Lie, SessionError};
use claudemesh_core::{Connection, Event, Outgoing, Peer, PeerError, Received};

const SOON: Duration = Duration::from_secs(15);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
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

async fn two(mesh: &TestMesh) -> (Peer, Peer) {
    let owner = mesh.peer("owner").await.unwrap();
    let ana = mesh.peer("ana").await.unwrap();
    knows(&owner, 2).await;
    knows(&ana, 2).await;
    (owner, ana)
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

/// Copies the files of a folder into a new one, or into one that is emptied first.
fn copy(from: &Path, to: Option<&Path>) -> tempfile::TempDir {
    let new = tempfile::tempdir().unwrap();
    let to = to.unwrap_or(new.path());
    for entry in std::fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::remove_file(path).unwrap();
        }
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    new
}

fn nowhere(mesh: &TestMesh, text: &str) {
    for file in mesh.data_files().unwrap() {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes());
        assert!(!found, "{} has {text}", file.display());
    }
}

#[tokio::test]
async fn state_is_sealed_versioned_and_read_by_all_members() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    assert_eq!(owner.state("deploy.lock").await.unwrap(), None);
    let first = owner
        .set_state("deploy.lock", "\"canary-state\"", None)
        .await
        .unwrap();
    assert_eq!(first, 1);
    let read = ana.state("deploy.lock").await.unwrap().unwrap();
    assert_eq!(read.body.as_deref(), Ok("\"canary-state\""));
    assert!(read.verified && read.protected && read.newest);
    assert_eq!(
        (read.writer, read.writer_name.as_str(), read.version),
        (Some(owner.key()), "owner", 1)
    );
    // Who decided by an old version is told so, and nothing is lost.
    assert_eq!(
        ana.set_state("deploy.lock", "\"two\"", Some(1))
            .await
            .unwrap(),
        2
    );
    let late = owner.set_state("deploy.lock", "\"three\"", Some(1)).await;
    assert!(
        matches!(
            late,
            Err(PeerError::Session(SessionError::StateConflict {
                current: 2
            }))
        ),
        "{late:?}"
    );
    assert_eq!(
        owner
            .set_state("deploy.lock", "\"four\"", None)
            .await
            .unwrap(),
        3
    );
    ana.set_state("other", "1", Some(0)).await.unwrap();
    let all = ana.list_state().await.unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|one| (one.name.as_str(), one.body.as_deref().unwrap()))
        .collect();
    assert_eq!(shown, [("deploy.lock", "\"four\""), ("other", "1")]);
    nowhere(&mesh, "canary-state");
}

#[tokio::test]
async fn who_comes_later_reads_what_was_there_and_who_is_out_reads_nothing_new() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    owner.set_state("a", "1", None).await.unwrap();
    // Ben comes, and the key is renewed for him by one of those who are online; twice.
    let ben = mesh.peer("ben").await.unwrap();
    assert_eq!(
        soon(ben.state("a")).await.unwrap().unwrap().body.as_deref(),
        Ok("1")
    );
    let cleo = mesh.peer("cleo").await.unwrap();
    assert_eq!(
        soon(cleo.state("a"))
            .await
            .unwrap()
            .unwrap()
            .body
            .as_deref(),
        Ok("1")
    );
    // Cleo writes under the newest key; all read.
    cleo.set_state("b", "2", None).await.unwrap();
    for peer in [&owner, &ana, &ben] {
        assert_eq!(
            soon(peer.state("b"))
                .await
                .unwrap()
                .unwrap()
                .body
                .as_deref(),
            Ok("2")
        );
    }
    // Ana is out: what is written now is sealed under a key that she has no copy of.
    owner.remove(ana.key(), true).await.unwrap();
    soon(async {
        while !matches!(ana.connection(), Connection::Removed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let epoch = |peer: Peer| async move {
        peer.channel(&ChannelName::new("$state").unwrap())
            .await
            .unwrap()
            .epoch
    };
    let before = epoch(owner.clone()).await;
    owner.set_state("c", "3", None).await.unwrap();
    assert!(epoch(owner.clone()).await >= before);
    assert_eq!(
        soon(ben.state("c")).await.unwrap().unwrap().body.as_deref(),
        Ok("3")
    );
    // What ana wrote stays, marked.
    let of_cleo = ben.state("b").await.unwrap().unwrap();
    assert!(of_cleo.verified);
}

#[tokio::test]
async fn what_was_written_by_somebody_who_is_out_is_marked() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    ana.set_state("by.ana", "true", None).await.unwrap();
    assert!(owner.state("by.ana").await.unwrap().unwrap().verified);
    owner.remove(ana.key(), true).await.unwrap();
    let read = owner.state("by.ana").await.unwrap().unwrap();
    assert_eq!((read.body.as_deref(), read.verified), (Ok("true"), false));
}

#[tokio::test]
async fn memories_are_sealed_found_by_their_words_and_forgotten() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    let id = owner
        .remember(
            "The production database is canary-pg16",
            vec!["infra".into()],
        )
        .await
        .unwrap();
    ana.remember("Deploys go out on Tuesdays", vec![])
        .await
        .unwrap();
    let found = ana.recall("canary-PG16 infra").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].name.as_str(), found[0].writer_name.as_str()),
        (id.as_str(), "owner")
    );
    assert!(found[0].verified && found[0].protected);
    assert_eq!(owner.recall("").await.unwrap().len(), 2);
    assert!(owner.recall("wednesday").await.unwrap().is_empty());
    nowhere(&mesh, "canary-pg16");
    // Another member forgets nobody's memory but its own.
    assert!(ana.forget(&id).await.is_err());
    owner.forget(&id).await.unwrap();
    assert_eq!(ana.recall("").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_summary_is_read_by_members_only() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    ana.set_summary("reviewing canary-42").await.unwrap();
    soon(async {
        loop {
            let peers = owner.peers().await.unwrap();
            let shown = peers
                .iter()
                .find(|peer| peer.key == ana.key())
                .and_then(|p| p.summary.clone());
            if shown.as_deref() == Some("reviewing canary-42") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    nowhere(&mesh, "canary-42");
}

#[tokio::test]
async fn a_message_goes_out_later_while_its_author_is_away() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    // Nobody takes what is due more than ten minutes from now by its own clock.
    let in_five_minutes = SystemTime::now() + Duration::from_secs(300);
    let kept = owner
        .schedule("ana", Outgoing::text("canary-later"), in_five_minutes)
        .await
        .unwrap();
    let again = owner
        .schedule("ana", Outgoing::text("never"), in_five_minutes)
        .await
        .unwrap();
    let listed = owner.schedules().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(owner.cancel_schedule(&again.id).await.unwrap());
    assert!(!owner.cancel_schedule(&again.id).await.unwrap());
    assert!(ana.schedules().await.unwrap().is_empty());
    assert!(!ana.cancel_schedule(&kept.id).await.unwrap());
    owner.close(SOON).await;
    nowhere(&mesh, "canary-later");
    mesh.advance(Duration::from_secs(302));
    let got = unread(&ana, 1).await;
    assert_eq!(
        (got[0].text().as_str(), got[0].from.verified),
        ("canary-later", true)
    );
}

#[tokio::test]
async fn what_comes_again_is_sealed_for_its_author_and_sent_by_it() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    let every_minute = owner
        .schedule_cron("ana", Outgoing::text("canary-stand-up"), "* * * * *")
        .await
        .unwrap();
    assert_eq!(every_minute.cron.as_deref(), Some("* * * * *"));
    let wrong = owner
        .schedule_cron("ana", Outgoing::text("x"), "every day")
        .await;
    assert!(wrong.is_err());
    nowhere(&mesh, "canary-stand-up");
    mesh.advance(Duration::from_secs(61));
    assert_eq!(unread(&ana, 1).await[0].text(), "canary-stand-up");
    assert!(owner.cancel_schedule(&every_minute.id).await.unwrap());
}

#[tokio::test]
async fn a_rolled_back_value_is_noticed() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = two(&mesh).await;
    owner.set_state("k", "1", None).await.unwrap();
    ana.state("k").await.unwrap();
    mesh.stop_broker().await.unwrap();
    let backup = copy(mesh.data_dir(), None);
    mesh.start_broker().await.unwrap();
    soon(owner.connected_within(SOON)).await.unwrap();
    owner.set_state("k", "2", None).await.unwrap();
    assert_eq!(ana.state("k").await.unwrap().unwrap().version, 2);
    let mut events = ana.events();
    mesh.stop_broker().await.unwrap();
    copy(backup.path(), Some(mesh.data_dir()));
    mesh.start_broker().await.unwrap();
    soon(ana.connected_within(SOON)).await.unwrap();
    let read = ana.state("k").await.unwrap().unwrap();
    assert_eq!((read.version, read.newest), (1, false));
    soon(async {
        loop {
            if let Some(Event::LiedTo(Lie::ValueRollback { held, shown, .. })) = events.next().await
            {
                assert_eq!((held, shown), (2, 1));
                return;
            }
        }
    })
    .await;
}
