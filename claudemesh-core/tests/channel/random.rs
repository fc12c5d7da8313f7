//! Random changes of who is in, with an epoch after each: exactly the audience opens it.

use claudemesh_core::channel::{
    ExpectedInChannel, Keyring, Taken, key_id_of, open_in_channel, seal_to_channel,
};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{MessageId, PublicKey};
use claudemesh_core::message::{Content, TEXT};
use proptest::prelude::*;

use crate::mesh::{NOW, pair, remove};
use crate::world::{World, added, copy_for, join_more, joined, key, left, link};

/// Everybody who may ever be in, the devices among them.
const PEERS: [u8; 10] = [1, 10, 20, 21, 22, 23, 24, 30, 41, 42];

/// Who is in, said once more: by the steps that were taken.
struct Model {
    listed: Vec<u8>,
    out: Vec<u8>,
}

impl Model {
    fn audience(&self) -> Vec<PublicKey> {
        let person = |seed: u8| match seed {
            41 => 20,
            42 => 21,
            other => other,
        };
        let reads = |seed: &u8| {
            let gone = self.out.contains(seed) || self.out.contains(&person(*seed));
            self.listed.contains(&person(*seed)) && !gone
        };
        let mut keys: Vec<_> = (1..=255).filter(reads).map(key).collect();
        keys.sort();
        keys
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_audience_opens(
        public in any::<bool>(),
        steps in prop::collection::vec((0..6u8, 0..10usize, 0..10usize), 1..14),
    ) {
        run(public, &steps);
    }
}

fn run(public: bool, steps: &[(u8, usize, usize)]) {
    let mut world = World::new(public);
    link(&mut world.mesh, 21, 150, 42);
    let mut model = Model {
        listed: vec![20],
        out: Vec::new(),
    };
    let mut rings: Vec<(u8, Keyring)> = PEERS.map(|seed| (seed, world.ring(seed))).into();
    let mut random = Drbg::new([9; 32]);
    let mut sealed = Vec::new();
    let mut fresh = 60;
    for (at, &(kind, by, whom)) in steps.iter().enumerate() {
        let (by, whom) = (PEERS[by], PEERS[whom]);
        match kind {
            0 | 1 => {
                let body = if kind == 0 {
                    added(whom, by % 2 == 0)
                } else {
                    joined(whom)
                };
                if world.say(by, body).is_ok() && !model.listed.contains(&whom) {
                    model.listed.push(whom);
                }
            }
            2 => {
                let stays = world.say(by, left(whom)).is_err();
                model.listed.retain(|seed| stays || *seed != whom);
            }
            3 => {
                let gone = world.mesh.say(by, remove(whom, false)).is_ok();
                model.out.extend(gone.then_some(whom));
            }
            4 => {
                join_more(&mut world.mesh, fresh + 100, fresh);
                fresh += 1;
            }
            _ => {}
        }
        let audience = model.audience();
        assert_eq!(world.audience(), audience);
        // Whoever is in, writes; and makes the next epoch first where that is needed.
        let writer = rings
            .iter()
            .position(|(seed, _)| audience.contains(&key(*seed)));
        let Some(writer) = writer else {
            continue;
        };
        let (seed, ring) = &rings[writer];
        if ring
            .needs_rotation(&world.mesh.log, Some(&world.log))
            .is_some()
        {
            let made = world.rotate(ring, *seed, &mut random);
            let holders: Vec<_> = made.copies.iter().map(|copy| copy.0).collect();
            assert_eq!(holders, audience);
            for (seed, ring) in &mut rings {
                assert_eq!(world.give(&made, ring, *seed), Taken::Newer);
                assert_eq!(
                    copy_for(&made, *seed).is_some(),
                    audience.contains(&key(*seed))
                );
            }
        }
        let (seed, ring) = &rings[writer];
        let (id, secret) = ring.current().unwrap();
        let content = Content {
            id: MessageId::new(format!("m{at}")).unwrap(),
            sent_at: NOW,
            due: None,
            reply_to: None,
            content_type: TEXT.to_owned(),
            attributes: Vec::new(),
            body: b"hello".to_vec(),
        };
        let (mesh, channel) = (world.mesh.log.mesh(), world.log.channel());
        let text = seal_to_channel(
            mesh,
            &pair(*seed),
            channel,
            id,
            secret,
            Some(world.mesh.log.head()),
            &content,
            random.bytes(),
        );
        sealed.push((text.unwrap(), *seed, audience));
    }
    // At the end everybody tries everything.
    for (text, writer, audience) in &sealed {
        let id = key_id_of(text).unwrap();
        for (seed, ring) in &rings {
            let expected = ExpectedInChannel {
                mesh: world.mesh.log.mesh(),
                channel: world.log.channel(),
                key_id: &id,
                frame_id: None,
                now: NOW,
            };
            let opened = ring
                .key(&id)
                .ok()
                .map(|secret| open_in_channel(expected, secret, text).unwrap().sender);
            let reads = audience.contains(&key(*seed));
            assert_eq!(
                opened,
                reads.then_some(key(*writer)),
                "{seed} of {audience:?}"
            );
        }
    }
}
