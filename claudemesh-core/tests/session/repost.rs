//! What a broker has lost of the mesh's log: who brings it back, in which order, and when not.

use claudemesh_core::id::Hash;
use claudemesh_core::membership::{Body, Role};
use claudemesh_core::session::{Command, Event, In, Lie, Out, Reply};
use claudemesh_core::store::{Query, SendState};
use claudemesh_core::wire::{LogAppend, LogAppended, LogEntries, LogHead, errors::code};

use super::logs::{appends, shown, told};
use crate::support::*;

/// A mesh whose log is longer than what is loaded at a time, twice.
fn long() -> Mesh {
    let mut mesh = Mesh::new(&[BEN, CEM]);
    for seed in 110..=250 {
        mesh.invite(seed);
    }
    mesh
}

fn head_at(mesh: &Mesh, seq: usize) -> LogHead {
    LogHead::new(seq as u64, &mesh.entries[seq].hash())
}

/// A peer whose broker shows the log only up to this entry.
fn lost_after(mesh: &Mesh, member: u8, seq: usize) -> Rig {
    let mut rig = Rig::connected(mesh, member);
    shown(&mut rig, Some(head_at(mesh, seq)));
    rig
}

/// The appends since the last look.
fn asked(rig: &mut Rig) -> Vec<LogAppend> {
    let asked = appends(rig);
    rig.sent.clear();
    asked
}

fn taken(rig: &mut Rig, append: &LogAppend, seq: usize) {
    rig.frame(LogAppended {
        head: head_at(&rig.mesh, seq),
        req_id: append.req_id.clone(),
        ..LogAppended::default()
    });
}

fn refuse(rig: &mut Rig, append: &LogAppend, code: &str, retry_after_ms: Option<u64>) {
    rig.refuse(append.req_id.as_ref(), code, retry_after_ms);
}

/// Answers what is asked, one entry after the other, until nothing more is.
fn take_all(rig: &mut Rig, first: usize) -> usize {
    let mut next = first;
    let mut open = asked(rig);
    while !open.is_empty() {
        for append in std::mem::take(&mut open) {
            assert_eq!(append.entry, blob(&rig.mesh.entries[next]));
            taken(rig, &append, next);
            next += 1;
            open.extend(asked(rig));
        }
    }
    next
}

fn reposted(rig: &Rig) -> Vec<u64> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Reposted {
            channel: None,
            entries,
        } => Some(*entries),
        _ => None,
    });
    told.collect()
}

fn given_up(rig: &Rig) -> Vec<String> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::RepostRefused {
            channel: None,
            reason,
        } => Some(reason.clone()),
        _ => None,
    });
    told.collect()
}

/// The broker answers the question for its log: it still ends after this entry.
fn log_ends(rig: &mut Rig, seq: usize) {
    let get = rig.log_gets().pop().unwrap();
    rig.sent.clear();
    rig.frame(LogEntries {
        from: get.from,
        head: head_at(&rig.mesh, seq),
        req_id: get.req_id,
        ..LogEntries::default()
    });
}

#[test]
fn what_the_broker_lost_is_given_back_in_order_sixteen_at_a_time() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    let held = mesh.entries.len() as u64;
    assert_eq!(told(&rig), [Lie::LogRollback { held, shown: 3 }]);
    let first = asked(&mut rig);
    let entries: Vec<_> = first.iter().map(|append| append.entry.clone()).collect();
    let missing: Vec<_> = mesh.entries[3..19].iter().map(blob).collect();
    assert_eq!(entries, missing);
    // Nothing new is signed beside it: it could not follow the broker's end.
    let invite = Body::InviteClosed {
        invite: mesh.entries.last().unwrap().hash(),
    };
    let command = rig.command(Command::Append {
        body: invite,
        invite_token: None,
    });
    assert!(asked(&mut rig).is_empty());
    for (append, seq) in first.iter().zip(3..) {
        taken(&mut rig, append, seq);
        assert_eq!(asked(&mut rig)[0].entry, blob(&mesh.entries[seq + 16]));
    }
    assert_eq!(reposted(&rig), [0_u64; 0], "not before all of it is there");
    assert_eq!(rig.answer(command), None);
}

#[test]
fn all_of_it_is_told_once_and_then_the_log_goes_on() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    let body = Body::InviteClosed {
        invite: mesh.entries[5].hash(),
    };
    let invite_token = None;
    let command = rig.command(Command::Append { body, invite_token });
    let mut next = 3;
    let mut open: std::collections::VecDeque<_> = asked(&mut rig).into();
    while next < mesh.entries.len() {
        let append = open.pop_front().unwrap();
        assert_eq!(append.entry, blob(&mesh.entries[next]));
        assert!(reposted(&rig).is_empty());
        taken(&mut rig, &append, next);
        open.extend(asked(&mut rig));
        next += 1;
    }
    assert_eq!(reposted(&rig), [mesh.entries.len() as u64 - 3]);
    // What waited for it follows now.
    let append = open.pop_front().unwrap();
    assert!(open.is_empty());
    let mut grown = mesh.clone();
    grown.say(
        ANA,
        None,
        Body::InviteClosed {
            invite: mesh.entries[5].hash(),
        },
    );
    rig.frame(LogAppended {
        head: grown.head(),
        req_id: append.req_id,
        ..LogAppended::default()
    });
    assert!(matches!(
        rig.answer(command),
        Some(Ok(Reply::Appended { seq, .. })) if *seq == grown.log.head().seq
    ));
    assert!(given_up(&rig).is_empty());
}

#[test]
fn entries_are_read_from_the_store_a_page_at_a_time() {
    let mesh = long();
    let mut rig = Rig::connected(&mesh, ANA);
    rig.slow_store = true;
    shown(&mut rig, Some(head_at(&mesh, 2)));
    let loads = |rig: &Rig| -> Vec<(u64, u32)> {
        let loads = rig.waiting.iter().filter_map(|out| match out {
            Out::Load(_, Query::Log { from, limit }) => Some((*from, *limit)),
            _ => None,
        });
        loads.collect()
    };
    assert_eq!(loads(&rig), [(3, 64)]);
    let mut pages = vec![];
    let mut next = 3;
    while next < mesh.entries.len() {
        assert!(loads(&rig).len() <= 1, "never two beside each other");
        pages.extend(loads(&rig));
        rig.store_all();
        for append in asked(&mut rig) {
            assert_eq!(append.entry, blob(&mesh.entries[next]));
            taken(&mut rig, &append, next);
            next += 1;
        }
    }
    rig.store_all();
    pages.dedup();
    assert_eq!(pages, [(3, 64), (67, 64), (131, 64)]);
    assert_eq!(reposted(&rig), [mesh.entries.len() as u64 - 3]);
}

#[test]
fn what_was_read_for_a_connection_that_is_gone_is_not_given() {
    let mesh = long();
    let mut rig = Rig::connected(&mesh, ANA);
    rig.slow_store = true;
    shown(&mut rig, Some(head_at(&mesh, 40)));
    let stale: Vec<Out> = rig.waiting.drain(..).collect();
    // The next one has lost more.
    shown(&mut rig, Some(head_at(&mesh, 2)));
    let fresh: Vec<Out> = rig.waiting.drain(..).collect();
    rig.sent.clear();
    rig.waiting.extend(stale);
    rig.store_all();
    assert!(asked(&mut rig).is_empty());
    rig.waiting.extend(fresh);
    rig.store_all();
    assert_eq!(asked(&mut rig)[0].entry, blob(&mesh.entries[3]));
}

#[test]
fn a_broker_that_is_busy_is_asked_again_after_the_time_it_names() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    let open = asked(&mut rig);
    taken(&mut rig, &open[0], 3);
    let more = asked(&mut rig);
    refuse(&mut rig, &open[1], code::BUSY, Some(20_000));
    // What was on its way behind it is refused for its sake.
    for append in open[2..].iter().chain(&more) {
        assert!(given_up(&rig).is_empty());
        refuse(&mut rig, append, code::FORBIDDEN, None);
    }
    assert!(asked(&mut rig).is_empty());
    // The socket lives, or the silence would end it.
    rig.put(In::Alive);
    rig.pass(19_999);
    assert!(rig.log_gets().is_empty());
    rig.pass(501);
    log_ends(&mut rig, 3);
    assert_eq!(take_all(&mut rig, 4), mesh.entries.len());
    let entries = mesh.entries.len() as u64 - 3;
    assert_eq!(reposted(&rig), [entries], "with what was given before");
    assert_eq!(told(&rig).len(), 1, "it is told of once");
}

#[test]
fn pauses_grow_and_after_five_without_any_progress_it_is_given_up() {
    for code in [
        code::LOG_CONFLICT,
        code::RATE_LIMIT,
        code::STORE_UNAVAILABLE,
    ] {
        let mesh = long();
        let mut rig = lost_after(&mesh, ANA, 2);
        for tries in 0..5 {
            for append in asked(&mut rig) {
                refuse(&mut rig, &append, code, None);
            }
            assert!(given_up(&rig).is_empty());
            rig.pass((500 << tries) - 1);
            assert!(rig.log_gets().is_empty(), "{code} {tries}");
            rig.pass(501);
            log_ends(&mut rig, 2);
        }
        for append in asked(&mut rig) {
            refuse(&mut rig, &append, code, None);
        }
        let reasons = given_up(&rig);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains(code), "{reasons:?}");
        // Not on this connection any more.
        rig.command(Command::SyncLog);
        log_ends(&mut rig, 2);
        assert!(asked(&mut rig).is_empty());
        shown(&mut rig, Some(head_at(&mesh, 2)));
        assert_eq!(take_all(&mut rig, 3), mesh.entries.len());
    }
}

#[test]
fn with_some_progress_each_time_it_is_never_given_up() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    for known in 3..13 {
        let open = asked(&mut rig);
        taken(&mut rig, &open[0], known);
        let more = asked(&mut rig);
        for append in open[1..].iter().chain(&more) {
            refuse(&mut rig, append, code::BUSY, None);
        }
        rig.pass(1_000);
        log_ends(&mut rig, known);
    }
    assert!(given_up(&rig).is_empty());
    assert_eq!(take_all(&mut rig, 13), mesh.entries.len());
    assert_eq!(reposted(&rig), [mesh.entries.len() as u64 - 3]);
}

#[test]
fn entries_that_nobody_answers_for_are_looked_for() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    assert_eq!(asked(&mut rig).len(), 16);
    rig.pass(10_000);
    rig.pass(1_000);
    log_ends(&mut rig, 18);
    assert_eq!(take_all(&mut rig, 19), mesh.entries.len());
}

#[test]
fn entries_that_are_refused_for_good_are_told_and_left() {
    let mesh = long();
    let mut rig = lost_after(&mesh, ANA, 2);
    for append in asked(&mut rig) {
        refuse(&mut rig, &append, code::FORBIDDEN, None);
    }
    assert_eq!(given_up(&rig).len(), 1);
    rig.pass(30_000);
    assert!(asked(&mut rig).is_empty());
    // It is the broker's end that new entries follow, or a conflict; that is said to who asks.
    let body = Body::InviteClosed {
        invite: mesh.entries[5].hash(),
    };
    let invite_token = None;
    rig.command(Command::Append { body, invite_token });
    assert_eq!(asked(&mut rig).len(), 1);
}

#[test]
fn a_store_that_cannot_be_read_is_asked_again() {
    let mesh = long();
    let mut rig = Rig::connected(&mesh, ANA);
    rig.slow_store = true;
    shown(&mut rig, Some(head_at(&mesh, 2)));
    let load = rig
        .waiting
        .iter()
        .position(|out| matches!(out, Out::Load(_, Query::Log { from: 3, .. })));
    let Some(Out::Load(token, _)) = rig.waiting.remove(load.unwrap()) else {
        panic!("{load:?}")
    };
    rig.slow_store = false;
    rig.store_all();
    rig.put(In::Loaded(token, Err(disk_full())));
    assert!(given_up(&rig).is_empty());
    rig.sent.clear();
    rig.pass(1_000);
    log_ends(&mut rig, 2);
    assert_eq!(take_all(&mut rig, 3), mesh.entries.len());
}

#[test]
fn entries_that_are_held_and_not_kept_yet_are_given_a_little_later() {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::connected(&mesh, ANA);
    let mut grown = mesh.clone();
    grown.invite(120);
    rig.writes_fail = true;
    rig.frame(LogAppended {
        head: grown.head(),
        entry: grown.entries.last().map(blob),
        ..LogAppended::default()
    });
    rig.mesh = grown.clone();
    let known = mesh.entries.len() - 1;
    rig.command(Command::SyncLog);
    log_ends(&mut rig, known);
    assert!(asked(&mut rig).is_empty());
    rig.writes_fail = false;
    for _ in 0..10 {
        if !rig.log_gets().is_empty() {
            log_ends(&mut rig, known);
        }
        let asked = asked(&mut rig);
        if let [append] = asked.as_slice() {
            assert_eq!(append.entry, blob(grown.entries.last().unwrap()));
            return;
        }
        rig.pass(1_000);
    }
    panic!("it is never given");
}

#[test]
fn only_owner_and_admins_bring_entries_back() {
    let mut mesh = Mesh::new(&[BEN, CEM]);
    let (key, role) = (key(CEM), Role::Admin);
    mesh.say(ANA, None, Body::RoleChanged { key, role });
    for (member, gives) in [(ANA, true), (BEN, false), (CEM, true)] {
        let mut rig = lost_after(&mesh, member, 2);
        assert_eq!(!asked(&mut rig).is_empty(), gives, "{member}");
        assert_eq!(told(&rig).len(), 1);
    }
}

#[test]
fn nothing_is_given_to_a_broker_that_shows_another_log() {
    let mesh = long();
    let mut rig = Rig::connected(&mesh, ANA);
    shown(&mut rig, Some(LogHead::new(2, &Hash([5; 32]))));
    assert!(asked(&mut rig).is_empty());
    assert!(told(&rig).contains(&Lie::LogFork { seq: 2 }));
}

#[test]
fn what_the_broker_refuses_for_what_it_lost_is_sent_again_when_it_has_it() {
    let mesh = Mesh::new(&[BEN, CEM]);
    let mut rig = lost_after(&mesh, ANA, 2);
    let open = asked(&mut rig);
    let (kept, also, ended) = (
        rig.queued(BEN, "a"),
        rig.queued(CEM, "b"),
        rig.queued(BEN, "c"),
    );
    rig.frame(refused(&kept, code::FORBIDDEN));
    rig.frame(refused(&also, code::NOT_FOUND));
    rig.frame(refused(&ended, code::TOO_LARGE));
    let failed: Vec<_> = (rig.events.iter())
        .filter_map(|event| match event {
            Event::Sent {
                id,
                state: SendState::Failed,
                ..
            } => Some(id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [ended]);
    rig.sent.clear();
    for (append, seq) in open.iter().zip(3..) {
        assert!(rig.sends().is_empty());
        taken(&mut rig, append, seq);
    }
    let mut again = rig.sends();
    again.sort();
    let mut waiting = [kept.as_str(), also.as_str()];
    waiting.sort_unstable();
    assert_eq!(again, waiting);
    // From now on such a refusal is an answer.
    rig.frame(refused(&kept, code::FORBIDDEN));
    assert!(rig.events.iter().any(|event| matches!(event,
        Event::Sent { id, state: SendState::Failed, .. } if *id == kept)));
}

#[test]
fn a_member_waits_until_somebody_else_has_brought_it_back() {
    let mesh = Mesh::new(&[BEN, CEM]);
    let mut rig = lost_after(&mesh, BEN, 2);
    let message = rig.queued(CEM, "a");
    rig.frame(refused(&message, code::NOT_FOUND));
    rig.sent.clear();
    for seq in 3..mesh.entries.len() {
        assert!(rig.sends().is_empty(), "the broker has it up to {seq} only");
        rig.frame(LogAppended {
            head: head_at(&mesh, seq),
            entry: Some(blob(&mesh.entries[seq])),
            ..LogAppended::default()
        });
    }
    assert_eq!(rig.sends(), [message.as_str()]);
    assert!(reposted(&rig).is_empty(), "that was others' work");
    assert_eq!(
        rig.session.membership().unwrap().head(),
        mesh.log.head(),
        "and nothing is taken twice"
    );
}
