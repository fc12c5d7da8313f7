//! A claudemesh peer.

pub mod encoding;
pub mod id;
pub mod wire;
