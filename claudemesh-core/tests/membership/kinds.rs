//! The kinds that change what a member is: admit, devices, roles, owner; and channels.

use claudemesh_core::id::{ChannelName, InviteId, PublicKey};
use claudemesh_core::membership::{Body, Role, RuleError};

use crate::mesh::{DAY, Mesh, NOW, issue, join, name, pair, remove, weak_keys};

const MINUTE: u64 = 60_000;

fn admit(key: u8, role: Role) -> Body {
    Body::MemberAdmitted {
        key: pair(key).public(),
        name: name("Admitted"),
        role,
    }
}

fn change(key: u8, role: Role) -> Body {
    let key = pair(key).public();
    Body::RoleChanged { key, role }
}

fn device(key: u8, invite: InviteId) -> Body {
    Body::DeviceLinked {
        key: pair(key).public(),
        name: name("Phone"),
        invite,
    }
}

fn owner(key: u8, recovery: Option<u8>, is_new: bool) -> Body {
    Body::OwnerChanged {
        key: pair(key).public(),
        recovery: recovery.map(|key| pair(key).public()),
        name: is_new.then(|| name("Heir")),
    }
}

fn channel(text: &str, public: bool) -> Body {
    let channel = ChannelName::new(text).unwrap();
    Body::ChannelCreated { channel, public }
}

fn with_key(mut body: Body, new: PublicKey) -> Body {
    match &mut body {
        Body::MemberAdmitted { key, .. }
        | Body::OwnerChanged { key, .. }
        | Body::DeviceLinked { key, .. } => *key = new,
        _ => unreachable!(),
    }
    body
}

impl Mesh {
    /// Links a device of `member` by an invite key of its own.
    fn link(&mut self, member: u8, invite_key: u8, key: u8) -> Result<(), RuleError> {
        let body = issue(invite_key, Role::Device, NOW + 10 * MINUTE, 1);
        let invite = self.say(member, body)?;
        self.say_at(NOW, invite_key, Some(key), device(key, invite))?;
        Ok(())
    }

    fn standing(&self, key: u8) -> Option<Role> {
        self.log.roster().standing(&pair(key).public()).ok()
    }
}

// --- member_admitted --------------------------------------------------------------------------

#[test]
fn who_may_admit_whom_as_what() {
    use RuleError::{KeyKnown, NotAllowed};
    let (mut peopled, _) = Mesh::peopled();
    peopled.link(1, 120, 41).unwrap();
    peopled.link(20, 121, 42).unwrap();
    for (signer, key, role, expected) in [
        (1, 30, Role::Member, Ok(())),
        (1, 30, Role::Admin, Ok(())),
        (1, 50, Role::Member, Ok(())),
        (1, 50, Role::Admin, Ok(())),
        (1, 30, Role::Pending, Err(NotAllowed)),
        (1, 50, Role::Owner, Err(NotAllowed)),
        (1, 50, Role::Device, Err(NotAllowed)),
        (10, 30, Role::Member, Ok(())),
        (10, 50, Role::Member, Ok(())),
        (10, 30, Role::Admin, Err(NotAllowed)),
        (41, 30, Role::Member, Ok(())),
        (41, 30, Role::Admin, Err(NotAllowed)),
        (20, 30, Role::Member, Err(NotAllowed)),
        (30, 30, Role::Member, Err(NotAllowed)),
        (42, 30, Role::Member, Err(NotAllowed)),
        (2, 30, Role::Member, Err(NotAllowed)),
        (1, 1, Role::Member, Err(KeyKnown)),
        (1, 2, Role::Member, Err(KeyKnown)),
        (1, 20, Role::Admin, Err(KeyKnown)),
        (1, 42, Role::Member, Err(KeyKnown)),
        (1, 101, Role::Member, Err(KeyKnown)),
    ] {
        let mut mesh = peopled.clone();
        let said = mesh.say(signer, admit(key, role)).map(|_| ());
        assert_eq!(said, expected, "{signer} admits {key} as {role}");
        if said.is_ok() {
            assert_eq!(mesh.role(key), Some(role));
            let member = mesh.log.roster().member(&pair(key).public()).unwrap();
            assert_eq!(member.name.as_str(), "Admitted");
        }
    }
    let agreed = peopled.say_at(NOW, 1, Some(30), admit(30, Role::Member));
    assert_eq!(agreed, Err(RuleError::Cosigner));
    peopled.say(1, remove(30, false)).unwrap();
    assert_eq!(peopled.say(1, admit(30, Role::Member)), Err(KeyKnown));
    for weak in weak_keys() {
        let body = with_key(admit(50, Role::Member), weak);
        assert_eq!(peopled.say(1, body), Err(RuleError::BadKey));
    }
}

// --- device_linked ----------------------------------------------------------------------------

#[test]
fn every_verified_member_links_devices_and_no_device_does() {
    let (mut mesh, _) = Mesh::peopled();
    let link = |key| issue(key, Role::Device, NOW + 10 * MINUTE, 1);
    for (member, invite_key, key) in [(1, 120, 41), (10, 121, 42), (20, 122, 43)] {
        mesh.link(member, invite_key, key).unwrap();
        let roster = mesh.log.roster();
        let held = roster.member(&pair(key).public()).unwrap();
        assert_eq!(
            (held.role, held.device_of),
            (Role::Device, Some(pair(member).public()))
        );
        assert!(held.is_verified());
        assert!(roster.display_name(held).ends_with("/Phone"));
        let devices: Vec<_> = roster
            .devices(&pair(member).public())
            .map(|d| d.key)
            .collect();
        assert_eq!(devices, [pair(key).public()]);
        assert_eq!(roster.person(&pair(key).public()), pair(member).public());
        assert_eq!(mesh.say(key, link(130)), Err(RuleError::NotAllowed));
    }
    for signer in [30, 2, 99] {
        assert_eq!(mesh.say(signer, link(130)), Err(RuleError::NotAllowed));
    }
    let standings = [41, 42, 43].map(|key| mesh.standing(key).unwrap());
    assert_eq!(standings, [Role::Admin, Role::Admin, Role::Member]);
}

#[test]
fn a_devices_link_is_short_and_good_once_and_for_a_device_only() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    for (lasts, uses) in [(10 * MINUTE + 1, 1), (1, 2), (1, 0)] {
        let said = mesh.say(20, issue(120, Role::Device, NOW + lasts, uses));
        assert_eq!(said, Err(RuleError::InviteTerms));
    }
    let body = issue(120, Role::Device, NOW + 10 * MINUTE, 1);
    let own = mesh.say(20, body).unwrap();
    assert_eq!(mesh.join(120, 41, own), Err(RuleError::OtherRole));
    let said = mesh.say_at(NOW, 101, Some(41), device(41, members));
    assert_eq!(said, Err(RuleError::OtherRole));
    for (signer, cosigner, expected) in [
        (120, None, RuleError::Cosigner),
        (120, Some(20), RuleError::Cosigner),
        (20, Some(41), RuleError::NotAllowed),
        (101, Some(41), RuleError::NotAllowed),
    ] {
        let said = mesh.say_at(NOW, signer, cosigner, device(41, own));
        assert_eq!(said, Err(expected));
    }
    for known in [1, 2, 10, 20, 101, 120] {
        let said = mesh.say_at(NOW, 120, Some(known), device(known, own));
        assert_eq!(said, Err(RuleError::KeyKnown));
    }
    let late = NOW + 10 * MINUTE + 1;
    let mut later = mesh.clone();
    let said = later.say_at(late, 120, Some(41), device(41, own));
    assert_eq!(said, Err(RuleError::InviteExpired));
    mesh.say_at(NOW, 120, Some(41), device(41, own)).unwrap();
    let said = mesh.say_at(NOW, 120, Some(42), device(42, own));
    assert_eq!(said, Err(RuleError::InviteUsedUp));
}

#[test]
fn who_linked_a_device_may_take_link_and_device_back() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    mesh.join(101, 21, members).unwrap();
    let body = |key| issue(key, Role::Device, NOW + MINUTE, 1);
    let own = mesh.say(20, body(120)).unwrap();
    let close = Body::InviteClosed { invite: own };
    assert_eq!(mesh.say(21, close.clone()), Err(RuleError::NotAllowed));
    mesh.clone().say(10, close.clone()).unwrap();
    mesh.say(20, close).unwrap();
    let said = mesh.say_at(NOW, 120, Some(41), device(41, own));
    assert_eq!(said, Err(RuleError::InviteClosed));

    mesh.link(20, 121, 41).unwrap();
    mesh.link(10, 122, 42).unwrap();
    mesh.link(1, 123, 43).unwrap();
    for (signer, key, allowed) in [
        (21, 41, false),
        (20, 41, true),
        (41, 41, true),
        (10, 41, true),
        (43, 41, true),
        (1, 41, true),
        // The devices of an admin and of the owner stand as admins.
        (10, 43, false),
        (43, 42, false),
        (42, 43, false),
        (1, 43, true),
        (41, 20, false),
        (42, 20, true),
    ] {
        let said = mesh.clone().say(signer, remove(key, false)).map(|_| ());
        let expected = if allowed {
            Ok(())
        } else {
            Err(RuleError::NotAllowed)
        };
        assert_eq!(said, expected, "{signer} removes {key}");
    }
    // A member who only unlinks a device closes nobody's links.
    assert_eq!(mesh.say(20, remove(41, true)), Err(RuleError::NotAllowed));
    mesh.say(20, remove(41, false)).unwrap();
    assert_eq!(mesh.role(20), Some(Role::Member));
    assert_eq!(mesh.standing(41), None);
    assert_eq!(mesh.log.roster().devices(&pair(20).public()).count(), 0);
    assert_eq!(mesh.say(41, remove(41, false)), Err(RuleError::NotAllowed));
}

#[test]
fn devices_fall_with_their_member_and_so_do_their_links() {
    let (mut mesh, _) = Mesh::peopled();
    mesh.link(10, 120, 41).unwrap();
    let by_device = mesh.invite(41, 121, Role::Member);
    let waiting = issue(122, Role::Device, NOW + MINUTE, 1);
    let waiting = mesh.say(10, waiting).unwrap();
    let before = mesh.log.head().seq;
    mesh.say(1, remove(10, false)).unwrap();
    assert!(mesh.closed(&by_device) && mesh.closed(&waiting));
    assert_eq!((mesh.role(41), mesh.standing(41)), (None, None));
    let roster = mesh.log.roster();
    let device = roster.member_or_former(&pair(41).public()).unwrap();
    assert_eq!(device.removed_seq, Some(before + 1));
    let standing = |seq| roster.standing_at(&pair(41).public(), seq);
    assert_eq!(
        (standing(before), standing(before + 1)),
        (Some(Role::Admin), None)
    );
    assert!(!roster.audience_at(before + 1).contains(&device.key));
    assert_eq!(mesh.say(41, remove(20, false)), Err(RuleError::NotAllowed));
}

// --- role_changed -----------------------------------------------------------------------------

#[test]
fn only_the_owner_changes_roles_between_admin_and_member() {
    use RuleError::{NotAllowed, OtherRole, UnknownMember};
    let (mut peopled, _) = Mesh::peopled();
    peopled.link(1, 120, 41).unwrap();
    for (signer, key, role, expected) in [
        (1, 20, Role::Admin, Ok(())),
        (1, 10, Role::Member, Ok(())),
        (1, 10, Role::Admin, Err(OtherRole)),
        (1, 20, Role::Member, Err(OtherRole)),
        (1, 20, Role::Owner, Err(OtherRole)),
        (1, 10, Role::Pending, Err(OtherRole)),
        (1, 10, Role::Device, Err(OtherRole)),
        (1, 30, Role::Member, Err(OtherRole)),
        (1, 41, Role::Admin, Err(OtherRole)),
        (1, 1, Role::Admin, Err(OtherRole)),
        (1, 99, Role::Admin, Err(UnknownMember)),
        (1, 2, Role::Admin, Err(UnknownMember)),
        (10, 20, Role::Admin, Err(NotAllowed)),
        (10, 10, Role::Member, Err(NotAllowed)),
        (41, 20, Role::Admin, Err(NotAllowed)),
        (20, 20, Role::Admin, Err(NotAllowed)),
        (2, 20, Role::Admin, Err(NotAllowed)),
    ] {
        let mut mesh = peopled.clone();
        let said = mesh.say(signer, change(key, role)).map(|_| ());
        assert_eq!(said, expected, "{signer} makes {key} {role}");
        if said.is_ok() {
            assert_eq!(mesh.role(key), Some(role));
        }
    }
    let agreed = peopled.say_at(NOW, 1, Some(20), change(20, Role::Admin));
    assert_eq!(agreed, Err(RuleError::Cosigner));
}

#[test]
fn a_former_admins_links_close_also_those_of_its_devices() {
    let (mut mesh, [_, members, pending]) = Mesh::peopled();
    mesh.link(10, 120, 41).unwrap();
    let by_device = mesh.invite(41, 121, Role::Member);
    mesh.say(1, change(10, Role::Member)).unwrap();
    assert!(mesh.closed(&pending) && mesh.closed(&by_device));
    assert!(!mesh.closed(&members));
    assert_eq!(mesh.standing(41), Some(Role::Member));
    let body = issue(122, Role::Member, NOW + DAY, 1);
    assert_eq!(mesh.say(41, body), Err(RuleError::NotAllowed));
}

#[test]
fn the_role_that_somebody_had_is_kept() {
    let (mut mesh, _) = Mesh::peopled();
    let start = mesh.log.head().seq;
    mesh.say(1, change(20, Role::Admin)).unwrap();
    mesh.say(1, change(20, Role::Member)).unwrap();
    mesh.say(1, remove(20, false)).unwrap();
    let member = mesh
        .log
        .roster()
        .member_or_former(&pair(20).public())
        .unwrap();
    let roles: Vec<_> = (start..start + 4).map(|seq| member.role_at(seq)).collect();
    let (admin, plain) = (Some(Role::Admin), Some(Role::Member));
    assert_eq!(roles, [plain, admin, plain, None]);
    assert_eq!((member.role_at(0), member.role_at(u64::MAX)), (None, None));
    assert!(member.was_verified(start) && !member.was_verified(start + 3));
}

// --- owner_changed ----------------------------------------------------------------------------

#[test]
fn the_owner_gives_the_mesh_away() {
    use RuleError::{Cosigner, KeyKnown, NotAllowed, OtherRole, UnknownMember};
    let (mut peopled, _) = Mesh::peopled();
    peopled.link(20, 120, 41).unwrap();
    for (signer, cosigner, body, expected) in [
        (1, Some(20), owner(20, None, false), Ok(())),
        (1, Some(10), owner(10, None, false), Ok(())),
        (1, Some(50), owner(50, None, true), Ok(())),
        (1, None, owner(20, None, false), Err(Cosigner)),
        (1, Some(10), owner(20, None, false), Err(Cosigner)),
        (1, Some(20), owner(20, None, true), Err(OtherRole)),
        (1, Some(30), owner(30, None, false), Err(OtherRole)),
        (1, Some(41), owner(41, None, false), Err(OtherRole)),
        (1, Some(50), owner(50, None, false), Err(UnknownMember)),
        (1, Some(1), owner(1, None, false), Err(KeyKnown)),
        (1, Some(2), owner(2, None, true), Err(KeyKnown)),
        (1, Some(101), owner(101, None, true), Err(KeyKnown)),
        // The key that saves the mesh from a stolen owner key is not the thief's to replace.
        (1, Some(20), owner(20, Some(3), false), Err(NotAllowed)),
        (10, Some(10), owner(10, None, false), Err(NotAllowed)),
        (20, Some(20), owner(20, None, false), Err(NotAllowed)),
        (99, Some(99), owner(99, None, true), Err(NotAllowed)),
    ] {
        let mut mesh = peopled.clone();
        let said = mesh.say_at(NOW, signer, cosigner, body.clone()).map(|_| ());
        assert_eq!(said, expected, "{signer} {body:?}");
        if said.is_ok() {
            let new = cosigner.unwrap();
            assert_eq!(mesh.log.roster().owner(), pair(new).public());
            assert_eq!(
                (mesh.role(new), mesh.role(1)),
                (Some(Role::Owner), Some(Role::Admin))
            );
            assert_eq!(mesh.log.roster().recovery(), Some(pair(2).public()));
            assert_eq!(mesh.say(1, change(20, Role::Admin)), Err(NotAllowed));
            mesh.say(new, remove(1, true)).unwrap();
        }
    }
    for weak in weak_keys() {
        // No weak key agrees to anything: its signature is refused before the rules are asked.
        let body = with_key(owner(50, None, true), weak);
        assert_eq!(peopled.say_at(NOW, 1, Some(50), body), Err(Cosigner));
    }
}

#[test]
fn a_former_owner_keeps_no_link_for_admins() {
    let (mut mesh, [admins, members, _]) = Mesh::peopled();
    mesh.say_at(NOW, 1, Some(20), owner(20, None, false))
        .unwrap();
    assert!(mesh.closed(&admins) && !mesh.closed(&members));
    assert_eq!(mesh.join(100, 11, admins), Err(RuleError::InviteClosed));
    mesh.join(101, 21, members).unwrap();
}

#[test]
fn the_recovery_key_takes_the_mesh_from_a_lost_owner() {
    let (mut mesh, _) = Mesh::peopled();
    mesh.link(1, 120, 41).unwrap();
    mesh.link(20, 121, 42).unwrap();
    for (cosigner, body, expected) in [
        (None, owner(20, None, false), RuleError::Cosigner),
        (Some(1), owner(1, None, false), RuleError::KeyKnown),
        (Some(41), owner(41, None, false), RuleError::OtherRole),
        (Some(2), owner(2, None, true), RuleError::KeyKnown),
        (Some(20), owner(20, Some(2), false), RuleError::KeyKnown),
        (Some(20), owner(20, Some(10), false), RuleError::KeyKnown),
        (Some(50), owner(50, Some(50), true), RuleError::KeyKnown),
    ] {
        assert_eq!(mesh.say_at(NOW, 2, cosigner, body), Err(expected));
    }
    let mut kept = mesh.clone();
    kept.say_at(NOW, 2, Some(20), owner(20, None, false))
        .unwrap();
    assert_eq!(kept.log.roster().recovery(), Some(pair(2).public()));

    let before = mesh.log.head().seq;
    mesh.say_at(NOW, 2, Some(50), owner(50, Some(3), true))
        .unwrap();
    let roster = mesh.log.roster();
    assert_eq!(
        (roster.owner(), roster.recovery()),
        (pair(50).public(), Some(pair(3).public()))
    );
    assert_eq!((mesh.role(1), mesh.role(41)), (None, None));
    assert_eq!(
        (mesh.role(42), mesh.role(10)),
        (Some(Role::Device), Some(Role::Admin))
    );
    assert!(roster.invites().all(|invite| invite.closed));
    let old = roster.member_or_former(&pair(1).public()).unwrap();
    assert_eq!(old.role_at(before), Some(Role::Owner));
    assert_eq!(old.role_at(before + 1), None);
    // The old recovery key has done its work, and is never anything else.
    let again = mesh.say_at(NOW, 2, Some(20), owner(20, None, false));
    assert_eq!(again, Err(RuleError::NotAllowed));
    assert_eq!(
        mesh.say(50, admit(2, Role::Member)),
        Err(RuleError::KeyKnown)
    );
    mesh.say_at(NOW, 3, Some(20), owner(20, None, false))
        .unwrap();
    assert_eq!(mesh.role(50), None);
}

#[test]
fn an_owner_without_a_recovery_key_may_set_one_as_it_goes() {
    let mut mesh = Mesh::without_recovery();
    let said = mesh.say_at(NOW, 1, Some(50), owner(50, Some(1), true));
    assert_eq!(said, Err(RuleError::KeyKnown));
    let mut weak = owner(50, Some(3), true);
    if let Body::OwnerChanged { recovery, .. } = &mut weak {
        *recovery = Some(weak_keys()[1]);
    }
    assert_eq!(mesh.say_at(NOW, 1, Some(50), weak), Err(RuleError::BadKey));
    mesh.say_at(NOW, 1, Some(50), owner(50, Some(3), true))
        .unwrap();
    assert_eq!(mesh.log.roster().recovery(), Some(pair(3).public()));
    let said = mesh.say_at(NOW, 50, Some(1), owner(1, Some(4), false));
    assert_eq!(said, Err(RuleError::NotAllowed));
}

// --- channel_created --------------------------------------------------------------------------

#[test]
fn verified_members_make_channels_and_lead_them() {
    use RuleError::{ChannelKnown, ChannelTerms, NotAllowed};
    let (mut mesh, _) = Mesh::peopled();
    mesh.link(20, 120, 41).unwrap();
    for (signer, text, public, expected) in [
        (20, "#deploys", false, Ok(())),
        (10, "@team", true, Ok(())),
        (41, "#phone", true, Ok(())),
        (1, "#deploys", true, Err(ChannelKnown)),
        (1, "@hidden", false, Err(ChannelTerms)),
        (1, "*", true, Err(ChannelTerms)),
        (1, "$state", true, Err(ChannelTerms)),
        (30, "#mine", false, Err(NotAllowed)),
        (99, "#mine", false, Err(NotAllowed)),
        (2, "#mine", false, Err(NotAllowed)),
    ] {
        let said = mesh.say(signer, channel(text, public)).map(|_| ());
        assert_eq!(said, expected, "{text}");
    }
    let agreed = mesh.say_at(NOW, 1, Some(20), channel("#x", true));
    assert_eq!(agreed, Err(RuleError::Cosigner));
    let roster = mesh.log.roster();
    let held = |text| roster.channel(&ChannelName::new(text).unwrap()).unwrap();
    assert_eq!(held("#deploys").lead, pair(20).public());
    // A device is lost and replaced; its member leads.
    assert_eq!(held("#phone").lead, pair(20).public());
    assert_eq!(held("#phone").created, mesh.log.head().hash);
    assert_eq!(
        (held("#phone").seq, roster.channels().count()),
        (mesh.log.head().seq, 3)
    );
    assert!(held("@team").public && !held("#deploys").public);
    mesh.say(1, remove(20, false)).unwrap();
    assert_eq!(mesh.say(20, channel("#y", true)), Err(NotAllowed));
}

#[test]
fn the_removed_are_let_in_by_nobody() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    mesh.say(1, remove(20, false)).unwrap();
    let fresh = mesh.invite(1, 110, Role::Member);
    let known = Err(RuleError::KeyKnown);
    assert_eq!(mesh.say(1, admit(20, Role::Member)), known);
    assert_eq!(mesh.say_at(NOW, 1, Some(20), owner(20, None, true)), known);
    assert_eq!(mesh.say_at(NOW, 110, Some(20), join(20, fresh)), known);
    assert!(mesh.closed(&members));
}
