//! Values and schedules that the mesh keeps, as apps see them.

use std::time::SystemTime;

use claudemesh_core::session::{Kept, Scheduled};

use super::time;

/// A value that the mesh keeps: of its state, or a memory.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct KeptValue {
    /// Its key, or a memory's id.
    pub name: String,
    /// What is kept.
    pub value: Option<String>,
    /// Why it is not shown.
    pub hidden: Option<String>,
    /// Who wrote it.
    pub writer: Option<String>,
    /// The writer's name.
    pub writer_name: String,
    /// Whether the writer is a verified member now.
    pub verified: bool,
    /// Whether it is sealed. What is not can be read, and was perhaps written, by the broker.
    pub protected: bool,
    /// Whether it is the newest that this peer has seen under its name.
    pub newest: bool,
    /// Its number; 0 if none is known.
    pub version: u64,
    /// When it was written.
    pub written_at: Option<SystemTime>,
    /// Tags, which the broker sees.
    pub tags: Vec<String>,
}

impl KeptValue {
    pub(crate) fn of(kept: Kept) -> Self {
        let (value, hidden) = match kept.body {
            Ok(value) => (Some(value), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            name: kept.name,
            value,
            hidden,
            writer: kept.writer.map(|key| key.to_hex()),
            writer_name: kept.writer_name,
            verified: kept.verified,
            protected: kept.protected,
            newest: kept.newest,
            version: kept.version,
            written_at: kept.written_at.map(time),
            tags: kept.tags,
        }
    }
}

/// A message that goes out later.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ScheduledMessage {
    /// Its id.
    pub id: String,
    /// To whom: a key in hex, or a channel.
    pub to: String,
    /// When it is due (next).
    pub due: SystemTime,
    /// When again: minute, hour, day of month, month, day of week, in UTC.
    pub cron: Option<String>,
    /// Why it could not be sent when it was due: a code.
    pub failed: Option<String>,
}

impl ScheduledMessage {
    pub(crate) fn of(scheduled: Scheduled) -> Self {
        Self {
            id: scheduled.id,
            to: scheduled.to,
            due: time(scheduled.due),
            cron: scheduled.cron,
            failed: scheduled.failed,
        }
    }
}
