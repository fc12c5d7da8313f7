//! Hello, challenge, losing the connection, trying again, the end.

use claudemesh_core::id::Status;
use claudemesh_core::identity::{split_proof, verify_hello_proof};
use claudemesh_core::session::{Command, Event, In, Lie, Session, SessionError};
use claudemesh_core::store::{PeerStore, Query, Rows};
use claudemesh_core::wire::{ClientFrame, CloseCode, ErrorFrame, HelloAck, errors::code};

use crate::support::*;

fn rig() -> Rig {
    Rig::new(&Mesh::new(&[BEN]), ANA)
}

#[test]
fn a_hello_answers_the_challenge() {
    let mut rig = rig();
    rig.put(In::Tick);
    assert_eq!(rig.connects, 1);
    rig.put(In::Opened {
        challenge: Some([3; 32]),
        date: Some(NOW + 90_000),
    });
    let text = rig.texts[0].clone();
    let (proven, proof) = split_proof(&text).unwrap();
    let hosts = ["127.0.0.1:7899"];
    assert!(verify_hello_proof(
        proven,
        &proof,
        &[3; 32],
        hosts,
        &key(ANA)
    ));
    let ClientFrame::Hello(hello) = &rig.sent[0] else {
        panic!("{:?}", rig.sent)
    };
    // The broker's clock counts where it is far off the own one.
    assert_eq!(hello.timestamp_ms(), Some(NOW + 90_000));
    assert!(!rig.session.is_ready());
    let ack = rig.hello_ack();
    rig.frame(ack);
    assert!(rig.session.is_ready());
    assert_eq!(rig.events[0], Event::Connected);
    assert_eq!(
        rig.store.read(&Query::Pins),
        Ok(Rows::Pins(pins(&[
            ("broker_store", "store-1"),
            ("challenge", "1")
        ])))
    );
}

#[test]
fn who_saw_a_challenge_once_sends_no_hello_without() {
    let mesh = Mesh::new(&[BEN]);
    let pins = pins(&[("challenge", "1")]);
    let mut rig = Rig::new(&mesh, ANA);
    rig.session = Session::new(
        config(&mesh, ANA, true),
        [1; 32],
        Some(mesh.log.clone()),
        pins,
    );
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    assert!(rig.sent.is_empty());
    assert_eq!(rig.events, [Event::LiedTo(Lie::ChallengeMissing)]);
    assert_eq!(rig.closes, 1);
}

#[test]
fn tries_are_spread_and_bounded() {
    let mut rig = rig();
    let bounds = [
        1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
    ];
    rig.put(In::Tick);
    for bound in bounds {
        rig.put(In::Closed {
            code: None,
            reason: "no".into(),
        });
        let Some(Event::Reconnecting { in_ms, .. }) = rig.events.last() else {
            panic!()
        };
        assert!(*in_ms <= bound, "{in_ms} {bound}");
        rig.pass(bound);
    }
    assert_eq!(rig.connects, 1 + bounds.len());
    // A broker that takes the hello and hangs up is no better.
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let ack = rig.hello_ack();
    rig.frame(ack.clone());
    rig.broken();
    rig.pass(31_000);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(ack);
    rig.pass(10_000);
    rig.broken();
    let Some(Event::Reconnecting { in_ms, .. }) = rig.events.last() else {
        panic!()
    };
    assert!(*in_ms < 1_000);
}

#[test]
fn silence_and_no_answer_end_a_connection() {
    let mut rig = rig();
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.pass(9_999);
    assert_eq!(rig.closes, 0);
    rig.pass(1);
    assert_eq!(rig.closes, 1);
    rig.broken();
    rig.reconnect();
    rig.pass(74_999);
    rig.put(In::Alive);
    rig.pass(74_999);
    assert_eq!(rig.closes, 1);
    rig.pass(1);
    assert_eq!(rig.closes, 2);
}

#[test]
fn a_refused_hello_is_tried_again() {
    let mut rig = rig();
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(ErrorFrame::new(code::CAPACITY, "too many\u{1b}[31m"));
    rig.put(In::Closed {
        code: Some(1008),
        reason: "capacity".into(),
    });
    assert_eq!(
        rig.events[0],
        Event::Refused {
            code: "capacity".into(),
            message: "too many[31m".into()
        }
    );
    rig.pass(1_000);
    assert_eq!(rig.connects, 2);
}

#[test]
fn removed_and_kicked_are_the_end() {
    for (close, kicked) in [(4002, false), (4001, true)] {
        let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
        rig.put(In::Closed {
            code: Some(close),
            reason: "out".into(),
        });
        let expected = |event: &Event| match event {
            Event::Removed { .. } => !kicked,
            Event::Kicked => kicked,
            _ => false,
        };
        assert!(rig.events.iter().any(expected));
        let (send, settle) = (rig.send(BEN, "x"), rig.command(Command::Settle));
        assert!(rig.answer(send).unwrap().is_err());
        assert!(rig.answer(settle).unwrap().is_err());
        rig.pass(3_600_000);
        assert_eq!(rig.connects, 1);
    }
    let mut rig = rig();
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(ErrorFrame::new(code::REVOKED, "removed"));
    rig.put(In::Closed {
        code: Some(4002),
        reason: String::new(),
    });
    assert!(matches!(rig.events.as_slice(), [Event::Removed { .. }]));
}

#[test]
fn working_is_said_again_before_it_lapses() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    rig.command(Command::SetStatus(Status::Working));
    for _ in 0..5 {
        rig.put(In::Alive);
        rig.pass(30_000);
    }
    let told = |rig: &Rig| {
        rig.sent
            .iter()
            .filter(|frame| matches!(frame, ClientFrame::SetStatus(_)))
            .count()
    };
    assert_eq!(told(&rig), 3);
    rig.command(Command::SetStatus(Status::Idle));
    rig.put(In::Alive);
    rig.pass(70_000);
    assert_eq!(told(&rig), 4);
}

#[test]
fn questions_end_with_the_connection_or_in_time() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    let late = rig.command(Command::ListPeers);
    rig.pass(10_000);
    assert!(rig.answer(late).unwrap().is_err());
    let lost = rig.command(Command::ListPeers);
    rig.broken();
    assert!(rig.answer(lost).unwrap().is_err());
    let none = rig.command(Command::ListPeers);
    assert!(rig.answer(none).unwrap().is_err());
}

#[test]
fn a_hello_that_was_not_asked_for_changes_nothing() {
    let mut rig = rig();
    rig.frame(HelloAck::default());
    assert!(!rig.session.is_ready());
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    assert!(rig.sent.len() <= 1);
}

fn reconnecting(rig: &Rig) -> (String, u64) {
    match rig.events.last() {
        Some(Event::Reconnecting { reason, in_ms }) => (reason.clone(), *in_ms),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_that_stays_away_is_dialled_less_and_less_and_never_before_its_time() {
    let mut rig = rig();
    rig.put(In::Tick);
    let mut pauses = Vec::new();
    for dials in 1..40 {
        rig.broken();
        let (_, pause) = reconnecting(&rig);
        pauses.push(pause);
        rig.pass(pause - 1);
        rig.put(In::Tick);
        assert_eq!(rig.connects, dials);
        rig.pass(1);
        assert_eq!(rig.connects, dials + 1);
    }
    // Each is drawn from all up to its bound, so that many peers do not come at once.
    let mean = |pauses: &[u64]| pauses.iter().sum::<u64>() / pauses.len() as u64;
    assert!(mean(&pauses[..3]) < 1_500, "{pauses:?}");
    assert!((8_000..22_000).contains(&mean(&pauses[8..])), "{pauses:?}");
    assert!(pauses.iter().all(|pause| (0..30_000).contains(pause)));
}

#[test]
fn why_a_connection_ended_is_told() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    let close = |rig: &mut Rig, code, reason: &str| {
        let reason = reason.to_owned();
        rig.put(In::Closed { code, reason });
        let told = reconnecting(rig).0;
        rig.reconnect();
        told
    };
    assert_eq!(close(&mut rig, Some(1011), ""), "closed with code 1011");
    assert_eq!(close(&mut rig, Some(1001), "a\u{1b}way"), "away");
    assert_eq!(close(&mut rig, None, "reset"), "reset");
    rig.pass(75_000);
    let told = close(&mut rig, Some(1000), "bye");
    assert!(
        told.contains("75 s"),
        "what this side closed it for: {told}"
    );
}

#[test]
fn who_was_kicked_or_banned_sends_nothing_and_is_told_which() {
    for (close, removed) in [(CloseCode::KICKED, false), (CloseCode::BANNED, true)] {
        let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
        rig.put(In::Closed {
            code: Some(close.0),
            reason: String::new(),
        });
        rig.pass(120_000);
        assert_eq!(rig.connects, 1, "no further try");
        rig.forget();
        let command = rig.send(BEN, "hello");
        match rig.answer(command) {
            Some(Err(SessionError::Removed)) => assert!(removed),
            Some(Err(SessionError::NotConnected(_))) => {
                assert!(!removed);
            }
            other => panic!("{other:?}"),
        }
    }
}
