//! A small claudemesh broker: it routes ciphertext, keeps it for those who are away, and can do
//! nothing else.

pub mod store;
