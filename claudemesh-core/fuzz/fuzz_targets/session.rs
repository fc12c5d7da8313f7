//! `tests/fuzz/session.rs` says what is shown.

#![no_main]

#[allow(dead_code, unreachable_pub, reason = "made for the tests of the session")]
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/fuzz/session.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
