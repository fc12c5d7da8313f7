//! What an API key of a mesh opens: the hook, and the routes of topics, in which only what is
//! sealed comes and goes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::{hex, unbase64};
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::{Send, errors::code};
use serde::Deserialize;
use serde_json::Value;

use super::ask::{body_of, mesh_id, object};
use super::auth::{API_KEY, bearer};
use super::reply::{self, Refusal};
use crate::broker::Shared;
use crate::router::{ApiAsk, ApiCall, HttpCall, HttpReply};

/// Bytes of a key at most; they have 46.
const MAX_KEY: usize = 128;
/// Bytes of a nonce; and of what is sealed, at least.
const NONCE: usize = 24;
const TAG: usize = 16;

fn unauthorized(error: &'static str, message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, error, message)
}

/// The hash of an API key, by which it is kept.
fn hash(key: &str) -> Result<String, Refusal> {
    let whole = key.starts_with(API_KEY) && key.len() <= MAX_KEY;
    whole
        .then(|| hex(&sha256(key.as_bytes()).0))
        .ok_or_else(|| {
            let message = "this is no API key; send authorization: Bearer cm_…, made by a member \
                           (apikey_create)";
            unauthorized("error.api_key_invalid", message)
        })
}

fn of_bearer(headers: &HeaderMap) -> Result<String, Refusal> {
    let key = bearer(headers).ok_or_else(|| {
        let message = "send authorization: Bearer cm_…, an API key of the mesh, made by a member \
                       (apikey_create)";
        unauthorized("error.api_key_missing", message)
    })?;
    hash(key)
}

async fn ask(
    shared: &Shared,
    mesh: Option<MeshId>,
    hash: String,
    ask: ApiAsk,
) -> Result<Response, Refusal> {
    let call = ApiCall { mesh, hash, ask };
    match shared.call(HttpCall::Api(Box::new(call))).await {
        Some(HttpReply::Json(value)) => Ok(Json(value).into_response()),
        other => Err(reply::failed(other)),
    }
}

/// `POST /hook/<mesh>/<key>`.
pub(super) async fn hook(
    State(shared): State<Arc<Shared>>,
    Path((mesh, key)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Refusal> {
    // As the existing system names it.
    let unknown = |_| {
        let message = "this hook is none: its mesh or its key is another one; the last part of the \
                       address is an API key of the mesh";
        unauthorized("unauthorized", message)
    };
    let (mesh, hash) = (
        mesh_id(mesh).map_err(unknown)?,
        hash(&key).map_err(unknown)?,
    );
    let body = body_of(body).await?;
    let data: Option<Value> = serde_json::from_slice(&body).ok();
    let data = data.filter(|data| data.is_object() || data.is_array());
    let data = data.ok_or_else(|| Refusal::bad("invalid JSON body", "post an object or a list"))?;
    ask(&shared, Some(mesh), hash, ApiAsk::Hook(data)).await
}

/// `GET /api/v1/topics`.
pub(super) async fn topics(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let hash = of_bearer(&headers)?;
    ask(&shared, None, hash, ApiAsk::Topics).await
}

/// `GET /api/v1/topics/<topic>/messages?limit=&before=`.
pub(super) async fn messages(
    State(shared): State<Arc<Shared>>,
    Path(topic): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let hash = of_bearer(&headers)?;
    let (mut limit, mut before) = (None, None);
    for pair in uri.query().unwrap_or_default().split('&') {
        match pair.split_once('=') {
            Some(("limit", text)) => {
                let wrong =
                    || Refusal::bad(code::INVALID_ARGUMENT, "limit is a number from 1 to 200");
                let number: u32 = text.parse().map_err(|_| wrong())?;
                limit = Some(number);
            }
            Some(("before", text)) => before = Some(text.to_owned()),
            _ => {}
        }
    }
    let asked = ApiAsk::Messages {
        topic,
        before,
        limit,
    };
    ask(&shared, None, hash, asked).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    topic: String,
    ciphertext: String,
    nonce: String,
    priority: Option<String>,
    body_version: Option<u64>,
    form: Option<String>,
    reply_to_id: Option<String>,
    #[serde(rename = "client_message_id")]
    client_message_id: Option<String>,
}

/// `POST /api/v1/messages`.
pub(super) async fn post(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let hash = of_bearer(&headers)?;
    let fields = object(&body_of(body).await?)?;
    let wrong = |why: &str| Refusal::bad(code::INVALID_ARGUMENT, why.to_owned());
    let post: Post = serde_json::from_value(fields)
        .map_err(|_| wrong("send topic, ciphertext, nonce, bodyVersion"))?;
    let nonce = unbase64(&post.nonce).ok();
    let sealed = unbase64(&post.ciphertext).ok();
    if nonce.is_none_or(|nonce| nonce.len() != NONCE)
        || sealed.is_none_or(|sealed| sealed.len() < TAG)
    {
        return Err(wrong("nonce has 24 bytes in base64, ciphertext 16 or more"));
    }
    let send = Send {
        priority: post.priority.or_else(|| Some("next".to_owned())),
        nonce: post.nonce,
        ciphertext: post.ciphertext,
        body_version: post.body_version,
        form: post.form,
        reply_to_id: post.reply_to_id,
        client_message_id: post.client_message_id,
        ..Send::default()
    };
    let asked = ApiAsk::Post {
        topic: post.topic,
        send: Box::new(send),
    };
    ask(&shared, None, hash, asked).await
}

/// Everything else below `/api/v1`.
pub(super) async fn other() -> Response {
    let message = "an API key opens GET /api/v1/topics, GET /api/v1/topics/<topic>/messages and \
                   POST /api/v1/messages; keys of channels, lists and everything else go by the \
                   WebSocket";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, code::UNSUPPORTED, message).into_response()
}
