//! Everything on the port: the WebSocket, the API, health, and the page that a link opens.
//!
//! Bodies are never logged: an guessed carries a token.

mod api;
mod ask;
mod auth;
mod cli;
mod health;
mod page;
mod reply;
mod unserved;
mod upgrade;
mod v1;

use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post};
use axum::serve::IncomingStream;

use crate::broker::Shared;
use crate::broker::door::{DoorListener, Entry};
use crate::proxied::client;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Entry>);

impl Connected<IncomingStream<'_, DoorListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, DoorListener>) -> Self {
        Self(stream.remote_addr().clone())
    }
}

/// All routes.
pub(crate) fn service(shared: Arc<Shared>) -> IntoMakeServiceWithConnectInfo<Router, Peer> {
    let made = Router::new()
        .route("/ws", any(upgrade::upgrade))
        .route("/health", get(health::health))
        .route("/health/ready", get(health::ready))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/join", post(api::join))
        .route("/join/{token}", get(page::join))
        .route("/mesh/create", post(api::create))
        .route("/mesh/{id}/log", get(api::log).post(api::append))
        .route("/mesh/{id}/members", get(ask::members))
        .route("/hook/set-status", post(ask::set_status))
        .route("/cli/meshes", get(cli::meshes))
        .route("/cli/mesh/create", post(cli::create))
        .route("/cli/mesh/{mesh}", delete(cli::delete))
        .route("/cli/mesh/{mesh}/grants", post(cli::grants))
        .route("/mesh/{id}/member/{member}", patch(ask::edit))
        .route("/mesh/{id}/settings", patch(ask::settings))
        .route("/hook/{id}/{key}", post(v1::hook))
        .route("/api/v1/topics", get(v1::topics))
        .route("/api/v1/topics/{topic}/messages", get(v1::messages))
        .route("/api/v1/messages", post(v1::post))
        .route(
            "/api/v1/{*rest}",
            get(v1::other).post(v1::other).patch(v1::other),
        );
    made.merge(unserved())
        .fallback(async || reply::not_found())
        .method_not_allowed_fallback(async || reply::not_found())
        .layer(from_fn_with_state(shared.clone(), around))
        .with_state(shared)
        .into_make_service_with_connect_info()
}

/// Routes of the existing system that this broker answers with what to do instead.
fn unserved() -> Router<Arc<Shared>> {
    Router::new()
        .route("/cli-sync", post(unserved::accounts))
        .route("/cli/device-code", post(unserved::accounts))
        .route("/cli/device-code/{code}", get(unserved::accounts))
        .route("/cli/device-code/{code}/approve", post(unserved::accounts))
        .route("/cli/token", post(unserved::accounts))
        .route("/cli/sessions", get(unserved::accounts))
        .route("/cli/session/revoke", post(unserved::accounts))
        .route("/cli/mesh/{mesh}/invite", post(unserved::invites))
        .route(
            "/cli/mesh/{mesh}/permissions",
            get(unserved::permissions).post(unserved::permissions),
        )
        .route("/invites/{code}/claim", post(unserved::second_invites))
        .route(
            "/api/public/invites/{code}/claim",
            post(unserved::second_invites),
        )
        .route("/api/public/invite-code/{code}", get(unserved::codes))
        .route("/upload", post(unserved::files))
        .route("/download/{file}", get(unserved::files))
        .route("/tg/token", post(unserved::gateways))
}

/// Where there is something to be guessed at: tokens, codes, ids, proofs, signatures.
const GUESSED: [&str; 8] = [
    "/join",
    "/mesh/",
    "/cli",
    "/hook/",
    "/api/",
    "/invites/",
    "/download/",
    "/tg/",
];

/// What holds for every request.
async fn around(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let page = request.uri().path().starts_with("/join/");
    let options = request.method() == Method::OPTIONS;
    let client = client(peer.0.addr.ip(), request.headers(), shared.door.trusted());
    let refused = (peer.0.refused).or_else(|| shared.door.attribute(&peer.0, client));
    let now = shared.clock.now().mono;
    // Peers that are in connect all the same.
    let path = request.uri().path();
    let guessed = GUESSED.iter().any(|begin| path.starts_with(begin));
    let spent = guessed
        .then(|| (shared.refusals).spent(client, now, shared.limits.refusals_per_hour))
        .flatten();
    let mut response = if let Some(ms) = spent {
        shared.metrics.refused("refusals");
        reply::Refusal::often(ms).into_response()
    } else if let Some(why) = refused {
        shared.metrics.refused("connections");
        reply::Refusal::busy(why).into_response()
    } else if options {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let status = response.status();
    shared.metrics.http(status.as_u16());
    // Guesses at tokens, codes, ids and proofs end up here.
    if guessed && matches!(status.as_u16(), 400 | 401 | 403 | 404) {
        shared.refusals.count(client, now);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    // One request per connection: nothing idle is kept that could be kept open for ever.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if !page {
        for (name, value) in reply::CORS {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
