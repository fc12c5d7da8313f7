//! Checked, stored, then acknowledged.

use claudemesh_core::id::{Hash, Name};
use claudemesh_core::message::{FORM, MAX_AGE_MS, MAX_AHEAD_MS};
use claudemesh_core::session::{Command, Event, In};
use claudemesh_core::store::Kind;
use claudemesh_core::wire::{CaughtUp, LogEntries, Push};

use crate::support::*;

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

#[test]
fn acknowledged_after_it_is_stored() {
    let mut rig = rig();
    rig.slow_store = true;
    let message = push(&rig.mesh, BEN, ANA, "one", NOW);
    rig.frame(message.clone());
    rig.frame(CaughtUp {});
    assert!(rig.acked().is_empty() && rig.events.is_empty());
    rig.store_all();
    assert_eq!(rig.acked(), ["broker-one"]);
    assert_eq!(rig.events, [Event::Received, Event::CaughtUp]);
    // Pushed again: acknowledged again, told once.
    rig.frame(message);
    rig.store_all();
    assert_eq!(rig.acked().len(), 2);
    assert_eq!(rig.events.len(), 2);
    assert_eq!(rig.inbox().len(), 1);
}

#[test]
fn nothing_is_acknowledged_while_the_store_fails() {
    let mut rig = rig();
    rig.writes_fail = true;
    rig.frame(push(&rig.mesh, BEN, ANA, "one", NOW));
    rig.frame(CaughtUp {});
    rig.pass(5_000);
    assert!(rig.acked().is_empty());
    assert!(!rig.events.contains(&Event::CaughtUp));
    rig.writes_fail = false;
    rig.pass(30_000);
    assert_eq!(rig.acked(), ["broker-one"]);
    assert!(rig.events.contains(&Event::CaughtUp));
}

#[test]
fn a_lost_connection_leaves_no_deadline_behind() {
    let mut rig = rig();
    rig.writes_fail = true;
    rig.frame(push(&rig.mesh, BEN, ANA, "one", NOW));
    rig.broken();
    rig.put(In::Tick);
    rig.pass(600_000);
    assert!(rig.connects >= 1);
}

#[test]
fn what_is_not_right_is_set_apart_and_acknowledged() {
    let mut mesh = Mesh::new(&[BEN, CEM]);
    let forged = |change: fn(&mut Push)| {
        let mut rig = rig();
        let mut message = push(&rig.mesh, BEN, ANA, "one", NOW);
        change(&mut message);
        rig.frame(message);
        let [Event::Rejected { reason, .. }] = rig.events.as_slice() else {
            panic!("{:?}", rig.events)
        };
        assert_eq!(rig.acked(), ["broker-one"]);
        assert_eq!(rig.inbox()[0].message.kind, Kind::Rejected);
        reason.clone()
    };
    forged(|push| push.sender_member_pubkey = Some(key(CEM).to_hex()));
    forged(|push| push.ciphertext.replace_range(10..12, "zz"));
    forged(|push| push.client_message_id = Some("other".into()));
    forged(|push| push.mesh_id = "other".into());
    forged(|push| push.sender_member_pubkey = Some("nobody".into()));
    // Bare text of a member that is in the log.
    let bare = |push: &mut Push| {
        let shared = claudemesh_core::crypto::DirectKey::agree(
            &claudemesh_core::crypto::X25519Secret::of(&pair(BEN)),
            &key(ANA),
        );
        let sealed = shared.unwrap().seal(&[5; 24], b"plain").unwrap();
        push.nonce = claudemesh_core::encoding::base64(&[5; 24]);
        push.ciphertext = claudemesh_core::encoding::base64(&sealed);
        push.form = None;
    };
    forged(bare);
    mesh.remove(ANA, BEN);
    let mut rig = Rig::connected(&mesh, ANA);
    rig.frame(push(&mesh, BEN, ANA, "late", NOW));
    assert!(matches!(&rig.events[0],
        Event::Rejected { reason, .. } if reason == "sender_removed"));
}

#[test]
fn a_message_is_not_taken_longer_than_it_is_remembered() {
    let mut rig = rig();
    let oldest = NOW - (MAX_AGE_MS - MAX_AHEAD_MS);
    rig.frame(push(&rig.mesh, BEN, ANA, "old", oldest));
    rig.frame(push(&rig.mesh, BEN, ANA, "older", oldest - 1));
    rig.frame(push(&rig.mesh, BEN, ANA, "ahead", NOW + MAX_AHEAD_MS));
    let kinds: Vec<Kind> = rig.inbox().iter().map(|row| row.message.kind).collect();
    assert_eq!(kinds, [Kind::Direct, Kind::Rejected, Kind::Direct]);
}

#[test]
fn an_unknown_sender_is_looked_up_once() {
    let mut rig = rig();
    let mut grown = rig.mesh.clone();
    grown.join(4);
    let head = grown.head();
    // The head is shown newer than what is held, so the log may be behind.
    rig.broken();
    rig.forget();
    rig.pass(31_000);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let mut ack = rig.hello_ack();
    ack.log_head = Some(head.clone());
    rig.frame(ack);
    for id in ["one", "two"] {
        rig.frame(push(&grown, 4, ANA, id, NOW));
    }
    assert!(rig.inbox().is_empty());
    let gets = rig.log_gets();
    assert_eq!(gets.len(), 1);
    let from = gets[0].from;
    rig.frame(LogEntries {
        from,
        entries: grown.entries[from as usize..].iter().map(blob).collect(),
        head,
        req_id: gets[0].req_id.clone(),
        ..LogEntries::default()
    });
    let inbox = rig.inbox();
    assert!(inbox.len() == 2 && inbox.iter().all(|row| row.message.verified));
    assert_eq!(inbox[0].message.sender_name, Name::new("somebody").ok());
    // Without an answer they are judged by what is known.
    let mut rig = self::rig();
    rig.broken();
    rig.pass(31_000);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let mut ack = rig.hello_ack();
    ack.log_head.as_mut().unwrap().seq += 5;
    ack.log_head.as_mut().unwrap().hash = Hash([1; 32]).to_hex();
    rig.frame(ack);
    rig.frame(push(&grown, 4, ANA, "one", NOW));
    assert!(rig.inbox().is_empty());
    rig.pass(11_000);
    assert!(rig.inbox().len() == 1 && !rig.inbox()[0].message.verified);
}

#[test]
fn a_senders_subtype_changes_nothing() {
    let mut rig = rig();
    let mut message = push(&rig.mesh, BEN, ANA, "one", NOW);
    message.subtype = Some("mine".into());
    rig.frame(message);
    assert_eq!(rig.acked(), ["broker-one"]);
    assert_eq!(rig.events, [Event::Received]);
}

#[test]
fn in_memory_a_message_is_acknowledged_when_it_is_taken() {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::with(&mesh, config(&mesh, ANA, false));
    rig.connect();
    let message = push(&mesh, BEN, ANA, "one", NOW);
    rig.frame(message.clone());
    assert_eq!(rig.events, [Event::Received]);
    // A new connection pushes it again before anybody took it.
    rig.broken();
    rig.reconnect();
    rig.frame(message.clone());
    assert!(rig.acked().is_empty());
    rig.command(Command::Taken(vec!["broker-one".into()]));
    assert_eq!(rig.acked(), ["broker-one"]);
    rig.frame(message);
    assert_eq!(rig.acked().len(), 2);
    assert_eq!(rig.inbox().len(), 1);
}

#[test]
fn what_comes_before_the_answer_to_the_hello_is_acknowledged_after_it() {
    let mut rig = Rig::new(&Mesh::new(&[BEN]), ANA);
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let mut message = push(&rig.mesh, BEN, ANA, "one", NOW);
    message.form = Some(FORM.into());
    rig.frame(message);
    let ack = rig.hello_ack();
    rig.frame(ack);
    assert_eq!(rig.acked(), ["broker-one"]);
}

#[test]
fn rubbish_fills_neither_memory_nor_disk() {
    let mut rig = rig();
    for number in 0..10_000 {
        rig.frame(Push {
            message_id: format!("m{number}"),
            mesh_id: rig.mesh.id().as_str().into(),
            sender_pubkey: "system".into(),
            sender_name: Some("x".repeat(10_000)),
            priority: "next".into(),
            nonce: "n".into(),
            ciphertext: "c".repeat(1_000),
            ..Push::default()
        });
        rig.events.clear();
    }
    assert_eq!(rig.acked().len(), 10_000);
    assert_eq!(rig.inbox().len(), 1_000);
    // A store that does not answer, and a broker that keeps to no window.
    let mut rig = self::rig();
    rig.slow_store = true;
    for number in 0..10_000 {
        rig.frame(push(
            &rig.mesh.clone(),
            BEN,
            ANA,
            &format!("m{number}"),
            NOW,
        ));
        if rig.closes > 0 {
            break;
        }
    }
    assert_eq!(rig.closes, 1);
    assert!(rig.waiting.len() < 10, "{}", rig.waiting.len());
    // Frames of a socket that was given up do nothing.
    rig.frame(push(&rig.mesh.clone(), BEN, ANA, "more", NOW));
    assert_eq!(rig.closes, 1);
}

#[test]
fn a_store_that_is_behind_stops_the_reading() {
    let mut rig = rig();
    rig.slow_store = true;
    let mut frames = 0;
    while rig.session.wants_frames() && frames < 10_000 {
        frames += 1;
        rig.frame(claudemesh_core::wire::Receipt {
            message_id: format!("m{frames}"),
            client_message_id: Some(format!("c{frames}")),
            state: claudemesh_core::wire::ReceiptState::Delivered,
            reason: Some("\u{1b}[2J".repeat(10_000)),
            delivered: None,
            failed: None,
            of: None,
        });
    }
    assert!(frames < 2_000);
    rig.store_all();
    assert!(rig.session.wants_frames());
}

#[test]
fn a_push_without_an_id_of_the_brokers_is_nothing() {
    let mut rig = rig();
    for (length, taken) in [(0, 0), (129, 0), (128, 1)] {
        let mut push = push(&rig.mesh.clone(), BEN, ANA, "one", NOW);
        push.message_id = "b".repeat(length);
        rig.frame(push);
        assert_eq!(rig.inbox().len(), taken, "{length}");
    }
    assert_eq!(rig.acked(), ["b".repeat(128)]);
}

#[test]
fn what_was_on_its_way_to_the_disk_is_acknowledged_where_it_is_pushed_again() {
    let mut rig = rig();
    rig.slow_store = true;
    let one = push(&rig.mesh.clone(), BEN, ANA, "one", NOW);
    rig.frame(one.clone());
    rig.broken();
    rig.forget();
    rig.reconnect();
    rig.store_all();
    assert!(rig.acked().is_empty(), "nothing was pushed here yet");
    rig.frame(one);
    rig.store_all();
    assert_eq!(rig.acked(), ["broker-one"]);
    assert_eq!(rig.inbox().len(), 1);
}

#[test]
fn what_came_and_was_kept_does_not_count_against_what_comes() {
    // More in all than may wait at once, from a member and from somebody unknown.
    let mut rig = rig();
    let stranger = Mesh::new(&[BEN, 9]);
    for number in 0..36 {
        for (mesh, from) in [(rig.mesh.clone(), BEN), (stranger.clone(), 9)] {
            let mut big = push(&mesh, from, ANA, &format!("{from}-{number}"), NOW);
            big.sender_name = Some("x".repeat(1_000_000));
            rig.frame(big);
            // The log is asked for whom nobody knows; it is as it was.
            rig.show_log(&rig.mesh.clone());
            assert_eq!(rig.closes, 0, "{number}");
            rig.forget();
        }
    }
    // And what is not kept does.
    rig.slow_store = true;
    for number in 0..70 {
        let mut big = push(&rig.mesh.clone(), BEN, ANA, &format!("w{number}"), NOW);
        big.sender_name = Some("x".repeat(1_000_000));
        rig.frame(big);
    }
    assert_eq!(rig.closes, 1);
}
