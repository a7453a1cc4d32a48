//! The operators' API, on the admin listener: one file a resource.

mod audit_events;
mod checks;
mod drift;
mod jobs;
mod keys;
pub(super) mod migrations;
mod operations;
mod plans;
mod rollouts;
mod servers;
mod tenants;
mod visits;

use utoipa_axum::router::OpenApiRouter;

use super::{
    AppState,
    extract::{Right, SignedIn, right},
};
use crate::{error::Result, types::TenantId};

/// All routes under `/platform/v1`. Each asks for a right of the platform tenant.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(tenants::routes())
        .merge(visits::routes())
        .merge(operations::routes())
        .merge(jobs::routes())
        .merge(servers::routes())
        .merge(plans::routes())
        .merge(keys::routes())
        .merge(migrations::routes())
        .merge(rollouts::routes())
        .merge(audit_events::routes())
        .merge(checks::routes())
        .merge(drift::routes())
}

/// Refuses those who may not touch the secrets of this tenant: with those of their own, the platform tenant, one signs
/// in as any operator, so that they are for whoever holds the fleet's keys.
///
/// # Errors
/// `forbidden`.
fn check_secrets(caller: &SignedIn, tenant: TenantId) -> Result<()> {
    if tenant == caller.tenant.id { caller.principal.require(right::KeysWrite::PERMISSION) } else { Ok(()) }
}
