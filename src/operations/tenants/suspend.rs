//! A tenant is refused to everybody, until it is resumed. One transaction each.
//!
//! Replicas hear of it by NOTIFY and refuse from then on; sessions in the tenant's database are left alone, since
//! what was let in may end. Asking for what is so already is no error.

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

/// Suspends an active tenant, or gives the suspension of a suspended one another reason.
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

/// Opens a suspended tenant again.
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
