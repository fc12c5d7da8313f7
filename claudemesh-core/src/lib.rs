//! A claudemesh peer.

#![forbid(unsafe_code)]

pub mod crypto;
pub mod encoding;
pub mod id;
pub mod identity;
