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
         claudemesh-proof, claudemesh-signature",
    ),
];

/// No such route.
pub(super) fn not_found() -> Response {
    let message = "this broker has nothing there; docs/openapi.json lists what it has";
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message).into_response()
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
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    message: String,
    retry_after_ms: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// 400.
    pub(super) fn bad(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message)
    }

    /// 429: the address was refused too often.
    pub(super) fn often(ms: u64) -> Self {
        let message = "too many requests of your address were refused in the last hour; try again \
                       later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit", message).retry_after(ms)
    }

    /// 503, try again in a second.
    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).retry_after(1_000)
    }

    /// Its code.
    pub(super) const fn error(&self) -> &'static str {
        self.error
    }

    pub(super) fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"ok": false, "error": self.error, "message": self.message});
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = ms.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(ms) = self.retry_after_ms {
            let seconds = HeaderValue::from(ms.div_ceil(1_000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// What is left when a call did not come out well: a refusal by the router, or no answer.
pub(super) fn failed(reply: Option<HttpReply>) -> Refusal {
    match reply {
        Some(HttpReply::Error {
            status,
            code,
            message,
            retry_after_ms,
        }) => Refusal {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error: code,
            message,
            retry_after_ms,
        },
        _ => Refusal::busy("the broker did not get to it; try again"),
    }
}
