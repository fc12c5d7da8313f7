//! Load and chaos runs.

#![forbid(unsafe_code)]

fn main() {}
