//! A claudemesh peer.
