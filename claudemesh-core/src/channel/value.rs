//! What a mesh keeps besides messages, sealed under the key of `$state`: state, memory, summaries.
//!
//! Implements docs/protocol.md, section "Sealed values".

use std::cmp::Ordering;
use std::fmt;

use zeroize::Zeroizing;

use super::sealed_value::SealedValue;
use crate::crypto::{BoxError, KeyPair, NONCE_LEN, SecretKey, sha256, verify};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{Hash, KeyId, MeshId, PublicKey};
use crate::message::padding::{pad, unpad};

const ENCODING: &str = "value/1";
/// Bytes that a value's body may have at most.
pub const MAX_VALUE_BODY: usize = 32_768;
/// The highest version: the largest integer that every reader of JSON keeps exactly.
pub const MAX_VALUE_VERSION: u64 = (1 << 53) - 1;
/// Bytes of a state key at most.
const MAX_STATE_KEY: usize = 256;

/// Why a value could not be sealed or is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Longer than [`MAX_VALUE_BODY`].
    #[error("the value has {0} bytes; at most {MAX_VALUE_BODY} can be kept")]
    TooLarge(usize),
    /// The name does not fit what the value is.
    #[error(
        "a value's name is a state key of 1 to 256 bytes, a memory's 32 hex digits, or for a \
         summary its writer's key"
    )]
    Name,
    /// The version is 0 or above [`MAX_VALUE_VERSION`].
    #[error("a value's version is 1 to {MAX_VALUE_VERSION}")]
    Version,
    /// It is no sealed value, but plain JSON or text.
    #[error("the value is not sealed")]
    NotSealed,
    /// Not this form's bytes.
    #[error("not a sealed value: {0}")]
    Malformed(#[from] DecodeError),
    /// Sealed under another key than the one at hand.
    #[error("the value is sealed under another key")]
    OtherKey,
    /// Not sealed under this key, or changed.
    #[error("{0}")]
    Box(#[from] BoxError),
    /// Made for another mesh, name or use.
    #[error("the value was made for another mesh or name")]
    Misdirected,
    /// A summary of a peer that another one wrote.
    #[error("the summary was written by another peer")]
    OtherWriter,
    /// The writer's signature does not fit.
    #[error("the writer's signature does not fit")]
    BadSignature,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A value of the mesh's state; its name is the state key.
    State,
    /// A memory; its name is its id, 32 hex digits.
    Memory,
    /// What a peer does; its name is that peer's key in hex, and that peer wrote it.
    Summary,
}

impl What {
    /// As it is signed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Memory => "memory",
            Self::Summary => "summary",
        }
    }

    fn allows(self, name: &str, writer: &PublicKey) -> Result<(), ValueError> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let fits = match self {
            Self::State => (1..=MAX_STATE_KEY).contains(&name.len()),
            Self::Memory => name.len() == 32 && name.bytes().all(hex),
            Self::Summary if name.len() == 64 && name.bytes().all(hex) => {
                if name != writer.to_hex() {
                    return Err(ValueError::OtherWriter);
                }
                true
            }
            Self::Summary => false,
        };
        if fits { Ok(()) } else { Err(ValueError::Name) }
    }
}

/// A value before it is sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub what: What,
    /// Under which name it is kept; the broker sees it.
    pub name: String,
    /// One more than that of the newest value its writer saw under this name; the first has 1.
    pub version: u64,
    /// Unix ms by the writer's clock.
    pub written_at: u64,
    /// What is kept.
    pub body: Vec<u8>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, version, length) = (self.what, self.version, self.body.len());
        write!(f, "Value({what:?}, version {version}, {length} bytes)")
    }
}

/// A value that was opened and whose signature holds. Whether its writer is a member is for the
/// roster to say, whether it is the newest one for [`newer`].
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedValue {
    /// Who signed it.
    pub writer: PublicKey,
    /// See [`Value::version`].
    pub version: u64,
    /// Unix ms by the writer's clock.
    pub written_at: u64,
    /// What is kept.
    pub body: Vec<u8>,
    /// The hash of what was signed: decides between two of one version.
    pub hash: Hash,
}

impl fmt::Debug for OpenedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (writer, version, length) = (self.writer, self.version, self.body.len());
        write!(
            f,
            "OpenedValue({writer:?}, version {version}, {length} bytes)"
        )
    }
}

/// What a reader knows before it opens a value.
#[derive(Clone, Copy)]
pub struct ExpectedValue<'a> {
    /// The mesh on whose connection it came.
    pub mesh: &'a MeshId,
    /// What was asked for.
    pub what: What,
    /// Under which name it was asked for.
    pub name: &'a str,
    /// The id of the key at hand.
    pub key_id: &'a KeyId,
    /// That key.
    pub key: &'a SecretKey,
}

/// Signs, pads and seals a value under the key of `$state` that `key_id` names. `nonce` is 24 fresh
/// random bytes.
///
/// # Errors
/// [`ValueError::TooLarge`], [`ValueError::Name`], [`ValueError::Version`],
/// [`ValueError::OtherWriter`].
pub fn seal_value(
    mesh: &MeshId,
    writer: &KeyPair,
    key_id: &KeyId,
    key: &SecretKey,
    value: &Value,
    nonce: [u8; NONCE_LEN],
) -> Result<SealedValue, ValueError> {
    let length = value.body.len();
    if length > MAX_VALUE_BODY {
        return Err(ValueError::TooLarge(length));
    }
    check_version(value.version)?;
    value.what.allows(&value.name, &writer.public())?;
    let bytes = Encoder::new(ENCODING)
        .text(mesh.as_str())
        .text(value.what.as_str())
        .text(&value.name)
        .bytes(&key_id.0)
        .bytes(&writer.public().0)
        .int(value.version)
        .int(value.written_at)
        .bytes(&value.body)
        .finish();
    let bytes = Zeroizing::new(bytes);
    let padded = pad(&bytes, &writer.sign(&bytes)).ok_or(ValueError::TooLarge(length))?;
    let sealed = key.seal(&nonce, &Zeroizing::new(padded))?;
    Ok(SealedValue::new(*key_id, nonce, sealed))
}

/// Opens a value and checks all that can be checked without a roster. Every holder of the key could
/// have sealed it; the writer is who signed it.
///
/// # Errors
/// [`ValueError`]; never a guess, never plain text.
pub fn open_value(
    expected: ExpectedValue<'_>,
    sealed: &SealedValue,
) -> Result<OpenedValue, ValueError> {
    if sealed.key_id() != expected.key_id {
        return Err(ValueError::OtherKey);
    }
    let padded = Zeroizing::new(expected.key.open(sealed.nonce(), sealed.sealed())?);
    let (bytes, signature) = unpad(&padded)?;
    let mut fields = Decoder::new(ENCODING, bytes)?;
    let mesh = fields.text("mesh id")?;
    let what = fields.text("what")?;
    let name = fields.text("name")?;
    let key_id = KeyId(fields.array("key id")?);
    let writer = PublicKey(fields.array("writer")?);
    let version = fields.int("version")?;
    let written_at = fields.int("written_at")?;
    let body = fields.bytes()?;
    fields.end()?;
    if body.len() > MAX_VALUE_BODY {
        return Err(ValueError::TooLarge(body.len()));
    }
    check_version(version)?;
    let wanted = (expected.mesh.as_str(), expected.what.as_str());
    if (mesh, what) != wanted || name != expected.name || key_id != *expected.key_id {
        return Err(ValueError::Misdirected);
    }
    expected.what.allows(name, &writer)?;
    if !verify(&writer, bytes, &signature) {
        return Err(ValueError::BadSignature);
    }
    Ok(OpenedValue {
        writer,
        version,
        written_at,
        body: body.to_vec(),
        hash: sha256(bytes),
    })
}

fn check_version(version: u64) -> Result<(), ValueError> {
    if (1..=MAX_VALUE_VERSION).contains(&version) {
        Ok(())
    } else {
        Err(ValueError::Version)
    }
}

/// How a value that came stands to the one that is held under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Of a higher version, or the first one: it takes the place.
    Newer,
    /// The one that is held.
    Same,
    /// Of a lower version: somebody shows what was before. It is not taken.
    Rollback,
    /// Another one of the same version, with the larger hash: it takes the place. Two wrote at the
    /// same time, or the broker shows different readers different values.
    Replaced,
    /// Another one of the same version, with the smaller hash: it is not taken.
    Loses,
}

/// Compares (version, hash) of the value held under a name, if there is one, with those of one that
/// came. All who saw the same values hold the same one, in whatever order they came.
pub fn newer(held: Option<(u64, Hash)>, got: (u64, Hash)) -> Verdict {
    let Some((version, hash)) = held else {
        return Verdict::Newer;
    };
    match (got.0.cmp(&version), got.1.cmp(&hash)) {
        (Ordering::Greater, _) => Verdict::Newer,
        (Ordering::Less, _) => Verdict::Rollback,
        (Ordering::Equal, Ordering::Equal) => Verdict::Same,
        (Ordering::Equal, Ordering::Greater) => Verdict::Replaced,
        (Ordering::Equal, Ordering::Less) => Verdict::Loses,
    }
}
