//! One log entry: its bytes and its signatures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::body::Body;
use crate::crypto::{KeyPair, sha256, verify};
use crate::encoding::{DecodeError, Decoder, Encoder, base64url, unbase64url};
use crate::id::{Hash, MeshId, PublicKey, Signature};

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
        let entry = self.signed(signer, cosigner.map(KeyPair::public));
        match cosigner {
            Some(cosigner) => entry.cosign(cosigner),
            None => entry,
        }
    }

    /// Signs an entry that another key is to cosign.
    pub fn propose(&self, signer: &KeyPair, cosigner: PublicKey) -> SignedEntry {
        self.signed(signer, Some(cosigner))
    }

    fn signed(&self, signer: &KeyPair, cosigner: Option<PublicKey>) -> SignedEntry {
        let header = Header {
            mesh: self.mesh.map_or("", MeshId::as_str),
            channel: "",
            seq: self.seq,
            prev: self.prev,
            at: self.at,
            kind: self.body.kind(),
            signer: signer.public(),
            cosigner,
        };
        let bytes = self.body.encode(header.encode()).finish();
        let signature = signer.sign(&bytes);
        SignedEntry {
            bytes,
            signature,
            cosignature: None,
        }
    }
}

/// What every entry begins with, in the mesh's log and in a channel's.
pub(super) struct Header<'a> {
    /// Empty in entry 0 of the mesh's log.
    pub(super) mesh: &'a str,
    /// Empty in the mesh's log.
    pub(super) channel: &'a str,
    pub(super) seq: u64,
    pub(super) prev: Hash,
    pub(super) at: u64,
    pub(super) kind: &'a str,
    pub(super) signer: PublicKey,
    pub(super) cosigner: Option<PublicKey>,
}

impl<'a> Header<'a> {
    /// The encoding so far, for the kind's own fields to follow.
    pub(super) fn encode(&self) -> Encoder {
        Encoder::new(ENCODING)
            .text(self.mesh)
            .text(self.channel)
            .int(self.seq)
            .bytes(&self.prev.0)
            .int(self.at)
            .text(self.kind)
            .bytes(&self.signer.0)
            .optional(self.cosigner.as_ref().map(|key| key.0.as_slice()))
    }

    /// Reads it, and leaves the decoder at the kind's own fields.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, Decoder<'a>), EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let mut fields = Decoder::new(ENCODING, bytes)?;
        let header = Self {
            mesh: fields.text("mesh id")?,
            channel: fields.text("channel")?,
            seq: fields.int("seq")?,
            prev: Hash(fields.array("prev")?),
            at: fields.int("at")?,
            kind: fields.text("kind")?,
            signer: PublicKey(fields.array("signer")?),
            cosigner: fields.optional("cosigner")?.map(PublicKey),
        };
        Ok((header, fields))
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

    /// Adds the cosigner's signature.
    #[must_use]
    pub fn cosign(mut self, cosigner: &KeyPair) -> Self {
        self.cosignature = Some(cosigner.sign(&self.bytes));
        self
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
        let bad = |what| EntryError::Decode(DecodeError::Field(what));
        let (header, mut fields) = Header::decode(&self.bytes)?;
        let mesh = match header.mesh {
            "" => None,
            text => Some(MeshId::new(text).map_err(|_| bad("mesh id"))?),
        };
        // An entry of a channel's log never passes for one of the mesh's.
        if !header.channel.is_empty() {
            return Err(bad("channel"));
        }
        let body = Body::decode(header.kind, &mut fields)?;
        fields.end()?;
        Ok(Entry {
            mesh,
            seq: header.seq,
            prev: header.prev,
            at: header.at,
            signer: header.signer,
            cosigner: header.cosigner,
            body,
        })
    }

    /// Decodes the entry and checks the signatures of signer and cosigner.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn open(&self) -> Result<Entry, EntryError> {
        let entry = self.decode()?;
        self.check_signatures(&entry.signer, entry.cosigner.as_ref())?;
        Ok(entry)
    }

    pub(super) fn check_signatures(
        &self,
        signer: &PublicKey,
        cosigner: Option<&PublicKey>,
    ) -> Result<(), EntryError> {
        let signed = verify(signer, &self.bytes, &self.signature);
        let cosigned = match (cosigner, &self.cosignature) {
            (None, None) => true,
            (Some(key), Some(signature)) => verify(key, &self.bytes, signature),
            _ => false,
        };
        if signed && cosigned {
            Ok(())
        } else {
            Err(EntryError::BadSignature)
        }
    }

    /// The mesh id that this entry gives if it is entry 0.
    pub fn mesh_id(&self) -> MeshId {
        MeshId::of_first_entry(&self.hash())
    }
}
