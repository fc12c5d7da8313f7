//! What members ask of their mesh by HTTP, and what programs tell of sessions beside them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::errors::code;
use serde_json::{Map, Value, json};

use super::Peer;
use super::api::BODY;
use super::auth::{Caller, caller, right, unsigned};
use super::reply::{self, Refusal};
use crate::broker::Shared;
use crate::broker::counted::PerAddress;
use crate::router::{Asker, HttpCall, HttpReply, MeshAsk, MeshCall, StatusBy, StatusCall};

/// Statuses that one address may tell in an hour: 20 a second.
const HOOKS_PER_HOUR: u32 = 72_000;
/// Bytes of a folder's name and of a session's id.
const MAX_PLACE: usize = 4_096;

/// A request that was read.
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) body: Bytes,
}

/// Reads a request and finds out who asks.
pub(super) async fn read(
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Asked, Refusal> {
    let body = body_of(body).await?;
    let caller = caller(shared, method, uri, headers, &body).await?;
    Ok(Asked { caller, body })
}

/// A body that is not too long.
pub(super) async fn body_of(body: Body) -> Result<Bytes, Refusal> {
    to_bytes(body, BODY).await.map_err(|_| {
        let message = format!("a body has at most {BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "payload too large", message)
    })
}

/// The body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Value, Refusal> {
    fields(body).map(Value::Object)
}

/// As [`object`].
pub(super) fn fields(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body)
        .map_err(|_| Refusal::bad(code::MALFORMED, "the body is not a JSON object"))
}

pub(super) fn mesh_id(text: String) -> Result<MeshId, Refusal> {
    MeshId::new(text).map_err(|_| {
        let message = "no such mesh at this broker";
        Refusal::new(StatusCode::NOT_FOUND, "mesh_not_found", message)
    })
}

/// Asks a mesh, and gives its answer.
pub(super) async fn asked(
    shared: &Shared,
    mesh: MeshId,
    by: Asker,
    ask: MeshAsk,
) -> Result<Value, Refusal> {
    let call = MeshCall { mesh, by, ask };
    match shared.call(HttpCall::Mesh(Box::new(call))).await {
        Some(HttpReply::Json(value)) => Ok(value),
        other => Err(reply::failed(other)),
    }
}

/// `GET /mesh/<id>/members`.
pub(super) async fn members(
    State(shared): State<Arc<Shared>>,
    Path(mesh): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let mesh = mesh_id(mesh)?;
    let by = right(read.caller, &mesh)?;
    let answer = asked(&shared, mesh, by, MeshAsk::Members).await?;
    Ok(Json(answer).into_response())
}

/// `PATCH /mesh/<id>/member/<member>`.
pub(super) async fn edit(
    State(shared): State<Arc<Shared>>,
    Path((mesh, member)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let mesh = mesh_id(mesh)?;
    let by = right(read.caller, &mesh)?;
    let fields = fields(&read.body)?;
    let answer = asked(&shared, mesh, by, MeshAsk::Edit { member, fields }).await?;
    Ok(Json(answer).into_response())
}

/// `PATCH /mesh/<id>/settings`.
pub(super) async fn settings(
    State(shared): State<Arc<Shared>>,
    Path(mesh): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let mesh = mesh_id(mesh)?;
    let by = right(read.caller, &mesh)?;
    let fields = fields(&read.body)?;
    let answer = asked(&shared, mesh, by, MeshAsk::Settings(fields)).await?;
    Ok(Json(answer).into_response())
}

/// `POST /hook/set-status`.
pub(super) async fn set_status(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let by = match read.caller {
        Caller::Key(key, signature) => StatusBy::Member(key, signature),
        Caller::Nobody if is_this_machine(peer.addr.ip(), &headers) => StatusBy::ThisMachine,
        Caller::Nobody => return Err(unsigned()),
        Caller::Token(_) | Caller::ApiKey => {
            let message = "a token is of no session: sign the request with the member's key in \
                           the header claudemesh-signature";
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                code::FORBIDDEN,
                message,
            ));
        }
    };
    may_tell(&shared.hooks, peer.client(), shared.clock.now().mono)?;
    let Some(call) = status_call(by, &object(&read.body)?) else {
        // As the existing system says it: with 200.
        let wrong = json!({ "ok": false, "error": "cwd and status required" });
        return Ok(Json(wrong).into_response());
    };
    match shared.call(HttpCall::Status(Box::new(call))).await {
        Some(HttpReply::Json(Value::Object(told))) => Ok(reply::ok(told)),
        other => Err(reply::failed(other)),
    }
}

/// Counts a status that an address tells.
fn may_tell(hooks: &PerAddress, client: IpAddr, now: u64) -> Result<(), Refusal> {
    if let Some(ms) = hooks.spent(client, now, HOOKS_PER_HOUR) {
        let message = "your address told very many statuses in the last hour; try again later";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate limited", message);
        return Err(refusal.retry_after(ms));
    }
    hooks.count(client, now);
    Ok(())
}

fn status_call(by: StatusBy, fields: &Value) -> Option<StatusCall> {
    let text = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str)?;
        (1..=MAX_PLACE)
            .contains(&text.len())
            .then(|| text.to_owned())
    };
    Some(StatusCall {
        by,
        cwd: text("cwd")?,
        pid: fields.get("pid").and_then(Value::as_i64),
        session: text("session_id"),
        status: text("status")?.parse().ok()?,
    })
}

/// Whether a request was made by a program of the broker's own machine. Not so what a proxy on it
/// passed on, nor what a page in a browser on it asks for.
fn is_this_machine(peer: IpAddr, headers: &HeaderMap) -> bool {
    const PASSED_ON: [&str; 5] = ["forwarded", "x-forwarded-for", "x-real-ip", "via", "origin"];
    peer.to_canonical().is_loopback() && !PASSED_ON.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_so_many_statuses_an_hour() {
        let hooks = PerAddress::default();
        let client = "192.0.2.1".parse().unwrap();
        for _ in 0..HOOKS_PER_HOUR {
            may_tell(&hooks, client, 0).unwrap();
        }
        assert_eq!(
            may_tell(&hooks, client, 0).unwrap_err().error(),
            "rate limited"
        );
        may_tell(&hooks, "192.0.2.2".parse().unwrap(), 0).unwrap();
        may_tell(&hooks, client, 3_600_000).unwrap();
    }

    #[test]
    fn who_comes_through_a_proxy_or_a_browser_is_not_of_this_machine() {
        let is = |ip: &str, name: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = name {
                headers.insert(name, "x".parse().unwrap());
            }
            is_this_machine(ip.parse().unwrap(), &headers)
        };
        assert!(is("127.0.0.1", None) && is("::1", None) && is("::ffff:127.0.0.1", None));
        assert!(!is("192.0.2.1", None));
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via", "origin"] {
            assert!(!is("127.0.0.1", Some(name)), "{name}");
        }
    }
}
