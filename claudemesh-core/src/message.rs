//! Direct messages: what is said, signed by its sender, padded and sealed.
//!
//! Implements docs/protocol.md, section "Messages". The signed envelope names mesh, recipient,
//! sender, id and time, so a message cannot be moved to another mesh or recipient, replayed, or
//! given to another sender, whatever the broker says around it.

use crate::crypto::{BoxError, DirectKey, KeyPair, NONCE_LEN, verify};
use crate::encoding::{DecodeError, Decoder, Encoder, base64, unbase64};
use crate::id::{Hash, MeshId, MessageId, PublicKey, Signature};
use crate::membership::Head;

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

const ENCODING: &str = "message/1";
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

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Unique per sender.
    pub id: MessageId,
    /// Unix ms by the sender's clock.
    pub sent_at: u64,
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
    /// When it was due, unix ms, if it was scheduled: then this counts as its time.
    pub due: Option<u64>,
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
    if content.body.len() > MAX_BODY {
        return Err(MessageError::TooLarge(content.body.len()));
    }
    check_attributes(&content.content_type, content.attributes.len())?;
    let envelope = Encoder::new(ENCODING)
        .text(mesh.as_str())
        .text(&recipient.to_hex())
        .optional(None)
        .bytes(&sender.public().0)
        .optional(None)
        .text(content.id.as_str())
        .int(content.sent_at)
        .int(head.map_or(0, |head| head.seq))
        .optional(head.as_ref().map(|head| head.hash.0.as_slice()))
        .optional(content.reply_to.as_ref().map(|id| id.as_str().as_bytes()))
        .text(&content.content_type)
        .list(content.attributes.iter().map(String::as_bytes))
        .optional(None)
        .bytes(&content.body)
        .finish();
    let padded =
        pad(&envelope, &sender.sign(&envelope)).ok_or(MessageError::TooLarge(envelope.len()))?;
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
    let (envelope, signature) = unpad(&padded)?;
    let field = |what| MessageError::Malformed(DecodeError::Field(what));
    let mut fields = Decoder::new(ENCODING, envelope)?;
    let mesh = fields.text("mesh id")?;
    let to = fields.text("to")?;
    if !fields.bytes()?.is_empty() {
        return Err(MessageError::Misdirected);
    }
    let sender = PublicKey(fields.array("sender")?);
    if !fields.bytes()?.is_empty() {
        return Err(field("session statement"));
    }
    let id = MessageId::new(fields.text("message id")?).map_err(|_| field("message id"))?;
    let sent_at = fields.int("sent_at")?;
    let head_seq = fields.int("head seq")?;
    let head = fields.optional("head hash")?.map(|hash| Head {
        seq: head_seq,
        hash: Hash(hash),
    });
    if head.is_none() && head_seq != 0 {
        return Err(field("head seq"));
    }
    let reply_to = match fields.text("reply_to")? {
        "" => None,
        text => Some(MessageId::new(text).map_err(|_| field("reply_to"))?),
    };
    let content_type = fields.text("content type")?.to_owned();
    let attributes = fields.list()?;
    check_attributes(&content_type, attributes.len())?;
    let attributes = attributes
        .into_iter()
        .map(|item| {
            std::str::from_utf8(item)
                .map(str::to_owned)
                .map_err(|_| field("attributes"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let due = fields.optional_int("due")?;
    let body = fields.bytes()?.to_vec();
    fields.end()?;

    if mesh != expected.mesh.as_str() || to != expected.recipient.to_hex() {
        return Err(MessageError::Misdirected);
    }
    if sender != *expected.sender {
        return Err(MessageError::OtherSender);
    }
    if !verify(&sender, envelope, &signature) {
        return Err(MessageError::BadSignature);
    }
    let frame_id = expected
        .frame_id
        .map(|id| id.split('/').next().unwrap_or(id));
    if frame_id.is_some_and(|frame| frame != id.as_str()) {
        return Err(MessageError::OtherId);
    }
    let time = due.unwrap_or(sent_at);
    // Nothing was sent in the future, also not what is due now.
    let too_new = time.max(sent_at) > expected.now.saturating_add(MAX_AHEAD_MS);
    let too_old = time < expected.now.saturating_sub(MAX_AGE_MS);
    if too_new || too_old {
        return Err(MessageError::Time);
    }
    let content = Content {
        id,
        sent_at,
        reply_to,
        content_type,
        attributes,
        body,
    };
    Ok(Opened {
        sender,
        head,
        due,
        content,
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
    if unpad(&bytes).is_ok_and(|(envelope, _)| Decoder::new(ENCODING, envelope).is_ok()) {
        return Err(MessageError::Malformed(DecodeError::WrongName));
    }
    String::from_utf8(bytes).map_err(|_| MessageError::Malformed(DecodeError::Text("UTF-8")))
}

fn check_attributes(content_type: &str, attributes: usize) -> Result<(), MessageError> {
    if content_type.len() > MAX_CONTENT_TYPE || attributes > MAX_ATTRIBUTES {
        Err(MessageError::Attributes)
    } else {
        Ok(())
    }
}

fn open_box(key: &DirectKey, sealed: &SealedText) -> Result<Vec<u8>, MessageError> {
    let nonce = unbase64(&sealed.nonce)?
        .try_into()
        .map_err(|_| MessageError::Malformed(DecodeError::Field("nonce")))?;
    Ok(key.open(&nonce, &unbase64(&sealed.ciphertext)?)?)
}

/// `u32 length || envelope || signature || zeros` up to a size class, or none if it is too long.
fn pad(envelope: &[u8], signature: &Signature) -> Option<Vec<u8>> {
    let length = 4 + envelope.len() + 64;
    let class = size_class(length)?;
    let mut padded = Vec::with_capacity(class);
    padded.extend_from_slice(&u32::try_from(envelope.len()).ok()?.to_be_bytes());
    padded.extend_from_slice(envelope);
    padded.extend_from_slice(&signature.0);
    padded.resize(class, 0);
    Some(padded)
}

/// 256, 512 … 32,768, then 47,104 bytes: what the broker can tell about a message's length.
fn size_class(length: usize) -> Option<usize> {
    (0..8)
        .map(|k| 256 << k)
        .chain([MAX_PADDED])
        .find(|class| length <= *class)
}

fn unpad(padded: &[u8]) -> Result<(&[u8], Signature), MessageError> {
    let cut = MessageError::Malformed(DecodeError::Truncated);
    let (length, rest) = padded.split_first_chunk::<4>().ok_or(cut.clone())?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut.clone())?;
    let envelope = rest.get(..length).ok_or(cut.clone())?;
    let (signature, zeros) = rest[length..].split_first_chunk::<64>().ok_or(cut)?;
    let proper = size_class(4 + length + 64) == Some(padded.len()) && zeros.iter().all(|b| *b == 0);
    if !proper {
        return Err(MessageError::Malformed(DecodeError::Field("padding")));
    }
    Ok((envelope, Signature(*signature)))
}
