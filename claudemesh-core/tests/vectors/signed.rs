//! Keys, and what they sign in a hello.

use claudemesh_core::crypto::{KeyPair, X25519Secret, to_x25519_public};
use claudemesh_core::encoding::{hex, unhex, unhex_array};
use claudemesh_core::id::Signature;
use claudemesh_core::identity::{
    ATTESTATION_MAX_TTL_MS, ATTESTATION_TTL_MS, attestation_bytes, check_skew, hello_bytes,
    session_hello_bytes, verify_attestation, verify_text,
};
use serde_json::Value;

use crate::harness::{Outcome, REJECTED, Section, Vectors, Verdict, cases, same, text};

/// Seed, public key, both stored forms and the conversion of each key.
pub(crate) fn keys(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for key in section.as_array().map_or(&[][..], Vec::as_slice) {
        run.case_ok(key, || {
            let seed = text(key, "seed_hex");
            let secret = text(key, "ed25519_secret_hex");
            let mut pairs = Vec::new();
            if let Some(seed) = seed {
                let Ok(seed) = unhex_array(seed) else {
                    return Ok(REJECTED);
                };
                pairs.push(KeyPair::from_seed(&seed));
            }
            if let Some(secret) = secret {
                let (Ok(pair), Ok(bytes)) = (KeyPair::from_secret_hex(secret), unhex(secret))
                else {
                    return Ok(REJECTED);
                };
                pairs.push(pair);
                pairs.extend(KeyPair::from_libsodium(&bytes));
            }
            if pairs.is_empty() {
                return Err("undecided: neither seed nor secret".to_owned());
            }
            for pair in pairs {
                let public = pair.public();
                same("public", &*public.to_hex(), text(key, "ed25519_public_hex"))?;
                same("secret", &*pair.expose_secret_hex(), secret)?;
                same("seed", &*hex(&*pair.expose_seed()), seed)?;
                let x25519 = to_x25519_public(&public).map_err(|error| error.to_string())?;
                same(
                    "x25519 public",
                    &*hex(&x25519),
                    text(key, "x25519_public_hex"),
                )?;
                let x25519 = X25519Secret::of(&pair).expose();
                same(
                    "x25519 secret",
                    &*hex(&*x25519),
                    text(key, "x25519_secret_hex"),
                )?;
            }
            Ok(Verdict::Accepted)
        });
    }
}

/// What a member key signs, and how far its clock may be off.
pub(crate) fn hello_sign(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    let rebuild = |canonical: &str| {
        let parts: Vec<&str> = canonical.split('|').collect();
        let [mesh, member, key, ms] = parts[..] else {
            return None;
        };
        Some(hello_bytes(mesh, member, key, ms.parse().ok()?))
    };
    let from_fields = |fields: &Value| {
        Some(hello_bytes(
            text(fields, "meshId")?,
            text(fields, "memberId")?,
            text(fields, "pubkey")?,
            fields.get("timestamp")?.as_u64()?,
        ))
    };
    let given = section.get("fields");
    for case in cases(section) {
        run.case(case, || {
            signed(
                vectors,
                case,
                case.get("fields").or(given),
                rebuild,
                from_fields,
            )
        });
    }
    if let Some(fields) = given {
        run.fact("fields", || {
            let ours = from_fields(fields).ok_or("incomplete")?;
            let mut canonicals = cases(section)
                .iter()
                .filter_map(|case| text(case, "canonical_utf8"))
                .peekable();
            if canonicals.peek().is_none() || canonicals.any(|canonical| canonical == ours) {
                Ok(())
            } else {
                Err(format!(
                    "no case has the canonical text of the fields: {ours}"
                ))
            }
        });
    }
}

/// What a session key signs.
pub(crate) fn session_hello_sign(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    let rebuild = |canonical: &str| {
        let parts: Vec<&str> = canonical.split('|').collect();
        let [_, mesh, parent, session, ms] = parts[..] else {
            return None;
        };
        Some(session_hello_bytes(mesh, parent, session, ms.parse().ok()?))
    };
    let from_fields = |fields: &Value| {
        Some(session_hello_bytes(
            text(fields, "meshId")?,
            text(fields, "parentMemberPubkey")?,
            text(fields, "sessionPubkey")?,
            ["timestamp", "timestamp_ms"]
                .iter()
                .find_map(|field| fields.get(field)?.as_u64())?,
        ))
    };
    let given = section.get("fields");
    for case in cases(section) {
        run.case(case, || {
            signed(
                vectors,
                case,
                case.get("fields").or(given),
                rebuild,
                from_fields,
            )
        });
    }
}

/// A case of a clock, of a signature over a canonical text, or of both.
fn signed(
    vectors: &Vectors,
    case: &Value,
    fields: Option<&Value>,
    rebuild: impl Fn(&str) -> Option<String>,
    from_fields: impl Fn(&Value) -> Option<String>,
) -> Outcome {
    let mut decided = false;
    if let Some(now) = case.get("now_ms") {
        let timestamp = case
            .get("timestamp")
            .or_else(|| fields?.get("timestamp"))
            .ok_or("undecided: now_ms without timestamp")?;
        let (Some(now), Some(timestamp)) = (now.as_u64(), timestamp.as_u64()) else {
            return Ok(Verdict::Rejected(Some("malformed")));
        };
        if let Err(error) = check_skew(now, timestamp) {
            return Ok(Verdict::Rejected(Some(error.code())));
        }
        decided = true;
    }
    let Some(signature) = text(case, "signature_hex") else {
        return if decided {
            Ok(Verdict::Accepted)
        } else {
            Err("undecided: neither signature nor clock".to_owned())
        };
    };

    let canonical = match (text(case, "canonical_utf8"), text(case, "canonical_hex")) {
        (Some(canonical), in_hex) => {
            let ours = hex(canonical.as_bytes());
            same("canonical_hex", ours, in_hex.map(str::to_lowercase))?;
            canonical.to_owned()
        }
        (None, Some(in_hex)) => unhex(in_hex)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("undecided: canonical_hex is not text")?,
        (None, None) => fields
            .and_then(&from_fields)
            .ok_or("undecided: nothing that was signed")?,
    };
    let signer = text(case, "signer").and_then(|name| vectors.pair(name));
    let key = text(case, "verify_with_pubkey_hex")
        .map(str::to_owned)
        .or_else(|| Some(signer.as_ref()?.public().to_hex()))
        .or_else(|| text(fields?, "pubkey").map(str::to_owned))
        .ok_or("undecided: no key to verify with")?;
    if let Err(error) = verify_text(&key, &canonical, signature) {
        return Ok(Verdict::Rejected(Some(error.code())));
    }
    if let Some(rebuilt) = rebuild(&canonical) {
        same("canonical", &*rebuilt, Some(&*canonical))?;
    }
    if let Some(signer) = signer {
        let ours = signer.sign(canonical.as_bytes());
        same("signature", Ok(ours), Some(Signature::from_hex(signature)))?;
    }
    Ok(Verdict::Accepted)
}

/// What a member key vouches for.
pub(crate) fn session_attestation(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    for (field, ours) in [
        ("default_ttl_ms", ATTESTATION_TTL_MS),
        ("max_ttl_ms", ATTESTATION_MAX_TTL_MS),
    ] {
        let theirs = section.get(field).and_then(Value::as_u64);
        run.fact(field, || same(field, ours, theirs));
    }
    for case in cases(section) {
        run.case(case, || {
            let attestation = case.get("attestation").ok_or("undecided: no attestation")?;
            let now = case
                .get("now_ms")
                .and_then(Value::as_u64)
                .ok_or("undecided: no now_ms")?;
            let (Some(parent), Some(session), Some(expires_at), Some(signature)) = (
                text(attestation, "parentMemberPubkey"),
                text(attestation, "sessionPubkey"),
                attestation.get("expiresAt").and_then(Value::as_u64),
                text(attestation, "signature"),
            ) else {
                return Ok(Verdict::Rejected(Some("malformed")));
            };
            let canonical = attestation_bytes(parent, session, expires_at);
            let verified = verify_attestation(now, parent, session, expires_at, signature);
            let (parent_key, session_key) = match verified {
                Ok(keys) => keys,
                Err(error) => return Ok(Verdict::Rejected(Some(error.code()))),
            };
            same("canonical", &*canonical, text(case, "canonical_utf8"))?;
            same(
                "canonical_hex",
                &*hex(canonical.as_bytes()),
                text(case, "canonical_hex"),
            )?;
            same("parent", parent_key.to_hex(), Some(parent.to_lowercase()))?;
            same(
                "session",
                session_key.to_hex(),
                Some(session.to_lowercase()),
            )?;
            if let Some(pair) = vectors.pair_of(parent) {
                let ours = pair.sign(canonical.as_bytes()).to_hex();
                same("signature", ours, Some(signature.to_lowercase()))?;
            }
            Ok(Verdict::Accepted)
        });
    }
}
