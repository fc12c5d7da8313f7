//! What the commands for agents have in common: whose messages they read, and how these are shown
//! to a model.

#[allow(dead_code, reason = "commands for hooks use the rest")]
pub(crate) mod address;
pub(crate) mod frame;
mod process;
pub(crate) mod unread;
