//! A tenant's deletion, and taking it back. One transaction each; `erase.rs` is what comes after the grace time.
//!
//! A deleted tenant is refused to everybody at once and loses nothing: until its grace time is over it can be had
//! back as it was. How many tenants are deleted within an hour is bounded over the whole fleet, so that a script
//! that has gone wrong is stopped before it has come far.

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
    /// Databases: one, or none of an archived tenant.
    pub databases: u32,
    /// Database roles.
    pub roles: u32,
    /// People in its database, where it can be read.
    pub users: i64,
    /// The size of its database.
    pub bytes: i64,
    /// Archives in the object store.
    pub backups: usize,
}

/// What the deletion of this tenant would destroy. Changes nothing, and asks the tenant's server.
///
/// # Errors
/// `not_found`; `validation_failed` on `confirm`; `tenant_state_conflict` (409); `tenant_gone` (410); the server is
/// away.
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

/// Whether the tenant can be deleted, and is the one that was meant.
fn judge(tenant: &Tenant, confirm: &str) -> Result<()> {
    if matches!(tenant.state, TenantState::Provisioning | TenantState::Deleted) {
        return Err(refuse(tenant.state, "only a tenant that was made and is not erased can be deleted"));
    }
    if confirm != tenant.slug.as_str() {
        return Err(FieldError::new("confirm", "invalid_value", "must be the tenant's slug").into());
    }
    Ok(())
}

/// Begins the deletion of a tenant; with `erase` without a grace time. Of one that is being deleted the grace time
/// goes on, or with `erase` ends.
///
/// # Errors
/// As [`preview`], but for the server's; `operation_in_progress` (409); `deletion_limit` (429).
pub async fn delete(ctx: &Context, id: TenantId, confirm: &str, erase: bool, origin: &Origin) -> Result<Progress> {
    let mut change = Change::begin(ctx, id, origin).await?;
    judge(&change.tenant, confirm)?;
    if let Some(operation) = change.under_way(&erase::KIND).await? {
        return Ok(Progress { tenant: change.leave().await?, operation: Some(operation) });
    }
    // Without a time of erasure a deletion that was taken back is only not done with yet.
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

/// Takes a deletion back: the tenant is what it was before. An erasure that has not dropped the database yet is
/// cancelled; the tenant is back when what it did is undone. Of a tenant that is not being deleted nothing is
/// changed.
///
/// # Errors
/// `not_found`; `tenant_state_conflict` (409) while it is being made, and when its erasure has begun what cannot be
/// undone; `tenant_gone` (410) when it is erased.
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
