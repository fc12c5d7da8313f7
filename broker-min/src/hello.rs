//! Checks a hello: shapes, time, signatures, attestation and proof. Pure.
//!
//! Implements docs/protocol.md, section "Hello". The order of the checks, the codes and the texts
//! are those of the existing broker, because its clients show them.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::identity::{
    ProofError, check_skew, hello_bytes, session_hello_bytes, split_proof, verify_attestation,
    verify_hello_proof, verify_text,
};
use claudemesh_core::wire::errors::{self, code};
use claudemesh_core::wire::{Attestation, ClientFrame, Hello, SessionHello, SignedBlob};

use crate::router::{Address, Verified};

/// Why a hello is refused: what the `error` frame says. The code is also the close reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HelloError {
    /// One of [`code`].
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl HelloError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn hello(error: ProofError) -> Self {
        Self::new(error.code(), errors::hello_rejected(error.code()))
    }

    fn session(error: ProofError) -> Self {
        Self::new(error.code(), errors::session_hello_rejected(error.code()))
    }

    fn attestation(error: ProofError) -> Self {
        Self::new(error.code(), errors::attestation_rejected(error.code()))
    }
}

/// Checks the hello `frame`, decoded from `text`, at the time `wall_ms`.
///
/// `challenge` is the one that this socket's upgrade response carried, if it was not used yet;
/// `hosts` are the `host:port` that this broker answers to. A hello without a proof is accepted as
/// what it is; one with a proof that does not fit is refused.
///
/// # Errors
/// [`HelloError`]; also for a frame that is no hello.
pub fn verify(
    text: &str,
    frame: &ClientFrame,
    challenge: Option<&[u8; 32]>,
    hosts: &[String],
    wall_ms: u64,
) -> Result<Verified, HelloError> {
    let checked = match frame {
        ClientFrame::Hello(hello) => by_member(hello, wall_ms)?,
        ClientFrame::SessionHello(hello) => by_session(hello, wall_ms)?,
        _ => return Err(HelloError::new(code::NO_HELLO, errors::NO_HELLO)),
    };
    let proven = match checked.proof {
        None => false,
        Some(_) => {
            // By the session key where the member key vouches for it.
            let key = checked.session.filter(|_| checked.attested);
            let key = key.unwrap_or(checked.member);
            check_proof(text, challenge, hosts, &key)?;
            true
        }
    };
    // A mesh id that cannot exist is answered as one that does not.
    let mesh = MeshId::new(checked.mesh)
        .map_err(|_| HelloError::new(code::UNAUTHORIZED, errors::UNAUTHORIZED))?;
    let session_proven = checked.session_form || (checked.attested && proven);
    let address = checked.address.map(|shown| {
        let session = checked.session.filter(|_| session_proven);
        check_address(shown, &mesh, &checked.member, session.as_ref(), wall_ms)
    });
    Ok(Verified {
        mesh,
        member: checked.member,
        session: checked.session,
        session_proven,
        address: address.transpose()?,
        proven,
        session_form: checked.session_form,
        frame: frame.clone(),
    })
}

/// What both forms come to before the proof.
struct Checked<'a> {
    mesh: &'a str,
    member: PublicKey,
    session: Option<PublicKey>,
    attested: bool,
    session_form: bool,
    proof: Option<&'a str>,
    address: Option<&'a SignedBlob>,
}

fn by_member(hello: &Hello, now: u64) -> Result<Checked<'_>, HelloError> {
    let session = hello
        .session_key()
        .map(|text| session_key(text).map(|key| (text, key)))
        .transpose()?;
    let at = hello
        .timestamp_ms()
        .ok_or_else(|| HelloError::hello(ProofError::Malformed))?;
    check_skew(now, at).map_err(HelloError::hello)?;
    let signed = hello_bytes(&hello.mesh_id, &hello.member_id, &hello.pubkey, at);
    let member =
        verify_text(&hello.pubkey, &signed, &hello.signature).map_err(HelloError::hello)?;
    let attested = match (session, hello.extra.get("parentAttestation")) {
        (Some((text, _)), Some(word)) => {
            let word: Attestation = serde_json::from_value(word.clone())
                .map_err(|_| HelloError::attestation(ProofError::Malformed))?;
            check_attestation(&word, &hello.pubkey, text, now)?;
            true
        }
        _ => false,
    };
    Ok(Checked {
        mesh: &hello.mesh_id,
        member,
        session: session.map(|(_, key)| key),
        attested,
        session_form: false,
        proof: hello.proof.as_deref(),
        address: hello.address.as_ref(),
    })
}

fn by_session(hello: &SessionHello, now: u64) -> Result<Checked<'_>, HelloError> {
    let (member_text, session_text) = (&hello.parent_member_pubkey, &hello.session_pubkey);
    let session = session_key(session_text)?;
    let member = lower_hex(member_text)
        .ok_or_else(|| HelloError::new(code::BAD_PARENT_PUBKEY, errors::PARENT_PUBKEY_SHAPE))?;
    check_attestation(&hello.parent_attestation, member_text, session_text, now)?;
    let at = hello
        .timestamp_ms()
        .ok_or_else(|| HelloError::session(ProofError::Malformed))?;
    check_skew(now, at).map_err(HelloError::session)?;
    let signed = session_hello_bytes(&hello.mesh_id, member_text, session_text, at);
    verify_text(session_text, &signed, &hello.signature).map_err(HelloError::session)?;
    Ok(Checked {
        mesh: &hello.mesh_id,
        member,
        session: Some(session),
        attested: true,
        session_form: true,
        proof: hello.proof.as_deref(),
        address: hello.address.as_ref(),
    })
}

fn check_attestation(
    word: &Attestation,
    member: &str,
    session: &str,
    now: u64,
) -> Result<(), HelloError> {
    if word.session_pubkey != session || word.parent_member_pubkey != member {
        return Err(HelloError::new(
            code::ATTESTATION_MISMATCH,
            errors::ATTESTATION_MISMATCH,
        ));
    }
    let expires_at = word
        .expires_at_ms()
        .ok_or_else(|| HelloError::attestation(ProofError::Malformed))?;
    verify_attestation(now, member, session, expires_at, &word.signature)
        .map_err(HelloError::attestation)?;
    Ok(())
}

/// The address that a session shows must be its own, and hold now.
fn check_address(
    shown: &SignedBlob,
    mesh: &MeshId,
    member: &PublicKey,
    session: Option<&PublicKey>,
    now: u64,
) -> Result<Arc<Address>, HelloError> {
    let refused = |why: String| {
        let message = format!("hello rejected: {why}");
        HelloError::new(code::MALFORMED, message)
    };
    let address = Address::open(shown, mesh, now).map_err(|error| refused(error.to_string()))?;
    if address.member == *member && session == Some(&address.session) {
        Ok(Arc::new(address))
    } else {
        Err(refused("the session's address is another's".to_owned()))
    }
}

fn check_proof(
    text: &str,
    challenge: Option<&[u8; 32]>,
    hosts: &[String],
    key: &PublicKey,
) -> Result<(), HelloError> {
    let (proven, proof) =
        split_proof(text).ok_or_else(|| HelloError::hello(ProofError::Malformed))?;
    let hosts = hosts.iter().map(String::as_str);
    let fits = challenge
        .is_some_and(|challenge| verify_hello_proof(proven, &proof, challenge, hosts, key));
    if fits {
        return Ok(());
    }
    Err(HelloError::new(
        code::BAD_SIGNATURE,
        "hello rejected: the proof does not fit this connection's challenge and the address that \
         this broker is known by; dial one of its public URLs, or start it with the one you dial",
    ))
}

fn session_key(text: &str) -> Result<PublicKey, HelloError> {
    lower_hex(text)
        .ok_or_else(|| HelloError::new(code::BAD_SESSION_PUBKEY, errors::SESSION_PUBKEY_SHAPE))
}

/// Keys are compared as text by existing clients, so these two must be in the one form.
fn lower_hex(text: &str) -> Option<PublicKey> {
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    PublicKey::from_hex(text).ok().filter(|_| lower)
}

#[cfg(test)]
mod tests;
