//! The reconciler keeps as many databases ready as each server shall have. Every replica tries; one at a time does it.
//!
//! It looks each second, and soon after something has changed. What is missing, or too much, it queues as operations in one
//! transaction of the control database. It speaks to no server itself, so a server that is away holds up nothing.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Bounds, make_in_txn,
    plan::{Plan, Stock},
    retire_in_txn,
};
use crate::{
    control::{
        bounded,
        listener::{Signal, Subscription},
        warm_databases,
    },
    error::Result,
    operations::{Context, schema::publish},
};

/// How often it looks without a reason.
const POLL: Duration = Duration::from_secs(1);
/// How long the control database may take to answer one look.
const ANSWER: Duration = Duration::from_secs(20);
/// How long it waits after a signal: more of them follow.
const SETTLE: Duration = Duration::from_millis(100);

/// Keeps databases ready until `stop`.
pub async fn run(ctx: Context, bounds: Bounds, stop: CancellationToken) {
    let mut signals = ctx.signals.subscribe();
    let keeping = async {
        loop {
            if let Err(error) = bounded(ANSWER, look(&ctx, bounds)).await {
                tracing::warn!(error = error.chain(), "the warm databases could not be looked after");
            }
            // Whatever woke it, the rows decide.
            let _ = tokio::time::timeout(POLL, stir(&mut signals)).await;
            tokio::time::sleep(SETTLE).await;
        }
    };
    stop.run_until_cancelled(Box::pin(keeping)).await;
}

/// Something happened to an operation: a database was made, or a tenant has taken one.
async fn stir(signals: &mut Subscription) {
    while matches!(signals.next().await, Signal::Tenant(_) | Signal::Plans | Signal::OperationStepped(_)) {}
}

/// Queues at most one thing to do on each server.
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
