//! What an operator can do with an operation: retry it, or cancel it.

use super::{Context, kinds, tenants::erase};
use crate::{
    control::{
        audit::{self, Origin},
        operation_steps,
        operations::{self, Direction, Operation},
    },
    error::{Error, Result},
    types::{AuditEventId, OperationId},
};

/// Queues a blocked operation again, in the direction in which it was going.
///
/// # Errors
/// `not_found`; `operation_not_blocked` (409).
pub async fn retry(ctx: &Context, id: OperationId, origin: &Origin) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    let queued = operations::retry_in_txn(&mut txn, id).await?;
    operations::get(&mut txn, id).await?.ok_or_else(|| Error::not_found("operation"))?;
    if !queued {
        return Err(Error::conflict("operation_not_blocked", "only a blocked operation can be retried"));
    }
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let action = ("operation.retry", &*id.to_string());
    audit::record_in_txn(&mut txn, event, origin, action, &serde_json::json!({})).await?;
    Ok(txn.commit().await?)
}

/// Whether cancelling it takes back the deletion of a tenant, which needs the permission to delete tenants.
#[must_use]
pub fn is_deletion(operation: &Operation) -> bool {
    operation.kind == erase::KIND.name
}

/// Cancels an operation: it is undone, and ends as `cancelled`. A repeated call changes nothing.
///
/// # Errors
/// `not_found`; `operation_finished`, `operation_not_cancellable` (409) when it has done what cannot be undone.
pub async fn cancel(ctx: &Context, id: OperationId, origin: &Origin) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    let found = operations::lock_in_txn(&mut txn, id).await?;
    let operation = found.ok_or_else(|| Error::not_found("operation"))?;
    if operation.is_finished() {
        return Err(Error::conflict("operation_finished", "the operation has ended; nothing is left to cancel"));
    }
    if operation.cancel_requested_at.is_some() || operation.direction == Direction::Undo {
        return Ok(txn.rollback().await?);
    }
    let steps = operation_steps::list(&mut txn, id).await?;
    if !kinds::ALL.find(&operation.kind)?.can_undo(&steps) {
        let detail = "the operation has begun what cannot be undone; it goes on to its end";
        return Err(Error::conflict("operation_not_cancellable", detail));
    }
    operations::cancel_in_txn(&mut txn, id, &origin.actor).await?;
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let action = ("operation.cancel", &*id.to_string());
    audit::record_in_txn(&mut txn, event, origin, action, &serde_json::json!({})).await?;
    Ok(txn.commit().await?)
}
