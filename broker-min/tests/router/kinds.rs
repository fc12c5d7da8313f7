//! What every kind of entry makes of the broker's rows, sockets and mailboxes.

use broker_min::router::{HttpCall, HttpReply};
use broker_min::store::{BrokerStore as _, MemberRow, Query, Rows};
use claudemesh_core::id::Name;
use claudemesh_core::membership::{Body, Role, SignedEntry};
use serde_json::json;

use crate::world::{World, error_of, hello, hex, key, pair};

impl World {
    /// The row of a member, as the store has it.
    fn row(&self, member: u8) -> MemberRow {
        let reader = self.store.reader().unwrap();
        let Rows::Mesh(Some(rows)) = reader.load(&Query::Mesh(self.mesh())).unwrap() else {
            panic!("no mesh");
        };
        let mut rows = rows.1.into_iter();
        rows.find(|row| row.key == key(member)).expect("a row")
    }

    pub(crate) fn sign(&self, signer: u8, cosigner: Option<u8>, body: Body) -> SignedEntry {
        let draft = self.log.draft(self.now.wall, body);
        draft.sign(&pair(signer), cosigner.map(pair).as_ref())
    }

    fn post(&mut self, entry: &SignedEntry) -> HttpReply {
        let (mesh, entry) = (self.mesh(), entry.clone());
        self.http(HttpCall::Append { mesh, entry })
    }

    /// Posts an entry that must be taken.
    pub(crate) fn taken(&mut self, entry: &SignedEntry) -> Option<String> {
        match self.post(entry) {
            HttpReply::Appended { member, head } => {
                assert_eq!(head.hash, entry.hash());
                self.log.append(entry).unwrap();
                member
            }
            other => panic!("{other:?}"),
        }
    }

    /// Links a device of a member by `POST /join`.
    pub(crate) fn link_device(&mut self, member: u8, seed: u8, device: u8) {
        let (token, invite) = self.device_invite(member, seed);
        let body = Body::DeviceLinked {
            key: key(device),
            name: name("phone"),
            invite: invite.hash(),
        };
        let entry = self.sign(seed, Some(device), body);
        let reply = self.join(&token, device, Some(entry.clone()));
        assert!(
            matches!(&reply, HttpReply::Joined { already: false, member, .. } if member.len() == 32),
            "{reply:?}"
        );
        self.log.append(&entry).unwrap();
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn change_owner(new: u8, recovery: Option<u8>, name: Option<Name>) -> Body {
    Body::OwnerChanged {
        key: key(new),
        recovery: recovery.map(key),
        name,
    }
}

#[test]
fn a_member_without_an_entry_is_admitted_and_keeps_its_number() {
    let mut world = World::new();
    let (token, _) = world.invite(101, Role::Member, 1);
    world.join(&token, 2, None);
    let before = world.row(2);
    assert!(!before.logged);
    let body = Body::MemberAdmitted {
        key: key(2),
        name: name("bob"),
        role: Role::Admin,
    };
    let entry = world.sign(1, None, body);
    let id = world.taken(&entry);
    let row = world.row(2);
    assert_eq!(
        (id.as_deref(), &row.id),
        (Some(before.id.as_str()), &before.id)
    );
    assert!(row.logged && row.role == Role::Admin);
    assert_eq!(row.name.as_str(), "bob");
    assert_eq!(world.restart().log.head(), world.log.head());
}

#[test]
fn a_pending_member_talks_and_is_admitted() {
    let mut world = World::new();
    let (token, invite) = world.invite(101, Role::Pending, 1);
    let joined = world.join_entry(2, 101, invite);
    world.join(&token, 2, Some(joined.clone()));
    world.log.append(&joined).unwrap();
    assert_eq!(world.row(2).role, Role::Pending);
    let (owner, waiting) = (world.connect(1), world.connect(2));
    world.say(waiting, &hex(1), "may I?", "now");
    assert_eq!(world.texts(owner), ["may I?"]);
    let body = Body::MemberAdmitted {
        key: key(2),
        name: name("m2"),
        role: Role::Member,
    };
    let entry = world.sign(1, None, body);
    world.append(owner, &entry, None);
    assert_eq!(world.row(2).role, Role::Member);
    assert!(!world.closed.contains_key(&waiting));
    let told = world.got_of(waiting, "log_appended");
    assert_eq!(told[0]["entry"]["e"], entry.to_base64url());
}

#[test]
fn devices_fall_with_their_member_in_one_step() {
    let mut world = World::of(3);
    world.link_device(2, 110, 20);
    world.link_device(2, 111, 21);
    assert_eq!(world.row(20).role, Role::Device);
    let owner = world.connect(1);
    let gone = [
        world.connect(2),
        world.connect(20),
        world.connect_legacy(20),
    ];
    let away = world.say(owner, &hex(21), "x", "low")["messageId"].clone();
    world.got(owner);
    let entry = world.remove(2);
    world.append(owner, &entry, None);
    world.log.append(&entry).unwrap();
    for conn in gone {
        assert_eq!(world.closed[&conn], (4_002, "banned".into()));
        assert_eq!(world.last(conn)["code"], "revoked");
    }
    for device in [2, 20, 21] {
        assert!(world.row(device).removed_at > 0, "{device}");
        let nonce = u64::from(device) + 900;
        let back = world.enter(hello(&world.mesh(), device, nonce), |_| {});
        assert_eq!(world.closed[&back].0, 4_002);
    }
    let receipts = world.got_of(owner, "receipt");
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0]["messageId"], away);
    assert_eq!(receipts[0]["reason"], json!("removed"));
    // A device alone goes alone.
    world.link_device(3, 112, 30);
    let (three, device) = (world.connect(3), world.connect(30));
    let body = Body::MemberRemoved {
        key: key(30),
        close_all: false,
    };
    let entry = world.sign(3, None, body);
    world.append(three, &entry, None);
    assert!(world.closed.contains_key(&device) && !world.closed.contains_key(&three));
}

#[test]
fn a_devices_link_is_of_no_use_to_who_writes_no_log() {
    let mut world = World::of(2);
    let (token, _) = world.device_invite(2, 110);
    let reply = world.join(&token, 20, None);
    assert_eq!(error_of(&reply), (400, "invalid"));
}

#[test]
fn an_owner_is_followed_and_recovered() {
    let mut world = World::of(3);
    world.link_device(1, 110, 10);
    let by_owner = world.sign(1, Some(2), change_owner(2, Some(90), None));
    world.taken(&by_owner);
    let roles = |world: &World| [1, 2, 10].map(|n| world.row(n).role);
    assert_eq!(roles(&world), [Role::Admin, Role::Owner, Role::Device]);
    world.link_device(2, 111, 25);
    let (two, device, three) = (world.connect(2), world.connect(25), world.connect(3));
    // Nobody but the recovery key, and not without the new owner.
    let new = change_owner(40, None, Some(name("two again")));
    let forged = world.sign(3, Some(40), new.clone());
    assert_eq!(error_of(&world.post(&forged)), (403, "forbidden"));
    let stranger = world.sign(77, Some(40), new.clone());
    assert_eq!(error_of(&world.post(&stranger)), (403, "forbidden"));
    let alone = world.sign(90, None, new.clone());
    assert_eq!(error_of(&world.post(&alone)), (400, "invalid"));
    let entry = world.sign(90, Some(40), new);
    let id = world.taken(&entry).expect("the new owner's number");
    assert_eq!(id, world.row(40).id.as_str());
    assert_eq!(world.row(40).role, Role::Owner);
    for conn in [two, device] {
        assert_eq!(world.closed[&conn].0, 4_002);
    }
    assert!(!world.closed.contains_key(&three));
    world.connect(40);
    // The same again is no harm.
    assert!(matches!(world.post(&entry), HttpReply::Appended { .. }));
    let late = world.sign(
        1,
        None,
        Body::InviteClosed {
            invite: entry.hash(),
        },
    );
    assert_eq!(error_of(&world.post(&late)), (400, "invite_not_found"));
}

#[test]
fn roles_change_without_a_break() {
    let mut world = World::of(2);
    let conn = world.connect(2);
    for role in [Role::Admin, Role::Member] {
        let entry = world.sign(1, None, Body::RoleChanged { key: key(2), role });
        world.taken(&entry);
        assert_eq!(world.row(2).role, role);
    }
    assert!(!world.closed.contains_key(&conn));
}

#[test]
fn ten_channels_a_day() {
    let mut world = World::of(2);
    let make = |world: &World, signer: u8, n: u32| {
        let channel = claudemesh_core::id::ChannelName::new(format!("#c{n}")).unwrap();
        let public = true;
        world.sign(signer, None, Body::ChannelCreated { channel, public })
    };
    for n in 0..10 {
        let entry = make(&world, 2, n);
        world.taken(&entry);
    }
    let eleventh = make(&world, 2, 10);
    assert_eq!(error_of(&world.post(&eleventh)), (429, "rate_limit"));
    let other = make(&world, 1, 11);
    world.taken(&other);
    world.pass(86_400_001);
    let next_day = make(&world, 2, 12);
    world.taken(&next_day);
}
