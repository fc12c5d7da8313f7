//! Addresses of sessions: whose word counts, what is kept, and the own name and key.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, Name, PublicKey, SessionName, Status, Wake};
use claudemesh_core::identity::{ADDRESS_MAX_TTL_MS, SessionAddress};
use claudemesh_core::membership::{Body, Role};
use claudemesh_core::session::{Command, Event, In, OwnSession, Reply, SessionError};
use claudemesh_core::store::{PeerOp, PeerStore, Pin, Query, Rows};
use claudemesh_core::wire::{
    ClientFrame, LogAppended, LogHead, PeersList, SessionHello, SetStatus, SignedBlob,
};

use crate::support::*;

/// A session's address as its member says it.
struct Said {
    mesh: MeshId,
    member: u8,
    session: u8,
    name: &'static str,
    since: u64,
    made_at: u64,
}

impl Said {
    fn of(mesh: &Mesh, member: u8, session: u8) -> Self {
        Self {
            mesh: mesh.id(),
            member,
            session,
            name: "laptop",
            since: NOW,
            made_at: NOW,
        }
    }

    fn blob(&self) -> SignedBlob {
        let address = SessionAddress {
            mesh: self.mesh.clone(),
            member: key(self.member),
            session: key(self.session),
            name: SessionName::new(self.name).unwrap(),
            wake: Wake::Push,
            since: self.since,
            made_at: self.made_at,
            expires_at: self.made_at + ADDRESS_MAX_TTL_MS,
        };
        let signed = address.make(&pair(self.member), &pair(self.session));
        SignedBlob::from(&signed.unwrap())
    }
}

/// A message comes that shows an address.
fn show(rig: &mut Rig, blob: SignedBlob) {
    let mesh = rig.mesh.clone();
    let number = rig.inbox().len();
    let mut message = push(&mesh, CEM, ANA, &format!("m{number}"), NOW);
    message.address = Some(blob);
    rig.frame(message);
}

fn known(rig: &mut Rig) -> Vec<SessionAddress> {
    let command = rig.command(Command::KnownSessions);
    match rig.answer(command) {
        Some(Ok(Reply::Sessions(known))) => known.clone(),
        other => panic!("{other:?}"),
    }
}

fn keys(rig: &mut Rig) -> Vec<PublicKey> {
    known(rig).iter().map(|address| address.session).collect()
}

fn pinned(rig: &Rig) -> Vec<Pin> {
    match rig.store.read(&Query::Pins) {
        Ok(Rows::Pins(pins)) => pins
            .into_iter()
            .filter(|pin| pin.name.starts_with("session:"))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

#[test]
fn an_address_that_its_member_signed_is_known_also_to_the_next_process() {
    let mut rig = rig();
    let blob = Said::of(&rig.mesh, BEN, 60).blob();
    show(&mut rig, blob.clone());
    assert_eq!(keys(&mut rig), [key(60)]);
    assert_eq!(known(&mut rig)[0].member, key(BEN));
    show(&mut rig, blob);
    assert_eq!((keys(&mut rig).len(), pinned(&rig).len()), (1, 1));
    let mesh = rig.mesh.clone();
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), rig.store);
    assert_eq!(keys(&mut rig), [key(60)]);
    // Until its time is over.
    rig.now.wall += ADDRESS_MAX_TTL_MS;
    assert!(keys(&mut rig).is_empty());
}

#[test]
fn nobody_else_says_where_a_members_session_is() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let of_stranger = Said::of(&mesh, 9, 60);
    let key_of_member = Said::of(&mesh, CEM, BEN);
    let other_mesh = Said {
        mesh: MeshId::new("a".repeat(32)).unwrap(),
        ..Said::of(&mesh, BEN, 60)
    };
    let expired = Said {
        made_at: NOW - ADDRESS_MAX_TTL_MS - 1,
        ..Said::of(&mesh, BEN, 60)
    };
    for said in [of_stranger, key_of_member, other_mesh, expired] {
        show(&mut rig, said.blob());
        assert!(keys(&mut rig).is_empty());
    }
    let mut forged = Said::of(&mesh, BEN, 60).blob();
    let changed = if forged.sig.starts_with('0') {
        "1"
    } else {
        "0"
    };
    forged.sig.replace_range(..1, changed);
    show(&mut rig, forged);
    assert!(keys(&mut rig).is_empty() && pinned(&rig).is_empty());
    // The same bytes with another signature are not what was verified.
    let blob = Said::of(&mesh, BEN, 60).blob();
    show(&mut rig, blob.clone());
    let mut other = blob;
    other.sig.replace_range(..1, changed);
    show(&mut rig, other);
    assert_eq!(keys(&mut rig), [key(60)]);
}

#[test]
fn a_newer_address_replaces_an_older_one_of_the_same_member_only() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let at = |member, made_at, name| {
        Said {
            made_at,
            name,
            ..Said::of(&mesh, member, 60)
        }
        .blob()
    };
    let name = |rig: &mut Rig| known(rig)[0].name.as_str().to_owned();
    show(&mut rig, at(BEN, NOW - 100, "first"));
    show(&mut rig, at(BEN, NOW, "second"));
    assert_eq!(name(&mut rig), "second");
    show(&mut rig, at(BEN, NOW - 100, "first"));
    show(&mut rig, at(BEN, NOW, "same"));
    assert_eq!(name(&mut rig), "second");
    show(&mut rig, at(CEM, NOW + 1, "taken"));
    let held = known(&mut rig);
    assert_eq!((held.len(), held[0].member), (1, key(BEN)));
    assert_eq!(
        (name(&mut rig), pinned(&rig).len()),
        ("second".to_owned(), 1)
    );
}

#[test]
fn of_one_member_the_newest_sixty_four_are_remembered() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    show(&mut rig, Said::of(&mesh, CEM, 59).blob());
    for number in 0..70 {
        let said = Said {
            made_at: NOW - 70 + u64::from(number),
            ..Said::of(&mesh, BEN, 100 + number)
        };
        show(&mut rig, said.blob());
    }
    let held = keys(&mut rig);
    assert_eq!((held.len(), pinned(&rig).len()), (65, 65));
    assert!(held.contains(&key(59)), "others' stay");
    assert!(!held.contains(&key(105)) && held.contains(&key(106)));
    // A renewal needs no room.
    let renewed = Said {
        made_at: NOW + 1,
        ..Said::of(&mesh, BEN, 110)
    };
    show(&mut rig, renewed.blob());
    assert_eq!(keys(&mut rig).len(), 65);
    assert!(keys(&mut rig).contains(&key(106)));
}

#[test]
fn with_the_member_its_sessions_are_out_and_a_message_to_them_is_refused() {
    let mut rig = rig();
    let blob = Said::of(&rig.mesh, BEN, 60).blob();
    show(&mut rig, blob.clone());
    let mut grown = rig.mesh.clone();
    let removed = grown.remove(ANA, BEN);
    rig.frame(LogAppended {
        head: grown.head(),
        entry: Some(crate::support::blob(&removed)),
        ..LogAppended::default()
    });
    assert!(keys(&mut rig).is_empty());
    let command = rig.send(60, "hello");
    let out = Err(SessionError::RecipientRemoved(key(BEN)));
    assert_eq!(rig.answer(command), Some(&out));
    // And no new one is believed.
    let later = Said {
        made_at: NOW + 1,
        ..Said::of(&rig.mesh, BEN, 61)
    };
    show(&mut rig, later.blob());
    assert!(keys(&mut rig).is_empty());
}

#[test]
fn a_message_to_a_session_whose_time_is_over_or_that_nobody_knows_is_refused() {
    let mut rig = rig();
    let blob = Said::of(&rig.mesh, BEN, 60).blob();
    show(&mut rig, blob);
    let command = rig.send(60, "hello");
    assert!(matches!(rig.answer(command), Some(Ok(Reply::Queued(..)))));
    rig.now.wall += ADDRESS_MAX_TTL_MS;
    let command = rig.send(60, "hello");
    let gone = Err(SessionError::SessionGone(key(60)));
    assert_eq!(rig.answer(command), Some(&gone));
    let command = rig.send(61, "hello");
    let nobody = Err(SessionError::NotAMember(key(61)));
    assert_eq!(rig.answer(command), Some(&nobody));
}

#[test]
fn an_address_that_was_changed_on_the_disk_is_not_believed() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    show(&mut rig, Said::of(&mesh, BEN, 60).blob());
    // Somebody writes a stranger's address, and one that nobody signed, beside it.
    let stranger = Said::of(&mesh, 9, 61).blob();
    let mut unsigned = Said::of(&mesh, BEN, 62).blob();
    let changed = if unsigned.sig.starts_with('0') {
        "1"
    } else {
        "0"
    };
    unsigned.sig.replace_range(..1, changed);
    for (seed, blob) in [(61, stranger), (62, unsigned)] {
        let name = format!("session:{}", key(seed));
        let value = serde_json::to_string(&blob).unwrap();
        let pin = PeerOp::Pin(Pin { name, value });
        rig.store.apply(&[pin]).unwrap();
    }
    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), rig.store);
    assert_eq!(keys(&mut rig), [key(60)]);
    rig.connect();
    for seed in [61, 62] {
        let command = rig.send(seed, "hello");
        let nobody = Err(SessionError::NotAMember(key(seed)));
        assert_eq!(rig.answer(command), Some(&nobody));
    }
}

/// Ana as a session with a key of its own.
fn own() -> Rig {
    let mesh = Mesh::new(&[BEN, CEM]);
    let mut rig = Rig::new(&mesh, ANA);
    rig.session.be_session(OwnSession {
        key: Arc::new(pair(70)),
        name: SessionName::new("laptop").unwrap(),
        wake: Wake::Hook,
        made_at: NOW,
    });
    rig
}

fn hello(rig: &Rig) -> Option<SessionHello> {
    rig.sent.iter().find_map(|frame| match frame {
        ClientFrame::SessionHello(hello) => Some(hello.clone()),
        _ => None,
    })
}

fn asks_who_is_here(rig: &Rig) -> usize {
    let asks = |frame: &&ClientFrame| matches!(frame, ClientFrame::ListPeers(_));
    rig.sent.iter().filter(asks).count()
}

/// The addresses that were told with a status.
fn told(rig: &Rig) -> Vec<SessionAddress> {
    let told = rig.sent.iter().filter_map(|frame| match frame {
        ClientFrame::SetStatus(SetStatus { address, .. }) => address.clone(),
        _ => None,
    });
    told.map(|blob| read(rig, &blob)).collect()
}

fn read(rig: &Rig, blob: &SignedBlob) -> SessionAddress {
    let signed = blob.try_into().unwrap();
    SessionAddress::open(&signed, &rig.mesh.id(), rig.now.wall).unwrap()
}

#[test]
fn a_session_says_its_address_in_its_hello_and_asks_who_else_is_called_so() {
    let mut rig = own();
    rig.dial();
    let hello = hello(&rig).unwrap();
    let address = read(&rig, &hello.address.unwrap());
    assert_eq!((address.member, address.session), (key(ANA), key(70)));
    assert_eq!(
        (address.name.as_str(), address.wake),
        ("laptop", Wake::Hook)
    );
    assert_eq!(address.since, NOW);
    assert_eq!(asks_who_is_here(&rig), 0);
    let ack = rig.hello_ack();
    rig.frame(ack);
    assert_eq!(asks_who_is_here(&rig), 1);
    let own = rig.session.own_session().unwrap();
    assert_eq!(own.key, key(70));
    // Who is no session does neither.
    let mut plain = self::rig();
    assert!(plain.session.own_session().is_none());
    plain.broken();
    plain.reconnect();
    assert_eq!((self::hello(&plain), asks_who_is_here(&plain)), (None, 0));
}

#[test]
fn how_it_is_woken_is_told_when_it_changes_and_the_address_once_a_day() {
    let mut rig = own();
    rig.dial();
    let ack = rig.hello_ack();
    rig.frame(ack);
    rig.forget();
    rig.command(Command::SetWake(Wake::Hook));
    assert!(told(&rig).is_empty(), "that it was before");
    rig.command(Command::SetWake(Wake::Pane));
    assert_eq!(told(&rig)[0].wake, Wake::Pane);
    rig.forget();
    rig.command(Command::SetStatus(Status::Working));
    assert!(told(&rig).is_empty(), "a status alone tells no address");
    rig.command(Command::SetStatus(Status::Idle));
    let day = 86_400_000;
    for _ in 0..day / 60_000 - 1 {
        rig.put(In::Alive);
        rig.pass(60_000);
    }
    assert!(told(&rig).is_empty());
    rig.put(In::Alive);
    rig.pass(60_000);
    assert_eq!(told(&rig).len(), 1);
    assert_eq!(told(&rig)[0].expires_at, rig.now.wall + ADDRESS_MAX_TTL_MS);
}

#[test]
fn a_name_that_an_older_session_of_the_member_has_is_given_up() {
    let mesh = Mesh::new(&[BEN, CEM]);
    let older = |session, since| Said {
        since,
        made_at: NOW,
        ..Said::of(&mesh, ANA, session)
    };
    // A younger one, or another member's, is no reason.
    for (said, gives_way) in [
        (older(71, NOW + 1), false),
        (Said::of(&mesh, BEN, 71), false),
        (older(71, NOW - 1), true),
    ] {
        let mut rig = own();
        rig.dial();
        let ack = rig.hello_ack();
        rig.frame(ack);
        show(&mut rig, said.blob());
        rig.forget();
        // The list that is asked for decides.
        rig.broken();
        rig.reconnect();
        let req_id = rig.sent.iter().find_map(|frame| match frame {
            ClientFrame::ListPeers(list) => list.req_id.clone(),
            _ => None,
        });
        rig.sent.clear();
        rig.frame(PeersList {
            req_id,
            ..PeersList::default()
        });
        let renamed = rig.events.iter().find_map(|event| match event {
            Event::SessionRenamed { name } => Some(name.as_str().to_owned()),
            _ => None,
        });
        assert_eq!(renamed.is_some(), gives_way);
        if gives_way {
            assert_eq!(renamed.as_deref(), Some("laptop-2"));
            assert_eq!(told(&rig)[0].name.as_str(), "laptop-2");
        }
    }
}

#[test]
fn a_name_that_a_device_of_the_member_gets_is_given_up() {
    let mut rig = own();
    rig.dial();
    let ack = rig.hello_ack();
    rig.frame(ack);
    rig.forget();
    let mut grown = rig.mesh.clone();
    let invited = grown.say(
        ANA,
        None,
        Body::InviteIssued {
            key: key(90),
            role: Role::Device,
            expires_at: NOW + 600_000,
            max_uses: 1,
        },
    );
    let (key, name) = (key(80), Name::new("Laptop").unwrap());
    let invite = invited.hash();
    let entry = grown.say(90, Some(80), Body::DeviceLinked { key, name, invite });
    rig.frame(LogAppended {
        head: LogHead::new(grown.head().seq - 1, &invited.hash()),
        entry: Some(blob(&invited)),
        ..LogAppended::default()
    });
    rig.frame(LogAppended {
        head: grown.head(),
        entry: Some(blob(&entry)),
        ..LogAppended::default()
    });
    // Who else is here is asked first, so that the next name is free, too.
    assert_eq!(asks_who_is_here(&rig), 1);
    let req_id = rig.sent.iter().find_map(|frame| match frame {
        ClientFrame::ListPeers(list) => list.req_id.clone(),
        _ => None,
    });
    rig.frame(PeersList {
        req_id,
        ..PeersList::default()
    });
    assert_eq!(told(&rig)[0].name.as_str(), "laptop-2");
}
