//! The session as a machine, driven by hand: what it puts out, in which order, and what it refuses.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

#[path = "session/addresses.rs"]
mod addresses;
#[path = "session/channel_keys.rs"]
mod channel_keys;
#[path = "session/channel_logs.rs"]
mod channel_logs;
#[path = "session/channel_repost.rs"]
mod channel_repost;
#[path = "session/channel_sends.rs"]
mod channel_sends;
#[path = "session/following.rs"]
mod following;
#[path = "session/kept_values.rs"]
mod kept_values;
#[path = "session/keys.rs"]
mod keys;
#[path = "session/kinds.rs"]
mod kinds;
#[path = "session/legacy.rs"]
mod legacy;
#[path = "session/links.rs"]
mod links;
#[path = "session/logs.rs"]
mod logs;
#[path = "session/online.rs"]
mod online;
#[path = "session/receiving.rs"]
mod receiving;
#[path = "session/repost.rs"]
mod repost;
#[path = "session/schedules.rs"]
mod schedules;
#[path = "session/sending.rs"]
mod sending;
#[path = "session/statements.rs"]
mod statements;
#[path = "session/summaries.rs"]
mod summaries;
mod support;
#[path = "session/topic.rs"]
mod topic;
#[path = "session/unserved.rs"]
mod unserved;
#[path = "session/unverified.rs"]
mod unverified;
#[path = "session/wishes.rs"]
mod wishes;
#[path = "session/without_log.rs"]
mod without_log;
