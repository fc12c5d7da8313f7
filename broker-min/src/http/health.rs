//! `/health`, `/health/ready`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::broker::Shared;
use crate::metrics::Sample;
use crate::router::{HttpCall, HttpReply};
use crate::store::{Query, Rows};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this was built from, where the build said so.
fn commit() -> &'static str {
    option_env!("CLAUDEMESH_GIT_SHA").unwrap_or("unknown")
}

/// Always 200 while the process answers; what is wrong stands in `store`.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let db = if shared.healthy().await { "up" } else { "down" };
    let store = shared.trouble().await.unwrap_or("ok");
    Json(json!({
        "status": "ok",
        "db": db,
        "store": store,
        "version": VERSION,
        "gitSha": commit(),
        "uptime": shared.clock.now().mono / 1_000,
    }))
    .into_response()
}

/// 200 if peers can be served, else 503.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(reason) = shared.trouble().await {
        let body = json!({"status": "not_ready", "reason": reason});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    }
    Json(json!({
        "status": "ready",
        "version": VERSION,
        "gitSha": commit(),
        "uptime": shared.clock.now().mono / 1_000,
    }))
    .into_response()
}

/// The numbers, as OpenMetrics text.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut sample = Sample {
        sockets: shared.door.len(),
        uptime: shared.clock.now().mono as f64 / 1_000.0,
        healthy: shared.healthy().await,
        writable: shared.trouble().await.is_none(),
        ..Sample::default()
    };
    if let Some(Rows::Totals([queue, meshes, members])) = shared.loads.ask(Query::Totals).await {
        (sample.queue, sample.meshes, sample.members) = (queue, meshes, members);
    }
    if let Some(HttpReply::Gauges([_, loaded, unsettled])) = shared.call(HttpCall::Gauges).await {
        (sample.loaded, sample.unsettled) = (loaded, unsettled);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text(sample)).into_response()
}
