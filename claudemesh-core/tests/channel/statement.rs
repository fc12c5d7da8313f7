//! Each rule by which a peer takes a statement, and what its copies and links open.

use claudemesh_core::channel::{
    KeyStatement, Root, SignedKeyStatement, StatementError, audience, audience_hash,
};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::encoding::{DecodeError, Encoder};
use claudemesh_core::id::{Hash, KeyId, MeshId};
use claudemesh_core::membership::{Body, ChannelLog, Head, Log};

use crate::mesh::{Mesh, pair};
use crate::world::{World, added, channel, copy_for, key};

use StatementError::{
    BadCopy, BadSignature, Elsewhere, EpochBack, EpochStep, HeadBack, HeadsApart, NoHead,
    NotInAudience, OtherAudience,
};

/// A sound statement of member 20 for `#deploys`, with its author's world.
fn sound() -> (World, KeyStatement) {
    let mut world = World::new(false);
    world.say(20, added(21, false)).unwrap();
    let rotation = world.rotate(&world.ring(20), 20, &mut Drbg::new([1; 32]));
    let statement = rotation.statement.open().unwrap();
    (world, statement)
}

fn verify(world: &World, statement: &KeyStatement) -> Result<(), StatementError> {
    let log = &world.mesh.log;
    let gave = statement.verify(log, Some(&world.log), [])?;
    assert_eq!(gave, world.audience());
    Ok(())
}

fn changed(statement: &KeyStatement, change: impl FnOnce(&mut KeyStatement)) -> KeyStatement {
    let mut statement = statement.clone();
    change(&mut statement);
    statement
}

#[test]
fn a_sound_statement_is_taken_and_gives_the_audience() {
    let (world, statement) = sound();
    assert_eq!(verify(&world, &statement), Ok(()));
    assert_eq!((statement.epoch, statement.previous), (1, None));
    assert_eq!(statement.log, Some(world.mesh.log.head()));
    assert_eq!(statement.channel_log, Some(world.log.head()));
    let signed = statement.make(&pair(20));
    assert_eq!(signed.open(), Ok(statement.clone()));
    assert_eq!(KeyStatement::parse(&signed.bytes), Ok(statement));
}

#[test]
fn who_a_key_was_made_for_follows_from_its_heads() {
    let (mut world, statement) = sound();
    world.say(20, added(22, false)).unwrap();
    let reader = |statement: &KeyStatement, seed| {
        statement.has_reader(&key(seed), &world.mesh.log, Some(&world.log))
    };
    for (seed, expected) in [
        (20, true),
        (21, true),
        // A device of 20.
        (41, true),
        // Came into the channel later, is not in it, is let in by nobody, is unknown.
        (22, false),
        (23, false),
        (30, false),
        (99, false),
    ] {
        assert_eq!(reader(&statement, seed), expected, "{seed}");
    }
    assert!(!statement.has_reader(&key(20), &world.mesh.log, None));
    assert!(!reader(&changed(&statement, |s| s.log = None), 20));
    assert!(!reader(&changed(&statement, |s| s.channel_log = None), 20));
    let all = changed(&statement, |s| {
        s.channel = channel("*");
        s.channel_log = None;
    });
    assert!(reader(&all, 22) && !reader(&all, 99));
}

#[test]
fn an_audience_is_that_of_the_channels_own_log() {
    let (mut world, _) = sound();
    let body = Body::ChannelCreated {
        channel: channel("#other"),
        public: true,
    };
    world.mesh.say(20, body).unwrap();
    let other = ChannelLog::begin(&world.mesh.log, &channel("#other")).unwrap();
    let deploys = channel("#deploys");
    let of = |log: &Log, channel_log| audience(&deploys, log, channel_log);
    assert_eq!(
        of(&world.mesh.log, Some(&world.log)),
        Some(world.audience())
    );
    assert_eq!(of(&world.mesh.log, Some(&other)), None);
    assert_eq!(of(&world.mesh.log, None), None);
    assert_eq!(of(&Mesh::without_recovery().log, Some(&world.log)), None);
}

#[test]
fn a_statement_of_another_place_is_refused() {
    let (world, statement) = sound();
    let other = Mesh::without_recovery();
    assert_eq!(
        statement.verify(&other.log, Some(&world.log), []),
        Err(Elsewhere)
    );
    let moved = changed(&statement, |s| s.mesh = MeshId::new("m").unwrap());
    assert_eq!(verify(&world, &moved), Err(Elsewhere));
    for (text, error) in [
        ("#other", Elsewhere),
        ("@deploys", Elsewhere),
        ("*", Elsewhere),
        ("$state", Elsewhere),
    ] {
        let moved = changed(&statement, |s| s.channel = channel(text));
        assert_eq!(verify(&world, &moved), Err(error), "{text}");
    }
    // Everybody's channel has no log, and everybody reads it.
    let all = changed(&statement, |s| {
        s.channel = channel("*");
        s.channel_log = None;
    });
    assert_eq!(verify(&world, &all), Err(OtherAudience));
}

#[test]
fn its_heads_must_be_on_the_logs_that_are_held() {
    let (world, statement) = sound();
    let head = |seq, hash| Some(Head { seq, hash });
    let (log, own) = (world.mesh.log.head(), world.log.head());
    for (statement, error) in [
        (
            changed(&statement, |s| s.log = head(log.seq + 1, log.hash)),
            StatementError::LogBehind { seq: log.seq + 1 },
        ),
        (
            changed(&statement, |s| s.log = head(log.seq, Hash([1; 32]))),
            StatementError::OtherLog { seq: log.seq },
        ),
        (
            changed(&statement, |s| s.channel_log = head(own.seq + 1, own.hash)),
            StatementError::ChannelBehind { seq: own.seq + 1 },
        ),
        (
            changed(&statement, |s| s.channel_log = head(own.seq, Hash([1; 32]))),
            StatementError::OtherChannelLog { seq: own.seq },
        ),
        (changed(&statement, |s| s.log = None), NoHead),
        (changed(&statement, |s| s.channel_log = None), NoHead),
    ] {
        let behind = matches!(
            error,
            StatementError::LogBehind { .. } | StatementError::ChannelBehind { .. }
        );
        assert_eq!(error.is_behind(), behind);
        assert_eq!(verify(&world, &statement), Err(error));
    }
    let without = statement.verify(&world.mesh.log, None, []);
    let seq = own.seq;
    assert_eq!(without, Err(StatementError::ChannelBehind { seq }));
    let other = ChannelLog::begin(&world.mesh.log, &channel("#deploys")).unwrap();
    let behind = statement.verify(&world.mesh.log, Some(&other), []);
    assert_eq!(behind, Err(StatementError::ChannelBehind { seq }));
}

#[test]
fn its_two_heads_go_together() {
    let (mut world, statement) = sound();
    let early = world.mesh.log.head();
    world.remove(1, 24);
    world.say(20, added(22, false)).unwrap();
    // The channel's head stands on the removal, the mesh's head named is before it.
    let apart = changed(&statement, |s| {
        s.log = Some(early);
        s.channel_log = Some(world.log.head());
    });
    assert_eq!(verify(&world, &apart), Err(HeadsApart));
}

#[test]
fn epoch_and_heads_are_not_below_those_before() {
    let (mut world, first) = sound();
    let early = (world.mesh.log.head(), world.log.head());
    world.remove(1, 24);
    world.say(20, added(22, false)).unwrap();
    let now = world.audience();
    let second = changed(&first, |s| {
        s.epoch = 2;
        s.previous = Some(first.make(&pair(20)).key_id());
        s.log = Some(world.mesh.log.head());
        s.channel_log = Some(world.log.head());
        s.audience = audience_hash(&s.mesh, &s.channel, &now);
    });
    let after = |statement: &KeyStatement, previous: &KeyStatement| {
        let taken = statement.verify(&world.mesh.log, Some(&world.log), [previous]);
        taken.map(|_| ())
    };
    assert_eq!(after(&second, &first), Ok(()));
    assert_eq!(after(&first, &second), Err(EpochBack));
    assert_eq!(after(&second, &second), Err(EpochBack));
    let third = changed(&second, |s| s.epoch = 3);
    assert_eq!(after(&third, &second), Ok(()));
    let back = changed(&third, |s| s.log = Some(early.0));
    assert_eq!(after(&back, &second), Err(HeadBack));
    let back = changed(&third, |s| s.channel_log = Some(early.1));
    assert_eq!(after(&back, &second), Err(HeadBack));
    let elsewhere = changed(&second, |s| s.channel = channel("#other"));
    assert_eq!(after(&third, &elsewhere), Err(Elsewhere));
}

#[test]
fn nobody_uses_up_the_epochs() {
    let (world, first) = sound();
    let at = |epoch| changed(&first, |s| s.epoch = epoch);
    let after = |epoch| {
        let log = Some(&world.log);
        at(epoch).verify(&world.mesh.log, log, [&first]).map(|_| ())
    };
    let step = 1 << 20;
    assert_eq!((after(2), after(1 + step)), (Ok(()), Ok(())));
    assert_eq!(
        (after(2 + step), after(u64::MAX)),
        (Err(EpochStep), Err(EpochStep))
    );
    // Who holds none yet may have missed many.
    assert_eq!(verify(&world, &at(1 << 62)), Ok(()));
    assert_eq!(verify(&world, &at((1 << 62) + 1)), Err(EpochStep));
    assert_eq!(verify(&world, &at(0)), Err(EpochStep));
}

#[test]
fn the_author_is_in_the_audience_and_the_audience_is_what_the_logs_give() {
    let (mut world, statement) = sound();
    for stranger in [1, 10, 22, 30, 99] {
        let other = changed(&statement, |s| s.author = key(stranger));
        assert_eq!(verify(&world, &other), Err(NotInAudience));
    }
    // Each device is a peer of its own.
    let device = changed(&statement, |s| s.author = key(41));
    assert_eq!(verify(&world, &device), Ok(()));
    let now = world.audience();
    let named = |keys: &[_]| {
        let hash = audience_hash(&statement.mesh, &statement.channel, keys);
        changed(&statement, |s| s.audience = hash)
    };
    let mut ghost = now.clone();
    ghost.push(key(99));
    ghost.sort();
    let mut reversed = now.clone();
    reversed.reverse();
    for keys in [&now[1..], &ghost, &reversed, &[]] {
        assert_eq!(verify(&world, &named(keys)), Err(OtherAudience));
    }
    assert_eq!(verify(&world, &named(&now)), Ok(()));
    // What it was made for counts, not who is here now.
    world.remove(1, 21);
    let gave = statement.verify(&world.mesh.log, Some(&world.log), []);
    assert_eq!(gave, Ok(now));
    let back = changed(&statement, |s| {
        s.log = Some(world.mesh.log.head());
    });
    assert_eq!(verify(&world, &back), Err(OtherAudience));
}

#[test]
fn only_the_state_links_to_what_was_before() {
    let (world, statement) = sound();
    let linked = changed(&statement, |s| s.link = Some([1; 72]));
    assert_eq!(verify(&world, &linked), Err(StatementError::Link));
    let state = changed(&linked, |s| {
        s.channel = channel("$state");
        s.channel_log = None;
        let all = audience(&s.channel, &world.mesh.log, None).unwrap();
        s.audience = audience_hash(&s.mesh, &s.channel, &all);
    });
    assert!(state.verify(&world.mesh.log, None, []).is_ok());
}

#[test]
fn a_copy_opens_for_its_member_and_to_the_root_committed_to() {
    let world = World::new(false);
    let rotation = world.rotate(&world.ring(20), 20, &mut Drbg::new([1; 32]));
    let (signed, statement) = (&rotation.statement, rotation.statement.open().unwrap());
    let id = signed.key_id();
    assert_eq!(
        rotation
            .copies
            .iter()
            .map(|copy| copy.0)
            .collect::<Vec<_>>(),
        world.audience()
    );
    let open = |seed: u8, copy: &[u8]| {
        let root = statement.open_copy(&id, &pair(seed), copy);
        root.map(|root| *root.expose())
    };
    let (own, device) = (
        copy_for(&rotation, 20).unwrap(),
        copy_for(&rotation, 41).unwrap(),
    );
    let root = open(20, &own).unwrap();
    assert_eq!(open(41, &device), Ok(root));
    assert_eq!(Root::new(root).commitment(), statement.commitment);
    assert_eq!(open(41, &own), Err(BadCopy));
    assert_eq!(open(21, &own), Err(BadCopy));
    assert_eq!(open(20, &own[1..]), Err(BadCopy));
    assert_eq!(open(20, &[]), Err(BadCopy));
    let mut bent = own;
    bent[20] ^= 1;
    assert_eq!(open(20, &bent), Err(BadCopy));
    let other = statement.open_copy(&KeyId([1; 16]), &pair(20), &own);
    assert_eq!(other.err(), Some(BadCopy), "of another key");
    // A sound box around another root than the one committed to.
    let bad = changed(&statement, |s| {
        s.commitment = Root::new([9; 32]).commitment()
    });
    assert_eq!(bad.open_copy(&id, &pair(20), &own).err(), Some(BadCopy));
}

#[test]
fn a_statements_bytes_are_strict() {
    let (_, statement) = sound();
    let signed = statement.make(&pair(20));
    for bit in 0..signed.bytes.len() * 8 {
        let mut bent = signed.clone();
        bent.bytes[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(bent.key_id(), signed.key_id());
        bent.open().unwrap_err();
    }
    for cut in 0..signed.bytes.len() {
        KeyStatement::parse(&signed.bytes[..cut]).unwrap_err();
    }
    let mut longer = signed.bytes.clone();
    longer.push(0);
    KeyStatement::parse(&longer).unwrap_err();
    let forged = SignedKeyStatement {
        signature: pair(21).sign(&signed.bytes),
        ..signed.clone()
    };
    assert_eq!(forged.open(), Err(BadSignature));

    let fields = |at: usize, other: &[u8]| {
        let good: [&[u8]; 12] = [
            b"m",
            b"#deploys",
            &1u64.to_be_bytes(),
            b"",
            &7u64.to_be_bytes(),
            &[1; 32],
            &0u64.to_be_bytes(),
            b"",
            &[2; 32],
            &[3; 32],
            &[4; 32],
            b"",
        ];
        let fields = good.iter().enumerate();
        let encoder = fields.fold(Encoder::new("channel-key/1"), |encoder, (place, field)| {
            encoder.bytes(if place == at { other } else { field })
        });
        KeyStatement::parse(&encoder.finish()).map(|_| ())
    };
    assert_eq!(fields(3, &[1; 16]), Ok(()));
    for (at, bad, what) in [
        (0, b"a b".as_slice(), "mesh id"),
        (1, b"deploys", "channel"),
        (2, b"1", "epoch"),
        (3, &[1; 15], "previous key id"),
        (4, b"", "log head"),
        (5, b"", "log head"),
        (5, &[1; 31], "log head"),
        (6, &[0, 0, 0, 0, 0, 0, 0, 1], "channel head"),
        (8, b"", "audience hash"),
        (9, &[1; 33], "author"),
        (10, b"", "commitment"),
        (11, &[1; 71], "link"),
    ] {
        let error = StatementError::Decode(DecodeError::Field(what));
        assert_eq!(fields(at, bad), Err(error), "field {at}");
    }
}
