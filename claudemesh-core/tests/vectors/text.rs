//! Safety numbers, and how strictly text is decoded.

use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::{
    DecodeError, base64, base64url, hex, unbase64, unbase64url, unhex,
};
use claudemesh_core::id::PublicKey;
use claudemesh_core::identity::safety_number;
use serde_json::Value;

use crate::harness::{REJECTED, Section, Vectors, Verdict, cases, same, text};

/// The number two people compare.
pub(crate) fn sas(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        run.case_ok(case, || {
            let (Some(a), Some(b)) = (text(case, "a_hex"), text(case, "b_hex")) else {
                return Err("undecided: not two keys".to_owned());
            };
            let (Ok(a), Ok(b)) = (PublicKey::from_hex(a), PublicKey::from_hex(b)) else {
                return Ok(REJECTED);
            };
            let (there, back) = (safety_number(&a, &b), safety_number(&b, &a));
            let wanted = text(case, "sas");
            if wanted.is_none() && text(case, "expect") != Some("reject") {
                return Err("undecided: no safety number".to_owned());
            }
            same("number", &*there, wanted)?;
            same("number the other way", &*back, wanted)?;
            same("reversed_sas", &*back, text(case, "reversed_sas"))?;
            let digest = sha256(&[*a.min(b).as_bytes(), *a.max(b).as_bytes()].concat());
            same("digest", &*digest.to_hex(), text(case, "digest_hex"))?;
            Ok(Verdict::Accepted)
        });
    }
    let Some(demo) = section.get("mismatch_demo") else {
        return;
    };
    for (side, own, peer) in [
        ("alice_side", "alice_member", "bob_session"),
        ("bob_side", "bob_member", "alice_session"),
    ] {
        if let (Some(own), Some(peer)) = (vectors.pair(own), vectors.pair(peer)) {
            let ours = safety_number(&own.public(), &peer.public());
            run.fact("mismatch_demo", || same(side, &*ours, text(demo, side)));
        }
    }
}

type Decode = fn(&str) -> Result<Vec<u8>, DecodeError>;
type Encode = fn(&[u8]) -> String;

/// What is decoded, to which bytes, and what is not.
pub(crate) fn encoding_strictness(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for (list, inputs) in section.as_object().into_iter().flatten() {
        let Some(inputs) = inputs.as_array() else {
            continue;
        };
        let codec: Option<(Decode, Encode)> = match list.as_str() {
            "base64_original" => Some((unbase64, base64)),
            "base64_urlsafe_no_padding" => Some((unbase64url, base64url)),
            "hex" => Some((unhex, hex)),
            _ => None,
        };
        for case in inputs {
            let id = format!("{list} {}", case.get("input").unwrap_or(&Value::Null));
            run.decide(&id, || {
                let input = text(case, "input").ok_or("undecided: no input")?;
                if list == "direct_target_cases" {
                    // Only the form in which a key travels names a peer.
                    let ours = PublicKey::from_hex(input).is_ok_and(|key| key.to_hex() == input);
                    let theirs = case.get("direct").and_then(Value::as_bool);
                    return same(
                        "direct",
                        ours,
                        Some(theirs.ok_or("undecided: no `direct`")?),
                    );
                }
                let (decode, encode) = codec.ok_or("undecided: unknown list")?;
                let wanted = match case.get("decoded_hex") {
                    Some(Value::Null) => None,
                    Some(Value::String(bytes)) => Some(bytes.clone()),
                    _ => return Err("undecided: no decoded_hex".to_owned()),
                };
                let decoded = decode(input).ok();
                same("decoded", decoded.as_deref().map(hex), Some(wanted))?;
                if let Some(bytes) = decoded {
                    let input = match list.as_str() {
                        "hex" => input.to_lowercase(),
                        _ => input.to_owned(),
                    };
                    same("encoded again", encode(&bytes), Some(input))?;
                }
                Ok(())
            });
        }
    }
}

/// What is said to many in the open: base64 of the text, with a nonce that seals nothing.
pub(crate) fn broadcast_plaintext(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        run.case_ok(case, || {
            let plain = text(case, "plaintext").ok_or("undecided: no text")?;
            let sent = text(case, "ciphertext_b64").ok_or("undecided: no ciphertext")?;
            same("in base64", base64(plain.as_bytes()).as_str(), Some(sent))?;
            let read = unbase64(sent).map_err(|error| error.to_string())?;
            same("read", read.as_slice(), Some(plain.as_bytes()))?;
            let nonce = text(case, "nonce_b64").ok_or("undecided: no nonce")?;
            let nonce = unbase64(nonce).map_err(|error| error.to_string())?;
            same("bytes of its nonce", nonce.len(), Some(24))?;
            Ok(Verdict::Accepted)
        });
    }
}
