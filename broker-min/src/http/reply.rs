//! Answers that many routes give.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::router::HttpReply;

/// As the existing broker sends them, for pages of other origins.
pub(super) const CORS: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, X-Mesh-Id, X-Member-Id, X-File-Name, X-Tags, X-Persistent, X-Target-Spec, \
         claudemesh-proof",
    ),
];

/// No such route.
pub(super) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found").into_response()
}

/// 200 with `{ok: true, …}`.
pub(super) fn ok(fields: Map<String, Value>) -> Response {
    let mut object = Map::new();
    object.insert("ok".to_owned(), true.into());
    object.extend(fields);
    Json(Value::Object(object)).into_response()
}

/// `{ok: false, error, message, retry_after_ms?}`; `error` is a code, or a text of the existing
/// broker that its clients look for.
pub(super) fn refuse(
    status: StatusCode,
    error: &str,
    message: &str,
    retry_after_ms: Option<u64>,
) -> Response {
    let mut body = json!({"ok": false, "error": error, "message": message});
    if let Some(ms) = retry_after_ms {
        body["retry_after_ms"] = ms.into();
    }
    let mut response = (status, Json(body)).into_response();
    if let Some(ms) = retry_after_ms {
        let seconds = HeaderValue::from(ms.div_ceil(1_000));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// 400.
pub(super) fn bad(error: &str, message: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, error, message, None)
}

/// 503, try again.
pub(super) fn busy(message: &str) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    refuse(status, "busy", message, Some(1_000))
}

/// What is left when a call did not come out well: a refusal by the router, or no answer.
pub(super) fn failed(reply: Option<HttpReply>) -> Response {
    match reply {
        Some(HttpReply::Error {
            status,
            code,
            message,
            retry_after_ms,
        }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            refuse(status, code, &message, retry_after_ms)
        }
        _ => busy("the broker did not get to it; try again"),
    }
}
