//! `remains.clear`: removes the leftovers of a database that no tenant will use any more.
//!
//! Only the janitor queues it. What it drops in each case:
//!
//! | what is left | what is dropped |
//! |---|---|
//! | a warm database whose `warm.make` or `warm.retire` is gone | database, role and keys, unless the database has users: a control database from a backup may list a customer's database as a warm one |
//! | a database of an erased tenant whose DROP was interrupted | only if it has Freehold's mark and PostgreSQL has marked it invalid: an operator may have restored any other one from a backup |
//! | a scratch database whose operation, an archive's or a rehearsal of migrations, is gone | only that database, and only if it has Freehold's mark |
//!
//! A database that does not belong to `freehold_owner` is never dropped. The operation cannot be cancelled: the
//! leftover may be an incomplete database, which must never be given to a tenant. A complete warm database is dropped
//! by `warm.retire`.

use serde::{Deserialize, Serialize};
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
            kind::{Kind, kind},
            queue,
            run::Run,
        },
    },
    servers::{BUILDER_PREFIX, TransferLogin},
    types::{OperationId, ServerId, TenantId},
};

/// A leftover database on a server.
#[derive(Clone, Copy, Debug)]
pub struct Leftover {
    /// Whose database it was.
    pub tenant: TenantId,
    /// The server that it is on.
    pub server: ServerId,
    /// What kind of leftover it is.
    pub kind: LeftoverKind,
}

/// The kinds of leftovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverKind {
    /// The tenant's database, after an interrupted DROP.
    InterruptedDrop,
    /// The scratch database of a rehearsal of the tenant's archive.
    Scratch,
}

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    server_id: ServerId,
    /// Whether to clear the tenant's scratch database, instead of the tenant's database.
    #[serde(default)]
    scratch: bool,
}

pub(in crate::operations) const KIND: Kind = kind!("remains.clear", Block, {
    record => never,
    drop_database => never,
    drop_role => never,
    forget => never,
});

/// Queues the clearing of the database of this id. The caller's transaction holds the lock on the row which says that
/// no tenant uses the database.
///
/// # Errors
/// `operation_in_progress` (409).
pub async fn queue_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
    server: ServerId,
) -> Result<OperationId> {
    let input = Input { server_id: server, scratch: false };
    queue::queue_in_txn(ctx, txn, id, (&KIND, &input), &ctx.origin()).await
}

/// Queues the clearing of the tenant's scratch database. The caller's transaction holds the lock on the tenant's row.
///
/// # Errors
/// `operation_in_progress` (409): the operation may be an archiving that uses the scratch database.
pub(in crate::operations) async fn queue_scratch_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    id: TenantId,
    server: ServerId,
) -> Result<OperationId> {
    let input = Input { server_id: server, scratch: true };
    queue::queue_in_txn(ctx, txn, id, (&KIND, &input), &ctx.origin()).await
}

fn is_scratch(run: &Run) -> Result<bool> {
    Ok(run.input::<Input>()?.scratch)
}

/// Whether the database may be dropped. Checked again, because it may have changed since the operation was queued.
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
    if is_scratch(run)? {
        return drop_scratch(run).await;
    }
    if may_go(run).await? { run.admin.drop_database(run.database()).await } else { Ok(()) }
}

/// Drops the scratch database if it has Freehold's mark. No rehearsal can be using it: that would be an operation on
/// the same tenant.
async fn drop_scratch(run: &Run) -> Result<()> {
    if run.admin.scratch(run.database()).await?.is_some_and(|found| found.marked) {
        run.admin.drop_scratch(run.database()).await?;
    }
    run.admin.drop_transfer_login(TransferLogin::Rehearse(run.database())).await?;
    run.admin.drop_builder(&format!("{BUILDER_PREFIX}{}", run.tenant_id().uuid().simple())).await
}

async fn drop_role(run: &Run) -> Result<()> {
    if !is_scratch(run)? && may_go(run).await? { run.admin.drop_tenant_role(run.database()).await } else { Ok(()) }
}

/// Deletes the row of the warm database. Destroys the keys too, unless a tenant has them now.
async fn forget(run: &Run) -> Result<()> {
    if is_scratch(run)? {
        return Ok(());
    }
    let mut txn = run.begin().await?;
    warm_databases::forget_in_txn(&mut txn, run.tenant_id()).await?;
    let tenant = tenants::get(&mut txn, run.tenant_id()).await?;
    if tenant.is_none_or(|tenant| tenant.state == TenantState::Deleted) {
        data_keys::destroy_in_txn(&mut txn, run.tenant_id().uuid()).await?;
    }
    Ok(txn.commit().await?)
}
