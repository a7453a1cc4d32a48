//! `remains.clear`: takes away what is left on a server of a database that nobody will ever have.
//!
//! The janitor queues it, and nobody asks for it: for a warm database that is neither made nor taken away by anybody
//! any more, and for what an interrupted DROP has left of a tenant that is a tombstone. It cannot be cancelled: what
//! leaked may be half of a database, which must never become one that a tenant is given. Warm databases that are whole
//! go by `warm.retire`.
//!
//! Nothing is dropped that does not belong to `freehold_owner`; of a tombstone nothing but what nobody can enter any
//! more and what carries the mark, since an operator may have brought back the rest from a backup; and of what has no
//! tombstone nothing that anybody ever used: a control database from a backup may take a customer's database for a warm
//! one.

use serde_json::json;
use sqlx::PgConnection;

use super::provisioning_steps::refuse_used;
use crate::{
    control::{
        data_keys,
        tenants::{self, TenantState},
        warm_databases,
    },
    error::Result,
    operations::{
        Context,
        engine::{
            attempt::Run,
            kind::{Kind, kind},
            queue,
        },
    },
    types::{OperationId, ServerId, TenantId},
};

pub(in crate::operations) const KIND: Kind = kind!("remains.clear", Block, {
    record => never,
    drop_database => never,
    drop_role => never,
    forget => never,
});

/// Queues the clearing of what is left there under this id. The caller holds the row that says that nobody has it.
///
/// # Errors
/// `operation_in_progress` (409).
pub async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
    server: ServerId,
) -> Result<OperationId> {
    queue::queue_in_txn(ctx, txn, id, (&KIND, &json!({ "server_id": server })), &ctx.origin()).await
}

/// Whether what is there may go: it may have become another since the operation was queued.
async fn may_go(run: &Run) -> Result<bool> {
    let tenant = tenants::get(&mut *run.ctx.db.acquire().await?, run.tenant_id()).await?;
    match tenant.map(|tenant| tenant.state) {
        None => refuse_used(run, None).await.map(|()| true),
        Some(TenantState::Deleted) => {
            let found = run.admin.database(&run.database().to_string()).await?;
            Ok(found.is_none_or(|found| found.marked && found.is_interrupted_drop()))
        }
        Some(_) => Ok(false),
    }
}

async fn drop_database(run: &Run) -> Result<()> {
    if may_go(run).await? { run.admin.drop_database(run.database()).await } else { Ok(()) }
}

async fn drop_role(run: &Run) -> Result<()> {
    if may_go(run).await? { run.admin.drop_tenant_role(run.database()).await } else { Ok(()) }
}

/// The row goes; and the keys, unless they are a tenant's by now.
async fn forget(run: &Run) -> Result<()> {
    let mut txn = run.begin().await?;
    warm_databases::forget_in_txn(&mut txn, run.tenant_id()).await?;
    let tenant = tenants::get(&mut txn, run.tenant_id()).await?;
    if tenant.is_none_or(|tenant| tenant.state == TenantState::Deleted) {
        data_keys::destroy_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    }
    Ok(txn.commit().await?)
}
