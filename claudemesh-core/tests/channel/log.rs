//! The log of a channel against its rules.

use claudemesh_core::encoding::{DecodeError, Encoder};
use claudemesh_core::id::{Hash, MeshId};
use claudemesh_core::membership::{
    Body, ChannelDraft, ChannelLog, ChannelLogError, EntryError, Log, LogError, Merge, Role,
    SignedEntry,
};

use crate::mesh::{DAY, Mesh, NOW, issue, pair};
use crate::world::{World, added, channel, joined, key, left, link};

use ChannelLogError::{AlreadyIn, NoLongerAllowed, NotAMember, NotAllowed, NotIn, NotPublic};

fn listed(world: &World) -> Vec<(u8, bool)> {
    let seeds = (1..255).filter_map(|seed| world.log.lead(&key(seed)).map(|lead| (seed, lead)));
    seeds.collect()
}

#[test]
fn a_channels_log_begins_at_its_creation() {
    let world = World::new(true);
    let mesh = &world.mesh.log;
    let created = mesh.roster().channel(&channel("#deploys")).unwrap();
    assert_eq!(
        (world.log.head().seq, world.log.head().hash),
        (0, created.created)
    );
    assert_eq!(world.log.members().collect::<Vec<_>>(), [(key(20), true)]);
    // Who made it, with its device.
    let mut readers = [key(20), key(41)];
    readers.sort();
    assert_eq!(world.audience(), readers);
    for unknown in ["#other", "*", "$state", "@deploys"] {
        let begun = ChannelLog::begin(mesh, &channel(unknown));
        assert_eq!(begun, Err(ChannelLogError::UnknownChannel));
    }
}

#[test]
fn who_may_join() {
    for (signer, whom, expected) in [
        (21, 21, Ok(())),
        (1, 1, Ok(())),
        (21, 22, Err(NotAllowed)),
        (20, 21, Err(NotAllowed)),
        (1, 21, Err(NotAllowed)),
        (30, 30, Err(NotAllowed)),
        (99, 99, Err(NotAllowed)),
        (20, 20, Err(AlreadyIn)),
        (41, 20, Err(AlreadyIn)),
        (41, 41, Err(NotAllowed)),
    ] {
        let said = World::new(true).say(signer, joined(whom));
        assert_eq!(said, expected, "{signer} lets {whom} in");
    }
    assert_eq!(World::new(false).say(21, joined(21)), Err(NotPublic));
    // A device acts for its member.
    let mut world = World::new(true);
    link(&mut world.mesh, 21, 121, 42);
    world.say(42, joined(21)).unwrap();
    assert_eq!(listed(&world), [(20, true), (21, false)]);
    assert!(world.audience().contains(&key(42)));
}

#[test]
fn leads_and_the_owner_add_members() {
    for (signer, body, expected) in [
        (20, added(21, false), Ok(())),
        (20, added(21, true), Ok(())),
        (41, added(21, false), Ok(())),
        (1, added(21, true), Ok(())),
        (1, added(1, true), Ok(())),
        (20, added(20, false), Ok(())),
        (20, added(20, true), Err(AlreadyIn)),
        (10, added(21, false), Err(NotAllowed)),
        (21, added(21, false), Err(NotAllowed)),
        (30, added(21, false), Err(NotAllowed)),
        (20, added(30, false), Err(NotAMember)),
        (20, added(41, false), Err(NotAMember)),
        (20, added(99, false), Err(NotAMember)),
        (20, added(2, false), Err(NotAMember)),
    ] {
        let said = World::new(false).say(signer, body);
        assert_eq!(said, expected, "{signer} {body:?}");
    }
    let mut world = World::new(false);
    // The owner's device stands as an admin: it adds nobody.
    link(&mut world.mesh, 1, 121, 42);
    assert_eq!(world.say(42, added(21, false)), Err(NotAllowed));
    world.say(20, added(21, false)).unwrap();
    assert_eq!(world.say(21, added(22, false)), Err(NotAllowed));
    assert_eq!(world.say(20, added(21, false)), Err(AlreadyIn));
    world.say(20, added(21, true)).unwrap();
    world.say(21, added(22, false)).unwrap();
    world.say(21, added(20, false)).unwrap();
    assert_eq!(world.say(20, added(23, false)), Err(NotAllowed));
    assert_eq!(listed(&world), [(20, false), (21, true), (22, false)]);
}

#[test]
fn who_may_take_out_whom() {
    let mut base = World::new(false);
    base.say(20, added(21, false)).unwrap();
    base.say(20, added(22, false)).unwrap();
    link(&mut base.mesh, 1, 121, 42);
    link(&mut base.mesh, 21, 122, 43);
    for (signer, whom, expected) in [
        (21, 21, Ok(())),
        (43, 21, Ok(())),
        (20, 21, Ok(())),
        (41, 21, Ok(())),
        (1, 21, Ok(())),
        (10, 21, Ok(())),
        (42, 21, Ok(())),
        (10, 20, Ok(())),
        (20, 20, Ok(())),
        (21, 22, Err(NotAllowed)),
        (21, 20, Err(NotAllowed)),
        (23, 21, Err(NotAllowed)),
        (30, 21, Err(NotAllowed)),
        (20, 23, Err(NotIn)),
        (23, 23, Err(NotIn)),
    ] {
        let mut world = base.clone();
        let said = world.say(signer, left(whom));
        assert_eq!(said, expected, "{signer} takes {whom} out");
        if said.is_ok() {
            assert_eq!(world.log.lead(&key(whom)), None);
            assert!(!world.audience().contains(&key(whom)));
            assert_eq!(world.say(1, left(whom)), Err(NotIn));
            world.say(1, added(whom, false)).unwrap();
        }
    }
    // Who is out of the mesh may be struck off by any member of the channel, by nobody else.
    base.remove(1, 22);
    assert_eq!(base.say(23, left(22)), Err(NotAllowed));
    base.say(21, left(22)).unwrap();
}

#[test]
fn an_entry_stands_on_a_place_that_is_held_and_never_runs_back() {
    let mut world = World::new(false);
    let held = world.mesh.log.head().seq;
    let ahead = world.sign_at(held + 1, 20, added(21, false));
    let standing = held + 1;
    assert_eq!(world.take(ahead), Err(ChannelLogError::Ahead { standing }));
    let before = world.sign_at(held - 1, 20, added(21, false));
    assert_eq!(
        world.take(before),
        Err(ChannelLogError::StandingBack),
        "before its creation"
    );
    world
        .mesh
        .say(
            1,
            Body::RoleChanged {
                key: key(22),
                role: Role::Admin,
            },
        )
        .unwrap();
    let early = world.sign_at(held, 20, added(21, false));
    world.clone().take(early.clone()).unwrap();
    // Not an admin yet at the place it names.
    let soon = world.sign_at(held, 22, left(20));
    assert_eq!(world.take(soon), Err(NotAllowed));
    world.say(22, left(20)).unwrap();
    let again = world.sign_at(held, 20, added(21, false));
    assert_eq!(world.take(again), Err(ChannelLogError::StandingBack));
}

#[test]
fn what_a_signer_may_not_do_any_more_is_refused() {
    let mut world = World::new(false);
    let good = world.mesh.log.head().seq;
    world.remove(1, 20);
    let late = world.sign_at(good, 20, added(21, true));
    assert_eq!(world.take(late), Err(NoLongerAllowed));
    let device = world.sign_at(good, 41, added(21, true));
    assert_eq!(world.take(device), Err(NoLongerAllowed));
    assert_eq!(world.say(20, added(21, true)), Err(NotAllowed));

    // An admin that is one no longer.
    let mut world = World::new(false);
    world.say(20, added(21, false)).unwrap();
    let good = world.mesh.log.head().seq;
    world
        .mesh
        .say(
            1,
            Body::RoleChanged {
                key: key(10),
                role: Role::Member,
            },
        )
        .unwrap();
    let late = world.sign_at(good, 10, left(21));
    assert_eq!(world.take(late), Err(NoLongerAllowed));
}

#[test]
fn who_comes_late_reads_what_a_removed_lead_did_in_time() {
    let mut world = World::new(false);
    let good = world.mesh.log.head().seq;
    world.say(20, added(21, false)).unwrap();
    world.say(20, added(22, false)).unwrap();
    let fresh = ChannelLog::begin(&world.mesh.log, &channel("#deploys")).unwrap();
    let before = world.clone();
    world.remove(1, 20);
    // Nobody built on it: a removed lead may have written it just now.
    let merged = fresh.clone().merge(1, &world.entries, &world.mesh.log);
    assert_eq!(merged, Err(NoLongerAllowed));
    // Who the removed lead let in does not vouch for it.
    let mut own = world.clone();
    own.say(21, left(21)).unwrap();
    let merged = fresh.clone().merge(1, &own.entries, &own.mesh.log);
    assert_eq!(merged, Err(NoLongerAllowed));
    // Who holds it already goes on.
    assert_eq!(
        own.log.clone().merge(1, &own.entries, &own.mesh.log),
        Ok(Merge::Extended(0))
    );

    world.say(1, left(20)).unwrap();
    let mut late = fresh.clone();
    assert_eq!(
        late.merge(1, &world.entries, &world.mesh.log),
        Ok(Merge::Extended(3))
    );
    assert_eq!(late, world.log);
    // From there on nothing of the removed lead can follow.
    let forged = world.sign_at(good, 20, added(23, true));
    let said = late.merge(4, std::slice::from_ref(&forged), &world.mesh.log);
    assert_eq!(said, Err(ChannelLogError::StandingBack));
    // Nor can it be slipped in before the one that vouches.
    let mut page = world.entries.clone();
    page.insert(2, before.sign_at(good, 20, added(23, true)));
    let merged = fresh.clone().merge(1, &page, &world.mesh.log);
    assert_eq!(merged, Err(NoLongerAllowed));
    // What vouches must be signed.
    let mut page = world.entries.clone();
    page[2].signature.0[0] ^= 1;
    let mut late = fresh;
    assert_eq!(late.merge(1, &page, &world.mesh.log), Err(NoLongerAllowed));
    assert_eq!(late.head().seq, 0);
}

#[test]
fn a_channels_log_is_extended_never_replaced() {
    let mut world = World::new(true);
    for seed in 21..25 {
        world.say(seed, joined(seed)).unwrap();
    }
    let mesh = &world.mesh.log;
    let begin = || ChannelLog::begin(mesh, &channel("#deploys")).unwrap();
    let mut fresh = begin();
    assert_eq!(fresh.merge(1, &world.entries, mesh), Ok(Merge::Extended(4)));
    assert_eq!(fresh, world.log);
    assert_eq!(
        fresh.merge(1, &world.entries[..2], mesh),
        Ok(Merge::Extended(0))
    );
    assert_eq!(
        fresh.merge(3, &world.entries[2..], mesh),
        Ok(Merge::Extended(0))
    );
    for from in [0, 6, u64::MAX] {
        let gap = fresh.merge(from, &world.entries, mesh);
        assert_eq!(gap, Err(ChannelLogError::NotNext { seq: 5 }));
    }
    let mut other = begin();
    other.merge(1, &world.entries[..1], mesh).unwrap();
    let forked = other.draft(NOW, mesh, joined(23)).sign(&pair(23));
    let mut page = world.entries.clone();
    page[1] = forked;
    assert_eq!(fresh.merge(1, &page, mesh), Ok(Merge::Fork { seq: 2 }));
    assert_eq!(fresh, world.log);
    assert_eq!(fresh.hash_at(2), Some(world.entries[1].hash()));
    assert_eq!(fresh.hash_at(5), None);
}

#[test]
fn an_entry_that_does_not_follow_the_head_is_refused() {
    let mut world = World::new(true);
    let (held, mesh) = (world.log.clone(), world.mesh.log.clone());
    let elsewhere = MeshId::new("m").unwrap();
    let (place, topic) = (channel("#other"), channel("@deploys"));
    let good = || held.draft(NOW, &mesh, joined(21));
    let changes: [&dyn Fn(&mut ChannelDraft<'_>); 5] = [
        &|draft| draft.seq += 1,
        &|draft| draft.seq = 0,
        &|draft| draft.prev = Hash::ZERO,
        &|draft| draft.prev.0[0] ^= 1,
        &|draft| draft.at = NOW - 1,
    ];
    let mut drafts: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut draft = good();
            change(&mut draft);
            draft
        })
        .collect();
    drafts.extend([&place, &topic].map(|channel| ChannelDraft { channel, ..good() }));
    drafts.push(ChannelDraft {
        mesh: &elsewhere,
        ..good()
    });
    for draft in drafts {
        let said = world.take(draft.sign(&pair(21)));
        assert_eq!(said, Err(ChannelLogError::NotNext { seq: 1 }));
    }
    let other = Mesh::without_recovery();
    let said = world.log.append(&good().sign(&pair(21)), &other.log);
    assert_eq!(said, Err(ChannelLogError::UnknownChannel));
    world.take(good().sign(&pair(21))).unwrap();
    assert_eq!(world.log.draft(5, &mesh, left(21)).at, NOW);
}

#[test]
fn the_audience_is_the_verified_and_their_devices_at_any_place() {
    let mut world = World::new(false);
    let places = |world: &World| (world.log.head().seq, world.mesh.log.head().seq);
    let mut seen = vec![(places(&world), world.audience())];
    let mut note = |world: &World| seen.push((places(world), world.audience()));
    world.say(20, added(21, false)).unwrap();
    note(&world);
    link(&mut world.mesh, 21, 121, 42);
    note(&world);
    assert!(world.audience().contains(&key(42)));
    world.remove(20, 41);
    note(&world);
    world.remove(1, 21);
    note(&world);
    assert_eq!(world.audience(), [key(20)]);
    world.say(20, left(21)).unwrap();
    note(&world);
    let roster = world.mesh.log.roster();
    for ((seq, mesh_seq), audience) in seen {
        assert_eq!(world.log.audience_at(seq, roster, mesh_seq), audience);
        assert!(audience.is_sorted());
    }
}

// --- bytes ------------------------------------------------------------------------------------

fn every_kind() -> Vec<SignedEntry> {
    let mut world = World::new(true);
    world.say(21, joined(21)).unwrap();
    world.say(20, added(22, true)).unwrap();
    world.say(20, added(23, false)).unwrap();
    world.say(1, left(21)).unwrap();
    world.entries
}

#[test]
fn no_changed_bit_verifies() {
    for signed in every_kind() {
        signed.open_channel().unwrap();
        for bit in 0..signed.bytes.len() * 8 {
            let mut changed = signed.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            changed.open_channel().unwrap_err();
        }
        for cut in 0..signed.bytes.len() {
            let mut changed = signed.clone();
            changed.bytes.truncate(cut);
            changed.open_channel().unwrap_err();
        }
        let mut cosigned = signed.clone();
        cosigned.cosignature = Some(signed.signature);
        assert_eq!(cosigned.open_channel(), Err(EntryError::BadSignature));
    }
}

#[test]
fn neither_log_takes_the_others_entries() {
    let world = World::new(true);
    let bad = |what| EntryError::Decode(DecodeError::Field(what));
    for signed in every_kind() {
        assert_eq!(signed.decode(), Err(bad("channel")));
        let seq = world.mesh.entries.len() as u64;
        let said = world.mesh.log.clone().append(&signed);
        let source = bad("channel");
        assert_eq!(said, Err(LogError::Entry { seq, source }));
    }
    for signed in &world.mesh.entries {
        let error = signed.decode_channel().unwrap_err();
        assert!(matches!(error, EntryError::Decode(_)), "{error}");
    }
    assert!(Log::begin(&every_kind()[0]).is_err());
    let invite = issue(130, Role::Member, NOW + DAY, 1);
    let mut mesh = world.mesh.clone();
    mesh.say(1, invite).unwrap();
    let said = world
        .log
        .clone()
        .append(mesh.entries.last().unwrap(), &mesh.log);
    let source = bad("channel");
    assert_eq!(said, Err(ChannelLogError::Entry { seq: 1, source }));
}

#[test]
fn fields_are_counted_and_measured() {
    let world = World::new(true);
    let mesh = world.mesh.log.mesh().as_str();
    let head = |mesh: &str, channel: &str, kind: &str, cosigner: &[u8]| {
        Encoder::new("log-entry/1")
            .text(mesh)
            .text(channel)
            .int(1)
            .bytes(&[1; 32])
            .int(NOW)
            .text(kind)
            .bytes(&key(20).0)
            .bytes(cosigner)
    };
    let decode = |encoder: Encoder| {
        let bytes = encoder.finish();
        let signed = SignedEntry {
            signature: pair(20).sign(&bytes),
            bytes,
            cosignature: None,
        };
        signed.decode_channel().map(|_| ())
    };
    let bad = |what| Err(EntryError::Decode(DecodeError::Field(what)));
    let count = Err(EntryError::Decode(DecodeError::FieldCount));
    let add = || {
        head(mesh, "#deploys", "channel_added", b"")
            .int(7)
            .bytes(&[1; 32])
    };
    assert_eq!(decode(add().text("lead")), Ok(()));
    assert_eq!(decode(add().text("Lead")), bad("role"));
    assert_eq!(decode(add().text("admin")), bad("role"));
    assert_eq!(decode(add()), count);
    assert_eq!(decode(add().text("lead").bytes(b"")), count);
    let join = |mesh: &str, channel: &str, cosigner: &[u8]| {
        let head = head(mesh, channel, "channel_joined", cosigner);
        decode(head.int(7).bytes(&[1; 32]))
    };
    assert_eq!(join(mesh, "#deploys", b""), Ok(()));
    assert_eq!(join("", "#deploys", b""), bad("mesh id"));
    for channel in ["", "*", "$state", "deploys", "@all"] {
        assert_eq!(join(mesh, channel, b""), bad("channel"));
    }
    assert_eq!(join(mesh, "#deploys", &key(21).0), bad("cosigner"));
    let short = head(mesh, "#deploys", "channel_left", b"");
    assert_eq!(decode(short.clone().int(7).bytes(&[1; 31])), bad("key"));
    assert_eq!(decode(short.bytes(&[1; 7])), bad("standing"));
    let removed = head(mesh, "#deploys", "member_removed", b"");
    let unknown = EntryError::UnknownKind("member_removed".to_owned());
    assert_eq!(decode(removed.bytes(&[1; 32]).int(1)), Err(unknown));
}
