//! What the kinds of entries mean for the peer that reads them.

use claudemesh_core::id::{Hash, MessageId, Name};
use claudemesh_core::membership::{Body, Role};
use claudemesh_core::session::Event;
use claudemesh_core::store::{Kind, SendState};
use claudemesh_core::wire::{ClientFrame, LogAppended};

use crate::support::*;

const PHONE: u8 = 40;
const HEIR: u8 = 50;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A mesh in which Ben has a phone.
fn with_phone() -> Mesh {
    let mut mesh = Mesh::new(&[BEN, CEM]);
    let issued = Body::InviteIssued {
        key: key(140),
        role: Role::Device,
        expires_at: NOW + 600_000,
        max_uses: 1,
    };
    let invite: Hash = mesh.say(BEN, None, issued).hash();
    let linked = Body::DeviceLinked {
        key: key(PHONE),
        name: name("phone"),
        invite,
    };
    mesh.say(140, Some(PHONE), linked);
    mesh
}

/// The broker tells the newest entry of a log that has grown.
fn told(rig: &mut Rig, grown: &Mesh) {
    rig.frame(LogAppended {
        head: grown.head(),
        entry: grown.entries.last().map(blob),
        ..LogAppended::default()
    });
}

fn people(rig: &Rig) -> Vec<Event> {
    let events = rig.events.iter().filter(|event| {
        matches!(
            event,
            Event::MemberJoined { .. }
                | Event::MemberRemoved { .. }
                | Event::RoleChanged { .. }
                | Event::OwnerChanged { .. }
        )
    });
    events.cloned().collect()
}

#[test]
fn a_device_ends_when_its_member_is_out() {
    let mut mesh = with_phone();
    let mut rig = Rig::connected(&mesh, PHONE);
    mesh.remove(ANA, CEM);
    told(&mut rig, &mesh);
    assert!(rig.session.is_ready());
    mesh.remove(ANA, BEN);
    told(&mut rig, &mesh);
    assert!(!rig.session.is_ready());
    let ended = |event: &Event| matches!(event, Event::Removed { .. });
    assert_eq!(rig.events.iter().filter(|event| ended(event)).count(), 1);
}

#[test]
fn a_lost_owner_ends_by_recovery() {
    let mut mesh = with_phone();
    let set = Body::OwnerChanged {
        key: key(CEM),
        recovery: Some(key(90)),
        name: None,
    };
    mesh.say(ANA, Some(CEM), set);
    let mut rig = Rig::connected(&mesh, CEM);
    let taken = Body::OwnerChanged {
        key: key(HEIR),
        recovery: None,
        name: Some(name("heir")),
    };
    mesh.say(90, Some(HEIR), taken);
    told(&mut rig, &mesh);
    assert!(!rig.session.is_ready());
    let told = people(&rig);
    let end = told.len().saturating_sub(3);
    assert_eq!(
        told[end..],
        [
            Event::MemberJoined {
                key: key(HEIR),
                name: name("heir")
            },
            Event::OwnerChanged { key: key(HEIR) },
            Event::MemberRemoved { key: key(CEM) },
        ]
    );
}

#[test]
fn each_kind_is_told() {
    let mut mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::connected(&mesh, ANA);
    rig.events.clear();
    for body in [
        Body::MemberAdmitted {
            key: key(60),
            name: name("eve"),
            role: Role::Member,
        },
        Body::RoleChanged {
            key: key(BEN),
            role: Role::Admin,
        },
    ] {
        mesh.say(ANA, None, body);
        told(&mut rig, &mesh);
    }
    assert_eq!(
        people(&rig),
        [
            Event::MemberJoined {
                key: key(60),
                name: name("eve")
            },
            Event::RoleChanged {
                key: key(BEN),
                role: Role::Admin
            },
        ]
    );
}

#[test]
fn what_is_shown_of_a_device_names_its_member() {
    let mesh = with_phone();
    let mut rig = Rig::connected(&mesh, ANA);
    rig.frame(push(&mesh, PHONE, ANA, "m1", NOW));
    let rows = rig.inbox();
    let named = rows[0].message.sender_name.as_ref().unwrap();
    assert_eq!(named.as_str(), "somebody/phone");
    assert!(rows[0].message.verified);
}

#[test]
fn a_message_to_a_member_goes_to_its_devices_too() {
    let mut rig = Rig::connected(&with_phone(), ANA);
    let id = rig.queued(BEN, "hello");
    let copy = id.for_device(&key(PHONE));
    let sent: Vec<(String, String, Option<String>)> = (rig.sent.iter())
        .filter_map(|frame| match frame {
            ClientFrame::Send(send) => Some((
                send.target_spec.clone(),
                send.client_message_id.clone()?,
                send.id.clone(),
            )),
            _ => None,
        })
        .collect();
    let expected = |to: u8, id: &str| (key(to).to_hex(), id.to_owned(), Some(id.to_owned()));
    assert_eq!(
        sent,
        [expected(BEN, id.as_str()), expected(PHONE, copy.as_str())]
    );
    rig.frame(accepted(&copy));
    assert_eq!(rig.row(&copy).state, SendState::Accepted);
    assert_eq!(rig.row(&id).state, SendState::Queued);
    // One that is named goes alone; who writes to its own member has no copy for itself.
    rig.forget();
    rig.queued(PHONE, "only you");
    assert_eq!(rig.sends().len(), 1);
    let mut phone = Rig::connected(&with_phone(), PHONE);
    phone.queued(BEN, "to myself");
    assert_eq!(phone.sends().len(), 1);
}

#[test]
fn a_copy_opens_at_its_device_under_the_messages_id() {
    let mesh = with_phone();
    let mut rig = Rig::connected(&mesh, PHONE);
    let mut copy = push(&mesh, ANA, PHONE, "m1", NOW);
    let named = MessageId::new("m1").unwrap().for_device(&key(PHONE));
    copy.client_message_id = Some(named.as_str().to_owned());
    rig.frame(copy);
    let rows = rig.inbox();
    assert_eq!((rows.len(), rows[0].message.id.as_str()), (1, "m1"));
    assert_eq!(rows[0].message.kind, Kind::Direct);
}
