//! A mesh with a channel, for tests.

use claudemesh_core::channel::{Keyring, Rotation, Taken};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{ChannelName, KeyId, PublicKey};
use claudemesh_core::membership::{
    Body, ChannelBody, ChannelLog, ChannelLogError, Log, Role, SignedEntry,
};

use crate::mesh::{DAY, Mesh, NOW, issue, name, pair};

pub(crate) fn key(seed: u8) -> PublicKey {
    pair(seed).public()
}

pub(crate) fn channel(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

pub(crate) fn added(seed: u8, lead: bool) -> ChannelBody {
    let key = key(seed);
    ChannelBody::Added { key, lead }
}

pub(crate) fn joined(seed: u8) -> ChannelBody {
    ChannelBody::Joined { key: key(seed) }
}

pub(crate) fn left(seed: u8) -> ChannelBody {
    ChannelBody::Left { key: key(seed) }
}

/// Owner 1, admin 10, members 20 to 24, pending 30; 41 a device of 20. The channel `#deploys` is
/// 20's.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) log: ChannelLog,
    pub(crate) entries: Vec<SignedEntry>,
}

impl World {
    pub(crate) fn new(public: bool) -> Self {
        let (mut mesh, [_, members, _]) = Mesh::peopled();
        for seed in 21..25 {
            mesh.join(101, seed, members).unwrap();
        }
        link(&mut mesh, 20, 120, 41);
        let channel = channel("#deploys");
        let body = Body::ChannelCreated {
            channel: channel.clone(),
            public,
        };
        mesh.say(20, body).unwrap();
        Self {
            log: ChannelLog::begin(&mesh.log, &channel).unwrap(),
            mesh,
            entries: Vec::new(),
        }
    }

    pub(crate) fn sign(&self, signer: u8, body: ChannelBody) -> SignedEntry {
        self.log
            .draft(NOW, &self.mesh.log, body)
            .sign(&pair(signer))
    }

    /// Signs what stands on an earlier place of the mesh's log.
    pub(crate) fn sign_at(&self, standing: u64, signer: u8, body: ChannelBody) -> SignedEntry {
        let mut draft = self.log.draft(NOW, &self.mesh.log, body);
        draft.standing = standing;
        draft.sign(&pair(signer))
    }

    pub(crate) fn take(&mut self, signed: SignedEntry) -> Result<(), ChannelLogError> {
        let before = self.log.clone();
        match self.log.append(&signed, &self.mesh.log) {
            Ok(entry) => {
                assert_eq!(entry, signed.decode_channel().unwrap());
                assert_eq!(self.log.head().hash, signed.hash());
                self.entries.push(signed);
                Ok(())
            }
            Err(error) => {
                assert_eq!(self.log, before);
                Err(error)
            }
        }
    }

    pub(crate) fn say(&mut self, signer: u8, body: ChannelBody) -> Result<(), ChannelLogError> {
        self.take(self.sign(signer, body))
    }

    pub(crate) fn remove(&mut self, signer: u8, seed: u8) {
        self.mesh
            .say(signer, crate::mesh::remove(seed, false))
            .unwrap();
    }

    pub(crate) fn audience(&self) -> Vec<PublicKey> {
        self.log.audience(self.mesh.log.roster())
    }

    pub(crate) fn ring(&self, seed: u8) -> Keyring {
        let mesh = self.mesh.log.mesh().clone();
        Keyring::new(mesh, self.log.channel().clone(), key(seed))
    }

    pub(crate) fn rotate(&self, ring: &Keyring, seed: u8, random: &mut Drbg) -> Rotation {
        ring.rotate(random, &pair(seed), &self.mesh.log, Some(&self.log))
            .unwrap()
    }

    /// Gives a published epoch to a peer, with its copy if there is one for it.
    pub(crate) fn give(&self, rotation: &Rotation, ring: &mut Keyring, seed: u8) -> Taken {
        give(rotation, ring, seed, &self.mesh.log, Some(&self.log))
    }
}

pub(crate) fn give(
    rotation: &Rotation,
    ring: &mut Keyring,
    seed: u8,
    log: &Log,
    channel: Option<&ChannelLog>,
) -> Taken {
    let taken = ring.take(&rotation.statement, log, channel);
    if let Some(copy) = copy_for(rotation, seed)
        && !matches!(taken, Taken::Rejected(_))
    {
        ring.take_copy(&rotation.statement.key_id(), &pair(seed), &copy)
            .unwrap();
    }
    taken
}

pub(crate) fn copy_for(rotation: &Rotation, seed: u8) -> Option<[u8; 48]> {
    let mut copies = rotation.copies.iter();
    copies
        .find(|(member, _)| *member == key(seed))
        .map(|(_, copy)| *copy)
}

pub(crate) fn opens(ring: &Keyring, id: &KeyId) -> bool {
    ring.key(id).is_ok()
}

pub(crate) fn link(mesh: &mut Mesh, member: u8, invite_key: u8, device: u8) {
    let body = issue(invite_key, Role::Device, NOW + 1, 1);
    let invite = mesh.say(member, body).unwrap();
    let body = Body::DeviceLinked {
        key: key(device),
        name: name("Phone"),
        invite,
    };
    mesh.say_at(NOW, invite_key, Some(device), body).unwrap();
}

pub(crate) fn join_more(mesh: &mut Mesh, invite_key: u8, seed: u8) {
    let body = issue(invite_key, Role::Member, NOW + DAY, 1);
    let invite = mesh.say(1, body).unwrap();
    mesh.join(invite_key, seed, invite).unwrap();
}
