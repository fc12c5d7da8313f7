//! libsodium itself as the judge of our crypto, on random cases, in both directions.
//!
//! `CLAUDEMESH_ORACLE_CASES` sets how many per test (2000 if unset); `CLAUDEMESH_ORACLE_SEED`
//! (64 hex digits) replays a run, whose seed every failure names.

#![cfg(feature = "oracle")]
// The judge is a C library; nothing else here, and nothing in the crate, needs this.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ptr::{null, null_mut};
use std::sync::Once;

use claudemesh_core::crypto::{
    DirectKey, Drbg, KeyPair, TAG_LEN, X25519Secret, to_x25519_public, verify,
};
use claudemesh_core::encoding::{hex, unbase64, unbase64url, unhex, unhex_array};
use claudemesh_core::id::{PublicKey, Signature};

/// Safe shapes of the few functions that judge.
mod sodium {
    use super::{Once, TAG_LEN, null, null_mut};
    use libsodium_sys as ffi;

    fn init() {
        static START: Once = Once::new();
        // SAFETY: no arguments; libsodium allows it once per process before anything else.
        START.call_once(|| assert!(unsafe { ffi::sodium_init() } >= 0, "libsodium starts"));
    }

    /// Public key, and secret key in its stored form.
    pub(super) fn keypair(seed: &[u8; 32]) -> ([u8; 32], [u8; 64]) {
        init();
        let (mut public, mut secret) = ([0; 32], [0; 64]);
        // SAFETY: the arrays have the lengths that this function reads and writes.
        let code = unsafe {
            ffi::crypto_sign_seed_keypair(public.as_mut_ptr(), secret.as_mut_ptr(), seed.as_ptr())
        };
        assert_eq!(code, 0);
        (public, secret)
    }

    pub(super) fn sign(secret: &[u8; 64], bytes: &[u8]) -> [u8; 64] {
        init();
        let mut signature = [0; 64];
        // SAFETY: as above; the length goes with its slice, and the result's length is not asked.
        let code = unsafe {
            ffi::crypto_sign_detached(
                signature.as_mut_ptr(),
                null_mut(),
                bytes.as_ptr(),
                bytes.len() as u64,
                secret.as_ptr(),
            )
        };
        assert_eq!(code, 0);
        signature
    }

    pub(super) fn verify(public: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool {
        init();
        // SAFETY: the arrays have the lengths that are read; the length goes with its slice.
        let code = unsafe {
            ffi::crypto_sign_verify_detached(
                signature.as_ptr(),
                bytes.as_ptr(),
                bytes.len() as u64,
                public.as_ptr(),
            )
        };
        code == 0
    }

    pub(super) fn public_to_x25519(public: &[u8; 32]) -> Option<[u8; 32]> {
        init();
        let mut out = [0; 32];
        // SAFETY: both arrays are 32 bytes, as read and written.
        let code =
            unsafe { ffi::crypto_sign_ed25519_pk_to_curve25519(out.as_mut_ptr(), public.as_ptr()) };
        (code == 0).then_some(out)
    }

    pub(super) fn secret_to_x25519(secret: &[u8; 64]) -> [u8; 32] {
        init();
        let mut out = [0; 32];
        // SAFETY: 64 bytes are read at most and 32 are written.
        let code =
            unsafe { ffi::crypto_sign_ed25519_sk_to_curve25519(out.as_mut_ptr(), secret.as_ptr()) };
        assert_eq!(code, 0);
        out
    }

    pub(super) fn seal(
        bytes: &[u8],
        nonce: &[u8; 24],
        theirs: &[u8; 32],
        ours: &[u8; 32],
    ) -> Vec<u8> {
        init();
        let mut out = vec![0; bytes.len() + TAG_LEN];
        // SAFETY: the result has room for the tag and the text.
        let code = unsafe {
            ffi::crypto_box_easy(
                out.as_mut_ptr(),
                bytes.as_ptr(),
                bytes.len() as u64,
                nonce.as_ptr(),
                theirs.as_ptr(),
                ours.as_ptr(),
            )
        };
        assert_eq!(code, 0);
        out
    }

    pub(super) fn open(
        sealed: &[u8],
        nonce: &[u8; 24],
        theirs: &[u8; 32],
        ours: &[u8; 32],
    ) -> Option<Vec<u8>> {
        init();
        let mut out = vec![0; sealed.len().saturating_sub(TAG_LEN)];
        // SAFETY: the result has room for the text; a shorter input is refused before writing.
        let code = unsafe {
            ffi::crypto_box_open_easy(
                out.as_mut_ptr(),
                sealed.as_ptr(),
                sealed.len() as u64,
                nonce.as_ptr(),
                theirs.as_ptr(),
                ours.as_ptr(),
            )
        };
        (code == 0).then_some(out)
    }

    /// The sum of two points, if both are points.
    pub(super) fn add(a: &[u8; 32], b: &[u8; 32]) -> Option<[u8; 32]> {
        init();
        let mut out = [0; 32];
        // SAFETY: three arrays of 32 bytes.
        let code =
            unsafe { ffi::crypto_core_ed25519_add(out.as_mut_ptr(), a.as_ptr(), b.as_ptr()) };
        (code == 0).then_some(out)
    }

    pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
        init();
        let (mut out, mut len) = (vec![0; text.len() + 1], 0);
        // SAFETY: the lengths go with their buffers; nothing is ignored, no end is asked for.
        let code = unsafe {
            ffi::sodium_hex2bin(
                out.as_mut_ptr(),
                out.len(),
                text.as_ptr().cast(),
                text.len(),
                null(),
                &raw mut len,
                null_mut(),
            )
        };
        out.truncate(len);
        (code == 0).then_some(out)
    }

    pub(super) fn from_base64(text: &str, url: bool) -> Option<Vec<u8>> {
        init();
        let variant = if url {
            ffi::sodium_base64_VARIANT_URLSAFE_NO_PADDING
        } else {
            ffi::sodium_base64_VARIANT_ORIGINAL
        };
        let (mut out, mut len) = (vec![0; text.len() + 1], 0);
        // SAFETY: as above.
        let code = unsafe {
            ffi::sodium_base642bin(
                out.as_mut_ptr(),
                out.len(),
                text.as_ptr().cast(),
                text.len(),
                null(),
                &raw mut len,
                null_mut(),
                variant as i32,
            )
        };
        out.truncate(len);
        (code == 0).then_some(out)
    }
}

/// One point of each class of the small subgroup except its identity, generated by the first.
fn small_points() -> Vec<[u8; 32]> {
    let generator =
        unhex_array("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05").unwrap();
    let mut points = vec![generator];
    for n in 0..6 {
        points.push(sodium::add(&points[n], &generator).unwrap());
    }
    points
}

struct Case {
    random: Drbg,
    seed: [u8; 32],
    n: usize,
}

impl Case {
    fn pair(&mut self) -> KeyPair {
        KeyPair::from_seed(&self.random.bytes())
    }

    fn text(&mut self, max: u64) -> Vec<u8> {
        let len = self.random.below(max + 1) as usize;
        let mut text = Vec::new();
        while text.len() < len {
            text.extend(self.random.bytes::<64>());
        }
        text.truncate(len);
        text
    }

    /// Flips one to three bits.
    fn flip(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.random.below(3) {
            let bit = self.random.below(bytes.len() as u64 * 8) as usize;
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    fn why(&self) -> String {
        format!(
            "case {}, CLAUDEMESH_ORACLE_SEED={}",
            self.n,
            hex(&self.seed)
        )
    }
}

fn each_case(mut check: impl FnMut(&mut Case)) {
    let cases = std::env::var("CLAUDEMESH_ORACLE_CASES").map_or(2000, |n| {
        n.parse().expect("CLAUDEMESH_ORACLE_CASES is a number")
    });
    let seed = std::env::var("CLAUDEMESH_ORACLE_SEED").map_or_else(
        |_| {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).unwrap();
            seed
        },
        |seed| unhex_array(&seed).expect("CLAUDEMESH_ORACLE_SEED is 64 hex digits"),
    );
    let mut case = Case {
        random: Drbg::new(seed),
        seed,
        n: 0,
    };
    for n in 0..cases {
        case.n = n;
        check(&mut case);
    }
}

#[test]
fn keys_and_signatures_are_the_same_and_verify_both_ways() {
    each_case(|case| {
        let seed = case.random.bytes();
        let pair = KeyPair::from_seed(&seed);
        let (public, secret) = sodium::keypair(&seed);
        assert_eq!(pair.public().as_bytes(), &public, "{}", case.why());
        assert_eq!(*pair.expose_secret_hex(), hex(&secret), "{}", case.why());
        let text = case.text(300);
        let ours = pair.sign(&text);
        assert_eq!(ours.0, sodium::sign(&secret, &text), "{}", case.why());
        assert!(verify(&pair.public(), &text, &ours), "{}", case.why());
        assert!(sodium::verify(&public, &text, &ours.0), "{}", case.why());
    });
}

#[test]
fn changed_signatures_texts_and_keys_are_judged_alike() {
    each_case(|case| {
        let pair = case.pair();
        let mut text = case.text(100);
        let mut signature = pair.sign(&text).0;
        let mut public = pair.public().0;
        match case.random.below(4) {
            0 => case.flip(&mut text),
            1 => case.flip(&mut public),
            2 => {
                let other = add_order(&signature[32..]);
                signature[32..].copy_from_slice(&other);
            }
            _ => case.flip(&mut signature),
        }
        let ours = verify(&PublicKey(public), &text, &Signature(signature));
        let theirs = sodium::verify(&public, &text, &signature);
        assert_eq!(ours, theirs, "{}", case.why());
    });
}

/// `S` plus the order of the group, little-endian: the same scalar in another form.
fn add_order(s: &[u8]) -> [u8; 32] {
    let order: [u8; 32] =
        unhex_array("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut carry = 0;
    std::array::from_fn(|i| {
        let sum = u16::from(s[i]) + u16::from(order[i]) + carry;
        carry = sum >> 8;
        sum as u8
    })
}

#[test]
fn what_we_take_with_a_small_part_libsodium_takes_too() {
    // With a part of small order in key or signature the two may differ in one direction only:
    // ours is the stricter.
    let small = small_points();
    each_case(|case| {
        let pair = case.pair();
        let text = case.text(100);
        let mut signature = pair.sign(&text).0;
        let mut public = pair.public().0;
        let torsion = small[case.random.below(small.len() as u64) as usize];
        match case.random.below(3) {
            0 => public = sodium::add(&public, &torsion).unwrap(),
            1 => public = torsion,
            _ => {
                let r: [u8; 32] = signature[..32].try_into().unwrap();
                signature[..32].copy_from_slice(&sodium::add(&r, &torsion).unwrap());
            }
        }
        let ours = verify(&PublicKey(public), &text, &Signature(signature));
        let theirs = sodium::verify(&public, &text, &signature);
        assert!(!ours || theirs, "{}", case.why());
    });
}

#[test]
fn secrets_are_converted_alike() {
    each_case(|case| {
        let seed = case.random.bytes();
        let ours = X25519Secret::of(&KeyPair::from_seed(&seed)).expose();
        let theirs = sodium::secret_to_x25519(&sodium::keypair(&seed).1);
        assert_eq!(*ours, theirs, "{}", case.why());
    });
}

#[track_caller]
fn assert_converted_alike(public: [u8; 32], why: &str) -> bool {
    let ours = to_x25519_public(&PublicKey(public)).ok();
    assert_eq!(
        ours,
        sodium::public_to_x25519(&public),
        "{} {why}",
        hex(&public)
    );
    ours.is_some()
}

#[test]
fn public_keys_are_converted_or_refused_alike() {
    let small = small_points();
    let mut taken = 0;
    let mut all = 0;
    each_case(|case| {
        let why = case.why();
        let mut public = match case.random.below(2) {
            0 => case.pair().public().0,
            _ => case.random.bytes(),
        };
        match case.random.below(3) {
            0 => {}
            1 => case.flip(&mut public),
            _ => {
                let torsion = small[case.random.below(small.len() as u64) as usize];
                public = sodium::add(&public, &torsion).unwrap_or(public);
            }
        }
        all += 1;
        taken += usize::from(assert_converted_alike(public, &why));
    });
    assert!(all < 100 || (0 < taken && taken < all), "{taken} of {all}");
}

#[test]
fn small_and_odd_encodings_are_converted_or_refused_alike() {
    for point in small_points() {
        assert!(!assert_converted_alike(point, "small order"));
        let mut signed = point;
        signed[31] ^= 0x80;
        assert!(!assert_converted_alike(signed, "small order, other sign"));
    }
    for low in 0..=u8::MAX {
        for (middle, high) in [(0, 0x00), (0, 0x80), (0xff, 0x7f), (0xff, 0xff)] {
            let mut public = [middle; 32];
            public[0] = low;
            public[31] = high;
            assert_converted_alike(public, "near the ends of the field");
        }
    }
}

#[test]
fn boxes_are_the_same_and_open_both_ways() {
    each_case(|case| {
        let (a, b) = (case.pair(), case.pair());
        let nonce = case.random.bytes();
        let text = case.text(1000);
        let a_secret = X25519Secret::of(&a);
        let b_secret = X25519Secret::of(&b);
        let a_public = to_x25519_public(&a.public()).unwrap();
        let b_public = to_x25519_public(&b.public()).unwrap();
        let ours = DirectKey::agree(&a_secret, &b.public()).unwrap();
        let theirs = DirectKey::agree(&b_secret, &a.public()).unwrap();

        let sealed = ours.seal(&nonce, &text).unwrap();
        let judged = sodium::seal(&text, &nonce, &b_public, &a_secret.expose());
        assert_eq!(sealed, judged, "{}", case.why());
        let opened = sodium::open(&sealed, &nonce, &a_public, &b_secret.expose());
        assert_eq!(opened.as_ref(), Some(&text), "{}", case.why());
        assert_eq!(
            theirs.open(&nonce, &judged).as_ref(),
            Ok(&text),
            "{}",
            case.why()
        );

        let mut broken = sealed;
        if case.random.below(4) == 0 {
            broken.truncate(case.random.below(broken.len() as u64) as usize);
        } else {
            case.flip(&mut broken);
        }
        let judged = sodium::open(&broken, &nonce, &a_public, &b_secret.expose());
        assert_eq!(theirs.open(&nonce, &broken).ok(), judged, "{}", case.why());
    });
}

#[test]
fn text_is_decoded_or_refused_alike() {
    const ODD: &[u8] = b"=-_+/ \nAZaz09fFg:.";
    each_case(|case| {
        let bytes = case.text(40);
        let mut text = match case.random.below(4) {
            0 => hex(&bytes).into_bytes(),
            1 => hex(&bytes).to_uppercase().into_bytes(),
            2 => claudemesh_core::encoding::base64(&bytes).into_bytes(),
            _ => claudemesh_core::encoding::base64url(&bytes).into_bytes(),
        };
        for _ in 0..case.random.below(3) {
            let at = case.random.below(text.len() as u64 + 1) as usize;
            let odd = ODD[case.random.below(ODD.len() as u64) as usize];
            match case.random.below(3) {
                0 => text.insert(at, odd),
                1 if at < text.len() => text[at] = odd,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        let text = String::from_utf8(text).unwrap();
        let why = format!("{text:?} {}", case.why());
        assert_eq!(unhex(&text).ok(), sodium::from_hex(&text), "hex {why}");
        assert_eq!(
            unbase64(&text).ok(),
            sodium::from_base64(&text, false),
            "base64 {why}"
        );
        assert_eq!(
            unbase64url(&text).ok(),
            sodium::from_base64(&text, true),
            "url {why}"
        );
    });
}

#[test]
fn padding_in_the_middle_is_refused_alike() {
    for text in ["AA==AA==", "AAA=AAAA", "AAAAAA==AAAA", "====", "AA==="] {
        assert_eq!(
            unbase64(text).ok(),
            sodium::from_base64(text, false),
            "{text}"
        );
        assert_eq!(
            unbase64url(text).ok(),
            sodium::from_base64(text, true),
            "{text}"
        );
    }
}
