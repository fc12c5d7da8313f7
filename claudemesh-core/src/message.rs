//! Direct messages: what is said, signed by its sender, padded and sealed.
//!
//! Implements docs/protocol.md, section "Messages". The signed envelope names mesh, recipient,
//! sender, id and time, so a message cannot be moved to another mesh or recipient, replayed, or
//! given to another sender, whatever the broker says around it.

pub(crate) mod attributes;
pub(crate) mod envelope;
pub(crate) mod padding;

pub use attributes::{
    DEFAULT_HOP_LIMIT, MAX_HOPS, SenderSession, expects_reply, hops, sender_session,
};

use crate::crypto::{BoxError, DirectKey, KeyPair, NONCE_LEN};
use crate::encoding::{DecodeError, base64, unbase64};
use crate::id::{MeshId, MessageId, PublicKey};
use crate::membership::Head;
use envelope::Address;

/// Bytes of a padded envelope at most.
pub const MAX_PADDED: usize = 47_104;
/// Bytes that a message's body may have at most; longer ones are refused as too large.
///
/// What remains of [`MAX_PADDED`] holds the envelope's other fields (at most some 1,200 bytes).
pub const MAX_BODY: usize = 45_056;
/// The form's name in frames and capabilities.
pub const FORM: &str = "envelope/1";
/// Content type of plain text.
pub const TEXT: &str = "text/plain";
/// A message may claim to be sent this long after its receipt: 10 minutes, in ms.
pub const MAX_AHEAD_MS: u64 = 600_000;
/// A message may be this old at its receipt: 31 days, in ms.
pub const MAX_AGE_MS: u64 = 31 * 86_400_000;

const MAX_ATTRIBUTES: usize = 16;
const MAX_CONTENT_TYPE: usize = 128;

/// Why a message could not be sealed or is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MAX_BODY`], or too long together with its attributes.
    #[error("the message has {0} bytes; at most {MAX_BODY} go in one message")]
    TooLarge(usize),
    /// Too many attributes, or a content type that is too long.
    #[error(
        "a message has at most {MAX_ATTRIBUTES} attributes and a content type of at most \
         {MAX_CONTENT_TYPE} bytes"
    )]
    Attributes,
    /// The box is not for this key, or was changed.
    #[error("{0}")]
    Box(#[from] BoxError),
    /// Not this form's bytes.
    #[error("the opened box is not a message of this form: {0}")]
    Malformed(#[from] DecodeError),
    /// Sealed for another mesh or recipient.
    #[error("the message was made for another mesh or recipient")]
    Misdirected,
    /// The frame names another id than the message.
    #[error("the message's id is not the one its frame names")]
    OtherId,
    /// The sender's signature does not fit.
    #[error("the sender's signature does not fit")]
    BadSignature,
    /// The sender in the envelope is not the one whose key opened the box.
    #[error("the box was sealed by another key than the sender's")]
    OtherSender,
    /// Sent in the future, or too long ago.
    #[error("the message's time is out of bounds (10 minutes ahead, 31 days back)")]
    Time,
}

impl MessageError {
    /// Whether a box that was to hold bare text holds an envelope.
    pub(crate) const fn is_envelope(&self) -> bool {
        matches!(self, Self::Malformed(DecodeError::WrongName))
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Unique per sender.
    pub id: MessageId,
    /// Unix ms by the sender's clock.
    pub sent_at: u64,
    /// When it is due, unix ms, if it was scheduled: then this counts as its time.
    pub due: Option<u64>,
    /// The message this one answers.
    pub reply_to: Option<MessageId>,
    /// MIME type of the body, [`TEXT`] by default.
    pub content_type: String,
    /// `name=value` texts; unknown ones are kept.
    pub attributes: Vec<String>,
    /// What is said, as bytes; UTF-8 for [`TEXT`].
    pub body: Vec<u8>,
}

/// A message that was opened and whose signature holds. Whether its sender is a member is for
/// the roster to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who signed it.
    pub sender: PublicKey,
    /// The newest log entry the sender knew.
    pub head: Option<Head>,
    /// What is said.
    pub content: Content,
}

/// A box as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedText {
    /// Standard base64 of 24 bytes.
    pub nonce: String,
    /// Standard base64.
    pub ciphertext: String,
}

/// Signs, pads and seals `content` from `sender` to `recipient`.
///
/// `key` is the shared key of the two, `nonce` 24 fresh random bytes.
///
/// # Errors
/// [`MessageError::TooLarge`], [`MessageError::Attributes`].
pub fn seal_direct(
    mesh: &MeshId,
    sender: &KeyPair,
    recipient: &PublicKey,
    head: Option<Head>,
    content: &Content,
    key: &DirectKey,
    nonce: [u8; NONCE_LEN],
) -> Result<SealedText, MessageError> {
    let to = recipient.to_hex();
    let address = Address {
        mesh,
        to: &to,
        key_id: None,
    };
    let padded = envelope::make(address, sender, head, content)?;
    let sealed = key.seal(&nonce, &padded)?;
    Ok(SealedText {
        nonce: base64(&nonce),
        ciphertext: base64(&sealed),
    })
}

/// What the receiver of a direct message knows before it opens it.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The mesh on whose connection it came.
    pub mesh: &'a MeshId,
    /// The key whose secret opens the box: the receiver's own.
    pub recipient: &'a PublicKey,
    /// The member key the box must have been sealed with.
    pub sender: &'a PublicKey,
    /// The id that the frame names, if it names one.
    pub frame_id: Option<&'a str>,
    /// Unix ms by the receiver's clock.
    pub now: u64,
}

/// Opens a direct message and checks all that can be checked without a roster.
///
/// # Errors
/// [`MessageError`]; never a guess, never plain text.
pub fn open_direct(
    expected: Expected<'_>,
    key: &DirectKey,
    sealed: &SealedText,
) -> Result<Opened, MessageError> {
    let padded = open_box(key, sealed)?;
    let to = expected.recipient.to_hex();
    let address = Address {
        mesh: expected.mesh,
        to: &to,
        key_id: None,
    };
    let opened = envelope::read(&padded, address, Some(expected.sender))?;
    opened.check_frame(expected.frame_id, expected.now)
}

/// Opens what this peer had sealed for itself and kept elsewhere: as [`open_direct`], but its time
/// says nothing.
pub(crate) fn open_kept(
    expected: Expected<'_>,
    key: &DirectKey,
    sealed: &SealedText,
) -> Result<Opened, MessageError> {
    let padded = open_box(key, sealed)?;
    let to = expected.recipient.to_hex();
    let address = Address {
        mesh: expected.mesh,
        to: &to,
        key_id: None,
    };
    Ok(envelope::read(&padded, address, Some(expected.sender))?.whenever())
}

/// Seals the bare form for a member without a log entry: the text itself, and nothing beside it.
/// Nothing in it names mesh, sender, id or time; who gets it takes the broker's word for them.
///
/// # Errors
/// [`MessageError::TooLarge`]; [`MessageError::Malformed`] for what would be taken for an envelope.
pub fn seal_bare(
    key: &DirectKey,
    text: &str,
    nonce: [u8; NONCE_LEN],
) -> Result<SealedText, MessageError> {
    if text.len() > MAX_BODY {
        return Err(MessageError::TooLarge(text.len()));
    }
    if envelope::is_one(text.as_bytes()) {
        return Err(MessageError::Malformed(DecodeError::WrongName));
    }
    Ok(SealedText {
        nonce: base64(&nonce),
        ciphertext: base64(&key.seal(&nonce, text.as_bytes())?),
    })
}

/// Opens the bare form of members without a log entry: the text itself, sealed. Nothing in it
/// names sender, id or time. A box that holds an envelope is refused: whoever takes it for bare
/// text would skip every check of [`open_direct`].
///
/// # Errors
/// [`MessageError`]; [`DecodeError::WrongName`] in it for an envelope.
pub fn open_bare(key: &DirectKey, sealed: &SealedText) -> Result<String, MessageError> {
    let bytes = open_box(key, sealed)?;
    if envelope::is_one(&bytes) {
        return Err(MessageError::Malformed(DecodeError::WrongName));
    }
    String::from_utf8(bytes).map_err(|_| MessageError::Malformed(DecodeError::Text("UTF-8")))
}

fn open_box(key: &DirectKey, sealed: &SealedText) -> Result<Vec<u8>, MessageError> {
    let nonce = unbase64(&sealed.nonce)?
        .try_into()
        .map_err(|_| MessageError::Malformed(DecodeError::Field("nonce")))?;
    Ok(key.open(&nonce, &unbase64(&sealed.ciphertext)?)?)
}
