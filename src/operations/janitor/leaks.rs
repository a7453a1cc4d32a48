//! Repairs leaks: reservations without an owner, and databases without an operation.
//!
//! Freehold itself makes no leaks: the transaction that reserves something also records what will release it. Leaks
//! come from rows that a person has changed, or from a control database that was restored from a backup. A leak is
//! repaired once it is older than [`SETTLED`] by the control database's clock. It is checked again under the lock on
//! its row, because what an operation works on is no leak. The work on a server is queued as `remains.clear`.

use std::time::Duration;

use super::{ANSWER, BATCH, Txn, begin, note, record, swept};
use crate::{
    control::{
        bounded, slugs, tenant_states,
        tenants::{self, TenantState},
        warm_databases::{self, WarmState},
    },
    error::{Error, Result},
    faults::crash_point,
    operations::{
        Context,
        fleet::remains::{self, Leftover, LeftoverKind},
    },
    types::{OperationId, ServerId, TenantId},
};

/// How old a leak must be before it is repaired. Longer than any transaction in the control database.
const SETTLED: Duration = Duration::from_mins(1);
/// How often, and after which pause, another janitor's transaction is waited for by what is looked for now and then
/// only.
const TURNS: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Has warm databases taken away that are neither being made, nor ready, nor being taken away.
pub(super) async fn clear_warm_databases(ctx: &Context) -> Result<u64> {
    swept(|| clear_warm_database(ctx)).await
}

/// Mends what is held for tenants that have another slug, or none any more, and for those that lack their own. Looks
/// again after it has mended some: another tenant may be rid now of what it could not have.
pub(super) async fn mend_slugs(ctx: &Context) -> Result<u64> {
    let mut mended = 0;
    loop {
        let before = mended;
        let leaking = async { slugs::leaking(&mut *ctx.db.acquire().await?, None, SETTLED, BATCH.into()).await };
        for id in bounded(ANSWER, leaking).await? {
            mended += u64::from(bounded(ANSWER, mend_slug(ctx, id)).await?);
        }
        if mended == before || mended >= u64::from(BATCH) {
            return Ok(mended);
        }
    }
}

/// Has cleared what `fsck` has seen on the servers, and may have seen while it was under way: interrupted drops whose
/// tenants are tombstones, and scratch databases in which no archive is tried.
pub(in crate::operations) async fn clear_leftovers(ctx: &Context, seen: &[Leftover]) {
    for found in seen {
        match found.kind {
            LeftoverKind::InterruptedDrop => {
                note("interrupted_drops", bounded(ANSWER, finish_drop(ctx, *found)).await.map(u64::from));
            }
            LeftoverKind::Scratch => {
                note("scratch_databases", bounded(ANSWER, clear_scratch(ctx, *found)).await.map(u64::from));
            }
        }
    }
}

/// False when there is none, or another janitor sweeps.
async fn clear_warm_database(ctx: &Context) -> Result<bool> {
    let Some(mut txn) = begin(ctx).await? else { return Ok(false) };
    let Some((found, _)) = warm_databases::lock_leaked_in_txn(&mut txn, None, SETTLED).await? else {
        return Ok(false);
    };
    // Under the lock, and with all that was committed before it was had.
    let Some((id, server)) = warm_databases::lock_leaked_in_txn(&mut txn, Some(found), SETTLED).await? else {
        return Ok(false);
    };
    // Nobody claims it from now on, and the reconciler sees that it goes.
    warm_databases::set_state(&mut txn, id, WarmState::Retiring).await?;
    queue(ctx, txn, id, server).await?;
    Ok(true)
}

/// False when it is none of a tombstone, or another janitor goes on and on: `fsck` will see it again.
async fn finish_drop(ctx: &Context, found: Leftover) -> Result<bool> {
    let Leftover { tenant: id, server, .. } = found;
    let Some(mut txn) = begin_in_turn(ctx).await? else { return Ok(false) };
    if !tenant_states::lock_tombstone_in_txn(&mut txn, id, SETTLED).await? {
        return Ok(false);
    }
    queue(ctx, txn, id, server).await?;
    Ok(true)
}

/// False when no tenant of this Freehold is meant, or an operation is at work on it.
async fn clear_scratch(ctx: &Context, found: Leftover) -> Result<bool> {
    let Leftover { tenant: id, server, .. } = found;
    let Some(mut txn) = begin_in_turn(ctx).await? else { return Ok(false) };
    if tenants::try_lock_in_txn(&mut txn, id).await?.is_none() {
        return Ok(false);
    }
    match remains::queue_scratch_in_txn(ctx, &mut txn, id, server).await {
        Ok(operation) => end(ctx, txn, (id, server), operation).await.map(|()| true),
        Err(Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn queue(ctx: &Context, mut txn: Txn, id: TenantId, server: ServerId) -> Result<()> {
    let operation = remains::queue_in_txn(ctx, &mut txn, id, server).await?;
    end(ctx, txn, (id, server), operation).await
}

async fn end(ctx: &Context, mut txn: Txn, (id, server): (TenantId, ServerId), operation: OperationId) -> Result<()> {
    let details = serde_json::json!({ "operation_id": operation, "server_id": server });
    record(ctx, &mut txn, ("janitor.clear", id), &details).await?;
    crash_point!("janitor.clear.before_commit", id);
    txn.commit().await?;
    crash_point!("janitor.clear.after_commit", id);
    Ok(())
}

pub(super) async fn begin_in_turn(ctx: &Context) -> Result<Option<Txn>> {
    for _ in 0..TURNS {
        if let Some(txn) = begin(ctx).await? {
            return Ok(Some(txn));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// False when nothing is to be mended any more, somebody changes the tenant, or another janitor goes on and on.
async fn mend_slug(ctx: &Context, id: TenantId) -> Result<bool> {
    let Some(mut txn) = begin_in_turn(ctx).await? else { return Ok(false) };
    let Some(tenant) = tenants::try_lock_in_txn(&mut txn, id).await? else { return Ok(false) };
    // Under the lock, and with all that was committed before it was had.
    if slugs::leaking(&mut txn, Some(id), SETTLED, 1).await?.is_empty() {
        return Ok(false);
    }
    let is_alive = tenant.state != TenantState::Deleted;
    let (own, time) =
        if is_alive { (Some(&tenant.slug), ctx.settings.slug_redirect) } else { (None, ctx.settings.slug_reservation) };
    // First what it does not have: it can hold one at a time.
    let released = slugs::release_leaked_in_txn(&mut txn, id, own, time).await?;
    let taken = is_alive && slugs::try_take_in_txn(&mut txn, &tenant.slug, id).await?;
    tenants::touch_in_txn(&mut txn, id).await?;
    let details = serde_json::json!({ "released": released, "held": taken.then_some(&tenant.slug) });
    record(ctx, &mut txn, ("janitor.mend_slug", id), &details).await?;
    crash_point!("janitor.mend_slug.before_commit", id);
    txn.commit().await?;
    crash_point!("janitor.mend_slug.after_commit", id);
    Ok(true)
}
