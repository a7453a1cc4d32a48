//! Queues operations. The transaction that records a change also queues the operation that carries the change out.

use serde::Serialize;
use sqlx::PgConnection;

use super::kind::Kind;
use crate::{
    control::{
        audit::Origin,
        operations::{self, Direction, NewOperation, Operation},
    },
    error::{Error, Result},
    operations::Context,
    types::{OperationId, TenantId},
};

/// The operation of this kind that is under way on a tenant and is neither cancelled nor being undone. The caller's
/// transaction holds the lock on the tenant's row.
///
/// # Errors
/// `operation_in_progress` when any other operation is under way on the tenant.
pub(in crate::operations) async fn under_way_in_txn(
    txn: &mut PgConnection,
    tenant: TenantId,
    kind: &Kind,
) -> Result<Option<OperationId>> {
    match operations::lock_live_in_txn(txn, tenant).await? {
        None => Ok(None),
        Some(live) if live.kind == kind.name && !is_called_off(&live) => Ok(Some(live.id)),
        Some(_) => Err(operations::in_progress()),
    }
}

/// Queues an operation on a tenant, or on a database that belongs to no tenant yet or no longer. The caller's
/// transaction holds the lock on the row of that tenant or database. The transaction itself counts as the operation's
/// first step.
///
/// # Errors
/// `operation_in_progress`.
pub(in crate::operations) async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    tenant: TenantId,
    (kind, input): (&Kind, &impl Serialize),
    origin: &Origin,
) -> Result<OperationId> {
    let id = OperationId::generate(&ctx.clock, ctx.random);
    let new = NewOperation {
        id,
        kind: kind.name,
        tenant_id: tenant,
        input: serde_json::to_value(input).map_err(Error::internal)?,
        requested_by: &origin.actor,
        steps: &kind.new_steps(|step| step == "record"),
    };
    operations::insert_in_txn(txn, &new).await?;
    Ok(id)
}

fn is_called_off(operation: &Operation) -> bool {
    operation.direction == Direction::Undo || operation.cancel_requested_at.is_some()
}
