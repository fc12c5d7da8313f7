//! Asks the linker for a smaller library where it is one that can make it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let env = std::env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    // Where Rust links with lld of itself. Functions with the same code become one, and constants
    // with the same bytes, most of them tables for unwinding; nothing here or in SQLite tells them
    // apart by their address.
    if os == "android" || (os == "linux" && arch == "x86_64" && env == "gnu") {
        println!("cargo:rustc-link-arg-cdylib=-Wl,--icf=all");
        println!("cargo:rustc-link-arg-cdylib=-Wl,--ignore-data-address-equality");
        println!("cargo:rustc-link-arg-cdylib=-Wl,-O2");
    }
}
