//! Online-only: kept nowhere by the sender, tried once, taken once by who gets it.

use claudemesh_core::session::{Command, NotReached, Reply, SessionError};
use claudemesh_core::store::{PeerStore, Query, Rows};
use claudemesh_core::wire::{Ack, ClientFrame, Send};

use crate::support::*;

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

fn send(rig: &mut Rig, text: &str) -> u64 {
    rig.command(Command::SendOnline(Box::new(outgoing(BEN, text))))
}

fn sent(rig: &Rig) -> Vec<Send> {
    let sends = rig.sent.iter().filter_map(|frame| match frame {
        ClientFrame::Send(send) => Some(send.clone()),
        _ => None,
    });
    sends.collect()
}

fn reached(send: &Send, reached: u32) -> Ack {
    Ack {
        id: send.id.clone().unwrap(),
        message_id: "o".to_owned(),
        queued: true,
        client_message_id: send.client_message_id.clone(),
        online: Some(true),
        reached: Some(reached),
        ..Ack::default()
    }
}

fn outbox(rig: &Rig) -> usize {
    let list = Query::OutboxList {
        all: true,
        limit: 100,
    };
    match rig.store.read(&list).unwrap() {
        Rows::Outbox(rows) => rows.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sender_keeps_nothing_and_hears_how_many_were_reached() {
    let mut rig = rig();
    let command = send(&mut rig, "quick");
    let frame = sent(&rig).pop().unwrap();
    assert_eq!((frame.online, frame.expires_at), (Some(true), None));
    assert_eq!(frame.form.as_deref(), Some("envelope/1"));
    assert!(rig.answer(command).is_none());
    assert_eq!(outbox(&rig), 0);
    rig.frame(reached(&frame, 2));
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Reached(2))));
    // A second answer means nothing.
    rig.frame(reached(&frame, 9));
    assert_eq!(outbox(&rig), 0);
}

#[test]
fn refusals_are_told_and_nothing_is_tried_again() {
    let mut rig = rig();
    for (code, why) in [
        (
            "not_online",
            SessionError::NotReached(NotReached::NotOnline),
        ),
        ("gated", SessionError::NotReached(NotReached::Gated)),
        ("slow", SessionError::NotReached(NotReached::Slow)),
    ] {
        rig.forget();
        let command = send(&mut rig, code);
        let frame = sent(&rig).pop().unwrap();
        let id = frame.client_message_id.unwrap();
        rig.frame(refused(&claudemesh_core::MessageId::new(id).unwrap(), code));
        assert_eq!(rig.answer(command), Some(&Err(why)));
    }
    rig.forget();
    let command = send(&mut rig, "fast");
    let id = sent(&rig).pop().unwrap().client_message_id.unwrap();
    let id = claudemesh_core::MessageId::new(id).unwrap();
    rig.frame(refused(&id, "rate_limit"));
    let answer = rig.answer(command).unwrap().clone();
    assert!(matches!(answer, Err(SessionError::Refused { code, .. }) if code == "rate_limit"));
    rig.forget();
    rig.pass(120_000);
    assert!(sent(&rig).is_empty());
}

#[test]
fn a_broken_connection_leaves_it_unknown_and_unsent() {
    let mut rig = rig();
    let command = send(&mut rig, "quick");
    rig.broken();
    assert_eq!(rig.answer(command), Some(&Err(SessionError::OnlineUnknown)));
    rig.forget();
    rig.reconnect();
    assert!(sent(&rig).is_empty());
    // Without a connection nothing is even sealed.
    rig.broken();
    let command = send(&mut rig, "quick");
    let answer = rig.answer(command).unwrap();
    assert!(matches!(answer, Err(SessionError::NotConnected(_))));
}

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for_beyond_ten_seconds() {
    let mut rig = rig();
    let command = send(&mut rig, "quick");
    rig.pass(9_000);
    assert!(rig.answer(command).is_none());
    rig.pass(2_000);
    assert_eq!(rig.answer(command), Some(&Err(SessionError::OnlineUnknown)));
}

#[test]
fn so_many_at_once_and_no_more() {
    let mut rig = rig();
    for n in 0..256 {
        let command = send(&mut rig, &format!("m{n}"));
        assert!(rig.answer(command).is_none());
    }
    let command = send(&mut rig, "one more");
    assert_eq!(rig.answer(command), Some(&Err(SessionError::OnlineFull)));
    assert_eq!(sent(&rig).len(), 256);
}

#[test]
fn what_comes_is_taken_once_and_not_acknowledged() {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::connected(&mesh, BEN);
    rig.forget();
    let mut push = push(&mesh, ANA, BEN, "once", NOW);
    push.online = Some(true);
    rig.frame(push.clone());
    assert_eq!(rig.inbox().len(), 1);
    // A broker that hands it on again, under whatever id of its own, changes nothing.
    push.message_id = "other".to_owned();
    rig.frame(push.clone());
    push.online = None;
    rig.frame(push);
    assert_eq!(rig.inbox().len(), 1);
    // The last one pretended to be kept: that is acknowledged as any other.
    assert_eq!(rig.acked(), ["other"]);
}
