//! Who is in the mesh, changed by real peers: devices, roles, admission, removal, recovery.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::enroll::RecoveryKey;
use claudemesh_core::id::{Name, PublicKey};
use claudemesh_core::membership::{Role, RuleError};
use claudemesh_core::session::SessionError;
use claudemesh_core::{
    Config, Connection, Event, InviteOptions, JoinError, MeshEntry, Peer, PeerError, SendError,
};

const SOON: Duration = Duration::from_secs(10);
const TEN_MINUTES: Duration = Duration::from_secs(600);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

async fn connected(entry: &MeshEntry) -> Peer {
    let peer = Peer::connect(entry).await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    peer
}

/// A further device of a peer's person.
async fn device(mesh: &TestMesh, of: &Peer, name: &str) -> Peer {
    let link = of.link_device(TEN_MINUTES).await.unwrap();
    let folder = format!("{}-{name}", of.key().short());
    let mut config = Config::load(mesh.config_dir(&folder)).unwrap();
    let entry = config.join(&link.issued.link(), name).await.unwrap();
    connected(&entry).await
}

/// Waits until a peer's log says so.
async fn sees(peer: &Peer, what: impl Fn(&Peer) -> bool) {
    soon(async {
        while !what(peer) {
            let _ = peer.sync().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn role(peer: &Peer, key: PublicKey) -> Option<Role> {
    let members = peer.members();
    let found = members.into_iter().find(|member| member.key == key);
    found.map(|member| member.role)
}

async fn out(peer: &Peer) {
    soon(async {
        while !matches!(peer.connection(), Connection::Removed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn refused(result: Result<(), PeerError>) -> RuleError {
    match result {
        Err(PeerError::Session(SessionError::Log(
            claudemesh_core::membership::LogError::Rule { source, .. },
        ))) => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_has_a_name_of_its_own_and_its_members_standing() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = (
        mesh.peer("owner").await.unwrap(),
        mesh.peer("ana").await.unwrap(),
    );
    let mut events = owner.events();
    let phone = device(&mesh, &ana, "phone").await;
    let told = soon(async {
        loop {
            if let Some(Event::MemberJoined { key, name }) = events.next().await {
                return (key, name.as_str().to_owned());
            }
        }
    });
    assert_eq!(told.await, (phone.key(), "ana/phone".to_owned()));
    assert_eq!(owner.resolve("ana/phone").await.unwrap(), phone.key());
    assert_eq!(owner.resolve("ana").await.unwrap(), ana.key());
    assert!(owner.resolve("phone").await.is_err());
    let known = ana.devices();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].shown.as_str(), known[0].device_of, known[0].role),
        ("ana/phone", Some(ana.key()), Role::Device)
    );
    let mut at_owner = owner.incoming().await.unwrap();
    phone.send("owner", "from my phone").await.unwrap();
    let message = soon(at_owner.next()).await.unwrap();
    assert!(message.from.verified);
    assert_eq!(message.from.name.unwrap().as_str(), "ana/phone");
    // A device links none, and a link is good once.
    let error = phone.link_device(TEN_MINUTES).await.map(|_| ());
    assert_eq!(refused(error), RuleError::NotAllowed);
    // Its member takes it out, and nobody else goes.
    ana.remove(phone.key(), false).await.unwrap();
    out(&phone).await;
    assert!(ana.devices().is_empty() && ana.is_connected());
}

#[tokio::test]
async fn who_is_removed_is_out_with_all_devices_at_once() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana) = (
        mesh.peer("owner").await.unwrap(),
        mesh.peer("ana").await.unwrap(),
    );
    let (phone, tablet) = (
        device(&mesh, &ana, "phone").await,
        device(&mesh, &ana, "tablet").await,
    );
    sees(&owner, |owner| owner.members().len() == 4).await;
    let mut events = owner.events();
    owner.remove(ana.key(), true).await.unwrap();
    for peer in [&ana, &phone, &tablet] {
        out(peer).await;
        let sent = owner.send(peer.key(), "x").await;
        let removed = matches!(
            &sent,
            Err(SendError::Peer(PeerError::Session(
                SessionError::RecipientRemoved(_)
            )))
        );
        assert!(removed, "{sent:?}");
    }
    let mut gone = Vec::new();
    while gone.len() < 3 {
        if let Some(Event::MemberRemoved { key }) = soon(events.next()).await {
            gone.push(key);
        }
    }
    assert_eq!(gone[0], ana.key());
    assert!(gone.contains(&phone.key()) && gone.contains(&tablet.key()));
    assert_eq!(owner.members_and_former().len(), 4);
    assert!(owner.invites().iter().all(|invite| invite.closed));
}

#[tokio::test]
async fn an_admins_rights_end_where_they_end() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let (ana, ben, cem) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("ben").await.unwrap(),
        mesh.peer("cem").await.unwrap(),
    );
    owner.sync().await.unwrap();
    owner.set_role(ana.key(), Role::Admin).await.unwrap();
    owner.set_role(ben.key(), Role::Admin).await.unwrap();
    sees(&ana, |ana| role(ana, ben.key()) == Some(Role::Admin)).await;
    let not_allowed = [
        ana.remove(ben.key(), false).await,
        ana.set_role(cem.key(), Role::Admin).await,
        cem.remove(ana.key(), false).await,
    ];
    for error in not_allowed {
        assert_eq!(refused(error), RuleError::NotAllowed);
    }
    assert_eq!(
        refused(ana.remove(owner.key(), false).await),
        RuleError::OwnerStays
    );
    let admins = InviteOptions {
        role: Role::Admin,
        ..InviteOptions::default()
    };
    assert!(ana.invite(admins).await.is_err());
    let link = ana.invite(InviteOptions::default()).await.unwrap();
    ana.remove(cem.key(), false).await.unwrap();
    out(&cem).await;
    // Who is an admin no longer has no open links.
    owner.set_role(ana.key(), Role::Member).await.unwrap();
    let mut config = Config::in_memory();
    let joined = config.join(&link.issued.link(), "dan").await;
    assert!(
        matches!(&joined, Err(JoinError::Refused { code, .. }) if code == "invite_revoked"),
        "{joined:?}"
    );
}

#[tokio::test]
async fn who_came_by_an_open_link_or_without_an_entry_is_let_in() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let open = InviteOptions {
        role: Role::Pending,
        ..InviteOptions::default()
    };
    let link = owner.invite(open).await.unwrap();
    let mut config = Config::load(mesh.config_dir("dan")).unwrap();
    let entry = config.join(&link.issued.link(), "dan").await.unwrap();
    let dan = connected(&entry).await;
    sees(&owner, |owner| {
        role(owner, dan.key()) == Some(Role::Pending)
    })
    .await;
    let mut incoming = owner.incoming().await.unwrap();
    dan.send("owner", "may I?").await.unwrap();
    let message = soon(incoming.next()).await.unwrap();
    assert!(!message.from.verified, "not before it is admitted");
    let mut events = dan.events();
    let name = Name::new("dan").unwrap();
    owner
        .admit(dan.key(), name.clone(), Role::Member)
        .await
        .unwrap();
    let changed = Event::RoleChanged {
        key: dan.key(),
        role: Role::Member,
    };
    soon(async { while events.next().await.as_ref() != Some(&changed) {} }).await;
    dan.send("owner", "thanks").await.unwrap();
    assert!(soon(incoming.next()).await.unwrap().from.verified);
    let again = owner.admit(dan.key(), name, Role::Member).await;
    assert_eq!(refused(again), RuleError::KeyKnown);
    // One who joined as existing clients do.
    let legacy = support::key(7);
    let link = owner.invite(InviteOptions::default()).await.unwrap();
    let answer = support::join_legacy(&mesh, &link.issued.token, &legacy, "eve").await;
    let number = support::body(&answer)["memberId"].clone();
    let mut raw = support::legacy(&mesh, &legacy).await;
    let name = Name::new("eve").unwrap();
    owner
        .admit(legacy.public(), name, Role::Member)
        .await
        .unwrap();
    assert_eq!(role(&owner, legacy.public()), Some(Role::Member));
    raw.quiet(Duration::from_millis(50)).await;
    let answer = support::join_legacy(&mesh, &link.issued.token, &legacy, "eve").await;
    assert_eq!(
        support::body(&answer)["memberId"],
        number,
        "the same number"
    );
}

#[tokio::test]
async fn a_lost_owner_key_is_replaced() {
    let mesh = TestMesh::start().await.unwrap();
    let mut config = Config::load(mesh.config_dir("first")).unwrap();
    let created = config.create("team", &mesh.url(), "ana").await.unwrap();
    let old = connected(&created.mesh).await;
    let phone = device(&mesh, &old, "phone").await;
    let link = old.invite(InviteOptions::default()).await.unwrap();
    let mut bens = Config::load(mesh.config_dir("ben")).unwrap();
    let ben = bens.join(&link.issued.link(), "ben").await.unwrap();
    let ben = connected(&ben).await;
    let open = old.invite(InviteOptions::default()).await.unwrap();
    let key = RecoveryKey::parse(&created.recovery_key.expose()).unwrap();
    let id = created.mesh.mesh_id.clone();
    // Another key does nothing.
    let wrong = support::key(9).expose_secret_hex();
    let wrong = RecoveryKey::parse(&wrong).unwrap();
    let mut other = Config::load(mesh.config_dir("elsewhere")).unwrap();
    let failed = other.recover(&id, &mesh.url(), &wrong, "eve").await;
    assert!(
        matches!(&failed, Err(JoinError::Refused { status: 403, .. })),
        "{failed:?}"
    );
    let mut events = ben.events();
    // On another machine, which knows the mesh's id and broker only.
    let entry = other.recover(&id, &mesh.url(), &key, "ana").await.unwrap();
    let new = connected(&entry).await;
    out(&old).await;
    out(&phone).await;
    let changed = Event::OwnerChanged { key: new.key() };
    soon(async { while events.next().await.as_ref() != Some(&changed) {} }).await;
    assert_eq!(role(&ben, new.key()), Some(Role::Owner));
    assert_eq!(ben.resolve("ana").await.unwrap(), new.key());
    let joined = Config::in_memory().join(&open.issued.link(), "dan").await;
    assert!(
        matches!(&joined, Err(JoinError::Refused { code, .. }) if code == "invite_revoked"),
        "{joined:?}"
    );
    new.set_role(ben.key(), Role::Admin).await.unwrap();
    // It can be done again, also where the old entry is.
    let entry = config.recover(&id, &mesh.url(), &key, "ana").await.unwrap();
    assert_ne!(entry.pubkey(), created.mesh.pubkey());
    assert_eq!(config.meshes().len(), 1);
    out(&new).await;
}

#[tokio::test]
async fn changes_at_one_moment_have_one_outcome_for_all() {
    let mesh = TestMesh::start().await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    let (ana, ben, cem) = (
        mesh.peer("ana").await.unwrap(),
        mesh.peer("ben").await.unwrap(),
        mesh.peer("cem").await.unwrap(),
    );
    // Admins cannot remove each other. Here both take out the same member, and the owner one of
    // them: whatever comes first, all peers end with the same log.
    owner.sync().await.unwrap();
    for key in [ana.key(), ben.key()] {
        owner.set_role(key, Role::Admin).await.unwrap();
    }
    for peer in [&ana, &ben] {
        sees(peer, |peer| role(peer, ben.key()) == Some(Role::Admin)).await;
    }
    let (a, b, c) = tokio::join!(
        ana.remove(cem.key(), false),
        ben.remove(cem.key(), false),
        owner.remove(ana.key(), false),
    );
    c.unwrap();
    // Ana may be out before her turn comes.
    let done = [&a, &b].iter().filter(|result| result.is_ok()).count();
    assert!(done == 1, "{a:?} {b:?}");
    out(&cem).await;
    out(&ana).await;
    ben.sync().await.unwrap();
    owner.sync().await.unwrap();
    let head = |peer: &Peer| peer.log().unwrap().head();
    assert_eq!(head(&ben), head(&owner));
    assert_eq!(owner.members().len(), 2);
}

#[tokio::test]
async fn a_link_of_three_uses_lets_in_three_while_the_owner_is_away() {
    let mesh = TestMesh::start().await.unwrap();
    let options = InviteOptions {
        uses: 3,
        ..InviteOptions::default()
    };
    let link = mesh.invite(options).await.unwrap();
    let mut joins = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (link, folder) = (link.clone(), mesh.config_dir(&format!("p{n}")));
        joins.spawn(async move {
            let mut config = Config::load(folder).unwrap();
            config.join(&link, &format!("p{n}")).await
        });
    }
    let joined = joins.join_all().await;
    let (in_, out): (Vec<_>, Vec<_>) = joined.into_iter().partition(Result::is_ok);
    assert_eq!(in_.len(), 3, "{out:?}");
    for error in out {
        let error = error.unwrap_err();
        let used_up = matches!(&error, JoinError::Refused { code, .. } if code == "invite_exhausted")
            || matches!(&error, JoinError::Rule(RuleError::InviteUsedUp));
        assert!(used_up, "{error:?}");
    }
    let entry = in_.into_iter().next().unwrap().unwrap();
    let peer = connected(&entry).await;
    peer.sync().await.unwrap();
    assert_eq!(peer.members().len(), 4);
}

#[tokio::test]
async fn many_changes_at_once_all_come_in() {
    let mesh = TestMesh::start().await.unwrap();
    let (one, two) = (
        mesh.peer("owner").await.unwrap(),
        mesh.peer("owner").await.unwrap(),
    );
    let made = tokio::join!(
        one.invite(InviteOptions::default()),
        two.invite(InviteOptions::default()),
        one.invite(InviteOptions::default()),
        two.invite(InviteOptions::default()),
    );
    for invite in [made.0, made.1, made.2, made.3] {
        invite.unwrap();
    }
    one.sync().await.unwrap();
    assert_eq!(one.invites().len(), 4);
}

#[tokio::test]
async fn three_devices_of_one_person_write_to_each_other_and_lose_one() {
    let mesh = TestMesh::start().await.unwrap();
    let (ben, ana) = (
        mesh.peer("ben").await.unwrap(),
        mesh.peer("ana").await.unwrap(),
    );
    let (phone, tablet) = (
        device(&mesh, &ana, "phone").await,
        device(&mesh, &ana, "tablet").await,
    );
    let everywhere = [&ana, &phone, &tablet];
    for peer in [&ana, &phone, &tablet, &ben] {
        sees(peer, |peer| peer.members().len() == 5).await;
    }
    let mut inboxes = Vec::new();
    for peer in everywhere {
        inboxes.push(peer.incoming().await.unwrap());
    }
    let receipt = ben.send("ana", "to all of you").await.unwrap();
    assert_eq!(soon(receipt.accepted()).await.unwrap().recipients, Some(3));
    for incoming in &mut inboxes {
        let message = soon(incoming.next()).await.unwrap();
        assert_eq!(message.text(), "to all of you");
        assert_eq!(message.id, *receipt.id());
    }
    soon(receipt.delivered()).await.unwrap();
    // From one of them to the person: to the others.
    let receipt = phone.send("ana", "from the phone").await.unwrap();
    for place in [0, 2] {
        let message = soon(inboxes[place].next()).await.unwrap();
        assert_eq!(message.text(), "from the phone");
        assert_eq!(message.from.name.as_ref().unwrap().as_str(), "ana/phone");
        assert!(message.from.verified);
    }
    soon(receipt.delivered()).await.unwrap();
    let receipt = tablet.send("ana/phone", "just you").await.unwrap();
    let message = soon(inboxes[1].next()).await.unwrap();
    assert_eq!(message.text(), "just you");
    soon(receipt.delivered()).await.unwrap();
    // The tablet is lost: what is sent before others know fails by its name, and arrives at the
    // rest; afterwards nothing goes there.
    let last = tablet.key();
    drop(inboxes.pop());
    tablet.close(SOON).await;
    let receipt = ben.send("ana", "one too many").await.unwrap();
    soon(receipt.accepted()).await.unwrap();
    ana.remove(last, false).await.unwrap();
    let failed = soon(receipt.delivered()).await.unwrap_err().to_string();
    assert!(failed.contains("ana/tablet: removed"), "{failed}");
    sees(&ben, |ben| ben.members().len() == 4).await;
    let receipt = ben.send("ana", "to both").await.unwrap();
    assert_eq!(soon(receipt.accepted()).await.unwrap().recipients, Some(2));
    for incoming in &mut inboxes {
        for text in ["one too many", "to both"] {
            assert_eq!(soon(incoming.next()).await.unwrap().text(), text);
        }
    }
    soon(receipt.delivered()).await.unwrap();
    // What waits for a device that is off waits for it alone, and is given up as one.
    mesh.stop_broker().await.unwrap();
    soon(async {
        while ben.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let receipt = ben.send(ana.key(), "never mind").await.unwrap();
    assert_eq!(ben.outbox(false).await.unwrap().len(), 2);
    assert!(ben.cancel(receipt.id().clone()).await.unwrap());
    assert!(ben.outbox(false).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_mesh_is_handed_over_only_if_both_agree() {
    let mesh = TestMesh::start().await.unwrap();
    let (owner, ana, ben) = (
        mesh.peer("owner").await.unwrap(),
        mesh.peer("ana").await.unwrap(),
        mesh.peer("ben").await.unwrap(),
    );
    assert!(ana.accept_ownership().await.is_err(), "nobody offered it");
    assert!(ana.transfer_owner(ben.key()).await.is_err(), "not hers");
    // An offer ends when the log grows.
    let receipt = owner.transfer_owner(ana.key()).await.unwrap();
    soon(receipt.delivered()).await.unwrap();
    owner.invite(InviteOptions::default()).await.unwrap();
    let late = ana.accept_ownership().await;
    assert_eq!(late, Err(PeerError::Session(SessionError::Contention)));
    let receipt = owner.transfer_owner(ana.key()).await.unwrap();
    soon(receipt.delivered()).await.unwrap();
    assert!(ben.accept_ownership().await.is_err(), "not for him");
    ana.accept_ownership().await.unwrap();
    sees(&owner, |owner| role(owner, ana.key()) == Some(Role::Owner)).await;
    assert_eq!(role(&owner, owner.key()), Some(Role::Admin));
    assert!(owner.is_connected());
    ana.set_role(owner.key(), Role::Member).await.unwrap();
}
