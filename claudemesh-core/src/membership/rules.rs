//! Which entry may follow which: the rules of every kind.

use super::body::Body;
use super::entry::{Entry, Role};
use super::roster::{Channel, Invite, Member, Roster, RuleError};
use crate::crypto::to_x25519_public;
use crate::id::{ChannelName, Hash, InviteId, Name, PublicKey};

/// Milliseconds for which an invite may be open at most: 90 days.
const MAX_INVITE_MS: u64 = 90 * 86_400_000;
/// Milliseconds for which a device's link may be open at most: 10 minutes.
const MAX_DEVICE_MS: u64 = 600_000;
/// Uses of one invite at most.
const MAX_INVITE_USES: u64 = 1_000;

type Ruled = Result<(), RuleError>;

impl Roster {
    /// Checks that `entry` may follow, and takes it. `id` is its hash. On an error nothing has
    /// changed.
    pub(super) fn apply(&mut self, id: Hash, entry: &Entry) -> Ruled {
        match &entry.body {
            Body::MeshCreated { .. } => Err(RuleError::Birth),
            Body::InviteIssued {
                key,
                role,
                expires_at,
                max_uses,
            } => self.issue(id, entry, key, *role, *expires_at, *max_uses),
            Body::InviteClosed { invite } => self.close(entry, invite),
            Body::MemberJoined { key, name, invite } => {
                let invite = self.redeem(entry, key, invite, false)?;
                let (role, from) = (invite.role, invite.id);
                self.enter(entry, *key, name.clone(), role, Some(from), None);
                Ok(())
            }
            Body::DeviceLinked { key, name, invite } => {
                let invite = self.redeem(entry, key, invite, true)?;
                let (from, member) = (invite.id, invite.issuer);
                self.enter(
                    entry,
                    *key,
                    name.clone(),
                    Role::Device,
                    Some(from),
                    Some(member),
                );
                Ok(())
            }
            Body::MemberAdmitted { key, name, role } => self.admit(entry, key, name, *role),
            Body::RoleChanged { key, role } => self.change_role(entry, key, *role),
            Body::OwnerChanged {
                key,
                recovery,
                name,
            } => self.change_owner(entry, key, recovery.as_ref(), name.as_ref()),
            Body::ChannelCreated { channel, public } => {
                self.create_channel(id, entry, channel, *public)
            }
            Body::MemberRemoved { key, close_all } => self.remove(entry, key, *close_all),
        }
    }

    fn issue(
        &mut self,
        id: Hash,
        entry: &Entry,
        key: &PublicKey,
        role: Role,
        expires_at: u64,
        max_uses: u64,
    ) -> Ruled {
        no_cosigner(entry)?;
        let signer = self.standing(&entry.signer)?;
        let is_device = self.device_of(&entry.signer).is_some();
        let allowed = match role {
            // A device belongs to a person, who links it itself.
            Role::Device => signer != Role::Pending && !is_device,
            Role::Admin => signer == Role::Owner,
            _ => matches!(signer, Role::Owner | Role::Admin),
        };
        if !allowed {
            return Err(RuleError::NotAllowed);
        }
        let lasts = expires_at
            .checked_sub(entry.at)
            .ok_or(RuleError::InviteTerms)?;
        let (longest, most) = match role {
            Role::Device => (MAX_DEVICE_MS, 1),
            _ => (MAX_INVITE_MS, MAX_INVITE_USES),
        };
        if role == Role::Owner || lasts > longest || !(1..=most).contains(&max_uses) {
            return Err(RuleError::InviteTerms);
        }
        self.check_new_key(key)?;
        self.reserved.insert(*key);
        self.issued.entry(entry.signer).or_default().push(id);
        let invite = Invite {
            id,
            key: *key,
            issuer: entry.signer,
            role,
            expires_at,
            max_uses,
            used_by: Vec::new(),
            closed: false,
        };
        self.invites.insert(id, invite);
        Ok(())
    }

    fn close(&mut self, entry: &Entry, invite: &InviteId) -> Ruled {
        no_cosigner(entry)?;
        let signer = self.standing(&entry.signer)?;
        let invite = self
            .invites
            .get_mut(invite)
            .ok_or(RuleError::UnknownInvite)?;
        // Who linked a device may take its link back.
        let own = invite.role == Role::Device && invite.issuer == entry.signer;
        if !own && !matches!(signer, Role::Owner | Role::Admin) {
            return Err(RuleError::NotAllowed);
        }
        if invite.closed {
            return Err(RuleError::InviteClosed);
        }
        invite.closed = true;
        Ok(())
    }

    /// Uses an invite for `key`; on an error nothing has changed.
    fn redeem(
        &mut self,
        entry: &Entry,
        key: &PublicKey,
        invite: &InviteId,
        device: bool,
    ) -> Result<&Invite, RuleError> {
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
        if device != (invite.role == Role::Device) {
            return Err(RuleError::OtherRole);
        }
        invite.check_open(entry.at)?;
        invite.used_by.push(*key);
        Ok(invite)
    }

    fn admit(&mut self, entry: &Entry, key: &PublicKey, name: &Name, role: Role) -> Ruled {
        no_cosigner(entry)?;
        let allowed = match self.standing(&entry.signer)? {
            Role::Owner => matches!(role, Role::Admin | Role::Member),
            Role::Admin => role == Role::Member,
            _ => false,
        };
        if !allowed {
            return Err(RuleError::NotAllowed);
        }
        match self.members.get_mut(key) {
            Some(member) if member.removed_at.is_none() && member.role == Role::Pending => {
                member.name = name.clone();
                member.take_role(entry.seq, role);
                Ok(())
            }
            _ => {
                self.check_new_key(key)?;
                self.enter(entry, *key, name.clone(), role, None, None);
                Ok(())
            }
        }
    }

    fn change_role(&mut self, entry: &Entry, key: &PublicKey, role: Role) -> Ruled {
        no_cosigner(entry)?;
        if self.standing(&entry.signer)? != Role::Owner {
            return Err(RuleError::NotAllowed);
        }
        let held = self.member(key).ok_or(RuleError::UnknownMember)?.role;
        let proper = matches!(
            (held, role),
            (Role::Admin, Role::Member) | (Role::Member, Role::Admin)
        );
        if !proper {
            return Err(RuleError::OtherRole);
        }
        if let Some(member) = self.members.get_mut(key) {
            member.take_role(entry.seq, role);
        }
        if role == Role::Member {
            self.close_issued_by(key);
        }
        Ok(())
    }

    fn change_owner(
        &mut self,
        entry: &Entry,
        key: &PublicKey,
        recovery: Option<&PublicKey>,
        name: Option<&Name>,
    ) -> Ruled {
        if entry.cosigner != Some(*key) {
            return Err(RuleError::Cosigner);
        }
        let by_owner = entry.signer == self.owner;
        let by_recovery = self.recovery == Some(entry.signer);
        if !by_owner && !by_recovery {
            return Err(RuleError::NotAllowed);
        }
        if *key == self.owner {
            return Err(RuleError::KeyKnown);
        }
        if let Some(new) = recovery {
            // The owner cannot replace the key that is to save the mesh from a stolen owner key.
            if by_owner && self.recovery.is_some() {
                return Err(RuleError::NotAllowed);
            }
            if new == key {
                return Err(RuleError::KeyKnown);
            }
            self.check_new_key(new)?;
        }
        match (self.member(key), name) {
            (Some(member), None) if member.is_verified() && member.device_of.is_none() => {}
            (Some(_), _) => return Err(RuleError::OtherRole),
            (None, Some(_)) => self.check_new_key(key)?,
            (None, None) => return Err(RuleError::UnknownMember),
        }
        let old = self.owner;
        if by_owner {
            if let Some(member) = self.members.get_mut(&old) {
                member.take_role(entry.seq, Role::Admin);
            }
            self.close_admin_links_of(&old);
        } else {
            self.expel(entry, &old, true);
        }
        match name {
            Some(name) => self.enter(entry, *key, name.clone(), Role::Owner, None, None),
            None => {
                if let Some(member) = self.members.get_mut(key) {
                    member.take_role(entry.seq, Role::Owner);
                }
            }
        }
        self.owner = *key;
        if let Some(new) = recovery {
            self.reserved.insert(*new);
            self.recovery = Some(*new);
        }
        Ok(())
    }

    fn create_channel(
        &mut self,
        id: Hash,
        entry: &Entry,
        name: &ChannelName,
        public: bool,
    ) -> Ruled {
        no_cosigner(entry)?;
        if self.standing(&entry.signer)? == Role::Pending {
            return Err(RuleError::NotAllowed);
        }
        if !name.has_log() || (name.is_group() && !public) {
            return Err(RuleError::ChannelTerms);
        }
        if self.channels.contains_key(name) {
            return Err(RuleError::ChannelKnown);
        }
        // A device may be lost or replaced; its member stays.
        let lead = self.person(&entry.signer);
        let created = Channel {
            name: name.clone(),
            public,
            lead,
            created: id,
            seq: entry.seq,
            at: entry.at,
        };
        self.channels.insert(name.clone(), created);
        Ok(())
    }

    fn remove(&mut self, entry: &Entry, key: &PublicKey, close_all: bool) -> Ruled {
        no_cosigner(entry)?;
        let signer = self.standing(&entry.signer)?;
        let gone = self.member(key).ok_or(RuleError::UnknownMember)?;
        if gone.role == Role::Owner {
            return Err(RuleError::OwnerStays);
        }
        let is_admin = matches!(signer, Role::Owner | Role::Admin);
        let owns = gone.device_of == Some(entry.signer);
        let allowed = entry.signer == *key
            || owns
            || match signer {
                Role::Owner => true,
                Role::Admin => {
                    matches!(self.standing(key), Ok(Role::Member | Role::Pending))
                }
                _ => false,
            };
        // Who just leaves, or unlinks a device, does not shut the door for everybody.
        if !allowed || (close_all && !is_admin) {
            return Err(RuleError::NotAllowed);
        }
        self.expel(entry, key, close_all);
        Ok(())
    }

    /// Takes a member out, and its devices with it.
    fn expel(&mut self, entry: &Entry, key: &PublicKey, close_all: bool) {
        let devices: Vec<PublicKey> = (self.devices.remove(key).unwrap_or_default().into_iter())
            .filter(|device| self.member(device).is_some())
            .collect();
        let mut closing: Vec<InviteId> = if close_all {
            self.issued.drain().flat_map(|(_, ids)| ids).collect()
        } else {
            Vec::new()
        };
        for key in devices.iter().chain([key]) {
            closing.extend(self.issued.remove(key).unwrap_or_default());
            if let Some(member) = self.members.get_mut(key) {
                member.removed_at = Some(entry.at);
                member.removed_seq = Some(entry.seq);
                closing.extend(member.invite);
            }
        }
        self.close_all(closing);
    }

    /// Closes what a member issued, itself or at its devices, who stand as it does.
    fn close_issued_by(&mut self, key: &PublicKey) {
        let mut keys: Vec<PublicKey> = self.devices(key).map(|device| device.key).collect();
        keys.push(*key);
        let issued = keys.iter().filter_map(|key| self.issued.remove(key));
        let closing = issued.flatten().collect();
        self.close_all(closing);
    }

    /// Closes the links by which a former owner could still make admins.
    fn close_admin_links_of(&mut self, key: &PublicKey) {
        let is_admins = |invite: &Invite| invite.role == Role::Admin;
        let issued = self.issued.get(key).into_iter().flatten().copied();
        let closing = issued.filter(|id| self.invites.get(id).is_some_and(is_admins));
        let closing = closing.collect();
        self.close_all(closing);
    }

    fn close_all(&mut self, closing: Vec<InviteId>) {
        for id in closing {
            if let Some(invite) = self.invites.get_mut(&id) {
                invite.closed = true;
            }
        }
    }

    fn enter(
        &mut self,
        entry: &Entry,
        key: PublicKey,
        name: Name,
        role: Role,
        invite: Option<InviteId>,
        device_of: Option<PublicKey>,
    ) {
        if let Some(member) = device_of {
            self.devices.entry(member).or_default().push(key);
        }
        let member = Member::new(key, name, role, entry.at, entry.seq, invite, device_of);
        self.members.insert(key, member);
    }

    /// A key that is in the log as anything never joins, and invites nobody.
    fn check_new_key(&self, key: &PublicKey) -> Ruled {
        if self.members.contains_key(key) || self.reserved.contains(key) {
            return Err(RuleError::KeyKnown);
        }
        to_x25519_public(key)
            .map(|_| ())
            .map_err(|_| RuleError::BadKey)
    }
}

pub(super) fn no_cosigner(entry: &Entry) -> Ruled {
    if entry.cosigner.is_some() {
        Err(RuleError::Cosigner)
    } else {
        Ok(())
    }
}
