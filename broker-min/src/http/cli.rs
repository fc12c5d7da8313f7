//! `/cli/*` for who has a token of the operator's: making meshes, and those that were made with it.
//! What needs a key's signature here says so: this broker holds no key but its own.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use claudemesh_core::id::MeshId;
use claudemesh_core::wire::errors::code;
use serde_json::{Value, json};

use super::Peer;
use super::api::{first_entry, make};
use super::ask::{asked, fields, read};
use super::auth::{Caller, token, unsigned};
use super::reply::Refusal;
use crate::broker::Shared;
use crate::create::TokenRow;
use crate::router::{Asker, MeshAsk};
use crate::rules::MeshState;

/// Meshes of one token that are looked at by name, and listed, at most.
const LISTED: usize = 100;

/// `POST /cli/mesh/create`: as `POST /mesh/create`, for who has a token, answered as the existing
/// system answers it.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    token(read.caller)?;
    let fields = fields(&read.body)?;
    if fields.get("log_entry").is_none_or(Value::is_null) {
        let message = "a mesh is made by its owner's signature, which this broker cannot give: \
                       make it with `claudemesh create NAME --broker URL --token TOKEN`, or send \
                       log_entry {e, sig}";
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            code::UNSUPPORTED,
            message,
        ));
    }
    let entry = first_entry(&fields)?;
    let (mesh, member) = make(&shared, peer.client(), &headers, entry).await?;
    let about = about(&shared, &mesh).await.unwrap_or_default();
    let slug = about.get("slug").cloned().unwrap_or_default();
    let made = json!({ "id": mesh, "slug": slug, "name": slug, "member_id": member });
    Ok(Json(made).into_response())
}

async fn about(shared: &Shared, mesh: &MeshId) -> Option<Value> {
    asked(shared, mesh.clone(), Asker::Maker, MeshAsk::About)
        .await
        .ok()
}

/// The address by which peers dial this broker.
fn broker_url(shared: &Shared, headers: &HeaderMap) -> String {
    if let Some(url) = shared.public_urls.first() {
        return url.to_string();
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    format!("ws://{}/ws", host.unwrap_or_default())
}

/// `GET /cli/meshes`: those that were made with the token.
pub(super) async fn meshes(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let row = token(read.caller)?;
    let url = broker_url(&shared, &headers);
    let mut meshes = Vec::new();
    for mesh in row.meshes.iter().take(LISTED) {
        // One that was deleted is not there any more.
        if let Some(mut about) = about(&shared, mesh).await {
            about["broker_url"] = url.clone().into();
            meshes.push(about);
        }
    }
    Ok(Json(json!({ "meshes": meshes })).into_response())
}

/// Which of the meshes of a token is called so.
async fn named(shared: &Shared, row: &TokenRow, name: &str) -> Result<MeshId, Refusal> {
    let mut found = Vec::new();
    if let Some(mesh) = row.meshes.iter().find(|mesh| mesh.as_str() == name) {
        return Ok(mesh.clone());
    }
    for mesh in row.meshes.iter().take(LISTED) {
        let about = about(shared, mesh).await;
        if about.is_some_and(|about| about.get("slug").and_then(Value::as_str) == Some(name)) {
            found.push(mesh.clone());
        }
    }
    match found.as_slice() {
        [mesh] => Ok(mesh.clone()),
        [] => {
            let message = "no mesh of that name was made with this token; give the mesh's id, and \
                           sign with a member's key in the header claudemesh-signature";
            Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "mesh_not_found",
                message,
            ))
        }
        _ => {
            let message = "several meshes of that name were made with this token; give the id";
            Err(Refusal::new(StatusCode::CONFLICT, "ambiguous", message))
        }
    }
}

/// The mesh that a route of `/cli` names, and by which right it is asked: by its id for who signs,
/// by name or id for who has the token by which it was made.
async fn mesh_of(shared: &Shared, caller: Caller, name: &str) -> Result<(MeshId, Asker), Refusal> {
    if let Caller::Key(key, signature) = caller {
        let mesh = super::ask::mesh_id(name.to_owned())?;
        return Ok((mesh, Asker::Member(key, signature)));
    }
    let row = token(caller)?;
    Ok((named(shared, &row, name).await?, Asker::Maker))
}

/// `POST /cli/mesh/<mesh>/grants`: whom who asks lets write to it.
pub(super) async fn grants(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    let (mesh, by) = mesh_of(&shared, read.caller, &name).await?;
    let fields = fields(&read.body)?;
    let answer = asked(&shared, mesh, by, MeshAsk::Grants(fields)).await?;
    Ok(Json(answer).into_response())
}

/// `DELETE /cli/mesh/<mesh>`: by the owner's key alone. Turns everybody away at once; the rows go
/// when the broker starts next.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let read = read(&shared, &method, &uri, &headers, body).await?;
    if matches!(read.caller, Caller::Nobody) {
        return Err(unsigned());
    }
    let (mesh, by) = mesh_of(&shared, read.caller, &name).await?;
    let answer = asked(&shared, mesh.clone(), by, MeshAsk::Delete).await?;
    let Some(rules) = shared.rules.clone() else {
        let message = "this broker has no folder in which it could note that";
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            code::UNSUPPORTED,
            message,
        ));
    };
    let noted = tokio::task::spawn_blocking(move || {
        rules.change(&mesh, |rule| rule.state = MeshState::Deleted)
    });
    match noted.await {
        Ok(Ok(())) => Ok(Json(answer).into_response()),
        Ok(Err(error)) => {
            tracing::error!(%error, "that a mesh is deleted cannot be noted");
            Err(Refusal::busy(
                "the broker cannot note it; tell its operator",
            ))
        }
        Err(_) => Err(Refusal::busy("the broker did not get to it; try again")),
    }
}
