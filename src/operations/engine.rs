//! The engine: claims operations, runs their steps, and survives whatever happens in between.
//!
//! An operation is claimed for a lease on the control database's clock, which a task of its own renews. Its
//! steps run on one administrative session that holds the tenant's advisory lock: a replica that lost its lease
//! and wakes up late is refused by the server it would change. Every step can be repeated, so a killed replica
//! costs the time until its lease runs out and nothing else. Between two steps the engine heeds a stop and
//! hands the operation back.
//!
//! What fails for a passing reason is tried again for ever, with growing pauses; what fails for a reason that
//! stays is set aside as `blocked` after [`ATTEMPTS`] tries, for an operator to mend and retry. A panic costs
//! one attempt of one operation.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{Context, provision};
use crate::{
    control::{
        listener::Signal,
        operations::{self, Claim, Operation, Step},
        servers, tenants,
    },
    error::{Error, Result, Severity},
    servers::ServerAdmin,
};

/// How long a claim lasts, and how often it is renewed (promises.md §2).
const LEASE: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(3);
/// Behind the notifications: how often due work is looked for.
const POLL: Duration = Duration::from_secs(1);
/// The longest that a step may take: the building of a template, with its own waits. A server that is frozen
/// answers nothing, not even that it gave up.
const STEP: Duration = Duration::from_secs(90);
/// How long the control database may take to answer a claim.
const CLAIM: Duration = Duration::from_secs(5);
/// How long the lock of a tenant is waited for: another replica's backend may still be at work under it.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Pauses between attempts: 1 s, doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After how many attempts a failure that no waiting mends blocks an operation.
pub const ATTEMPTS: i32 = 5;

/// What a step works with.
pub(super) struct Run<'a> {
    pub(super) ctx: &'a Context,
    pub(super) operation: &'a Operation,
    pub(super) tenant: tenants::Tenant,
    pub(super) access: super::context::Access,
    /// Holds the tenant's lock for as long as it lives.
    pub(super) admin: ServerAdmin,
}

/// Why an attempt ended before its last step.
enum Interrupted {
    /// A step failed, or could not be begun.
    Failed(Error),
    /// Another replica holds the operation now: nothing more may be written.
    LeaseLost,
    /// This replica is stopping: the operation is handed back.
    Stopping,
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Starts `concurrency` workers' worth of engine, until `stop`; with 0 this replica leaves the work to others.
pub fn spawn(ctx: &Context, concurrency: u32, tasks: &TaskTracker, stop: &CancellationToken) {
    if concurrency > 0 {
        let slots = Arc::new(Semaphore::new(usize::try_from(concurrency).unwrap_or(1)));
        tasks.spawn(work(ctx.clone(), slots, tasks.clone(), stop.clone()));
    }
}

async fn work(ctx: Context, slots: Arc<Semaphore>, tasks: TaskTracker, stop: CancellationToken) {
    let mut signals = ctx.signals.subscribe();
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        match claim(&ctx, &slots).await {
            Ok(Some((operation, slot))) => {
                tasks.spawn(run(ctx.clone(), operation, slot, stop.clone()));
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = error.chain(), "no operation can be claimed"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
            () = queued(&mut signals) => {}
        }
    }
}

async fn queued(signals: &mut crate::control::listener::Subscription) {
    while !matches!(signals.next().await, Signal::OperationQueued | Signal::Lost) {}
}

/// Claims the next due operation once there is room for it.
async fn claim(ctx: &Context, slots: &Arc<Semaphore>) -> Result<Option<(Operation, OwnedSemaphorePermit)>> {
    let slot = slots.clone().acquire_owned().await.map_err(Error::internal)?;
    let claiming = async { operations::claim(&mut *ctx.db.acquire().await?, &ctx.replica, LEASE).await };
    let late = |_| Err(Error::unavailable("control_database_unavailable", "the control database is silent", None));
    let claimed = tokio::time::timeout(CLAIM, claiming).await.unwrap_or_else(late)?;
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
    let steps = AssertUnwindSafe(run_steps(ctx, operation, claim, stop)).catch_unwind();
    tokio::select! {
        outcome = steps => outcome.unwrap_or_else(|_| Err(Error::defect("a step panicked").into())),
        () = renew(ctx, claim) => Err(Interrupted::LeaseLost),
    }
}

/// Renews the lease; returns when it is lost. While the control database does not answer the lease may run out
/// unseen, so after a lease's time without renewal it counts as lost.
async fn renew(ctx: &Context, claim: Claim) {
    let mut renewed = Instant::now();
    while renewed.elapsed() < LEASE {
        tokio::time::sleep(RENEWAL).await;
        let asked = Instant::now();
        let outcome = async {
            let mut connection = ctx.db.acquire().await?;
            operations::renew(&mut connection, claim, LEASE).await
        };
        // Never waits past the end of the lease: what is not known to be held is not held.
        match tokio::time::timeout(LEASE.saturating_sub(renewed.elapsed()), outcome).await {
            Ok(Ok(true)) => renewed = asked,
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::warn!(error = error.chain(), "the lease could not be renewed"),
            Err(_) => tracing::warn!("the control database did not answer while the lease was to be renewed"),
        }
    }
}

async fn run_steps(
    ctx: &Context,
    operation: &Operation,
    claim: Claim,
    stop: &CancellationToken,
) -> Result<(), Interrupted> {
    let steps = operations::steps(&mut *ctx.db.acquire().await?, operation.id).await?;
    let run = open(ctx, operation).await?;
    for step in steps.iter().filter(|step| step.state != "succeeded") {
        if stop.is_cancelled() {
            return Err(Interrupted::Stopping);
        }
        run_step(&run, claim, step).await?;
    }
    Ok(())
}

/// Opens the administrative session and takes the tenant's lock on it.
async fn open<'a>(ctx: &'a Context, operation: &'a Operation) -> Result<Run<'a>> {
    let (tenant, server) = {
        let mut connection = ctx.db.acquire().await?;
        let missing = || Error::defect("the operation's tenant or server is not in the control database");
        let tenant = tenants::get(&mut connection, operation.tenant_id).await?.ok_or_else(missing)?;
        let server = servers::get(&mut connection, tenant.server_id).await?.ok_or_else(missing)?;
        (tenant, server)
    };
    let access = ctx.access(&server).await?;
    let admin = ctx.administer(&access, &format!("{}:{}", operation.id, operation.generation)).await?;
    // Whoever held this operation before has lost its lease. If it was stopped its session sits idle on the lock:
    // ending the session frees it, and makes sure that nothing more is done there. One at work is waited for.
    let ended = admin.end_idle_sessions(&format!(":{}:", operation.id)).await?;
    if ended > 0 {
        tracing::warn!(sessions = ended, "ended the sessions of a replica that lost this operation");
    }
    if !admin.lock_tenant(tenant.id, LOCK_WAIT).await? {
        return Err(Error::unavailable("tenant_locked", "another session is at work on this tenant", None));
    }
    Ok(Run { ctx, operation, tenant, access, admin })
}

async fn run_step(run: &Run<'_>, claim: Claim, step: &Step) -> Result<(), Interrupted> {
    let db = &run.ctx.db;
    if !operations::begin_step(&mut *db.acquire().await?, claim, step.position).await? {
        return Err(Interrupted::LeaseLost);
    }
    tracing::debug!(step = step.name, "a step begins");
    let late = |_| Err(Error::unavailable("step_timeout", "a step did not end in time", None));
    let outcome = tokio::time::timeout(STEP, do_step(run, &step.name)).await.unwrap_or_else(late);
    let error = outcome.as_ref().err().map(ToString::to_string);
    if !operations::end_step(&mut *db.acquire().await?, claim, step.position, error.as_deref()).await? {
        return Err(Interrupted::LeaseLost);
    }
    Ok(outcome?)
}

async fn do_step(run: &Run<'_>, name: &str) -> Result<()> {
    match run.operation.kind.as_str() {
        provision::KIND => provision::step(run, name).await,
        other => Err(Error::defect(format!("this release knows no operation of kind {other}"))),
    }
}

/// Records how an attempt ended and names it for metrics. When even that fails the lease runs out, and whoever
/// claims the operation next finds its steps as they are.
async fn settle(ctx: &Context, operation: &Operation, claim: Claim, outcome: Result<(), Interrupted>) -> &'static str {
    let recorded = async {
        let mut connection = ctx.db.acquire().await?;
        match outcome {
            Ok(()) => Ok((operations::succeed(&mut connection, claim).await?, "succeeded")),
            Err(Interrupted::LeaseLost) => Ok((false, "lease_lost")),
            Err(Interrupted::Stopping) => {
                let error = operation.error.as_deref();
                Ok((operations::release(&mut connection, claim, Duration::ZERO, error).await?, "handed_over"))
            }
            Err(Interrupted::Failed(error)) => {
                let blocks = operation.attempts >= ATTEMPTS && error.severity() != Severity::Dependency;
                report(&error, blocks);
                if blocks {
                    return Ok((operations::block(&mut connection, claim, &error.to_string()).await?, "blocked"));
                }
                let pause = pause(operation.attempts);
                Ok((operations::release(&mut connection, claim, pause, Some(&error.to_string())).await?, "retried"))
            }
        }
    };
    match Result::<_, Error>::from(recorded.await) {
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

fn report(error: &Error, blocks: bool) {
    match error.severity() {
        Severity::Defect if blocks => tracing::error!(error = error.chain(), "an operation is blocked"),
        Severity::Defect => tracing::error!(error = error.chain(), "an attempt failed"),
        Severity::Client | Severity::Dependency => {
            tracing::warn!(error = error.chain(), "an attempt failed and will be repeated");
        }
    }
}

fn pause(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(5);
    Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("freehold_operation_attempts_total", "attempts to run an operation, by kind and outcome");
    let duration = "freehold_operation_attempt_duration_seconds";
    describe_histogram!(duration, Unit::Seconds, "how long attempts took, by kind; provisioning is tenant.provision");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<_> = [0, 1, 2, 3, 6, 100].into_iter().map(|n| pause(n).as_secs()).collect();
        assert_eq!(pauses, [1, 1, 2, 4, 30, 30]);
    }
}
