//! `remains.clear` takes away what is left on a server of a database that nobody will ever have.
//!
//! The janitor queues it, and nobody asks for it. What each case may lose:
//!
//! | what is left | what is dropped |
//! |---|---|
//! | a warm database that nobody makes or takes away any more | database, role and keys, unless somebody ever used it: a control database from a backup may take a customer's database for a warm one |
//! | what an interrupted DROP has left of a tenant that is a tombstone | only what carries the mark and nobody can enter: an operator may have brought back the rest from a backup |
//! | a scratch database in which no archive is tried any more | only that database, and only if it carries the mark |
//!
//! Nothing is dropped that does not belong to `freehold_owner`. The operation cannot be cancelled: what leaked may be half
//! of a database, which must never become one that a tenant is given. A warm database that is whole goes by `warm.retire`.

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
    servers::TransferLogin,
    types::{OperationId, ServerId, TenantId},
};

/// What is left of a database of Freehold's own.
#[derive(Clone, Copy, Debug)]
pub struct Leftover {
    /// Whose database it was.
    pub tenant: TenantId,
    /// The server that it is on.
    pub server: ServerId,
    /// What it is.
    pub kind: LeftoverKind,
}

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverKind {
    /// What an interrupted DROP has left of the tenant's database.
    InterruptedDrop,
    /// The scratch database in which an archive of the tenant was tried.
    Scratch,
}

/// The operation's input.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    server_id: ServerId,
    /// Whether the tenant's scratch database is meant, and not its own.
    #[serde(default)]
    scratch: bool,
}

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
    let input = Input { server_id: server, scratch: false };
    queue::queue_in_txn(ctx, txn, id, (&KIND, &input), &ctx.origin()).await
}

/// Queues the clearing of the tenant's scratch database. The caller holds the tenant's row.
///
/// # Errors
/// `operation_in_progress` (409): perhaps an archive is being tried in it.
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
    if is_scratch(run)? {
        return drop_scratch(run).await;
    }
    if may_go(run).await? { run.admin.drop_database(run.database()).await } else { Ok(()) }
}

/// Only what carries the mark: nobody tries an archive in it, since that is an operation on this tenant as well.
async fn drop_scratch(run: &Run) -> Result<()> {
    if run.admin.scratch(run.database()).await?.is_some_and(|found| found.marked) {
        run.admin.drop_scratch(run.database()).await?;
    }
    run.admin.drop_transfer_login(TransferLogin::Rehearse(run.database())).await
}

async fn drop_role(run: &Run) -> Result<()> {
    if !is_scratch(run)? && may_go(run).await? { run.admin.drop_tenant_role(run.database()).await } else { Ok(()) }
}

/// The row goes; and the keys, unless they are a tenant's by now.
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
