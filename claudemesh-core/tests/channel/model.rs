//! The rules of a channel's log again, written from their description over small numbers: random
//! entries, most of them wrong in some way, are taken by the log exactly as the model takes them.
//! Meanwhile the mesh changes: people come, go, get other roles and devices, and owners.

use std::collections::{BTreeMap, BTreeSet};

use claudemesh_core::id::{ChannelName, Hash, MeshId, PublicKey};
use claudemesh_core::membership::{Body, ChannelBody, ChannelLogError, Role};
use proptest::prelude::*;

use crate::mesh::{DAY, Mesh, NOW, issue, name, pair, remove};
use crate::world::{World, added, joined, key, left};

/// Owner, recovery key, admin, members, pending, devices of 20, 21 and 1, strangers.
const PEERS: [u8; 15] = [1, 2, 10, 20, 21, 22, 23, 24, 30, 41, 42, 43, 60, 61, 62];

#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    by: usize,
    whom: usize,
    lead: bool,
    /// The signer has the right, or the subject is the signer.
    proper: bool,
    /// How far behind the mesh's head the entry stands; one more than there is: ahead of it.
    behind: u64,
    /// What is wrong with the entry's frame: 0 to 5; else nothing.
    mess: u8,
}

fn step() -> impl Strategy<Value = Step> {
    (
        (0..14u8, 0..15usize, 0..15usize),
        (any::<bool>(), prop::bool::weighted(0.7)),
        (
            prop_oneof![6 => Just(0u64), 3 => 1..6u64, 1 => Just(99)],
            0..40u8,
        ),
    )
        .prop_map(|(a, b, c)| Step {
            kind: a.0,
            by: a.1,
            whom: a.2,
            lead: b.0,
            proper: b.1,
            behind: c.0,
            mess: c.1,
        })
}

/// Everybody's role after one entry of the mesh's log.
type Roles = BTreeMap<u8, Role>;

struct Model {
    public: bool,
    devices: BTreeMap<u8, u8>,
    /// After each entry of the mesh's log.
    past: Vec<Roles>,
    /// After each entry of the channel's: who is in, and whether it leads.
    listed: Vec<BTreeMap<u8, bool>>,
    standing: u64,
}

impl Model {
    fn person(&self, seed: u8) -> u8 {
        self.devices.get(&seed).copied().unwrap_or(seed)
    }

    fn now(&self) -> &Roles {
        self.past.last().unwrap()
    }

    fn listed(&self) -> &BTreeMap<u8, bool> {
        self.listed.last().unwrap()
    }

    /// By whose right a key acts.
    fn acts_as(&self, seed: u8, roles: &Roles) -> Option<Role> {
        let role = *roles.get(&seed)?;
        match self.devices.get(&seed) {
            None => Some(role),
            Some(member) => match roles.get(member)? {
                Role::Owner => Some(Role::Admin),
                other => Some(*other),
            },
        }
    }

    fn may(&self, by: u8, body: &ChannelBody, whom: u8, roles: &Roles) -> bool {
        let role = match self.acts_as(by, roles) {
            None | Some(Role::Pending) => return false,
            Some(role) => role,
        };
        let person = self.person(by);
        let leads = self.listed().get(&person) == Some(&true);
        match body {
            ChannelBody::Joined { .. } => person == whom,
            ChannelBody::Added { .. } => leads || role == Role::Owner,
            ChannelBody::Left { .. } => {
                let gone = self.acts_as(whom, roles).is_none();
                person == whom
                    || leads
                    || matches!(role, Role::Owner | Role::Admin)
                    || (gone && self.listed().contains_key(&person))
            }
            other => panic!("{other:?}"),
        }
    }

    fn changes(&self, body: &ChannelBody, whom: u8, roles: &Roles) -> bool {
        let is = self.listed().get(&whom).copied();
        let member = !self.devices.contains_key(&whom)
            && roles.get(&whom).is_some_and(|role| *role != Role::Pending);
        match body {
            ChannelBody::Left { .. } => is.is_some(),
            ChannelBody::Joined { .. } => self.public && is.is_none() && member,
            ChannelBody::Added { lead, .. } => is != Some(*lead) && member,
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, body: &ChannelBody, whom: u8, standing: u64) {
        let mut listed = self.listed().clone();
        match body {
            ChannelBody::Left { .. } => listed.remove(&whom),
            ChannelBody::Joined { .. } => listed.insert(whom, false),
            ChannelBody::Added { lead, .. } => listed.insert(whom, *lead),
            other => panic!("{other:?}"),
        };
        self.listed.push(listed);
        self.standing = standing;
    }

    fn audience(&self, listed: &BTreeMap<u8, bool>, roles: &Roles) -> BTreeSet<PublicKey> {
        let reads = |(seed, role): &(&u8, &Role)| {
            **role != Role::Pending && listed.contains_key(&self.person(**seed))
        };
        let readers = roles.iter().filter(reads);
        readers.map(|(seed, _)| key(*seed)).collect()
    }
}

/// What happened to the steps, by words.
type Seen = BTreeMap<&'static str, usize>;

/// Says something in the mesh; notes everybody's role after it.
fn in_mesh(mesh: &mut Mesh, model: &mut Model, by: u8, with: Option<u8>, body: Body) -> bool {
    let said = mesh.say_at(NOW, by, with, body).is_ok();
    if said {
        model.past.push(model.now().clone());
    }
    said
}

fn change_mesh(step: &Step, mesh: &mut Mesh, model: &mut Model, seen: &mut Seen, fresh: &mut u8) {
    let (by, whom) = (PEERS[step.by], PEERS[step.whom]);
    let owner = model.now().iter().find(|(_, role)| **role == Role::Owner);
    let owner = *owner.unwrap().0;
    let public = key(whom);
    let by = if step.proper { owner } else { by };
    match step.kind {
        8 | 9 => {
            if in_mesh(mesh, model, by, None, remove(whom, false)) {
                *seen.entry("removed").or_default() += 1;
                let devices = model.devices.clone();
                let roles = model.past.last_mut().unwrap();
                roles.retain(|seed, _| *seed != whom && devices.get(seed) != Some(&whom));
            }
        }
        10 => {
            let role = if step.lead { Role::Admin } else { Role::Member };
            let body = if model.now().contains_key(&whom) && model.now()[&whom] != Role::Pending {
                Body::RoleChanged { key: public, role }
            } else {
                Body::MemberAdmitted {
                    key: public,
                    name: name("N"),
                    role,
                }
            };
            if in_mesh(mesh, model, by, None, body) {
                *seen.entry("role").or_default() += 1;
                model.past.last_mut().unwrap().insert(whom, role);
            }
        }
        11 => {
            // By the owner, or by the recovery key, which takes the owner out.
            let signer = if step.lead { 2 } else { owner };
            let body = Body::OwnerChanged {
                key: public,
                recovery: None,
                name: None,
            };
            if in_mesh(mesh, model, signer, Some(whom), body) {
                let devices = model.devices.clone();
                let roles = model.past.last_mut().unwrap();
                if signer == owner {
                    *seen.entry("handed over").or_default() += 1;
                    roles.insert(owner, Role::Admin);
                } else {
                    *seen.entry("recovered").or_default() += 1;
                    roles.retain(|seed, _| *seed != owner && devices.get(seed) != Some(&owner));
                }
                roles.insert(whom, Role::Owner);
            }
        }
        12 => {
            // A further device of somebody.
            let (invite_key, device) = (*fresh, *fresh + 1);
            *fresh += 2;
            let body = issue(invite_key, Role::Device, NOW + 1, 1);
            let Ok(invite) = mesh.say(whom, body) else {
                return;
            };
            model.past.push(model.now().clone());
            let body = Body::DeviceLinked {
                key: key(device),
                name: name("Phone"),
                invite,
            };
            assert!(in_mesh(mesh, model, invite_key, Some(device), body));
            *seen.entry("device").or_default() += 1;
            model.devices.insert(device, whom);
            model.past.last_mut().unwrap().insert(device, Role::Device);
        }
        _ => {
            let (invite_key, member) = (*fresh, *fresh + 1);
            *fresh += 2;
            let body = issue(invite_key, Role::Member, NOW + DAY, 1);
            let Ok(invite) = mesh.say(by, body) else {
                return;
            };
            model.past.push(model.now().clone());
            mesh.join(invite_key, member, invite).unwrap();
            model.past.push(model.now().clone());
            model.past.last_mut().unwrap().insert(member, Role::Member);
        }
    }
}

fn say_in_channel(step: &Step, world: &mut World, model: &mut Model, seen: &mut Seen) {
    let (mut by, mut whom) = (PEERS[step.by], PEERS[step.whom]);
    if step.proper {
        let leads = model.listed().iter().find(|(_, lead)| **lead);
        match step.kind {
            0..=3 => by = leads.map_or(1, |(seed, _)| *seed),
            4 | 5 => whom = model.person(by),
            _ => {
                let place = step.whom % model.listed().len().max(1);
                whom = model.listed().keys().nth(place).copied().unwrap_or(whom);
            }
        }
    }
    let body = match step.kind {
        0..=3 => added(whom, step.lead),
        4 | 5 => joined(whom),
        _ => left(whom),
    };
    let head = model.past.len() as u64 - 1;
    let standing = match step.behind {
        99 => head + 1,
        behind => head.saturating_sub(behind),
    };
    let (other, elsewhere) = (
        MeshId::new("other").unwrap(),
        ChannelName::new("#other").unwrap(),
    );
    let signed = {
        let mut draft = world.log.draft(NOW, &world.mesh.log, body);
        draft.standing = standing;
        match step.mess {
            0 => draft.seq += 1,
            1 => draft.prev = Hash([7; 32]),
            2 => draft.mesh = &other,
            3 => draft.channel = &elsewhere,
            4 => draft.at = NOW - 1,
            _ => {}
        }
        let mut signed = draft.sign(&pair(by));
        if step.mess == 5 {
            signed.signature.0[9] ^= 4;
        }
        signed
    };
    let there = model.past.get(standing as usize);
    let then = there.is_some_and(|roles| {
        model.may(by, &body, whom, roles) && model.changes(&body, whom, roles)
    });
    let sound = step.mess > 5 && standing >= model.standing && then;
    // What somebody who is out says of itself changes nobody's audience.
    let of_itself = model.person(by) == whom && !model.now().contains_key(&whom);
    let valid = sound && (of_itself || model.may(by, &body, whom, model.now()));
    let taken = world.take(signed);
    assert_eq!(taken.is_ok(), valid, "{step:?} {by} {whom} {taken:?}");
    let word = match (&taken, &body) {
        (Err(ChannelLogError::NoLongerAllowed), _) => {
            assert!(sound);
            "not any more"
        }
        (Err(ChannelLogError::StandingBack), _) => "back",
        (Err(ChannelLogError::Ahead { .. }), _) => "ahead",
        (Err(_), _) => "refused",
        (Ok(()), ChannelBody::Joined { .. }) => "joined",
        (Ok(()), ChannelBody::Added { .. }) if model.listed().contains_key(&whom) => "promoted",
        (Ok(()), ChannelBody::Added { .. }) => "added",
        (Ok(()), ChannelBody::Left { .. }) if model.acts_as(whom, model.now()).is_none() => {
            "struck off"
        }
        (Ok(()), ChannelBody::Left { .. }) => "left",
        (Ok(()), other) => panic!("{other:?}"),
    };
    *seen.entry(word).or_default() += 1;
    if valid {
        if model.devices.contains_key(&by) {
            *seen.entry("by a device").or_default() += 1;
        }
        if standing < head {
            *seen.entry("on an earlier place").or_default() += 1;
        }
        model.take(&body, whom, standing);
    }
}

fn run(public: bool, steps: &[Step], seen: &mut Seen) {
    let mut world = World::new(public);
    // The places before the channel was made do not count: nothing may stand on them.
    let first = world.mesh.log.head().seq;
    let mut roles: Roles = [(1, Role::Owner), (10, Role::Admin), (30, Role::Pending)].into();
    roles.extend((20..25).map(|seed| (seed, Role::Member)));
    roles.insert(41, Role::Device);
    let mut model = Model {
        public,
        devices: [(41, 20)].into(),
        past: vec![roles; first as usize + 1],
        listed: vec![[(20, true)].into()],
        standing: first,
    };
    for (owner, device) in [(21, 42), (1, 43)] {
        let body = issue(device + 100, Role::Device, NOW + 1, 1);
        let invite = world.mesh.say(owner, body).unwrap();
        model.past.push(model.now().clone());
        let body = Body::DeviceLinked {
            key: key(device),
            name: name("Phone"),
            invite,
        };
        let mesh = &mut world.mesh;
        assert!(in_mesh(mesh, &mut model, device + 100, Some(device), body));
        model.devices.insert(device, owner);
        model.past.last_mut().unwrap().insert(device, Role::Device);
    }
    let mut fresh = 160;
    for step in steps {
        if step.kind < 8 {
            say_in_channel(step, &mut world, &mut model, seen);
        } else if fresh < 250 {
            change_mesh(step, &mut world.mesh, &mut model, seen, &mut fresh);
        }
    }
    assert_eq!(world.mesh.log.head().seq as usize + 1, model.past.len());
    let listed: Vec<_> = (model.listed().iter())
        .map(|(seed, lead)| (key(*seed), *lead))
        .collect();
    let mut held: Vec<_> = world.log.members().collect();
    held.sort_by_key(|(member, _)| listed.iter().position(|(known, _)| known == member));
    assert_eq!(held, listed);
    // Who could read at any two heads.
    for (seq, listed) in model.listed.iter().enumerate() {
        for (place, roles) in model.past.iter().enumerate().skip(first as usize) {
            let roster = world.mesh.log.roster();
            let audience = world.log.audience_at(seq as u64, roster, place as u64);
            let expected = model.audience(listed, roles);
            assert!(audience.iter().eq(&expected), "{seq} {place}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_taken_as_the_rules_say(
        public in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        run(public, &steps, &mut Seen::new());
    }
}

#[test]
fn the_random_sequences_take_and_refuse_every_kind() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = Seen::new();
    for round in 0..24 {
        let many = prop::collection::vec(step(), 79..81);
        let steps = many.new_tree(&mut runner).unwrap().current();
        run(round % 2 == 0, &steps, &mut seen);
    }
    let words = [
        "added",
        "promoted",
        "joined",
        "left",
        "struck off",
        "by a device",
        "refused",
        "back",
        "ahead",
        "not any more",
        "on an earlier place",
        "removed",
        "role",
        "handed over",
        "recovered",
        "device",
    ];
    let missing: Vec<_> = words.iter().filter(|w| !seen.contains_key(*w)).collect();
    assert!(missing.is_empty(), "never: {missing:?} in {seen:?}");
}
