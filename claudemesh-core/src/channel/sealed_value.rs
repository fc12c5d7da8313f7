//! A sealed value as it travels: in JSON, and in text.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::value::ValueError;
use crate::crypto::{NONCE_LEN, TAG_LEN};
use crate::encoding::{DecodeError, base64url, unbase64url};
use crate::id::KeyId;
use crate::message::MAX_PADDED;

/// What a sealed value begins with, before the key's id.
const MARK: [u8; 2] = [0xce, 0x02];
const HEADER: usize = MARK.len() + 16 + NONCE_LEN;
/// Bytes of a sealed value at most.
const MAX_BYTES: usize = HEADER + TAG_LEN + MAX_PADDED;
/// The one name in the JSON form.
const NAME: &str = "$sealed";
/// What the text form begins with.
const PREFIX: &str = "$sealed:";

/// A value that only holders of the key can read: its exact bytes. Nothing in it is verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue {
    key_id: KeyId,
    nonce: [u8; NONCE_LEN],
    sealed: Vec<u8>,
}

impl SealedValue {
    pub(super) fn new(key_id: KeyId, nonce: [u8; NONCE_LEN], sealed: Vec<u8>) -> Self {
        Self {
            key_id,
            nonce,
            sealed,
        }
    }

    /// The id of the key under which it is sealed.
    pub const fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    pub(super) const fn nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    pub(super) fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The form where any JSON may stand: `{"$sealed": blob}`.
    pub fn to_json(&self) -> Json {
        Json::Object(Map::from_iter([(NAME.to_owned(), self.blob().into())]))
    }

    /// The form where text stands: `$sealed:` and the blob.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", self.blob())
    }

    /// Reads what [`SealedValue::to_json`] writes.
    ///
    /// # Errors
    /// [`ValueError::NotSealed`] for JSON without `$sealed`, as members without a log entry write;
    /// [`ValueError::Malformed`] for one that has it in any other form.
    pub fn from_json(json: &Json) -> Result<Self, ValueError> {
        let blob = json.get(NAME).ok_or(ValueError::NotSealed)?;
        match (blob, json) {
            (Json::String(blob), Json::Object(object)) if object.len() == 1 => Self::read(blob),
            _ => Err(DecodeError::Field(NAME).into()),
        }
    }

    /// Reads what [`SealedValue::to_text`] writes.
    ///
    /// # Errors
    /// As [`SealedValue::from_json`], with [`ValueError::NotSealed`] for any other text.
    pub fn from_text(text: &str) -> Result<Self, ValueError> {
        Self::read(text.strip_prefix(PREFIX).ok_or(ValueError::NotSealed)?)
    }

    fn blob(&self) -> String {
        let mut bytes = Vec::with_capacity(HEADER + self.sealed.len());
        bytes.extend_from_slice(&MARK);
        bytes.extend_from_slice(&self.key_id.0);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.sealed);
        base64url(&bytes)
    }

    fn read(blob: &str) -> Result<Self, ValueError> {
        // Before anything is decoded: base64 makes four characters of three bytes.
        if blob.len() > MAX_BYTES.div_ceil(3) * 4 {
            return Err(DecodeError::Field(NAME).into());
        }
        let bytes = unbase64url(blob)?;
        let rest = bytes.strip_prefix(&MARK).ok_or(DecodeError::WrongName)?;
        let (key_id, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let (nonce, sealed) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        if sealed.len() < TAG_LEN {
            return Err(DecodeError::Truncated.into());
        }
        Ok(Self::new(KeyId(*key_id), *nonce, sealed.to_vec()))
    }
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SealedValue({:?}, {} bytes)",
            self.key_id,
            self.sealed.len()
        )
    }
}
