//! How an operation is queued: by the transaction that records the change which it carries out.

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

/// The operation of this kind that is under way on a tenant, whose row the transaction holds, and is not being undone.
///
/// # Errors
/// `operation_in_progress` when another one is.
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

/// Queues an operation on a tenant, or on a database that is none's yet or any more. The transaction holds the row that
/// says so; what it does is the operation's first step.
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
