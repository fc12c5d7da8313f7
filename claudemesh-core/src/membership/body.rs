//! What an entry of the mesh's log says: its kinds and their fields.

use super::entry::{EntryError, Role};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{ChannelName, Hash, InviteId, MeshSlug, Name, PublicKey};

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// The mesh begins; the signer owns it. Only at seq 0.
    MeshCreated {
        /// The mesh's short name.
        slug: MeshSlug,
        /// 32 random bytes, so that two meshes of one owner and name differ.
        salt: [u8; 32],
        /// A key that may replace a lost owner key.
        recovery: Option<PublicKey>,
        /// The owner's display name.
        name: Name,
    },
    /// A link was made. The invite's id is this entry's hash.
    InviteIssued {
        /// Public half of the key whose seed is in the link's fragment.
        key: PublicKey,
        /// What those who come by it become.
        role: Role,
        /// Unix ms; at most 90 days after the entry.
        expires_at: u64,
        /// 1 to 1000.
        max_uses: u64,
    },
    /// A link is taken back.
    InviteClosed {
        /// Which.
        invite: InviteId,
    },
    /// Someone came by a link. Signed by the invite key, cosigned by the new member's key.
    MemberJoined {
        /// Who.
        key: PublicKey,
        /// Display name.
        name: Name,
        /// By which link.
        invite: InviteId,
    },
    /// A pending member, or a key that came without a log entry, is let in.
    MemberAdmitted {
        /// Who.
        key: PublicKey,
        /// Display name.
        name: Name,
        /// Admin or member.
        role: Role,
    },
    /// A member's further device. Signed by the invite key, cosigned by the device's key; it
    /// belongs to who issued the invite.
    DeviceLinked {
        /// The device's key.
        key: PublicKey,
        /// The device's name: shown as `member/device`.
        name: Name,
        /// By which link, of role `device`.
        invite: InviteId,
    },
    /// A member becomes an admin, or is one no longer.
    RoleChanged {
        /// Who.
        key: PublicKey,
        /// Admin or member.
        role: Role,
    },
    /// The mesh has another owner. Signed by the owner or with the recovery key, cosigned by the
    /// new owner.
    OwnerChanged {
        /// The new owner: a member, or a key that the log does not know.
        key: PublicKey,
        /// The recovery key from now on; absent keeps the one there is.
        recovery: Option<PublicKey>,
        /// Display name, for a key that is no member; absent for a member.
        name: Option<Name>,
    },
    /// A channel begins. The signer is its lead.
    ChannelCreated {
        /// Its name, with its mark.
        channel: ChannelName,
        /// Whether every member may join by itself.
        public: bool,
    },
    /// A member is out, or left. Final for that key.
    MemberRemoved {
        /// Who.
        key: PublicKey,
        /// Close every open link as well.
        close_all: bool,
    },
}

impl Body {
    /// The kind, as it travels.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::MeshCreated { .. } => "mesh_created",
            Self::InviteIssued { .. } => "invite_issued",
            Self::InviteClosed { .. } => "invite_closed",
            Self::MemberJoined { .. } => "member_joined",
            Self::MemberAdmitted { .. } => "member_admitted",
            Self::DeviceLinked { .. } => "device_linked",
            Self::RoleChanged { .. } => "role_changed",
            Self::OwnerChanged { .. } => "owner_changed",
            Self::ChannelCreated { .. } => "channel_created",
            Self::MemberRemoved { .. } => "member_removed",
        }
    }

    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        match self {
            Self::MeshCreated {
                slug,
                salt,
                recovery,
                name,
            } => encoder
                .text(slug.as_str())
                .bytes(salt)
                .optional(recovery.as_ref().map(|key| key.0.as_slice()))
                .text(name.as_str()),
            Self::InviteIssued {
                key,
                role,
                expires_at,
                max_uses,
            } => encoder
                .bytes(&key.0)
                .text(role.as_str())
                .int(*expires_at)
                .int(*max_uses),
            Self::InviteClosed { invite } => encoder.bytes(&invite.0),
            Self::MemberJoined { key, name, invite } => {
                encoder.bytes(&key.0).text(name.as_str()).bytes(&invite.0)
            }
            Self::MemberAdmitted { key, name, role } => encoder
                .bytes(&key.0)
                .text(name.as_str())
                .text(role.as_str()),
            Self::DeviceLinked { key, name, invite } => {
                encoder.bytes(&key.0).text(name.as_str()).bytes(&invite.0)
            }
            Self::RoleChanged { key, role } => encoder.bytes(&key.0).text(role.as_str()),
            Self::OwnerChanged {
                key,
                recovery,
                name,
            } => encoder
                .bytes(&key.0)
                .optional(recovery.as_ref().map(|key| key.0.as_slice()))
                .text(name.as_ref().map_or("", Name::as_str)),
            Self::ChannelCreated { channel, public } => {
                encoder.text(channel.as_str()).int(u64::from(*public))
            }
            Self::MemberRemoved { key, close_all } => {
                encoder.bytes(&key.0).int(u64::from(*close_all))
            }
        }
    }

    pub(super) fn decode(kind: &str, fields: &mut Decoder<'_>) -> Result<Self, EntryError> {
        let bad = |what| EntryError::Decode(DecodeError::Field(what));
        let key = |fields: &mut Decoder<'_>| fields.array("key").map(PublicKey);
        let name = |fields: &mut Decoder<'_>| -> Result<Name, EntryError> {
            Name::new(fields.text("name")?).map_err(|_| bad("name"))
        };
        Ok(match kind {
            "mesh_created" => Self::MeshCreated {
                slug: MeshSlug::new(fields.text("slug")?).map_err(|_| bad("slug"))?,
                salt: fields.array("salt")?,
                recovery: fields.optional("recovery key")?.map(PublicKey),
                name: name(fields)?,
            },
            "invite_issued" => Self::InviteIssued {
                key: key(fields)?,
                role: fields.text("role")?.parse()?,
                expires_at: fields.int("expires_at")?,
                max_uses: fields.int("max_uses")?,
            },
            "invite_closed" => Self::InviteClosed {
                invite: Hash(fields.array("invite id")?),
            },
            "member_joined" => Self::MemberJoined {
                key: key(fields)?,
                name: name(fields)?,
                invite: Hash(fields.array("invite id")?),
            },
            "member_admitted" => Self::MemberAdmitted {
                key: key(fields)?,
                name: name(fields)?,
                role: fields.text("role")?.parse()?,
            },
            "device_linked" => Self::DeviceLinked {
                key: key(fields)?,
                name: name(fields)?,
                invite: Hash(fields.array("invite id")?),
            },
            "role_changed" => Self::RoleChanged {
                key: key(fields)?,
                role: fields.text("role")?.parse()?,
            },
            "owner_changed" => Self::OwnerChanged {
                key: key(fields)?,
                recovery: fields.optional("recovery key")?.map(PublicKey),
                name: match fields.text("name")? {
                    "" => None,
                    text => Some(Name::new(text).map_err(|_| bad("name"))?),
                },
            },
            "channel_created" => Self::ChannelCreated {
                channel: ChannelName::logged(fields.text("channel")?)
                    .map_err(|_| bad("channel"))?,
                public: flag(fields, "public")?,
            },
            "member_removed" => Self::MemberRemoved {
                key: key(fields)?,
                close_all: flag(fields, "all")?,
            },
            other => return Err(EntryError::UnknownKind(other.chars().take(64).collect())),
        })
    }
}

/// 0 or 1.
fn flag(fields: &mut Decoder<'_>, what: &'static str) -> Result<bool, EntryError> {
    match fields.int(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(EntryError::Decode(DecodeError::Field(what))),
    }
}
