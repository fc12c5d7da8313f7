//! Channels: the log of who is in one, its keys, and what is sealed under them.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

#[path = "channel/keyring.rs"]
mod keyring;
#[path = "channel/log.rs"]
mod log;
#[path = "membership/mesh.rs"]
#[allow(dead_code, reason = "the tests of the mesh's log use all of it")]
mod mesh;
#[path = "channel/model.rs"]
mod model;
#[path = "channel/random.rs"]
mod random;
#[path = "channel/sealed.rs"]
mod sealed;
#[path = "channel/statement.rs"]
mod statement;
#[path = "channel/world.rs"]
mod world;
