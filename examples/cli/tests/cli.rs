//! The program as a person or a script uses it, against a real broker in a process of its own.

// A test that cannot go on is to end there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/common.rs"]
mod common;

#[path = "cli/agent.rs"]
mod agent;
#[path = "cli/canary.rs"]
mod canary;
#[path = "cli/channels.rs"]
mod channels;
#[path = "cli/delivery.rs"]
mod delivery;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/disk.rs"]
mod disk;
#[path = "../../../broker-min/tests/existing/mod.rs"]
mod existing;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/kept.rs"]
mod kept;
#[path = "cli/lies.rs"]
mod lies;
#[path = "cli/links.rs"]
mod links;
#[path = "cli/mcp.rs"]
mod mcp;
#[path = "cli/meshes.rs"]
mod meshes;
#[path = "cli/moderation.rs"]
mod moderation;
#[path = "cli/moving.rs"]
mod moving;
#[path = "cli/network.rs"]
mod network;
#[path = "cli/profile.rs"]
mod profile;
#[path = "cli/quickstart.rs"]
mod quickstart;
#[cfg(unix)]
#[path = "cli/self_host.rs"]
mod self_host;
#[path = "cli/sessions.rs"]
mod sessions;
#[path = "cli/setup.rs"]
mod setup;
#[path = "cli/streams.rs"]
mod streams;
#[cfg(unix)]
#[path = "cli/transcripts.rs"]
mod transcripts;
#[path = "cli/verbs.rs"]
mod verbs;
#[path = "cli/wake.rs"]
mod wake;
#[path = "cli/walk.rs"]
mod walk;
#[path = "cli/without_log.rs"]
mod without_log;
