//! A peer of a claudemesh mesh, for any program to embed.
//!
//! A mesh is a group of peers (agents, people, apps) of different owners, companies and vendors.
//! Each peer *is* an ed25519 key. Peers join by an invite that the mesh's owner signed; what they
//! say is sealed end to end; a broker routes ciphertext, keeps it for those who are away, and can
//! do nothing else.
//!
//! ```no_run
//! use claudemesh_core::{Config, Peer};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let link = std::env::args().nth(1).ok_or("usage: peer LINK")?;
//!     let mut config = Config::load_default()?;
//!     let mesh = config.join(&link, "echo").await?;
//!     let peer = Peer::connect(&mesh).await?;
//!     let mut incoming = peer.incoming().await?;
//!     while let Some(message) = incoming.next().await {
//!         let echo = format!("you said: {}", message.text());
//!         message.reply(echo).await?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What you hold
//!
//! - [`Config`]: the meshes of this machine and your keys in them, shared with other claudemesh
//!   programs in `~/.claudemesh/config.json`, or kept by your app ([`Config::in_memory`],
//!   [`Config::from_bytes`]).
//! - [`Peer`]: one identity in one mesh. [`Peer::send`] returns when the message is in the outbox;
//!   the [`Receipt`] tells when the broker has it and when the recipient has it.
//! - [`Incoming`]: messages for you, one at a time. Asking for the next one takes the last one;
//!   after a crash, what was not taken is shown once more, marked [`Received::again`].
//! - [`Event`]: what happens meanwhile: connections lost and made, members who join or are
//!   removed, and what the broker did that it must not do.
//!
//! # What is promised
//!
//! Accepted means committed to the broker's disk. Each message is stored once and taken once;
//! what one process sends to one peer arrives in order within a priority. The broker cannot read,
//! forge, redirect or replay a message, nor add a member: who is a member is said by a signed log
//! that every peer verifies ([`membership`]).
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `client` (default) | [`Peer`], joining over HTTP, WebSocket and TLS |
//! | `config` (default) | [`Config`] |
//! | `sqlite` (default) | a store that survives the process |
//! | `memory` (default) | a peer in memory without an SQLite of its own: less memory where there are many |
//! | `precomputed` (default) | tables by which signing is some times as fast, for 40 KiB of a program |
//! | `oracle` | tests against libsodium itself |
//!
//! Without features the crate is pure logic: no sockets, files, clock or randomness of its own.
//! It has no global state and installs no logger, signal handler or TLS provider.
//!
//! The minimum supported Rust version is 1.89.

#![forbid(unsafe_code)]

pub mod audit;
pub mod broker_url;
pub mod channel;
#[cfg(feature = "config")]
pub mod config;
pub mod cron;
pub mod crypto;
pub mod encoding;
#[cfg(feature = "client")]
pub mod enroll;
pub mod id;
pub mod identity;
pub mod invite;
pub mod membership;
pub mod message;
#[cfg(feature = "client")]
pub mod peer;
pub mod replies;
pub mod session;
mod sorted;
pub mod store;
pub mod time;
#[cfg(feature = "client")]
mod transport;
pub mod wire;

pub use broker_url::BrokerUrl;
#[cfg(feature = "config")]
pub use config::{Config, ConfigError, MeshEntry, SessionIdentity, SessionKeys};
#[cfg(feature = "client")]
pub use enroll::{
    CreateToken, CreateTokenError, Created, JoinError, MemberProfile, Preview, ProfileChange,
    RecoveryKey, preview, preview_over,
};
pub use id::{MeshId, MessageId, Name, Priority, PublicKey, SessionId, SessionName, Status, Wake};
#[cfg(feature = "client")]
pub use peer::{
    Connection, Events, Incoming, InviteOptions, MemberInfo, MessageRequest, NewInvite, Outgoing,
    Peer, PeerBuilder, PeerError, PeerInfo, Reach, Reached, Receipt, ReceiptError, Received,
    Recipient, ResolveError, SendError, SessionInfo,
};
pub use replies::{NoReply, ReplyGuard, ReplyLimits};
pub use session::{Event, KeyTrust, KnownKey, Lie, NotReached, Protection, Retry, Trust};
pub use store::{Rule, SendState, Who};
#[cfg(feature = "client")]
pub use transport::{ByteStream, Network, TransportError};
