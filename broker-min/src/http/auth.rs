//! Who asks by HTTP: the key that signed the request, the token of the operator's that came with
//! it, an API key of a mesh, or nobody.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use claudemesh_core::id::{MeshId, PublicKey, Signature};
use claudemesh_core::identity::{HttpRequest, verify_request};
use claudemesh_core::wire::HEADER_SIGNATURE;

use super::reply::Refusal;
use super::upgrade::hosts;
use crate::broker::Shared;
use crate::create::TokenRow;

/// How API keys of a mesh begin.
pub(super) const API_KEY: &str = "cm_";
/// What an unsigned request is told.
const SIGN: &str = "sign the request with a member's key in the header claudemesh-signature \
                    (docs/protocol.md, Signed requests), or send authorization: Bearer with the \
                    token by which the mesh was made";

/// Who asks.
#[derive(Debug)]
pub(super) enum Caller {
    /// The key that signed this very request, and its signature.
    Key(PublicKey, Signature),
    /// A token of the operator's.
    Token(TokenRow),
    /// What shall be an API key of a mesh.
    ApiKey,
    /// Nobody.
    Nobody,
}

fn unauthorized(error: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, error, message)
}

/// 401 with the way out.
pub(super) fn unsigned() -> Refusal {
    unauthorized("unauthorized", SIGN)
}

/// The text behind `authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who asks, as far as the request itself shows it.
///
/// # Errors
/// 401 for a signature that does not hold and for a token that is none: nobody is taken for nobody
/// who claims to be somebody.
pub(super) async fn caller(
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Caller, Refusal> {
    if let Some(value) = headers.get(HEADER_SIGNATURE) {
        let hosts = hosts(&shared.public_urls, headers);
        let request = HttpRequest {
            method: method.as_str(),
            host: "",
            target: uri.path_and_query().map_or("/", |target| target.as_str()),
            body,
        };
        let value = value.to_str().unwrap_or_default();
        let now = shared.clock.now().wall;
        let hosts = hosts.iter().map(String::as_str);
        return verify_request(&request, hosts, value, now)
            .map(|(key, signature)| Caller::Key(key, signature))
            .map_err(|error| {
                let message = "the signature does not hold for this method, host, path, body and \
                               time; sign this very request anew";
                unauthorized(error.code(), message)
            });
    }
    match bearer(headers) {
        None => Ok(Caller::Nobody),
        Some("") => Err(unauthorized("empty_bearer_token", SIGN)),
        Some(token) if token.starts_with(API_KEY) => Ok(Caller::ApiKey),
        Some(token) => token_row(shared, token).await.map(Caller::Token),
    }
}

/// The token's row.
async fn token_row(shared: &Shared, token: &str) -> Result<TokenRow, Refusal> {
    let unknown = || {
        let message = "this broker does not know the token: it was taken back, has expired, or is \
                       another broker's; ask its operator for a new one (broker-min token add)";
        unauthorized("invalid_or_revoked_token", message)
    };
    let Some(tokens) = shared.tokens.clone() else {
        return Err(unknown());
    };
    let (token, now) = (token.to_owned(), shared.clock.now().wall);
    match tokio::task::spawn_blocking(move || tokens.row(&token, now)).await {
        Ok(Ok(row)) => row.ok_or_else(unknown),
        Ok(Err(error)) => {
            tracing::error!(%error, "the tokens cannot be read");
            Err(Refusal::busy(
                "the broker cannot read its tokens; tell its operator",
            ))
        }
        Err(_) => Err(Refusal::busy("the broker did not get to it; try again")),
    }
}

/// The token's row of who comes with a token, as `/cli/*` wants it.
///
/// # Errors
/// 401 in the words of the existing system for everybody else.
pub(super) fn token(caller: Caller) -> Result<TokenRow, Refusal> {
    match caller {
        Caller::Token(row) => Ok(row),
        Caller::ApiKey => Err(unauthorized(
            "invalid_or_revoked_token",
            "an API key opens /hook and /api/v1 alone; send a token of the broker's operator",
        )),
        Caller::Key(..) | Caller::Nobody => Err(unauthorized(
            "missing_bearer_token",
            "send authorization: Bearer with a token of the broker's operator (broker-min token \
             add)",
        )),
    }
}

/// By which right `caller` asks something of a mesh.
///
/// # Errors
/// 401 and 403 with the way out.
pub(super) fn right(caller: Caller, mesh: &MeshId) -> Result<crate::router::Asker, Refusal> {
    use crate::router::Asker;
    match caller {
        Caller::Key(key, signature) => Ok(Asker::Member(key, signature)),
        Caller::Token(row) if row.meshes.contains(mesh) => Ok(Asker::Maker),
        Caller::Token(_) => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this mesh was not made with this token; sign the request with a member's key",
        )),
        Caller::ApiKey => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "an API key opens /hook and /api/v1 alone; sign the request with a member's key",
        )),
        Caller::Nobody => Err(unsigned()),
    }
}
