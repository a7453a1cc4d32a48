//! `GET /platform/v1/servers/{id}/preflight`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        AppState,
        extract::{Json, Operator, Path, right},
        problem::Problem,
    },
    operations::fleet::preflight,
    servers::Finding,
    types::ServerId,
};

/// Whether a server is fit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preflight {
    /// Whether it can be used: no finding is an error.
    fit: bool,
    /// What an operator should know.
    findings: Vec<Finding>,
}

/// Checks whether a server is still fit for tenants. Changes nothing.
#[utoipa::path(get, path = "/platform/v1/servers/{id}/preflight", tag = "servers",
    operation_id = "preflight_server", params(("id" = ServerId, Path)), responses(
    (status = 200, description = "What was found", body = Preflight),
))]
pub(super) async fn preflight(
    _: Operator<right::ServersRead>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
) -> Result<Json<Preflight>, Problem> {
    let findings = preflight::check(&state.operations, id).await?;
    Ok(Json(Preflight { fit: !findings.iter().any(Finding::is_error), findings }))
}
