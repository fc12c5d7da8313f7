//! Schedules that come back to their author, by the session alone. The broker hands over what it likes,
//! when it likes.

use claudemesh_core::session::{Command, Event, Outgoing, Protection, Reply, SessionError};
use claudemesh_core::store::SendState;
use claudemesh_core::wire::{
    CancelScheduledAck, ClientFrame, LogAppended, Schedule, ScheduleDue, ScheduledAck,
    ScheduledList, ScheduledRecord,
};

use super::kept_values::begin;
use crate::support::*;

const HOUR: u64 = 3_600_000;
/// The first full hour after [`NOW`].
const NEXT: u64 = NOW - NOW % HOUR + HOUR;

fn scheduled(rig: &mut Rig) -> Option<Schedule> {
    rig.take(|frame| match frame {
        ClientFrame::Schedule(schedule) => Some(schedule.clone()),
        _ => None,
    })
}

/// Something for Ben at each full hour, as the broker keeps it.
fn hourly(rig: &mut Rig) -> Schedule {
    let command = rig.command(Command::ScheduleCron {
        message: Box::new(outgoing(BEN, "on the hour")),
        cron: "0 * * * *".to_owned(),
    });
    let schedule = scheduled(rig).unwrap();
    assert!(!schedule.sealed.as_ref().unwrap().contains("hour"));
    rig.frame(ScheduledAck {
        scheduled_id: schedule.id.clone().unwrap(),
        deliver_at: NEXT,
        req_id: schedule.req_id.clone(),
        ..ScheduledAck::default()
    });
    assert!(matches!(
        rig.answer(command),
        Some(Ok(Reply::Scheduled { due: NEXT, .. }))
    ));
    rig.forget();
    schedule
}

fn due(schedule: &Schedule, due: u64) -> ScheduleDue {
    ScheduleDue {
        scheduled_id: schedule.id.clone().unwrap(),
        due,
        sealed: schedule.sealed.clone().unwrap(),
        ..ScheduleDue::default()
    }
}

/// The times for which the broker was told that it is done.
fn taken(rig: &mut Rig) -> Vec<u64> {
    let mut taken = Vec::new();
    while let Some(due) = rig.take(|frame| match frame {
        ClientFrame::ScheduleTaken(taken) => Some(taken.due),
        _ => None,
    }) {
        taken.push(due);
    }
    taken
}

fn rejected(rig: &Rig) -> usize {
    let rejected = |event: &&Event| matches!(event, Event::Rejected { .. });
    rig.events.iter().filter(rejected).count()
}

/// Lets the wall clock pass, on a connection that stands.
fn at(rig: &mut Rig, wall: u64) {
    rig.now.wall = wall;
}

#[test]
fn what_is_due_is_sent_once_for_each_time_also_by_a_later_process() {
    let mut rig = begin();
    let schedule = hourly(&mut rig);
    at(&mut rig, NEXT);
    rig.frame(due(&schedule, NEXT));
    assert_eq!((rig.sends().len(), taken(&mut rig)), (1, vec![NEXT]));
    let first = rig.sends();
    rig.frame(due(&schedule, NEXT));
    assert_eq!((rig.sends(), taken(&mut rig)), (first.clone(), vec![NEXT]));
    at(&mut rig, NEXT + HOUR);
    rig.frame(due(&schedule, NEXT + HOUR));
    assert_eq!((rig.sends().len(), taken(&mut rig)), (2, vec![NEXT + HOUR]));
    assert_ne!(rig.sends()[1], first[0], "each time has an id of its own");
    // An earlier time is over, also for the next process on this store.
    let mesh = rig.mesh.clone();
    let now = rig.now;
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), rig.store);
    rig.now = now;
    super::kept_values::hello(&mut rig);
    rig.forget();
    for time in [NEXT, NEXT + HOUR] {
        rig.frame(due(&schedule, time));
    }
    assert_eq!(rig.sends(), [""; 0]);
    assert_eq!(taken(&mut rig), [NEXT, NEXT + HOUR]);
    assert_eq!(rejected(&rig), 0);
}

#[test]
fn the_broker_is_told_that_it_is_taken_when_it_is_kept() {
    let mut rig = begin();
    let schedule = hourly(&mut rig);
    at(&mut rig, NEXT);
    rig.slow_store = true;
    rig.frame(due(&schedule, NEXT));
    assert!(taken(&mut rig).is_empty());
    rig.store_all();
    assert_eq!((rig.sends().len(), taken(&mut rig)), (1, vec![NEXT]));
}

#[test]
fn a_broker_chooses_neither_time_nor_words_of_what_comes_back() {
    let mut rig = begin();
    let schedule = hourly(&mut rig);
    let other = hourly(&mut rig);
    at(&mut rig, NEXT);
    let month = 31 * 24 * HOUR;
    let wrong_time = due(&schedule, NEXT + 60_000);
    let too_early = due(&schedule, NEXT + HOUR);
    let too_late = due(&schedule, NEXT - month - HOUR);
    let not_its_own = ScheduleDue {
        scheduled_id: other.id.clone().unwrap(),
        ..due(&schedule, NEXT)
    };
    let mut altered = due(&schedule, NEXT);
    let end = altered.sealed.len() / 2;
    let changed = if &altered.sealed[end..=end] == "A" {
        "B"
    } else {
        "A"
    };
    altered.sealed.replace_range(end..=end, changed);
    let mut cut = due(&schedule, NEXT);
    cut.sealed.truncate(8);
    for (number, due) in [wrong_time, too_early, too_late, not_its_own, altered, cut]
        .into_iter()
        .enumerate()
    {
        let time = due.due;
        rig.frame(due);
        assert_eq!(rejected(&rig), number + 1, "{number}");
        assert_eq!(taken(&mut rig), [time], "or it comes for ever");
        assert!(rig.sends().is_empty());
    }
    // Ten minutes early is a clock; a month late is a holiday.
    at(&mut rig, NEXT - 600_000);
    rig.frame(due(&schedule, NEXT));
    assert_eq!(rig.sends().len(), 1);
    at(&mut rig, NEXT + month);
    rig.frame(due(&other, NEXT));
    assert_eq!(rig.sends().len(), 2);
}

#[test]
fn a_schedule_that_was_cancelled_is_not_sent_whatever_the_broker_does() {
    let mut rig = begin();
    let schedule = hourly(&mut rig);
    let id = schedule.id.clone().unwrap();
    let command = rig.command(Command::CancelScheduled(id));
    let cancel = rig.take(|frame| match frame {
        ClientFrame::CancelScheduled(cancel) => Some(cancel.clone()),
        _ => None,
    });
    rig.frame(CancelScheduledAck {
        ok: true,
        req_id: cancel.unwrap().req_id,
        ..CancelScheduledAck::default()
    });
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Cancelled(true))));
    at(&mut rig, NEXT);
    rig.frame(due(&schedule, NEXT));
    assert!(rig.sends().is_empty());
    assert_eq!(taken(&mut rig), [NEXT]);
}

#[test]
fn what_is_due_for_somebody_who_is_out_fails_with_the_reason() {
    let mut rig = begin();
    let schedule = hourly(&mut rig);
    let mut grown = rig.mesh.clone();
    let removed = grown.remove(ANA, BEN);
    rig.frame(LogAppended {
        head: grown.head(),
        entry: Some(blob(&removed)),
        ..LogAppended::default()
    });
    at(&mut rig, NEXT);
    rig.frame(due(&schedule, NEXT));
    assert!(rig.sends().is_empty());
    assert!(rig.events.iter().any(|event| matches!(
        event,
        Event::Sent {
            state: SendState::Failed,
            reason: Some(_),
            ..
        }
    )));
    assert_eq!(taken(&mut rig), [NEXT]);
}

#[test]
fn a_message_for_later_goes_to_the_broker_sealed_and_its_list_is_shown() {
    let mut rig = begin();
    let command = rig.command(Command::Schedule {
        message: Box::new(outgoing(BEN, "later")),
        at: NEXT,
    });
    let schedule = scheduled(&mut rig).unwrap();
    assert_eq!(schedule.deliver_at, Some(NEXT));
    assert!(!schedule.send.unwrap().ciphertext.contains("later"));
    rig.refuse(schedule.req_id.as_ref(), "queue_full", None);
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::Refused { .. }))
    ));
    let command = rig.command(Command::ListScheduled);
    let req_id = rig.take(|frame| match frame {
        ClientFrame::ListScheduled(list) => list.req_id.clone(),
        _ => None,
    });
    rig.frame(ScheduledList {
        messages: vec![ScheduledRecord {
            id: "one\u{1b}".to_owned(),
            to: key(BEN).to_hex(),
            deliver_at: NEXT,
            ..ScheduledRecord::default()
        }],
        req_id,
    });
    let Some(Ok(Reply::Schedules(shown))) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    assert_eq!((shown[0].id.as_str(), shown[0].due), ("one", NEXT));
    let plain = Outgoing {
        protection: Protection::LegacyPlaintext,
        ..outgoing(BEN, "plain")
    };
    let command = rig.command(Command::Schedule {
        message: Box::new(plain),
        at: NEXT,
    });
    assert!(matches!(rig.answer(command), Some(Err(_))));
    assert!(
        scheduled(&mut rig).is_none(),
        "nothing in plain waits at a broker"
    );
}
