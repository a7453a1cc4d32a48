//! Deletes a tenant, and takes a deletion back. Each is one transaction. After the grace time, `erase.rs` destroys the
//! data.
//!
//! All requests to a deleted tenant are refused at once, but it loses no data: until the grace time is over the
//! deletion can be taken back. The number of deletions per hour has a limit for the whole fleet, so that a faulty
//! script cannot delete many tenants.

use std::time::Duration;

use serde_json::json;

use super::{
    change::{Change, Progress, refuse},
    erase, footprint,
};
use crate::{
    control::{
        archives,
        audit::Origin,
        operation_steps,
        operations::{self, Direction, Operation},
        servers, tenant_states,
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, FieldError, Result},
    faults::crash_point,
    operations::Context,
    types::TenantId,
};

/// What a deletion would destroy.
#[derive(Clone, Copy, Debug)]
pub struct Inventory {
    /// Databases: one, or none for an archived tenant.
    pub databases: u32,
    /// Database roles.
    pub roles: u32,
    /// Users in its database; 0 if the database could not be read.
    pub users: i64,
    /// The size of its database.
    pub bytes: i64,
    /// Archives in the object store.
    pub backups: usize,
}

/// What the deletion of this tenant would destroy. Queries the tenant's server, and changes nothing.
///
/// # Errors
/// `not_found`; `validation_failed` on `confirm`; `tenant_state_conflict` (409); `tenant_gone` (410); the server is
/// unavailable.
pub async fn preview(ctx: &Context, id: TenantId, confirm: &str) -> Result<Inventory> {
    let (server, backups) = {
        let mut connection = ctx.db.acquire().await?;
        let found = tenants::get(&mut connection, id).await?.filter(|tenant| !tenant.is_platform);
        let tenant = found.ok_or_else(|| Error::not_found("tenant"))?;
        judge(&tenant, confirm)?;
        let server = servers::get(&mut connection, tenant.server_id).await?;
        (
            server.ok_or_else(|| Error::defect("a tenant's server is not registered"))?,
            archives::list(&mut connection, id).await?.len(),
        )
    };
    let (_, admin) = ctx.administer(&server, "preview").await?;
    let stock = footprint::take(ctx, &admin, id).await?;
    Ok(Inventory {
        databases: u32::from(stock.bytes.is_some()),
        roles: u32::from(stock.has_role),
        users: stock.users.unwrap_or_default(),
        bytes: stock.bytes.unwrap_or_default(),
        backups,
    })
}

/// Checks that the tenant can be deleted, and that `confirm` is its slug.
fn judge(tenant: &Tenant, confirm: &str) -> Result<()> {
    if matches!(tenant.state, TenantState::Provisioning | TenantState::Deleted) {
        return Err(refuse(tenant.state, "only a tenant that was made and is not erased can be deleted"));
    }
    if confirm != tenant.slug.as_str() {
        return Err(FieldError::new("confirm", "invalid_value", "must be the tenant's slug").into());
    }
    Ok(())
}

/// Begins the deletion of a tenant. `erase` leaves out the grace time. If the tenant is being deleted already, its
/// grace time continues, or ends at once with `erase`.
///
/// # Errors
/// As [`preview`], except that the server is not needed; `operation_in_progress` (409); `deletion_limit` (429).
pub async fn delete(ctx: &Context, id: TenantId, confirm: &str, erase: bool, origin: &Origin) -> Result<Progress> {
    let mut change = Change::begin(ctx, id, origin).await?;
    judge(&change.tenant, confirm)?;
    if let Some(operation) = change.under_way(&erase::KIND).await? {
        return Ok(Progress { tenant: change.leave().await?, operation: Some(operation) });
    }
    // A deleting tenant without a time of erasure: its deletion was taken back, and the erasure is still being undone.
    let is_going = change.tenant.state == TenantState::Deleting && change.tenant.erase_after.is_some();
    if is_going && !erase {
        return Ok(Progress { tenant: change.leave().await?, operation: None });
    }
    admit(ctx, &mut change).await?;
    let grace = if erase { Duration::ZERO } else { ctx.settings.deletion_grace };
    tenant_states::delete_in_txn(change.txn(), id, &origin.actor, grace).await?;
    let operation = if erase { Some(erase::queue_in_txn(ctx, change.txn(), id, origin).await?) } else { None };
    let details = json!({ "slug": change.tenant.slug, "erase": erase, "operation_id": operation });
    let change = change.record("tenant.delete", &details).await?;
    crash_point!("tenant.delete.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.delete.after_commit", id);
    tracing::info!(tenant.id = %id, erase, "a tenant is being deleted");
    Ok(Progress { tenant, operation })
}

async fn admit(ctx: &Context, change: &mut Change<'_>) -> Result<()> {
    let most = ctx.settings.deletions_per_hour;
    let id = change.tenant.id;
    match tenant_states::admit_deletion_in_txn(change.txn(), id, most).await? {
        None => Ok(()),
        Some(retry_after) => {
            tracing::warn!(deletions.limit = most, "a deletion was refused: there were too many within an hour");
            Err(Error::TooMany { code: "deletion_limit", retry_after })
        }
    }
}

/// Takes a deletion back, so that the tenant is in its former state again. If an erasure is under way and has not begun
/// to drop the database, it is cancelled, and the tenant is back once the erasure is undone. Changes nothing if the
/// tenant is not being deleted.
///
/// # Errors
/// `not_found`; `tenant_state_conflict` (409) while the tenant is being provisioned, and when its erasure has begun a
/// step that cannot be undone; `tenant_gone` (410) once it is erased.
pub async fn undelete(ctx: &Context, id: TenantId, origin: &Origin) -> Result<Progress> {
    let mut change = Change::begin(ctx, id, origin).await?;
    match change.tenant.state {
        TenantState::Deleting => {}
        TenantState::Active | TenantState::Suspended | TenantState::Archived => {
            return Ok(Progress { tenant: change.leave().await?, operation: None });
        }
        state => return Err(refuse(state, "only a tenant that is being deleted can be undeleted")),
    }
    let live = operations::lock_live_in_txn(change.txn(), id).await?;
    if let Some(erasure) = &live {
        cancel_erasure_in_txn(&mut change, erasure).await?;
    } else {
        tenant_states::undelete_in_txn(change.txn(), id).await?;
    }
    let operation = live.map(|erasure| erasure.id);
    let change = change.record("tenant.undelete", &json!({ "operation_id": operation })).await?;
    crash_point!("tenant.undelete.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.undelete.after_commit", id);
    Ok(Progress { tenant, operation })
}

async fn cancel_erasure_in_txn(change: &mut Change<'_>, erasure: &Operation) -> Result<()> {
    let steps = operation_steps::list(change.txn(), erasure.id).await?;
    if erasure.direction == Direction::Forward && !erase::KIND.can_undo(&steps) {
        let detail = "the tenant is being erased, and its database is gone: it cannot be had back";
        return Err(Error::conflict("tenant_state_conflict", detail));
    }
    let (id, origin) = (change.tenant.id, change.origin);
    operations::cancel_in_txn(change.txn(), erasure.id, &origin.actor).await?;
    tenant_states::regret_in_txn(change.txn(), id).await
}
