//! Asks the linker for a smaller library where it is one that can make it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=without-metadata.ld");
    println!("cargo:rerun-if-env-changed=CLAUDEMESH_GLIBC");
    let os = variable("CARGO_CFG_TARGET_OS");
    let glibc = os == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    let desktop = glibc && variable("CARGO_CFG_TARGET_ARCH") == "x86_64" && links_with_lld();
    if !desktop && os != "android" {
        return;
    }
    // Functions with the same code become one, and constants with the same bytes, most of them tables
    // for unwinding; nothing here or in SQLite tells them apart by their address.
    link("--icf=all");
    link("--ignore-data-address-equality");
    link("-O2");
    if variable("PROFILE") == "release" && std::env::var_os("CARGO_FEATURE_METADATA").is_none() {
        // Not through `-Wl`, which a folder with a comma in its name would cut.
        let folder = variable("CARGO_MANIFEST_DIR");
        println!("cargo:rustc-link-arg-cdylib=-Xlinker");
        println!("cargo:rustc-link-arg-cdylib=--script={folder}/without-metadata.ld");
    }
    if desktop && oldest_glibc() >= Some((2, 36)) {
        link("-z,pack-relative-relocs");
    }
}

fn link(option: &str) {
    println!("cargo:rustc-link-arg-cdylib=-Wl,{option}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Rust links with an lld of its own here since 1.90, unless it was told of another linker.
fn links_with_lld() -> bool {
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let told = [
        "fuse-ld",
        "linker-features=-lld",
        "linker-flavor",
        "linker=",
    ];
    let version = said(Command::new(variable("RUSTC")).arg("--version"));
    let version = version.as_deref().and_then(|text| text.split(' ').nth(1));
    version.and_then(numbers) >= Some((1, 90))
        && std::env::var_os("RUSTC_LINKER").is_none()
        && !told.iter().any(|word| flags.contains(word))
}

/// The oldest glibc that the library is for: `CLAUDEMESH_GLIBC`, else that of this machine, as for
/// everything that is linked against it. None if it is made for another machine.
fn oldest_glibc() -> Option<(u32, u32)> {
    match std::env::var("CLAUDEMESH_GLIBC") {
        Ok(version) => {
            let read = numbers(&version);
            if read.is_none() {
                println!(
                    "cargo::error=CLAUDEMESH_GLIBC is {version:?}; it is a version, such as 2.34"
                );
            }
            read
        }
        Err(_) if variable("HOST") != variable("TARGET") => None,
        Err(_) => {
            let said = said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
            numbers(said.strip_prefix("glibc ")?)
        }
    }
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    String::from_utf8(output.stdout).ok()
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
