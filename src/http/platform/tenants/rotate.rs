//! `POST /platform/v1/tenants/{id}/rotate-…`: other secrets for a tenant, without a failed request.
//!
//! The platform tenant's can be rotated too, by those who may `keys:write`: these routes take ids only, and its id is
//! told by `GET /v1/auth/me`.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::View;
use crate::{
    control::{operations::OperationState, servers, tenants},
    error::Error,
    http::{
        AppState,
        extract::{Json, JsonIfAny, NoBody, Operator, Path, PreferWait, right},
        platform::check_secrets,
        problem::Problem,
    },
    operations::{
        engine::wait,
        tenants::{
            rotate_credentials,
            rotate_signing_keys::{self, Previous},
        },
    },
    types::{KeyId, OperationId, TenantId},
};

/// A tenant and the operation that changes it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changing {
    /// The tenant.
    #[serde(flatten)]
    tenant: View,
    /// The operation.
    operation_id: OperationId,
}

/// Gives the tenant's database role another password.
///
/// New connections take either until the present one is replaced; connections that are open stay so. That of the
/// platform tenant is replaced by those who may `keys:write`.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/rotate-credentials", tag = "tenants",
    operation_id = "rotate_tenant_credentials",
    params(
        ("id" = TenantId, Path),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "The password has been replaced", body = Changing),
        (status = 202, description = "The password is being replaced; see Location", body = Changing),
        (status = 409, description = "Another operation is under way, or the tenant has no database", body = Problem),
        (status = 410, description = "The tenant has been deleted", body = Problem),
    ),
)]
pub(super) async fn credentials(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    PreferWait(at_most): PreferWait,
    Path(id): Path<TenantId>,
    _: NoBody,
) -> Result<Response, Problem> {
    check_secrets(&caller, id)?;
    let operation = rotate_credentials::start(&state.operations, id, &caller.origin()).await?;
    let status = match wait::settled(&state.operations, operation, at_most).await {
        Ok(operation) if operation.state == OperationState::Succeeded => StatusCode::OK,
        Ok(_) => StatusCode::ACCEPTED,
        // The rotation is recorded, whatever keeps this request from seeing more.
        Err(error) => {
            tracing::warn!(error = error.chain(), "a request could not wait for its operation");
            StatusCode::ACCEPTED
        }
    };
    let location = [(header::LOCATION, format!("/platform/v1/operations/{operation}"))];
    let body = Changing { tenant: view(&state, id).await?, operation_id: operation };
    Ok((status, location, Json(body)).into_response())
}

/// How signing keys are rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SigningKeyRotation {
    /// Whether what earlier keys signed is worth nothing from now on: for a key that has leaked.
    #[serde(default)]
    revoke_previous: bool,
}

/// The key that signs next.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RotatedSigningKey {
    /// The `kid` of the tokens that it signs.
    key_id: KeyId,
    /// From when on it signs.
    signs_from: DateTime<Utc>,
}

/// Gives the tenant another key to sign access tokens with.
///
/// It is published at once and signs five seconds later; earlier keys verify until what they signed has expired. With
/// `revoke_previous` they verify nothing any more: everybody at the tenant needs a new access token, which their
/// refresh tokens buy. Those of the platform tenant are rotated by those who may `keys:write`.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/rotate-signing-keys", tag = "tenants",
    operation_id = "rotate_tenant_signing_keys", request_body = SigningKeyRotation, params(("id" = TenantId, Path)),
    responses(
        (status = 200, description = "The key is published", body = RotatedSigningKey),
        (status = 409, description = "Too many keys verify already, or the tenant is not in use", body = Problem),
        (status = 410, description = "The tenant has been deleted", body = Problem),
    ),
)]
pub(super) async fn signing_keys(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    JsonIfAny(body): JsonIfAny<SigningKeyRotation>,
) -> Result<Json<RotatedSigningKey>, Problem> {
    check_secrets(&caller, id)?;
    let previous = if body.revoke_previous { Previous::Revoke } else { Previous::Expire };
    let rotated = rotate_signing_keys::rotate(&state.operations, id, previous, &caller.origin()).await?;
    Ok(Json(RotatedSigningKey { key_id: rotated.key, signs_from: rotated.signs_from }))
}

async fn view(state: &AppState, id: TenantId) -> Result<View, Problem> {
    // What is told here has been done.
    let mut connection = state.operations.db.acquire_for_change().await?;
    let tenant = tenants::get(&mut connection, id).await?.ok_or_else(|| Error::not_found("tenant"))?;
    let servers = servers::list(&mut connection).await?;
    Ok(View::new(tenant, &servers, state))
}
