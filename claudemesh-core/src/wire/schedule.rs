//! Messages that go out later.

use serde::{Deserialize, Serialize};

use super::Send;

/// `schedule`: sends a message later, once or at each time that `cron` names. Answered by
/// [`ScheduledAck`].
///
/// Peers of ours give a ready sealed frame in `send` (once), or what they sealed for themselves in
/// `sealed` (with `cron`): when it is due it comes back to one of their sessions as
/// [`ScheduleDue`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The target, as in a `send`.
    #[serde(default)]
    pub to: String,
    /// The text, of clients that do not seal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When, unix milliseconds; with `cron` it does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_at: Option<u64>,
    /// `reminder`, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// Five fields: minute, hour, day of month, month, day of week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The message as it is to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Box<Send>>,
    /// What the author sealed for itself, base64; at most 61,440 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// The schedule's id, chosen by the author (32 hex digits); a repeated one is answered as the
    /// first was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `scheduled_ack`: a schedule is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledAck {
    /// Its id.
    pub scheduled_id: String,
    /// When it is due (next), unix milliseconds.
    pub deliver_at: u64,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `list_scheduled`: asks for the own schedules. Answered by [`ScheduledList`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListScheduled {
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `scheduled_list`: the asking member's schedules, 100 at most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduledList {
    /// By when they are due.
    pub messages: Vec<ScheduledRecord>,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledRecord {
    /// Its id.
    pub id: String,
    /// The target, as in a `send`.
    pub to: String,
    /// The text, of clients that do not seal; else empty.
    pub message: String,
    /// When it is due (next), unix milliseconds.
    pub deliver_at: u64,
    /// Unix milliseconds.
    pub created_at: u64,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How often it was due, with `cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fired_count: Option<u64>,
    /// Why it could not be sent when it was due: the code of the refusal. It stays here until its
    /// author takes note by [`ScheduleTaken`] or [`CancelScheduled`], for 30 days at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// `cancel_scheduled`: gives up a schedule. Answered by [`CancelScheduledAck`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelScheduled {
    /// Which.
    pub scheduled_id: String,
    /// Comes back in the answer.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `cancel_scheduled_ack`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelScheduledAck {
    /// Which.
    pub scheduled_id: String,
    /// Whether there was such a one of the asking member.
    pub ok: bool,
    /// The request's `_reqId`.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<String>,
}

/// `schedule_due`: a schedule with `cron` is due. Handed to one connection of its author at a
/// time until [`ScheduleTaken`] comes, once for all times that were missed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleDue {
    /// Its id.
    pub scheduled_id: String,
    /// The target, as in a `send`.
    pub to: String,
    /// The time that it was due last, unix milliseconds: a whole minute.
    pub due: u64,
    /// As it was given.
    pub sealed: String,
}

/// `schedule_taken`: the message of a [`ScheduleDue`] is in its author's outbox, or its author has
/// heard that a one-shot failed. No answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleTaken {
    /// Which.
    pub scheduled_id: String,
    /// As it was in [`ScheduleDue`].
    pub due: u64,
}
