//! One change of a tenant's row: instant, in one transaction, and whatever the tenant's server is doing.
//!
//! The row is held from the first look to the commit, so that what was judged is what is changed. The line in the
//! audit log is in the same transaction. Nothing here waits for a server.

use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction};

use super::{Context, kind::Kind};
use crate::{
    control::{
        audit::{self, Origin},
        operations::{self, Direction, NewOperation, Operation},
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    types::{AuditEventId, OperationId, TenantId},
};

/// What was asked for, as it stands now.
#[derive(Debug)]
pub struct Progress {
    /// The tenant.
    pub tenant: Tenant,
    /// The operation that is at work on it; none when nothing is left to be done.
    pub operation: Option<OperationId>,
}

/// A tenant's row, held for a change.
pub(super) struct Change<'a> {
    ctx: &'a Context,
    pub(super) txn: Transaction<'static, Postgres>,
    /// The tenant as it was when the change began.
    pub(super) tenant: Tenant,
    pub(super) origin: &'a Origin,
}

impl<'a> Change<'a> {
    /// Holds the tenant's row.
    ///
    /// # Errors
    /// `not_found`, for the platform tenant too: it is nobody's to change.
    pub(super) async fn begin(ctx: &'a Context, id: TenantId, origin: &'a Origin) -> Result<Self> {
        let mut txn = ctx.db.begin().await?;
        let found = tenants::lock_in_txn(&mut txn, id).await?.filter(|tenant| !tenant.is_platform);
        let tenant = found.ok_or_else(|| Error::not_found("tenant"))?;
        Ok(Self { ctx, txn, tenant, origin })
    }

    /// The operation of this kind that is under way already and is not being undone.
    ///
    /// # Errors
    /// `operation_in_progress` when another one is.
    pub(super) async fn under_way(&mut self, kind: &Kind) -> Result<Option<OperationId>> {
        under_way_in_txn(&mut self.txn, self.tenant.id, kind).await
    }

    /// Queues an operation on the tenant; this change is its first step.
    ///
    /// # Errors
    /// `operation_in_progress`.
    pub(super) async fn queue(&mut self, kind: &Kind, input: &impl Serialize) -> Result<OperationId> {
        queue_in_txn(self.ctx, &mut self.txn, self.tenant.id, (kind, input), self.origin).await
    }

    /// Writes the line in the audit log.
    pub(super) async fn record(&mut self, action: &str, details: &serde_json::Value) -> Result<()> {
        let event = AuditEventId::generate(&self.ctx.clock, self.ctx.random);
        let target = self.tenant.id.to_string();
        audit::record_in_txn(&mut self.txn, event, self.origin, (action, &target), details).await
    }

    /// Makes the change. The tenant as it is now.
    pub(super) async fn commit(mut self) -> Result<Tenant> {
        let id = self.tenant.id;
        let tenant = tenants::get(&mut self.txn, id).await?;
        self.txn.commit().await?;
        self.ctx.tenancy.refresh(id).await;
        tenant.ok_or_else(|| Error::defect("a tenant that was just changed is gone"))
    }

    /// Ends without a change: the tenant is as it was to be already.
    pub(super) async fn leave(self) -> Result<Tenant> {
        self.txn.rollback().await?;
        Ok(self.tenant)
    }
}

/// The operation of this kind that is under way on a tenant, whose row the transaction holds, and is not being undone.
///
/// # Errors
/// `operation_in_progress` when another one is.
pub(super) async fn under_way_in_txn(
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
pub(super) async fn queue_in_txn(
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

/// Why a tenant in this state is not changed in the way that was asked for: `wanted` says what that takes.
pub(super) fn refuse(state: TenantState, wanted: &str) -> Error {
    match state {
        TenantState::Deleting | TenantState::Deleted => {
            Error::Gone { code: "tenant_gone", detail: format!("the tenant is {state}; {wanted}") }
        }
        _ => Error::conflict("tenant_state_conflict", format!("the tenant is {state}; {wanted}")),
    }
}
