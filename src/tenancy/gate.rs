//! Decides by its state, and by the versions of its database, whether a tenant's requests are served.

use std::time::Duration;

use crate::{
    control::tenants::{Tenant, TenantState},
    error::{Error, Result},
    types::SchemaVersions,
};

/// Returns an error if the tenant's requests cannot be served in its present state, or by a program that serves no
/// database of older versions than `oldest`. The platform tenant's requests are Freehold's own, so that the product's
/// version does not matter there.
///
/// # Errors
/// `tenant_suspended` (403), `tenant_not_ready`, `tenant_archived` and `tenant_schema_outdated` (503), `tenant_gone`
/// (410).
pub fn gate(tenant: &Tenant, oldest: SchemaVersions) -> Result<()> {
    let product = if tenant.is_platform { 0 } else { oldest.product };
    match tenant.state {
        TenantState::Active => reaches(tenant, SchemaVersions { product, ..oldest }),
        TenantState::Suspended => {
            let detail = "this tenant is suspended; its administrator knows more".to_owned();
            Err(Error::Forbidden { code: "tenant_suspended", detail })
        }
        TenantState::Provisioning => Err(not_ready()),
        TenantState::Archived => Err(Error::Unavailable {
            code: "tenant_archived",
            detail: "this tenant is archived; an operator can wake it",
            retry_after: Duration::from_mins(1),
            source: None,
        }),
        TenantState::Deleting | TenantState::Deleted => {
            Err(Error::Gone { code: "tenant_gone", detail: "this tenant has been deleted".to_owned() })
        }
    }
}

/// Returns an error if the tenant's database is of older versions than `needed`: for what a release can do only in
/// databases that a rollout has reached.
///
/// # Errors
/// `tenant_schema_outdated` (503).
pub fn reaches(tenant: &Tenant, needed: SchemaVersions) -> Result<()> {
    if tenant.versions.reach(needed) {
        return Ok(());
    }
    Err(Error::Unavailable {
        code: "tenant_schema_outdated",
        detail: "this tenant's database is older than this release of the product; a rollout brings it up to date",
        retry_after: Duration::from_secs(30),
        source: None,
    })
}

/// The error for a tenant that is being provisioned.
pub(super) fn not_ready() -> Error {
    Error::Unavailable {
        code: "tenant_not_ready",
        detail: "this tenant is being made; try again shortly",
        retry_after: Duration::from_secs(2),
        source: None,
    }
}
