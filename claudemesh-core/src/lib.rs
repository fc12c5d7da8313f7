//! A claudemesh peer.

#![forbid(unsafe_code)]

pub mod broker_url;
#[cfg(feature = "config")]
pub mod config;
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
pub mod session;
pub mod store;
pub mod time;
#[cfg(feature = "client")]
mod transport;
pub mod wire;

#[cfg(feature = "client")]
pub use transport::TransportError;
