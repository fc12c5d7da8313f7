//! `/ws`: the upgrade, with a fresh challenge for the hello's proof.

use std::sync::Arc;

use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::encoding::base64url;
use claudemesh_core::wire::HEADER_CHALLENGE;

use super::Peer;
use super::reply::{self, Refusal};
use crate::broker::Shared;
use crate::socket::{self, Context};

/// The default of 128 KiB would be held by every idle connection; this costs 6 KiB in all and is
/// faster, too.
const BUFFER: usize = 4_096;

pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(Peer(entry)): ConnectInfo<Peer>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    if uri.query().is_some() {
        return reply::not_found();
    }
    let Ok(upgrade) = upgrade else {
        let text = "this address is for WebSocket connections of claudemesh peers";
        return (StatusCode::UPGRADE_REQUIRED, text).into_response();
    };
    let mut challenge = [0u8; 32];
    if getrandom::fill(&mut challenge).is_err() {
        return Refusal::busy("no random bytes; try again").into_response();
    }
    let Ok(value) = HeaderValue::from_str(&base64url(&challenge)) else {
        return Refusal::busy("no challenge; try again").into_response();
    };
    let hosts = hosts(&shared.public_urls, &headers);
    let limit = shared.limits.frame_bytes;
    let context = Context {
        shared,
        entry,
        challenge,
        hosts,
    };
    let mut response = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |ws| socket::run(ws, context));
    response.headers_mut().insert(HEADER_CHALLENGE, value);
    response
}

/// The `host:port` that a proof may name: those of the public URLs, or else what was dialled
/// according to the request. A Host without a port was dialled at one of the two usual ones.
pub(super) fn hosts(public: &[BrokerUrl], headers: &HeaderMap) -> Vec<String> {
    if !public.is_empty() {
        return public.iter().map(BrokerUrl::authority).collect();
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let Some(host) = host.map(str::to_ascii_lowercase) else {
        return Vec::new();
    };
    let bracket = host.rfind(']').unwrap_or(0);
    if host.get(bracket..).is_some_and(|rest| rest.contains(':')) {
        vec![host]
    } else {
        vec![format!("{host}:80"), format!("{host}:443")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_as_dialled_with_their_port() {
        let of = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            hosts(&[], &headers)
        };
        assert_eq!(of("LocalHost:7900"), ["localhost:7900"]);
        assert_eq!(
            of("broker.example"),
            ["broker.example:80", "broker.example:443"]
        );
        assert_eq!(of("[::1]:7900"), ["[::1]:7900"]);
        assert_eq!(of("[::1]"), ["[::1]:80", "[::1]:443"]);
        let public = ["wss://Broker.example/ws".parse().unwrap()];
        assert_eq!(hosts(&public, &HeaderMap::new()), ["broker.example:443"]);
    }
}
