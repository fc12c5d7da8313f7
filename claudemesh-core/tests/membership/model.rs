//! The rules of the membership log again, written from their description, over small numbers:
//! random sequences are taken by the log exactly as the model takes them.

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{ChannelName, Hash, MeshId};
use claudemesh_core::membership::{Body, Draft, Log, Role};
use proptest::prelude::*;

use crate::mesh::{DAY, NOW, birth, name};

/// What one step tries. Small numbers stand for keys and invites, so that steps often meet.
#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    signer: u16,
    cosigner: Option<u16>,
    subject: u16,
    invite: u8,
    role: Role,
    lasts: i64,
    uses: u64,
    /// All links closed, a channel public, a key new: what the kind can say yes or no to.
    flag: bool,
    other: bool,
    later: i64,
    /// Keys and terms as a well-meaning program would choose them.
    proper: bool,
    /// What is wrong with the entry's frame: 0 seq, 1 prev, 2 mesh, 3 signature; else nothing.
    mess: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let limits = [600_000, 600_001, 90 * DAY as i64, 90 * DAY as i64 + 1, -1];
    let lasts = prop_oneof![9 => 0..3000i64, 2 => prop::sample::select(limits.to_vec())];
    let uses = prop_oneof![9 => 1..8u64, 1 => prop::sample::select(vec![0, 1_000, 1_001])];
    let role = prop_oneof![
        3 => Just(Role::Member),
        3 => Just(Role::Admin),
        2 => Just(Role::Pending),
        3 => Just(Role::Device),
        1 => Just(Role::Owner),
    ];
    let key = || 0..14u16;
    (
        (0..18u8, key(), prop::option::of(key()), key()),
        (0..8u8, role, lasts, uses),
        (any::<bool>(), prop::bool::weighted(0.3)),
        (
            prop_oneof![12 => 0..40i64, 1 => Just(-1)],
            prop::bool::weighted(0.8),
            0..40u8,
        ),
    )
        .prop_map(|(a, b, c, d)| Step {
            kind: a.0,
            signer: a.1,
            cosigner: a.2,
            subject: a.3,
            invite: b.0,
            role: b.1,
            lasts: b.2,
            uses: b.3,
            flag: c.0,
            other: c.1,
            later: d.0,
            proper: d.1,
            mess: d.2,
        })
}

struct Person {
    key: u16,
    role: Role,
    belongs_to: Option<u16>,
    came_by: Option<usize>,
    removed: bool,
}

struct Link {
    id: Hash,
    key: u16,
    by: u16,
    role: Role,
    until: u64,
    left: u64,
    open: bool,
}

#[derive(Default)]
struct Model {
    people: Vec<Person>,
    links: Vec<Link>,
    channels: Vec<(&'static str, u16)>,
    recovery: Option<u16>,
    /// Every key the log has named as something.
    named: Vec<u16>,
}

const CHANNELS: [&str; 6] = ["#a", "@b", "#c", "*", "$state", "@d"];

impl Model {
    fn here(&self, key: u16) -> Option<&Person> {
        let mut here = self.people.iter().filter(|person| !person.removed);
        here.find(|person| person.key == key)
    }

    fn role(&self, key: u16) -> Option<Role> {
        self.here(key).map(|person| person.role)
    }

    /// By whose right a key acts.
    fn standing(&self, key: u16) -> Option<Role> {
        match self.here(key)?.belongs_to {
            None => self.role(key),
            Some(member) if self.role(member) == Some(Role::Owner) => Some(Role::Admin),
            Some(member) => self.role(member),
        }
    }

    fn leads(&self, key: u16) -> bool {
        matches!(self.standing(key), Some(Role::Owner | Role::Admin))
    }

    fn become_role(&mut self, key: u16, role: Role) {
        for person in &mut self.people {
            if person.key == key {
                person.role = role;
            }
        }
    }

    fn family(&self, key: u16) -> Vec<u16> {
        let of = |person: &&Person| person.key == key || person.belongs_to == Some(key);
        let family = self.people.iter().filter(of);
        family.map(|person| person.key).collect()
    }

    fn issue(&mut self, link: Link, at: u64) -> bool {
        let lasts = link.until as i64 - at as i64;
        let valid = match link.role {
            Role::Device => {
                let is_device = self.here(link.by).is_some_and(|p| p.belongs_to.is_some());
                let standing = self.standing(link.by);
                let right = !is_device && !matches!(standing, None | Some(Role::Pending));
                right && (0..=600_000).contains(&lasts) && link.left == 1
            }
            role => {
                let right = match role {
                    Role::Owner => false,
                    Role::Admin => self.role(link.by) == Some(Role::Owner),
                    _ => self.leads(link.by),
                };
                right && (0..=90 * DAY as i64).contains(&lasts) && (1..=1_000).contains(&link.left)
            }
        } && !self.named.contains(&link.key);
        if valid {
            self.named.push(link.key);
            self.links.push(link);
        }
        valid
    }

    fn close(&mut self, by: u16, link: usize) -> bool {
        let (leads, here) = (self.leads(by), self.here(by).is_some());
        let Some(link) = self.links.get_mut(link).filter(|link| link.open) else {
            return false;
        };
        let right = leads || (here && link.role == Role::Device && link.by == by);
        link.open &= !right;
        right
    }

    fn come(&mut self, by: u16, key: u16, place: usize, at: u64, device: bool) -> bool {
        if self.named.contains(&key) {
            return false;
        }
        let link = self.links.get_mut(place).filter(|link| {
            (link.role == Role::Device) == device
                && link.key == by
                && link.open
                && at <= link.until
                && link.left > 0
        });
        let Some(link) = link else {
            return false;
        };
        link.left -= 1;
        let (role, belongs_to) = (link.role, device.then_some(link.by));
        self.enter(key, role, belongs_to, Some(place));
        true
    }

    fn enter(&mut self, key: u16, role: Role, belongs_to: Option<u16>, came_by: Option<usize>) {
        self.named.push(key);
        self.people.push(Person {
            key,
            role,
            belongs_to,
            came_by,
            removed: false,
        });
    }

    fn admit(&mut self, by: u16, key: u16, role: Role) -> bool {
        let right = match role {
            Role::Admin => self.role(by) == Some(Role::Owner),
            Role::Member => self.leads(by),
            _ => false,
        };
        let waits = self.role(key) == Some(Role::Pending);
        if !right || (!waits && self.named.contains(&key)) {
            return false;
        }
        if waits {
            self.become_role(key, role);
        } else {
            self.enter(key, role, None, None);
        }
        true
    }

    fn change(&mut self, by: u16, key: u16, role: Role) -> bool {
        let pair = (self.role(key), role);
        let sound = matches!(
            pair,
            (Some(Role::Admin), Role::Member) | (Some(Role::Member), Role::Admin)
        );
        if !sound || self.role(by) != Some(Role::Owner) {
            return false;
        }
        self.become_role(key, role);
        let family = self.family(key);
        for link in &mut self.links {
            link.open &= role == Role::Admin || !family.contains(&link.by);
        }
        true
    }

    fn give(&mut self, by: u16, key: u16, recovery: Option<u16>, is_new: bool) -> bool {
        let owner = self
            .people
            .iter()
            .find(|p| p.role == Role::Owner && !p.removed);
        let owner = owner.unwrap().key;
        let known = |key: &u16| self.named.contains(key);
        let heir = match self.here(key) {
            Some(heir) => {
                !is_new
                    && heir.belongs_to.is_none()
                    && matches!(heir.role, Role::Admin | Role::Member)
            }
            None => is_new && !known(&key),
        };
        let spare = recovery.is_none_or(|new| !known(&new) && new != key);
        let valid = heir
            && spare
            && if by == owner {
                recovery.is_none() || self.recovery.is_none()
            } else {
                Some(by) == self.recovery
            };
        if !valid {
            return false;
        }
        if by == owner {
            self.become_role(owner, Role::Admin);
            for link in &mut self.links {
                link.open &= link.by != owner || link.role != Role::Admin;
            }
        } else {
            self.expel(owner, true);
        }
        if is_new {
            self.enter(key, Role::Owner, None, None);
        } else {
            self.become_role(key, Role::Owner);
        }
        self.named.extend(recovery);
        self.recovery = recovery.or(self.recovery);
        true
    }

    fn create(&mut self, by: u16, channel: &'static str, public: bool) -> bool {
        let sort = match channel.as_bytes()[0] {
            b'#' => true,
            b'@' => public,
            _ => false,
        };
        let right = !matches!(self.standing(by), None | Some(Role::Pending));
        let valid = sort && right && self.channels.iter().all(|(known, _)| *known != channel);
        if valid {
            let lead = self.here(by).unwrap().belongs_to.unwrap_or(by);
            self.channels.push((channel, lead));
        }
        valid
    }

    fn remove(&mut self, by: u16, key: u16, all: bool) -> bool {
        let Some(gone) = self.here(key).filter(|gone| gone.role != Role::Owner) else {
            return false;
        };
        let own = by == key || gone.belongs_to == Some(by);
        let right = match self.standing(by) {
            None => false,
            Some(Role::Owner) => true,
            Some(Role::Admin) => {
                own || matches!(self.standing(key), Some(Role::Member | Role::Pending))
            }
            Some(_) => own && !all,
        };
        if right {
            self.expel(key, all);
        }
        right
    }

    fn expel(&mut self, key: u16, all: bool) {
        let family = self.family(key);
        let gone = self.people.iter_mut().filter(|p| family.contains(&p.key));
        let mut doors = Vec::new();
        for person in gone.filter(|person| !person.removed) {
            person.removed = true;
            doors.extend(person.came_by);
        }
        for (place, link) in self.links.iter_mut().enumerate() {
            link.open &= !all && !family.contains(&link.by) && !doors.contains(&place);
        }
    }
}

/// The second birth of a mesh, which is never taken.
const BIRTH: u8 = 17;
/// Counted beside the kinds: an owner by the recovery key, a device taken out, a channel made by
/// a device.
const RECOVERED: usize = 17;
const DEVICE_OUT: usize = 18;
const BY_DEVICE: usize = 19;

/// Runs the steps through log and model; gives how many of each kind were taken, and how many
/// were refused.
fn run(steps: &[Step]) -> ([usize; 20], usize) {
    // Keys: 0 the owner, 1 the recovery key, up to 13 anybody's, from 14 on fresh ones.
    let key = |number: u16| {
        let mut seed = [0x33; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        KeyPair::from_seed(&seed)
    };
    let mut fresh = 14;
    let spare = steps.len().is_multiple_of(2).then_some(1);
    let first = birth(spare.map(|spare| key(spare).public())).sign(&key(0), None);
    let mut log = Log::begin(&first).unwrap();
    let (mesh, wrong_mesh) = (log.mesh().clone(), MeshId::new("other").unwrap());
    let mut entries = vec![first];
    let mut model = Model {
        recovery: spare,
        named: spare.into_iter().collect(),
        ..Model::default()
    };
    model.enter(0, Role::Owner, None, None);
    let mut now = NOW;
    let (mut taken_of, mut refused) = ([0; 20], 0);
    // After each entry: everybody's role and standing.
    let mut history = vec![vec![(0, Some(Role::Owner), Some(Role::Owner))]];
    for step in steps {
        // One more than there are: also a link that is not there.
        let place = usize::from(step.invite) % (model.links.len() + 1);
        let link = model.links.get(place);
        let id = link.map_or(Hash([3; 32]), |link| link.id);
        let person = |number: u16| model.people[usize::from(number) % model.people.len()].key;
        let owner = model
            .people
            .iter()
            .find(|p| p.role == Role::Owner && !p.removed);
        let owner = owner.unwrap().key;
        let door = link.map_or(0, |link| link.key);
        let (signer, cosigner, subject) = match (step.proper, step.kind) {
            (false, _) => (step.signer, step.cosigner, step.subject),
            (true, 0..=3) => (person(step.signer / 2), None, fresh),
            (true, 4..=8) => (door, Some(fresh), fresh),
            (true, 10 | 11) if step.flag => (owner, None, person(step.subject)),
            (true, 10) => (person(step.signer / 4), None, fresh),
            (true, 12) => {
                let by = if step.other {
                    model.recovery.unwrap_or(owner)
                } else {
                    owner
                };
                let heir = if step.flag {
                    fresh
                } else {
                    person(step.subject)
                };
                (by, Some(heir), heir)
            }
            (true, _) => (person(step.signer / 2), None, person(step.subject)),
        };
        let is_new = if step.proper {
            subject == fresh
        } else {
            step.flag
        };
        let spare = (step.kind == 12 && step.invite < 3).then_some(fresh + 1);
        fresh += 2 * u16::from(step.proper && step.kind <= 12);
        let device = (7..=8).contains(&step.kind)
            || (step.proper && link.is_some_and(|link| link.role == Role::Device));
        let uses = if step.proper && step.role == Role::Device {
            1
        } else {
            step.uses
        };
        let at = now.saturating_add_signed(step.later);
        let until = at.saturating_add_signed(step.lasts);
        let all = step.flag && step.other;
        let channel = CHANNELS[usize::from(step.subject) % CHANNELS.len()];
        let public = key(subject).public();
        let body = match step.kind {
            0..=3 => Body::InviteIssued {
                key: public,
                role: step.role,
                expires_at: until,
                max_uses: uses,
            },
            4..=8 if device => Body::DeviceLinked {
                key: public,
                name: name("Phone"),
                invite: id,
            },
            4..=8 => Body::MemberJoined {
                key: public,
                name: name("N"),
                invite: id,
            },
            9 => Body::InviteClosed { invite: id },
            10 => Body::MemberAdmitted {
                key: public,
                name: name("N"),
                role: step.role,
            },
            11 => Body::RoleChanged {
                key: public,
                role: step.role,
            },
            12 => Body::OwnerChanged {
                key: public,
                recovery: spare.map(|spare| key(spare).public()),
                name: is_new.then(|| name("Heir")),
            },
            13 | 14 => Body::ChannelCreated {
                channel: ChannelName::new(channel).unwrap(),
                public: step.flag,
            },
            BIRTH => birth(None).body,
            _ => Body::MemberRemoved {
                key: public,
                close_all: all,
            },
        };
        let device_of = |key: u16| model.here(key).and_then(|person| person.belongs_to);
        let (device_out, by_device) = (device_of(subject).is_some(), device_of(signer).is_some());
        let mut draft = Draft {
            mesh: Some(&mesh),
            seq: entries.len() as u64,
            prev: entries.last().unwrap().hash(),
            at,
            body,
        };
        match step.mess {
            0 => draft.seq += 1,
            1 => draft.prev = Hash([2; 32]),
            2 => draft.mesh = Some(&wrong_mesh),
            _ if step.kind == BIRTH && step.flag => draft.mesh = None,
            _ => {}
        }
        let mut signed = draft.sign(&key(signer), cosigner.map(key).as_ref());
        if step.mess == 3 {
            signed.signature.0[9] ^= 4;
        }
        let agreed = match step.kind {
            4..=8 | 12 => cosigner == Some(subject),
            _ => cosigner.is_none(),
        };
        let valid = step.mess > 3
            && at >= now
            && agreed
            && match step.kind {
                0..=3 => {
                    let link = Link {
                        id: signed.hash(),
                        key: subject,
                        by: signer,
                        role: step.role,
                        until,
                        left: uses,
                        open: true,
                    };
                    model.issue(link, at)
                }
                4..=8 => model.come(signer, subject, place, at, device),
                9 => model.close(signer, place),
                10 => model.admit(signer, subject, step.role),
                11 => model.change(signer, subject, step.role),
                12 => model.give(signer, subject, spare, is_new),
                13 | 14 => model.create(signer, channel, step.flag),
                BIRTH => false,
                _ => model.remove(signer, subject, all),
            };
        let taken = log.append(&signed);
        assert_eq!(taken.is_ok(), valid, "{step:?} {taken:?}");
        if valid {
            taken_of[usize::from(step.kind)] += 1;
            taken_of[RECOVERED] += usize::from(step.kind == 12 && signer != owner);
            taken_of[DEVICE_OUT] += usize::from(step.kind >= 15 && device_out);
            taken_of[BY_DEVICE] += usize::from((13..15).contains(&step.kind) && by_device);
            now = at;
            entries.push(signed);
            let keys = model.people.iter().map(|person| person.key);
            let now = keys.map(|key| (key, model.role(key), model.standing(key)));
            history.push(now.collect());
        } else {
            refused += 1;
        }
    }

    let roster = log.roster();
    let public = |number: u16| key(number).public();
    let mut people: Vec<_> = (model.people.iter())
        .map(|p| (public(p.key), p.role, p.belongs_to.map(public), p.removed))
        .collect();
    people.sort_by_key(|person| person.0);
    let got: Vec<_> = (roster.members_and_former())
        .map(|m| (m.key, m.role, m.device_of, m.removed_at.is_some()))
        .collect();
    assert_eq!(got, people);
    assert_eq!(roster.recovery(), model.recovery.map(public));
    let owner = roster.member(&roster.owner()).unwrap();
    assert_eq!(owner.role, Role::Owner);
    assert_eq!(roster.invites().count(), model.links.len());
    for expected in &model.links {
        let invite = roster.invite(&expected.id).unwrap();
        assert_eq!(invite.closed, !expected.open);
        assert_eq!(invite.max_uses - invite.used_by.len() as u64, expected.left);
    }
    assert_eq!(roster.channels().count(), model.channels.len());
    for (channel, lead) in &model.channels {
        let held = roster.channel(&ChannelName::new(channel).unwrap()).unwrap();
        assert_eq!(held.lead, public(*lead));
    }
    for (seq, people) in history.iter().enumerate() {
        let mut verified = Vec::new();
        for (key, role, standing) in people {
            let member = roster.member_or_former(&public(*key)).unwrap();
            assert_eq!(member.role_at(seq as u64), *role);
            assert_eq!(roster.standing_at(&member.key, seq as u64), *standing);
            if !matches!(role, None | Some(Role::Pending)) {
                verified.push(member.key);
            }
        }
        verified.sort();
        assert_eq!(roster.audience_at(seq as u64), verified);
    }
    // Who has the same entries has the same roster, however they came.
    let again = Log::verify(&mesh, &entries).unwrap();
    let mut pages = Log::begin(&entries[0]).unwrap();
    for (at, page) in entries.chunks(3).enumerate() {
        pages.merge(at as u64 * 3, page).unwrap();
    }
    assert_eq!((again.head(), again.roster()), (log.head(), roster));
    assert_eq!((pages.head(), pages.roster()), (log.head(), roster));
    (taken_of, refused)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_taken_as_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}

#[test]
fn the_random_sequences_take_and_refuse_every_kind() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut taken, mut refused) = ([0; 20], 0);
    for _ in 0..20 {
        let many = prop::collection::vec(step(), 99..101);
        let more = run(&many.new_tree(&mut runner).unwrap().current());
        for (sum, more) in taken.iter_mut().zip(more.0) {
            *sum += more;
        }
        refused += more.1;
    }
    assert!(
        taken.iter().all(|kind| *kind > 0) && refused > 400,
        "{taken:?} {refused}"
    );
}
