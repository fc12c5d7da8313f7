//! A claudemesh broker.

pub mod limits;
pub mod router;
pub mod store;
