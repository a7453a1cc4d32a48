//! What is answered where a change of a tenant may take an operation.

use std::time::Duration;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Versioned, View};
use crate::{
    control::tenants::{self, Tenant},
    error::{Error, Result},
    http::{AppState, extract::Json},
    operations::{engine::wait, tenants::Progress},
    types::OperationId,
};

/// A tenant, and the operation that is at work on it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnderWay {
    /// The tenant.
    #[serde(flatten)]
    tenant: View,
    /// The operation: see Location.
    operation_id: OperationId,
}

/// 202 with the operation, once it has ended or `at_most` has passed; 200 where there is none.
pub(super) async fn answer(state: &AppState, progress: Progress, at_most: Duration) -> Result<Response> {
    let Progress { mut tenant, operation } = progress;
    let Some(operation) = operation else { return Ok(Versioned::new(tenant, state).await?.into_response()) };
    if !at_most.is_zero() {
        match after(state, &tenant, operation, at_most).await {
            Ok(now) => tenant = now,
            // The change is recorded, whatever keeps this request from seeing more.
            Err(error) => tracing::warn!(error = error.chain(), "a request could not wait for its operation"),
        }
    }
    let location = format!("/platform/v1/operations/{operation}");
    let Versioned { view, .. } = Versioned::new(tenant, state).await?;
    let body = Json(UnderWay { tenant: view, operation_id: operation });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

/// The tenant once the operation has ended, or `at_most` has passed.
async fn after(state: &AppState, tenant: &Tenant, operation: OperationId, at_most: Duration) -> Result<Tenant> {
    wait::settled(&state.operations, operation, at_most).await?;
    let found = tenants::get(&mut *state.operations.db.acquire().await?, tenant.id).await?;
    found.ok_or_else(|| Error::defect("a tenant that is being changed has no row"))
}
