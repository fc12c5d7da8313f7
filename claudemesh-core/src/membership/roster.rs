//! Who is a member, and by which right the next entry may be said.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::entry::{Body, Entry, Role};
use crate::crypto::to_x25519_public;
use crate::id::{Hash, InviteId, MeshSlug, Name, PublicKey};

/// Milliseconds for which an invite may be open at most: 90 days.
const MAX_INVITE_MS: u64 = 90 * 86_400_000;
/// Uses of one invite at most.
const MAX_INVITE_USES: u64 = 1_000;

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
        "an invite is good for at most 90 days, for 1 to 1000 uses, and not for the role owner"
    )]
    InviteTerms,
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
}

impl Member {
    /// Whether keys may be given to this member: on the roster, not pending.
    pub fn is_verified(&self) -> bool {
        self.removed_at.is_none() && self.role != Role::Pending
    }
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
    owner: PublicKey,
    members: BTreeMap<PublicKey, Member>,
    invites: HashMap<InviteId, Invite>,
    /// Keys that never become members: of invites, and the recovery key.
    reserved: HashSet<PublicKey>,
    /// The invites that removals have not closed yet, by issuer. Without it every removal would
    /// walk all invites ever issued, and a long log would cost the square of its length.
    issued: HashMap<PublicKey, Vec<InviteId>>,
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
        let owner = Member {
            key: entry.signer,
            name: name.clone(),
            role: Role::Owner,
            since: entry.at,
            invite: None,
            removed_at: None,
        };
        Ok(Self {
            slug: slug.clone(),
            owner: entry.signer,
            members: BTreeMap::from([(entry.signer, owner)]),
            invites: HashMap::new(),
            reserved: HashSet::from_iter(*recovery),
            issued: HashMap::new(),
        })
    }

    /// Checks that `entry` may follow, and takes it. `id` is its hash. On an error nothing has
    /// changed.
    pub(super) fn apply(&mut self, id: Hash, entry: &Entry) -> Result<(), RuleError> {
        match &entry.body {
            Body::MeshCreated { .. } => Err(RuleError::Birth),
            Body::InviteIssued {
                key,
                role,
                expires_at,
                max_uses,
            } => {
                no_cosigner(entry)?;
                let signer = self.standing(&entry.signer)?;
                let allowed = match signer {
                    Role::Owner => true,
                    Role::Admin => *role != Role::Admin,
                    Role::Member | Role::Pending => false,
                };
                if !allowed {
                    return Err(RuleError::NotAllowed);
                }
                let lasts = expires_at
                    .checked_sub(entry.at)
                    .ok_or(RuleError::InviteTerms)?;
                if *role == Role::Owner
                    || lasts > MAX_INVITE_MS
                    || !(1..=MAX_INVITE_USES).contains(max_uses)
                {
                    return Err(RuleError::InviteTerms);
                }
                self.check_new_key(key)?;
                self.reserved.insert(*key);
                self.issued.entry(entry.signer).or_default().push(id);
                self.invites.insert(
                    id,
                    Invite {
                        id,
                        key: *key,
                        issuer: entry.signer,
                        role: *role,
                        expires_at: *expires_at,
                        max_uses: *max_uses,
                        used_by: Vec::new(),
                        closed: false,
                    },
                );
                Ok(())
            }
            Body::InviteClosed { invite } => {
                no_cosigner(entry)?;
                if !matches!(self.standing(&entry.signer)?, Role::Owner | Role::Admin) {
                    return Err(RuleError::NotAllowed);
                }
                let invite = self
                    .invites
                    .get_mut(invite)
                    .ok_or(RuleError::UnknownInvite)?;
                if invite.closed {
                    return Err(RuleError::InviteClosed);
                }
                invite.closed = true;
                Ok(())
            }
            Body::MemberJoined { key, name, invite } => {
                if entry.cosigner != Some(*key) {
                    return Err(RuleError::Cosigner);
                }
                self.check_new_key(key)?;
                let invite = self
                    .invites
                    .get_mut(invite)
                    .ok_or(RuleError::UnknownInvite)?;
                if invite.key != entry.signer {
                    return Err(RuleError::NotAllowed);
                }
                invite.check_open(entry.at)?;
                invite.used_by.push(*key);
                let member = Member {
                    key: *key,
                    name: name.clone(),
                    role: invite.role,
                    since: entry.at,
                    invite: Some(invite.id),
                    removed_at: None,
                };
                self.members.insert(*key, member);
                Ok(())
            }
            Body::MemberRemoved { key, close_all } => {
                no_cosigner(entry)?;
                let signer = self.standing(&entry.signer)?;
                let gone = self.standing(key).map_err(|_| RuleError::UnknownMember)?;
                if gone == Role::Owner {
                    return Err(RuleError::OwnerStays);
                }
                let allowed = entry.signer == *key
                    || match signer {
                        Role::Owner => true,
                        Role::Admin => matches!(gone, Role::Member | Role::Pending),
                        Role::Member | Role::Pending => false,
                    };
                if !allowed {
                    return Err(RuleError::NotAllowed);
                }
                let mut closing = if *close_all {
                    self.issued.drain().flat_map(|(_, ids)| ids).collect()
                } else {
                    self.issued.remove(key).unwrap_or_default()
                };
                if let Some(member) = self.members.get_mut(key) {
                    member.removed_at = Some(entry.at);
                    closing.extend(member.invite);
                }
                for id in closing {
                    if let Some(invite) = self.invites.get_mut(&id) {
                        invite.closed = true;
                    }
                }
                Ok(())
            }
        }
    }

    /// The role of a key that is a member now.
    fn standing(&self, key: &PublicKey) -> Result<Role, RuleError> {
        self.member(key)
            .map(|member| member.role)
            .ok_or(RuleError::NotAllowed)
    }

    /// A key that is in the log as anything never joins, and invites nobody.
    fn check_new_key(&self, key: &PublicKey) -> Result<(), RuleError> {
        if self.members.contains_key(key) || self.reserved.contains(key) {
            return Err(RuleError::KeyKnown);
        }
        to_x25519_public(key)
            .map(|_| ())
            .map_err(|_| RuleError::BadKey)
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

fn no_cosigner(entry: &Entry) -> Result<(), RuleError> {
    if entry.cosigner.is_some() {
        Err(RuleError::Cosigner)
    } else {
        Ok(())
    }
}
