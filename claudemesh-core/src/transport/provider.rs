//! The cryptography of TLS for peers: ring's, without what makes it large.
//!
//! ring brings tables of 150 KiB for P-256 and of 24 KiB for Curve25519, and ChaCha20-Poly1305 in
//! assembly for each kind of processor. A peer checks two or three signatures and agrees on one key for
//! each connection, so that speed is nothing to it; apps that embed one care for each of those bytes. What
//! is on Curve25519 here is done by the crate that seals messages, P-256 by one without tables,
//! the rest (AES-GCM, SHA-2, RSA, P-384) by ring.

mod agree;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use rustls::crypto::ring::cipher_suite;
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SupportedKxGroup,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{Error, SupportedCipherSuite};

/// AES-GCM is what every server of TLS 1.3 must have, and each of TLS 1.2 that is kept in order has.
static SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// The first is the one that is guessed in the first message.
static GROUPS: &[&dyn SupportedKxGroup] = &[&agree::X25519, &agree::P256];

pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: GROUPS.to_vec(),
        signature_verification_algorithms: verify::ALGORITHMS,
        secure_random: &System,
        key_provider: &NoKeys,
    }
}

/// The system's source of random bytes.
#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(buf).map_err(|_| GetRandomFailed)
    }
}

/// No client here has a certificate: the code that signs with its key stays out of the program.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("no certificate is shown here".to_owned()))
    }
}
