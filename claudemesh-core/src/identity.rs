//! Who signs what: the strings and encodings that a member key or a session key vouches for.
//!
//! Implements docs/protocol.md, sections "Hello", "Session statements", "Addresses of
//! sessions", "Signed requests" and "Safety numbers".

mod address;
mod profile;
mod request;
mod statement;

pub use address::{ADDRESS_MAX_TTL_MS, AddressError, SessionAddress, SignedAddress};
pub use profile::{PROFILE_STATEMENT, statement_of_profile, statement_to_profile};
pub use request::{HttpRequest, request_bytes, sign_request, verify_request};
pub use statement::{
    MAX_CAPABILITIES, MAX_CAPABILITY, STATEMENT_MAX_TTL_MS, SessionStatement,
    SessionStatementError, SignedSession,
};

use crate::crypto::{KeyPair, sha256, verify};
use crate::encoding::Encoder;
use crate::id::{Hash, MeshId, PublicKey, Signature};

/// Milliseconds by which a hello's timestamp may differ from the broker's clock.
pub const HELLO_SKEW_MS: u64 = 60_000;
/// Milliseconds for which a session attestation holds by default: 12 h.
pub const ATTESTATION_TTL_MS: u64 = 43_200_000;
/// Milliseconds for which a session attestation may hold at most: 24 h.
pub const ATTESTATION_MAX_TTL_MS: u64 = 86_400_000;

/// Why something signed is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A key or signature is not hex of the right length.
    #[error("malformed")]
    Malformed,
    /// The signature is not that key's over these bytes.
    #[error("bad_signature")]
    BadSignature,
    /// The time in it is too far from the verifier's clock.
    #[error("timestamp_skew")]
    TimestampSkew,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// It would hold for longer than is allowed.
    #[error("ttl_too_long")]
    TtlTooLong,
}

impl ProofError {
    /// The code that travels in an `error` frame and as the close reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadSignature => "bad_signature",
            Self::TimestampSkew => "timestamp_skew",
            Self::Expired => "expired",
            Self::TtlTooLong => "ttl_too_long",
        }
    }
}

/// What a member key signs in `hello`. The strings are taken as they travel: the reference signs
/// them unescaped.
pub fn hello_bytes(mesh_id: &str, member_id: &str, pubkey: &str, timestamp_ms: u64) -> String {
    format!("{mesh_id}|{member_id}|{pubkey}|{timestamp_ms}")
}

/// What a member key signs to vouch for a session key. Not bound to a mesh: a weakness of the
/// reference's form, which the challenge proof makes harmless.
pub fn attestation_bytes(parent: &str, session: &str, expires_at_ms: u64) -> String {
    format!("claudemesh-session-attest|{parent}|{session}|{expires_at_ms}")
}

/// What a session key signs in `session_hello`.
pub fn session_hello_bytes(
    mesh_id: &str,
    parent: &str,
    session: &str,
    timestamp_ms: u64,
) -> String {
    format!("claudemesh-session-hello|{mesh_id}|{parent}|{session}|{timestamp_ms}")
}

/// Checks that `timestamp_ms` is within [`HELLO_SKEW_MS`] of `now_ms`.
///
/// # Errors
/// [`ProofError::TimestampSkew`].
pub fn check_skew(now_ms: u64, timestamp_ms: u64) -> Result<(), ProofError> {
    if now_ms.abs_diff(timestamp_ms) > HELLO_SKEW_MS {
        Err(ProofError::TimestampSkew)
    } else {
        Ok(())
    }
}

/// Verifies a signature over text, with key and signature in hex as they travel.
///
/// # Errors
/// [`ProofError::Malformed`] or [`ProofError::BadSignature`].
pub fn verify_text(pubkey: &str, text: &str, signature: &str) -> Result<PublicKey, ProofError> {
    let key = PublicKey::from_hex(pubkey).map_err(|_| ProofError::Malformed)?;
    let signature = Signature::from_hex(signature).map_err(|_| ProofError::Malformed)?;
    if verify(&key, text.as_bytes(), &signature) {
        Ok(key)
    } else {
        Err(ProofError::BadSignature)
    }
}

/// Verifies a member key's attestation of a session key at `now_ms`.
///
/// # Errors
/// [`ProofError::Expired`] (also at the very millisecond), [`ProofError::TtlTooLong`] (over
/// 24 h), [`ProofError::Malformed`], [`ProofError::BadSignature`].
pub fn verify_attestation(
    now_ms: u64,
    parent: &str,
    session: &str,
    expires_at_ms: u64,
    signature: &str,
) -> Result<(PublicKey, PublicKey), ProofError> {
    if expires_at_ms <= now_ms {
        return Err(ProofError::Expired);
    }
    if expires_at_ms - now_ms > ATTESTATION_MAX_TTL_MS {
        return Err(ProofError::TtlTooLong);
    }
    let session_key = PublicKey::from_hex(session).map_err(|_| ProofError::Malformed)?;
    let text = attestation_bytes(parent, session, expires_at_ms);
    let parent_key = verify_text(parent, &text, signature)?;
    Ok((parent_key, session_key))
}

/// What the hello proof signs: the broker's challenge, the host as dialled (`host:port`,
/// lower-case, port always written) and the hash of the hello text without its proof.
pub fn hello_proof_bytes(challenge: &[u8; 32], host: &str, hello_hash: &Hash) -> Vec<u8> {
    Encoder::new("hello/1")
        .bytes(challenge)
        .text(host)
        .bytes(&hello_hash.0)
        .finish()
}

/// Adds the proof to a hello's JSON text: the text without its last brace, then the proof.
///
/// The text must be a JSON object that ends with `}`; it comes from our own encoder.
pub fn prove_hello(hello: &str, challenge: &[u8; 32], host: &str, key: &KeyPair) -> String {
    let text = hello.strip_suffix('}').unwrap_or(hello);
    let bytes = hello_proof_bytes(challenge, host, &sha256(text.as_bytes()));
    format!("{text},\"proof\":\"{}\"}}", key.sign(&bytes))
}

/// Splits a hello as received into the text that was proven and the proof.
pub fn split_proof(hello: &str) -> Option<(&str, Signature)> {
    let rest = hello.strip_suffix("\"}")?;
    let at = rest.len().checked_sub(128)?;
    let (text, proof) = (rest.get(..at)?, rest.get(at..)?);
    let text = text.strip_suffix(",\"proof\":\"")?;
    Some((text, Signature::from_hex(proof).ok()?))
}

/// Verifies the proof of a hello as received, for any of the hosts that this broker answers to.
pub fn verify_hello_proof<'h>(
    text: &str,
    proof: &Signature,
    challenge: &[u8; 32],
    hosts: impl IntoIterator<Item = &'h str>,
    key: &PublicKey,
) -> bool {
    let hash = sha256(text.as_bytes());
    hosts
        .into_iter()
        .any(|host| verify(key, &hello_proof_bytes(challenge, host, &hash), proof))
}

/// What a key signs to read a mesh's log over HTTP before it is a member.
pub fn log_read_bytes(mesh_id: &MeshId, key: &PublicKey, now_ms: u64) -> Vec<u8> {
    Encoder::new("log-read/1")
        .text(mesh_id.as_str())
        .bytes(&key.0)
        .int(now_ms)
        .finish()
}

/// The value of the `claudemesh-proof` header: `<key>.<ms>.<signature>`.
pub fn log_read_proof(mesh_id: &MeshId, key: &KeyPair, now_ms: u64) -> String {
    let public = key.public();
    let signature = key.sign(&log_read_bytes(mesh_id, &public, now_ms));
    format!("{public}.{now_ms}.{signature}")
}

/// Verifies a `claudemesh-proof` header value and gives the key that made it.
///
/// # Errors
/// [`ProofError`]; the time may differ by [`HELLO_SKEW_MS`] from `now_ms`.
pub fn verify_log_read_proof(
    mesh_id: &MeshId,
    value: &str,
    now_ms: u64,
) -> Result<PublicKey, ProofError> {
    let signed = request::Signed::parse(value)?;
    signed.holds(&log_read_bytes(mesh_id, &signed.key, signed.ms), now_ms)?;
    Ok(signed.key)
}

/// The safety number of two keys: six groups of five digits, the same on both sides. Two people
/// who compare it by another way know that nobody stands between them.
pub fn safety_number(a: &PublicKey, b: &PublicKey) -> String {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut both = [0u8; 64];
    both[..32].copy_from_slice(&low.0);
    both[32..].copy_from_slice(&high.0);
    let digest = sha256(&both);
    let mut wide = [0u8; 16];
    wide[1..].copy_from_slice(&digest.0[..15]);
    let bits = u128::from_be_bytes(wide);
    (0..6)
        .map(|group| format!("{:05}", ((bits >> (100 - 20 * group)) & 0xf_ffff) % 100_000))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_proof_binds_challenge_host_text_and_key() {
        let key = KeyPair::from_seed(&[7; 32]);
        let sent = prove_hello(
            r#"{"type":"hello","a":1}"#,
            &[1; 32],
            "localhost:7900",
            &key,
        );
        serde_json::from_str::<serde_json::Value>(&sent).unwrap();
        let (text, proof) = split_proof(&sent).unwrap();
        let ok = |challenge: [u8; 32], host: &str, key: PublicKey| {
            verify_hello_proof(text, &proof, &challenge, [host], &key)
        };
        assert!(ok([1; 32], "localhost:7900", key.public()));
        assert!(!ok([2; 32], "localhost:7900", key.public()));
        assert!(!ok([1; 32], "elsewhere:7900", key.public()));
        assert!(!ok(
            [1; 32],
            "localhost:7900",
            KeyPair::from_seed(&[8; 32]).public()
        ));
        assert!(split_proof(r#"{"type":"hello","é":"}"#).is_none());
    }

    #[test]
    fn a_log_read_proof_names_its_key_and_time() {
        let mesh = MeshId::new("m").unwrap();
        let key = KeyPair::from_seed(&[7; 32]);
        let value = log_read_proof(&mesh, &key, 1_000_000);
        assert_eq!(
            verify_log_read_proof(&mesh, &value, 1_060_000),
            Ok(key.public())
        );
        let late = verify_log_read_proof(&mesh, &value, 1_060_001);
        assert_eq!(late, Err(ProofError::TimestampSkew));
        let other = MeshId::new("n").unwrap();
        let wrong = verify_log_read_proof(&other, &value, 1_000_000);
        assert_eq!(wrong, Err(ProofError::BadSignature));
        let (plus, zero) = (
            value.replacen(".1", ".+1", 1),
            value.replacen(".1", ".01", 1),
        );
        for bad in ["", "a.b", "a.b.c", &value[1..], &plus, &zero] {
            assert_eq!(
                verify_log_read_proof(&mesh, bad, 0),
                Err(ProofError::Malformed)
            );
        }
    }
}
