//! What a peer holds of a channel's keys: who can open what, and who must make the next epoch.

use claudemesh_core::channel::{Keyring, Missing, Reason, StatementError, Taken};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{Hash, KeyId};
use claudemesh_core::membership::{ChannelLog, Log};

use crate::mesh::{Mesh, pair};
use crate::world::{World, added, channel, copy_for, give, join_more, key, left, opens};

/// `#deploys` of 20 (with device 41), 21 and 22; nobody holds a key yet.
fn world() -> (World, Drbg) {
    let mut world = World::new(false);
    world.say(20, added(21, false)).unwrap();
    world.say(20, added(22, false)).unwrap();
    (world, Drbg::new([7; 32]))
}

fn needs(world: &World, ring: &Keyring) -> Option<Reason> {
    ring.needs_rotation(&world.mesh.log, Some(&world.log))
}

#[test]
fn the_first_epoch_is_made_by_who_sends_first_and_read_by_the_audience() {
    let (world, mut random) = world();
    let mut rings = [20, 21, 22, 41, 23].map(|seed| (seed, world.ring(seed)));
    assert_eq!(needs(&world, &rings[0].1), Some(Reason::First));
    assert_eq!(needs(&world, &rings[4].1), None, "not in the channel");
    let outside = rings[4]
        .1
        .rotate(&mut random, &pair(23), &world.mesh.log, Some(&world.log));
    assert_eq!(outside.err(), Some(StatementError::NotInAudience));
    let first = world.rotate(&rings[0].1, 20, &mut random);
    assert_eq!(first.after, None);
    // Nothing is held before the broker took it.
    assert!(rings[0].1.current().is_none());
    let id = first.statement.key_id();
    for (seed, ring) in &mut rings {
        assert_eq!(ring.key(&id).err(), Some(Missing::NotYetHere));
        assert_eq!(world.give(&first, ring, *seed), Taken::Newer);
        assert_eq!(world.give(&first, ring, *seed), Taken::Known);
        assert_eq!(opens(ring, &id), *seed != 23);
        assert_eq!(needs(&world, ring), None);
    }
    assert_eq!(rings[4].1.key(&id).err(), Some(Missing::NotAMemberThen));
    assert!(rings[4].1.current().is_none());
    let keys: Vec<_> = rings[..4]
        .iter()
        .map(|(_, ring)| *ring.current().unwrap().1.expose())
        .collect();
    assert!(keys.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(rings[1].1.current().unwrap().0, &id);
}

#[test]
fn a_removed_member_opens_nothing_of_the_next_epoch() {
    let (mut world, mut random) = world();
    let mut rings = [20, 21, 22].map(|seed| (seed, world.ring(seed)));
    let first = world.rotate(&rings[0].1, 20, &mut random);
    for (seed, ring) in &mut rings {
        world.give(&first, ring, *seed);
    }
    world.remove(1, 21);
    assert_eq!(needs(&world, &rings[0].1), Some(Reason::Audience));
    assert_eq!(needs(&world, &rings[1].1), None);
    let second = world.rotate(&rings[2].1, 22, &mut random);
    assert_eq!(second.after, Some(first.statement.key_id()));
    let id = second.statement.key_id();
    assert!(copy_for(&second, 21).is_none());
    for (seed, ring) in &mut rings {
        assert_eq!(world.give(&second, ring, *seed), Taken::Newer);
        assert_eq!(opens(ring, &id), *seed != 21);
        // History is kept.
        assert!(opens(ring, &first.statement.key_id()));
    }
    // Nobody else's copy is of use to it.
    for (_, copy) in &second.copies {
        let took = rings[1].1.take_copy(&id, &pair(21), copy);
        assert_eq!(took, Err(StatementError::BadCopy));
    }
    // Who left the channel is out as well, also with its device.
    world.say(1, left(20)).unwrap();
    let third = world.rotate(&rings[2].1, 22, &mut random);
    assert_eq!(
        third.copies.iter().map(|copy| copy.0).collect::<Vec<_>>(),
        [key(22)]
    );
}

#[test]
fn who_comes_late_opens_nothing_from_before() {
    let (mut world, mut random) = world();
    let mut ring = world.ring(20);
    let first = world.rotate(&ring, 20, &mut random);
    world.give(&first, &mut ring, 20);
    world.say(20, added(23, false)).unwrap();
    let mut late = world.ring(23);
    assert_eq!(world.give(&first, &mut late, 23), Taken::Newer);
    assert_eq!(needs(&world, &late), Some(Reason::Audience));
    let second = world.rotate(&ring, 20, &mut random);
    world.give(&second, &mut late, 23);
    assert!(opens(&late, &second.statement.key_id()));
    let before = late.key(&first.statement.key_id()).err();
    assert_eq!(before, Some(Missing::NotAMemberThen));
    // An invite or a role makes no new epoch, a device does.
    world.give(&second, &mut ring, 20);
    world
        .mesh
        .invite(1, 140, claudemesh_core::membership::Role::Member);
    assert_eq!(needs(&world, &ring), None);
    crate::world::link(&mut world.mesh, 22, 141, 42);
    assert_eq!(needs(&world, &ring), Some(Reason::Audience));
}

#[test]
fn a_bad_copy_is_told_and_made_up_for() {
    let (world, mut random) = world();
    let (mut ring, author) = (world.ring(21), key(20));
    let first = world.rotate(&world.ring(20), 20, &mut random);
    let id = first.statement.key_id();
    let log = &world.mesh.log;
    let unknown = ring.take_copy(&id, &pair(21), &[0; 48]);
    assert_eq!(unknown, Err(StatementError::UnknownKey));
    assert_eq!(
        ring.take(&first.statement, log, Some(&world.log)),
        Taken::Newer
    );
    assert_eq!(ring.key(&id).err(), Some(Missing::NotYetHere));
    assert_eq!(needs(&world, &ring), None, "its copy may still come");
    let bad = copy_for(&first, 22).unwrap();
    assert_eq!(
        ring.take_copy(&id, &pair(21), &bad),
        Err(StatementError::BadCopy)
    );
    assert_eq!(ring.key(&id).err(), Some(Missing::Withheld { author }));
    assert_eq!(needs(&world, &ring), Some(Reason::Withheld { author }));
    // It may make the next epoch at once.
    let second = world.rotate(&ring, 21, &mut random);
    assert_eq!(second.statement.open().unwrap().epoch, 2);
    assert_eq!(world.give(&second, &mut world.ring(22), 22), Taken::Newer);
    let good = copy_for(&first, 21).unwrap();
    ring.take_copy(&id, &pair(21), &good).unwrap();
    assert_eq!((opens(&ring, &id), needs(&world, &ring)), (true, None));
    // A root that was kept is held against the commitment too.
    let mut again = world.ring(21);
    again.take(&first.statement, log, Some(&world.log));
    let wrong = again.take_root(&id, claudemesh_core::channel::Root::new([0; 32]));
    assert_eq!(wrong, Err(StatementError::BadCopy));
    let kept = claudemesh_core::channel::Root::new(*ring.root(&id).unwrap().expose());
    again.take_root(&id, kept).unwrap();
    assert!(opens(&again, &id));
}

#[test]
fn the_loser_takes_the_winner_and_two_winners_are_a_fork() {
    let (world, mut random) = world();
    let (mut a, mut b) = (world.ring(20), world.ring(21));
    let won = world.rotate(&a, 20, &mut random);
    let lost = world.rotate(&b, 21, &mut random);
    assert_eq!(world.give(&won, &mut a, 20), Taken::Newer);
    // The loser held nothing of its own: it takes the winner, and has no more to do.
    assert_eq!(world.give(&won, &mut b, 21), Taken::Newer);
    assert_eq!(needs(&world, &b), None);
    assert_eq!(b.forks().count(), 0);
    // A broker that lets both win.
    assert_eq!(world.give(&lost, &mut a, 20), Taken::Fork);
    let (first, second) = (won.statement.key_id(), lost.statement.key_id());
    assert_eq!(
        a.forks().collect::<Vec<_>>(),
        [(1, [first, second].as_slice())]
    );
    assert!(opens(&a, &first) && opens(&a, &second));
    assert_eq!(a.current().unwrap().0, &first);
    // The next epoch ends it, whichever of the two its author knows.
    let mut c = world.ring(22);
    world.give(&lost, &mut c, 22);
    let next = world.rotate(&c, 22, &mut random);
    assert_eq!(next.after, Some(second));
    assert_eq!(world.give(&next, &mut a, 20), Taken::Newer);
    assert_eq!(world.give(&next, &mut b, 21), Taken::Newer);
    assert_eq!(a.current().unwrap().0, b.current().unwrap().0);
    assert_eq!(a.statement(&second).unwrap().epoch, 1);
    // History that comes later.
    let mut d = world.ring(41);
    world.give(&next, &mut d, 41);
    assert_eq!(world.give(&won, &mut d, 41), Taken::Older);
    assert!(opens(&d, &first));
    assert_eq!(d.current().unwrap().0, &next.statement.key_id());
}

#[test]
fn who_made_the_newest_key_gives_it_again_to_the_same_readers() {
    let (mut world, mut random) = world();
    let again = |ring: &Keyring, world: &World, seed| {
        ring.republish(&pair(seed), &world.mesh.log, Some(&world.log), None)
    };
    let (mut author, mut other) = (world.ring(20), world.ring(21));
    assert_eq!(author.newest_key(), None);
    assert!(again(&author, &world, 20).is_none(), "nothing was made");
    let first = world.rotate(&author, 20, &mut random);
    let id = first.statement.key_id();
    world.give(&first, &mut author, 20);
    world.give(&first, &mut other, 21);
    assert_eq!(author.newest_key(), Some(&id));
    let signed = (first.statement.bytes.clone(), first.statement.signature);
    assert_eq!(author.signed(&id), Some(signed));
    assert_eq!(author.signed(&KeyId([9; 16])), None);

    let made = again(&author, &world, 20).unwrap();
    assert_eq!(made.statement, first.statement);
    let mut lost = world.ring(22);
    assert_eq!(world.give(&made, &mut lost, 22), Taken::Newer);
    assert!(opens(&lost, &id));
    // Not another, nor in another's name, nor without its root.
    assert!(again(&other, &world, 21).is_none());
    assert!(again(&other, &world, 20).is_none());
    assert!(again(&author, &world, 21).is_none());
    let mut bare = world.ring(20);
    bare.take(&first.statement, &world.mesh.log, Some(&world.log));
    assert!(again(&bare, &world, 20).is_none());
    // Others read the channel now.
    world.say(20, added(23, false)).unwrap();
    assert!(again(&author, &world, 20).is_none());
}

#[test]
fn what_is_refused_is_stepped_over_but_not_far() {
    let (world, mut random) = world();
    let ring = world.ring(21);
    let good = world
        .rotate(&ring, 21, &mut random)
        .statement
        .open()
        .unwrap();
    for (epoch, next) in [(5, 6), (1 << 40, 1)] {
        let mut ring = world.ring(21);
        let mut bad = good.clone();
        // A stranger signs what it likes.
        (bad.author, bad.epoch) = (key(99), epoch);
        let taken = ring.take(&bad.make(&pair(99)), &world.mesh.log, Some(&world.log));
        assert_eq!(taken, Taken::Rejected(StatementError::NotInAudience));
        let made = world
            .rotate(&ring, 21, &mut random)
            .statement
            .open()
            .unwrap();
        assert_eq!(made.epoch, next);
        assert_eq!(
            ring.key(&bad.make(&pair(99)).key_id()).err(),
            Some(Missing::NotYetHere)
        );
    }
    let mut other = world.ring(21);
    let mut elsewhere = good;
    elsewhere.channel = channel("#other");
    let taken = other.take(
        &elsewhere.make(&pair(21)),
        &world.mesh.log,
        Some(&world.log),
    );
    assert_eq!(taken, Taken::Rejected(StatementError::Elsewhere));
}

#[test]
fn an_author_that_names_no_predecessor_goes_back_behind_none() {
    let (mut world, mut random) = world();
    let early = world.clone();
    world.remove(1, 22);
    let mut ring = world.ring(20);
    let first = world.rotate(&ring, 20, &mut random);
    assert_eq!(world.give(&first, &mut ring, 20), Taken::Newer);
    // Heads from before the removal, so that the removed one is in the audience again.
    let stale = early.rotate(&early.ring(22), 22, &mut random).statement;
    let mut stale = stale.open().unwrap();
    for previous in [None, Some(KeyId([1; 16])), Some(first.statement.key_id())] {
        (stale.epoch, stale.previous) = (2, previous);
        let taken = ring.take(&stale.make(&pair(22)), &world.mesh.log, Some(&world.log));
        assert_eq!(taken, Taken::Rejected(StatementError::HeadBack));
    }
    assert_eq!(ring.current().unwrap().0, &first.statement.key_id());
}

#[test]
fn a_key_that_needs_more_of_a_log_waits_for_it() {
    let (mut world, mut random) = world();
    let mut ring = world.ring(21);
    let behind = world.clone();
    join_more(&mut world.mesh, 140, 50);
    let author = world.ring(20);
    let first = world.rotate(&author, 20, &mut random);
    let id = first.statement.key_id();
    let seq = world.mesh.log.head().seq;
    let taken = behind.give(&first, &mut ring, 21);
    assert_eq!(taken, Taken::Rejected(StatementError::LogBehind { seq }));
    assert_eq!(ring.key(&id).err(), Some(Missing::LogBehind));
    let mut second = first.statement.open().unwrap();
    second.commitment = Hash([8; 32]);
    let second = second.make(&pair(20));
    ring.take(&second, &behind.mesh.log, Some(&behind.log));
    let short = ChannelLog::begin(&world.mesh.log, &channel("#deploys")).unwrap();
    let taken = ring.take(&first.statement, &world.mesh.log, Some(&short));
    assert_eq!(
        taken,
        Taken::Rejected(StatementError::ChannelBehind { seq: 2 })
    );
    assert_eq!(world.give(&first, &mut ring, 21), Taken::Newer);
    assert!(opens(&ring, &id));
    // Another that waits goes on waiting.
    assert_eq!(ring.key(&second.key_id()).err(), Some(Missing::LogBehind));
    // A statement that only was offered makes no room run out.
    for number in 0..200u8 {
        let mut statement = first.statement.open().unwrap();
        statement.log.as_mut().unwrap().seq = 1_000 + u64::from(number);
        ring.take(
            &statement.make(&pair(20)),
            &world.mesh.log,
            Some(&world.log),
        );
    }
    assert!(opens(&ring, &id));
}

// --- $state -----------------------------------------------------------------------------------

struct State {
    mesh: Mesh,
    random: Drbg,
}

impl State {
    fn ring(&self, seed: u8) -> Keyring {
        Keyring::new(self.mesh.log.mesh().clone(), channel("$state"), key(seed))
    }

    fn rotate(
        &mut self,
        ring: &Keyring,
        seed: u8,
    ) -> Result<claudemesh_core::channel::Rotation, StatementError> {
        ring.rotate(&mut self.random, &pair(seed), &self.mesh.log, None)
    }

    fn log(&self) -> &Log {
        &self.mesh.log
    }
}

#[test]
fn who_comes_late_reads_the_state_by_its_links() {
    let (mesh, _) = Mesh::peopled();
    let random = Drbg::new([3; 32]);
    let mut state = State { mesh, random };
    let mut ring = state.ring(1);
    let mut all = Vec::new();
    for seed in 50..54 {
        join_more(&mut state.mesh, seed + 80, seed);
        let reason = ring.needs_rotation(state.log(), None);
        assert!(matches!(reason, Some(Reason::First | Reason::Audience)));
        let made = state.rotate(&ring, 1).unwrap();
        assert_eq!(give(&made, &mut ring, 1, state.log(), None), Taken::Newer);
        all.push(made);
    }
    let links: Vec<_> = all
        .iter()
        .map(|made| made.statement.open().unwrap().link.is_some())
        .collect();
    assert_eq!(links, [false, true, true, true]);
    let ids: Vec<KeyId> = all.iter().map(|made| made.statement.key_id()).collect();
    // In any order of arrival: statements first, or the newest key first.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [3, 0, 2, 1]] {
        let mut late = state.ring(53);
        for at in order {
            late.take(&all[at].statement, state.log(), None);
            if at == 3 {
                let copy = copy_for(&all[3], 53).unwrap();
                late.take_copy(&ids[3], &pair(53), &copy).unwrap();
            }
        }
        assert!(ids.iter().all(|id| opens(&late, id)), "{order:?}");
    }
    // Who is not pending any more reads it; who is pending does not.
    assert!(copy_for(&all[3], 30).is_none());
    // A link to something else than what was committed to is not followed.
    let (last, before) = (
        all[3].statement.open().unwrap(),
        all[1].statement.open().unwrap(),
    );
    let root = ring.root(&ids[3]).unwrap();
    let wrong = last.follow_link(root, &before).err();
    assert_eq!(wrong, Some(StatementError::BadLink));
    let none = all[0]
        .statement
        .open()
        .unwrap()
        .follow_link(root, &before)
        .err();
    assert_eq!(none, Some(StatementError::BadLink));
}

#[test]
fn who_renews_the_state_holds_what_was_before_unless_nobody_does() {
    let (mesh, _) = Mesh::peopled();
    let random = Drbg::new([3; 32]);
    let mut state = State { mesh, random };
    let (mut owner, mut late) = (state.ring(1), state.ring(50));
    let first = state.rotate(&owner, 1).unwrap();
    give(&first, &mut owner, 1, state.log(), None);
    join_more(&mut state.mesh, 130, 50);
    give(&first, &mut late, 50, state.log(), None);
    assert_eq!(
        late.needs_rotation(state.log(), None),
        Some(Reason::Audience)
    );
    let early = state.rotate(&late, 50);
    assert_eq!(early.err(), Some(StatementError::NeedsPrevious));
    // All who held it are gone; who else is here came after it.
    join_more(&mut state.mesh, 131, 51);
    let heir = claudemesh_core::membership::Body::OwnerChanged {
        key: key(50),
        recovery: None,
        name: None,
    };
    state
        .mesh
        .say_at(crate::mesh::NOW, 2, Some(50), heir)
        .unwrap();
    for seed in [10, 20] {
        state
            .mesh
            .say(50, crate::mesh::remove(seed, false))
            .unwrap();
    }
    let alone = state.rotate(&late, 50).unwrap();
    assert_eq!(alone.statement.open().unwrap().link, None);
    // Or its author kept it from this reader.
    let (mut mesh, _) = Mesh::peopled();
    join_more(&mut mesh, 130, 50);
    let random = Drbg::new([3; 32]);
    let mut state = State { mesh, random };
    let first = state.rotate(&state.ring(1), 1).unwrap();
    let mut cheated = state.ring(50);
    cheated.take(&first.statement, state.log(), None);
    let id = first.statement.key_id();
    cheated.take_copy(&id, &pair(50), &[0; 48]).unwrap_err();
    state.rotate(&cheated, 50).unwrap();
}
