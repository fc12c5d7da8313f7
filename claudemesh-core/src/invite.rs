//! Invite links: parse, verify, issue.
//!
//! Implements docs/protocol.md, section "Invites". A link carries a token that the existing
//! clients understand (its version 1) and, in the fragment, what they do not see: the seed of the
//! invite key and the invite's id, which is the hash of the log entry that issued it. The id ties
//! the link to one mesh, one issuer and one log, so a changed token or a forged log does not fit.

mod link;
mod token;

pub use link::{Fragment, Link, LinkParts, parse_link};
pub use token::{InviteToken, TokenRole};

use crate::broker_url::BrokerUrl;
use crate::crypto::KeyPair;
use crate::encoding::base64url;
use crate::id::{InviteId, MeshId, MeshSlug};
use crate::membership::Role;

/// Why an input is not an invite that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// None of the forms that a link has.
    #[error(
        "invalid invite format. Expected one of: https://<broker>/join/<token>#…, \
         https://<host>/i/<code>, claudemesh://join/<token>#…, ic://join/<token>, or the token \
         itself; paste the whole link, in quotes"
    )]
    Format,
    /// A link without a token.
    #[error("invite link has no payload; paste the whole link")]
    Empty,
    /// The part after `#` is cut off or changed.
    #[error(
        "the part of the link after '#' is incomplete or changed; paste the whole link, in quotes"
    )]
    Fragment,
    /// The token is not base64url of JSON.
    #[error("invite link JSON parse failed: {0}; paste the whole link, or ask for a new one")]
    Json(String),
    /// A field of the token is missing or malformed.
    #[error("invite payload: {0}; ask for a new link")]
    Payload(&'static str),
    /// The token's time is over.
    #[error(
        "invite expired: expires_at={expires_at}, now={now} (unix seconds); ask for a new link"
    )]
    Expired {
        /// Unix seconds.
        expires_at: u64,
        /// Unix seconds.
        now: u64,
    },
    /// The token's signature does not fit.
    #[error("invite signature invalid (link tampered?); ask for a new link by another way")]
    Signature,
}

/// What a link offers, for its issuer to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The mesh.
    pub mesh: MeshId,
    /// Its short name.
    pub slug: MeshSlug,
    /// Where to connect.
    pub broker: BrokerUrl,
    /// Unix ms, as in the log entry.
    pub expires_at: u64,
    /// What those who come by it become.
    pub role: Role,
}

/// An invite that was issued: everything that its link is made of. Whoever holds it can join.
pub struct IssuedInvite {
    /// The token, as every client understands it.
    pub token: String,
    /// What goes behind the `#`.
    pub fragment: Fragment,
    origin: String,
}

impl IssuedInvite {
    /// Signs the token of `offer` with the issuer's key. `invite` is the hash of the log entry,
    /// `seed` the invite key's seed, `filler` 32 random bytes for a field that older clients want.
    pub fn new(
        offer: &Offer,
        issuer: &KeyPair,
        invite: InviteId,
        seed: [u8; 32],
        filler: &[u8; 32],
    ) -> Self {
        let role = if offer.role == Role::Admin {
            TokenRole::Admin
        } else {
            TokenRole::Member
        };
        let token = InviteToken::signed(
            &offer.mesh,
            &offer.slug,
            &offer.broker,
            offer.expires_at / 1_000,
            base64url(filler),
            role,
            issuer,
        );
        Self {
            token: token.encode(),
            fragment: Fragment::new(seed, invite),
            origin: offer.broker.http_origin(),
        }
    }

    /// The link to hand over: a secret until it is used up, closed or expired.
    pub fn link(&self) -> String {
        format!("{}#{}", self.legacy_link(), self.fragment.expose())
    }

    /// The link without its fragment, for clients of the existing system; who joins by it is
    /// shown as unverified.
    pub fn legacy_link(&self) -> String {
        format!("{}/join/{}", self.origin, self.token)
    }
}
