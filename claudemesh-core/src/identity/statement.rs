//! Session statements: what a member key says about one of its connections.
//!
//! Implements docs/protocol.md, section "Session statements". A broker tells who is here; that a
//! name, a session key or a capability belongs to a member is only believed where the member key
//! says so.

use std::fmt;

use crate::crypto::{KeyPair, verify};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{Hash, MeshId, Name, PublicKey, Signature};
use crate::wire::SignedBlob;

const ENCODING: &str = "session/1";
/// Milliseconds for which a session statement may hold at most: 24 h.
pub const STATEMENT_MAX_TTL_MS: u64 = 86_400_000;
/// Capabilities in one statement at most.
pub const MAX_CAPABILITIES: usize = 16;
/// Bytes of a capability at most.
pub const MAX_CAPABILITY: usize = 64;
/// Bytes of a statement at most; the longest one has some 1,500.
const MAX_BYTES: usize = 2_048;

/// Why a session statement could not be made or is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionStatementError {
    /// Not a session statement's bytes.
    #[error("not a session statement: {0}")]
    Malformed(#[from] DecodeError),
    /// Too many capabilities, or one that is empty, too long or not visible ASCII.
    #[error(
        "a session has at most {MAX_CAPABILITIES} capabilities, each of 1 to {MAX_CAPABILITY} \
         visible ASCII characters"
    )]
    Capabilities,
    /// It ends before it begins.
    #[error("the session statement ends before it begins")]
    NoTime,
    /// It holds for longer than [`STATEMENT_MAX_TTL_MS`].
    #[error("the session statement holds for over 24 hours")]
    TooLong,
    /// It is of another mesh.
    #[error("the session statement is of another mesh")]
    OtherMesh,
    /// The key that signs is not the member in it, or the signature does not fit.
    #[error("the member's signature does not fit")]
    BadSignature,
    /// It does not hold yet.
    #[error("the session statement does not hold yet")]
    NotYet,
    /// It holds no longer.
    #[error("the session statement has expired")]
    Expired,
}

/// What a member says about a session of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatement {
    /// Of which mesh.
    pub mesh: MeshId,
    /// Whose session.
    pub member: PublicKey,
    /// The session's own key, if it has one.
    pub session: Option<PublicKey>,
    /// What the session is called.
    pub name: Name,
    /// What it understands, for example `envelope/1`.
    pub capabilities: Vec<String>,
    /// Place and hash of the newest entry of the mesh's log that the member knew.
    pub head: Option<(u64, Hash)>,
    /// It holds from this unix ms on. Clocks differ: whoever makes it sets this some minutes back.
    pub not_before: u64,
    /// It holds before this unix ms.
    pub expires_at: u64,
}

impl SessionStatement {
    /// Signs it.
    ///
    /// # Errors
    /// [`SessionStatementError::Capabilities`], [`SessionStatementError::NoTime`], [`SessionStatementError::TooLong`];
    /// [`SessionStatementError::BadSignature`] if `key` is not the member's; [`SessionStatementError::Malformed`] if
    /// the session's key is the member's.
    pub fn make(&self, key: &KeyPair) -> Result<SignedSession, SessionStatementError> {
        self.check()?;
        if key.public() != self.member {
            return Err(SessionStatementError::BadSignature);
        }
        let head = self.head.as_ref();
        let bytes = Encoder::new(ENCODING)
            .text(self.mesh.as_str())
            .bytes(&self.member.0)
            .optional(self.session.as_ref().map(|key| key.0.as_slice()))
            .text(self.name.as_str())
            .list(self.capabilities.iter().map(String::as_bytes))
            .int(head.map_or(0, |(seq, _)| *seq))
            .optional(head.map(|(_, hash)| hash.0.as_slice()))
            .int(self.not_before)
            .int(self.expires_at)
            .finish();
        let signature = key.sign(&bytes);
        Ok(SignedSession { bytes, signature })
    }

    /// Reads a statement of `mesh` that holds at `now` (unix ms), and verifies its signature.
    /// Whether its signer is a member is for the roster to say.
    ///
    /// # Errors
    /// [`SessionStatementError`].
    pub fn open(
        signed: &SignedSession,
        mesh: &MeshId,
        now: u64,
    ) -> Result<Self, SessionStatementError> {
        let statement = Self::read(signed, mesh)?;
        statement.holds_at(now)?;
        Ok(statement)
    }

    /// As [`SessionStatement::open`], whenever it holds.
    pub(crate) fn read(
        signed: &SignedSession,
        mesh: &MeshId,
    ) -> Result<Self, SessionStatementError> {
        let statement = Self::decode(&signed.bytes)?;
        statement.check()?;
        if statement.mesh != *mesh {
            return Err(SessionStatementError::OtherMesh);
        }
        if !verify(&statement.member, &signed.bytes, &signed.signature) {
            return Err(SessionStatementError::BadSignature);
        }
        Ok(statement)
    }

    /// Whether it holds at `now` (unix ms).
    pub(crate) const fn holds_at(&self, now: u64) -> Result<(), SessionStatementError> {
        if now < self.not_before {
            return Err(SessionStatementError::NotYet);
        }
        if now >= self.expires_at {
            return Err(SessionStatementError::Expired);
        }
        Ok(())
    }

    /// Whether it understands something.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    fn decode(bytes: &[u8]) -> Result<Self, SessionStatementError> {
        let field = DecodeError::Field;
        if bytes.len() > MAX_BYTES {
            return Err(field("length").into());
        }
        let mut fields = Decoder::new(ENCODING, bytes)?;
        let mesh = fields.text("mesh id")?;
        let mesh = MeshId::new(mesh).map_err(|_| field("mesh id"))?;
        let member = PublicKey(fields.array("member key")?);
        let session = fields.optional("session key")?.map(PublicKey);
        let name = fields.text("display name")?;
        let name = Name::new(name).map_err(|_| field("display name"))?;
        let capabilities = fields.list()?.into_iter().map(|item| {
            let text = std::str::from_utf8(item).map_err(|_| SessionStatementError::Capabilities);
            text.map(str::to_owned)
        });
        let capabilities = capabilities.collect::<Result<_, _>>()?;
        let seq = fields.int("head seq")?;
        let head = fields.optional("head hash")?;
        let head = head.map(|hash| (seq, Hash(hash)));
        if head.is_none() && seq != 0 {
            return Err(field("head seq").into());
        }
        let not_before = fields.int("not_before")?;
        let expires_at = fields.int("expires_at")?;
        fields.end()?;
        Ok(Self {
            mesh,
            member,
            session,
            name,
            capabilities,
            head,
            not_before,
            expires_at,
        })
    }

    fn check(&self) -> Result<(), SessionStatementError> {
        if self.session == Some(self.member) {
            return Err(DecodeError::Field("session key").into());
        }
        let proper = |text: &String| {
            (1..=MAX_CAPABILITY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if self.capabilities.len() > MAX_CAPABILITIES || !self.capabilities.iter().all(proper) {
            return Err(SessionStatementError::Capabilities);
        }
        match self.expires_at.checked_sub(self.not_before) {
            None | Some(0) => Err(SessionStatementError::NoTime),
            Some(lasts) if lasts > STATEMENT_MAX_TTL_MS => Err(SessionStatementError::TooLong),
            Some(_) => Ok(()),
        }
    }
}

/// A session statement as it travels: its exact bytes and its signature, nothing checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedSession {
    /// The statement's encoding.
    pub bytes: Vec<u8>,
    /// The member's signature over the bytes.
    pub signature: Signature,
}

impl fmt::Debug for SignedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedSession({} bytes)", self.bytes.len())
    }
}

impl From<&SignedSession> for SignedBlob {
    fn from(signed: &SignedSession) -> Self {
        Self::new(&signed.bytes, &signed.signature, None)
    }
}

impl TryFrom<&SignedBlob> for SignedSession {
    type Error = SessionStatementError;

    /// Reads what came over the wire; only the text encodings and the length are checked.
    fn try_from(blob: &SignedBlob) -> Result<Self, SessionStatementError> {
        if blob.e.len() > MAX_BYTES.div_ceil(3) * 4 {
            return Err(DecodeError::Field("length").into());
        }
        if blob.cosig.is_some() {
            return Err(DecodeError::Field("cosignature").into());
        }
        let signature = blob
            .signature()
            .map_err(|_| DecodeError::Text("signature"))?;
        let bytes = blob.bytes()?;
        Ok(Self { bytes, signature })
    }
}
