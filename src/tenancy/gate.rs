//! Decides by its state whether a tenant's requests are served.

use std::time::Duration;

use crate::{
    control::tenants::{Tenant, TenantState},
    error::{Error, Result},
};

/// Returns an error if the tenant's requests cannot be served in its present state.
///
/// # Errors
/// `tenant_suspended` (403), `tenant_not_ready` and `tenant_archived` (503), `tenant_gone` (410).
pub fn gate(tenant: &Tenant) -> Result<()> {
    match tenant.state {
        TenantState::Active => Ok(()),
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

/// The error for a tenant that is being provisioned.
pub(super) fn not_ready() -> Error {
    Error::Unavailable {
        code: "tenant_not_ready",
        detail: "this tenant is being made; try again shortly",
        retry_after: Duration::from_secs(2),
        source: None,
    }
}
