//! `tests/fuzz/wire.rs` says what is shown.

#![no_main]

#[path = "../../tests/fuzz/wire.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
