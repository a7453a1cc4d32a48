//! The engine: claims operations, has them attempted, and survives whatever happens in between.
//!
//! An operation is claimed for a lease on the control database's clock, which a task of its own renews while
//! [`attempt`] works through its steps. A killed replica costs the time until its lease runs out and nothing
//! else; one that is restarted under the same name takes up its own work at once. Between two steps a stopping
//! replica hands its operations back.
//!
//! What fails for a passing reason is tried again with growing pauses: for ever, or, where a way back is open,
//! [`PATIENCE`] times and no more once it has come no further for [`LONGEST_PATIENCE`], since somebody may be shut out
//! meanwhile. What has failed [`FAILURES`] times for a reason that stays is undone, or set aside as `blocked` for an
//! operator to mend and retry, as its kind says. A panic costs one attempt of one operation, and a killed replica none
//! of the [`FAILURES`]; but an operation whose lease was lost [`DEATHS`] times in a row at one step ends its way
//! forward as well: the replicas may have died of it.
//!
//! While releases are mixed, a replica leaves alone what only a newer one knows: kinds, and steps of known kinds.

pub(super) mod attempt;
pub(super) mod kind;
mod pace;
pub(super) mod queue;
pub mod wait;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use sqlx::PgConnection;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use attempt::{Interrupted, Signals};
use kind::{Kind, OnDefect};
pub use pace::Pace;

use super::Context;
use crate::{
    background::Background,
    control::{
        bounded,
        listener::Signal,
        operation_claims::{self, Claim, Failing, Pause, Permission},
        operation_steps,
        operations::{Direction, Operation},
    },
    error::{Error, Result, Severity},
    faults,
};

/// How long the control database may take to answer a claim, or a replica that takes up its own.
const CLAIM: Duration = Duration::from_secs(5);
/// How many failures that no waiting mends end an operation's way forward.
const FAILURES: i32 = 5;
/// How often in a row the lease may be lost over one step before nobody else tries it.
const DEATHS: i32 = 10;
/// After how many attempts, two to three minutes if each fails at once, an operation that can be undone no longer waits
/// for what is away.
const PATIENCE: i32 = 10;
/// After what time at one step its next failure is the last, however few there were: each may have taken an hour.
const LONGEST_PATIENCE: Duration = Duration::from_mins(15);

/// Starts `concurrency` workers' worth of engine; with 0 this replica leaves the work to others.
pub fn spawn(ctx: &Context, concurrency: u32, background: &Background) {
    if concurrency == 0 {
        return;
    }
    let slots = Arc::new(Semaphore::new(usize::try_from(concurrency).unwrap_or(1)));
    let (ctx, attempts) = (ctx.clone(), background.clone());
    background.spawn({
        let (ctx, background) = (ctx.clone(), background.clone());
        async move {
            background.stop().run_until_cancelled(Box::pin(take_up(&ctx))).await;
            let work = move |stop| work(ctx.clone(), slots.clone(), attempts.clone(), stop);
            background.keep("engine", work);
        }
    });
}

async fn work(ctx: Context, slots: Arc<Semaphore>, attempts: Background, stop: CancellationToken) {
    let mut signals = ctx.signals.subscribe();
    let mut ticks = tokio::time::interval(ctx.settings.pace.poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        match claim(&ctx, &slots, &stop).await {
            Ok(Some((operation, slot))) => {
                attempts.spawn(run(ctx.clone(), operation, slot, stop.clone()));
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = error.chain(), "no operation can be claimed"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => ctx.memory.sessions().end_idle(),
            () = queued(&mut signals) => {}
        }
    }
}

/// Frees what an earlier process under this replica's name had claimed. Should that one still live, it finds its
/// claims lost, as after any other loss of a lease.
async fn take_up(ctx: &Context) {
    let freed = async { operation_claims::release_leftovers(&mut *ctx.db.acquire().await?, &ctx.replica).await };
    match bounded(CLAIM, freed).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(operations = count, "takes up what this replica left behind"),
        Err(error) => tracing::warn!(error = error.chain(), "operations left behind wait for the end of their leases"),
    }
}

async fn queued(signals: &mut crate::control::listener::Subscription) {
    while !matches!(signals.next().await, Signal::OperationQueued | Signal::Lost) {}
}

/// Claims the next due operation once there is room for it. A replica that stops claims none.
async fn claim(
    ctx: &Context,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Result<Option<(Operation, OwnedSemaphorePermit)>> {
    let Some(slot) = stop.run_until_cancelled(slots.clone().acquire_owned()).await else { return Ok(None) };
    let slot = slot.map_err(Error::internal)?;
    if stop.is_cancelled() {
        return Ok(None);
    }
    let known = faults::taken_up(Kind::names());
    let lease = ctx.settings.pace.lease;
    let claiming = async { operation_claims::claim(&mut *ctx.db.acquire().await?, &ctx.replica, lease, &known).await };
    let claimed = bounded(CLAIM, claiming).await?;
    Ok(claimed.map(|operation| (operation, slot)))
}

async fn run(ctx: Context, operation: Operation, slot: OwnedSemaphorePermit, stop: CancellationToken) {
    let span = tracing::info_span!(
        "operation",
        operation.id = %operation.id,
        operation.kind = operation.kind,
        operation.generation = operation.generation,
        tenant.id = %operation.tenant_id,
    );
    async {
        let started = Instant::now();
        let claim = Claim { id: operation.id, generation: operation.generation };
        let outcome = Box::pin(attempt(&ctx, &operation, claim, &stop)).await;
        let name = settle(&ctx, &operation, claim, outcome).await;
        metrics::counter!("freehold_operation_attempts_total", "kind" => operation.kind.clone(), "outcome" => name)
            .increment(1);
        metrics::histogram!("freehold_operation_attempt_duration_seconds", "kind" => operation.kind.clone())
            .record(started.elapsed());
    }
    .instrument(span)
    .await;
    drop(slot);
}

/// One attempt, for as long as the lease can be renewed. A panic is an error like any other.
async fn attempt(
    ctx: &Context,
    operation: &Operation,
    claim: Claim,
    stop: &CancellationToken,
) -> Result<(), Interrupted> {
    if is_deadly(operation.abandoned) {
        let detail =
            "its lease was lost at the same step time after time: replicas may die of it, and their logs say why";
        return Err(Error::conflict("operation_abandoned", detail).into());
    }
    let signals = Signals { stop: stop.clone(), cancel: CancellationToken::new() };
    let steps = AssertUnwindSafe(attempt::run(ctx, operation, &signals)).catch_unwind();
    tokio::select! {
        outcome = steps => outcome.unwrap_or_else(|_| Err(Error::defect("a step panicked").into())),
        () = renew(ctx, claim, &signals.cancel) => Err(Interrupted::LeaseLost),
    }
}

/// Renews the lease; returns when it is lost. While the control database does not answer the lease may run out
/// unseen, so after a lease's time without renewal it counts as lost. What it hears of a wish to cancel it passes on.
async fn renew(ctx: &Context, claim: Claim, cancel: &CancellationToken) {
    let Pace { lease, renewal, .. } = ctx.settings.pace;
    let mut renewed = Instant::now();
    while renewed.elapsed() < lease {
        tokio::time::sleep(renewal).await;
        let asked = Instant::now();
        let outcome = async {
            let mut connection = ctx.db.acquire().await?;
            operation_claims::renew(&mut connection, claim, lease).await
        };
        // Never waits past the end of the lease: what is not known to be held is not held.
        match tokio::time::timeout(lease.saturating_sub(renewed.elapsed()), outcome).await {
            Ok(Ok(Permission::Granted)) => renewed = asked,
            Ok(Ok(Permission::Cancelled)) => {
                renewed = asked;
                cancel.cancel();
            }
            Ok(Ok(Permission::ClaimLost)) => return,
            Ok(Err(error)) => tracing::warn!(error = error.chain(), "the lease could not be renewed"),
            Err(_) => tracing::warn!("the control database did not answer while the lease was to be renewed"),
        }
    }
}

/// Records how an attempt ended and names it for metrics. When even that fails the lease runs out, and whoever
/// claims the operation next finds its steps as they are.
async fn settle(ctx: &Context, operation: &Operation, claim: Claim, outcome: Result<(), Interrupted>) -> &'static str {
    let recorded = async {
        match outcome {
            Ok(()) => Ok((true, "finished")),
            Err(Interrupted::LeaseLost) => Ok((false, "lease_lost")),
            Err(Interrupted::Stopping) => {
                let (mut connection, pause) = (ctx.db.acquire().await?, Pause::HandOver(Duration::ZERO));
                Ok((operation_claims::release(&mut connection, claim, pause).await?, "handed_over"))
            }
            Err(Interrupted::Unknown(error)) => {
                tracing::info!(reason = error.chain(), "left to a newer release");
                let reason = error.summary();
                let pause = Pause::Leave(ctx.settings.pace.unknown, &reason);
                let mut connection = ctx.db.acquire().await?;
                Ok((operation_claims::release(&mut connection, claim, pause).await?, "handed_over"))
            }
            Err(Interrupted::Failed(error)) => fail(ctx, operation, claim, &error).await,
        }
    };
    // Later than that it is somebody else's.
    match bounded(ctx.settings.pace.lease, recorded).await {
        Ok((true, name)) => name,
        Ok((false, _)) => {
            tracing::warn!("the operation is another replica's by now");
            "lease_lost"
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "the end of an attempt could not be recorded");
            "unrecorded"
        }
    }
}

/// How an operation goes on whose attempt failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Retry,
    Turn,
    Block,
}

/// Decides how an operation goes on whose attempt failed, under the lock on its row: whoever asks for its undoing does
/// so before or after. Answers whether that could be recorded.
async fn fail(ctx: &Context, operation: &Operation, claim: Claim, error: &Error) -> Result<(bool, &'static str)> {
    let stays = error.severity() != Severity::Dependency;
    let mut txn = ctx.db.begin().await?;
    let noted = operation_claims::fail_in_txn(&mut txn, claim, &error.summary(), stays).await?;
    let Some(failing) = noted else { return Ok((false, "lease_lost")) };
    let next = next(&mut txn, operation, &failing).await?;
    report(error, next != Next::Retry);
    let (recorded, name) = match next {
        Next::Retry => {
            let pause = Pause::Retry(ctx.settings.pace.pause_after(failing.attempts, ctx.random));
            (operation_claims::release(&mut txn, claim, pause).await?, "retried")
        }
        Next::Turn => {
            operation_claims::turn(&mut txn, claim).await?;
            (operation_claims::release(&mut txn, claim, Pause::Retry(Duration::ZERO)).await?, "turned")
        }
        Next::Block => (operation_claims::block(&mut txn, claim).await?, "blocked"),
    };
    txn.commit().await?;
    Ok((recorded, name))
}

async fn next(txn: &mut PgConnection, operation: &Operation, failing: &Failing) -> Result<Next> {
    let is_forward = failing.direction == Direction::Forward;
    if is_forward && failing.is_cancelled {
        return Ok(Next::Turn);
    }
    let is_hopeless = failing.failures >= FAILURES || is_deadly(operation.abandoned);
    let is_long = failing.attempts >= PATIENCE || failing.stuck >= LONGEST_PATIENCE;
    let unwinds = is_forward && (is_hopeless || is_long) && unwinds(txn, operation).await?;
    Ok(match (unwinds, is_hopeless) {
        (true, _) => Next::Turn,
        (false, true) => Next::Block,
        (false, false) => Next::Retry,
    })
}

const fn is_deadly(abandoned: i32) -> bool {
    abandoned >= DEATHS
}

/// Whether the operation is undone when it cannot go on: by its kind, and by what it has done so far.
async fn unwinds(txn: &mut PgConnection, operation: &Operation) -> Result<bool> {
    let kind = Kind::find(&operation.kind)?;
    Ok(kind.on_defect == OnDefect::Unwind && attempt::can_turn(kind, &operation_steps::list(txn, operation.id).await?))
}

fn report(error: &Error, gives_up: bool) {
    match error.severity() {
        Severity::Defect if gives_up => tracing::error!(error = error.chain(), "an operation cannot go on"),
        Severity::Defect => tracing::error!(error = error.chain(), "an attempt failed"),
        Severity::Client | Severity::Dependency => {
            tracing::warn!(error = error.chain(), "an attempt failed and will be repeated");
        }
    }
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("freehold_operation_attempts_total", "attempts to run an operation, by kind and outcome");
    let duration = "freehold_operation_attempt_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long attempts took, by kind; provisioning is tenant.provision");
}
