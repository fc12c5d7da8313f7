//! What a key signs to ask a broker something over HTTP, where no connection says who it is.

use super::{ProofError, check_skew};
use crate::crypto::{KeyPair, sha256, verify};
use crate::encoding::Encoder;
use crate::id::{PublicKey, Signature};

/// An HTTP request as it is signed and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST`, `PATCH` and so on, in upper case.
    pub method: &'a str,
    /// `host:port` as dialled: lower case, the port always written, IPv6 in brackets.
    pub host: &'a str,
    /// The request target: the path, with `?` and the query where there is one, as it is sent.
    pub target: &'a str,
    /// The body's bytes; none where there is no body.
    pub body: &'a [u8],
}

/// A key, a time and a signature, as a header has them.
pub(super) struct Signed {
    pub(super) key: PublicKey,
    pub(super) ms: u64,
    pub(super) signature: Signature,
}

impl Signed {
    /// Reads `<key>.<ms>.<signature>`.
    pub(super) fn parse(value: &str) -> Result<Self, ProofError> {
        let mut parts = value.splitn(3, '.');
        let (Some(key), Some(ms), Some(signature)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ProofError::Malformed);
        };
        let key = PublicKey::from_hex(key).map_err(|_| ProofError::Malformed)?;
        // The number in its one form: `parse` alone would take `+5` and `05` as well.
        let ms = ms
            .parse()
            .ok()
            .filter(|number: &u64| number.to_string() == ms)
            .ok_or(ProofError::Malformed)?;
        let signature = Signature::from_hex(signature).map_err(|_| ProofError::Malformed)?;
        Ok(Self { key, ms, signature })
    }

    /// Checks the time against the verifier's, then the signature over `bytes`.
    pub(super) fn holds(&self, bytes: &[u8], now_ms: u64) -> Result<(), ProofError> {
        check_skew(now_ms, self.ms)?;
        if verify(&self.key, bytes, &self.signature) {
            Ok(())
        } else {
            Err(ProofError::BadSignature)
        }
    }
}

/// What a key signs to ask `request` at a time.
pub fn request_bytes(request: &HttpRequest<'_>, key: &PublicKey, now_ms: u64) -> Vec<u8> {
    Encoder::new("http-request/1")
        .text(request.method)
        .text(request.host)
        .text(request.target)
        .bytes(&sha256(request.body).0)
        .bytes(&key.0)
        .int(now_ms)
        .finish()
}

/// The value of the `claudemesh-signature` header of a request: `<key>.<ms>.<signature>`. It is
/// good for 60 s around `now_ms` (unix ms), and, where something is changed, once.
pub fn sign_request(request: &HttpRequest<'_>, key: &KeyPair, now_ms: u64) -> String {
    let public = key.public();
    let signature = key.sign(&request_bytes(request, &public, now_ms));
    format!("{public}.{now_ms}.{signature}")
}

/// Verifies a `claudemesh-signature` header for any of the hosts that a broker answers to;
/// `request.host` is not looked at. Gives who signed, and the signature, by which a request that
/// comes again is known.
///
/// # Errors
/// [`ProofError`]; the time may differ by [`HELLO_SKEW_MS`](super::HELLO_SKEW_MS) from `now_ms`.
pub fn verify_request<'h>(
    request: &HttpRequest<'_>,
    hosts: impl IntoIterator<Item = &'h str>,
    value: &str,
    now_ms: u64,
) -> Result<(PublicKey, Signature), ProofError> {
    let signed = Signed::parse(value)?;
    check_skew(now_ms, signed.ms)?;
    for host in hosts {
        let asked = HttpRequest { host, ..*request };
        let bytes = request_bytes(&asked, &signed.key, signed.ms);
        if signed.holds(&bytes, now_ms).is_ok() {
            return Ok((signed.key, signed.signature));
        }
    }
    Err(ProofError::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: HttpRequest<'_> = HttpRequest {
        method: "PATCH",
        host: "broker.example:443",
        target: "/mesh/m/member/x",
        body: b"{}",
    };

    #[test]
    fn a_signed_request_is_that_request_for_a_minute_and_nothing_else() {
        let key = KeyPair::from_seed(&[7; 32]);
        let value = sign_request(&ASKED, &key, 1_000_000);
        let check = |asked: &HttpRequest<'_>, host: &str, now: u64| {
            verify_request(asked, [host], &value, now).map(|(key, _)| key)
        };
        let host = ASKED.host;
        assert_eq!(check(&ASKED, host, 1_060_000), Ok(key.public()));
        assert_eq!(check(&ASKED, host, 940_000), Ok(key.public()));
        for late in [1_060_001, 939_999] {
            assert_eq!(check(&ASKED, host, late), Err(ProofError::TimestampSkew));
        }
        let others = [
            HttpRequest {
                method: "POST",
                ..ASKED
            },
            HttpRequest {
                target: "/mesh/m/member/y",
                ..ASKED
            },
            HttpRequest {
                target: "/mesh/m/member/x?",
                ..ASKED
            },
            HttpRequest {
                body: b"{ }",
                ..ASKED
            },
        ];
        for other in others {
            assert_eq!(
                check(&other, host, 1_000_000),
                Err(ProofError::BadSignature)
            );
        }
        assert_eq!(
            check(&ASKED, "elsewhere:443", 1_000_000),
            Err(ProofError::BadSignature)
        );
        for bad in ["", "x", "a.1.b", &value.replace(".1000000.", ".01000000.")] {
            let read = verify_request(&ASKED, [host], bad, 1_000_000);
            assert_eq!(
                read.map(|(key, _)| key),
                Err(ProofError::Malformed),
                "{bad}"
            );
        }
    }
}
