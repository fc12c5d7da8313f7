//! Channels of the existing system, and names at first use: only in a mesh without a log, on a
//! broker that knows neither logs nor channels.

use claudemesh_core::encoding::{base64, unbase64};
use claudemesh_core::id::{ChannelName, MessageId, Name, Target};
use claudemesh_core::message::FORM;
use claudemesh_core::session::{
    Command, Event, In, LEGACY_KEY_CHANGED, LEGACY_PLAINTEXT, Lie, Outgoing, Protection, Reply,
    SessionConfig, SessionError,
};
use claudemesh_core::store::{Kind, MemoryStore, SendState};
use claudemesh_core::wire::{
    CAP_CHANNELS, CAP_DELIVERY, CAP_LOG, ClientFrame, HelloAck, Push, Send,
};

use crate::statements::{EVE, list, record, statement};
use crate::support::*;

const FAY: u8 = 52;

/// A mesh without a log.
fn logless(mesh: &Mesh) -> SessionConfig {
    SessionConfig {
        has_log: false,
        ..config(mesh, ANA, true)
    }
}

fn connect(rig: &mut Rig, ack: HelloAck) {
    rig.pass(31_000);
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(ack);
    rig.forget();
}

fn over(store: MemoryStore) -> Rig {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::over(&mesh, logless(&mesh), store);
    connect(&mut rig, HelloAck::default());
    rig
}

/// On the existing broker.
pub(crate) fn rig() -> Rig {
    over(MemoryStore::new())
}

fn serving(capabilities: &[&str]) -> HelloAck {
    let all = capabilities.iter().map(|&name| name.to_owned()).collect();
    HelloAck {
        capabilities: Some(all),
        ..HelloAck::default()
    }
}

fn to_channel(name: &str, text: &str) -> Outgoing {
    Outgoing {
        to: Target::Channel(ChannelName::new(name).unwrap()),
        ..outgoing(BEN, text)
    }
}

fn in_plain(name: &str, text: &str) -> Outgoing {
    Outgoing {
        protection: Protection::LegacyPlaintext,
        ..to_channel(name, text)
    }
}

fn send(rig: &mut Rig, message: Outgoing) -> Result<Reply, SessionError> {
    let command = rig.command(Command::Send(Box::new(message)));
    rig.answer(command).unwrap().clone()
}

fn queued(rig: &mut Rig, message: Outgoing) -> MessageId {
    match send(rig, message) {
        Ok(Reply::QueuedBare(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn frames(rig: &Rig) -> Vec<Send> {
    let sends = rig.sent.iter().filter_map(|frame| match frame {
        ClientFrame::Send(send) => Some(send.clone()),
        _ => None,
    });
    sends.collect()
}

/// As the existing broker pushes what was sent to many.
fn multicast(rig: &Rig, from: u8, text: &str) -> Push {
    let nonce = *claudemesh_core::crypto::sha256(text.as_bytes())
        .0
        .first_chunk::<24>()
        .unwrap();
    Push {
        message_id: format!("row-{text}").replace(' ', "-"),
        mesh_id: rig.mesh.id().as_str().to_owned(),
        sender_pubkey: key(from).to_hex(),
        sender_member_pubkey: Some(key(from).to_hex()),
        sender_member_id: Some("M0".into()),
        sender_name: Some("eve".into()),
        priority: "next".into(),
        nonce: base64(&nonce),
        ciphertext: base64(text.as_bytes()),
        created_at: "2026-01-01T00:00:00.000Z".into(),
        ..Push::default()
    }
}

fn is_rejected(rig: &mut Rig, mut push: Push) -> bool {
    rig.forget();
    // A rejected message is kept, and told, once.
    rig.pass(1);
    push.message_id = format!("row-{}", rig.now.mono);
    let before = shown(rig);
    rig.frame(push);
    let told = |event: &Event| matches!(event, Event::Rejected { .. });
    rig.events.iter().any(told) && shown(rig) == before
}

fn shown(rig: &Rig) -> usize {
    let rows = rig.inbox();
    (rows.iter())
        .filter(|row| row.message.kind != Kind::Rejected)
        .count()
}

fn changed(rig: &Rig) -> Vec<Lie> {
    let lies = rig.events.iter().filter_map(|event| match event {
        Event::LiedTo(lie @ Lie::KeyChanged { .. }) => Some(lie.clone()),
        _ => None,
    });
    lies.collect()
}

#[test]
fn nothing_goes_out_in_plain_by_default() {
    let mut rig = rig();
    for name in ["*", "@ops", "#deploys"] {
        let refused = send(&mut rig, to_channel(name, "secret")).unwrap_err();
        assert!(matches!(refused, SessionError::NobodyTrusted(_)));
        let text = refused.to_string();
        assert!(
            text.contains("nothing was sent") && text.contains("LegacyPlaintext"),
            "{text}"
        );
    }
    // In a mesh with a log neither, whatever the broker serves.
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    assert_eq!(
        send(&mut rig, to_channel("*", "secret")),
        Err(SessionError::ChannelsUnserved)
    );
    assert!(frames(&rig).is_empty());
}

#[test]
fn text_goes_out_in_plain_where_that_was_said() {
    let mut rig = rig();
    let mut nonces = Vec::new();
    for name in ["*", "@ops", "#k3v9topicid"] {
        let id = queued(&mut rig, in_plain(name, "héllo"));
        let frame = frames(&rig).pop().unwrap();
        assert_eq!(frame.target_spec, name);
        assert_eq!(frame.client_message_id.as_deref(), Some(id.as_str()));
        assert_eq!(unbase64(&frame.ciphertext).unwrap(), "héllo".as_bytes());
        assert_eq!(unbase64(&frame.nonce).unwrap().len(), 24);
        assert_eq!((frame.form, frame.reply_to_id), (None, None));
        nonces.push(frame.nonce);
        rig.frame(accepted(&id));
        assert_eq!(rig.row(&id).state, SendState::Accepted);
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 3);
}

#[test]
fn only_text_to_a_channel_goes_out_in_plain() {
    let mut rig = rig();
    for message in [
        Outgoing {
            attributes: vec!["hops=1".into()],
            ..in_plain("*", "x")
        },
        Outgoing {
            content_type: "application/json".into(),
            ..in_plain("*", "x")
        },
        Outgoing {
            reply_to: Some(MessageId::new("m").unwrap()),
            ..in_plain("*", "x")
        },
        Outgoing {
            body: vec![0xff],
            ..in_plain("*", "x")
        },
        // To one peer everything is sealed.
        Outgoing {
            protection: Protection::LegacyPlaintext,
            to_unverified: true,
            ..outgoing(BEN, "x")
        },
    ] {
        let refused = send(&mut rig, message);
        assert!(
            matches!(refused, Err(SessionError::PlaintextRefused(_))),
            "{refused:?}"
        );
    }
    let state = send(&mut rig, in_plain("$state", "x"));
    assert!(matches!(state, Err(SessionError::NoSuchChannel(_))));
    let long = send(&mut rig, in_plain("*", &"x".repeat(70_000)));
    assert!(matches!(long, Err(SessionError::Message(_))), "{long:?}");
    // Nor later.
    for command in [
        Command::Schedule {
            message: Box::new(in_plain("*", "x")),
            at: NOW + 60_000,
        },
        Command::ScheduleCron {
            message: Box::new(in_plain("*", "x")),
            cron: "* * * * *".into(),
        },
    ] {
        let command = rig.command(command);
        assert!(matches!(
            rig.answer(command),
            Some(Err(SessionError::PlaintextRefused(_)))
        ));
    }
    assert!(frames(&rig).is_empty());
}

#[test]
fn the_option_does_nothing_where_there_is_something_better() {
    let refused = |rig: &mut Rig| {
        let refused = send(rig, in_plain("*", "x"));
        assert!(
            matches!(refused, Err(SessionError::PlaintextRefused(_))),
            "{refused:?}"
        );
        assert!(frames(rig).is_empty());
    };
    // A mesh with a log; also while it is not connected, and if the broker shows none of it.
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::connected(&mesh, ANA);
    refused(&mut rig);
    rig.broken();
    refused(&mut rig);
    connect(&mut rig, HelloAck::default());
    refused(&mut rig);
    // One that is known to have a log which was never fetched.
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), MemoryStore::new());
    connect(&mut rig, HelloAck::default());
    refused(&mut rig);
    // A broker that knows our channels, or logs.
    for capabilities in [&[CAP_CHANNELS, CAP_LOG][..], &[CAP_CHANNELS], &[CAP_LOG]] {
        let mut rig = Rig::over(&mesh, logless(&mesh), MemoryStore::new());
        connect(&mut rig, serving(capabilities));
        refused(&mut rig);
    }
    // No connection: which broker it will be is not known.
    let mut rig = self::rig();
    rig.broken();
    let offline = send(&mut rig, in_plain("*", "x"));
    assert!(matches!(offline, Err(SessionError::NotConnected(_))));
}

#[test]
fn what_waits_in_plain_does_not_go_to_another_broker() {
    let mut rig = rig();
    let first = queued(&mut rig, in_plain("*", "one"));
    rig.frame(refused(&first, claudemesh_core::wire::errors::code::BUSY));
    let second = queued(&mut rig, in_plain("*", "two"));
    assert_eq!(rig.sends(), [first.as_str()]);
    // To the same one it goes.
    rig.pass(5_000);
    assert!(rig.sends().contains(&second.as_str().to_owned()));
    rig.frame(accepted(&first));
    rig.frame(accepted(&second));
    let third = queued(&mut rig, in_plain("*", "three"));
    rig.frame(refused(&third, claudemesh_core::wire::errors::code::BUSY));
    let fourth = queued(&mut rig, in_plain("*", "four"));
    rig.broken();
    connect(&mut rig, serving(&[CAP_DELIVERY, CAP_LOG, CAP_CHANNELS]));
    rig.pass(5_000);
    let row = rig.row(&fourth);
    assert_eq!(row.state, SendState::Failed);
    assert!(row.reason.unwrap().contains("send it again"));
    assert!(!rig.sends().contains(&fourth.as_str().to_owned()));
}

#[test]
fn plain_text_to_many_is_shown_and_marked() {
    let mut rig = rig();
    let push = multicast(&rig, EVE, "hello team");
    rig.frame(push.clone());
    // Pushed again it is the same.
    rig.frame(push);
    let inbox = rig.inbox();
    assert_eq!(inbox.len(), 1);
    let message = &inbox[0].message;
    assert!(!message.is_protected() && !message.verified);
    assert_eq!(message.attributes, [LEGACY_PLAINTEXT]);
    assert_eq!((message.kind, message.sender), (Kind::Direct, key(EVE)));
    assert_eq!(message.sender_name, Name::new("eve").ok());
    assert_eq!(message.body, b"hello team");
    assert!(rig.events.contains(&Event::Received));
}

#[test]
fn plain_text_before_the_answer_to_the_hello_is_judged_after_it() {
    for (ack, taken) in [
        (HelloAck::default(), 1),
        (serving(&[CAP_CHANNELS, CAP_DELIVERY]), 0),
    ] {
        let mesh = Mesh::new(&[BEN]);
        let mut rig = Rig::over(&mesh, logless(&mesh), MemoryStore::new());
        rig.put(In::Tick);
        rig.put(In::Opened {
            challenge: None,
            date: None,
        });
        let push = multicast(&rig, EVE, "early");
        rig.frame(push);
        assert_eq!(shown(&rig), 0);
        rig.frame(ack);
        assert_eq!(shown(&rig), taken);
    }
}

#[test]
fn plain_text_is_never_a_direct_message() {
    let mut rig = rig();
    let good = multicast(&rig, EVE, "pay him");
    let hex = key(ANA).to_hex();
    let direct = Push {
        client_message_id: Some("01J".into()),
        sender_member_pubkey: None,
        sender_member_id: None,
        sender_name: None,
        ..good.clone()
    };
    for push in [
        direct.clone(),
        Push {
            client_message_id: None,
            ..direct
        },
        Push {
            client_message_id: Some("01J".into()),
            ..good.clone()
        },
        Push {
            request_fingerprint: Some("00".into()),
            ..good.clone()
        },
        Push {
            form: Some(FORM.into()),
            ..good.clone()
        },
        Push {
            form: Some("plain".into()),
            ..good.clone()
        },
        Push {
            target: Some(hex),
            ..good.clone()
        },
        Push {
            target: Some("*".into()),
            ..good.clone()
        },
        // Its own words, as the broker says.
        Push {
            sender_member_pubkey: Some(key(ANA).to_hex()),
            ..good.clone()
        },
        Push {
            sender_member_pubkey: Some("nobody".into()),
            ..good.clone()
        },
        Push {
            sender_pubkey: "webhook:ci".into(),
            ..good.clone()
        },
        // No text in base64 with a nonce.
        Push {
            ciphertext: "not base64!".into(),
            ..good.clone()
        },
        Push {
            ciphertext: base64(&[0xff, 0xfe]),
            ..good.clone()
        },
        Push {
            ciphertext: String::new(),
            ..good.clone()
        },
        Push {
            nonce: base64(&[1; 12]),
            ..good.clone()
        },
        Push {
            mesh_id: "another".into(),
            ..good.clone()
        },
    ] {
        let what = format!("{push:?}");
        assert!(is_rejected(&mut rig, push), "{what}");
    }
    rig.frame(good);
    assert_eq!(shown(&rig), 1);
}

#[test]
fn plain_text_is_not_taken_where_there_is_something_better() {
    let mesh = Mesh::new(&[BEN]);
    // In a mesh with a log: of a member, of somebody else, and also if the broker shows no log.
    let mut rig = Rig::connected(&mesh, ANA);
    for from in [BEN, EVE] {
        let push = multicast(&rig, from, "x");
        assert!(is_rejected(&mut rig, push));
    }
    rig.broken();
    connect(&mut rig, HelloAck::default());
    for from in [BEN, EVE] {
        let push = multicast(&rig, from, "y");
        assert!(is_rejected(&mut rig, push));
    }
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), MemoryStore::new());
    connect(&mut rig, HelloAck::default());
    let push = multicast(&rig, BEN, "x");
    assert!(is_rejected(&mut rig, push));
    // On a broker that knows our channels.
    let mut rig = Rig::over(&mesh, logless(&mesh), MemoryStore::new());
    connect(&mut rig, serving(&[CAP_CHANNELS]));
    let push = multicast(&rig, EVE, "x");
    assert!(is_rejected(&mut rig, push));
    // Of one who once showed that it understands more, under either of its keys.
    let mut rig = self::rig();
    let word = statement(&rig.mesh, EVE, |_| {});
    list(&mut rig, vec![record(EVE, Some(word))]);
    let push = multicast(&rig, EVE, "x");
    assert!(is_rejected(&mut rig, push.clone()));
    let other = Push {
        sender_member_pubkey: Some(key(FAY).to_hex()),
        ..push
    };
    assert!(is_rejected(&mut rig, other));
}

/// Lists two sessions of one name, and says whether each is marked.
fn marks(rig: &mut Rig, seeds: &[u8]) -> Vec<bool> {
    let named = |seed: &u8| {
        let mut record = record(*seed, None);
        record.member_pubkey = Some(key(*seed).to_hex());
        record.display_name = "eve".into();
        record
    };
    let command = rig.command(Command::ListPeers);
    let asked = rig.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::ListPeers(ask) => ask.req_id.clone(),
        _ => None,
    });
    rig.frame(claudemesh_core::wire::PeersList {
        peers: seeds.iter().map(named).collect(),
        req_id: asked,
        ..claudemesh_core::wire::PeersList::default()
    });
    match rig.answer(command) {
        Some(Ok(Reply::Peers(here))) => here.sessions.iter().map(|s| s.key_changed).collect(),
        other => panic!("{other:?}"),
    }
}

fn trust(rig: &mut Rig, seed: u8) -> Vec<Name> {
    let command = rig.command(Command::Trust(key(seed)));
    match rig.answer(command) {
        Some(Ok(Reply::Trusted(names))) => names.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_known_name_with_another_key_is_told_and_marked_until_it_is_trusted() {
    let mut rig = rig();
    assert_eq!(marks(&mut rig, &[EVE]), [false]);
    assert_eq!(trust(&mut rig, EVE), []);
    // In another process, by what the store holds.
    let mut rig = over(std::mem::take(&mut rig.store));
    assert_eq!(marks(&mut rig, &[FAY, EVE]), [true, false]);
    assert_eq!(marks(&mut rig, &[FAY]), [true]);
    let name = Name::new("eve").unwrap();
    let lie = Lie::KeyChanged {
        name: name.clone(),
        old: key(EVE),
        new: key(FAY),
    };
    // Told once.
    assert_eq!(changed(&rig), [lie]);
    // What it says is marked, too.
    let push = multicast(&rig, FAY, "hello");
    rig.frame(push);
    let inbox = rig.inbox();
    assert_eq!(
        inbox[0].message.attributes,
        [LEGACY_PLAINTEXT, LEGACY_KEY_CHANGED]
    );
    assert_eq!(trust(&mut rig, FAY), [name]);
    assert_eq!(marks(&mut rig, &[FAY, EVE]), [false, false]);
    // For good; and for nobody else.
    let mut rig = over(std::mem::take(&mut rig.store));
    assert_eq!(marks(&mut rig, &[FAY, EVE, BEN]), [false, false, true]);
    assert_eq!(changed(&rig).len(), 1);
}

#[test]
fn a_name_that_came_with_a_message_is_known_too() {
    let mut rig = rig();
    let push = multicast(&rig, EVE, "one");
    rig.frame(push);
    assert_eq!(changed(&rig), []);
    let push = multicast(&rig, FAY, "two");
    rig.frame(push);
    assert_eq!(changed(&rig).len(), 1);
}

#[test]
fn names_are_kept_within_bounds_and_only_without_a_log() {
    let mut rig = rig();
    for n in 0..4_200_u32 {
        let mut push = multicast(&rig, EVE, &n.to_string());
        push.sender_name = Some(format!("n{n}"));
        rig.frame(push);
    }
    let claudemesh_core::store::Rows::Pins(pins) =
        claudemesh_core::store::PeerStore::read(&rig.store, &claudemesh_core::store::Query::Pins)
            .unwrap()
    else {
        panic!()
    };
    let names = pins.iter().filter(|pin| pin.name.starts_with("key:"));
    assert_eq!(names.count(), 4_096);
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    assert_eq!(marks(&mut rig, &[EVE, FAY]), [false, false]);
    assert_eq!(changed(&rig), []);
}

/// Their clients serve files, folders and tools to whoever asks through the broker. Ours does not,
/// whichever broker it is on.
#[test]
fn what_peers_ask_of_files_folders_and_tools_is_never_answered() {
    let own = Rig::connected(&Mesh::new(&[BEN]), ANA);
    for mut rig in [rig(), own] {
        for frame in [
            r#"{"type":"peer_file_request_forward","requesterPubkey":"aa","filePath":"Cargo.toml","_reqId":"1"}"#,
            r#"{"type":"peer_dir_request_forward","requesterPubkey":"aa","dirPath":".","pattern":"*","_reqId":"2"}"#,
            r#"{"type":"mcp_call_forward","callId":"c","serverName":"s","toolName":"t","args":{},"callerName":"eve"}"#,
        ] {
            rig.forget();
            let before = rig.closes;
            rig.put(In::Frame(frame.to_owned()));
            rig.pass(1_000);
            assert_eq!(rig.sent, [], "{frame}");
            assert_eq!((rig.closes, shown(&rig)), (before, 0), "{frame}");
        }
    }
}
