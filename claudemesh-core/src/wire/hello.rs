//! The first frames of a connection: `hello`, `session_hello` and the answer `hello_ack`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::audit::AuditHead;
use super::codec::Extra;
use super::log::{LogHead, SignedBlob};

/// `hello`: a member opens a connection with its member key.
///
/// `meshId|memberId|pubkey|timestamp` is what `signature` covers; nothing else in it is signed,
/// except by `proof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The mesh, by id.
    pub mesh_id: String,
    /// The broker's id for the member. Signed, but the key alone says who it is.
    pub member_id: String,
    /// The member key, hex.
    pub pubkey: String,
    /// Unix milliseconds; at most [`HELLO_SKEW_MS`](super::HELLO_SKEW_MS) from the broker's clock.
    pub timestamp: Number,
    /// By the member key, hex.
    pub signature: String,
    /// A session key to be addressed by, hex. `null` is read as absent; empty means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_pubkey: Option<String>,
    /// The name to show instead of the member's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The session: a newer connection with the same one replaces the older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Working directory; may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `ai`, `human` or `connector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<String>,
    /// The program, for example `claudemesh-daemon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind an `ai` peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Groups to be in: a list of `{name, role?}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Value>,
    /// A role, for show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Sent by older clients; says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<Number>,
    /// What the peer can do, for example [`CAP_DELIVERY`](super::CAP_DELIVERY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// The member's word for this session, passed on to others as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedBlob>,
    /// Where the session is reached, signed by member and session key; passed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
    /// Whether the peer keeps what it is given over a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// False: no mailbox and no presence; the connection only sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<bool>,
    /// False: mailbox, but no presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Extra,
    /// Signature over the broker's challenge and the text before this field, hex. Written last,
    /// because it covers everything in front of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl Hello {
    /// A hello with the five signed fields and nothing else.
    pub fn new(
        mesh_id: impl Into<String>,
        member_id: impl Into<String>,
        pubkey: impl Into<String>,
        timestamp_ms: u64,
        signature: impl Into<String>,
    ) -> Self {
        Self {
            mesh_id: mesh_id.into(),
            member_id: member_id.into(),
            pubkey: pubkey.into(),
            timestamp: timestamp_ms.into(),
            signature: signature.into(),
            session_pubkey: None,
            display_name: None,
            session_id: None,
            pid: None,
            cwd: None,
            hostname: None,
            peer_type: None,
            channel: None,
            model: None,
            groups: None,
            role: None,
            protocol_version: None,
            capabilities: None,
            statement: None,
            address: None,
            durable: None,
            receive: None,
            presence: None,
            extra: Extra::default(),
            proof: None,
        }
    }

    /// The timestamp, where it is a whole number that is not negative.
    pub fn timestamp_ms(&self) -> Option<u64> {
        self.timestamp.as_u64()
    }

    /// The session key's text; none where it is absent or empty.
    pub fn session_key(&self) -> Option<&str> {
        self.session_pubkey.as_deref().filter(|key| !key.is_empty())
    }

    /// Whether the peer lists a capability.
    pub fn has(&self, capability: &str) -> bool {
        has(self.capabilities.as_deref(), capability)
    }
}

/// `session_hello`: a session opens a connection with a key of its own, for which the member key
/// vouches.
///
/// `signature` is by the session key over
/// `claudemesh-session-hello|meshId|parentMemberPubkey|sessionPubkey|timestamp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionHello {
    /// The mesh, by id.
    pub mesh_id: String,
    /// The broker's id for the member; checked where it is there and not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_member_id: Option<String>,
    /// The member key, lower-case hex.
    pub parent_member_pubkey: String,
    /// The session key, lower-case hex.
    pub session_pubkey: String,
    /// The member's word for the session key.
    pub parent_attestation: Attestation,
    /// Unix milliseconds, as in [`Hello`].
    pub timestamp: Number,
    /// By the session key, hex.
    pub signature: String,
    /// The name to show instead of the member's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The session: a newer connection with the same one replaces the older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// Working directory; may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `ai`, `human` or `connector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<String>,
    /// The program, for example `claudemesh-session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind an `ai` peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Groups to be in: a list of `{name, role?}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Value>,
    /// A role, for show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the peer can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// As in [`Hello`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedBlob>,
    /// Where the session is reached, signed by member and session key; passed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
    /// As in [`Hello`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// As in [`Hello`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<bool>,
    /// As in [`Hello`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Extra,
    /// As in [`Hello`]; written last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl SessionHello {
    /// A session hello with the signed fields and nothing else.
    pub fn new(
        mesh_id: impl Into<String>,
        parent_member_pubkey: impl Into<String>,
        session_pubkey: impl Into<String>,
        parent_attestation: Attestation,
        timestamp_ms: u64,
        signature: impl Into<String>,
    ) -> Self {
        Self {
            mesh_id: mesh_id.into(),
            parent_member_id: None,
            parent_member_pubkey: parent_member_pubkey.into(),
            session_pubkey: session_pubkey.into(),
            parent_attestation,
            timestamp: timestamp_ms.into(),
            signature: signature.into(),
            display_name: None,
            session_id: None,
            pid: None,
            cwd: None,
            hostname: None,
            peer_type: None,
            channel: None,
            model: None,
            groups: None,
            role: None,
            capabilities: None,
            statement: None,
            address: None,
            durable: None,
            receive: None,
            presence: None,
            extra: Extra::default(),
            proof: None,
        }
    }

    /// The timestamp, where it is a whole number that is not negative.
    pub fn timestamp_ms(&self) -> Option<u64> {
        self.timestamp.as_u64()
    }

    /// Whether the peer lists a capability.
    pub fn has(&self, capability: &str) -> bool {
        has(self.capabilities.as_deref(), capability)
    }
}

/// The member key's word that a session key is one of its sessions.
///
/// `signature` is over `claudemesh-session-attest|parentMemberPubkey|sessionPubkey|expiresAt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// The session key, hex.
    pub session_pubkey: String,
    /// The member key, hex.
    pub parent_member_pubkey: String,
    /// Unix milliseconds; at most a day ahead.
    pub expires_at: Number,
    /// By the member key, hex.
    pub signature: String,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Attestation {
    /// When it ends, where that is a whole number that is not negative.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at.as_u64()
    }
}

/// `hello_ack`: the connection is open. Pushes may have come before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloAck {
    /// The broker's id for this presence.
    pub presence_id: String,
    /// The name the broker has for the member.
    pub member_display_name: String,
    /// `{roleTag, groups, messageMode}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_profile: Option<Value>,
    /// `{selfEditable: {…}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_policy: Option<Value>,
    /// Services of the mesh; always there in the answer to `hello` of some brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Value>,
    /// What the broker can do. Absent: a broker without durable delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
    /// Which broker, and which store, so that a peer notices when it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerInfo>,
    /// What waits in the mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The newest entry of the mesh's membership log.
    #[serde(rename = "log_head", skip_serializing_if = "Option::is_none")]
    pub log_head: Option<LogHead>,
    /// The newest place of the mesh's audit chain.
    #[serde(rename = "audit_head", skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<AuditHead>,
    /// The broker's limits, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Map<String, Value>>,
    /// How long a presence outlives its socket, in milliseconds.
    #[serde(rename = "lease_ms", skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// Fields without a name here, such as `restored` and its companions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl HelloAck {
    /// Whether the broker lists a capability.
    pub fn has(&self, capability: &str) -> bool {
        has(self.capabilities.as_deref(), capability)
    }
}

/// Which broker this is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BrokerInfo {
    /// The broker.
    pub id: String,
    /// Its store; another value after a restore from a backup.
    pub store: String,
    /// The number of the newest accepted message.
    pub head: u64,
}

/// How many messages wait, by priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Waiting with priority `now`.
    pub now: u64,
    /// Waiting with priority `next`.
    pub next: u64,
    /// Waiting with priority `low`.
    pub low: u64,
}

fn has(list: Option<&[String]>, capability: &str) -> bool {
    list.is_some_and(|list| list.iter().any(|item| item == capability))
}
