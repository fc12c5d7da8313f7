//! What the commands for agents have in common: whose messages they read, and how these are shown
//! to a model.

pub(crate) mod address;
pub(crate) mod attention;
pub(crate) mod client;
pub(crate) mod frame;
mod process;
pub(crate) mod replies;
pub(crate) mod unread;
