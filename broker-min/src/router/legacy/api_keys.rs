//! Keys by which programs without a connection use a mesh over HTTP. Only a hash is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::{base64url, hex};
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::wire::{
    ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyListResponse, ApiKeyRecord, ApiKeyRevoke,
    ApiKeyRevokeResponse,
};
use serde::{Deserialize, Serialize};

use super::items::{Change, Kind};
use crate::router::Router;
use crate::router::mesh::Mesh;
use crate::router::text::{iso, shown};
use crate::router::types::ConnId;
use crate::router::values::Who;

const INVALID_ARGS: &str = "invalid_args";
const CAPABILITIES: [&str; 4] = ["send", "read", "state_write", "admin"];
/// A key that is used all the time is written down so often, ms.
const USE_NOTED_MS: u64 = 60_000;
/// Characters of a secret that are shown in lists.
const SHOWN: usize = 11;

/// A key as it is kept, under the hash of its secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::router) struct ApiKey {
    pub(in crate::router) id: String,
    pub(in crate::router) label: String,
    prefix: String,
    pub(in crate::router) capabilities: Vec<String>,
    pub(in crate::router) topics: Option<Vec<String>>,
    created_at: u64,
    revoked_at: Option<u64>,
    expires_at: Option<u64>,
    expires: Option<String>,
    pub(in crate::router) issuer: PublicKeyHex,
    /// When it was used last, to the minute; what was kept before there was this has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<u64>,
}

/// A key in hex.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::router) struct PublicKeyHex(String);

impl PublicKeyHex {
    pub(in crate::router) fn key(&self) -> Option<PublicKey> {
        PublicKey::from_hex(&self.0).ok()
    }
}

impl Mesh {
    /// The key with this hash, if it is good now and its issuer is still a member.
    pub(in crate::router) fn api_key(&self, hash: &str, now: u64) -> Option<ApiKey> {
        let key: ApiKey = self.items.get(Kind::ApiKey, hash)?;
        let issuer = key.issuer.key().and_then(|key| self.member(&key));
        let good = key.revoked_at.is_none()
            && key.expires_at.is_none_or(|at| now < at)
            && issuer.is_some();
        good.then_some(key)
    }
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as existing clients write times, in unix ms.
fn unix_ms(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let milli = number(20..23).unwrap_or(0);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + milli)
}

impl Router {
    pub(super) fn apikey_create(&mut self, id: ConnId, ask: ApiKeyCreate) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let mut capabilities = ask.capabilities.unwrap_or_default();
        let mut seen = BTreeSet::new();
        capabilities.retain(|it| seen.insert(it.clone()));
        let label = shown(ask.label.trim(), 128);
        let known = |it: &String| CAPABILITIES.contains(&it.as_str());
        let admin = capabilities.iter().any(|it| it == "admin");
        let expires_at = ask.expires_at.as_deref().map(unix_ms);
        let wrong = if label.is_empty() || capabilities.is_empty() {
            Some("label and at least one capability required")
        } else if !capabilities.iter().all(known) {
            Some("a capability is send, read, state_write or admin")
        } else if admin && !who.moderates() {
            Some("only the owner and admins make keys with the capability admin")
        } else if expires_at == Some(None) {
            Some("expiresAt is a time like 2030-01-31T12:00:00.000Z")
        } else {
            None
        };
        if let Some(why) = wrong {
            return self.topic_error(id, INVALID_ARGS, why, ask.req_id);
        }
        let random: [u8; 32] = self.rng.bytes();
        let secret = format!("cm_{}", base64url(&random));
        let topics = ask.topic_scopes.flatten().map(|all| {
            let all = all.iter().take(100);
            all.map(|it| shown(it.trim_start_matches('#'), 64))
                .collect::<Vec<_>>()
        });
        let key = ApiKey {
            id: self.hex_id(),
            label: label.clone(),
            prefix: secret.chars().take(SHOWN).collect(),
            capabilities,
            topics,
            created_at: self.now.wall,
            revoked_at: None,
            expires_at: expires_at.flatten(),
            expires: expires_at.flatten().map(iso),
            issuer: PublicKeyHex(who.member.to_hex()),
            last_used_at: None,
        };
        let hash = hex(&sha256(secret.as_bytes()).0);
        let told = ApiKeyCreated {
            id: key.id.clone(),
            secret,
            label,
            prefix: key.prefix.clone(),
            capabilities: key.capabilities.clone(),
            topic_scopes: key.topics.clone(),
            created_at: iso(key.created_at),
            req_id: ask.req_id.clone(),
        };
        let change = Change::put(Kind::ApiKey, hash, &key).noted("apikey_created", who.member);
        let told = vec![(vec![id], told.into())];
        let now = self.now.wall;
        self.make_room::<ApiKey>(&who.mesh, Kind::ApiKey, |key| {
            let ended = key.expires_at.filter(|at| *at <= now);
            key.revoked_at.or(ended)
        });
        self.change_item(Some(id), &who.mesh, change, told, ask.req_id);
    }

    /// Notes that a key was used. It is no change of anybody's: nothing waits for it, and no audit
    /// row tells of it.
    pub(super) fn note_use(&mut self, shared: &Arc<MeshId>, hash: &str, key: &ApiKey) {
        let now = self.now.wall;
        let fresh = |at| now.saturating_sub(at) < USE_NOTED_MS;
        if key.last_used_at.is_some_and(fresh) {
            return;
        }
        let key = ApiKey {
            last_used_at: Some(now),
            ..key.clone()
        };
        let change = Change::put(Kind::ApiKey, hash, &key);
        self.change_item(None, shared, change, Vec::new(), None);
    }

    /// The keys that a member may see: its own, or, if it moderates, all.
    fn keys_of(&self, who: &Who) -> Vec<(String, ApiKey)> {
        let mesh = self.mesh(&who.mesh);
        let all = mesh
            .into_iter()
            .flat_map(|mesh| mesh.items.all::<ApiKey>(Kind::ApiKey));
        let own = all.filter(|(_, key)| who.moderates() || key.issuer.key() == Some(who.member));
        let mut own: Vec<_> = own.map(|(hash, key)| (hash.to_owned(), key)).collect();
        own.sort_by_key(|(_, key)| key.created_at);
        own
    }

    pub(super) fn apikey_list(&mut self, id: ConnId, ask: ApiKeyList) {
        let Some(who) = self.reader_of(id, ask.req_id.as_ref()) else {
            return;
        };
        let keys = self.keys_of(&who).into_iter().map(|(_, key)| ApiKeyRecord {
            id: key.id,
            label: key.label,
            prefix: key.prefix,
            capabilities: key.capabilities,
            topic_scopes: key.topics,
            created_at: iso(key.created_at),
            last_used_at: key.last_used_at.map(iso),
            revoked_at: key.revoked_at.map(iso),
            expires_at: key.expires,
        });
        let list = ApiKeyListResponse {
            keys: keys.collect(),
            req_id: ask.req_id,
        };
        self.reply(id, list);
    }

    pub(super) fn apikey_revoke(&mut self, id: ConnId, ask: ApiKeyRevoke) {
        let Some(who) = self.asker(id, ask.req_id.as_ref()) else {
            return;
        };
        if !self.may_write(id, &who, ask.req_id.as_ref()) {
            return;
        }
        let mut found = self.keys_of(&who);
        found.retain(|(_, key)| !ask.id.is_empty() && key.id.starts_with(&ask.id));
        let answer = |status: &str| ApiKeyRevokeResponse {
            status: status.to_owned(),
            id: None,
            matches: None,
            req_id: ask.req_id.clone(),
        };
        let (hash, key) = match found.len() {
            0 => return self.reply(id, answer("not_found")),
            1 => found.swap_remove(0),
            many => {
                let answer = ApiKeyRevokeResponse {
                    matches: Some(many as u64),
                    ..answer("not_unique")
                };
                return self.reply(id, answer);
            }
        };
        let told = ApiKeyRevokeResponse {
            id: Some(key.id.clone()),
            ..answer("revoked")
        };
        let key = ApiKey {
            revoked_at: Some(key.revoked_at.unwrap_or(self.now.wall)),
            ..key
        };
        let change = Change::put(Kind::ApiKey, hash, &key).noted("apikey_revoked", who.member);
        let told = vec![(vec![id], told.into())];
        self.change_item(Some(id), &who.mesh, change, told, ask.req_id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for ms in [0, 951_782_400_123, 1_764_000_000_123, 4_107_542_399_999] {
            assert_eq!(unix_ms(&iso(ms)), Some(ms));
        }
        for wrong in [
            "",
            "soon",
            "2025-13-01T00:00:00.000Z",
            "1969-01-01T00:00:00Z",
            "é".repeat(12).as_str(),
        ] {
            assert_eq!(unix_ms(wrong), None);
        }
    }
}
