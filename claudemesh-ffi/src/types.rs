//! Plain data that goes to apps. Keys and ids are hex or text, times are the language's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claudemesh_core::id::{Name, PublicKey, Status, Target};
use claudemesh_core::membership::{Invite, Member, Roster};
use claudemesh_core::peer::{Caught, ChannelInfo};
use claudemesh_core::session::{About, ChannelView, Kept, Said, Scheduled};
use claudemesh_core::store::OutboxRow;
use claudemesh_core::{
    Connection, Event, MeshEntry, NewInvite, Peer, PeerBuilder, PeerInfo, membership,
};

use crate::error::NativeError;
use crate::message::Message;
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

/// A topic or group.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct MeshChannel {
    /// Its name with its mark: `#topic` or `@group`.
    pub name: String,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who made it.
    pub lead: String,
    /// When it was made.
    pub since: SystemTime,
}

impl MeshChannel {
    pub(crate) fn of(channel: &ChannelInfo) -> Self {
        Self {
            name: channel.name.as_str().to_owned(),
            public: channel.public,
            lead: channel.lead.to_hex(),
            since: time(channel.since),
        }
    }
}

/// One who is in a channel.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ChannelMember {
    /// Who.
    pub key: String,
    /// Whether it leads.
    pub lead: bool,
}

/// A channel with its members.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ChannelMembers {
    /// Its name.
    pub name: String,
    /// Whether every member may join by itself.
    pub public: bool,
    /// Who is in; without devices, which come with their members.
    pub members: Vec<ChannelMember>,
    /// The number of its newest key; 0: none yet.
    pub epoch: u64,
}

impl ChannelMembers {
    pub(crate) fn of(view: &ChannelView) -> Self {
        let member = |(key, lead): &(PublicKey, bool)| ChannelMember {
            key: key.to_hex(),
            lead: *lead,
        };
        Self {
            name: view.channel.as_str().to_owned(),
            public: view.public,
            members: view.members.iter().map(member).collect(),
            epoch: view.epoch,
        }
    }
}

/// A message of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HistoryItem {
    /// By which the next page is asked for.
    pub place: String,
    /// The message.
    pub message: Option<Message>,
    /// Why it is not shown.
    pub hidden: Option<String>,
}

/// A page of a topic's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HistoryPage {
    /// The messages.
    pub items: Vec<HistoryItem>,
    /// Whether there are older ones.
    pub more: bool,
}

impl HistoryPage {
    pub(crate) fn of(said: Vec<Said>, more: bool) -> Self {
        let items = said.into_iter().map(|said| {
            let (message, hidden) = match said.message {
                Ok(message) => (Some(Message::of_history(*message)), None),
                Err(why) => (None, Some(why)),
            };
            HistoryItem {
                place: said.broker_id,
                message,
                hidden,
            }
        });
        Self {
            items: items.collect(),
            more,
        }
    }
}

/// A value that the mesh keeps: of its state, or a memory.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeptValue {
    /// Its key, or a memory's id.
    pub name: String,
    /// What is kept.
    pub value: Option<String>,
    /// Why it is not shown.
    pub hidden: Option<String>,
    /// Who wrote it.
    pub writer: Option<String>,
    /// The writer's name.
    pub writer_name: String,
    /// Whether the writer is a verified member now.
    pub verified: bool,
    /// Whether it is sealed. What is not can be read, and was perhaps written, by the broker.
    pub protected: bool,
    /// Whether it is the newest that this peer has seen under its name.
    pub newest: bool,
    /// Its number; 0 if none is known.
    pub version: u64,
    /// When it was written.
    pub written_at: Option<SystemTime>,
    /// Tags, which the broker sees.
    pub tags: Vec<String>,
}

impl KeptValue {
    pub(crate) fn of(kept: Kept) -> Self {
        let (value, hidden) = match kept.body {
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            name: kept.name,
            value,
            hidden,
            writer: kept.writer.map(|key| key.to_hex()),
            writer_name: kept.writer_name,
            verified: kept.verified,
            protected: kept.protected,
            newest: kept.newest,
            version: kept.version,
            written_at: kept.written_at.map(time),
            tags: kept.tags,
        }
    }
}

/// A message that goes out later.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ScheduledMessage {
    /// Its id.
    pub id: String,
    /// To whom: a key in hex, or a channel.
    pub to: String,
    /// When it is due (next).
    pub due: SystemTime,
    /// When again: minute, hour, day of month, month, day of week, in UTC.
    pub cron: Option<String>,
    /// Why it could not be sent when it was due: a code.
    pub failed: Option<String>,
}

impl ScheduledMessage {
    pub(crate) fn of(scheduled: Scheduled) -> Self {
        Self {
            id: scheduled.id,
            to: scheduled.to,
            due: time(scheduled.due),
            cron: scheduled.cron,
            failed: scheduled.failed,
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

/// Something that the broker must not do, and did.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct BrokerLie {
    /// When it was found, by this machine's clock.
    pub at: SystemTime,
    /// What it was, in words. Names in it come from others.
    pub what: String,
}

impl BrokerLie {
    pub(crate) fn of(caught: Caught) -> Self {
        Self {
            at: time(caught.at),
            what: caught.what,
        }
    }
}

/// What happens to a peer.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum MeshEvent {
    /// The connection stands.
    Connected,
    /// The connection is lost or could not be made.
    Reconnecting {
        /// Why.
        reason: String,
        /// Until the next try.
        after: Duration,
    },
    /// The broker refused this peer; tried again.
    Refused {
        /// The broker's code.
        code: String,
        /// What it said.
        reason: String,
    },
    /// This member is out. No further try.
    Removed {
        /// What is known of it.
        reason: String,
    },
    /// The broker's operator ended the connection. No further try.
    Kicked,
    /// All that waited at the broker was received.
    CaughtUp,
    /// New messages are in the inbox.
    Received,
    /// A message was not taken: it did not open, or failed a check.
    Rejected {
        /// Who the broker says sent it.
        sender: String,
        /// Why.
        reason: String,
    },
    /// A message that was sent has come further.
    Sent {
        /// Which.
        id: String,
        /// How far.
        state: SendProgress,
        /// Why it failed.
        reason: Option<String>,
    },
    /// A message waits: the broker refused it for now.
    Held {
        /// To whom.
        to: String,
        /// What the broker said.
        reason: String,
        /// Until the next try.
        after: Duration,
    },
    /// A peer came online, as the broker says.
    PeerOnline {
        /// Its routing key.
        key: String,
        /// Its name.
        name: String,
        /// Whether a statement of a verified member, which holds, is of this session.
        verified: bool,
    },
    /// A peer went offline, as the broker says.
    PeerOffline {
        /// Its routing key.
        key: String,
        /// Its name.
        name: String,
    },
    /// Someone joined.
    MemberJoined {
        /// Who.
        key: String,
        /// Their name.
        name: String,
    },
    /// Someone has another role.
    RoleChanged {
        /// Who.
        key: String,
        /// Which.
        role: Role,
    },
    /// The mesh has another owner.
    OwnerChanged {
        /// Who.
        key: String,
    },
    /// Someone is out.
    MemberRemoved {
        /// Who.
        key: String,
    },
    /// A value of the mesh's state was set by another, as the broker says.
    StateChanged {
        /// Its key.
        key: String,
    },
    /// Someone joined or left a channel, or it has a new key.
    ChannelChanged {
        /// Which.
        channel: String,
    },
    /// The broker did what it must not do.
    LiedTo {
        /// What, in words.
        what: String,
    },
    /// The store failed; what was received is not lost, and is tried again.
    StoreFailed {
        /// Why.
        reason: String,
    },
    /// Anything else, in words.
    Other {
        /// What.
        what: String,
    },
}

impl MeshEvent {
    pub(crate) fn of(event: Event) -> Self {
        let name = |name: Name| name.as_str().to_owned();
        match event {
            Event::Connected => Self::Connected,
            Event::Reconnecting { reason, in_ms } => Self::Reconnecting {
                reason,
                after: Duration::from_millis(in_ms),
            },
            Event::Refused { code, message } => Self::Refused {
                code,
                reason: message,
            },
            Event::Removed { reason } => Self::Removed { reason },
            Event::Kicked => Self::Kicked,
            Event::CaughtUp => Self::CaughtUp,
            Event::Received => Self::Received,
            Event::Rejected { sender, reason } => Self::Rejected {
                sender: sender.to_hex(),
                reason,
            },
            Event::Sent {
                id, state, reason, ..
            } => Self::Sent {
                id: id.as_str().to_owned(),
                state: state.into(),
                reason,
            },
            Event::Held { to, reason, in_ms } => Self::Held {
                to: target(&to),
                reason,
                after: Duration::from_millis(in_ms),
            },
            Event::PeerOnline {
                key,
                name,
                verified,
            } => Self::PeerOnline {
                key,
                name,
                verified,
            },
            Event::PeerOffline { key, name } => Self::PeerOffline { key, name },
            Event::MemberJoined { key, name: called } => Self::MemberJoined {
                key: key.to_hex(),
                name: name(called),
            },
            Event::RoleChanged { key, role } => Self::RoleChanged {
                key: key.to_hex(),
                role: role.into(),
            },
            Event::OwnerChanged { key } => Self::OwnerChanged { key: key.to_hex() },
            Event::MemberRemoved { key } => Self::MemberRemoved { key: key.to_hex() },
            Event::StateChanged { key } => Self::StateChanged { key },
            Event::ChannelChanged { channel } | Event::ChannelRekeyed { channel, .. } => {
                Self::ChannelChanged {
                    channel: channel.as_str().to_owned(),
                }
            }
            Event::LiedTo(lie) => Self::LiedTo {
                what: lie.to_string(),
            },
            Event::StoreFailed(error) => Self::StoreFailed {
                reason: error.to_string(),
            },
            Event::Locked {
                channel, reason, ..
            } => Self::Other {
                what: format!("a message in {channel} cannot be read yet: {reason}"),
            },
            Event::ChannelFork { channel, epoch } => Self::Other {
                what: format!("{channel} has two keys of number {epoch}"),
            },
            Event::KeyWithheld { channel, author } => Self::Other {
                what: format!(
                    "{} gave no good copy of the key of {channel}",
                    author.short()
                ),
            },
            Event::ChannelContention { channel } => Self::Other {
                what: format!("others make keys of {channel} at the same time; a message waits"),
            },
            Event::LogAt(_) => Self::Other {
                what: "the membership log has grown".to_owned(),
            },
            // Events that came after this list; what they hold is not for people.
            _ => Self::Other {
                what: "something this version has no name for".to_owned(),
            },
        }
    }
}
