//! Suspends a tenant, so that all its requests are refused until it is resumed. Each is one transaction.
//!
//! NOTIFY tells the replicas, which refuse requests from then on. Requests that were let in before may finish, so
//! sessions in the tenant's database are not ended. Suspending a suspended tenant is no error, and neither is resuming
//! an active one.

use serde_json::json;

use super::change::{Change, refuse};
use crate::{
    control::{
        audit::Origin,
        tenant_states,
        tenants::{Tenant, TenantState},
    },
    error::Result,
    faults::crash_point,
    operations::Context,
    types::{Reason, TenantId},
};

/// Suspends an active tenant. Changes the reason if the tenant is suspended already.
///
/// # Errors
/// `not_found`; `tenant_state_conflict` (409); `tenant_gone` (410).
pub async fn suspend(ctx: &Context, id: TenantId, reason: &Reason, origin: &Origin) -> Result<Tenant> {
    let mut change = Change::begin(ctx, id, origin).await?;
    match change.tenant.state {
        TenantState::Active | TenantState::Suspended => {}
        state => return Err(refuse(state, "only an active tenant can be suspended")),
    }
    if change.tenant.suspension.as_deref() == Some(reason.as_str()) {
        return change.leave().await;
    }
    tenant_states::suspend_in_txn(change.txn(), id, reason.as_str()).await?;
    let change = change.record("tenant.suspend", &json!({ "reason": reason })).await?;
    crash_point!("tenant.suspend.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.suspend.after_commit", id);
    Ok(tenant)
}

/// Resumes a suspended tenant.
///
/// # Errors
/// As [`suspend`].
pub async fn resume(ctx: &Context, id: TenantId, origin: &Origin) -> Result<Tenant> {
    let mut change = Change::begin(ctx, id, origin).await?;
    match change.tenant.state {
        TenantState::Suspended => {}
        TenantState::Active => return change.leave().await,
        state => return Err(refuse(state, "only a suspended tenant can be resumed")),
    }
    tenant_states::resume_in_txn(change.txn(), id).await?;
    let change = change.record("tenant.resume", &json!({})).await?;
    crash_point!("tenant.resume.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.resume.after_commit", id);
    Ok(tenant)
}
