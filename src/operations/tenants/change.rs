//! One change of a tenant's row: instant, in one transaction, and whatever the tenant's server is doing.
//!
//! The row is held from the first look to the commit, so that what was judged is what is changed. The line in the
//! audit log is in the same transaction. Nothing here waits for a server.

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

/// What was asked for, as it stands now.
#[derive(Debug)]
pub struct Progress {
    /// The tenant.
    pub tenant: Tenant,
    /// The operation that is at work on it; none when nothing is left to be done.
    pub operation: Option<OperationId>,
}

/// A tenant's row, held for a change. Only a change with its line in the audit log can be committed: see
/// [`record`](Self::record).
pub(super) struct Change<'a> {
    ctx: &'a Context,
    txn: Transaction<'static, Postgres>,
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

    /// The transaction, for the statements of the change. Nobody can commit it through this.
    pub(super) fn txn(&mut self) -> &mut PgConnection {
        &mut self.txn
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

    /// Writes the line in the audit log: from here on the change can be committed, and nothing else.
    pub(super) async fn record(mut self, action: &str, details: &serde_json::Value) -> Result<Recorded<'a>> {
        let event = AuditEventId::generate(&self.ctx.clock, self.ctx.random);
        let target = self.tenant.id.to_string();
        audit::record_in_txn(&mut self.txn, event, self.origin, (action, &target), details).await?;
        Ok(Recorded { ctx: self.ctx, txn: self.txn, id: self.tenant.id })
    }

    /// Ends without a change: the tenant is as it was to be already.
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
    /// Makes the change. The tenant as it is now.
    pub(super) async fn commit(mut self) -> Result<Tenant> {
        let tenant = tenants::get(&mut self.txn, self.id).await?;
        self.txn.commit().await?;
        self.ctx.tenancy.refresh(self.id).await;
        tenant.ok_or_else(|| Error::defect("a tenant that was just changed is gone"))
    }
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
