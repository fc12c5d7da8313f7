//! A broker that was put back to an earlier state gets back the entries that it lost.

use broker_min::router::HttpReply;
use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::{Body, Role, SignedEntry};
use serde_json::Value;

use crate::channel_world::{Chan, added, joined};
use crate::world::{World, error_of, key, pair};

const HOUR: u64 = 3_600_000;

/// What is answered to an entry: its code, or `log_appended`.
fn posted(world: &mut World, conn: u64, entry: &SignedEntry) -> String {
    world.append(conn, entry, None);
    let answer = world.last(conn);
    let told = match &answer["code"] {
        Value::Null => &answer["type"],
        code => code,
    };
    told.as_str().unwrap().to_owned()
}

/// The old state, two hours later, with connections of the owner, an admin and a member; and the
/// entries that are lost: a link, and who joined by it. The link is over by now.
fn restored() -> (World, [u64; 3], Vec<SignedEntry>) {
    let mut world = World::of(3);
    let body = Body::RoleChanged {
        key: key(2),
        role: Role::Admin,
    };
    let entry = world.log.draft(world.now.wall, body).sign(&pair(1), None);
    let owner = world.connect(1);
    assert_eq!(posted(&mut world, owner, &entry), "log_appended");
    world.log.append(&entry).unwrap();
    let mut old = world.restart();
    world.pass(1_000);
    let body = Body::InviteIssued {
        key: key(60),
        role: Role::Member,
        expires_at: world.now.wall + HOUR,
        max_uses: 1,
    };
    let invite = world.log.draft(world.now.wall, body).sign(&pair(1), None);
    old.log = world.log.clone();
    world.log.append(&invite).unwrap();
    let join = world.join_entry(9, 60, invite.clone());
    world.log.append(&join).unwrap();
    old.now.wall += 2 * HOUR;
    let conns = [1, 2, 3].map(|n| old.connect(n));
    for conn in conns {
        old.got(conn);
    }
    (old, conns, vec![invite, join])
}

#[test]
fn old_entries_come_back_from_the_owner_and_admins_alone() {
    for by in [0, 1] {
        let (mut world, conns, lost) = restored();
        let [.., member] = conns;
        assert_eq!(posted(&mut world, member, &lost[0]), "timestamp_skew");
        // Not with a gap, and not changed on the way.
        assert_eq!(posted(&mut world, conns[by], &lost[1]), "log_conflict");
        let mut forged = lost[0].clone();
        forged.signature = pair(1).sign(b"another");
        assert_ne!(posted(&mut world, conns[by], &forged), "log_appended");
        for entry in &lost {
            assert_eq!(posted(&mut world, conns[by], entry), "log_appended");
            // Somebody else brought it already.
            assert_eq!(posted(&mut world, conns[1 - by], entry), "log_appended");
        }
        // Who joined is a member as before, with nothing but its key.
        world.connect(9);
        // By the same link nobody else comes in.
        world.log.append(&lost[0]).unwrap();
        world.log.append(&lost[1]).unwrap();
        let late = world.join_entry(8, 60, lost[0].clone());
        assert_ne!(posted(&mut world, conns[by], &late), "log_appended");
    }
}

#[test]
fn an_entry_of_a_stranger_or_of_tomorrow_does_not_come_in() {
    let (mut world, [owner, admin, _], _) = restored();
    let body = |seed| Body::InviteIssued {
        key: key(seed),
        role: Role::Member,
        expires_at: world.now.wall + 48 * HOUR,
        max_uses: 1,
    };
    let early = world.log.draft(world.now.wall - HOUR, body(61));
    let stranger = early.sign(&pair(77), None);
    let member = early.sign(&pair(3), None);
    let by_owner = early.sign(&pair(1), None);
    let tomorrow = world.log.draft(world.now.wall + 24 * HOUR, body(61));
    let tomorrow = tomorrow.sign(&pair(1), None);
    for conn in [owner, admin] {
        assert_eq!(posted(&mut world, conn, &stranger), "forbidden");
        assert_eq!(posted(&mut world, conn, &member), "forbidden");
        assert_eq!(posted(&mut world, conn, &tomorrow), "timestamp_skew");
    }
    // By HTTP nobody is known, so nothing old is taken.
    let call = broker_min::router::HttpCall::Append {
        mesh: world.mesh(),
        entry: by_owner,
    };
    let reply: HttpReply = world.http(call);
    assert_eq!(error_of(&reply), (400, "timestamp_skew"));
}

#[test]
fn many_come_back_at_once() {
    let mut world = World::of(2);
    let mut old = world.restart();
    old.log = world.log.clone();
    let mut lost = Vec::new();
    // More than one member may add in an hour.
    for n in 0..700_u64 {
        let body = Body::RoleChanged {
            key: key(2),
            role: if n % 2 == 0 {
                Role::Admin
            } else {
                Role::Member
            },
        };
        let entry = world.log.draft(world.now.wall, body).sign(&pair(1), None);
        world.log.append(&entry).unwrap();
        lost.push(entry);
    }
    let owner = world.connect(1);
    let answers = lost.iter().map(|entry| posted(&mut world, owner, entry));
    assert_eq!(answers.filter(|told| told == "rate_limit").count(), 101);
    old.now.wall += HOUR;
    let owner = old.connect(1);
    for entry in &lost {
        assert_eq!(posted(&mut old, owner, entry), "log_appended");
    }
}

#[test]
fn a_channels_entries_come_back_from_its_leads_too() {
    let mut world = World::of(5);
    let mut chan = Chan::make(&mut world, 2, "#deploys", true);
    let name = ChannelName::new("#deploys").unwrap();
    let mut old = world.restart();
    let mut lost = Vec::new();
    world.now.wall += 5_000;
    for (signer, body) in [(3, joined(3)), (2, added(4))] {
        let entry = chan.sign(&world, signer, body);
        chan.log
            .as_mut()
            .unwrap()
            .append(&entry, &world.log)
            .unwrap();
        lost.push(entry);
    }
    // The mesh's log has come back by now, with the removal of who joined.
    let removal = old.remove(3);
    let owner = old.connect(1);
    assert_eq!(posted(&mut old, owner, &removal), "log_appended");
    old.log.append(&removal).unwrap();
    old.now.wall += HOUR;
    let (lead, member) = (old.connect(2), old.connect(5));
    old.got(lead);
    assert_ne!(posted(&mut old, member, &lost[0]), "log_appended");
    for entry in &lost {
        assert_eq!(posted(&mut old, lead, entry), "log_appended");
    }
    let again = old.restart();
    assert_eq!(again.log.head(), old.log.head());
    old.frame(
        member,
        serde_json::json!({"type": "log_get", "channel": name.as_str(), "from": 1}),
    );
    assert_eq!(old.last(member)["head"]["seq"], 2);
    // It is loaded anew, too.
    let mut again = old.restart();
    again.connect(5);
}
