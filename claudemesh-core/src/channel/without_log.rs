//! Keys of channels in a mesh without a membership log: a direct message brings one.
//!
//! Nobody can compute there who is in a channel: its author gives a key to whom it trusts, and
//! seals under its own keys alone.

use super::key::{KeyStatement, SignedKeyStatement, StatementError, audience_hash};
use super::root::{COPY_LEN, Root};
use crate::crypto::{DirectKey, KeyPair, X25519Secret};
use crate::encoding::DecodeError;
use crate::id::{ChannelName, KeyId, MeshId, PublicKey, Signature};

/// Content type of the direct message that brings a channel's key.
pub const CHANNEL_KEY: &str = "application/x-claudemesh-channel-key";
/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// The statement of the next key that `author` makes for itself, which `readers`, ascending by key,
/// get: `epoch` is above that of its `previous` one.
pub fn state_without_log(
    mesh: &MeshId,
    channel: &ChannelName,
    author: &KeyPair,
    (epoch, previous): (u64, Option<KeyId>),
    readers: &[PublicKey],
    root: &Root,
) -> SignedKeyStatement {
    KeyStatement {
        mesh: mesh.clone(),
        channel: channel.clone(),
        epoch,
        previous,
        log: None,
        channel_log: None,
        audience: audience_hash(mesh, channel, readers),
        author: author.public(),
        commitment: root.commitment(),
        link: None,
    }
    .make(author)
}

/// The body of the direct message that brings a key to one of its readers: the statement, its
/// signature, and the reader's copy.
///
/// # Errors
/// [`StatementError::Seal`] for a key to which nothing can be sealed.
pub fn key_for_reader(
    signed: &SignedKeyStatement,
    root: &Root,
    author: &KeyPair,
    reader: &PublicKey,
) -> Result<Vec<u8>, StatementError> {
    let seal = |_| StatementError::Seal;
    let key = DirectKey::agree(&X25519Secret::of(author), reader);
    let key = key.map_err(|_| StatementError::Seal)?;
    let copy = root.seal_copy(&key, &signed.key_id(), reader);
    let copy = copy.map_err(seal)?;
    Ok([&signed.bytes[..], &signed.signature.0, &copy].concat())
}

/// A key that a direct message brought, and that holds.
pub struct BroughtKey {
    /// The statement as it travels.
    pub signed: SignedKeyStatement,
    /// What it says.
    pub statement: KeyStatement,
    /// The root, which fits.
    pub root: Root,
}

/// Opens the body of a direct message that brings a key. Whether `sender`, who signed the message,
/// is trusted is for the caller to say.
///
/// # Errors
/// [`StatementError`]: it is none, was made by another than its sender or for another mesh, names a
/// log, or the copy does not fit.
pub fn open_brought(
    mesh: &MeshId,
    sender: &PublicKey,
    reader: &KeyPair,
    body: &[u8],
) -> Result<BroughtKey, StatementError> {
    let cut = || StatementError::Decode(DecodeError::Truncated);
    let (rest, copy) = body.split_last_chunk::<COPY_LEN>().ok_or_else(cut)?;
    let (bytes, signature) = rest.split_last_chunk::<SIGNATURE>().ok_or_else(cut)?;
    let signed = SignedKeyStatement {
        bytes: bytes.to_vec(),
        signature: Signature(*signature),
    };
    let statement = read_without_log(&signed, mesh)?;
    if statement.author != *sender {
        return Err(StatementError::NotInAudience);
    }
    let root = statement.open_copy(&signed.key_id(), reader, copy)?;
    Ok(BroughtKey {
        signed,
        statement,
        root,
    })
}

/// Checks a statement that was made without a log, as far as that can be done without its root.
///
/// # Errors
/// [`StatementError`].
pub fn read_without_log(
    signed: &SignedKeyStatement,
    mesh: &MeshId,
) -> Result<KeyStatement, StatementError> {
    let statement = signed.open()?;
    if statement.mesh != *mesh || statement.channel.as_str() == "$state" {
        return Err(StatementError::Elsewhere);
    }
    if statement.log.is_some() || statement.channel_log.is_some() {
        return Err(StatementError::HeadsApart);
    }
    if statement.link.is_some() {
        return Err(StatementError::Link);
    }
    if statement.epoch == 0 {
        return Err(StatementError::EpochStep);
    }
    Ok(statement)
}
