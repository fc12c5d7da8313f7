//! A claudemesh peer.

pub mod crypto;
pub mod encoding;
pub mod id;
pub mod identity;
