//! A claudemesh peer.

pub mod broker_url;
pub mod crypto;
pub mod encoding;
pub mod id;
pub mod identity;
pub mod invite;
pub mod membership;
pub mod message;
pub mod store;
