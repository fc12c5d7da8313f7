//! The router, driven by hand: no sockets, no clock, no threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helps tests fails like a test"
)]

#[path = "router/world.rs"]
mod world;

#[path = "router/audit.rs"]
mod audit;
#[path = "router/bounds.rs"]
mod bounds;
#[path = "router/channel_world.rs"]
mod channel_world;

#[path = "router/channels.rs"]
mod channels;
#[path = "router/delivery.rs"]
mod delivery;
#[path = "router/faults.rs"]
mod faults;
#[path = "router/history.rs"]
mod history;
#[path = "router/hostile.rs"]
mod hostile;
#[path = "router/isolation.rs"]
mod isolation;
#[path = "router/joining.rs"]
mod joining;
#[path = "router/keys.rs"]
mod keys;
#[path = "router/kinds.rs"]
mod kinds;
#[path = "router/legacy.rs"]
mod legacy;
#[path = "router/log.rs"]
mod log;
#[path = "router/multicast.rs"]
mod multicast;
#[path = "router/online.rs"]
mod online;
#[path = "router/pace.rs"]
mod pace;
#[path = "router/presence.rs"]
mod presence;
#[path = "router/profiles.rs"]
mod profiles;
#[path = "router/refusals.rs"]
mod refusals;
#[path = "router/repost.rs"]
mod repost;
#[path = "router/schedule.rs"]
mod schedule;
#[path = "router/sending.rs"]
mod sending;
#[path = "router/sessions.rs"]
mod sessions;
#[path = "router/values.rs"]
mod values;
