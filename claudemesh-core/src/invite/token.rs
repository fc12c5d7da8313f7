//! The invite token, version 1: JSON in base64url, signed by its issuer.

use serde::{Deserialize, Serialize};

use super::InviteError;
use crate::broker_url::BrokerUrl;
use crate::crypto::{KeyPair, verify};
use crate::encoding::{base64url, unbase64url};
use crate::id::{MeshId, MeshSlug, PublicKey, Signature};

/// Bytes of a token's text at most.
const MAX_TOKEN: usize = 8_192;

/// The two roles that a token can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// An admin.
    Admin,
    /// A member.
    Member,
}

impl TokenRole {
    /// As it is signed: `admin` or `member`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

/// A token, checked for its shape. The texts are kept as they were signed: the existing clients
/// sign them unescaped and accept what ours would not issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InviteToken {
    /// Always 1.
    pub v: u64,
    /// The mesh's id.
    pub mesh_id: String,
    /// The mesh's short name.
    pub mesh_slug: String,
    /// Where to connect.
    pub broker_url: String,
    /// Unix seconds.
    pub expires_at: u64,
    /// In meshes of the existing system a key; in ours random filler.
    pub mesh_root_key: String,
    /// What one becomes by it.
    pub role: TokenRole,
    /// Who issued it: 64 hex digits, of either case.
    pub owner_pubkey: String,
    /// The issuer's signature: 128 hex digits, of either case.
    pub signature: String,
}

impl InviteToken {
    /// Makes and signs a token.
    pub(super) fn signed(
        mesh: &MeshId,
        slug: &MeshSlug,
        broker: &BrokerUrl,
        expires_at: u64,
        filler: String,
        role: TokenRole,
        issuer: &KeyPair,
    ) -> Self {
        let mut token = Self {
            v: 1,
            mesh_id: mesh.as_str().to_owned(),
            mesh_slug: slug.as_str().to_owned(),
            broker_url: broker.to_string(),
            expires_at,
            mesh_root_key: filler,
            role,
            owner_pubkey: issuer.public().to_hex(),
            signature: String::new(),
        };
        token.signature = issuer.sign(token.canonical().as_bytes()).to_hex();
        token
    }

    /// Reads a token's text and checks its shape, not its signature.
    ///
    /// # Errors
    /// [`InviteError::Empty`], [`InviteError::Json`], [`InviteError::Payload`].
    pub fn parse(token: &str) -> Result<Self, InviteError> {
        if token.is_empty() {
            return Err(InviteError::Empty);
        }
        if token.len() > MAX_TOKEN {
            return Err(InviteError::Payload("longer than 8 KiB"));
        }
        let bytes =
            unbase64url(token).map_err(|_| InviteError::Json("not base64url".to_owned()))?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
            InviteError::Json(format!("line {}, column {}", error.line(), error.column()))
        })?;
        Self::from_value(&json)
    }

    /// Reads a payload that came as JSON text, as in `POST /join`.
    ///
    /// # Errors
    /// [`InviteError::Json`], [`InviteError::Payload`].
    pub fn from_json(text: &str) -> Result<Self, InviteError> {
        let json = serde_json::from_str(text).map_err(|error| {
            InviteError::Json(format!("line {}, column {}", error.line(), error.column()))
        })?;
        Self::from_value(&json)
    }

    fn from_value(json: &serde_json::Value) -> Result<Self, InviteError> {
        let bad = InviteError::Payload;
        let object = json.as_object().ok_or(bad("is not an object"))?;
        let text = |name: &str, why| -> Result<String, InviteError> {
            object
                .get(name)
                .and_then(serde_json::Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .ok_or(bad(why))
        };
        let hex = |name: &str, digits: usize, why| -> Result<String, InviteError> {
            text(name, why).and_then(|value| {
                let proper = value.len() == digits && value.bytes().all(|b| b.is_ascii_hexdigit());
                if proper { Ok(value) } else { Err(bad(why)) }
            })
        };
        let number = |name: &str| object.get(name).and_then(serde_json::Value::as_u64);
        if number("v") != Some(1) {
            return Err(bad("v must be 1"));
        }
        Ok(Self {
            v: 1,
            mesh_id: text("mesh_id", "mesh_id required")?,
            mesh_slug: text("mesh_slug", "mesh_slug required")?,
            broker_url: text("broker_url", "broker_url required")?,
            expires_at: number("expires_at")
                .filter(|at| *at > 0)
                .ok_or(bad("expires_at must be a positive number"))?,
            mesh_root_key: text("mesh_root_key", "mesh_root_key required")?,
            role: match object.get("role").and_then(serde_json::Value::as_str) {
                Some("admin") => TokenRole::Admin,
                Some("member") => TokenRole::Member,
                _ => return Err(bad("role must be admin or member")),
            },
            owner_pubkey: hex("owner_pubkey", 64, "owner_pubkey must be 64 hex chars")?,
            signature: hex("signature", 128, "signature must be 128 hex chars")?,
        })
    }

    /// The text that is signed.
    pub fn canonical(&self) -> String {
        format!(
            "{}|{}|{}|{}|{}|{}|{}|{}",
            self.v,
            self.mesh_id,
            self.mesh_slug,
            self.broker_url,
            self.expires_at,
            self.mesh_root_key,
            self.role.as_str(),
            self.owner_pubkey
        )
    }

    /// Checks signature and expiry at `now` (unix seconds).
    ///
    /// # Errors
    /// [`InviteError::Expired`], [`InviteError::Signature`].
    pub fn verify(&self, now: u64) -> Result<(), InviteError> {
        if self.expires_at < now {
            return Err(InviteError::Expired {
                expires_at: self.expires_at,
                now,
            });
        }
        let key = self.issuer().ok_or(InviteError::Signature)?;
        let signature = Signature::from_hex(&self.signature).map_err(|_| InviteError::Signature)?;
        if verify(&key, self.canonical().as_bytes(), &signature) {
            Ok(())
        } else {
            Err(InviteError::Signature)
        }
    }

    /// The issuer's key.
    pub fn issuer(&self) -> Option<PublicKey> {
        PublicKey::from_hex(&self.owner_pubkey).ok()
    }

    /// The token's text.
    pub fn encode(&self) -> String {
        // Serialising plain strings and numbers cannot fail.
        base64url(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }
}
