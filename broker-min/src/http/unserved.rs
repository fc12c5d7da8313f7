//! What the existing system has and this broker has not: answered by a status that no client takes
//! for success, a code that does not change, and what to do instead.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use claudemesh_core::wire::errors::code;

use super::reply::Refusal;

fn unsupported(message: &'static str) -> Response {
    Refusal::new(StatusCode::NOT_IMPLEMENTED, code::UNSUPPORTED, message).into_response()
}

/// Accounts, logins and sessions of accounts.
pub(super) async fn accounts() -> Response {
    let message = "this broker has no accounts: meshes are joined by invite links (claudemesh \
                   join LINK) and made by keys (claudemesh create NAME); its operator gives tokens \
                   (broker-min token add)";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "accounts_unsupported", message).into_response()
}

/// Invites that a server would sign.
pub(super) async fn invites() -> Response {
    unsupported("invites are signed by who invites: make one with `claudemesh invite`")
}

/// The second form of invites, whose root key a server would seal.
pub(super) async fn second_invites() -> Response {
    let message = "this broker has no codes of that kind; ask for a link and join with `claudemesh \
                   join LINK`";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, "invite_v2_disabled", message).into_response()
}

/// Short codes that a server would exchange for tokens, which hold a key there.
pub(super) async fn codes() -> Response {
    let message = "this broker keeps no tokens behind short codes; ask for the whole link";
    Refusal::new(StatusCode::NOT_FOUND, code::NOT_FOUND, message).into_response()
}

/// What single members may do, beside their roles.
pub(super) async fn permissions() -> Response {
    unsupported(
        "what a member may do follows from its role, which the mesh's log says: see `claudemesh \
         members`",
    )
}

/// Files.
pub(super) async fn files() -> Response {
    unsupported("this broker keeps no files; send what is small as a message, sealed")
}

/// Gateways that a broker would run with a member's secret key.
pub(super) async fn gateways() -> Response {
    unsupported(
        "this broker takes no secret keys: run a program with a member's key of its own beside it, \
         and send the key nowhere",
    )
}
