//! Members without a log entry: bare text, only where it was said, and never a step back.

use claudemesh_core::crypto::{DirectKey, X25519Secret};
use claudemesh_core::encoding::base64;
use claudemesh_core::message::{FORM, SealedText, open_bare};
use claudemesh_core::session::{Command, Event, Outgoing, Reply, SessionError};
use claudemesh_core::store::{Kind, SendState};
use claudemesh_core::wire::{ClientFrame, ErrorFrame, LogAppended, Push, Send};

use crate::statements::{EVE, list, record, statement};
use crate::support::*;

fn rig() -> Rig {
    let mut rig = Rig::connected(&Mesh::new(&[BEN, CEM]), ANA);
    list(&mut rig, vec![record(EVE, None)]);
    rig
}

fn to_eve(text: &str) -> Outgoing {
    Outgoing {
        to_unverified: true,
        ..outgoing(EVE, text)
    }
}

fn sent(rig: &mut Rig, message: Outgoing) -> Result<Reply, SessionError> {
    let command = rig.command(Command::Send(Box::new(message)));
    rig.answer(command).unwrap().clone()
}

fn frame(rig: &Rig) -> Send {
    let frame = rig.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::Send(send) => Some(send.clone()),
        _ => None,
    });
    frame.unwrap()
}

fn bare_from(seed: u8, rig: &Rig, id: &str) -> Push {
    let shared = DirectKey::agree(&X25519Secret::of(&pair(seed)), &key(ANA)).unwrap();
    let sealed = shared.seal(&[5; 24], b"plain").unwrap();
    Push {
        nonce: base64(&[5; 24]),
        ciphertext: base64(&sealed),
        form: None,
        ..push(&rig.mesh, seed, ANA, id, NOW)
    }
}

/// Eve has shown that she understands envelopes.
fn shows_statement(rig: &mut Rig) {
    let word = statement(&rig.mesh, EVE, |_| {});
    list(rig, vec![record(EVE, Some(word))]);
}

#[test]
fn bare_text_goes_out_only_where_it_was_said() {
    let mut rig = rig();
    assert_eq!(
        sent(&mut rig, outgoing(EVE, "hello")),
        Err(SessionError::Unverified(key(EVE)))
    );
    // Whom not even the broker names.
    let nobody = Outgoing {
        to: key(51).into(),
        ..to_eve("x")
    };
    assert_eq!(
        sent(&mut rig, nobody),
        Err(SessionError::NotAMember(key(51)))
    );
    let Ok(Reply::QueuedBare(id)) = sent(&mut rig, to_eve("hello")) else {
        panic!("not queued")
    };
    let frame = frame(&rig);
    assert_eq!(frame.client_message_id.as_deref(), Some(id.as_str()));
    assert_eq!((frame.form, frame.reply_to_id), (None, None));
    let shared = DirectKey::agree(&X25519Secret::of(&pair(EVE)), &key(ANA)).unwrap();
    let sealed = SealedText {
        nonce: frame.nonce,
        ciphertext: frame.ciphertext,
    };
    assert_eq!(open_bare(&shared, &sealed).unwrap(), "hello");
}

#[test]
fn nothing_but_text_goes_bare() {
    let mut rig = rig();
    let answers = claudemesh_core::id::MessageId::new("m").unwrap();
    for message in [
        Outgoing {
            attributes: vec!["hops=1".into()],
            ..to_eve("x")
        },
        Outgoing {
            content_type: "application/json".into(),
            ..to_eve("x")
        },
        Outgoing {
            reply_to: Some(answers),
            ..to_eve("x")
        },
        Outgoing {
            body: vec![0xff],
            ..to_eve("x")
        },
    ] {
        assert_eq!(sent(&mut rig, message), Err(SessionError::TextOnly));
    }
    let long = sent(&mut rig, to_eve(&"x".repeat(60_000)));
    assert!(matches!(long, Err(SessionError::Message(_))), "{long:?}");
    assert!(rig.sends().is_empty());
}

#[test]
fn who_is_in_the_log_gets_no_bare_text() {
    let mut rig = rig();
    let message = Outgoing {
        to_unverified: true,
        ..outgoing(BEN, "hello")
    };
    assert!(matches!(sent(&mut rig, message), Ok(Reply::Queued(..))));
    assert_eq!(frame(&rig).form.as_deref(), Some(FORM));
    // While the log may be behind nobody can say that someone is not in it.
    rig.broken();
    assert_eq!(
        sent(&mut rig, to_eve("x")),
        Err(SessionError::NotAMember(key(EVE)))
    );
    // Nor while something new was heard of and is not here yet.
    let mut rig = self::rig();
    rig.frame(LogAppended {
        head: claudemesh_core::wire::LogHead::new(99, &claudemesh_core::id::Hash([1; 32])),
        ..LogAppended::default()
    });
    assert_eq!(
        sent(&mut rig, to_eve("x")),
        Err(SessionError::NotAMember(key(EVE)))
    );
    // In the log since: also if the broker's list is older.
    let mut rig = self::rig();
    let mut grown = rig.mesh.clone();
    grown.invite(99);
    let before = grown.log.head().seq - 1;
    let name = claudemesh_core::id::Name::new("eve").unwrap();
    let role = claudemesh_core::membership::Role::Member;
    let key = key(EVE);
    grown.say(
        ANA,
        None,
        claudemesh_core::membership::Body::MemberAdmitted { key, name, role },
    );
    for seq in [before + 1, before + 2] {
        rig.frame(LogAppended {
            head: claudemesh_core::wire::LogHead::new(seq, &grown.entries[seq as usize].hash()),
            entry: Some(blob(&grown.entries[seq as usize])),
            ..LogAppended::default()
        });
    }
    assert!(matches!(sent(&mut rig, to_eve("x")), Ok(Reply::Queued(..))));
    assert_eq!(frame(&rig).form.as_deref(), Some(FORM));
}

#[test]
fn who_once_showed_that_it_understands_envelopes_gets_nothing_else() {
    let mut rig = rig();
    shows_statement(&mut rig);
    // Without the option still not: no entry vouches for the key.
    assert_eq!(
        sent(&mut rig, outgoing(EVE, "x")),
        Err(SessionError::Unverified(key(EVE)))
    );
    // The statement is stripped later, and the process is another one.
    let store = std::mem::take(&mut rig.store);
    let mesh = rig.mesh.clone();
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), store);
    rig.connect();
    list(&mut rig, vec![record(EVE, None)]);
    assert!(matches!(sent(&mut rig, to_eve("x")), Ok(Reply::Queued(..))));
    assert_eq!(frame(&rig).form.as_deref(), Some(FORM));
    // Nor is bare text taken from it.
    rig.forget();
    let text = bare_from(EVE, &rig, "one");
    rig.frame(text.clone());
    assert!(matches!(&rig.events[0], Event::Rejected { sender, .. } if *sender == key(EVE)));
    // Nor under another name.
    let other = Push {
        sender_member_pubkey: Some(key(51).to_hex()),
        message_id: "another".into(),
        ..text
    };
    rig.forget();
    rig.frame(other);
    assert!(matches!(&rig.events[0], Event::Rejected { sender, .. } if *sender == key(51)));
}

#[test]
fn a_statement_without_envelopes_pins_nothing() {
    let mut rig = rig();
    let word = statement(&rig.mesh, EVE, |s| s.capabilities.clear());
    list(&mut rig, vec![record(EVE, Some(word))]);
    assert!(matches!(
        sent(&mut rig, to_eve("x")),
        Ok(Reply::QueuedBare(_))
    ));
}

#[test]
fn what_came_says_in_which_form() {
    let mut rig = rig();
    let text = bare_from(EVE, &rig, "one");
    rig.frame(text);
    rig.frame(push(&rig.mesh, BEN, ANA, "two", NOW));
    let inbox = rig.inbox();
    let forms: Vec<_> = (inbox.iter())
        .map(|row| (row.message.verified, row.message.is_protected()))
        .collect();
    assert_eq!(forms, [(false, false), (true, true)]);
    assert!(inbox.iter().all(|row| row.message.kind == Kind::Direct));
}

#[test]
fn what_waits_as_bare_text_is_not_sent_so_to_who_understands_more_by_now() {
    let mut rig = rig();
    // Two that wait: the broker holds the recipient back after the first.
    let Ok(Reply::QueuedBare(first)) = sent(&mut rig, to_eve("one")) else {
        panic!()
    };
    rig.frame(refused(&first, claudemesh_core::wire::errors::code::BUSY));
    let Ok(Reply::QueuedBare(second)) = sent(&mut rig, to_eve("two")) else {
        panic!()
    };
    assert_eq!(rig.row(&second).state, SendState::Queued);
    shows_statement(&mut rig);
    rig.pass(5_000);
    let row = rig.row(&second);
    assert_eq!(row.state, SendState::Failed);
    assert!(row.reason.unwrap().contains("send it again"));
}

#[test]
fn an_error_names_nobody_who_is_not_meant() {
    let mut rig = rig();
    // The list is refused: then nobody is named by it.
    rig.broken();
    rig.reconnect();
    let command = rig.command(Command::ListPeers);
    let asked = rig.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::ListPeers(ask) => ask.req_id.clone(),
        _ => None,
    });
    rig.frame(ErrorFrame {
        code: "busy".into(),
        req_id: asked,
        ..ErrorFrame::default()
    });
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::Refused { .. }))
    ));
    assert_eq!(
        sent(&mut rig, to_eve("x")),
        Err(SessionError::NotAMember(key(EVE)))
    );
}
