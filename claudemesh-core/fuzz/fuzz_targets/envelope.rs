//! `tests/fuzz/envelope.rs` says what is shown.

#![no_main]

#[path = "../../tests/fuzz/envelope.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
