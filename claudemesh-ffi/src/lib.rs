//! A claudemesh peer for apps in Swift, Kotlin and Python.
//!
//! A thin layer over [`claudemesh_core`], exposed through uniffi. Apps use the packages in
//! `bindings/`, which put an idiomatic layer on what is generated from here; see docs/bindings.md.
//!
//! # What holds for everything here
//!
//! - One error: [`NativeError`], with a stable code, a sentence that says what to do, and whether
//!   the same call can succeed later. A panic becomes the error `internal`.
//! - Asynchronous work runs on a runtime of this library's own, two threads for the whole process,
//!   which starts with the first call. Any thread may call anything.
//! - Dropping a future stops its work. Where a language's own cancel does not drop the future, a
//!   [`CancelToken`] does the same, with the error `cancelled`.
//! - A subscription ends when its handle is cancelled or released; after that nothing is called.
//! - Nothing global is touched: no logger, no signal handler, no environment.

#![allow(
    unsafe_code,
    reason = "uniffi's generated exports; nothing here is unsafe by hand"
)]

mod config;
mod error;
mod fetch;
mod listen;
mod message;
mod peer;
mod receipt;
mod runtime;
mod streams;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
mod types;
mod verify;

pub use config::{
    CreatedMesh, NativeConfig, config_from_bytes, config_in_memory, open_config, preview_invite,
};
pub use error::NativeError;
pub use fetch::Fetched;
pub use listen::{EventListener, MessageListener, NativeSubscription};
pub use message::{Message, MessageKind, NewMessage, Priority};
pub use peer::NativePeer;
pub use receipt::{NativeReceipt, SendProgress};
pub use runtime::CancelToken;
pub use streams::{NativeEvents, NativeMessages, NextEvent, NextMessage};
pub use types::{
    Attention, BrokerLie, ChannelMember, ChannelMembers, ConnectOptions, ConnectionKind,
    ConnectionState, HistoryItem, HistoryPage, InviteInfo, InviteLink, InviteTerms, KeptValue,
    MemberInfo, MeshChannel, MeshEvent, MeshInfo, OutboxItem, PeerPresence, Role, ScheduledMessage,
};
pub use verify::{
    InvitePreview, LinkInfo, LogEntryBytes, parse_link, read_invite, safety_number, verify_log,
    verify_signature, version,
};

uniffi::setup_scaffolding!();
