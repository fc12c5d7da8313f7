//! The interop vectors, section by section.
//!
//! `CLAUDEMESH_VECTORS` may name another file of the same shape: sections may be missing or empty,
//! cases may lack fields that are not needed to decide them. A case that cannot be decided fails,
//! as does one that panics: a reject is always an error.

#![allow(clippy::panic)]

#[path = "vectors/backup.rs"]
mod backup;
#[path = "vectors/harness.rs"]
mod harness;
#[path = "vectors/sealed.rs"]
mod sealed;
#[path = "vectors/signed.rs"]
mod signed;
#[path = "vectors/text.rs"]
mod text;

#[path = "vectors/frames.rs"]
mod frames;
#[path = "vectors/invite.rs"]
mod invite;

use std::io::Write;
use std::path::Path;

use harness::{Check, Run, Vectors};

/// Every section there is; one that is not in [`BUILT`] is counted as not built.
const KNOWN: [&str; 20] = [
    "keys",
    "hello_sign",
    "session_attestation",
    "session_hello_sign",
    "ed25519_to_x25519",
    "direct_box",
    "secretbox",
    "sealed_box",
    "topic_key_seal",
    "invite_v1",
    "invite_v2",
    "invite_input_classification",
    "sas",
    "backup_cmb",
    "request_fingerprint",
    "host_fingerprint",
    "broadcast_plaintext",
    "bridge_hop",
    "encoding_strictness",
    "frames",
];

macro_rules! built {
    ($($name:ident: $check:path,)*) => {
        const BUILT: &[(&str, Check)] = &[$((stringify!($name), $check)),*];
        $(
            #[test]
            fn $name() {
                let vectors = Vectors::load();
                let mut run = Run::default();
                run.section(&vectors, stringify!($name), $check);
                run.assert_passed();
            }
        )*
    };
}

built! {
    keys: signed::keys,
    hello_sign: signed::hello_sign,
    session_attestation: signed::session_attestation,
    session_hello_sign: signed::session_hello_sign,
    ed25519_to_x25519: sealed::ed25519_to_x25519,
    direct_box: sealed::direct_box,
    secretbox: sealed::secretbox,
    sas: text::sas,
    encoding_strictness: text::encoding_strictness,
    frames: frames::frames,
    invite_v1: invite::invite_v1,
    invite_input_classification: invite::invite_input_classification,
    backup_cmb: backup::backup_cmb,
    broadcast_plaintext: text::broadcast_plaintext,
}

/// Sections of what neither our peer nor our broker does.
const NOT_OURS: [&str; 6] = [
    "sealed_box",
    "topic_key_seal",
    "invite_v2",
    "request_fingerprint",
    "host_fingerprint",
    "bridge_hop",
];

/// Each section is checked, or named as one that does not apply, with the reason in the document.
#[test]
fn what_is_not_checked_is_named_with_its_reason() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let document = std::fs::read_to_string(document).unwrap();
    for name in KNOWN {
        let built = BUILT.iter().any(|(built, _)| *built == name);
        assert_ne!(built, NOT_OURS.contains(&name), "{name}");
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        assert_ne!(built, row.is_some(), "{name}: {row:?}");
    }
}

#[test]
fn all_sections() {
    let vectors = Vectors::load();
    let mut run = Run::default();
    let mut not_built = Vec::new();
    let mut left_out = 0;
    for name in vectors.names().filter(|name| *name != "_doc") {
        if let Some((_, check)) = BUILT.iter().find(|(built, _)| *built == name) {
            run.section(&vectors, name, *check);
        } else if KNOWN.contains(&name) {
            let cases = vectors.count(name);
            left_out += cases;
            not_built.push(format!("{name} ({cases})"));
        } else {
            run.fail(name, "", "no such section is known");
        }
    }
    // Written straight to the stream: the test harness would keep what is printed to itself.
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\nnot built: {}\nvector cases: {} run, {left_out} not built",
        if not_built.is_empty() {
            "nothing".to_owned()
        } else {
            not_built.join(", ")
        },
        run.cases(),
    )
    .unwrap();
    drop(out);
    run.assert_passed();
}
