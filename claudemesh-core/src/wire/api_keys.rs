//! Keys by which programs without a connection use a mesh over HTTP.

use serde::{Deserialize, Serialize};

use super::codec::{bounded_option, present};

/// `apikey_create`: makes a key. Answered by [`ApiKeyCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyCreate {
    /// What it is for.
    #[serde(default)]
    pub label: String,
    /// `send`, `read`, `state_write`, `admin`: at least one.
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub capabilities: Option<Vec<String>>,
    /// Only these topics, by name.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub topic_scopes: Option<Option<Vec<String>>>,
    /// Until when: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `apikey_created`: a key, told this once.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyCreated {
    /// The broker's id of it.
    pub id: String,
    /// The key.
    pub secret: String,
    /// What it is for.
    pub label: String,
    /// Its first 11 characters.
    pub prefix: String,
    /// What it opens.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Only these topics, by name.
    pub topic_scopes: Option<Vec<String>>,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// Without the key: what is debugged ends up in logs.
impl std::fmt::Debug for ApiKeyCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyCreated")
            .field("id", &self.id)
            .field("label", &self.label)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// `apikey_list`: asks for [`ApiKeyListResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiKeyList {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `apikey_list_response`: keys, without their secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiKeyListResponse {
    /// By when they were made.
    #[serde(default)]
    pub keys: Vec<ApiKeyRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRecord {
    /// The broker's id of it.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Its first 11 characters.
    pub prefix: String,
    /// What it opens.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Only these topics, by name.
    pub topic_scopes: Option<Vec<String>>,
    /// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub created_at: String,
    /// When it was used last.
    pub last_used_at: Option<String>,
    /// When it was taken back.
    pub revoked_at: Option<String>,
    /// Until when it is good.
    pub expires_at: Option<String>,
}

/// `apikey_revoke`: takes a key back. Answered by [`ApiKeyRevokeResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiKeyRevoke {
    /// Its id, or the beginning of it.
    #[serde(default)]
    pub id: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `apikey_revoke_response`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApiKeyRevokeResponse {
    /// `revoked`, `not_found` or `not_unique`.
    pub status: String,
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How many begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<u64>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_not_in_what_is_debugged() {
        let made = ApiKeyCreated {
            secret: "cm_secret-of-somebody".to_owned(),
            prefix: "cm_secret-o".to_owned(),
            ..ApiKeyCreated::default()
        };
        let shown = format!("{made:?}");
        assert!(
            !shown.contains("secret-of") && shown.contains("cm_secret-o"),
            "{shown}"
        );
    }
}
