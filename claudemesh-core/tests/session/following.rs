//! What was sent, followed up: holds and their pauses, order at every step of the store, what became
//! of many.

use claudemesh_core::id::MessageId;
use claudemesh_core::session::{Command, Event, In, Outgoing, Reply};
use claudemesh_core::store::SendState;
use claudemesh_core::wire::{Ack, Outcome, OutcomeState, OutcomesResult, Receipt, ReceiptState};

use super::sending::outcomes;
use crate::support::*;

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

fn busy(id: &MessageId, retry_after_ms: Option<u64>) -> Ack {
    Ack {
        retry_after_ms,
        ..refused(id, "busy")
    }
}

fn held(rig: &mut Rig) -> Vec<u64> {
    let held = rig.events.drain(..).filter_map(|event| match event {
        Event::Held { in_ms, .. } => Some(in_ms),
        _ => None,
    });
    held.collect()
}

/// What the last event about this message says.
fn said(rig: &Rig, id: &MessageId) -> Option<(SendState, Option<String>)> {
    rig.events.iter().rev().find_map(|event| match event {
        Event::Sent {
            id: of,
            state,
            reason,
            ..
        } if of == id => Some((*state, reason.clone())),
        _ => None,
    })
}

#[test]
fn each_hold_is_twice_as_long_up_to_a_minute_and_a_message_taken_ends_that() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    for pause in [
        500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
    ] {
        assert_eq!(rig.sends(), [id.as_str()]);
        rig.forget();
        rig.frame(busy(&id, None));
        let told = held(&mut rig);
        assert_eq!(told.len(), 1);
        assert!((pause..=pause + pause / 4).contains(&told[0]), "{told:?}");
        rig.put(In::Alive);
        rig.pass(told[0] - 1);
        assert!(rig.sends().is_empty(), "not before {pause}");
        rig.pass(1);
    }
    rig.frame(accepted(&id));
    let next = rig.queued(BEN, "two");
    held(&mut rig);
    rig.frame(busy(&next, None));
    let told = held(&mut rig);
    assert!(told.len() == 1 && told[0] <= 625, "{told:?}");
}

#[test]
fn a_hold_lasts_as_long_as_the_broker_says_but_no_longer_than_a_minute() {
    for (asked, least) in [(20_000, 20_000), (90_000_000, 60_000)] {
        let mut rig = rig();
        let id = rig.queued(BEN, "one");
        held(&mut rig);
        rig.frame(busy(&id, Some(asked)));
        let told = held(&mut rig);
        assert!((least..=least + 125).contains(&told[0]), "{told:?}");
    }
    // Of several that were refused in one burst the longest counts.
    let mut rig = rig();
    let (one, two) = (rig.queued(BEN, "one"), rig.queued(BEN, "two"));
    rig.frame(busy(&one, None));
    rig.frame(busy(&two, Some(30_000)));
    rig.forget();
    rig.pass(29_999);
    assert!(rig.sends().is_empty());
    rig.pass(1);
    assert_eq!(rig.sends().len(), 2);
}

#[test]
fn what_is_new_waits_for_what_was_there_before_at_every_step_of_the_store() {
    for step in 0..6 {
        let mesh = Mesh::new(&[BEN, CEM]);
        let mut rig = Rig::new(&mesh, ANA);
        let mut order: Vec<MessageId> = (0..3).map(|n| rig.queued(BEN, &n.to_string())).collect();
        rig.slow_store = true;
        rig.connect_to(&[]);
        for _ in 0..step {
            rig.store_one();
        }
        let command = rig.send(BEN, "new");
        rig.store_all();
        let Some(Ok(Reply::Queued(id, _))) = rig.answer(command) else {
            panic!("{:?}", rig.done)
        };
        order.push(id.clone());
        let order: Vec<_> = order.iter().map(MessageId::as_str).collect();
        assert_eq!(rig.sends(), order, "after {step} steps");
    }
}

#[test]
fn no_more_are_on_their_way_than_the_window() {
    let mut rig = rig();
    let ids: Vec<_> = (0..300).map(|n| rig.queued(BEN, &n.to_string())).collect();
    let order: Vec<_> = ids.iter().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(rig.sends(), order[..256]);
    for (number, id) in ids.iter().enumerate().take(10) {
        rig.frame(accepted(id));
        assert!(rig.sends().len() <= 257 + number);
    }
    assert_eq!(rig.sends(), order[..266]);
}

#[test]
fn a_broker_id_that_is_too_long_is_no_answer() {
    let mut rig = rig();
    let (short, long) = (rig.queued(BEN, "one"), rig.queued(BEN, "two"));
    for (id, length) in [(&short, 128), (&long, 129)] {
        rig.frame(Ack {
            message_id: "b".repeat(length),
            ..accepted(id)
        });
    }
    assert_eq!(rig.row(&short).state, SendState::Accepted);
    assert_eq!(rig.row(&long).state, SendState::Queued);
}

#[test]
fn why_a_message_failed_is_told_without_control_characters() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(accepted(&id));
    rig.frame(Receipt {
        message_id: format!("b-{id}"),
        client_message_id: None,
        state: ReceiptState::Failed,
        reason: Some("ex\u{1b}pired".to_owned()),
        delivered: None,
        failed: None,
        of: None,
    });
    let (state, reason) = said(&rig, &id).unwrap();
    assert_eq!(state, SendState::Failed);
    let reason = reason.unwrap();
    assert!(reason.starts_with("ex") && reason.ends_with("pired") && !reason.contains('\u{1b}'));
}

/// Answers the newest question for outcomes: all of these are still on their way.
fn still_queued(rig: &mut Rig) -> Vec<String> {
    let (ids, req_id) = outcomes(rig).pop().unwrap();
    rig.sent.clear();
    let outcomes = (ids.iter().cloned())
        .map(|message_id| Outcome {
            message_id,
            state: OutcomeState::Queued,
            reason: None,
        })
        .collect();
    rig.frame(OutcomesResult { outcomes, req_id });
    ids
}

#[test]
fn what_became_of_many_is_asked_in_pages_each_once() {
    let mut rig = rig();
    let mut expected = Vec::new();
    for number in 0..600 {
        let id = rig.queued(BEN, &number.to_string());
        rig.frame(accepted(&id));
        expected.push(format!("b-{id}"));
    }
    rig.broken();
    rig.forget();
    rig.reconnect();
    let mut asked = Vec::new();
    while let [_] = outcomes(&rig).as_slice() {
        asked.push(still_queued(&mut rig));
    }
    assert_eq!(
        asked.iter().map(Vec::len).collect::<Vec<_>>(),
        [256, 256, 88]
    );
    assert_eq!(asked.concat(), expected);
}

#[test]
fn what_the_broker_had_before_is_asked_about_one_question_at_a_time() {
    let mut rig = rig();
    let (one, two, new) = (
        rig.queued(BEN, "one"),
        rig.queued(BEN, "two"),
        rig.queued(BEN, "new"),
    );
    rig.forget();
    let again = |id: &MessageId| Ack {
        duplicate: Some(true),
        ..accepted(id)
    };
    rig.frame(again(&one));
    rig.frame(accepted(&new));
    rig.frame(again(&two));
    assert_eq!(outcomes(&rig).len(), 1);
    assert_eq!(still_queued(&mut rig), [format!("b-{one}")]);
    // The next question comes with the answer.
    assert_eq!(still_queued(&mut rig), [format!("b-{two}")]);
    assert!(outcomes(&rig).is_empty());
}

#[test]
fn what_was_never_sent_expires_here_and_what_may_be_there_is_asked_for() {
    let brief = |rig: &mut Rig| {
        let message = Outgoing {
            expires_in: Some(2_000),
            ..outgoing(BEN, "brief")
        };
        let command = rig.command(Command::Send(Box::new(message)));
        match rig.answer(command) {
            Some(Ok(Reply::Queued(id, _))) => id.clone(),
            other => panic!("{other:?}"),
        }
    };
    let mut rig = rig();
    let sent = brief(&mut rig);
    rig.broken();
    let kept = brief(&mut rig);
    rig.forget();
    rig.pass(5_000);
    rig.reconnect();
    assert_eq!(rig.sends(), [sent.as_str()]);
    assert_eq!(said(&rig, &sent), None);
    let expired = (SendState::Failed, Some("expired".to_owned()));
    assert_eq!(said(&rig, &kept), Some(expired));
    assert_eq!(rig.row(&kept).state, SendState::Failed);
}
