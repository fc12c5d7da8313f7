//! Enrolment: making a mesh, joining one, reading its log before one is a member.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use claudemesh_core::id::{MeshId, PublicKey};
use claudemesh_core::identity::verify_log_read_proof;
use claudemesh_core::invite::{InviteError, InviteToken};
use claudemesh_core::membership::{Body as EntryBody, Head, SignedEntry};
use claudemesh_core::wire::errors::code;
use claudemesh_core::wire::{HEADER_PROOF, LogHead, SignedBlob};
use serde_json::{Map, Value, json};

use super::Peer;
use super::auth::bearer;
use super::reply::{self, Refusal};
use crate::broker::Shared;
use crate::create::CreatePolicy;
use crate::router::{HttpCall, HttpReply, JoinCall};

/// Bytes of a body at most.
pub(super) const BODY: usize = 65_536;

type Fields = Map<String, Value>;

/// `POST /mesh/create`.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let entry = first_entry(&read(body).await?)?;
    let (mesh, member) = make(&shared, peer.client(), &headers, entry).await?;
    Ok(reply::ok(fields(
        json!({"meshId": mesh.as_str(), "memberId": member}),
    )))
}

/// Makes a mesh for an address that may make one, and notes with which token.
pub(super) async fn make(
    shared: &Shared,
    client: IpAddr,
    headers: &HeaderMap,
    entry: SignedEntry,
) -> Result<(MeshId, String), Refusal> {
    // Counted before the token is looked at: wrong ones are bounded by the same number.
    shared.may_make_mesh(client).map_err(|ms| {
        let message = format!(
            "your address has made {} meshes in the last hour; try again later",
            shared.limits.meshes_per_hour
        );
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, code::RATE_LIMIT, message).retry_after(ms)
    })?;
    may_create(shared, headers).await.inspect_err(|refusal| {
        shared.metrics.create_refused(refusal.error());
    })?;
    match shared.call(HttpCall::Create { entry }).await {
        Some(HttpReply::Created { mesh, member, new }) => {
            // Everybody who may read the log has the entry: whoever posts it again made nothing.
            if new {
                note_made(shared, bearer(headers).map(str::to_owned), &mesh).await;
            }
            Ok((mesh, member))
        }
        other => Err(reply::failed(other)),
    }
}

/// Notes with which token a mesh was made. That it could not be noted undoes nothing.
async fn note_made(shared: &Shared, token: Option<String>, mesh: &MeshId) {
    let (Some(tokens), Some(token)) = (shared.tokens.clone(), token) else {
        return;
    };
    let (mesh, now) = (mesh.clone(), shared.clock.now().wall);
    let noted = tokio::task::spawn_blocking(move || match tokens.check(&token, now)? {
        Some(name) => tokens.made(&name, &mesh),
        None => Ok(()),
    });
    if let Ok(Err(error)) = noted.await {
        tracing::error!(%error, "with which token a mesh was made cannot be noted");
    }
}

/// Whether the broker lets this request make a mesh.
async fn may_create(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let tokens = match &shared.create {
        CreatePolicy::Open => return Ok(()),
        CreatePolicy::Closed => {
            let message = "no meshes are made at this broker; ask its operator";
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "creation_closed",
                message,
            ));
        }
        CreatePolicy::Token(tokens) => tokens.clone(),
    };
    let refused = |code, message| Refusal::new(StatusCode::UNAUTHORIZED, code, message);
    let token = bearer(headers)
        .filter(|token| !token.is_empty())
        .map(str::to_owned);
    let token = token.ok_or_else(|| {
        let message = "this broker makes meshes only for who has a token: ask its operator for \
                       one (broker-min token add), then give it with --token, or in \
                       CLAUDEMESH_BROKER_TOKEN";
        refused("token_required", message)
    })?;
    let now = shared.clock.now().wall;
    let checked = tokio::task::spawn_blocking(move || tokens.check(&token, now)).await;
    match checked {
        Ok(Ok(Some(name))) => {
            tracing::info!(token = name, "a mesh is made");
            Ok(())
        }
        Ok(Ok(None)) => {
            let message = "this broker does not know the token: it was taken back, has expired, \
                           or is another broker's; ask its operator for a new one";
            Err(refused("token_invalid", message))
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the tokens cannot be read");
            Err(Refusal::busy(
                "the broker cannot read its tokens; tell its operator",
            ))
        }
        Err(_) => Err(Refusal::busy("the broker did not get to it; try again")),
    }
}

pub(super) fn first_entry(fields: &Fields) -> Result<SignedEntry, Refusal> {
    let bad = |message: &str| Refusal::bad(code::INVALID_ARGUMENT, message);
    let entry = log_entry(fields)?.ok_or_else(|| bad("log_entry {e, sig} required"))?;
    match entry.open() {
        Ok(opened) if matches!(opened.body, EntryBody::MeshCreated { .. }) => Ok(entry),
        Ok(_) => Err(bad("log_entry: a mesh begins with mesh_created")),
        Err(error) => Err(bad(&format!("log_entry: {error}"))),
    }
}

/// `POST /join`.
pub(super) async fn join(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Response, Refusal> {
    let call = join_call(&read(body).await?)?;
    match shared.call(HttpCall::Join(Box::new(call))).await {
        Some(HttpReply::Joined {
            member,
            already,
            head,
        }) => {
            let mut fields = fields(json!({"memberId": member}));
            if already {
                fields.insert("alreadyMember".to_owned(), true.into());
            }
            if let Some(head) = head {
                fields.insert("log_head".to_owned(), head_json(head));
            }
            Ok(reply::ok(fields))
        }
        other => Err(reply::failed(other)),
    }
}

fn join_call(fields: &Fields) -> Result<JoinCall, Refusal> {
    let missing = || {
        let error = "invite_token, invite_payload, peer_pubkey, display_name required";
        Refusal::bad(error, "send all four")
    };
    let text = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).ok_or_else(missing)
    };
    let token = text("invite_token")?;
    let payload = fields.get("invite_payload").ok_or_else(missing)?;
    let (key, name) = (text("peer_pubkey")?, text("display_name")?);
    let key = PublicKey::from_hex(key).map_err(|_| {
        let error = "peer_pubkey must be 64 hex chars (32 bytes)";
        Refusal::bad(error, "send the new member's public key in hex")
    })?;
    let forged = |error: InviteError| Refusal::bad("invite_bad_signature", error.to_string());
    let payload = InviteToken::from_json(&payload.to_string()).map_err(forged)?;
    // Clients send the token twice, encoded and decoded; what was checked must be what is used.
    if InviteToken::parse(token).map_err(forged)? != payload {
        return Err(forged(InviteError::Payload("is not what the token says")));
    }
    // Whether it has expired is for the mesh's log to say.
    payload.verify(0).map_err(forged)?;
    Ok(JoinCall {
        token: token.to_owned(),
        payload,
        key,
        name: name.to_owned(),
        entry: log_entry(fields)?,
    })
}

/// `GET /mesh/<id>/log?from=<seq>`.
pub(super) async fn log(
    State(shared): State<Arc<Shared>>,
    Path(mesh): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mesh = MeshId::new(mesh).map_err(|_| {
        let message = "no such mesh at this broker";
        Refusal::new(StatusCode::NOT_FOUND, code::NOT_FOUND, message)
    })?;
    let from = match uri.query() {
        None => Some(0),
        Some(query) => query.strip_prefix("from=").and_then(|n| n.parse().ok()),
    };
    let from =
        from.ok_or_else(|| Refusal::bad(code::INVALID_ARGUMENT, "from must be a number: ?from=0"))?;
    let unproven = |code, message| Refusal::new(StatusCode::UNAUTHORIZED, code, message);
    let proof = headers.get(HEADER_PROOF).and_then(|h| h.to_str().ok());
    let proof = proof.ok_or_else(|| {
        let message = "prove with the header claudemesh-proof that you may read this log";
        unproven(code::UNAUTHORIZED, message)
    })?;
    let now = shared.clock.now().wall;
    let key = verify_log_read_proof(&mesh, proof, now)
        .map_err(|error| unproven(error.code(), "the proof does not hold; make a new one"))?;
    match shared.call(HttpCall::Log { mesh, key, from }).await {
        Some(HttpReply::Log { entries, head }) => {
            let entries: Vec<Value> = entries.iter().map(entry_json).collect();
            Ok(reply::ok(fields(json!({
                "channel": "",
                "from": from,
                "entries": entries,
                "head": head_json(head),
            }))))
        }
        other => Err(reply::failed(other)),
    }
}

/// `POST /mesh/<id>/log`: for who has no connection to append on, as one who just became a member.
pub(super) async fn append(
    State(shared): State<Arc<Shared>>,
    Path(mesh): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let mesh = MeshId::new(mesh).map_err(|_| {
        let message = "no such mesh at this broker";
        Refusal::new(StatusCode::NOT_FOUND, code::NOT_FOUND, message)
    })?;
    let entry = log_entry(&read(body).await?)?
        .ok_or_else(|| Refusal::bad(code::INVALID_ARGUMENT, "log_entry {e, sig} required"))?;
    entry
        .open()
        .map_err(|error| Refusal::bad(code::INVALID_ARGUMENT, format!("log_entry: {error}")))?;
    match shared.call(HttpCall::Append { mesh, entry }).await {
        Some(HttpReply::Appended { member, head }) => {
            let mut fields = fields(json!({ "log_head": head_json(head) }));
            if let Some(member) = member {
                fields.insert("memberId".to_owned(), member.into());
            }
            Ok(reply::ok(fields))
        }
        other => Err(reply::failed(other)),
    }
}

fn entry_json(entry: &SignedEntry) -> Value {
    let blob = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
    serde_json::to_value(blob).unwrap_or_default()
}

fn head_json(head: Head) -> Value {
    serde_json::to_value(LogHead::new(head.seq, &head.hash)).unwrap_or_default()
}

pub(super) fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Reads a body that is a JSON object.
async fn read(body: Body) -> Result<Fields, Refusal> {
    let bytes = to_bytes(body, BODY).await.map_err(|_| {
        let message = format!("a body has at most {BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "payload too large", message)
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Refusal::bad(code::MALFORMED, "the body is not a JSON object"))
}

/// The field `log_entry`, if it is there.
fn log_entry(fields: &Fields) -> Result<Option<SignedEntry>, Refusal> {
    let bad = |message: String| Refusal::bad(code::INVALID_ARGUMENT, message);
    let Some(value) = fields.get("log_entry").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let blob: SignedBlob = serde_json::from_value(value.clone())
        .map_err(|_| bad("log_entry must be {e, sig, cosig?}".to_owned()))?;
    SignedEntry::from_text(&blob.e, &blob.sig, blob.cosig.as_deref())
        .map(Some)
        .map_err(|error| bad(format!("log_entry: {error}")))
}
