//! A message to a channel: the envelope of every message, sealed under the channel's key.

use crate::crypto::{KeyPair, NONCE_LEN, SecretKey};
use crate::encoding::{DecodeError, base64, unbase64};
use crate::id::{ChannelName, KeyId, MeshId};
use crate::membership::Head;
use crate::message::envelope::{self, Address};
use crate::message::{Content, MessageError, Opened, SealedText};

/// What a ciphertext to a channel begins with, before the key's id.
const MARK: [u8; 2] = [0xce, 0x01];

/// What the receiver of a channel's message knows before it opens it.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedInChannel<'a> {
    /// The mesh on whose connection it came.
    pub mesh: &'a MeshId,
    /// The channel of the key: what its statement says, not the frame.
    pub channel: &'a ChannelName,
    /// The key's id.
    pub key_id: &'a KeyId,
    /// The id that the frame names, if it names one.
    pub frame_id: Option<&'a str>,
    /// Unix ms by the receiver's clock.
    pub now: u64,
}

/// Signs, pads and seals `content` to `channel` under the key that `key_id` names. `nonce` is 24
/// fresh random bytes.
///
/// # Errors
/// [`MessageError::TooLarge`], [`MessageError::Attributes`].
#[expect(
    clippy::too_many_arguments,
    reason = "each is another fact of the message"
)]
pub fn seal_to_channel(
    mesh: &MeshId,
    sender: &KeyPair,
    channel: &ChannelName,
    key_id: &KeyId,
    key: &SecretKey,
    head: Option<Head>,
    content: &Content,
    nonce: [u8; NONCE_LEN],
) -> Result<SealedText, MessageError> {
    let address = Address {
        mesh,
        to: channel.as_str(),
        key_id: Some(key_id),
    };
    let padded = envelope::make(address, sender, head, content)?;
    let mut ciphertext = MARK.to_vec();
    ciphertext.extend_from_slice(&key_id.0);
    ciphertext.extend_from_slice(&key.seal(&nonce, &padded)?);
    Ok(SealedText {
        nonce: base64(&nonce),
        ciphertext: base64(&ciphertext),
    })
}

/// The id of the key under which a channel's message is sealed.
///
/// # Errors
/// [`MessageError::Malformed`] for what is no message to a channel.
pub fn key_id_of(sealed: &SealedText) -> Result<KeyId, MessageError> {
    split(&unbase64(&sealed.ciphertext)?).map(|(id, _)| id)
}

/// Opens a channel's message and checks all that can be checked without a roster. Every holder of
/// the key could have sealed it; the sender is who signed it.
///
/// # Errors
/// [`MessageError`]; never a guess, never plain text.
pub fn open_in_channel(
    expected: ExpectedInChannel<'_>,
    key: &SecretKey,
    sealed: &SealedText,
) -> Result<Opened, MessageError> {
    let nonce = unbase64(&sealed.nonce)?
        .try_into()
        .map_err(|_| MessageError::Malformed(DecodeError::Field("nonce")))?;
    let ciphertext = unbase64(&sealed.ciphertext)?;
    let (id, ciphertext) = split(&ciphertext)?;
    if id != *expected.key_id {
        return Err(MessageError::Misdirected);
    }
    let padded = key.open(&nonce, ciphertext)?;
    let address = Address {
        mesh: expected.mesh,
        to: expected.channel.as_str(),
        key_id: Some(expected.key_id),
    };
    envelope::read(&padded, address, None)?.check_frame(expected.frame_id, expected.now)
}

fn split(ciphertext: &[u8]) -> Result<(KeyId, &[u8]), MessageError> {
    let rest = ciphertext
        .strip_prefix(&MARK)
        .ok_or(MessageError::Malformed(DecodeError::WrongName))?;
    let (id, rest) = rest
        .split_first_chunk()
        .ok_or(MessageError::Malformed(DecodeError::Truncated))?;
    Ok((KeyId(*id), rest))
}
