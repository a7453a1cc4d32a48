//! One change of a tenant's row, in one transaction of the control database.
//!
//! The row is locked from the first read to the commit, so that the state that was checked is the state that is
//! changed. The same transaction writes the audit log. Nothing here waits for the tenant's server.

use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    control::{
        audit::{self, Origin},
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    operations::{
        Context,
        engine::{
            kind::Kind,
            queue::{queue_in_txn, under_way_in_txn},
        },
    },
    types::{AuditEventId, OperationId, TenantId},
};

/// The result of a request to change a tenant.
#[derive(Debug)]
pub struct Progress {
    /// The tenant.
    pub tenant: Tenant,
    /// The operation that carries the change out; none when nothing is left to do.
    pub operation: Option<OperationId>,
}

/// A tenant's row, locked for a change. Only a change that is written to the audit log can be committed: see
/// [`record`](Self::record).
pub(super) struct Change<'a> {
    ctx: &'a Context,
    txn: Transaction<'static, Postgres>,
    /// The tenant as it was when the change began.
    pub(super) tenant: Tenant,
    pub(super) origin: &'a Origin,
}

impl<'a> Change<'a> {
    /// Locks the tenant's row.
    ///
    /// # Errors
    /// `not_found`, for the platform tenant too: nobody may change it.
    pub(super) async fn begin(ctx: &'a Context, id: TenantId, origin: &'a Origin) -> Result<Self> {
        let change = Self::begin_of_any(ctx, id, origin).await?;
        if change.tenant.is_platform { Err(Error::not_found("tenant")) } else { Ok(change) }
    }

    /// Locks the row of a tenant, which may be the platform tenant.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) async fn begin_of_any(ctx: &'a Context, id: TenantId, origin: &'a Origin) -> Result<Self> {
        let mut txn = ctx.db.begin().await?;
        let tenant = tenants::lock_in_txn(&mut txn, id).await?.ok_or_else(|| Error::not_found("tenant"))?;
        Ok(Self { ctx, txn, tenant, origin })
    }

    /// The transaction, for the statements of the change. It cannot be committed through this reference.
    pub(super) fn txn(&mut self) -> &mut PgConnection {
        &mut self.txn
    }

    /// The operation of this kind that is under way already and is not being undone.
    ///
    /// # Errors
    /// `operation_in_progress` when any other operation is under way.
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

    /// Writes the change to the audit log. After that it can only be committed.
    pub(super) async fn record(mut self, action: &str, details: &serde_json::Value) -> Result<Recorded<'a>> {
        let event = AuditEventId::generate(&self.ctx.clock, self.ctx.random);
        let target = self.tenant.id.to_string();
        audit::record_in_txn(&mut self.txn, event, self.origin, (action, &target), details).await?;
        Ok(Recorded { ctx: self.ctx, txn: self.txn, id: self.tenant.id })
    }

    /// Ends without a change: the tenant already is as it was asked to be.
    pub(super) async fn leave(self) -> Result<Tenant> {
        self.txn.rollback().await?;
        Ok(self.tenant)
    }
}

/// A change that is in the audit log.
pub(super) struct Recorded<'a> {
    ctx: &'a Context,
    txn: Transaction<'static, Postgres>,
    id: TenantId,
}

impl Recorded<'_> {
    /// Commits the change. Returns the tenant as it is now.
    pub(super) async fn commit(mut self) -> Result<Tenant> {
        let tenant = tenants::get(&mut self.txn, self.id).await?;
        self.txn.commit().await?;
        self.ctx.tenancy.refresh(self.id).await;
        tenant.ok_or_else(|| Error::defect("a tenant that was just changed is gone"))
    }
}

/// The error for a change that is not possible in this state. `wanted` says which state the change needs.
pub(super) fn refuse(state: TenantState, wanted: &str) -> Error {
    match state {
        TenantState::Deleting | TenantState::Deleted => {
            Error::Gone { code: "tenant_gone", detail: format!("the tenant is {state}; {wanted}") }
        }
        _ => Error::conflict("tenant_state_conflict", format!("the tenant is {state}; {wanted}")),
    }
}
