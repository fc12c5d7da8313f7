//! The membership log: extended, never taken back, never replaced.

use claudemesh_core::id::Hash;
use claudemesh_core::membership::{Body, Head};
use claudemesh_core::session::{Command, Event, Lie, Reply, SessionError};
use claudemesh_core::store::{PeerStore, Query, Rows};
use claudemesh_core::wire::{
    ClientFrame, ErrorFrame, LogAppend, LogAppended, LogEntries, LogHead, errors::code,
};

use crate::support::*;

fn kept(rig: &Rig) -> usize {
    match rig.store.read(&Query::Log {
        from: 0,
        limit: 1_000,
    }) {
        Ok(Rows::Log(rows)) => rows.len(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn told(rig: &Rig) -> Vec<Lie> {
    let lies = rig.events.iter().filter_map(|event| match event {
        Event::LiedTo(lie) => Some(lie.clone()),
        _ => None,
    });
    lies.collect()
}

/// A new connection on which the broker shows this head.
pub(crate) fn shown(rig: &mut Rig, head: Option<LogHead>) {
    rig.broken();
    rig.forget();
    rig.dial();
    let mut ack = rig.hello_ack();
    ack.log_head = head;
    rig.frame(ack);
}

fn page(rig: &mut Rig, from: u64, mesh: &Mesh) {
    let get = rig.log_gets().pop().unwrap();
    rig.frame(LogEntries {
        from,
        entries: mesh.entries[from as usize..].iter().map(blob).collect(),
        head: mesh.head(),
        req_id: get.req_id,
        ..LogEntries::default()
    });
}

pub(crate) fn appends(rig: &Rig) -> Vec<LogAppend> {
    let appends = rig.sent.iter().filter_map(|frame| match frame {
        ClientFrame::LogAppend(append) => Some(append.clone()),
        _ => None,
    });
    appends.collect()
}

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

#[test]
fn an_extension_is_taken_and_kept() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    grown.join(4);
    shown(&mut rig, Some(grown.head()));
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    assert_eq!(kept(&rig), grown.entries.len());
    assert!(
        rig.events
            .iter()
            .any(|e| matches!(e, Event::MemberJoined { key: k, .. } if *k == key(4)))
    );
    // Live, one entry at a time.
    let removed = grown.remove(ANA, 4);
    rig.frame(LogAppended {
        head: grown.head(),
        entry: Some(blob(&removed)),
        ..LogAppended::default()
    });
    assert_eq!(kept(&rig), grown.entries.len());
    assert!(rig.events.contains(&Event::MemberRemoved { key: key(4) }));
}

#[test]
fn entries_that_the_store_did_not_take_are_kept_later() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    rig.writes_fail = true;
    for seed in [110, 111] {
        grown.invite(seed);
        let entry = grown.entries.last().map(blob);
        rig.frame(LogAppended {
            head: grown.head(),
            entry,
            ..LogAppended::default()
        });
        rig.writes_fail = false;
    }
    assert_eq!(rig.session.membership().unwrap().head(), grown.log.head());
    rig.pass(5_000);
    assert_eq!(kept(&rig), grown.entries.len());
}

#[test]
fn a_shorter_log_is_told_and_not_taken() {
    let mut rig = rig();
    let held = rig.mesh.entries.len() as u64;
    let shorter = Mesh::new(&[BEN]);
    shown(&mut rig, Some(shorter.head()));
    assert_eq!(
        told(&rig),
        [Lie::LogRollback {
            held,
            shown: shorter.entries.len() as u64
        }]
    );
    assert_eq!(
        rig.session.membership().unwrap().head(),
        rig.mesh.log.head()
    );
    shown(&mut rig, None);
    assert_eq!(told(&rig), [Lie::LogMissing]);
    // Also on a connection that stands.
    let head = rig.mesh.head();
    shown(&mut rig, Some(head));
    rig.command(Command::SyncLog);
    page(&mut rig, 0, &shorter);
    assert_eq!(
        told(&rig),
        [Lie::LogRollback {
            held,
            shown: shorter.entries.len() as u64
        }]
    );
}

#[test]
fn another_log_is_told_and_stops_appends() {
    let mut rig = rig();
    let mut other = Mesh::new(&[BEN]);
    other.invite(120);
    other.invite(121);
    other.invite(122);
    shown(&mut rig, Some(other.head()));
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &other);
    assert_eq!(told(&rig), [Lie::LogFork { seq: from }]);
    assert_eq!(
        rig.session.membership().unwrap().head(),
        rig.mesh.log.head()
    );
    let close = Body::InviteClosed {
        invite: Hash([1; 32]),
    };
    let append = rig.command(Command::Append {
        body: close,
        invite_token: None,
    });
    assert!(matches!(
        rig.answer(append),
        Some(Err(SessionError::LogUnusable(_)))
    ));
    let mut rig = self::rig();
    let mut head = rig.mesh.head();
    head.hash = Hash([1; 32]).to_hex();
    let seq = head.seq;
    shown(&mut rig, Some(head));
    assert_eq!(told(&rig), [Lie::LogFork { seq }]);
}

#[test]
fn an_invalid_entry_is_told_and_not_taken() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    let mut entry = grown.join(4);
    entry.signature.0[0] ^= 1;
    *grown.entries.last_mut().unwrap() = entry;
    shown(&mut rig, Some(grown.head()));
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    assert!(matches!(told(&rig).as_slice(), [Lie::BadEntry(_)]));
    // The invite before it was right.
    assert_eq!(kept(&rig), grown.entries.len() - 1);
}

#[test]
fn an_append_is_signed_anew_after_a_conflict() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    let body = Body::MemberRemoved {
        key: key(CEM),
        close_all: false,
    };
    let command = rig.command(Command::Append {
        body,
        invite_token: None,
    });
    let first = appends(&rig).pop().unwrap();
    grown.invite(120);
    let mut conflict = ErrorFrame::new(code::LOG_CONFLICT, "grown");
    conflict.req_id = first.req_id;
    rig.frame(conflict);
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    let second = appends(&rig).pop().unwrap();
    assert_ne!(second.entry, first.entry);
    grown.remove(ANA, CEM);
    rig.frame(LogAppended {
        head: grown.head(),
        req_id: second.req_id,
        ..LogAppended::default()
    });
    let Some(Ok(Reply::Appended { seq, .. })) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    assert_eq!(*seq, grown.log.head().seq);
    assert_eq!(kept(&rig), grown.entries.len());
}

#[test]
fn an_append_that_nobody_answers_is_looked_for() {
    let mut rig = rig();
    let body = Body::MemberRemoved {
        key: key(CEM),
        close_all: false,
    };
    let command = rig.command(Command::Append {
        body,
        invite_token: None,
    });
    rig.pass(10_000);
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Timeout)));
    assert_eq!(rig.log_gets().len(), 1);
}

#[test]
fn a_member_can_leave() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN, CEM]), BEN);
    let body = Body::MemberRemoved {
        key: key(BEN),
        close_all: false,
    };
    let command = rig.command(Command::Append {
        body,
        invite_token: None,
    });
    let append = appends(&rig).pop().unwrap();
    let mut grown = rig.mesh.clone();
    grown.remove(BEN, BEN);
    rig.frame(LogAppended {
        head: grown.head(),
        req_id: append.req_id,
        ..LogAppended::default()
    });
    assert!(matches!(
        rig.answer(command),
        Some(Ok(Reply::Appended { .. }))
    ));
    assert!(
        rig.events
            .iter()
            .any(|e| matches!(e, Event::Removed { .. }))
    );
    assert_eq!(kept(&rig), grown.entries.len());
}

/// The head of a mesh, as its members name it in messages.
fn head(mesh: &Mesh) -> Head {
    let head = mesh.head();
    let hash = head.hash().unwrap();
    Head {
        seq: head.seq,
        hash,
    }
}

#[test]
fn what_a_member_knows_and_the_broker_does_not_show_is_told() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    grown.remove(ANA, CEM);
    let claim = Some(head(&grown));
    rig.forget();
    rig.frame(push_with(&rig.mesh, BEN, ANA, "newer", NOW, claim));
    assert_eq!(rig.log_gets().len(), 1, "it is asked for at once");
    assert_eq!(rig.inbox().len(), 1, "a claim stops nothing");
    let held = rig.mesh.clone();
    page(&mut rig, held.head().seq, &held);
    rig.pass(15_000);
    assert!(told(&rig).is_empty());
    page(&mut rig, held.head().seq, &held);
    rig.pass(15_000);
    let (peer, seq) = (key(BEN), grown.head().seq);
    assert_eq!(told(&rig), [Lie::LogWithheld { peer, seq }]);
    rig.frame(push_with(&rig.mesh, BEN, ANA, "again", NOW, claim));
    rig.pass(60_000);
    assert_eq!(told(&rig).len(), 1, "once a connection");
}

#[test]
fn what_a_member_knows_is_fetched() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    grown.remove(ANA, CEM);
    let claim = Some(head(&grown));
    rig.forget();
    rig.frame(push_with(&rig.mesh, BEN, ANA, "newer", NOW, claim));
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    assert_eq!(kept(&rig), grown.entries.len());
    rig.pass(60_000);
    assert!(told(&rig).is_empty());
}

#[test]
fn a_member_with_another_log_is_told_of() {
    let mut rig = rig();
    let mut other = head(&rig.mesh);
    other.hash = Hash([7; 32]);
    rig.frame(push_with(&rig.mesh, BEN, ANA, "other", NOW, Some(other)));
    let (peer, seq) = (key(BEN), other.seq);
    assert_eq!(told(&rig), [Lie::HeadMismatch { peer, seq }]);
    assert_eq!(rig.inbox().len(), 1);
    // Somebody ahead whose entry turns out another one.
    let mut grown = rig.mesh.clone();
    grown.remove(ANA, BEN);
    let mut ahead = head(&grown);
    ahead.hash = Hash([8; 32]);
    rig.frame(push_with(&rig.mesh, CEM, ANA, "ahead", NOW, Some(ahead)));
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    let (peer, seq) = (key(CEM), ahead.seq);
    assert_eq!(told(&rig)[1], Lie::HeadMismatch { peer, seq });
}

#[test]
fn an_append_is_given_up_after_five_conflicts() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    let body = Body::MemberRemoved {
        key: key(CEM),
        close_all: false,
    };
    let invite_token = None;
    let command = rig.command(Command::Append { body, invite_token });
    for turn in 0..5 {
        assert_eq!(rig.answer(command), None);
        let append = appends(&rig).pop().unwrap();
        rig.sent.clear();
        grown.invite(130 + turn);
        let mut conflict = ErrorFrame::new(code::LOG_CONFLICT, "grown");
        conflict.req_id = append.req_id;
        rig.frame(conflict);
        assert_eq!(rig.show_log(&grown), usize::from(turn < 4));
    }
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Contention)));
    assert!(appends(&rig).is_empty());
}

#[test]
fn whoever_waits_for_the_log_is_told_when_the_connection_is_gone() {
    let mut rig = rig();
    let sync = rig.command(Command::SyncLog);
    let body = Body::MemberRemoved {
        key: key(CEM),
        close_all: false,
    };
    let invite_token = None;
    let append = rig.command(Command::Append { body, invite_token });
    assert!(
        appends(&rig).is_empty(),
        "it would be signed for an old end"
    );
    rig.broken();
    for command in [sync, append] {
        let answer = rig.answer(command);
        assert!(matches!(answer, Some(Err(SessionError::NotConnected(_)))));
    }
    rig.forget();
    rig.reconnect();
    assert!(appends(&rig).is_empty(), "nobody waits for it any more");
}

#[test]
fn an_entry_out_of_turn_is_asked_for_and_an_old_one_is_not() {
    let mut rig = rig();
    rig.forget();
    let mut grown = rig.mesh.clone();
    let held = grown.entries.len() as u64 - 1;
    grown.invite(130);
    grown.invite(131);
    let news = |seq: u64| LogAppended {
        head: LogHead::new(seq, &grown.entries[seq as usize].hash()),
        entry: Some(blob(&grown.entries[seq as usize])),
        ..LogAppended::default()
    };
    rig.frame(news(held - 1));
    rig.frame(news(held));
    assert!(rig.log_gets().is_empty());
    assert!(told(&rig).is_empty());
    rig.frame(news(held + 2));
    assert_eq!(rig.log_gets().len(), 1);
    // Until the answer nobody asks twice.
    rig.frame(news(held + 2));
    rig.command(Command::SyncLog);
    assert_eq!(rig.log_gets().len(), 1);
    let from = rig.log_gets()[0].from;
    page(&mut rig, from, &grown);
    assert_eq!(kept(&rig), grown.entries.len());
    assert!(told(&rig).is_empty());
}

#[test]
fn a_log_that_comes_in_pages_is_fetched_to_its_end_and_no_further() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    let held = grown.entries.len();
    for seed in 130..136 {
        grown.invite(seed);
    }
    rig.forget();
    let command = rig.command(Command::SyncLog);
    for end in [held + 2, held + 4, held + 6] {
        assert_eq!(rig.answer(command), None);
        let get = rig.log_gets().pop().unwrap();
        rig.sent.clear();
        rig.frame(LogEntries {
            from: get.from,
            entries: grown.entries[get.from as usize..end]
                .iter()
                .map(blob)
                .collect(),
            head: grown.head(),
            req_id: get.req_id,
            ..LogEntries::default()
        });
        assert_eq!(kept(&rig), end);
    }
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Done)));
    assert!(rig.log_gets().is_empty());
    // Newer entries that are named and never shown.
    let command = rig.command(Command::SyncLog);
    let get = rig.log_gets().pop().unwrap();
    rig.sent.clear();
    let mut head = grown.head();
    head.seq += 5;
    rig.frame(LogEntries {
        from: get.from,
        entries: grown.entries[get.from as usize..]
            .iter()
            .map(blob)
            .collect(),
        head,
        req_id: get.req_id,
        ..LogEntries::default()
    });
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::LogUnusable(_)))
    ));
    assert!(rig.log_gets().is_empty());
}

fn ahead(mesh: &Mesh, by: u64) -> Head {
    Head {
        seq: mesh.head().seq + by,
        hash: Hash([7; 32]),
    }
}

/// The broker shows what is held once more, as often as it is asked.
fn shows_the_same(rig: &mut Rig) {
    let mesh = rig.mesh.clone();
    while rig.show_log(&mesh) > 0 {}
}

#[test]
fn how_long_a_broker_may_hold_back_runs_from_the_first_who_knows_more() {
    let mut rig = rig();
    rig.session.log_patience(4_000);
    let mesh = rig.mesh.clone();
    for (number, by) in [1, 3, 2].into_iter().enumerate() {
        let claim = Some(ahead(&mesh, by));
        rig.frame(push_with(
            &mesh,
            BEN,
            ANA,
            &format!("c{number}"),
            NOW,
            claim,
        ));
        shows_the_same(&mut rig);
        rig.pass(600);
    }
    rig.pass(199);
    assert!(told(&rig).is_empty());
    rig.pass(1);
    shows_the_same(&mut rig);
    rig.pass(1_999);
    shows_the_same(&mut rig);
    assert!(told(&rig).is_empty());
    rig.pass(1);
    let (peer, seq) = (key(BEN), mesh.head().seq + 3);
    assert_eq!(told(&rig), [Lie::LogWithheld { peer, seq }]);
}

#[test]
fn a_connection_that_is_gone_holds_nothing_back() {
    let mut rig = rig();
    rig.session.log_patience(4_000);
    let mesh = rig.mesh.clone();
    let claim = Some(ahead(&mesh, 1));
    rig.frame(push_with(&mesh, BEN, ANA, "claim", NOW, claim));
    rig.broken();
    rig.reconnect();
    shows_the_same(&mut rig);
    rig.pass(60_000);
    assert!(told(&rig).is_empty());
}
