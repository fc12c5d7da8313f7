//! Who is in the mesh, and changing it.

use std::collections::HashSet;
use std::time::Duration;

use super::info::{ByMember, member_of};
use super::{MemberInfo, PATIENCE, Peer, PeerError, PeerInfo, random, unix_ms};
use crate::crypto::KeyPair;
use crate::id::{InviteId, MeshSlug, Name, PublicKey};
use crate::invite::{IssuedInvite, Offer};
use crate::membership::{Body, Invite, Role};
use crate::session::{Command, Reply, SessionError};

/// Channels whose logs are fetched before somebody is removed, at most.
const MAX_PREPARED: usize = 256;
/// For how long a device's link is good at most.
const DEVICE_LINK: Duration = Duration::from_secs(600);

/// What an invite offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InviteOptions {
    /// What those who come by it become: [`Role::Member`] by default.
    pub role: Role,
    /// How often it may be used, 1 to 1,000: once by default.
    pub uses: u64,
    /// For how long it is good, 90 days at most: 7 days by default.
    pub expires_in: Duration,
}

impl Default for InviteOptions {
    fn default() -> Self {
        Self {
            role: Role::Member,
            uses: 1,
            expires_in: Duration::from_secs(7 * 86_400),
        }
    }
}

/// An invite that was just made.
pub struct NewInvite {
    /// Its id, by which it is closed.
    pub id: InviteId,
    /// Unix ms.
    pub expires_at: u64,
    /// Its token and secret.
    pub issued: IssuedInvite,
}

impl Peer {
    /// All members, with what the broker says about their presence, and those whom only the broker
    /// names. What a session understands is taken from its member's own statement. Waits up to 5 s
    /// for the connection.
    ///
    /// # Errors
    /// [`PeerError`]; [`Peer::members`] needs no connection.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, PeerError> {
        self.connected_within(PATIENCE).await?;
        let Reply::Peers(here) = self.command(Command::ListPeers).await? else {
            return Err(PeerError::Closed);
        };
        let by_member = ByMember::of(&here);
        let mut all: Vec<PeerInfo> = (self.members().iter())
            .map(|member| {
                let (name, role) = (member.shown.clone(), Some(member.role));
                PeerInfo::of(&by_member, member.key, name, role, member.verified)
            })
            .collect();
        let mut known: HashSet<PublicKey> = all.iter().map(|peer| peer.key).collect();
        for session in &here.sessions {
            let Some(key) = member_of(&session.record) else {
                continue;
            };
            if !known.insert(key) {
                continue;
            }
            let name = &session.record.display_name;
            let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
            all.push(PeerInfo::of(&by_member, key, name, None, false));
        }
        // Those without a session have no name here but the beginning of their key.
        for told in here.members.iter().flatten() {
            let Ok(key) = PublicKey::from_hex(&told.member_pubkey) else {
                continue;
            };
            if known.insert(key) {
                all.push(PeerInfo::of(&by_member, key, key.short(), None, false));
            }
        }
        for session in self.sessions_of(Some(&here)).await? {
            let member = all.iter_mut().find(|peer| peer.key == session.member);
            if let Some(member) = member.filter(|_| session.online) {
                member.named.push(session);
            }
        }
        Ok(all)
    }

    /// The members, as the membership log has them.
    pub fn members(&self) -> Vec<MemberInfo> {
        let mut all = self.members_and_former();
        all.retain(|member| !member.removed);
        all
    }

    /// As [`Peer::members`], with those who were removed.
    pub fn members_and_former(&self) -> Vec<MemberInfo> {
        let Some(log) = self.inner.shared.log() else {
            return Vec::new();
        };
        let roster = log.roster();
        let all = roster.members_and_former();
        all.map(|member| MemberInfo::of(roster, member)).collect()
    }

    /// The devices of this person, this one included if it is one; not the member itself.
    pub fn devices(&self) -> Vec<MemberInfo> {
        let Some(log) = self.inner.shared.log() else {
            return Vec::new();
        };
        let roster = log.roster();
        let person = roster.person(&self.key());
        let devices = roster.devices(&person);
        devices
            .map(|member| MemberInfo::of(roster, member))
            .collect()
    }

    /// Makes an invite. Needs the broker, and the role of owner or admin.
    ///
    /// Dropping the future may leave an invite behind that nobody has the link of.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn invite(&self, options: InviteOptions) -> Result<NewInvite, PeerError> {
        let (seed, filler) = (random::<32>()?, random::<32>()?);
        let now = unix_ms();
        let lasts = u64::try_from(options.expires_in.as_millis()).unwrap_or(u64::MAX);
        // The token counts in seconds: both are to end at the same moment.
        let expires_at = now.saturating_add(lasts) / 1_000 * 1_000;
        self.connected_within(PATIENCE).await?;
        if self.log().is_none() {
            self.sync().await?;
        }
        let log = self.log().ok_or(SessionError::NoLog(
            "links that others can check are made from one; invite with a client of the system \
                 that made this mesh",
        ))?;
        let slug: MeshSlug = log.roster().slug().clone();
        let offer = Offer {
            mesh: self.inner.mesh.mesh_id.clone(),
            slug,
            broker: self.inner.broker.clone(),
            expires_at,
            role: options.role,
        };
        let issued = |id| IssuedInvite::new(&offer, &self.inner.key, id, seed, &filler);
        // The token does not depend on the entry; only the fragment does.
        let token = issued(crate::id::Hash::ZERO).token;
        let body = Body::InviteIssued {
            key: KeyPair::from_seed(&seed).public(),
            role: options.role,
            expires_at,
            max_uses: options.uses,
        };
        let command = Command::Append {
            body,
            invite_token: Some(token),
        };
        match self.command(command).await? {
            Reply::Appended { hash, .. } => Ok(NewInvite {
                id: hash,
                expires_at,
                issued: issued(hash),
            }),
            _ => Err(PeerError::Closed),
        }
    }

    /// Makes a link by which a further device of this person joins, once, within 10 minutes at
    /// most. It is joined as any other link; the name given there is the device's. Needs the
    /// broker; a device links no devices.
    ///
    /// Dropping the future: as [`Peer::invite`].
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn link_device(&self, expires_in: Duration) -> Result<NewInvite, PeerError> {
        self.invite(InviteOptions {
            role: Role::Device,
            uses: 1,
            expires_in: expires_in.min(DEVICE_LINK),
        })
        .await
    }

    /// Lets in a pending member, or a key that came without a log entry, as [`Role::Member`] or
    /// [`Role::Admin`]. Compare safety numbers first. Needs the broker, and the role of owner; an
    /// admin lets in members.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn admit(&self, key: PublicKey, name: Name, role: Role) -> Result<(), PeerError> {
        self.append(Body::MemberAdmitted { key, name, role }).await
    }

    /// Makes a member an admin, or an admin a member, which closes the invites it issued. Needs
    /// the broker, and the role of owner.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn set_role(&self, key: PublicKey, role: Role) -> Result<(), PeerError> {
        self.append(Body::RoleChanged { key, role }).await
    }

    /// The invites of this mesh, as the log has them.
    pub fn invites(&self) -> Vec<Invite> {
        self.log()
            .map(|log| log.roster().invites().cloned().collect())
            .unwrap_or_default()
    }

    /// Takes an invite back. Needs the broker, and the role of owner or admin.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn close_invite(&self, invite: InviteId) -> Result<(), PeerError> {
        self.append(Body::InviteClosed { invite }).await
    }

    /// Removes a member and its devices, or one device: final for their keys. `close_all` closes
    /// every open invite too, which takes an owner or admin. Needs the broker, and the right to do
    /// it; everyone may remove its own devices, and itself.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn remove(&self, member: PublicKey, close_all: bool) -> Result<(), PeerError> {
        // What the one who is removed did in channels is to be held before: whoever removes it vouches
        // for that by what it signs there afterwards.
        let channels = self.channels().into_iter().map(|channel| channel.name);
        for name in channels.take(MAX_PREPARED) {
            let _ = self.command(Command::SyncChannel(name)).await;
        }
        self.append(Body::MemberRemoved {
            key: member,
            close_all,
        })
        .await
    }

    pub(super) async fn append(&self, body: Body) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::Append {
            body,
            invite_token: None,
        })
        .await
        .map(|_| ())
    }
}
