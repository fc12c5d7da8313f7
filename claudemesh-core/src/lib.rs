//! A claudemesh peer.

#[cfg(feature = "config")]
pub mod config;
pub mod crypto;
pub mod encoding;
pub mod id;
pub mod identity;
