//! Conversion of keys, and boxes between two peers.

use claudemesh_core::crypto::{
    DirectKey, KeyPair, NONCE_LEN, SecretKey, X25519Secret, to_x25519_public,
};
use claudemesh_core::encoding::{base64, hex, unbase64, unhex, unhex_array};
use claudemesh_core::id::PublicKey;
use crypto_secretbox::aead::{Aead, KeyInit};
use serde_json::Value;

use crate::harness::{Outcome, REJECTED, Section, Vectors, Verdict, cases, same, text};

/// Both halves of a key to X25519.
pub(crate) fn ed25519_to_x25519(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        run.case(case, || {
            let public = text(case, "ed25519_public_hex");
            let secret = text(case, "ed25519_secret_hex");
            if public.is_none() && secret.is_none() {
                return Err("undecided: no key".to_owned());
            }
            let x25519_public = text(case, "x25519_public_hex");
            if let Some(secret) = secret {
                let Ok(pair) = KeyPair::from_secret_hex(secret) else {
                    return Ok(REJECTED);
                };
                same(
                    "public",
                    pair.public().to_hex(),
                    public.map(str::to_lowercase),
                )?;
                let ours = hex(&*X25519Secret::of(&pair).expose());
                same("x25519 secret", &*ours, text(case, "x25519_secret_hex"))?;
                let ours = to_x25519_public(&pair.public()).map_err(|error| error.to_string())?;
                same("x25519 public", &*hex(&ours), x25519_public)?;
            }
            if let Some(public) = public {
                let Ok(public) = PublicKey::from_hex(public) else {
                    return Ok(REJECTED);
                };
                let Ok(ours) = to_x25519_public(&public) else {
                    return Ok(REJECTED);
                };
                same("x25519 public", &*hex(&ours), x25519_public)?;
            }
            Ok(Verdict::Accepted)
        });
    }
}

/// One end of a box: the secret, if it is known, and the public key as the case has it.
struct End {
    pair: Option<Result<KeyPair, ()>>,
    public: Option<String>,
}

impl End {
    fn of(vectors: &Vectors, case: &Value, who: &str) -> Self {
        let secret = text(case, &format!("{who}_ed25519_secret_hex"));
        let pair = match secret {
            Some(secret) => Some(KeyPair::from_secret_hex(secret).map_err(|_| ())),
            None => text(case, who).and_then(|name| vectors.pair(name)).map(Ok),
        };
        let known = match &pair {
            Some(Ok(pair)) => Some(pair.public().to_hex()),
            _ => None,
        };
        let public = text(case, &format!("{who}_ed25519_public_hex")).map(str::to_owned);
        Self {
            pair,
            public: public.or(known),
        }
    }
}

/// Opens each box at the recipient's end; where it opens, also at the sender's, and seals it
/// again at both.
pub(crate) fn direct_box(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        run.case(case, || one_box(vectors, case));
    }
}

fn one_box(vectors: &Vectors, case: &Value) -> Outcome {
    let (sender, recipient) = (
        End::of(vectors, case, "sender"),
        End::of(vectors, case, "recipient"),
    );
    let recipient_public = recipient.public.clone();
    // A case that knows only the sender's secret is opened there: both ends have the same key.
    let (ours, theirs, other) = if recipient.pair.is_some() {
        (recipient.pair, sender.public, sender.pair)
    } else {
        (sender.pair, recipient.public, None)
    };
    let ours = match ours {
        Some(Ok(pair)) => pair,
        Some(Err(())) => return Ok(REJECTED),
        None => return Err("undecided: no secret of either end".to_owned()),
    };
    let theirs = theirs.ok_or("undecided: no public key of the other end")?;
    let Ok(theirs) = PublicKey::from_hex(&theirs) else {
        return Ok(REJECTED);
    };
    let Ok(key) = DirectKey::agree(&X25519Secret::of(&ours), &theirs) else {
        return Ok(REJECTED);
    };

    let nonce = match (text(case, "nonce_b64"), text(case, "nonce_hex")) {
        (Some(nonce), _) => unbase64(nonce).ok(),
        (None, Some(nonce)) => unhex(nonce).ok(),
        (None, None) => return Err("undecided: no nonce".to_owned()),
    };
    let Some(nonce) = nonce.and_then(|nonce| <[u8; NONCE_LEN]>::try_from(nonce).ok()) else {
        return Ok(REJECTED);
    };
    let sealed = match (text(case, "ciphertext_b64"), text(case, "ciphertext_hex")) {
        (Some(sealed), _) => unbase64(sealed).ok(),
        (None, Some(sealed)) => unhex(sealed).ok(),
        (None, None) => return Err("undecided: no ciphertext".to_owned()),
    };
    let Some(sealed) = sealed else {
        return Ok(REJECTED);
    };
    let Ok(opened) = key.open(&nonce, &sealed) else {
        return Ok(REJECTED);
    };
    // A message is text; whoever opens a box reads it as such.
    let Ok(plaintext) = String::from_utf8(opened) else {
        return Ok(REJECTED);
    };

    let wanted = ["plaintext", "plaintext_utf8"]
        .into_iter()
        .find_map(|field| text(case, field));
    same("plaintext", &*plaintext, wanted)?;
    let plaintext = plaintext.as_bytes();
    same("plaintext", &*hex(plaintext), text(case, "plaintext_hex"))?;
    same("nonce", &*hex(&nonce), text(case, "nonce_hex"))?;
    same("nonce", &*base64(&nonce), text(case, "nonce_b64"))?;
    same("ciphertext", &*hex(&sealed), text(case, "ciphertext_hex"))?;
    same(
        "ciphertext",
        &*base64(&sealed),
        text(case, "ciphertext_b64"),
    )?;
    let len = case.get("ciphertext_len").and_then(Value::as_u64);
    same("length", sealed.len() as u64, len)?;
    let again = key.seal(&nonce, plaintext).map_err(|e| e.to_string())?;
    same("sealed by the recipient", &again, Some(&sealed))?;
    if let Some(Ok(other)) = other {
        same("sender", other.public(), Some(theirs))?;
        let recipient = recipient_public.as_deref().map(PublicKey::from_hex);
        same("recipient", Ok(ours.public()), recipient)?;
        let key = DirectKey::agree(&X25519Secret::of(&other), &ours.public())
            .map_err(|e| e.to_string())?;
        let again = key.seal(&nonce, plaintext).map_err(|e| e.to_string())?;
        same("sealed by the sender", &again, Some(&sealed))?;
        same(
            "opened by the sender",
            key.open(&nonce, &sealed),
            Some(Ok(plaintext.to_vec())),
        )?;
    }
    if let Some(shared) = text(case, "shared_key_beforenm_hex") {
        // Ours never leaves its type; that it is this one shows in what it seals.
        let shared: [u8; 32] = unhex_array(shared).map_err(|e| e.to_string())?;
        let again = crypto_secretbox::XSalsa20Poly1305::new(&shared.into())
            .encrypt(&nonce.into(), plaintext)
            .map_err(|e| e.to_string())?;
        same("sealed with the shared key", &again, Some(&sealed))?;
    }
    Ok(Verdict::Accepted)
}

/// Boxes under a shared key: those of texts, and the one of a file.
pub(crate) fn secretbox(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section).iter().chain(section.get("file_case")) {
        run.case(case, || one_secretbox(case));
    }
}

fn one_secretbox(case: &Value) -> Outcome {
    let key = text(case, "key_hex").ok_or("undecided: no key")?;
    let Ok(key) = unhex_array(key).map(SecretKey::new) else {
        return Ok(REJECTED);
    };
    let nonce = text(case, "nonce_b64").ok_or("undecided: no nonce")?;
    let nonce = unbase64(nonce).ok().map(<[u8; NONCE_LEN]>::try_from);
    let Some(Ok(nonce)) = nonce else {
        return Ok(REJECTED);
    };
    let sealed = match (text(case, "ciphertext_b64"), text(case, "ciphertext_hex")) {
        (Some(sealed), _) => unbase64(sealed).ok(),
        (None, Some(sealed)) => unhex(sealed).ok(),
        (None, None) => return Err("undecided: no ciphertext".to_owned()),
    };
    let Some(opened) = sealed
        .as_ref()
        .and_then(|sealed| key.open(&nonce, sealed).ok())
    else {
        return Ok(REJECTED);
    };
    same("plaintext", &*hex(&opened), text(case, "plaintext_hex"))?;
    let wanted = text(case, "plaintext").map(str::as_bytes);
    same("plaintext", opened.as_slice(), wanted)?;
    let again = key.seal(&nonce, &opened).map_err(|e| e.to_string())?;
    same("sealed", Some(again), Some(sealed))?;
    Ok(Verdict::Accepted)
}
