//! One change of a tenant's row: instant, in one transaction, and whatever the tenant's server is doing.
//!
//! The row is held from the first look to the commit, so that what was judged is what is changed. The line in the
//! audit log is in the same transaction. Nothing here waits for a server.

use sqlx::{Postgres, Transaction};

use super::Context;
use crate::{
    control::{
        audit::{self, Origin},
        tenant_states,
        tenants::{self, Tenant, TenantState},
    },
    error::{Error, Result},
    types::{AuditEventId, TenantId},
};

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
        let found = tenant_states::lock_in_txn(&mut txn, id).await?.filter(|tenant| !tenant.is_platform);
        let tenant = found.ok_or_else(|| Error::not_found("tenant"))?;
        Ok(Self { ctx, txn, tenant, origin })
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

/// Why a tenant in this state is not changed in the way that was asked for: `wanted` says what that takes.
pub(super) fn refuse(state: TenantState, wanted: &str) -> Error {
    match state {
        TenantState::Deleting | TenantState::Deleted => {
            Error::Gone { code: "tenant_gone", detail: format!("the tenant is {state}; {wanted}") }
        }
        _ => Error::conflict("tenant_state_conflict", format!("the tenant is {state}; {wanted}")),
    }
}
