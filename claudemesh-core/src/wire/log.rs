//! Reading and extending signed logs: `log_get`, `log_append` and what comes back.
//!
//! Entries travel as their exact signed bytes. Nothing here looks into them.

use serde::{Deserialize, Serialize};

use crate::encoding::{DecodeError, base64url, unbase64url};
use crate::id::{Hash, IdError, Signature};

/// Signed bytes as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SignedBlob {
    /// The exact bytes that were signed, base64url without padding.
    pub e: String,
    /// The signature over them, hex.
    pub sig: String,
    /// A second signature over them, hex, where the kind of entry needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosig: Option<String>,
}

impl SignedBlob {
    /// Bytes and signatures as they travel.
    pub fn new(bytes: &[u8], sig: &Signature, cosig: Option<&Signature>) -> Self {
        Self {
            e: base64url(bytes),
            sig: sig.to_hex(),
            cosig: cosig.map(Signature::to_hex),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// [`DecodeError::Text`] if they are not base64url.
    pub fn bytes(&self) -> Result<Vec<u8>, DecodeError> {
        unbase64url(&self.e)
    }

    /// The signature; nothing is verified.
    ///
    /// # Errors
    /// [`IdError`] if it is not 64 bytes in hex.
    pub fn signature(&self) -> Result<Signature, IdError> {
        Signature::from_hex(&self.sig)
    }

    /// The second signature, if there is one; nothing is verified.
    ///
    /// # Errors
    /// [`IdError`] if it is not 64 bytes in hex.
    pub fn cosignature(&self) -> Result<Option<Signature>, IdError> {
        self.cosig.as_deref().map(Signature::from_hex).transpose()
    }
}

/// The newest entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogHead {
    /// Its number; the first entry has 0.
    pub seq: u64,
    /// Its hash, hex.
    pub hash: String,
}

impl LogHead {
    /// A head as it travels.
    pub fn new(seq: u64, hash: &Hash) -> Self {
        Self {
            seq,
            hash: hash.to_hex(),
        }
    }

    /// The hash.
    ///
    /// # Errors
    /// [`IdError`] if it is not 32 bytes in hex.
    pub fn hash(&self) -> Result<Hash, IdError> {
        Hash::from_hex(&self.hash)
    }
}

/// `log_get`: asks for a log from an entry on. Answered by [`LogEntries`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogGet {
    /// Whose log; empty: the mesh's.
    pub channel: String,
    /// The number of the first entry wanted.
    pub from: u64,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `log_entries`: a page of a log, at most [`LOG_PAGE_BYTES`](super::LOG_PAGE_BYTES). The log goes
/// on where the last entry is older than the head.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogEntries {
    /// Whose log; empty: the mesh's.
    pub channel: String,
    /// The number of the first entry here.
    pub from: u64,
    /// The entries, oldest first.
    pub entries: Vec<SignedBlob>,
    /// The newest entry of the whole log.
    pub head: LogHead,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `log_append`: adds an entry at the head. Answered by [`LogAppended`], or by an error
/// [`LOG_CONFLICT`](super::errors::code::LOG_CONFLICT) if the log has grown meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogAppend {
    /// The entry; it names its log and its predecessor itself.
    pub entry: SignedBlob,
    /// The invite's token, where the entry issues one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_token: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `log_appended`: a log has grown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogAppended {
    /// Whose log; empty: the mesh's.
    pub channel: String,
    /// The newest entry now.
    pub head: LogHead,
    /// The entry, where others are told; absent in the answer to who appended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<SignedBlob>,
    /// The request's `_reqId`, in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}
