//! Joining by HTTP.

use broker_min::router::{HttpCall, HttpReply, LinkInfo};
use claudemesh_core::id::MeshId;
use claudemesh_core::membership::{Body, Role};

use crate::world::{World, error_of, hex, key, pair};

#[test]
fn a_mesh_is_made_once() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.frame(
        conn,
        serde_json::json!({"type": "log_get", "channel": "", "from": 0}),
    );
    let entry = world.last(conn)["entries"][0].clone();
    let entry = claudemesh_core::membership::SignedEntry::from_text(
        entry["e"].as_str().unwrap(),
        entry["sig"].as_str().unwrap(),
        None,
    )
    .unwrap();
    let reply = world.http(HttpCall::Create { entry });
    let HttpReply::Created { mesh, member, .. } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!((mesh, member.len()), (world.mesh(), 32));
}

#[test]
fn who_joined_may_ask_again() {
    let mut world = World::new();
    let (token, invite) = world.invite(101, Role::Member, 1);
    let link = world.http(HttpCall::Link {
        token: token.clone(),
    });
    assert!(
        matches!(link, HttpReply::Link(LinkInfo::Open { left: 1 })),
        "{link:?}"
    );
    let entry = world.join_entry(2, 101, invite);
    let reply = world.join(&token, 2, Some(entry.clone()));
    let HttpReply::Joined {
        member,
        already: false,
        head: Some(head),
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!(head.hash, entry.hash());
    let reply = world.join(&token, 2, Some(entry));
    let HttpReply::Joined {
        member: again,
        already: true,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!(member, again);
    let link = world.http(HttpCall::Link { token });
    assert!(
        matches!(link, HttpReply::Link(LinkInfo::Closed("invite_exhausted"))),
        "{link:?}"
    );
    world.connect(2);
}

#[test]
fn a_join_behind_the_head_is_a_conflict() {
    let mut world = World::new();
    let (token, invite) = world.invite(101, Role::Member, 5);
    let (two, three) = (
        world.join_entry(2, 101, invite.clone()),
        world.join_entry(3, 101, invite),
    );
    world.join(&token, 2, Some(two));
    let reply = world.join(&token, 3, Some(three));
    assert_eq!(error_of(&reply), (409, "log_conflict"));
}

#[test]
fn legacy_clients_join_by_the_token_alone() {
    let mut world = World::new();
    let (token, invite) = world.invite(101, Role::Member, 2);
    let reply = world.join(&token, 2, None);
    assert!(
        matches!(reply, HttpReply::Joined { already: false, .. }),
        "{reply:?}"
    );
    let reply = world.join(&token, 2, None);
    assert!(
        matches!(reply, HttpReply::Joined { already: true, .. }),
        "no use is counted"
    );
    let conn = world.connect_legacy(2);
    let owner = world.connect(1);
    world.say(owner, &hex(2), "x", "now");
    assert_eq!(world.texts(conn), ["x"]);
    let reply = world.join(&token, 3, None);
    assert!(
        matches!(reply, HttpReply::Joined { already: false, .. }),
        "{reply:?}"
    );
    let reply = world.join(&token, 4, None);
    assert_eq!(error_of(&reply), (400, "invite_exhausted"));
    // Uses of both kinds count together.
    let entry = world.join_entry(5, 101, invite);
    let reply = world.join(&token, 5, Some(entry));
    assert_eq!(error_of(&reply), (400, "invite_exhausted"));
}

#[test]
fn refused_joins_use_the_codes_of_the_existing_system() {
    let mut world = World::new();
    let (token, invite) = world.invite(101, Role::Member, 9);
    let (other, _) = world.invite(102, Role::Member, 9);
    // A token that belongs to another invite than the entry.
    let entry = world.join_entry(2, 101, invite.clone());
    let reply = world.join(&other, 2, Some(entry));
    assert_eq!(error_of(&reply), (400, "invite_mesh_mismatch"));
    // Closed.
    let body = Body::InviteClosed {
        invite: invite.hash(),
    };
    let entry = world.log.draft(world.now.wall, body).sign(&pair(1), None);
    let owner = world.connect(1);
    world.append(owner, &entry, None);
    world.log.append(&entry).unwrap();
    let reply = world.join(&token, 2, None);
    assert_eq!(error_of(&reply), (400, "invite_revoked"));
    let entry = world.join_entry(2, 101, invite);
    let reply = world.join(&token, 2, Some(entry));
    assert_eq!(error_of(&reply), (400, "invite_revoked"));
    // Expired.
    world.pass(86_500_000);
    let reply = world.join(&other, 2, None);
    assert_eq!(error_of(&reply), (400, "invite_expired"));
    // Another broker's mesh.
    let mut strange = World::new();
    strange.log = world.log.clone();
    let (foreign, _) = {
        let mut far = World::with(broker_min::limits::Limits::default());
        far.invite(103, Role::Member, 1)
    };
    let reply = world.join(&foreign, 2, None);
    assert_eq!(error_of(&reply), (400, "invite_not_found"));
}

#[test]
fn a_removed_key_never_joins_again() {
    let mut world = World::of(2);
    let owner = world.connect(1);
    let entry = world.remove(2);
    world.append(owner, &entry, None);
    world.log.append(&entry).unwrap();
    let (token, invite) = world.invite(120, Role::Member, 9);
    let reply = world.join(&token, 2, None);
    assert_eq!(error_of(&reply), (403, "revoked"));
    let entry = world.join_entry(2, 120, invite);
    let reply = world.join(&token, 2, Some(entry));
    assert_eq!(error_of(&reply), (403, "revoked"));
}

#[test]
fn the_log_is_read_by_members_and_open_invites() {
    let mut world = World::of(2);
    world.invite(101, Role::Member, 1);
    // Who holds the secret of a link that is of no use is told why.
    let used_up = Some((400, "invite_exhausted"));
    let stranger = Some((403, "forbidden"));
    for (n, refused) in [(2, None), (101, None), (102, used_up), (77, stranger)] {
        let (mesh, key) = (world.mesh(), key(n));
        let reply = world.http(HttpCall::Log { mesh, key, from: 0 });
        match reply {
            HttpReply::Log { entries, head } if refused.is_none() => {
                assert_eq!((entries.len(), head.seq), (4, 3));
            }
            other => assert_eq!(Some(error_of(&other)), refused, "{n}"),
        }
    }
    let mesh = MeshId::new("nowhere").unwrap();
    let reply = world.http(HttpCall::Log {
        mesh,
        key: key(1),
        from: 0,
    });
    assert_eq!(error_of(&reply), (404, "mesh_not_found"));
    let link = world.http(HttpCall::Link {
        token: "junk".into(),
    });
    assert!(matches!(
        link,
        HttpReply::Link(LinkInfo::Closed("invite_not_found"))
    ));
    let gauges = world.http(HttpCall::Gauges);
    assert!(matches!(gauges, HttpReply::Gauges([0, 1, 0])), "{gauges:?}");
}
