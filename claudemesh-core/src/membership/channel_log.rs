//! The log of one channel: who is in it.
//!
//! Implements docs/protocol.md, section "Channels". Its entries stand on the mesh's log. Each
//! names the place there at which its signer's standing counts, and these places never run back:
//! as soon as one entry stands on a place behind a removal, nothing that the removed one signs can
//! follow any more. Until then the one who takes an entry refuses what its signer may not do
//! *now*; see [`ChannelLog::merge`] for how history that such a signer made in good time is told
//! apart.

use std::collections::BTreeMap;

use super::chain::Chain;
use super::channel_entry::{ChannelBody, ChannelDraft, ChannelEntry};
use super::entry::{EntryError, Role, SignedEntry};
use super::log::{Head, Log, Merge};
use super::roster::Roster;
use crate::id::{ChannelName, Hash, MeshId, PublicKey};

/// Why an entry is not taken into a channel's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelLogError {
    /// The mesh's log has no such channel, or is another mesh's.
    #[error("the log of this mesh knows no such channel")]
    UnknownChannel,
    /// The entry itself is not sound.
    #[error("entry {seq}: {source}")]
    Entry {
        /// Its place.
        seq: u64,
        /// Why.
        source: EntryError,
    },
    /// It does not follow the head: another seq, hash, mesh, channel or an earlier time.
    #[error("entry {seq} does not follow the head of the channel's log")]
    NotNext {
        /// The place where it would have to stand.
        seq: u64,
    },
    /// It stands on an earlier place of the mesh's log than the entry before.
    #[error("the entry counts its signer's standing at an earlier place than the one before it")]
    StandingBack,
    /// It stands on a place of the mesh's log that is not held: fetch that log first.
    #[error("the entry needs the mesh's log up to entry {standing}")]
    Ahead {
        /// The place it stands on.
        standing: u64,
    },
    /// The signer had no right to say this.
    #[error("the signer has no right to do this (member, lead, owner or admin needed)")]
    NotAllowed,
    /// The signer had the right and has lost it, and nobody who has it built on the entry.
    #[error("the signer was removed, or may not do this any more")]
    NoLongerAllowed,
    /// Nobody joins this channel by itself.
    #[error("this channel is not public; a lead adds members")]
    NotPublic,
    /// Whom it is about is no verified member: unknown, pending, removed, or a device.
    #[error("only verified members are in channels, devices come with them")]
    NotAMember,
    /// It changes nothing.
    #[error("this member is in the channel already")]
    AlreadyIn,
    /// Whom it takes out is not in.
    #[error("this member is not in the channel")]
    NotIn,
}

type Taken<T> = Result<T, ChannelLogError>;

/// Since which entry somebody was in (and leads) or was not.
type Listing = (u64, Option<bool>);

/// The verified log of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelLog {
    mesh: MeshId,
    channel: ChannelName,
    public: bool,
    /// The hash of the entry that created the channel, then those of its own entries.
    chain: Chain,
    /// On which place of the mesh's log each of them stands.
    standings: Vec<u64>,
    at: u64,
    listed: BTreeMap<PublicKey, Vec<Listing>>,
}

impl ChannelLog {
    /// Begins the log of a channel that the mesh's log knows.
    ///
    /// # Errors
    /// [`ChannelLogError::UnknownChannel`].
    pub fn begin(mesh: &Log, channel: &ChannelName) -> Taken<Self> {
        let created = mesh.roster().channel(channel);
        let created = created.ok_or(ChannelLogError::UnknownChannel)?;
        Ok(Self {
            mesh: mesh.mesh().clone(),
            channel: channel.clone(),
            public: created.public,
            chain: Chain::begin(created.created),
            standings: vec![created.seq],
            at: created.at,
            listed: BTreeMap::from([(created.lead, vec![(0, Some(true))])]),
        })
    }

    /// Puts together what a store kept of a log that was taken before. Who has lost the right to
    /// say something since had it when that was taken, so it is not asked again.
    ///
    /// # Errors
    /// [`ChannelLogError`] of the first entry that does not follow; the store was changed by
    /// somebody else, or belongs to another mesh.
    pub fn restore(mesh: &Log, channel: &ChannelName, entries: &[SignedEntry]) -> Taken<Self> {
        let mut log = Self::begin(mesh, channel)?;
        for signed in entries {
            log.append_kept(signed, mesh)?;
        }
        Ok(log)
    }

    /// Takes an entry that was taken before, here or elsewhere: as [`ChannelLog::append`], but
    /// whether its signer still has the right is not asked. On an error nothing has changed.
    ///
    /// # Errors
    /// As [`ChannelLog::append`].
    pub fn append_kept(&mut self, signed: &SignedEntry, mesh: &Log) -> Taken<ChannelEntry> {
        let entry = self.check(signed, mesh)?;
        self.apply(&entry, signed.hash());
        Ok(entry)
    }

    /// Checks `signed` against head and rules, and takes it. Its signer must have the right at
    /// the place the entry names, and by all that the mesh's log says now. On an error nothing
    /// has changed.
    ///
    /// # Errors
    /// [`ChannelLogError`]; after [`ChannelLogError::Ahead`] fetch the mesh's log and try again.
    pub fn append(&mut self, signed: &SignedEntry, mesh: &Log) -> Taken<ChannelEntry> {
        let entry = self.check(signed, mesh)?;
        self.check_now(&entry, mesh.roster())?;
        self.apply(&entry, signed.hash());
        Ok(entry)
    }

    /// Takes entries that begin at `from` (not below 1): those held already must be the same, the
    /// rest must extend the log. Entries before a fork or an error are kept.
    ///
    /// Somebody who was in the channel when the entry was made, or an owner or admin, and still
    /// is, and signed a later one of `entries`, vouches for what stands before: so who comes late
    /// can read what a lead did before it was removed, while what such a lead adds to the end
    /// afterwards is refused. Entries are best given all at once.
    ///
    /// # Errors
    /// [`ChannelLogError`] of the first entry that does not follow.
    pub fn merge(&mut self, from: u64, entries: &[SignedEntry], mesh: &Log) -> Taken<Merge> {
        let next = self.chain.next_seq();
        if from == 0 || from > next {
            return Err(ChannelLogError::NotNext { seq: next });
        }
        let (mut added, mut vouched) = (0, 0);
        for (place, signed) in entries.iter().enumerate() {
            let seq = from.saturating_add(place as u64);
            match self.hash_at(seq) {
                Some(held) if held == signed.hash() => continue,
                Some(_) => return Ok(Merge::Fork { seq }),
                None => {}
            }
            let entry = self.check(signed, mesh)?;
            if place >= vouched
                && let Err(error) = self.check_now(&entry, mesh.roster())
            {
                let later = &entries[place + 1..];
                let ahead = self.vouched(signed.hash(), later, mesh.roster());
                vouched = place + ahead.ok_or(error)? + 1;
            }
            self.apply(&entry, signed.hash());
            added += 1;
        }
        Ok(Merge::Extended(added))
    }

    /// How many of `later`, which must hang on `prev`, stand before the first one whose signer
    /// vouches for them all.
    fn vouched(&self, mut prev: Hash, later: &[SignedEntry], roster: &Roster) -> Option<usize> {
        for (place, signed) in later.iter().enumerate() {
            let entry = signed.decode_channel().ok()?;
            if entry.prev != prev {
                return None;
            }
            prev = signed.hash();
            let person = roster.person(&entry.signer);
            let trusted = match roster.standing(&entry.signer) {
                Ok(Role::Owner | Role::Admin) => true,
                Ok(Role::Pending) | Err(_) => false,
                // Its right must not come from the entries it vouches for.
                Ok(_) => self.lead(&person).is_some(),
            };
            if trusted && signed.open_channel().is_ok() {
                return Some(place);
            }
        }
        None
    }

    /// Whether `signed` may follow by the logs' bytes alone.
    fn check(&self, signed: &SignedEntry, mesh: &Log) -> Taken<ChannelEntry> {
        if *mesh.mesh() != self.mesh {
            return Err(ChannelLogError::UnknownChannel);
        }
        let seq = self.chain.next_seq();
        let entry = signed
            .open_channel()
            .map_err(|source| ChannelLogError::Entry { seq, source })?;
        let follows = entry.mesh == self.mesh
            && entry.channel == self.channel
            && entry.seq == seq
            && entry.prev == self.head().hash
            && entry.at >= self.at;
        if !follows {
            return Err(ChannelLogError::NotNext { seq });
        }
        if entry.standing < self.standing() {
            return Err(ChannelLogError::StandingBack);
        }
        if entry.standing > mesh.head().seq {
            let standing = entry.standing;
            return Err(ChannelLogError::Ahead { standing });
        }
        self.check_right(&entry, mesh.roster(), entry.standing)?;
        self.check_subject(&entry, mesh.roster())?;
        Ok(entry)
    }

    fn check_now(&self, entry: &ChannelEntry, roster: &Roster) -> Taken<()> {
        // What somebody who is out says of itself changes nobody's audience.
        let person = roster.person(&entry.signer);
        if person == entry.body.key() && roster.standing_at(&person, u64::MAX).is_none() {
            return Ok(());
        }
        self.check_right(entry, roster, u64::MAX)
            .map_err(|_| ChannelLogError::NoLongerAllowed)
    }

    /// Whether the signer may say this by the mesh's log up to `seq`. A device acts for its
    /// member, but never as the mesh's owner.
    fn check_right(&self, entry: &ChannelEntry, roster: &Roster, seq: u64) -> Taken<()> {
        let role = match roster.standing_at(&entry.signer, seq) {
            None | Some(Role::Pending) => return Err(ChannelLogError::NotAllowed),
            Some(role) => role,
        };
        let person = roster.person(&entry.signer);
        let key = entry.body.key();
        let lead = self.lead(&person) == Some(true);
        let allowed = match entry.body {
            ChannelBody::Joined { .. } => person == key,
            ChannelBody::Added { .. } => lead || role == Role::Owner,
            ChannelBody::Left { .. } => {
                // Who is out of the mesh may be struck off by any member of the channel.
                let gone = roster.standing_at(&key, seq).is_none();
                person == key
                    || lead
                    || matches!(role, Role::Owner | Role::Admin)
                    || (gone && self.lead(&person).is_some())
            }
        };
        if allowed {
            Ok(())
        } else {
            Err(ChannelLogError::NotAllowed)
        }
    }

    /// Whether the entry changes something, about somebody who can be in a channel.
    fn check_subject(&self, entry: &ChannelEntry, roster: &Roster) -> Taken<()> {
        let key = entry.body.key();
        let listed = self.lead(&key);
        let wanted = match entry.body {
            ChannelBody::Left { .. } if listed.is_some() => return Ok(()),
            ChannelBody::Left { .. } => return Err(ChannelLogError::NotIn),
            ChannelBody::Joined { .. } if !self.public => return Err(ChannelLogError::NotPublic),
            ChannelBody::Joined { .. } if listed.is_some() => {
                return Err(ChannelLogError::AlreadyIn);
            }
            ChannelBody::Joined { .. } => Some(false),
            ChannelBody::Added { lead, .. } => Some(lead),
        };
        let member = roster.member_or_former(&key);
        let proper = member.is_some_and(|member| {
            member.device_of.is_none() && member.was_verified(entry.standing)
        });
        if !proper {
            return Err(ChannelLogError::NotAMember);
        }
        if listed == wanted {
            return Err(ChannelLogError::AlreadyIn);
        }
        Ok(())
    }

    fn apply(&mut self, entry: &ChannelEntry, hash: Hash) {
        let now = match entry.body {
            ChannelBody::Joined { .. } => Some(false),
            ChannelBody::Added { lead, .. } => Some(lead),
            ChannelBody::Left { .. } => None,
        };
        let listings = self.listed.entry(entry.body.key()).or_default();
        listings.push((entry.seq, now));
        self.chain.push(hash);
        self.standings.push(entry.standing);
        self.at = entry.at;
    }

    /// An entry that would follow the head, for its author to sign. `now` is unix ms.
    pub fn draft(&self, now: u64, mesh: &Log, body: ChannelBody) -> ChannelDraft<'_> {
        ChannelDraft {
            mesh: &self.mesh,
            channel: &self.channel,
            seq: self.chain.next_seq(),
            prev: self.head().hash,
            at: now.max(self.at),
            standing: mesh.head().seq,
            body,
        }
    }

    /// The mesh's id.
    pub fn mesh(&self) -> &MeshId {
        &self.mesh
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The newest entry; at seq 0 the one that created the channel.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// The hash of the entry at `seq`, if it is held.
    pub fn hash_at(&self, seq: u64) -> Option<Hash> {
        self.chain.hash_at(seq)
    }

    /// The place of the mesh's log on which the entry at `seq` stands.
    pub fn standing_at(&self, seq: u64) -> Option<u64> {
        usize::try_from(seq)
            .ok()
            .and_then(|seq| self.standings.get(seq))
            .copied()
    }

    fn standing(&self) -> u64 {
        self.standings.last().copied().unwrap_or_default()
    }

    /// Whether the member is in the channel (and leads it); none if it is not in.
    pub fn lead(&self, key: &PublicKey) -> Option<bool> {
        self.lead_at(key, u64::MAX)
    }

    /// Whether this peer, or the member whose device it is, was in the channel up to `seq`.
    pub fn was_in(&self, roster: &Roster, key: &PublicKey, seq: u64) -> bool {
        self.lead_at(&roster.person(key), seq).is_some()
    }

    fn lead_at(&self, key: &PublicKey, seq: u64) -> Option<bool> {
        let listings = self.listed.get(key)?;
        let held = listings.iter().rev().find(|(since, _)| *since <= seq);
        held.and_then(|(_, lead)| *lead)
    }

    /// Whether anybody may join by itself.
    pub const fn is_public(&self) -> bool {
        self.public
    }

    /// Who is in by this log, and whether it leads, in ascending order. Who was removed from the
    /// mesh since is still named here, and is in no [`ChannelLog::audience`].
    pub fn members(&self) -> impl Iterator<Item = (PublicKey, bool)> {
        let keys = self.listed.keys();
        keys.filter_map(|key| self.lead(key).map(|lead| (*key, lead)))
    }

    /// Who may read the channel now, in ascending order: the verified members it lists, and
    /// their devices.
    pub fn audience(&self, roster: &Roster) -> Vec<PublicKey> {
        self.audience_at(u64::MAX, roster, u64::MAX)
    }

    /// The audience by the channel's log up to `seq` and the mesh's log up to `mesh_seq`.
    pub fn audience_at(&self, seq: u64, roster: &Roster, mesh_seq: u64) -> Vec<PublicKey> {
        roster
            .members_and_former()
            .filter(|member| member.was_verified(mesh_seq))
            .filter(|member| {
                let person = member.device_of.unwrap_or(member.key);
                self.lead_at(&person, seq).is_some()
            })
            .map(|member| member.key)
            .collect()
    }
}
