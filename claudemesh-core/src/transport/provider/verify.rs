//! The signatures of certificates and handshakes that are understood: all that ring's provider
//! understands.

use ed25519_dalek::VerifyingKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest as _, Sha256, Sha384};
use webpki::ring as by_ring;

static ECDSA_P256_SHA256: &dyn SignatureVerificationAlgorithm = &EcdsaP256 {
    hash: |message| Sha256::digest(message).to_vec(),
    signature: alg_id::ECDSA_SHA256,
};
static ECDSA_P256_SHA384: &dyn SignatureVerificationAlgorithm = &EcdsaP256 {
    hash: |message| Sha384::digest(message).to_vec(),
    signature: alg_id::ECDSA_SHA384,
};
static ED25519: &dyn SignatureVerificationAlgorithm = &Ed25519;

pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        by_ring::ECDSA_P384_SHA256,
        by_ring::ECDSA_P384_SHA384,
        ED25519,
        by_ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        by_ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        by_ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        by_ring::RSA_PKCS1_2048_8192_SHA256,
        by_ring::RSA_PKCS1_2048_8192_SHA384,
        by_ring::RSA_PKCS1_2048_8192_SHA512,
        by_ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        by_ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        by_ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        // TLS 1.2 names the hash and not the curve; of TLS 1.3 the first one is meant.
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[ECDSA_P256_SHA256, by_ring::ECDSA_P384_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[by_ring::ECDSA_P384_SHA384, ECDSA_P256_SHA384],
        ),
        (SignatureScheme::ED25519, &[ED25519]),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[by_ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[by_ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[by_ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[by_ring::RSA_PKCS1_2048_8192_SHA512],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[by_ring::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[by_ring::RSA_PKCS1_2048_8192_SHA256],
        ),
    ],
};

#[derive(Debug)]
struct EcdsaP256 {
    hash: fn(&[u8]) -> Vec<u8>,
    signature: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for EcdsaP256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        // Certificates have keys in the uncompressed form alone, as ring wants them too.
        if public_key.first() != Some(&4) {
            return Err(InvalidSignature);
        }
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key);
        let signature = p256::ecdsa::Signature::from_der(signature);
        let (Ok(key), Ok(signature)) = (key, signature) else {
            return Err(InvalidSignature);
        };
        key.verify_prehash(&(self.hash)(message), &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[derive(Debug)]
struct Ed25519;

impl SignatureVerificationAlgorithm for Ed25519 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = public_key.try_into().ok();
        let key = key.and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let signature = ed25519_dalek::Signature::from_slice(signature).ok();
        let (Some(key), Some(signature)) = (key, signature) else {
            return Err(InvalidSignature);
        };
        key.verify_strict(message, &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::unhex;
    use rcgen::SigningKey as _;

    /// RFC 6979, A.2.5: one key's signatures of `sample`, as DER.
    const KEY: &str = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    const SHA256: &str = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
    const SHA384: &str = "304402200eafea039b20e9b42309fb1d89e213057cbf973dc0cfc8f129edddc800ef771902204861f0491e6998b9455193e34e7b0d284ddd7149a74b95b9261f13abde940954";

    /// What ring says must be what is said here, for a signature and for all that differ from it,
    /// its key or its message in one bit, or are cut.
    fn judged_alike(
        ours: &dyn SignatureVerificationAlgorithm,
        rings: &dyn SignatureVerificationAlgorithm,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) {
        let both = |key: &[u8], message: &[u8], signature: &[u8]| {
            let ours = ours.verify_signature(key, message, signature).is_ok();
            let rings = rings.verify_signature(key, message, signature).is_ok();
            assert_eq!(ours, rings, "{key:x?} {message:x?} {signature:x?}");
            ours
        };
        assert_eq!(ours.public_key_alg_id(), rings.public_key_alg_id());
        assert_eq!(ours.signature_alg_id(), rings.signature_alg_id());
        assert!(both(key, message, signature));
        assert!(!both(key, b"another", signature));
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!both(key, message, &changed), "bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut changed = key.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!both(&changed, message, signature), "bit {bit}");
        }
        for length in 0..signature.len() {
            assert!(!both(key, message, &signature[..length]));
        }
        for length in 0..key.len() {
            assert!(!both(&key[..length], message, signature));
        }
        assert!(!both(key, message, &[signature, &[0]].concat()));
        assert!(!both(&[key, &[0]].concat(), message, signature));
    }

    #[test]
    fn p256_is_judged_as_ring_does() {
        let key = unhex(KEY).unwrap();
        for (ours, rings, signature) in [
            (ECDSA_P256_SHA256, by_ring::ECDSA_P256_SHA256, SHA256),
            (ECDSA_P256_SHA384, by_ring::ECDSA_P256_SHA384, SHA384),
        ] {
            let signature = unhex(signature).unwrap();
            judged_alike(ours, rings, &key, b"sample", &signature);
        }
        // Zero and the curve's order are no parts of a signature, and DER has one form of a number.
        for bad in [
            "3006020100020100",
            "3026020101022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            "30080202000102020001",
            "3080020101020101",
        ] {
            let bad = unhex(bad).unwrap();
            for any in [ECDSA_P256_SHA256, by_ring::ECDSA_P256_SHA256] {
                assert!(any.verify_signature(&key, b"sample", &bad).is_err());
            }
        }
        // The compressed form of the same key.
        let compressed = [&[3], &key[1..33]].concat();
        let signature = unhex(SHA256).unwrap();
        for any in [ECDSA_P256_SHA256, by_ring::ECDSA_P256_SHA256] {
            assert!(
                any.verify_signature(&compressed, b"sample", &signature)
                    .is_err()
            );
        }
    }

    #[test]
    fn signatures_of_many_keys_are_good() {
        for n in 0..30_u8 {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            let signature = key.sign(&[n]).unwrap();
            let public = key.public_key_raw();
            assert!(
                ECDSA_P256_SHA256
                    .verify_signature(public, &[n], &signature)
                    .is_ok()
            );
            assert!(
                ECDSA_P256_SHA384
                    .verify_signature(public, &[n], &signature)
                    .is_err()
            );
        }
    }

    #[test]
    fn ed25519_is_judged_as_ring_does() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let signature = key.sign(b"sample").unwrap();
        judged_alike(
            ED25519,
            by_ring::ED25519,
            key.public_key_raw(),
            b"sample",
            &signature,
        );
        // A key of small order, for which one signature would be good for many messages.
        let mut zero = [0; 64];
        zero[0] = 1;
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(
            ED25519
                .verify_signature(&identity, b"sample", &zero)
                .is_err()
        );
    }
}
