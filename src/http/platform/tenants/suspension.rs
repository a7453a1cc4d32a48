//! `POST /platform/v1/tenants/{id}/suspend` and `/resume`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Versioned, View};
use crate::{
    http::{
        AppState,
        extract::{Json, NoBody, Operator, Path, right},
        problem::Problem,
    },
    operations::tenants::suspend,
    types::{Reason, TenantId},
};

/// Why a tenant is to be refused.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Suspension {
    /// For operators: shown with the tenant and kept in the audit log.
    reason: Reason,
}

/// Suspends a tenant: every request to it is refused, on every replica within a second.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/suspend", tag = "tenants", operation_id = "suspend_tenant",
    request_body = Suspension, params(("id" = TenantId, Path)),
    responses(
        (status = 200, description = "It is suspended, for this reason", body = View, headers(("ETag" = String))),
        (status = 409, description = "It is in another state than active or suspended", body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
pub(super) async fn suspend(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    Json(body): Json<Suspension>,
) -> Result<Versioned, Problem> {
    let tenant = suspend::suspend(&state.operations, id, &body.reason, &caller.origin()).await?;
    Ok(Versioned::new(tenant, &state).await?)
}

/// Opens a suspended tenant again.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/resume", tag = "tenants", operation_id = "resume_tenant",
    params(("id" = TenantId, Path)),
    responses(
        (status = 200, description = "It is active", body = View, headers(("ETag" = String))),
        (status = 409, description = "It is in another state than suspended or active", body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
pub(super) async fn resume(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Versioned, Problem> {
    let tenant = suspend::resume(&state.operations, id, &caller.origin()).await?;
    Ok(Versioned::new(tenant, &state).await?)
}
