//! What happens after a message was pushed or accepted: settling, fetching, outcomes.

use serde::{Deserialize, Serialize};

use super::codec::{bounded, bounded_option};

/// `client_ack`: the receiver has stored what was pushed to it. No answer.
///
/// Without any id it does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAck {
    /// The sender's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// The broker's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_message_id: Option<String>,
    /// Many of them, at most [`MAX_IDS_PER_FRAME`](super::MAX_IDS_PER_FRAME).
    #[serde(
        default,
        deserialize_with = "bounded_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub broker_message_ids: Option<Vec<String>>,
}

/// `fetch`: hands over what waits with a priority that is not pushed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// `low`.
    pub priority: String,
    /// At most so many messages; absent: from now on, whenever the session is idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            priority: "low".to_owned(),
            max: None,
        }
    }
}

/// `caught_up`: all that waited when the connection opened was pushed. Sent once a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CaughtUp {}

/// `outcomes`: asks what became of own messages. Answered by [`OutcomesResult`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcomes {
    /// The broker's ids, at most [`MAX_IDS_PER_FRAME`](super::MAX_IDS_PER_FRAME).
    #[serde(deserialize_with = "bounded")]
    pub message_ids: Vec<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `outcomes_result`: the answer to [`Outcomes`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutcomesResult {
    /// One per id asked for.
    #[serde(deserialize_with = "bounded")]
    pub outcomes: Vec<Outcome>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The broker's id of the message.
    pub message_id: String,
    /// How far it is.
    pub state: OutcomeState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeState {
    /// It waits for its recipients.
    Queued,
    /// Every recipient settled it.
    Delivered,
    /// It will not be delivered.
    Failed,
    /// The broker never had it, or no longer knows.
    Unknown,
}

/// `receipt`: tells a sender that a message of its own came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The broker's id of the message.
    pub message_id: String,
    /// The sender's id of the message.
    #[serde(rename = "client_message_id", skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// How it ended.
    pub state: ReceiptState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// To how many recipients it was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u32>,
    /// For how many it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u32>,
    /// Of how many recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// Every recipient settled it.
    Delivered,
    /// At least one recipient will not get it.
    Failed,
}
