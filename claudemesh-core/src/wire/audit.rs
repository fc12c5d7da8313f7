//! The broker's audit table, and the signed head of its chain. What is hashed and how it is
//! checked is in [`crate::audit`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::{Head, Place, Record};
use crate::id::{Hash, IdError, PublicKey, Signature};

/// The newest place of a mesh's audit chain, signed by the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// How many rows the chain has had.
    pub n: u64,
    /// The hash of the last one, hex.
    pub hash: String,
    /// When it was signed, unix milliseconds.
    pub time: u64,
    /// The broker's audit key, hex.
    pub key: String,
    /// By it, hex.
    pub sig: String,
}

impl AuditHead {
    /// A head as it travels.
    pub fn new(head: &Head) -> Self {
        Self {
            n: head.place.n,
            hash: head.place.hash.to_hex(),
            time: head.time,
            key: head.key.to_hex(),
            sig: head.signature.to_hex(),
        }
    }

    /// The head; nothing is verified, see [`Head::check`].
    ///
    /// # Errors
    /// [`IdError`] if hash, key or signature have not the right shape.
    pub fn head(&self) -> Result<Head, IdError> {
        Ok(Head {
            place: Place {
                n: self.n,
                hash: Hash::from_hex(&self.hash)?,
            },
            time: self.time,
            key: PublicKey::from_hex(&self.key)?,
            signature: Signature::from_hex(&self.sig)?,
        })
    }
}

/// A place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditPlace {
    /// How many rows.
    pub n: u64,
    /// The hash of the last one, hex; zeros before the first.
    pub hash: String,
}

impl AuditPlace {
    /// A place as it travels.
    pub fn new(place: &Place) -> Self {
        Self {
            n: place.n,
            hash: place.hash.to_hex(),
        }
    }

    /// The place.
    ///
    /// # Errors
    /// [`IdError`] if the hash is none.
    pub fn place(&self) -> Result<Place, IdError> {
        Ok(Place {
            n: self.n,
            hash: Hash::from_hex(&self.hash)?,
        })
    }
}

/// `audit_get`: asks for rows of the audit table; the owner's and admins' right. Answered by
/// [`AuditRows`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditGet {
    /// Only rows after this place of the chain; 0: from the oldest that is kept.
    #[serde(default)]
    pub from: u64,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `audit_rows`: rows in the chain's order. There are more if `base.n` and the rows do not reach
/// `head.n`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditRows {
    /// The rows.
    pub rows: Vec<AuditRecord>,
    /// The place before the first of them: the one that was asked for, or a later one if rows
    /// were pruned.
    pub base: AuditPlace,
    /// The newest place.
    pub head: AuditHead,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A row of the audit table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Its id.
    pub id: u64,
    /// What happened.
    pub event: String,
    /// Fingerprint of who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Fingerprint of whom it was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Further facts: JSON as a text, because its bytes are hashed.
    pub metadata: String,
    /// Unix milliseconds.
    pub created_at: u64,
}

impl From<Record> for AuditRecord {
    fn from(row: Record) -> Self {
        Self {
            id: row.id,
            event: row.event,
            actor: row.actor,
            target: row.target,
            metadata: row.metadata,
            created_at: row.created_at,
        }
    }
}

impl From<AuditRecord> for Record {
    fn from(row: AuditRecord) -> Self {
        Self {
            id: row.id,
            event: row.event,
            actor: row.actor,
            target: row.target,
            metadata: row.metadata,
            created_at: row.created_at,
        }
    }
}
/// `audit_query`: asks for [`AuditResult`], the audit table as existing clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditQuery {
    /// Rows; 50 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Rows to pass over, from the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Only rows of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `audit_result`: rows of the audit table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditResult {
    /// Newest first.
    #[serde(default)]
    pub entries: Vec<AuditEntry>,
    /// How many there are.
    pub total: u64,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A row of the audit table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its place.
    pub id: u64,
    /// What happened.
    pub event_type: String,
    /// Who did it, by name.
    pub actor: String,
    /// What belongs to it.
    #[serde(default)]
    pub payload: Value,
    /// Its hash, hex.
    pub hash: String,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
}

/// `audit_verify`: asks for [`AuditVerifyResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditVerify {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `audit_verify_result`: whether the chain of the audit table holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditVerifyResult {
    /// Whether every hash is right.
    pub valid: bool,
    /// Rows that were looked at.
    pub entries: u64,
    /// The first row whose hash is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}
