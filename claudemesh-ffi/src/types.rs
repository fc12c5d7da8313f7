//! Plain data that goes to apps. Keys and ids are hex or text, times are the language's own.

mod channel;
mod event;
mod kept;

pub use channel::{ChannelMember, ChannelMembers, HistoryItem, HistoryPage, MeshChannel};
pub use event::{BrokerLie, MeshEvent};
pub use kept::{KeptValue, ScheduledMessage};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claudemesh_core::id::{PublicKey, Status, Target};
use claudemesh_core::membership::{Invite, Member, Roster};
use claudemesh_core::session::About;
use claudemesh_core::store::OutboxRow;
use claudemesh_core::{Connection, MeshEntry, NewInvite, Peer, PeerBuilder, PeerInfo, membership};

use crate::error::NativeError;
use crate::receipt::SendProgress;

/// Unix ms of the last second of the year 9999: some languages know no later time, and times come
/// from others.
const LAST_MS: u64 = 253_402_300_799_000;

/// Unix ms as a time.
pub(crate) fn time(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS))
}

/// A time that every language can hold.
pub(crate) fn clamp(at: SystemTime) -> SystemTime {
    at.clamp(UNIX_EPOCH, time(LAST_MS))
}

/// A key from 64 hex digits.
pub(crate) fn key(text: &str) -> Result<PublicKey, NativeError> {
    PublicKey::from_hex(text.trim()).map_err(|error| NativeError::argument("a member's key", error))
}

/// A mesh that was joined.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct MeshInfo {
    /// Its short name in this app; good for every call that names a mesh.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Its id.
    pub mesh_id: String,
    /// Who this app is there: its key, in hex.
    pub key: String,
    /// The name this app shows there.
    pub display_name: Option<String>,
    /// Where its broker is.
    pub broker: String,
    /// Whether it was joined with a membership log; without one nobody is verified.
    pub has_log: bool,
}

impl MeshInfo {
    pub(crate) fn of(entry: &MeshEntry) -> Self {
        Self {
            slug: entry.slug.clone(),
            name: entry.name.clone(),
            mesh_id: entry.mesh_id.as_str().to_owned(),
            key: entry.pubkey().to_hex(),
            display_name: entry.display_name.clone(),
            broker: entry.broker_url.clone(),
            has_log: entry.log == Some(true),
        }
    }
}

/// What a peer says about its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Attention {
    /// Ready for anything.
    Idle,
    /// Busy: only what is urgent is pushed.
    Working,
    /// Do not disturb: only what is urgent is pushed.
    Dnd,
}

impl From<Attention> for Status {
    fn from(attention: Attention) -> Self {
        match attention {
            Attention::Idle => Self::Idle,
            Attention::Working => Self::Working,
            Attention::Dnd => Self::Dnd,
        }
    }
}

impl From<Status> for Attention {
    fn from(status: Status) -> Self {
        match status {
            Status::Idle => Self::Idle,
            Status::Working => Self::Working,
            Status::Dnd => Self::Dnd,
        }
    }
}

/// How to open a mesh.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ConnectOptions {
    /// The folder for messages. By default it is beside the configuration; one in memory has none,
    /// and then messages live in memory unless a folder is named here.
    #[uniffi(default)]
    pub data_dir: Option<String>,
    /// Keeps messages in memory only, whatever there is.
    #[uniffi(default = false)]
    pub in_memory: bool,
    /// A name under which the reading position is kept, 1–64 bytes.
    #[uniffi(default)]
    pub session: Option<String>,
    /// The status at the start; ready if none.
    #[uniffi(default)]
    pub status: Option<Attention>,
    /// Whether messages are received.
    #[uniffi(default = true)]
    pub receive: bool,
    /// Whether the mesh sees this peer as online.
    #[uniffi(default = true)]
    pub presence: bool,
}

/// A peer with these options.
pub(crate) fn builder(mesh: &MeshEntry, options: ConnectOptions) -> PeerBuilder {
    let about = About {
        peer_type: Some("human".to_owned()),
        ..About::default()
    };
    let mut builder = Peer::builder(mesh)
        .receive(options.receive)
        .presence(options.presence)
        .about(about);
    if let Some(status) = options.status {
        builder = builder.status(status.into());
    }
    if let Some(session) = options.session {
        builder = builder.session(session);
    }
    match options.data_dir {
        _ if options.in_memory => builder.in_memory(),
        Some(dir) => builder.data_dir(dir),
        None => builder,
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum ConnectionKind {
    /// Not yet tried.
    Starting,
    /// It stands.
    Connected,
    /// Lost or not made; it is tried again.
    Waiting,
    /// This member is out of the mesh; no further try.
    Removed,
    /// The broker's operator ended it; no further try.
    Kicked,
    /// The peer was shut down.
    Closed,
}

/// Where a connection stands, and why.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ConnectionState {
    /// Where.
    pub kind: ConnectionKind,
    /// In words.
    pub text: String,
}

impl ConnectionState {
    pub(crate) fn of(connection: &Connection) -> Self {
        let kind = match connection {
            Connection::Starting => ConnectionKind::Starting,
            Connection::Connected => ConnectionKind::Connected,
            Connection::Removed(_) => ConnectionKind::Removed,
            Connection::Kicked => ConnectionKind::Kicked,
            Connection::Closed => ConnectionKind::Closed,
            _ => ConnectionKind::Waiting,
        };
        Self {
            kind,
            text: connection.to_string(),
        }
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Role {
    /// Anything.
    Owner,
    /// Invites and removes members.
    Admin,
    /// Talks.
    Member,
    /// Joined by a link in the open and waits to be admitted.
    Pending,
    /// Belongs to a member.
    Device,
}

impl From<membership::Role> for Role {
    fn from(role: membership::Role) -> Self {
        match role {
            membership::Role::Owner => Self::Owner,
            membership::Role::Admin => Self::Admin,
            membership::Role::Member => Self::Member,
            membership::Role::Pending => Self::Pending,
            membership::Role::Device => Self::Device,
        }
    }
}

impl From<Role> for membership::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Pending => Self::Pending,
            Role::Device => Self::Device,
        }
    }
}

/// A member, as the membership log has it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct MemberInfo {
    /// Its key, in hex.
    pub key: String,
    /// Its name; not unique.
    pub name: String,
    /// How it is shown: its name, a device as `member/device`.
    pub shown: String,
    /// Whose device it is.
    pub device_of: Option<String>,
    /// What it may do.
    pub role: Role,
    /// When it joined.
    pub since: SystemTime,
    /// Whether the log vouches for it fully.
    pub verified: bool,
    /// Whether it was removed.
    pub removed: bool,
}

impl MemberInfo {
    pub(crate) fn of(member: &claudemesh_core::MemberInfo) -> Self {
        Self {
            key: member.key.to_hex(),
            name: member.name.as_str().to_owned(),
            shown: member.shown.clone(),
            device_of: member.device_of.map(|key| key.to_hex()),
            role: member.role.into(),
            since: time(member.since),
            verified: member.verified,
            removed: member.removed,
        }
    }

    pub(crate) fn of_roster(roster: &Roster, member: &Member) -> Self {
        Self {
            key: member.key.to_hex(),
            name: member.name.as_str().to_owned(),
            shown: roster.display_name(member),
            device_of: member.device_of.map(|key| key.to_hex()),
            role: member.role.into(),
            since: time(member.since),
            verified: member.is_verified(),
            removed: member.removed_at.is_some(),
        }
    }
}

/// A member, with what the broker says about its presence.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PeerPresence {
    /// Its key, in hex.
    pub key: String,
    /// Its name.
    pub name: String,
    /// What it may do; none for those without a log entry.
    pub role: Option<Role>,
    /// Whether the log vouches for it.
    pub verified: bool,
    /// Whether it is connected, as the broker says.
    pub online: bool,
    /// When it was last, as the broker says.
    pub last_seen: Option<SystemTime>,
    /// Its status, as the broker says; none if it is offline.
    pub status: Option<Attention>,
    /// What it says it does.
    pub summary: Option<String>,
    /// Whether the summary was sealed: if not, it is what the broker says.
    pub summary_protected: bool,
}

impl PeerPresence {
    pub(crate) fn of(peer: PeerInfo) -> Self {
        Self {
            key: peer.key.to_hex(),
            name: peer.name,
            role: peer.role.map(Role::from),
            verified: peer.verified,
            online: peer.online,
            last_seen: peer.last_seen.map(time),
            status: peer.status.map(Attention::from),
            summary: peer.summary,
            summary_protected: peer.summary_protected,
        }
    }
}

/// What an invite offers.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct InviteTerms {
    /// What those who come by it become; a member if none.
    #[uniffi(default)]
    pub role: Option<Role>,
    /// How often it may be used, 1 to 1,000.
    #[uniffi(default = 1)]
    pub uses: u32,
    /// For how long it is good, 90 days at most; 7 days if none.
    #[uniffi(default)]
    pub expires_in: Option<Duration>,
}

/// A link that was just made.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct InviteLink {
    /// The invite's id, by which it is closed.
    pub id: String,
    /// The link: a secret until it is used up, closed or expired.
    pub link: String,
    /// Until when it is good.
    pub expires_at: SystemTime,
}

impl InviteLink {
    pub(crate) fn of(invite: &NewInvite) -> Self {
        Self {
            id: invite.id.to_hex(),
            link: invite.issued.link(),
            expires_at: time(invite.expires_at),
        }
    }
}

/// An invite of the mesh, as its log has it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct InviteInfo {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub issuer: String,
    /// What those who come by it become.
    pub role: Role,
    /// Until when it is good.
    pub expires_at: SystemTime,
    /// How often it may be used.
    pub max_uses: u64,
    /// By whom it was used.
    pub used_by: Vec<String>,
    /// Whether it was taken back.
    pub closed: bool,
}

impl InviteInfo {
    pub(crate) fn of(invite: &Invite) -> Self {
        Self {
            id: invite.id.to_hex(),
            issuer: invite.issuer.to_hex(),
            role: invite.role.into(),
            expires_at: time(invite.expires_at),
            max_uses: invite.max_uses,
            used_by: invite.used_by.iter().map(PublicKey::to_hex).collect(),
            closed: invite.closed,
        }
    }
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct OutboxItem {
    /// Its id.
    pub id: String,
    /// To whom: a key in hex, or a channel.
    pub to: String,
    /// How far it has come.
    pub state: SendProgress,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it was sent.
    pub created_at: SystemTime,
}

impl OutboxItem {
    pub(crate) fn of(row: OutboxRow) -> Self {
        Self {
            id: row.message.id.as_str().to_owned(),
            to: target(&row.message.to),
            state: row.state.into(),
            reason: row.reason,
            created_at: time(row.message.created_at),
        }
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Peer(key) => key.to_hex(),
        Target::Channel(channel) => channel.as_str().to_owned(),
    }
}
