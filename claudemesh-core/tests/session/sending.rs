//! Stored before transmitted, in order, followed up until the fate is known.

use claudemesh_core::session::{Command, Event, In, Reply};
use claudemesh_core::store::{PeerOp, PeerStore, SendState};
use claudemesh_core::wire::{
    ClientFrame, Outcome, OutcomeState, OutcomesResult, Receipt, ReceiptState,
};

use crate::support::*;

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

pub(crate) fn outcomes(rig: &Rig) -> Vec<(Vec<String>, Option<String>)> {
    let asked = rig.sent.iter().filter_map(|frame| match frame {
        ClientFrame::Outcomes(ask) => Some((ask.message_ids.clone(), ask.req_id.clone())),
        _ => None,
    });
    asked.collect()
}

fn answer(rig: &mut Rig, state: OutcomeState) {
    let (ids, req_id) = outcomes(rig).pop().unwrap();
    let outcomes = (ids.into_iter())
        .map(|message_id| Outcome {
            message_id,
            state,
            reason: None,
        })
        .collect();
    rig.frame(OutcomesResult { outcomes, req_id });
}

#[test]
fn nothing_is_transmitted_before_it_is_stored() {
    let mut rig = rig();
    rig.slow_store = true;
    let command = rig.send(BEN, "hello");
    assert!(rig.sends().is_empty() && rig.answer(command).is_none());
    rig.store_all();
    assert!(matches!(rig.answer(command), Some(Ok(Reply::Queued(..)))));
    assert_eq!(rig.sends().len(), 1);
    rig.forget();
    rig.writes_fail = true;
    let command = rig.send(BEN, "hello");
    rig.store_all();
    assert!(rig.answer(command).unwrap().is_err());
    assert!(rig.sends().is_empty());
}

#[test]
fn a_reconnect_sends_the_same_bytes_again() {
    let mut rig = rig();
    rig.queued(BEN, "one");
    rig.queued(CEM, "two");
    let first = rig.texts.clone();
    rig.broken();
    rig.forget();
    rig.reconnect();
    let again: Vec<_> = rig
        .texts
        .iter()
        .filter(|t| t.contains("\"send\""))
        .cloned()
        .collect();
    assert_eq!(again, first);
}

#[test]
fn what_was_stored_first_is_sent_first_whenever_its_answer_comes() {
    let mut rig = rig();
    rig.slow_store = true;
    // The first goes into the store while the lane is being read, so it waits for the next page.
    rig.put(In::Changed);
    let one = rig.send(BEN, "one");
    rig.store_one();
    let two = rig.send(BEN, "two");
    rig.store_all();
    let ids: Vec<String> = [one, two]
        .map(|command| match rig.answer(command) {
            Some(Ok(Reply::Queued(id, _))) => id.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .to_vec();
    assert_eq!(rig.sends(), ids);
}

#[test]
fn a_page_of_an_earlier_connection_hides_nothing() {
    let mut rig = rig();
    let ids = [rig.queued(BEN, "one"), rig.queued(BEN, "two")];
    rig.slow_store = true;
    rig.put(In::Changed);
    // The page is read, but its answer comes after the next hello.
    rig.broken();
    rig.pass(31_000);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.forget();
    let ack = rig.hello_ack();
    rig.frame(ack);
    rig.store_all();
    assert_eq!(rig.sends(), ids.map(|id| id.as_str().to_owned()));
}

#[test]
fn a_retryable_refusal_holds_that_recipient_only() {
    let mut rig = rig();
    let (one, two) = (rig.queued(BEN, "one"), rig.queued(BEN, "two"));
    rig.frame(refused(&one, "queue_full"));
    rig.frame(refused(&two, "queue_full"));
    let held: Vec<u64> = (rig.events.iter())
        .filter_map(|event| match event {
            Event::Held { in_ms, .. } => Some(*in_ms),
            _ => None,
        })
        .collect();
    assert!(
        held.len() == 1 && held[0] <= 1_000,
        "one hold for one burst: {held:?}"
    );
    rig.forget();
    let three = rig.queued(BEN, "three");
    let other = rig.queued(CEM, "other");
    assert_eq!(rig.sends(), [other.as_str()]);
    rig.pass(2_000);
    assert_eq!(
        rig.sends(),
        [&other, &one, &two, &three].map(|id| id.as_str().to_owned())
    );
}

#[test]
fn a_hold_that_ends_while_a_page_is_read_is_not_lost() {
    let mut rig = rig();
    let one = rig.queued(BEN, "one");
    rig.frame(refused(&one, "busy"));
    rig.queued(CEM, "other");
    rig.forget();
    rig.slow_store = true;
    rig.put(In::Changed);
    rig.pass(2_000);
    rig.store_all();
    assert_eq!(rig.sends(), [one.as_str()]);
}

#[test]
fn other_refusals_are_final() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(refused(&id, "not_found"));
    assert_eq!(rig.row(&id).state, SendState::Failed);
    assert_eq!(rig.row(&id).reason.as_deref(), Some("not_found: no"));
    rig.frame(refused(&id, "queue_full"));
    rig.pass(60_000);
    assert_eq!(rig.sends().len(), 1);
}

#[test]
fn what_a_broker_refuses_beyond_its_time_ends() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.now.wall += 8 * 86_400_000;
    rig.frame(refused(&id, "rate_limit"));
    assert_eq!(rig.row(&id).reason.as_deref(), Some("expired"));
}

#[test]
fn a_message_cancelled_on_its_way_out_is_not_sent() {
    let mut rig = Rig::new(&Mesh::new(&[BEN]), ANA);
    let (one, two) = (rig.queued(BEN, "one"), rig.queued(BEN, "two"));
    rig.slow_store = true;
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let ack = rig.hello_ack();
    rig.frame(ack);
    // The page has been read; another process gives one up before it is marked.
    while !matches!(rig.waiting.front(), Some(claudemesh_core::session::Out::Store(_, ops))
        if matches!(ops.first(), Some(PeerOp::Sent(_))))
    {
        assert!(rig.store_one());
    }
    applied(rig.store.apply(&[PeerOp::Cancel { id: one, at: NOW }]));
    rig.store_all();
    assert_eq!(rig.sends(), [two.as_str()]);
}

#[test]
fn outcomes_are_asked_after_a_reconnect() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(accepted(&id));
    assert_eq!(rig.row(&id).state, SendState::Accepted);
    rig.broken();
    rig.forget();
    rig.reconnect();
    assert!(rig.sends().is_empty());
    assert_eq!(outcomes(&rig)[0].0, [format!("b-{id}")]);
    answer(&mut rig, OutcomeState::Delivered);
    assert_eq!(rig.row(&id).state, SendState::Delivered);
}

#[test]
fn what_the_broker_does_not_know_goes_again() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(accepted(&id));
    rig.broken();
    rig.reconnect();
    rig.forget_but_outcomes();
    answer(&mut rig, OutcomeState::Unknown);
    assert_eq!(rig.sends(), [id.as_str()]);
}

#[test]
fn another_store_of_the_broker_gets_everything_again() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(accepted(&id));
    rig.broken();
    rig.forget();
    rig.pass(31_000);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let mut ack = rig.hello_ack();
    ack.broker.as_mut().unwrap().store = "store-2".into();
    rig.frame(ack);
    assert_eq!(rig.sends(), [id.as_str()]);
}

#[test]
fn a_receipt_ends_a_message_once() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.frame(accepted(&id));
    let receipt = Receipt {
        message_id: format!("b-{id}"),
        client_message_id: Some(id.as_str().into()),
        state: ReceiptState::Delivered,
        reason: None,
        delivered: None,
        failed: None,
        of: None,
    };
    rig.frame(receipt.clone());
    assert_eq!(rig.row(&id).state, SendState::Delivered);
    // The last word stands; a later one changes nothing, and what is told is what is kept.
    rig.frame(Receipt {
        state: ReceiptState::Failed,
        ..receipt
    });
    let last = rig.events.iter().rev().find_map(|event| match event {
        Event::Sent { state, .. } => Some(*state),
        _ => None,
    });
    assert_eq!(last, Some(SendState::Delivered));
}

#[test]
fn an_answer_that_the_store_did_not_take_is_asked_for_again() {
    let mut rig = rig();
    let id = rig.queued(BEN, "one");
    rig.writes_fail = true;
    rig.frame(accepted(&id));
    assert_eq!(rig.row(&id).state, SendState::Queued);
    rig.pass(5_000);
    rig.writes_fail = false;
    rig.pass(40_000 - 15_000);
    rig.frame(accepted(&id));
    assert_eq!(rig.row(&id).state, SendState::Accepted);
    assert!(rig.closes == 0);
}

#[test]
fn a_store_that_fails_is_not_asked_without_a_pause() {
    let mut rig = Rig::new(&Mesh::new(&[BEN]), ANA);
    rig.queued(BEN, "one");
    rig.connect_failing();
    let before = rig.events.len();
    rig.pass(30_000);
    assert!(rig.events.len() - before < 10, "{}", rig.events.len());
    rig.writes_fail = false;
    rig.pass(35_000);
    assert_eq!(rig.sends().len(), 1);
}

#[test]
fn settle_waits_for_every_answer() {
    let mut rig = Rig::new(&Mesh::new(&[BEN]), ANA);
    let id = rig.queued(BEN, "one");
    let settle = rig.command(Command::Settle);
    assert!(rig.answer(settle).is_none());
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let ack = rig.hello_ack();
    rig.frame(ack);
    assert!(rig.answer(settle).is_none());
    rig.frame(accepted(&id));
    assert_eq!(rig.answer(settle), Some(&Ok(Reply::Done)));
}

#[test]
fn a_broker_without_durable_delivery_is_only_sent_to() {
    let mut rig = Rig::new(&Mesh::new(&[BEN]), ANA);
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(claudemesh_core::wire::HelloAck::default());
    let id = rig.queued(BEN, "one");
    let mut ack = accepted(&id);
    ack.client_message_id = None;
    rig.frame(ack);
    assert_eq!(rig.row(&id).state, SendState::Accepted);
    rig.frame(push(&rig.mesh.clone(), BEN, ANA, "in", NOW));
    let last = rig.sent.last().unwrap();
    let ClientFrame::ClientAck(ack) = last else {
        panic!("{last:?}")
    };
    assert_eq!(ack.broker_message_id.as_deref(), Some("broker-in"));
    assert_eq!(ack.client_message_id.as_deref(), Some("in"));
    assert_eq!(ack.broker_message_ids, None);
    assert!(outcomes(&rig).is_empty());
}

impl Rig {
    fn forget_but_outcomes(&mut self) {
        self.sent
            .retain(|frame| matches!(frame, ClientFrame::Outcomes(_)));
    }

    /// Connects over a store that takes no writes from then on.
    fn connect_failing(&mut self) {
        self.writes_fail = true;
        self.connect();
    }
}
