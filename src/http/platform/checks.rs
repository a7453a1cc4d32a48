//! `/platform/v1/fsck` and `/platform/v1/isolation`: whether promises and reality agree.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        extract::{Json, Operator, Query, right},
        problem::Problem,
    },
    operations::checks::{fsck, isolation},
    types::TenantId,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(check)).routes(routes!(verify_isolation))
}

/// Compares the control database with every server. Changes nothing.
#[utoipa::path(get, path = "/platform/v1/fsck", tag = "checks", operation_id = "fsck", responses(
    (status = 200, description = "What differs", body = fsck::Report),
))]
async fn check(_: Operator<right::FleetVerify>, State(state): State<AppState>) -> Result<Json<fsck::Report>, Problem> {
    Ok(Json(fsck::check(&state.operations).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct After {
    /// `next` of the page before.
    after: Option<TenantId>,
}

/// Tries what must not be possible, as the tenants themselves: a page of tenants a call.
#[utoipa::path(get, path = "/platform/v1/isolation", tag = "checks", operation_id = "verify_isolation",
    params(After), responses(
    (status = 200, description = "What was tried and what of it was possible", body = isolation::Checked),
))]
async fn verify_isolation(
    _: Operator<right::FleetVerify>,
    State(state): State<AppState>,
    Query(After { after }): Query<After>,
) -> Result<Json<isolation::Checked>, Problem> {
    Ok(Json(isolation::check(&state.operations, after, isolation::Pace::OnDemand).await?))
}
