//! A claudemesh peer.

#![forbid(unsafe_code)]

pub mod broker_url;
#[cfg(feature = "config")]
pub mod config;
pub mod crypto;
pub mod encoding;
pub mod id;
pub mod identity;
pub mod invite;
pub mod membership;
pub mod message;
pub mod session;
pub mod store;
pub mod wire;
