//! The janitor starts what is due, and deletes old rows.
//!
//! Its sweeps are schedules (`jobs::schedule`): of all replicas one sweeps when it is time. An advisory lock in the
//! control database lets one at a time work, whatever becomes of a lease. If a janitor dies, the next one does the rest.
//! The janitor
//! * queues the erasure of tenants whose grace time has passed, and finishes deletions that were taken back,
//! * repairs leaks ([`leaks`]),
//! * deletes expired slugs, old idempotency keys with the secrets of their answers, and operations that nobody asked for.
//!
//! A round of its own goes through all tenants and takes away what is due of their people ([`people`]).
//!
//! The janitor never connects to a server as its administrator. It queues operations for the work there, and `fsck` reports to it what is
//! there.

mod leaks;
mod people;

use std::time::Duration;

pub(super) use leaks::clear_leftovers;
use sqlx::{Postgres, Transaction};

use super::{Context, tenants::erase};
use crate::{
    control::{audit, bounded, idempotency, janitor, operations, slugs, tenant_states},
    error::Result,
    faults::crash_point,
    jobs::{
        self,
        schedule::{Next, Schedule},
    },
    types::{AuditEventId, TenantId},
};

/// How many times as seldom as a sweep old rows are deleted: once an hour.
const FORGETTING: u32 = 720;
/// How many times as seldom all tenants' slugs are compared with what is held: once a minute.
const COMPARING: u32 = 12;
/// How long the control database may take to answer one transaction.
const ANSWER: Duration = Duration::from_secs(20);
/// How much one sweep deals with at most; the next one goes on.
const BATCH: u32 = 1_000;

/// A transaction in the control database.
type Txn = Transaction<'static, Postgres>;

/// What the janitor does, and how often.
#[must_use]
pub fn schedules(ctx: &Context) -> Vec<Schedule> {
    let interval = ctx.settings.pace.sweep;
    let (sweeping, comparing, forgetting) = (ctx.clone(), ctx.clone(), ctx.clone());
    vec![
        Schedule::new("janitor.sweep", interval, move |_| sweep(sweeping.clone())).eager(),
        Schedule::new("janitor.compare", COMPARING * interval, move |_| compare(comparing.clone())).eager(),
        Schedule::new("janitor.forget", FORGETTING * interval, move |_| forget(forgetting.clone())).eager(),
        people::schedule(ctx),
    ]
}

async fn sweep(ctx: Context) -> Result<Next> {
    note("erasures", swept(|| begin_erasure(&ctx)).await);
    note("undeletions", swept(|| finish_undeletion(&ctx)).await);
    note("slugs", bounded(ANSWER, forget_slugs(&ctx)).await);
    note("leaked_databases", leaks::clear_warm_databases(&ctx).await);
    Ok(Next::Usual)
}

async fn compare(ctx: Context) -> Result<Next> {
    note("leaked_slugs", leaks::mend_slugs(&ctx).await);
    Ok(Next::Usual)
}

async fn forget(ctx: Context) -> Result<Next> {
    note("idempotency_keys", bounded(ANSWER, forget_idempotency_keys(&ctx)).await);
    note("operations", bounded(ANSWER, forget_operations(&ctx)).await);
    note("jobs", bounded(ANSWER, jobs::forget(&ctx.db)).await);
    Ok(Next::Usual)
}

/// Counts what a chore has done. One that failed is tried again with the next sweep, and keeps no other back.
fn note(chore: &'static str, done: Result<u64>) {
    match done {
        Ok(0) => {}
        Ok(count) => {
            metrics::counter!("freehold_janitor_chores_total", "chore" => chore).increment(count);
            tracing::info!(janitor.chore = chore, count, "the janitor has swept");
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), janitor.chore = chore, "the janitor could not do what is due");
        }
    }
}

/// A transaction during which no other janitor sweeps; none while one does.
async fn begin(ctx: &Context) -> Result<Option<Txn>> {
    let mut txn = ctx.db.begin().await?;
    let is_alone = janitor::lock_in_txn(&mut txn).await?;
    Ok(is_alone.then_some(txn))
}

/// Does one after another until none is left, or as many as one sweep deals with.
async fn swept<F: Future<Output = Result<bool>>>(mut one: impl FnMut() -> F) -> Result<u64> {
    let mut done = 0;
    while done < u64::from(BATCH) && bounded(ANSWER, one()).await? {
        done += 1;
    }
    Ok(done)
}

/// False when none is due, or another janitor sweeps.
async fn begin_erasure(ctx: &Context) -> Result<bool> {
    let Some(mut txn) = begin(ctx).await? else { return Ok(false) };
    let Some(id) = tenant_states::lock_due_in_txn(&mut txn).await? else { return Ok(false) };
    let operation = erase::queue_in_txn(ctx, &mut txn, id, &ctx.origin()).await?;
    let details = serde_json::json!({ "operation_id": operation });
    record(ctx, &mut txn, ("tenant.erase", id), &details).await?;
    crash_point!("janitor.erase.before_commit", id);
    txn.commit().await?;
    crash_point!("janitor.erase.after_commit", id);
    Ok(true)
}

/// False when none is wished for, or another janitor sweeps.
async fn finish_undeletion(ctx: &Context) -> Result<bool> {
    let Some(mut txn) = begin(ctx).await? else { return Ok(false) };
    let Some(id) = tenant_states::lock_regretted_in_txn(&mut txn).await? else { return Ok(false) };
    tenant_states::undelete_in_txn(&mut txn, id).await?;
    crash_point!("janitor.undelete.before_commit", id);
    txn.commit().await?;
    crash_point!("janitor.undelete.after_commit", id);
    Ok(true)
}

async fn forget_slugs(ctx: &Context) -> Result<u64> {
    let Some(mut txn) = begin(ctx).await? else { return Ok(0) };
    let tenants = slugs::purge_in_txn(&mut txn, BATCH.into()).await?;
    txn.commit().await?;
    Ok(tenants)
}

async fn forget_idempotency_keys(ctx: &Context) -> Result<u64> {
    let Some(mut txn) = leaks::begin_in_turn(ctx).await? else { return Ok(0) };
    let keys = idempotency::purge(&mut txn).await?;
    txn.commit().await?;
    Ok(keys)
}

async fn forget_operations(ctx: &Context) -> Result<u64> {
    let Some(mut txn) = leaks::begin_in_turn(ctx).await? else { return Ok(0) };
    let forgotten = operations::purge_unasked(&mut txn, BATCH.into()).await?;
    txn.commit().await?;
    Ok(forgotten)
}

async fn record(
    ctx: &Context,
    txn: &mut Txn,
    (action, target): (&str, TenantId),
    details: &serde_json::Value,
) -> Result<()> {
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    audit::record_in_txn(txn, event, &ctx.origin(), (action, &target.to_string()), details).await
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "freehold_people_purged_total",
        "what was taken away of tenants' people, by what it was"
    );
    metrics::describe_counter!("freehold_janitor_chores_total", "what the janitor has begun, finished or forgotten");
}
