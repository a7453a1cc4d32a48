//! The reconciler keeps the target number of warm databases on each server. It is a schedule (`jobs::schedule`), so that
//! of all replicas one looks; its lock, which its transaction holds, keeps two from deciding at once.
//!
//! It checks every second, and soon after a change. In one transaction of the control database it queues the operations
//! that make missing databases and retire surplus ones. It connects to no server itself, so an unavailable server does
//! not delay the others.

use std::time::Duration;

use super::{
    Bounds, make_in_txn,
    plan::{Plan, Stock},
    retire_in_txn,
};
use crate::{
    control::{bounded, listener::Signal, warm_databases},
    error::Result,
    jobs::schedule::{Next, Schedule},
    operations::{Context, schema::publish},
};

/// How often it checks without a signal.
const POLL: Duration = Duration::from_secs(1);
/// How long the control database may take for one check.
const ANSWER: Duration = Duration::from_secs(20);
/// How long it waits after a signal, because more signals usually follow.
const SETTLE: Duration = Duration::from_millis(100);

/// Keeps databases ready: one replica looks every second, and soon after an operation was queued or has ended. A signal
/// only wakes it: what to do depends on the rows.
#[must_use]
pub fn schedule(ctx: &Context, bounds: Bounds) -> Schedule {
    let ctx = ctx.clone();
    let run = move |_| {
        let ctx = ctx.clone();
        async move { bounded(ANSWER, look(&ctx, bounds)).await.map(|()| Next::Usual) }
    };
    Schedule::new("warm", POLL, run).eager().stirred_by(stirs, SETTLE)
}

/// A database may be ready, or a tenant may have taken one.
fn stirs(signal: Signal) -> bool {
    matches!(signal, Signal::OperationQueued | Signal::OperationSettled(_) | Signal::Lost)
}

/// Queues at most one operation on each server.
async fn look(ctx: &Context, bounds: Bounds) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    if !warm_databases::try_reconcile_in_txn(&mut txn).await? {
        return Ok(txn.rollback().await?);
    }
    let newest = publish::newest(&ctx.memory, &mut txn).await?;
    let databases = warm_databases::list(&mut txn).await?;
    let last_made = warm_databases::last_made(&mut txn).await?;
    for demand in &warm_databases::demands(&mut txn).await? {
        let stock = Stock {
            demand,
            databases: databases.iter().filter(|one| one.server_id == demand.server_id).collect(),
            last_made: last_made.iter().filter(|made| made.server_id == demand.server_id).collect(),
        };
        match stock.plan(&newest.template, bounds) {
            Plan::Make => make_in_txn(ctx, &mut txn, demand.server_id, &newest).await.map(drop)?,
            Plan::Retire(id) => retire_in_txn(ctx, &mut txn, id, demand.server_id).await.map(drop)?,
            Plan::Rest => {}
        }
    }
    Ok(txn.commit().await?)
}
