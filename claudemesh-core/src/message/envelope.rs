//! The signed envelope that every message of ours is, to one peer or to a channel.

use super::padding::{pad, unpad};
use super::{
    Content, MAX_AGE_MS, MAX_AHEAD_MS, MAX_ATTRIBUTES, MAX_BODY, MAX_CONTENT_TYPE, MessageError,
    Opened,
};
use crate::crypto::{KeyPair, verify};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{Hash, KeyId, MeshId, MessageId, PublicKey};
use crate::membership::Head;

const ENCODING: &str = "message/1";

/// Where a message goes: what keeps one from passing for another's.
#[derive(Clone, Copy)]
pub(crate) struct Address<'a> {
    pub(crate) mesh: &'a MeshId,
    /// The recipient's key in hex, or the channel's name.
    pub(crate) to: &'a str,
    /// The channel's key; none for a direct message.
    pub(crate) key_id: Option<&'a KeyId>,
}

/// Signs and pads.
pub(crate) fn make(
    address: Address<'_>,
    sender: &KeyPair,
    head: Option<Head>,
    content: &Content,
) -> Result<Vec<u8>, MessageError> {
    if content.body.len() > MAX_BODY {
        return Err(MessageError::TooLarge(content.body.len()));
    }
    check_attributes(&content.content_type, content.attributes.len())?;
    let envelope = Encoder::new(ENCODING)
        .text(address.mesh.as_str())
        .text(address.to)
        .optional(address.key_id.map(|id| id.0.as_slice()))
        .bytes(&sender.public().0)
        .optional(None)
        .text(content.id.as_str())
        .int(content.sent_at)
        .int(head.map_or(0, |head| head.seq))
        .optional(head.as_ref().map(|head| head.hash.0.as_slice()))
        .optional(content.reply_to.as_ref().map(|id| id.as_str().as_bytes()))
        .text(&content.content_type)
        .list(content.attributes.iter().map(String::as_bytes))
        .optional(
            content
                .due
                .map(u64::to_be_bytes)
                .as_ref()
                .map(<[u8; 8]>::as_slice),
        )
        .bytes(&content.body)
        .finish();
    pad(&envelope, &sender.sign(&envelope)).ok_or(MessageError::TooLarge(envelope.len()))
}

/// A message whose address and signature hold; what its frame and the clock say is not checked.
pub(crate) struct Signed(Opened);

/// Reads a padded envelope that must be for `address` and, where it is known, by `sender`.
pub(crate) fn read(
    padded: &[u8],
    address: Address<'_>,
    sender: Option<&PublicKey>,
) -> Result<Signed, MessageError> {
    let (envelope, signature) = unpad(padded)?;
    let field = |what| MessageError::Malformed(DecodeError::Field(what));
    let mut fields = Decoder::new(ENCODING, envelope)?;
    let mesh = fields.text("mesh id")?;
    let to = fields.text("to")?;
    let key_id = fields.bytes()?;
    let signer = PublicKey(fields.array("sender")?);
    if !fields.bytes()?.is_empty() {
        return Err(field("session statement"));
    }
    // The devices that copies are for are named by frames only.
    let whole = |text: &str| MessageId::new(text).ok().filter(|id| id.device().is_none());
    let id = whole(fields.text("message id")?).ok_or_else(|| field("message id"))?;
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
        text => Some(whole(text).ok_or_else(|| field("reply_to"))?),
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

    let wanted = address.key_id.map_or([].as_slice(), |id| id.0.as_slice());
    if mesh != address.mesh.as_str() || to != address.to || key_id != wanted {
        return Err(MessageError::Misdirected);
    }
    if sender.is_some_and(|sender| signer != *sender) {
        return Err(MessageError::OtherSender);
    }
    if !verify(&signer, envelope, &signature) {
        return Err(MessageError::BadSignature);
    }
    let content = Content {
        id,
        sent_at,
        due,
        reply_to,
        content_type,
        attributes,
        body,
    };
    Ok(Signed(Opened {
        sender: signer,
        head,
        content,
    }))
}

impl Signed {
    /// Takes it whatever its time.
    pub(crate) fn whenever(self) -> Opened {
        self.0
    }

    /// Checks the id that the frame names, and the time against the receiver's clock.
    pub(crate) fn check_frame(
        self,
        frame_id: Option<&str>,
        now: u64,
    ) -> Result<Opened, MessageError> {
        let content = &self.0.content;
        let frame_id = frame_id.map(|id| id.split('/').next().unwrap_or(id));
        if frame_id.is_some_and(|frame| frame != content.id.as_str()) {
            return Err(MessageError::OtherId);
        }
        let time = content.due.unwrap_or(content.sent_at);
        // Nothing was sent in the future, also not what is due now.
        let too_new = time.max(content.sent_at) > now.saturating_add(MAX_AHEAD_MS);
        let too_old = time < now.saturating_sub(MAX_AGE_MS);
        if too_new || too_old {
            return Err(MessageError::Time);
        }
        Ok(self.0)
    }
}

/// Whether the bytes are an envelope, whatever it says.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    unpad(bytes).is_ok_and(|(envelope, _)| Decoder::new(ENCODING, envelope).is_ok())
}

fn check_attributes(content_type: &str, attributes: usize) -> Result<(), MessageError> {
    if content_type.len() > MAX_CONTENT_TYPE || attributes > MAX_ATTRIBUTES {
        Err(MessageError::Attributes)
    } else {
        Ok(())
    }
}
