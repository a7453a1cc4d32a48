//! Probes. They answer on both listeners, whatever the Host says, and never wait for anything.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    extract::Json,
    readiness::{Readiness, Report, ServiceStatus},
};

type Answer<T> = (StatusCode, [(HeaderName, &'static str); 1], Json<T>);

/// Whether the replica can serve.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Summary {
    /// The sum of its dependencies.
    status: ServiceStatus,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(summary)).routes(routes!(live)).routes(routes!(ready)).routes(routes!(ping))
}

/// Whether the replica can serve, in a word.
#[utoipa::path(get, path = "/health", tag = "health", operation_id = "get_health", security(()), responses(
    (status = 200, description = "It serves", body = Summary),
    (status = 503, description = "It cannot serve", body = Summary),
))]
async fn summary(State(readiness): State<Readiness>) -> impl IntoResponse {
    let status = readiness.report().status;
    answer(status, Summary { status })
}

/// Whether the process runs. Restart it when this fails; a dependency that is away does not make it fail.
#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "get_liveness", security(()), responses(
    (status = 200, description = "It runs", body = Summary),
))]
async fn live() -> Json<Summary> {
    Json(Summary { status: ServiceStatus::Ready })
}

/// Whether the replica can serve, and which dependency keeps it from doing so.
#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "get_readiness", security(()), responses(
    (status = 200, description = "It serves, perhaps degraded", body = Report),
    (status = 503, description = "It cannot serve", body = Report),
))]
async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let report = readiness.report();
    answer(report.status, report)
}

/// `pong`.
#[utoipa::path(get, path = "/health/ping", tag = "health", operation_id = "ping", security(()), responses(
    (status = 200, description = "pong", body = String, content_type = "text/plain"),
))]
async fn ping() -> &'static str {
    "pong"
}

fn answer<T>(status: ServiceStatus, body: T) -> Result<Json<T>, Answer<T>> {
    match status {
        ServiceStatus::Ready | ServiceStatus::Degraded => Ok(Json(body)),
        ServiceStatus::Unavailable => Err((StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Json(body))),
    }
}
