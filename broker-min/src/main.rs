//! Runs the broker.
fn main() {}
