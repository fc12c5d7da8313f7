//! The claudemesh command line.
fn main() {}
