//! One log entry: its bytes, its signatures, its kinds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::crypto::{KeyPair, verify};
use crate::encoding::{DecodeError, Decoder, Encoder, base64url, sha256, unbase64url};
use crate::id::{ChannelName, Hash, InviteId, MeshId, MeshSlug, Name, PublicKey, Signature};

/// Bytes of an entry at most.
pub const MAX_ENTRY_BYTES: usize = 1_024;
const ENCODING: &str = "log-entry/1";

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Made the mesh (or was given it): may do anything.
    Owner,
    /// May invite members and remove members.
    Admin,
    /// Talks.
    Member,
    /// Joined by a link in the open and waits to be admitted.
    Pending,
    /// Belongs to a member and has its standing (an owner's device: that of an admin).
    Device,
}

impl Role {
    /// As it travels: `owner`, `admin`, `member`, `pending` or `device`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Pending => "pending",
            Self::Device => "device",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = EntryError;
    fn from_str(text: &str) -> Result<Self, EntryError> {
        [
            Self::Owner,
            Self::Admin,
            Self::Member,
            Self::Pending,
            Self::Device,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or(EntryError::Decode(DecodeError::Field("role")))
    }
}

/// Why bytes are not a well-formed, properly signed entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not an entry's encoding.
    #[error("not a log entry: {0}")]
    Decode(#[from] DecodeError),
    /// Longer than [`MAX_ENTRY_BYTES`].
    #[error("a log entry is at most {MAX_ENTRY_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A kind that this program does not know.
    #[error("unknown kind of log entry {0:?}; a newer claudemesh is needed to read this mesh")]
    UnknownKind(String),
    /// The signer's or cosigner's signature does not fit.
    #[error("the signature of this log entry does not fit its bytes")]
    BadSignature,
}

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

    fn encode(&self, encoder: Encoder) -> Encoder {
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

    fn decode(kind: &str, fields: &mut Decoder<'_>) -> Result<Self, EntryError> {
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
                channel: ChannelName::new(fields.text("channel")?).map_err(|_| bad("channel"))?,
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

/// An entry, decoded; its signatures are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absent in entry 0, whose hash makes it.
    pub mesh: Option<MeshId>,
    /// Place in the log, from 0.
    pub seq: u64,
    /// Hash of the entry before, zeros at the start.
    pub prev: Hash,
    /// Unix ms by the signer's clock, never below the entry before.
    pub at: u64,
    /// Who says it.
    pub signer: PublicKey,
    /// Who agrees to it (the new member of `member_joined`).
    pub cosigner: Option<PublicKey>,
    /// What is said.
    pub body: Body,
}

/// An entry about to be signed.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// Absent for entry 0.
    pub mesh: Option<&'a MeshId>,
    /// Its place.
    pub seq: u64,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Unix ms.
    pub at: u64,
    /// What to say.
    pub body: Body,
}

impl Draft<'_> {
    /// Signs the entry, and cosigns it where a cosigner is given.
    pub fn sign(&self, signer: &KeyPair, cosigner: Option<&KeyPair>) -> SignedEntry {
        let cosigner_key = cosigner.map(KeyPair::public);
        let encoder = Encoder::new(ENCODING)
            .text(self.mesh.map_or("", MeshId::as_str))
            .text("")
            .int(self.seq)
            .bytes(&self.prev.0)
            .int(self.at)
            .text(self.body.kind())
            .bytes(&signer.public().0)
            .optional(cosigner_key.as_ref().map(|key| key.0.as_slice()));
        let bytes = self.body.encode(encoder).finish();
        let signature = signer.sign(&bytes);
        let cosignature = cosigner.map(|pair| pair.sign(&bytes));
        SignedEntry {
            bytes,
            signature,
            cosignature,
        }
    }
}

/// An entry as it travels and is kept: its exact bytes and signatures, nothing checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// The entry's encoding.
    pub bytes: Vec<u8>,
    /// The signer's signature over the bytes.
    pub signature: Signature,
    /// The cosigner's signature over the bytes.
    pub cosignature: Option<Signature>,
}

impl fmt::Debug for SignedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignedEntry({:?}, {} bytes)",
            self.hash(),
            self.bytes.len()
        )
    }
}

impl SignedEntry {
    /// The entry's hash. Signatures are not part of it.
    pub fn hash(&self) -> Hash {
        sha256(&self.bytes)
    }

    /// The entry's bytes as they travel.
    pub fn to_base64url(&self) -> String {
        base64url(&self.bytes)
    }

    /// Puts together what came over the wire; only the text encodings are checked.
    ///
    /// # Errors
    /// [`EntryError::Decode`] or [`EntryError::TooLong`].
    pub fn from_text(e: &str, sig: &str, cosig: Option<&str>) -> Result<Self, EntryError> {
        let text = |_| EntryError::Decode(DecodeError::Text("signature"));
        let bytes = unbase64url(e)?;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        Ok(Self {
            bytes,
            signature: Signature::from_hex(sig).map_err(text)?,
            cosignature: cosig.map(Signature::from_hex).transpose().map_err(text)?,
        })
    }

    /// Decodes the entry strictly, without checking its signatures.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn decode(&self) -> Result<Entry, EntryError> {
        if self.bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(self.bytes.len()));
        }
        let bad = |what| EntryError::Decode(DecodeError::Field(what));
        let mut fields = Decoder::new(ENCODING, &self.bytes)?;
        let mesh = match fields.text("mesh id")? {
            "" => None,
            text => Some(MeshId::new(text).map_err(|_| bad("mesh id"))?),
        };
        if !fields.text("channel")?.is_empty() {
            return Err(bad("channel"));
        }
        let seq = fields.int("seq")?;
        let prev = Hash(fields.array("prev")?);
        let at = fields.int("at")?;
        let kind = fields.text("kind")?;
        let signer = PublicKey(fields.array("signer")?);
        let cosigner = fields.optional("cosigner")?.map(PublicKey);
        let body = Body::decode(kind, &mut fields)?;
        fields.end()?;
        Ok(Entry {
            mesh,
            seq,
            prev,
            at,
            signer,
            cosigner,
            body,
        })
    }

    /// Decodes the entry and checks the signatures of signer and cosigner.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn open(&self) -> Result<Entry, EntryError> {
        let entry = self.decode()?;
        let signed = verify(&entry.signer, &self.bytes, &self.signature);
        let cosigned = match (&entry.cosigner, &self.cosignature) {
            (None, None) => true,
            (Some(key), Some(signature)) => verify(key, &self.bytes, signature),
            _ => false,
        };
        if signed && cosigned {
            Ok(entry)
        } else {
            Err(EntryError::BadSignature)
        }
    }

    /// The mesh id that this entry gives if it is entry 0.
    pub fn mesh_id(&self) -> MeshId {
        MeshId::of_first_entry(&self.hash())
    }
}
