//! Who is a member, and by which right the next entry may be said.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::body::Body;
use super::entry::{Entry, Role};
use crate::crypto::to_x25519_public;
use crate::id::{ChannelName, Hash, InviteId, MeshSlug, Name, PublicKey};

/// Why an entry is not valid after the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// `mesh_created` is entry 0 and nothing else is.
    #[error("only the first entry may create the mesh, and it must")]
    Birth,
    /// The signer may not say this.
    #[error("the signer has no right to do this (owner or admin needed)")]
    NotAllowed,
    /// The cosigner is missing, or is not the one who must agree.
    #[error("this entry needs the agreement of the key it is about, and of nobody else")]
    Cosigner,
    /// No such invite.
    #[error("no such invite in this mesh")]
    UnknownInvite,
    /// The invite was taken back.
    #[error("this invite was closed; ask for a new link")]
    InviteClosed,
    /// The invite's time is over.
    #[error("this invite has expired; ask for a new link")]
    InviteExpired,
    /// The invite was used as often as it may be.
    #[error("this invite is used up; ask for a new link")]
    InviteUsedUp,
    /// A term of the invite is out of bounds.
    #[error(
        "an invite is good for at most 90 days, for 1 to 1000 uses, and not for the role owner; \
         a device's for 10 minutes and once"
    )]
    InviteTerms,
    /// The invite, or the member, is of another role than this entry is for.
    #[error(
        "this is not for that role (a device's link links a device, an admin becomes a member or \
         the other way round)"
    )]
    OtherRole,
    /// A channel of that kind cannot be made so.
    #[error("a channel is '@group', which is public, or '#topic'")]
    ChannelTerms,
    /// There is a channel of that name.
    #[error("there is a channel of that name already")]
    ChannelKnown,
    /// The key is in the log already; a key never joins twice.
    #[error("this key is known to the mesh already; who was removed joins with a new key")]
    KeyKnown,
    /// The key cannot be used.
    #[error("this public key cannot be used (weak or malformed)")]
    BadKey,
    /// No such member, or removed already.
    #[error("no such member")]
    UnknownMember,
    /// The owner cannot be removed.
    #[error("the owner cannot be removed")]
    OwnerStays,
}

/// One who is, or was, a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Who.
    pub key: PublicKey,
    /// Display name, as the log has it. Not unique.
    pub name: Name,
    /// What they may do.
    pub role: Role,
    /// Unix ms of the entry by which they came.
    pub since: u64,
    /// The invite they came by; none for the mesh's maker.
    pub invite: Option<InviteId>,
    /// Unix ms of the entry that removed them.
    pub removed_at: Option<u64>,
    /// Whose device it is.
    pub device_of: Option<PublicKey>,
    /// Place of the entry that removed them.
    pub removed_seq: Option<u64>,
    /// Since which place they have had which role, in order.
    roles: Vec<(u64, Role)>,
}

impl Member {
    pub(super) fn new(
        key: PublicKey,
        name: Name,
        role: Role,
        at: u64,
        seq: u64,
        invite: Option<InviteId>,
        device_of: Option<PublicKey>,
    ) -> Self {
        Self {
            key,
            name,
            role,
            since: at,
            invite,
            removed_at: None,
            device_of,
            removed_seq: None,
            roles: vec![(seq, role)],
        }
    }

    pub(super) fn take_role(&mut self, seq: u64, role: Role) {
        self.role = role;
        self.roles.push((seq, role));
    }

    /// Whether keys may be given to this member: on the roster, not pending.
    pub fn is_verified(&self) -> bool {
        self.removed_at.is_none() && self.role != Role::Pending
    }

    /// Whether this member was verified after the entry at `seq`.
    pub fn was_verified(&self, seq: u64) -> bool {
        self.role_at(seq).is_some_and(|role| role != Role::Pending)
    }

    /// The role that this member had after the entry at `seq`; none if it was no member then.
    pub fn role_at(&self, seq: u64) -> Option<Role> {
        if self.removed_seq.is_some_and(|removed| removed <= seq) {
            return None;
        }
        let held = self.roles.iter().rev().find(|(since, _)| *since <= seq);
        held.map(|(_, role)| *role)
    }
}

/// A channel, as the mesh's log has it. Who is in it is said by a log of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who made it; never a device, which acts for its member.
    pub lead: PublicKey,
    /// The hash of the entry that made it: what the channel's log begins after.
    pub created: Hash,
    /// The place of that entry.
    pub seq: u64,
    /// Unix ms of that entry.
    pub at: u64,
}

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invite {
    /// The hash of the entry that issued it.
    pub id: InviteId,
    /// Public half of the key in the link's fragment.
    pub key: PublicKey,
    /// Who made it.
    pub issuer: PublicKey,
    /// What those who come by it become.
    pub role: Role,
    /// Unix ms.
    pub expires_at: u64,
    /// How often it may be used.
    pub max_uses: u64,
    /// By whom it was used.
    pub used_by: Vec<PublicKey>,
    /// Taken back.
    pub closed: bool,
}

impl Invite {
    /// Checks that someone may join by it at `at` (unix ms).
    ///
    /// # Errors
    /// [`RuleError::InviteClosed`], [`RuleError::InviteExpired`], [`RuleError::InviteUsedUp`].
    pub fn check_open(&self, at: u64) -> Result<(), RuleError> {
        if self.closed {
            Err(RuleError::InviteClosed)
        } else if at > self.expires_at {
            Err(RuleError::InviteExpired)
        } else if self.used_by.len() as u64 >= self.max_uses {
            Err(RuleError::InviteUsedUp)
        } else {
            Ok(())
        }
    }
}

/// What a log says about who is a member and which links are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    slug: MeshSlug,
    pub(super) owner: PublicKey,
    pub(super) members: BTreeMap<PublicKey, Member>,
    pub(super) invites: HashMap<InviteId, Invite>,
    pub(super) channels: BTreeMap<ChannelName, Channel>,
    /// The devices of a member, also removed ones.
    pub(super) devices: HashMap<PublicKey, Vec<PublicKey>>,
    pub(super) recovery: Option<PublicKey>,
    /// Keys that never become members: of invites, and the recovery key.
    pub(super) reserved: HashSet<PublicKey>,
    /// The invites that removals have not closed yet, by issuer. Without it every removal would
    /// walk all invites ever issued, and a long log would cost the square of its length.
    pub(super) issued: HashMap<PublicKey, Vec<InviteId>>,
}

impl Roster {
    /// The roster after entry 0.
    pub(super) fn begin(entry: &Entry) -> Result<Self, RuleError> {
        let Body::MeshCreated {
            slug,
            name,
            recovery,
            ..
        } = &entry.body
        else {
            return Err(RuleError::Birth);
        };
        if entry.seq != 0 || entry.prev != Hash::ZERO || entry.mesh.is_some() {
            return Err(RuleError::Birth);
        }
        if entry.cosigner.is_some() {
            return Err(RuleError::Cosigner);
        }
        for key in [Some(&entry.signer), recovery.as_ref()]
            .into_iter()
            .flatten()
        {
            to_x25519_public(key).map_err(|_| RuleError::BadKey)?;
        }
        if recovery.as_ref() == Some(&entry.signer) {
            return Err(RuleError::KeyKnown);
        }
        let name = name.clone();
        let owner = Member::new(entry.signer, name, Role::Owner, entry.at, 0, None, None);
        Ok(Self {
            slug: slug.clone(),
            owner: entry.signer,
            members: BTreeMap::from([(entry.signer, owner)]),
            invites: HashMap::new(),
            channels: BTreeMap::new(),
            devices: HashMap::new(),
            recovery: *recovery,
            reserved: HashSet::from_iter(*recovery),
            issued: HashMap::new(),
        })
    }

    /// That of a mesh without a log: nobody is in it.
    pub(super) fn without_log(slug: MeshSlug, owner: PublicKey) -> Self {
        Self {
            slug,
            owner,
            members: BTreeMap::new(),
            invites: HashMap::new(),
            channels: BTreeMap::new(),
            devices: HashMap::new(),
            recovery: None,
            reserved: HashSet::new(),
            issued: HashMap::new(),
        }
    }

    /// What a key that is a member now may do: a device what its member may, an owner's device
    /// what an admin may.
    pub fn standing(&self, key: &PublicKey) -> Result<Role, RuleError> {
        let member = self.member(key).ok_or(RuleError::NotAllowed)?;
        match member.device_of {
            None => Ok(member.role),
            Some(owner) => match self.member(&owner).map(|member| member.role) {
                Some(Role::Owner) => Ok(Role::Admin),
                Some(role) => Ok(role),
                None => Err(RuleError::NotAllowed),
            },
        }
    }

    /// What a key might do after the entry at `seq`, as [`Roster::standing`]; none if it was no
    /// member then. A device is out as soon as its member is.
    pub fn standing_at(&self, key: &PublicKey, seq: u64) -> Option<Role> {
        let member = self.members.get(key)?;
        let role = member.role_at(seq)?;
        match member.device_of {
            None => Some(role),
            Some(owner) => match self.members.get(&owner)?.role_at(seq)? {
                Role::Owner => Some(Role::Admin),
                role => Some(role),
            },
        }
    }

    /// Who was verified after the entry at `seq`, members and devices, in ascending order: the
    /// audience of `*` and `$state` (`u64::MAX` for now).
    pub fn audience_at(&self, seq: u64) -> Vec<PublicKey> {
        let all = self.members.values();
        all.filter(|member| member.was_verified(seq))
            .map(|member| member.key)
            .collect()
    }

    /// The person behind a key: a device's member, else the key itself.
    pub fn person(&self, key: &PublicKey) -> PublicKey {
        let device_of = self.members.get(key).and_then(|member| member.device_of);
        device_of.unwrap_or(*key)
    }

    /// The member whose device this key is.
    pub fn device_of(&self, key: &PublicKey) -> Option<PublicKey> {
        self.member(key).and_then(|member| member.device_of)
    }

    /// The devices of a member that are linked now.
    pub fn devices(&self, key: &PublicKey) -> impl Iterator<Item = &Member> {
        let keys = self.devices.get(key).into_iter().flatten();
        keys.filter_map(|key| self.member(key))
    }

    /// How a member is shown: its name, a device as `member/device`.
    pub fn display_name(&self, member: &Member) -> String {
        match member.device_of.and_then(|owner| self.members.get(&owner)) {
            Some(owner) => format!("{}/{}", owner.name, member.name),
            None => member.name.as_str().to_owned(),
        }
    }

    /// As [`Roster::display_name`], each part cut so that the whole is a name.
    pub fn shown_name(&self, member: &Member) -> Name {
        let cut = |name: &Name| -> String {
            let mut text = name.as_str();
            while text.len() > 31 {
                let last = text.char_indices().next_back();
                text = last.and_then(|(at, _)| text.get(..at)).unwrap_or_default();
            }
            text.trim_end().to_owned()
        };
        let owner = member.device_of.and_then(|owner| self.members.get(&owner));
        let Some(owner) = owner else {
            return member.name.clone();
        };
        Name::new(self.display_name(member))
            .or_else(|_| Name::new(format!("{}/{}", cut(&owner.name), cut(&member.name))))
            .unwrap_or_else(|_| member.name.clone())
    }

    /// The recovery key, if one was set.
    pub fn recovery(&self) -> Option<PublicKey> {
        self.recovery
    }

    /// A channel by its name.
    pub fn channel(&self, name: &ChannelName) -> Option<&Channel> {
        self.channels.get(name)
    }

    /// All channels, by name.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values()
    }

    /// The mesh's short name, as its maker chose it.
    pub fn slug(&self) -> &MeshSlug {
        &self.slug
    }

    /// The owner's key.
    pub fn owner(&self) -> PublicKey {
        self.owner
    }

    /// The member with this key, if it is one now.
    pub fn member(&self, key: &PublicKey) -> Option<&Member> {
        self.members
            .get(key)
            .filter(|member| member.removed_at.is_none())
    }

    /// The member with this key, also if it was removed.
    pub fn member_or_former(&self, key: &PublicKey) -> Option<&Member> {
        self.members.get(key)
    }

    /// All who are members now, by key.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members
            .values()
            .filter(|member| member.removed_at.is_none())
    }

    /// All who are or were members, by key.
    pub fn members_and_former(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// An invite by its id.
    pub fn invite(&self, id: &InviteId) -> Option<&Invite> {
        self.invites.get(id)
    }

    /// All invites ever issued, in no order.
    pub fn invites(&self) -> impl Iterator<Item = &Invite> {
        self.invites.values()
    }
}
