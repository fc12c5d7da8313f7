//! Bytes from anywhere give an error or a value, never a panic.

use claudemesh_core::channel::{
    ExpectedValue, SealedValue, Value, What, newer, open_value, seal_value,
};
use claudemesh_core::crypto::{
    DirectKey, KeyPair, NONCE_LEN, SecretKey, X25519Secret, to_x25519_public, verify,
};
use claudemesh_core::encoding::{Decoder, Encoder, base64url, unbase64, unbase64url, unhex};
use claudemesh_core::id::{Hash, KeyId, MeshId, Name, PublicKey, Signature};
use claudemesh_core::identity::{
    SessionStatement, SignedSession, log_read_proof, split_proof, verify_attestation,
    verify_log_read_proof, verify_text,
};
use claudemesh_core::wire::SignedBlob;
use proptest::prelude::*;
use serde_json::json;

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

    #[test]
    fn session_statements(rest in bytes(2_100), signature: [u8; 32], text in text(), now: u64) {
        let mesh = MeshId::new("mesh").unwrap();
        let signature = Signature([signature, signature].concat().try_into().unwrap());
        for bytes in [rest.clone(), [Encoder::new("session/1").finish(), rest].concat()] {
            let signed = SignedSession { bytes, signature };
            prop_assert!(SessionStatement::open(&signed, &mesh, now).is_err());
        }
        let blob = SignedBlob { e: text.clone(), sig: text, cosig: None };
        let read = SignedSession::try_from(&blob);
        prop_assert!(read.and_then(|read| SessionStatement::open(&read, &mesh, now)).is_err());
    }

    #[test]
    fn changed_session_statements(
        seed: [u8; 32],
        session: Option<[u8; 32]>,
        head: Option<(u64, [u8; 32])>,
        capabilities in proptest::collection::vec("[!-~]{1,64}", 0..=16),
        name in "[a-zé]{1,32}",
        time in 0..u64::MAX / 2,
        lasts in 1..=86_400_000u64,
        at: prop::sample::Index,
        bits in 1..=255u8,
    ) {
        let key = KeyPair::from_seed(&seed);
        let made = SessionStatement {
            mesh: MeshId::new("mesh").unwrap(),
            member: key.public(),
            session: session.map(PublicKey),
            name: Name::new(&name).unwrap(),
            capabilities,
            head: head.map(|(seq, hash)| (seq, Hash(hash))),
            not_before: time,
            expires_at: time + lasts,
        };
        let signed = made.make(&key).unwrap();
        let open = |signed: &SignedSession| SessionStatement::open(signed, &made.mesh, time);
        let read = SignedSession::try_from(&SignedBlob::from(&signed)).unwrap();
        prop_assert_eq!(open(&read), Ok(made.clone()));
        let mut changed = signed.clone();
        let at = at.index(signed.bytes.len());
        changed.bytes[at] ^= bits;
        prop_assert!(open(&changed).is_err());
        changed.bytes.truncate(at);
        prop_assert!(open(&changed).is_err());
    }

    #[test]
    fn values(rest in bytes(400), text in text(), what in 0..3usize) {
        let (mesh, key, id) = (MeshId::new("mesh").unwrap(), SecretKey::new([1; 32]), KeyId([2; 16]));
        let what = [What::State, What::Memory, What::Summary][what];
        let expected = ExpectedValue { mesh: &mesh, what, name: &text, key_id: &id, key: &key };
        // Nothing at all, the right front, and what the key's holder could have sealed.
        let inside = [Encoder::new("value/1").finish(), rest.clone()].concat();
        let mut padded = (inside.len() as u32).to_be_bytes().to_vec();
        padded.extend_from_slice(&inside);
        padded.resize(512, 0);
        let front = [&[0xce, 0x02], id.0.as_slice(), &[3; 24]].concat();
        let blobs = [
            rest.clone(),
            [front.clone(), rest.clone()].concat(),
            [front.clone(), key.seal(&[3; 24], &rest).unwrap()].concat(),
            [front, key.seal(&[3; 24], &padded).unwrap()].concat(),
        ];
        for blob in blobs.map(|blob| base64url(&blob)).into_iter().chain([text.clone()]) {
            let json = SealedValue::from_json(&json!({ "$sealed": blob }));
            prop_assert_eq!(&SealedValue::from_text(&format!("$sealed:{blob}")), &json);
            prop_assert!(json.and_then(|sealed| open_value(expected, &sealed)).is_err());
        }
        let _ = (SealedValue::from_text(&text), SealedValue::from_json(&json!([text])));
    }

    #[test]
    fn changed_values(
        seed: [u8; 32],
        secret: [u8; 32],
        name in "(?s).{1,60}",
        body in bytes(700),
        version in 1..1u64 << 53,
        nonce: [u8; NONCE_LEN],
        at: prop::sample::Index,
        bits in 1..=255u8,
    ) {
        let (mesh, key, id) = (MeshId::new("mesh").unwrap(), SecretKey::new(secret), KeyId([2; 16]));
        let value = Value { what: What::State, name, version, written_at: 1, body };
        let writer = KeyPair::from_seed(&seed);
        let sealed = seal_value(&mesh, &writer, &id, &key, &value, nonce).unwrap();
        prop_assert_eq!(&SealedValue::from_json(&sealed.to_json()).unwrap(), &sealed);
        let expected = ExpectedValue {
            mesh: &mesh, what: What::State, name: &value.name, key_id: &id, key: &key,
        };
        let text = sealed.to_text();
        let opened = open_value(expected, &SealedValue::from_text(&text).unwrap()).unwrap();
        prop_assert_eq!((opened.writer, opened.version, &opened.body), (writer.public(), version, &value.body));
        let mut blob = unbase64url(&text[8..]).unwrap();
        let at = at.index(blob.len());
        blob[at] ^= bits;
        for end in [blob.len(), at] {
            let read = SealedValue::from_text(&format!("$sealed:{}", base64url(&blob[..end])));
            prop_assert!(read.and_then(|sealed| open_value(expected, &sealed)).is_err());
        }
    }

    /// In whatever order values come, all readers end with the same one.
    #[test]
    fn readers_agree_on_the_newest_value(
        (values, shuffled) in proptest::collection::vec((1..4u64, 0..4u8), 1..12)
            .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
    ) {
        let last = |values: &[(u64, u8)]| {
            values.iter().fold(None, |held, (version, byte)| {
                use claudemesh_core::channel::Verdict::{Newer, Replaced};
                let got = (*version, Hash([*byte; 32]));
                match newer(held, got) {
                    Newer | Replaced => Some(got),
                    _ => held,
                }
            })
        };
        prop_assert_eq!(last(&values), last(&shuffled));
    }
}

/// Some 32 bytes, of which a few are points.
fn nonce_to_key(nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..NONCE_LEN].copy_from_slice(nonce);
    key
}
