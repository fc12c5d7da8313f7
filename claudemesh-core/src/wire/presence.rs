//! Who is here and what they say about themselves: `set_status`, `list_peers`, `peers_list`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::codec::{Extra, present};
use super::log::SignedBlob;
use crate::id::{IdError, Status};

/// `set_status`: the session says whether it may be disturbed. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SetStatus {
    /// As sent; read it with [`SetStatus::status`].
    pub status: String,
    /// For how long `working` holds, in milliseconds; at most an hour, else a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The session's address from now on: another name or way to wake it, or the time of the last
    /// one is running out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
}

impl SetStatus {
    /// The status.
    ///
    /// # Errors
    /// [`IdError`] for another word.
    pub fn status(&self) -> Result<Status, IdError> {
        self.status.parse()
    }
}

/// `list_peers`: asks for [`PeersList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListPeers {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `peers_list`: the sessions of the mesh, the asking one included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeersList {
    /// One per session, oldest first.
    pub peers: Vec<PeerRecord>,
    /// The members, also those without a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberRecord>>,
    /// Addresses of sessions that are away and that the broker still knows of, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Vec<SignedBlob>>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A session as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerRecord {
    /// The key the session is addressed by, hex: its session key, else its member's.
    pub pubkey: String,
    /// The member key, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_pubkey: Option<String>,
    /// The name; not unique.
    pub display_name: String,
    /// `idle`, `working` or `dnd`.
    pub status: String,
    /// What the session says it does. `Some(None)` is a `null` in the text.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub summary: Option<Option<String>>,
    /// Groups: a list of `{name, role?}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Value>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Since when: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// `control-plane` (came by `hello`) or `session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_role: Option<String>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `ai`, `human` or `connector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<String>,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind an `ai` peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Counters the session reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Value>,
    /// False: hidden from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
    /// What the session tells about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Value>,
    /// The member's word for the session, as it came in its hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<SignedBlob>,
    /// Where it is reached, as it came in its hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SignedBlob>,
    /// True: its connection is gone, and it may be back in a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<bool>,
    /// Fields without a name here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl PeerRecord {
    /// The summary, if there is one.
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_ref()?.as_deref()
    }
}

/// A member as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRecord {
    /// The member key, hex.
    pub member_pubkey: String,
    /// Whether it has a session.
    pub online: bool,
    /// When it last had one, unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// `idle`, `working` or `dnd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}
