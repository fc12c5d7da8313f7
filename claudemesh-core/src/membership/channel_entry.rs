//! One entry of a channel's log.

use super::entry::{EntryError, Header, SignedEntry};
use crate::crypto::KeyPair;
use crate::encoding::DecodeError;
use crate::id::{ChannelName, Hash, MeshId, PublicKey};

/// What an entry of a channel's log says. Members are people: a device comes with its member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelBody {
    /// A member came by itself. Public channels only.
    Joined {
        /// Who.
        key: PublicKey,
    },
    /// A member was taken in, or one who is in becomes a lead or is one no longer.
    Added {
        /// Who.
        key: PublicKey,
        /// Whether it may add and take out others.
        lead: bool,
    },
    /// A member left, or was taken out.
    Left {
        /// Who.
        key: PublicKey,
    },
}

impl ChannelBody {
    /// The kind, as it travels.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Joined { .. } => "channel_joined",
            Self::Added { .. } => "channel_added",
            Self::Left { .. } => "channel_left",
        }
    }

    /// Whom it is about.
    pub const fn key(&self) -> PublicKey {
        match self {
            Self::Joined { key } | Self::Added { key, .. } | Self::Left { key } => *key,
        }
    }
}

/// An entry of a channel's log, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelEntry {
    /// The mesh.
    pub mesh: MeshId,
    /// The channel.
    pub channel: ChannelName,
    /// Place in the channel's log, from 1.
    pub seq: u64,
    /// Hash of the entry before; of the entry that created the channel at the start.
    pub prev: Hash,
    /// Unix ms by the signer's clock, never below the entry before.
    pub at: u64,
    /// Who says it.
    pub signer: PublicKey,
    /// The place in the mesh's log at which the signer's standing counts.
    pub standing: u64,
    /// What is said.
    pub body: ChannelBody,
}

/// An entry of a channel's log, about to be signed.
#[derive(Debug, Clone)]
pub struct ChannelDraft<'a> {
    /// The mesh.
    pub mesh: &'a MeshId,
    /// The channel.
    pub channel: &'a ChannelName,
    /// Its place.
    pub seq: u64,
    /// Hash of the entry before.
    pub prev: Hash,
    /// Unix ms.
    pub at: u64,
    /// The place in the mesh's log at which the signer's standing counts.
    pub standing: u64,
    /// What to say.
    pub body: ChannelBody,
}

impl ChannelDraft<'_> {
    /// Signs the entry.
    pub fn sign(&self, signer: &KeyPair) -> SignedEntry {
        let header = Header {
            mesh: self.mesh.as_str(),
            channel: self.channel.as_str(),
            seq: self.seq,
            prev: self.prev,
            at: self.at,
            kind: self.body.kind(),
            signer: signer.public(),
            cosigner: None,
        };
        let fields = header.encode().int(self.standing);
        let fields = fields.bytes(&self.body.key().0);
        let bytes = match self.body {
            ChannelBody::Added { lead: true, .. } => fields.text("lead"),
            ChannelBody::Added { lead: false, .. } => fields.text("member"),
            ChannelBody::Joined { .. } | ChannelBody::Left { .. } => fields,
        }
        .finish();
        SignedEntry {
            signature: signer.sign(&bytes),
            bytes,
            cosignature: None,
        }
    }
}

impl SignedEntry {
    /// Decodes an entry of a channel's log strictly, without checking its signature. An entry of
    /// the mesh's log never passes for one.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn decode_channel(&self) -> Result<ChannelEntry, EntryError> {
        let bad = |what| EntryError::Decode(DecodeError::Field(what));
        let (header, mut fields) = Header::decode(&self.bytes)?;
        let mesh = MeshId::new(header.mesh).map_err(|_| bad("mesh id"))?;
        let channel = ChannelName::logged(header.channel)
            .ok()
            .filter(ChannelName::has_log)
            .ok_or(bad("channel"))?;
        if header.cosigner.is_some() {
            return Err(bad("cosigner"));
        }
        if !matches!(
            header.kind,
            "channel_joined" | "channel_added" | "channel_left"
        ) {
            let kind = header.kind.chars().take(64).collect();
            return Err(EntryError::UnknownKind(kind));
        }
        let standing = fields.int("standing")?;
        let key = PublicKey(fields.array("key")?);
        let body = match header.kind {
            "channel_joined" => ChannelBody::Joined { key },
            "channel_left" => ChannelBody::Left { key },
            _ => match fields.text("role")? {
                "lead" => ChannelBody::Added { key, lead: true },
                "member" => ChannelBody::Added { key, lead: false },
                _ => return Err(bad("role")),
            },
        };
        fields.end()?;
        Ok(ChannelEntry {
            mesh,
            channel,
            seq: header.seq,
            prev: header.prev,
            at: header.at,
            signer: header.signer,
            standing,
            body,
        })
    }

    /// Decodes an entry of a channel's log and checks its signature.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn open_channel(&self) -> Result<ChannelEntry, EntryError> {
        let entry = self.decode_channel()?;
        self.check_signatures(&entry.signer, None)?;
        Ok(entry)
    }
}
