//! Bytes from anywhere give an error or a value, never a panic.

use claudemesh_core::crypto::{
    DirectKey, KeyPair, NONCE_LEN, X25519Secret, to_x25519_public, verify,
};
use claudemesh_core::encoding::{Decoder, Encoder, unbase64, unbase64url, unhex};
use claudemesh_core::id::{MeshId, PublicKey, Signature};
use claudemesh_core::identity::{
    log_read_proof, split_proof, verify_attestation, verify_log_read_proof, verify_text,
};
use proptest::prelude::*;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=max)
}

/// Any text: ASCII, wide characters, controls, and what looks like a proof.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,300}",
        "[0-9a-fA-F]{0,140}",
        r#"\{"type":"hello"(,"proof":")?[0-9a-fé"]{120,140}"?\}?"#,
        r"[0-9a-f]{62,66}\.[0-9+-]{0,22}\.[0-9a-f]{126,130}",
    ]
}

/// Reads fields of every kind in the order that `kinds` says, until nothing is left or one fails.
fn read_fields(bytes: &[u8], kinds: &[u8]) {
    let Ok(mut fields) = Decoder::new("x/1", bytes) else {
        return;
    };
    for kind in kinds {
        let failed = match kind % 7 {
            0 => fields.bytes().is_err(),
            1 => fields.array::<32>("f").is_err(),
            2 => fields.optional::<32>("f").is_err(),
            3 => fields.text("f").is_err(),
            4 => fields.int("f").is_err(),
            5 => fields.optional_int("f").is_err(),
            _ => fields.list().is_err(),
        };
        if failed {
            break;
        }
    }
    let _ = fields.end();
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn secrets(bytes in bytes(130), text in text()) {
        let _ = KeyPair::from_libsodium(&bytes);
        let _ = KeyPair::from_secret_hex(&text);
    }

    #[test]
    fn a_secret_has_one_length_and_one_public_half(seed: [u8; 32], extra in bytes(3), at in 0..64usize) {
        let good = unhex(&KeyPair::from_seed(&seed).expose_secret_hex()).unwrap();
        prop_assert!(KeyPair::from_libsodium(&good).is_ok());
        let mut longer = good.clone();
        longer.extend_from_slice(&extra);
        prop_assert_eq!(KeyPair::from_libsodium(&longer).is_ok(), extra.is_empty());
        prop_assert!(KeyPair::from_libsodium(&good[..at]).is_err());
        let mut other = good;
        other[at] ^= 1;
        prop_assert!(KeyPair::from_libsodium(&other).is_err());
    }

    #[test]
    fn public_keys(key: [u8; 32], signature in bytes(64), text in bytes(100)) {
        let key = PublicKey(key);
        let _ = to_x25519_public(&key);
        if let Ok(signature) = signature.try_into() {
            prop_assert!(!verify(&key, &text, &Signature(signature)));
        }
    }

    #[test]
    fn boxes(ours: [u8; 32], theirs: [u8; 32], nonce: [u8; NONCE_LEN], sealed in bytes(200)) {
        let ours = X25519Secret::of(&KeyPair::from_seed(&ours));
        let theirs = KeyPair::from_seed(&theirs).public();
        let key = DirectKey::agree(&ours, &theirs).unwrap();
        prop_assert!(key.open(&nonce, &sealed).is_err());
        let _ = DirectKey::agree(&ours, &PublicKey(nonce_to_key(&nonce)));
    }

    #[test]
    fn fields(rest in bytes(200), kinds in bytes(12)) {
        read_fields(&rest, &kinds);
        let mut named = Encoder::new("x/1").finish();
        named.extend_from_slice(&rest);
        read_fields(&named, &kinds);
    }

    #[test]
    fn changed_fields(
        items in proptest::collection::vec(bytes(20), 0..5),
        number: u64,
        at: prop::sample::Index,
        to: u8,
        kinds in bytes(12),
    ) {
        let mut bytes = Encoder::new("x/1")
            .list(items.iter().map(Vec::as_slice))
            .int(number)
            .text("text")
            .optional(None)
            .finish();
        let at = at.index(bytes.len());
        bytes[at] = to;
        read_fields(&bytes, &kinds);
        read_fields(&bytes[..at], &kinds);
    }

    #[test]
    fn encodings(text in text()) {
        let _ = (unhex(&text), unbase64(&text), unbase64url(&text));
    }

    #[test]
    fn proofs(text in text(), now: u64) {
        let mesh = MeshId::new("mesh").unwrap();
        let _ = split_proof(&text);
        prop_assert!(verify_log_read_proof(&mesh, &text, now).is_err());
        prop_assert!(verify_attestation(now, &text, &text, now, &text).is_err());
        let _ = verify_attestation(now, &text, &text, now.saturating_add(1), &text);
        prop_assert!(verify_text(&text, &text, &text).is_err());
    }

    #[test]
    fn changed_proofs(seed: [u8; 32], now: u64, at: prop::sample::Index, to: char) {
        let mesh = MeshId::new("mesh").unwrap();
        let value = log_read_proof(&mesh, &KeyPair::from_seed(&seed), now);
        let at = at.index(value.len());
        let changed = format!("{}{to}{}", &value[..at], &value[at + 1..]);
        let same = changed.eq_ignore_ascii_case(&value);
        prop_assert_eq!(verify_log_read_proof(&mesh, &changed, now).is_ok(), same);
    }
}

/// Some 32 bytes, of which a few are points.
fn nonce_to_key(nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..NONCE_LEN].copy_from_slice(nonce);
    key
}
