//! Entries of the mesh's log and of a channel's: decoding is strict, and a log takes nothing that
//! nobody signed.

use std::sync::OnceLock;

use crate::support::{ANA, BEN, CEM, Mesh, pair};
use claudemesh_core::channel::KeyStatement;
use claudemesh_core::id::Signature;
use claudemesh_core::membership::{Log, SignedEntry};

fn mesh() -> &'static Mesh {
    static MESH: OnceLock<Mesh> = OnceLock::new();
    MESH.get_or_init(|| Mesh::new(&[BEN, CEM]))
}

pub fn run(data: &[u8]) {
    let (signature, bytes) = data.split_at(data.len().min(64));
    let mut own = [0; 64];
    own[..signature.len()].copy_from_slice(signature);
    // Signed by nobody, and by the owner: the second gets as far as the rules.
    for (signature, cosignature) in [
        (Signature(own), None),
        (pair(ANA).sign(bytes), None),
        (pair(ANA).sign(bytes), Some(pair(BEN).sign(bytes))),
    ] {
        let entry = SignedEntry {
            bytes: bytes.to_vec(),
            signature,
            cosignature,
        };
        if let Ok(decoded) = entry.decode() {
            assert_eq!(entry.decode().as_ref(), Ok(&decoded));
        }
        let _ = entry.decode_channel();
        let _ = entry.open_channel();
        let _ = Log::begin(&entry);
        let mut log = mesh().log.clone();
        let head = log.head();
        let taken = log.append(&entry).is_ok();
        assert_eq!(log.head() != head, taken);
    }
    let _ = KeyStatement::parse(bytes);
}
