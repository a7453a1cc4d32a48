//! `/metrics` of the admin listener: Prometheus' text format, behind a bearer token when one is configured.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, Settings};
use crate::{
    error::{Error, Result},
    telemetry::metrics::Metrics,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(render))
}

/// All metrics of this replica.
#[utoipa::path(get, path = "/metrics", tag = "telemetry", responses(
    (status = 200, description = "Prometheus text format", body = String, content_type = "text/plain"),
))]
async fn render(
    State(settings): State<Arc<Settings>>,
    State(metrics): State<Metrics>,
    headers: HeaderMap,
) -> Result<impl IntoResponse> {
    if let Some(token) = &settings.metrics_token {
        authorize(token, &headers)?;
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()))
}

fn authorize(token: &SecretString, headers: &HeaderMap) -> Result<()> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let matches = sent.is_some_and(|sent| sent.ct_eq(token.expose_secret().as_bytes()).into());
    let refusal = Error::Unauthenticated { code: "unauthenticated", detail: "metrics ask for their own bearer token" };
    if matches { Ok(()) } else { Err(refusal) }
}
