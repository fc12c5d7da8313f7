//! The membership log against its rules: every kind accepted, every reject by its own error.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

#[path = "membership/kinds.rs"]
mod kinds;
#[path = "membership/mesh.rs"]
mod mesh;
#[path = "membership/model.rs"]
mod model;

use claudemesh_core::crypto::Drbg;
use claudemesh_core::encoding::{DecodeError, Encoder};
use claudemesh_core::id::{ChannelName, Hash, MeshId, Signature};
use claudemesh_core::membership::{
    Body, Draft, EntryError, Log, LogError, MAX_ENTRY_BYTES, Merge, Role, RuleError, SignedEntry,
};
use mesh::{DAY, Mesh, NOW, birth, issue, join, name, pair, remove, weak_keys};

// --- mesh_created -----------------------------------------------------------------------------

#[test]
fn the_first_entry_makes_the_mesh_and_its_maker_the_owner() {
    let first = birth(Some(pair(2).public())).sign(&pair(1), None);
    let log = Log::begin(&first).unwrap();
    assert_eq!(log.mesh(), &first.mesh_id());
    assert_eq!(log.mesh().as_str().len(), 32);
    assert_eq!((log.head().seq, log.head().hash), (0, first.hash()));
    let roster = log.roster();
    assert_eq!(roster.slug().as_str(), "team");
    assert_eq!(roster.owner(), pair(1).public());
    let owner = roster.member(&pair(1).public()).unwrap();
    assert_eq!((owner.role, owner.name.as_str()), (Role::Owner, "Olga"));
    assert!(owner.is_verified());
    // The salt is part of the mesh's id.
    let mut salted = birth(Some(pair(2).public()));
    if let Body::MeshCreated { salt, .. } = &mut salted.body {
        *salt = [8; 32];
    }
    assert_ne!(salted.sign(&pair(1), None).mesh_id(), first.mesh_id());
}

#[test]
fn a_first_entry_out_of_place_is_refused() {
    let rule = |signed: &SignedEntry| match Log::begin(signed) {
        Err(LogError::Rule { seq: 0, source }) => source,
        other => panic!("{other:?}"),
    };
    let mesh = MeshId::new("m").unwrap();
    let (mut late, mut after, mut named, mut other) =
        (birth(None), birth(None), birth(None), birth(None));
    late.seq = 1;
    after.prev = Hash([1; 32]);
    named.mesh = Some(&mesh);
    other.body = issue(100, Role::Member, NOW + DAY, 1);
    for draft in [late, after, named, other] {
        assert_eq!(rule(&draft.sign(&pair(1), None)), RuleError::Birth);
    }
    let agreed = birth(None).sign(&pair(1), Some(&pair(2)));
    assert_eq!(rule(&agreed), RuleError::Cosigner);
    let same = birth(Some(pair(1).public())).sign(&pair(1), None);
    assert_eq!(rule(&same), RuleError::KeyKnown);
    for weak in weak_keys() {
        let signed = birth(Some(weak)).sign(&pair(1), None);
        assert_eq!(rule(&signed), RuleError::BadKey, "{weak}");
    }
    assert_eq!(
        Mesh::new().say(1, birth(None).body),
        Err(RuleError::Birth),
        "a second birth"
    );
}

// --- invite_issued ----------------------------------------------------------------------------

#[test]
fn who_may_issue_which_invite() {
    let (peopled, _) = Mesh::peopled();
    for (signer, role, allowed) in [
        (1, Role::Admin, true),
        (1, Role::Member, true),
        (1, Role::Pending, true),
        (10, Role::Admin, false),
        (10, Role::Member, true),
        (10, Role::Pending, true),
        (20, Role::Member, false),
        (20, Role::Pending, false),
        (30, Role::Pending, false),
        (2, Role::Member, false),
        (101, Role::Member, false),
        (99, Role::Member, false),
    ] {
        let mut mesh = peopled.clone();
        let said = mesh.say(signer, issue(110, role, NOW + DAY, 1));
        if allowed {
            let invite = mesh.log.roster().invite(&said.unwrap()).unwrap();
            let got = (invite.issuer, invite.role, invite.closed);
            assert_eq!(got, (pair(signer).public(), role, false));
        } else {
            assert_eq!(said, Err(RuleError::NotAllowed), "{signer} {role}");
        }
    }
}

#[test]
fn the_terms_of_an_invite_are_bounded() {
    let mut mesh = Mesh::new();
    for (key, expires_at, uses) in [
        (100, NOW, 1),
        (101, NOW + 90 * DAY, 1_000),
        (102, NOW + 1, 1),
    ] {
        let body = issue(key, Role::Member, expires_at, uses);
        mesh.say(1, body).unwrap();
    }
    for (role, expires_at, uses) in [
        (Role::Owner, NOW + DAY, 1),
        (Role::Member, NOW - 1, 1),
        (Role::Member, 0, 1),
        (Role::Member, NOW + 90 * DAY + 1, 1),
        (Role::Member, u64::MAX, 1),
        (Role::Member, NOW + DAY, 0),
        (Role::Member, NOW + DAY, 1_001),
        (Role::Member, NOW + DAY, u64::MAX),
    ] {
        let said = mesh.say(1, issue(103, role, expires_at, uses));
        assert_eq!(said, Err(RuleError::InviteTerms));
    }
}

#[test]
fn an_invite_key_is_new_sound_and_needs_no_cosigner() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    let terms = |key| issue(key, Role::Member, NOW + DAY, 1);
    // Of the owner, an admin, a member, another invite, and the recovery key.
    for known in [1, 10, 20, 101, 2] {
        assert_eq!(mesh.say(1, terms(known)), Err(RuleError::KeyKnown));
    }
    mesh.say(1, remove(20, false)).unwrap();
    assert!(mesh.closed(&members));
    assert_eq!(mesh.say(1, terms(20)), Err(RuleError::KeyKnown));
    for weak in weak_keys() {
        let mut body = terms(110);
        if let Body::InviteIssued { key, .. } = &mut body {
            *key = weak;
        }
        assert_eq!(mesh.say(1, body), Err(RuleError::BadKey));
    }
    let agreed = mesh.say_at(NOW, 1, Some(110), terms(110));
    assert_eq!(agreed, Err(RuleError::Cosigner));
}

// --- invite_closed ----------------------------------------------------------------------------

#[test]
fn owner_and_admins_close_invites_and_nobody_else() {
    let (mut mesh, [admins, members, _]) = Mesh::peopled();
    let close = |invite| Body::InviteClosed { invite };
    for signer in [20, 30, 2, 101, 99] {
        let said = mesh.say(signer, close(members));
        assert_eq!(said, Err(RuleError::NotAllowed), "{signer}");
    }
    let agreed = mesh.say_at(NOW, 1, Some(20), close(members));
    assert_eq!(agreed, Err(RuleError::Cosigner));
    let unknown = mesh.say(1, close(mesh.entries[0].hash()));
    assert_eq!(unknown, Err(RuleError::UnknownInvite));
    mesh.say(10, close(members)).unwrap();
    mesh.say(1, close(admins)).unwrap();
    assert!(mesh.closed(&members) && mesh.closed(&admins));
    assert_eq!(mesh.say(1, close(members)), Err(RuleError::InviteClosed));
    assert_eq!(mesh.join(101, 21, members), Err(RuleError::InviteClosed));
    // Closing takes nobody's place away.
    assert_eq!(mesh.role(20), Some(Role::Member));
}

// --- member_joined ----------------------------------------------------------------------------

#[test]
fn one_joins_by_an_open_invite_and_gets_its_role() {
    let (mesh, [_, members, pending]) = Mesh::peopled();
    let member = mesh.log.roster().member(&pair(20).public()).unwrap();
    assert_eq!((member.role, member.invite), (Role::Member, Some(members)));
    assert!(member.is_verified());
    let waits = mesh.log.roster().member(&pair(30).public()).unwrap();
    assert_eq!((waits.role, waits.invite), (Role::Pending, Some(pending)));
    assert!(!waits.is_verified());
    assert_eq!(mesh.role(10), Some(Role::Admin));
    let used = &mesh.log.roster().invite(&members).unwrap().used_by;
    assert_eq!(used, &[pair(20).public()]);
}

#[test]
fn joining_needs_the_invites_key_and_the_new_members_agreement() {
    let (mut mesh, [admins, members, _]) = Mesh::peopled();
    // The key of another invite, the owner, an admin, the member itself, a stranger.
    for signer in [100, 1, 10, 21, 99] {
        let said = mesh.say_at(NOW, signer, Some(21), join(21, members));
        assert_eq!(said, Err(RuleError::NotAllowed), "{signer}");
    }
    // A member's invite cannot be passed off as an admin's.
    let said = mesh.say_at(NOW, 101, Some(21), join(21, admins));
    assert_eq!(said, Err(RuleError::NotAllowed));
    for cosigner in [None, Some(101), Some(1), Some(22)] {
        let said = mesh.say_at(NOW, 101, cosigner, join(21, members));
        assert_eq!(said, Err(RuleError::Cosigner), "{cosigner:?}");
    }
    let unknown = mesh.say_at(NOW, 101, Some(21), join(21, Hash([7; 32])));
    assert_eq!(unknown, Err(RuleError::UnknownInvite));
    mesh.join(101, 21, members).unwrap();
}

#[test]
fn a_key_that_is_in_the_log_as_anything_never_joins() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    let fresh = mesh.invite(1, 110, Role::Member);
    // Owner, recovery key, admin, member, another invite's key, the invite's own key.
    for known in [1, 2, 10, 20, 101, 110] {
        let said = mesh.join(110, known, fresh);
        assert_eq!(said, Err(RuleError::KeyKnown), "{known}");
    }
    mesh.say(1, remove(20, false)).unwrap();
    assert_eq!(mesh.join(110, 20, fresh), Err(RuleError::KeyKnown));
    assert_eq!(mesh.join(101, 21, members), Err(RuleError::InviteClosed));
    mesh.join(110, 21, fresh).unwrap();
}

#[test]
fn an_invite_is_good_until_its_very_millisecond_and_for_its_uses() {
    let mut mesh = Mesh::new();
    let last = NOW + DAY;
    let once = mesh.say(1, issue(100, Role::Member, last, 1)).unwrap();
    let twice = mesh.say(1, issue(101, Role::Member, last, 2)).unwrap();
    mesh.join(100, 20, once).unwrap();
    assert_eq!(mesh.join(100, 21, once), Err(RuleError::InviteUsedUp));
    mesh.join(101, 21, twice).unwrap();
    let late = mesh.say_at(last + 1, 101, Some(22), join(22, twice));
    assert_eq!(late, Err(RuleError::InviteExpired));
    mesh.say_at(last, 101, Some(22), join(22, twice)).unwrap();
    assert_eq!(mesh.join(101, 23, twice), Err(RuleError::InviteUsedUp));
    // A removed member gives no use back.
    mesh.say(1, remove(22, false)).unwrap();
    assert_eq!(mesh.join(101, 23, twice), Err(RuleError::InviteClosed));
}

// --- member_removed ---------------------------------------------------------------------------

#[test]
fn who_may_remove_whom() {
    use RuleError::{NotAllowed, OwnerStays, UnknownMember};
    let (mut peopled, [admins, members, pending]) = Mesh::peopled();
    peopled.join(100, 11, admins).unwrap();
    peopled.join(101, 21, members).unwrap();
    peopled.join(102, 31, pending).unwrap();
    let agreed = peopled.say_at(NOW, 1, Some(21), remove(21, false));
    assert_eq!(agreed, Err(RuleError::Cosigner));
    for (signer, whom, expected) in [
        (1, 10, Ok(())),
        (1, 20, Ok(())),
        (1, 30, Ok(())),
        (1, 1, Err(OwnerStays)),
        (10, 1, Err(OwnerStays)),
        (10, 11, Err(NotAllowed)),
        (10, 20, Ok(())),
        (10, 30, Ok(())),
        (10, 10, Ok(())),
        (20, 1, Err(OwnerStays)),
        (20, 10, Err(NotAllowed)),
        (20, 21, Err(NotAllowed)),
        (20, 30, Err(NotAllowed)),
        (20, 20, Ok(())),
        (30, 31, Err(NotAllowed)),
        (30, 20, Err(NotAllowed)),
        (30, 30, Ok(())),
        (1, 99, Err(UnknownMember)),
        (1, 2, Err(UnknownMember)),
        (1, 101, Err(UnknownMember)),
        (99, 20, Err(NotAllowed)),
        (2, 20, Err(NotAllowed)),
        (101, 20, Err(NotAllowed)),
    ] {
        let mut mesh = peopled.clone();
        // Who may not remove others may not close their links either.
        let may_close = matches!(signer, 1 | 10);
        if expected.is_ok() && !may_close {
            let all = mesh.say(signer, remove(whom, true));
            assert_eq!(all, Err(NotAllowed), "{signer} closes all");
        }
        let said = mesh.say(signer, remove(whom, may_close)).map(|_| ());
        assert_eq!(said, expected, "{signer} removes {whom}");
        if said.is_ok() {
            assert_eq!(mesh.role(whom), None);
            let roster = mesh.log.roster();
            let former = roster.member_or_former(&pair(whom).public()).unwrap();
            assert_eq!(former.removed_at, Some(NOW));
            assert!(!former.is_verified());
            assert!(roster.members().all(|member| member.key != former.key));
            assert!(roster.members_and_former().any(|m| m.key == former.key));
            assert_eq!(mesh.say(1, remove(whom, true)), Err(UnknownMember));
        }
    }
}

#[test]
fn a_removed_admin_may_do_nothing_any_more() {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    mesh.say(1, remove(10, false)).unwrap();
    for body in [
        issue(110, Role::Member, NOW + DAY, 1),
        Body::InviteClosed { invite: members },
        remove(20, false),
        remove(10, false),
        remove(1, false),
    ] {
        assert_eq!(mesh.say(10, body), Err(RuleError::NotAllowed));
    }
}

#[test]
fn a_removal_closes_what_the_member_issued_and_came_by() {
    let (mut mesh, [admins, members, pending]) = Mesh::peopled();
    let own = mesh.invite(10, 110, Role::Member);
    mesh.say(1, remove(10, false)).unwrap();
    // `pending` and `own` were issued by the admin, who came by `admins`.
    assert!(mesh.closed(&admins) && mesh.closed(&pending) && mesh.closed(&own));
    assert!(!mesh.closed(&members));
    assert_eq!(mesh.join(110, 21, own), Err(RuleError::InviteClosed));
    assert_eq!(mesh.role(30), Some(Role::Pending));

    let later = mesh.invite(1, 111, Role::Member);
    mesh.say(20, remove(20, false)).unwrap();
    assert!(mesh.closed(&members) && !mesh.closed(&later));
    mesh.join(111, 22, later).unwrap();
    mesh.say(1, remove(30, true)).unwrap();
    assert!(mesh.log.roster().invites().all(|invite| invite.closed));
    // What is issued afterwards is open, and not closed by anybody else's removal.
    let after = mesh.invite(1, 112, Role::Member);
    mesh.say(1, remove(22, false)).unwrap();
    assert!(!mesh.closed(&after));
}

// --- the chain --------------------------------------------------------------------------------

#[test]
fn an_entry_that_does_not_follow_the_head_is_refused() {
    let (mut mesh, _) = Mesh::peopled();
    let stranger = MeshId::new("m").unwrap();
    let held = mesh.log.clone();
    let good = || held.draft(NOW, remove(20, false));
    let next = mesh.entries.len() as u64;
    let first = mesh.entries[0].hash();
    let changes: [&dyn Fn(&mut Draft<'_>); 9] = [
        &|draft| draft.seq += 1,
        &|draft| draft.seq -= 1,
        &|draft| draft.seq = u64::MAX,
        &|draft| draft.prev = first,
        &|draft| draft.prev = Hash::ZERO,
        &|draft| draft.mesh = None,
        &|draft| draft.at = NOW - 1,
        &|draft| draft.at = 0,
        &|draft| draft.prev.0[31] ^= 1,
    ];
    for change in changes {
        let mut draft = good();
        change(&mut draft);
        let refused = mesh.take(draft.sign(&pair(1), None));
        assert_eq!(refused, Err(LogError::NotNext { seq: next }));
    }
    let mut elsewhere = good();
    elsewhere.mesh = Some(&stranger);
    let refused = mesh.take(elsewhere.sign(&pair(1), None));
    assert_eq!(refused, Err(LogError::NotNext { seq: next }));

    let signed = good().sign(&pair(1), None);
    mesh.take(signed.clone()).unwrap();
    let again = mesh.take(signed);
    assert_eq!(again, Err(LogError::NotNext { seq: next + 1 }));
}

#[test]
fn time_never_runs_back_also_for_a_slow_clock() {
    let mut mesh = Mesh::new();
    let terms = |key| issue(key, Role::Member, NOW + DAY, 1);
    mesh.say_at(NOW + 500, 1, None, terms(100)).unwrap();
    let draft = mesh.log.draft(5, terms(101));
    assert_eq!(draft.at, NOW + 500);
    let signed = draft.sign(&pair(1), None);
    mesh.take(signed).unwrap();
    assert_eq!(mesh.log.at(), NOW + 500);
}

#[test]
fn a_log_is_extended_never_replaced() {
    let (mesh, [_, members, _]) = Mesh::peopled();
    let all = &mesh.entries;
    let len = all.len() as u64;
    let head = mesh.log.head();

    let mut fresh = Log::begin(&all[0]).unwrap();
    assert_eq!(fresh.merge(0, all), Ok(Merge::Extended(len - 1)));
    assert_eq!(fresh.roster(), mesh.log.roster());
    assert_eq!(fresh.merge(0, all), Ok(Merge::Extended(0)));
    assert_eq!(fresh.merge(3, &all[3..]), Ok(Merge::Extended(0)));
    assert_eq!(fresh.merge(len, &[]), Ok(Merge::Extended(0)));

    // Rollback: the shorter log takes nothing back, and is told by the head it names.
    assert_eq!(fresh.merge(0, &all[..3]), Ok(Merge::Extended(0)));
    assert_eq!(fresh.head(), head);
    assert_eq!(fresh.hash_at(2), Some(all[2].hash()));
    assert_eq!(fresh.hash_at(len), None);
    assert_eq!(fresh.hash_at(u64::MAX), None);

    // Fork: the same place, another entry; nothing after it is looked at.
    let short = Log::verify(mesh.log.mesh(), &all[..3]).unwrap();
    let forked = short
        .draft(NOW, issue(120, Role::Member, NOW + DAY, 1))
        .sign(&pair(1), None);
    let mut page = all.clone();
    page[3] = forked;
    assert_eq!(fresh.merge(0, &page), Ok(Merge::Fork { seq: 3 }));
    assert_eq!(fresh.merge(3, &page[3..4]), Ok(Merge::Fork { seq: 3 }));
    assert_eq!(fresh.head(), head);

    // A gap, also at the end of all numbers.
    for from in [len + 1, u64::MAX - 1, u64::MAX] {
        for page in [&all[..], &all[..1], &[]] {
            let merged = fresh.merge(from, page);
            assert_eq!(merged, Err(LogError::NotNext { seq: len }));
        }
    }

    // What is sound before an error stays.
    let mut partial = Log::begin(&all[0]).unwrap();
    let mut page = all.clone();
    page[4].signature.0[0] ^= 1;
    let source = EntryError::BadSignature;
    assert_eq!(
        partial.merge(0, &page),
        Err(LogError::Entry { seq: 4, source })
    );
    assert_eq!(partial.head().seq, 3);
    assert_eq!(partial.merge(4, &all[4..]), Ok(Merge::Extended(len - 4)));
    assert_eq!(partial.roster().invite(&members).unwrap().used_by.len(), 1);
}

#[test]
fn a_log_is_verified_for_the_mesh_that_was_asked_for() {
    let (mesh, _) = Mesh::peopled();
    let id = mesh.log.mesh();
    let verify = |id: &MeshId, entries: &[SignedEntry]| Log::verify(id, entries).map(|_| ());
    assert_eq!(verify(id, &mesh.entries), Ok(()));
    assert_eq!(verify(id, &[]), Err(LogError::Empty));
    let other = MeshId::new("m").unwrap();
    assert_eq!(verify(&other, &mesh.entries), Err(LogError::OtherMesh));
    assert_eq!(verify(id, &mesh.entries[1..]), Err(LogError::OtherMesh));
    let mut swapped = mesh.entries.clone();
    swapped.swap(2, 3);
    assert_eq!(verify(id, &swapped), Err(LogError::NotNext { seq: 2 }));
    let mut without = mesh.entries.clone();
    without.remove(3);
    assert_eq!(verify(id, &without), Err(LogError::NotNext { seq: 3 }));
}

// --- bytes ------------------------------------------------------------------------------------

/// One entry of every kind.
fn every_kind() -> Vec<SignedEntry> {
    let (mut mesh, [_, members, _]) = Mesh::peopled();
    let key = |seed| pair(seed).public();
    let link = mesh.say(20, issue(120, Role::Device, NOW + 1, 1)).unwrap();
    for (signer, cosigner, body) in [
        (10, None, Body::InviteClosed { invite: members }),
        (
            10,
            None,
            Body::MemberAdmitted {
                key: key(30),
                name: name("Pia"),
                role: Role::Member,
            },
        ),
        (
            120,
            Some(41),
            Body::DeviceLinked {
                key: key(41),
                name: name("Phone"),
                invite: link,
            },
        ),
        (
            1,
            None,
            Body::RoleChanged {
                key: key(30),
                role: Role::Admin,
            },
        ),
        (
            41,
            None,
            Body::ChannelCreated {
                channel: ChannelName::new("#deploys").unwrap(),
                public: true,
            },
        ),
        (
            2,
            Some(50),
            Body::OwnerChanged {
                key: key(50),
                recovery: Some(key(3)),
                name: Some(name("Heir")),
            },
        ),
        (10, None, remove(20, true)),
    ] {
        mesh.say_at(NOW, signer, cosigner, body).unwrap();
    }
    let mut seen = Vec::new();
    let mut kinds = mesh.entries;
    kinds.retain(|signed| {
        let kind = signed.decode().unwrap().body.kind();
        let new = !seen.contains(&kind);
        seen.push(kind);
        new
    });
    assert_eq!(kinds.len(), 10);
    kinds
}

#[test]
fn no_changed_bit_verifies() {
    for signed in every_kind() {
        signed.open().unwrap();
        for bit in 0..signed.bytes.len() * 8 {
            let mut changed = signed.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            changed.open().unwrap_err();
        }
        for bit in (0..512).step_by(3) {
            let mut changed = signed.clone();
            changed.signature.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(changed.open(), Err(EntryError::BadSignature));
            let mut changed = signed.clone();
            if let Some(cosignature) = &mut changed.cosignature {
                cosignature.0[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(changed.open(), Err(EntryError::BadSignature));
            }
        }
        for cut in 0..signed.bytes.len() {
            let mut changed = signed.clone();
            changed.bytes.truncate(cut);
            changed.open().unwrap_err();
        }
        let mut extra = signed.clone();
        extra.cosignature = match signed.cosignature {
            None => Some(signed.signature),
            Some(_) => None,
        };
        assert_eq!(extra.open(), Err(EntryError::BadSignature));
        if let Some(cosignature) = signed.cosignature {
            let mut swapped = signed.clone();
            (swapped.signature, swapped.cosignature) = (cosignature, Some(signed.signature));
            assert_eq!(swapped.open(), Err(EntryError::BadSignature));
        }
    }
}

#[test]
fn the_text_form_is_strict_and_gives_the_same_entry() {
    for signed in every_kind() {
        let (e, sig) = (signed.to_base64url(), signed.signature.to_hex());
        let cosig = signed.cosignature.map(|cosig| cosig.to_hex());
        let cosig = cosig.as_deref();
        let read = SignedEntry::from_text(&e, &sig, cosig).unwrap();
        assert_eq!(read, signed);
        for bad in [format!("{e}="), format!("{e} "), format!("+{}", &e[1..])] {
            SignedEntry::from_text(&bad, &sig, cosig).unwrap_err();
        }
        for bad in ["", &sig[2..], &format!("{sig}00"), &"zz".repeat(64)] {
            SignedEntry::from_text(&e, bad, cosig).unwrap_err();
            SignedEntry::from_text(&e, &sig, Some(bad)).unwrap_err();
        }
    }
}

/// The fields in front of an entry's own, with one of them replaced.
fn header(kind: &str, replace: Option<(usize, &[u8])>) -> Encoder {
    let mesh = "a".repeat(32);
    let signer = pair(1).public();
    let fields: [&[u8]; 8] = [
        mesh.as_bytes(),
        b"",
        &1u64.to_be_bytes(),
        &[1; 32],
        &NOW.to_be_bytes(),
        kind.as_bytes(),
        &signer.0,
        b"",
    ];
    fields
        .into_iter()
        .enumerate()
        .fold(
            Encoder::new("log-entry/1"),
            |encoder, (at, field)| match replace {
                Some((place, other)) if place == at => encoder.bytes(other),
                _ => encoder.bytes(field),
            },
        )
}

fn decode(encoder: Encoder) -> Result<(), EntryError> {
    decode_bytes(encoder.finish())
}

fn decode_bytes(bytes: Vec<u8>) -> Result<(), EntryError> {
    let signed = SignedEntry {
        signature: pair(1).sign(&bytes),
        bytes,
        cosignature: None,
    };
    let decoded = signed.decode().map(|_| ());
    assert_eq!(signed.open().map(|_| ()), decoded);
    decoded
}

#[test]
fn fields_are_counted_and_measured() {
    let key = pair(20).public().0;
    let one = 1u64.to_be_bytes();
    let field = |what| Err(EntryError::Decode(DecodeError::Field(what)));
    let count = Err(EntryError::Decode(DecodeError::FieldCount));
    let removal = |replace| header("member_removed", replace).bytes(&key);

    assert_eq!(decode(removal(None).int(1)), Ok(()));
    assert_eq!(decode(removal(None)), count);
    assert_eq!(decode(removal(None).int(1).bytes(b"")), count);
    assert_eq!(decode(removal(None).int(2)), field("all"));
    assert_eq!(decode(removal(None).bytes(&one[1..])), field("all"));
    assert_eq!(decode(removal(None).bytes(b"")), field("all"));
    let mut rest = removal(None).int(1).finish();
    rest.push(0);
    assert_eq!(decode_bytes(rest), count);
    for (at, bad, what) in [
        (0, b"a b".as_slice(), "mesh id"),
        (0, &[0xff; 32], "mesh id"),
        (1, b"#deploys", "channel"),
        (2, &one[1..], "seq"),
        (2, b"", "seq"),
        (3, b"", "prev"),
        (3, &[1; 33], "prev"),
        (4, &[0; 9], "at"),
        (6, b"", "signer"),
        (6, &[1; 31], "signer"),
        (7, &[1; 31], "cosigner"),
        (7, &[1; 33], "cosigner"),
    ] {
        let decoded = decode(removal(Some((at, bad))).int(1));
        assert_eq!(decoded, field(what), "field {at}");
    }
    let unknown = |kind: &str| Err(EntryError::UnknownKind(kind.to_owned()));
    let promoted = header("member_promoted", None).bytes(&key);
    assert_eq!(decode(promoted), unknown("member_promoted"));
    assert_eq!(decode(header("", None)), unknown(""));
    let long = header(&"é".repeat(300), None);
    assert_eq!(decode(long), unknown(&"é".repeat(64)));

    let created = |slug: &[u8], salt: &[u8], recovery: &[u8], name: &[u8]| {
        let encoder = header("mesh_created", None).bytes(slug).bytes(salt);
        decode(encoder.bytes(recovery).bytes(name))
    };
    let long = [b'x'; 65];
    assert_eq!(created(b"team", &[0; 32], b"", b"Olga"), Ok(()));
    assert_eq!(created(b"team", &[0; 32], b"", &long[1..]), Ok(()));
    assert_eq!(created(b"Team", &[0; 32], b"", b"Olga"), field("slug"));
    assert_eq!(created(b"team", &[0; 31], b"", b"Olga"), field("salt"));
    assert_eq!(
        created(b"team", &[0; 32], &[1; 31], b"Olga"),
        field("recovery key")
    );
    for name in [b"".as_slice(), b"a\nb", b"a\xff", b"a\x7f", b" a", &long] {
        assert_eq!(created(b"team", &[0; 32], b"", name), field("name"));
    }

    for role in ["", "Device", "Member", "member ", "root"] {
        let issued = header("invite_issued", None).bytes(&key).text(role);
        assert_eq!(decode(issued.int(NOW).int(1)), field("role"));
    }
    let short = header("invite_closed", None).bytes(&key[1..]);
    assert_eq!(decode(short), field("invite id"));
    for kind in ["role_changed", "member_admitted"] {
        let fields = header(kind, None).bytes(&key);
        let named = if kind == "role_changed" {
            fields
        } else {
            fields.text("Pia")
        };
        assert_eq!(decode(named.clone().text("admin")), Ok(()));
        assert_eq!(decode(named.text("Admin")), field("role"));
    }
    let owner = |recovery: &[u8], name: &str| {
        let fields = header("owner_changed", None).bytes(&key);
        decode(fields.bytes(recovery).text(name))
    };
    assert_eq!(owner(b"", ""), Ok(()));
    assert_eq!(owner(&key, "Heir"), Ok(()));
    assert_eq!(owner(&key[1..], ""), field("recovery key"));
    assert_eq!(owner(b"", " Heir"), field("name"));
    let channel =
        |name: &str, public: u64| decode(header("channel_created", None).text(name).int(public));
    assert_eq!(channel("#deploys", 1), Ok(()));
    assert_eq!(channel("#deploys", 2), field("public"));
    for name in ["", "deploys", "#Deploys", "#", "@all"] {
        assert_eq!(channel(name, 0), field("channel"));
    }
}

#[test]
fn an_entry_has_at_most_1024_bytes() {
    let fill = |len: usize| {
        let empty = header("x", None).bytes(b"").finish().len();
        header("x", None).bytes(&vec![b'x'; len - empty]).finish()
    };
    let text = |bytes: Vec<u8>| {
        let signature = pair(1).sign(&bytes).to_hex();
        let e = claudemesh_core::encoding::base64url(&bytes);
        SignedEntry::from_text(&e, &signature, None).map(|_| ())
    };
    assert_eq!(MAX_ENTRY_BYTES, 1_024);
    let unknown = Err(EntryError::UnknownKind("x".to_owned()));
    assert_eq!(decode_bytes(fill(1_024)), unknown);
    assert_eq!(text(fill(1_024)), Ok(()));
    let too_long = Err(EntryError::TooLong(1_025));
    assert_eq!(decode_bytes(fill(1_025)), too_long);
    assert_eq!(text(fill(1_025)), too_long);
}

#[test]
fn a_weak_signer_signs_nothing() {
    for weak in weak_keys() {
        let bytes = header("member_removed", Some((6, &weak.0)))
            .bytes(&pair(20).public().0)
            .int(1)
            .finish();
        // R the neutral element, S zero: fits every message for a lax verifier.
        let mut signature = [0; 64];
        signature[0] = 1;
        let signed = SignedEntry {
            bytes,
            signature: Signature(signature),
            cosignature: None,
        };
        assert_eq!(signed.open(), Err(EntryError::BadSignature));
    }
}

#[test]
fn noise_is_refused_without_a_panic() {
    let mut random = Drbg::new([5; 32]);
    let kinds = every_kind();
    for round in 0..20_000 {
        let mut signed = kinds[round % kinds.len()].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(signed.bytes.len() as u64) as usize;
            signed.bytes[at] = random.bytes::<1>()[0];
        }
        // Most of it does not even decode; what does has no signature.
        if signed.bytes != kinds[round % kinds.len()].bytes && signed.decode().is_ok() {
            signed.open().unwrap_err();
        }
    }
}
