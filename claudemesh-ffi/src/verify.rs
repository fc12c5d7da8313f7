//! What needs neither a mesh nor a network: links, safety numbers, signatures, logs.

use std::time::{SystemTime, UNIX_EPOCH};

use claudemesh_core::crypto::verify;
use claudemesh_core::id::{MeshId, PublicKey, Signature};
use claudemesh_core::invite::{InviteToken, Link, TokenRole};
use claudemesh_core::membership::{Log, SignedEntry};
use claudemesh_core::{BrokerUrl, invite};

use crate::error::NativeError;
use crate::types::{MemberInfo, key};

/// What a pasted text is, before anything is verified.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LinkInfo {
    /// The token, or the short code that its host exchanges for one.
    pub text: String,
    /// Whether it is a short code.
    pub is_code: bool,
    /// `https://host[:port]`, if the link named one.
    pub origin: Option<String>,
    /// The invite's id in hex, if the link has its secret part; who joins without it is unverified.
    pub invite_id: Option<String>,
}

/// What a link offers, as its signed token says.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct InvitePreview {
    /// The mesh's short name.
    pub slug: String,
    /// The mesh's id.
    pub mesh_id: String,
    /// Where one connects.
    pub broker: String,
    /// Key of who issued it, in hex.
    pub issuer: String,
    /// Whether one becomes an admin.
    pub admin: bool,
    /// Until when it is good.
    pub expires_at: SystemTime,
    /// Whether the link has its secret part: without it one joins as an unverified member.
    pub verified: bool,
}

/// An entry of a membership log as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogEntryBytes {
    /// The entry.
    pub entry: Vec<u8>,
    /// The signer's 64 bytes.
    pub signature: Vec<u8>,
    /// The cosigner's 64 bytes, if it has one.
    pub cosignature: Option<Vec<u8>>,
}

/// The version of this library.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Reads every form of invite that can be pasted, without verifying or asking anything.
///
/// # Errors
/// `invite_invalid`.
#[uniffi::export]
pub fn parse_link(link: &str) -> Result<LinkInfo, NativeError> {
    let (parts, is_code) = match invite::parse_link(link)? {
        Link::Token(parts) => (parts, false),
        Link::Code(parts) => (parts, true),
        _ => return Err(NativeError::new("invite_invalid", "not a form known here")),
    };
    Ok(LinkInfo {
        invite_id: parts.fragment.as_ref().map(|f| f.invite().to_hex()),
        text: parts.text,
        origin: parts.origin,
        is_code,
    })
}

/// Verifies the token of a link that carries one, at a time: `now` for apps, a fixed one for tests.
/// Nothing is asked of any network; whether the mesh still wants this link is known on joining.
///
/// # Errors
/// `invite_invalid`, `invite_expired`, `invite_signature`, `invalid_argument`.
#[uniffi::export]
pub fn read_invite(link: &str, now: SystemTime) -> Result<InvitePreview, NativeError> {
    let Link::Token(parts) = invite::parse_link(link)? else {
        return Err(NativeError::new(
            "invite_invalid",
            "this is a short code, which only its host can read; preview it instead",
        ));
    };
    let token = InviteToken::parse(&parts.text)?;
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    token.verify(now)?;
    let issuer = token.issuer().ok_or_else(NativeError::internal)?;
    let broker: BrokerUrl = token.broker_url.parse()?;
    Ok(InvitePreview {
        mesh_id: MeshId::new(&token.mesh_id)?.as_str().to_owned(),
        broker: broker.to_string(),
        issuer: issuer.to_hex(),
        admin: token.role == TokenRole::Admin,
        expires_at: crate::types::time(token.expires_at.saturating_mul(1_000)),
        verified: parts.fragment.is_some(),
        slug: token.mesh_slug,
    })
}

/// The safety number of two keys: six groups of five digits, the same on both sides.
///
/// # Errors
/// `invalid_argument` for what is no key.
#[uniffi::export]
pub fn safety_number(a: &str, b: &str) -> Result<String, NativeError> {
    let (a, b) = (key(a)?, key(b)?);
    Ok(claudemesh_core::identity::safety_number(&a, &b))
}

/// Whether a signature (128 hex digits) is a key's (64 hex digits) over these bytes.
#[uniffi::export]
#[allow(
    clippy::needless_pass_by_value,
    reason = "a borrowed slice is an awkward type in Kotlin"
)]
pub fn verify_signature(key: &str, bytes: Vec<u8>, signature: &str) -> bool {
    let parsed = (PublicKey::from_hex(key), Signature::from_hex(signature));
    matches!(parsed, (Ok(key), Ok(signature)) if verify(&key, &bytes, &signature))
}

/// Verifies a membership log from its first entry on; gives the members, removed ones too.
///
/// # Errors
/// `mesh_invalid`, or what an entry breaks, `not_allowed` for one.
#[uniffi::export]
pub fn verify_log(
    mesh_id: &str,
    entries: Vec<LogEntryBytes>,
) -> Result<Vec<MemberInfo>, NativeError> {
    let bad = |_| NativeError::new("mesh_invalid", "a signature has 64 bytes");
    let entries = entries.into_iter().map(|entry| {
        let cosignature = entry.cosignature.map(|bytes| bytes.try_into().map_err(bad));
        Ok(SignedEntry {
            bytes: entry.entry,
            signature: Signature(entry.signature.try_into().map_err(bad)?),
            cosignature: cosignature.transpose()?.map(Signature),
        })
    });
    let entries: Vec<SignedEntry> = entries.collect::<Result<_, NativeError>>()?;
    let log = Log::verify(&MeshId::new(mesh_id)?, &entries)?;
    let roster = log.roster();
    let all = roster.members_and_former();
    Ok(all.map(|m| MemberInfo::of_roster(roster, m)).collect())
}
