//! The workers of a replica. They claim the operations that have been due longest, and run attempts at them.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{kind::Kinds, lease, outcome};
use crate::{
    background::Background,
    control::{
        bounded,
        listener::Signal,
        operation_claims::{self, Claim},
        operations::Operation,
    },
    error::{Error, Result},
    faults,
    operations::Context,
};

/// Starts workers that attempt up to `concurrency` operations of these kinds at a time. With 0 this replica attempts
/// none, and leaves them to other replicas.
pub fn spawn(ctx: &Context, kinds: Kinds, concurrency: u32, background: &Background) {
    if concurrency == 0 {
        return;
    }
    let slots = Arc::new(Semaphore::new(usize::try_from(concurrency).unwrap_or(1)));
    let workers = Workers { ctx: ctx.clone(), kinds, slots, attempts: background.clone() };
    background.spawn({
        let background = background.clone();
        async move {
            background.stop().run_until_cancelled(Box::pin(workers.take_up())).await;
            background.keep("engine", move |stop| workers.clone().work(stop));
        }
    });
}

/// The workers of a replica. Clones share the slots.
#[derive(Clone)]
struct Workers {
    ctx: Context,
    kinds: Kinds,
    /// One permit for each operation that this replica may attempt at a time.
    slots: Arc<Semaphore>,
    attempts: Background,
}

impl Workers {
    async fn work(self, stop: CancellationToken) {
        let mut signals = self.ctx.signals.subscribe();
        let mut ticks = tokio::time::interval(self.ctx.settings.pace.poll);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            match self.claim(&stop).await {
                Ok(Some((operation, slot))) => {
                    self.attempts.spawn(run(self.ctx.clone(), self.kinds, operation, slot, stop.clone()));
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = error.chain(), "no operation can be claimed"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.ctx.memory.sessions().end_idle(),
                () = queued(&mut signals) => {}
            }
        }
    }

    /// Releases the claims of an earlier process with this replica's name. If that process is still alive, it finds its
    /// claims lost, as after any other lost lease.
    async fn take_up(&self) {
        let ctx = &self.ctx;
        let freed = async { operation_claims::release_leftovers(&mut *ctx.db.acquire().await?, &ctx.replica).await };
        match bounded(ctx.settings.pace.claim, freed).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(operations = count, "takes up what this replica left behind"),
            Err(error) => {
                tracing::warn!(error = error.chain(), "operations left behind wait for the end of their leases");
            }
        }
    }

    /// Waits for a free slot, then claims the next operation that is due. A replica that is stopping claims none.
    async fn claim(&self, stop: &CancellationToken) -> Result<Option<(Operation, OwnedSemaphorePermit)>> {
        let Some(slot) = stop.run_until_cancelled(self.slots.clone().acquire_owned()).await else { return Ok(None) };
        let slot = slot.map_err(Error::internal)?;
        if stop.is_cancelled() {
            return Ok(None);
        }
        let (ctx, known) = (&self.ctx, faults::taken_up(self.kinds.iter().map(|kind| kind.name.to_owned()).collect()));
        let claiming = async {
            let mut connection = ctx.db.acquire().await?;
            operation_claims::claim(&mut connection, &ctx.replica, ctx.settings.pace.lease, &known).await
        };
        let claimed = bounded(ctx.settings.pace.claim, claiming).await?;
        Ok(claimed.map(|operation| (operation, slot)))
    }
}

async fn queued(signals: &mut crate::control::listener::Subscription) {
    while !matches!(signals.next().await, Signal::OperationQueued | Signal::Lost) {}
}

async fn run(ctx: Context, kinds: Kinds, operation: Operation, slot: OwnedSemaphorePermit, stop: CancellationToken) {
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
        let outcome = Box::pin(lease::attempt(&ctx, kinds, (&operation, claim), &stop)).await;
        let name = outcome::settle(&ctx, kinds, (&operation, claim), outcome).await;
        metrics::counter!("freehold_operation_attempts_total", "kind" => operation.kind.clone(), "outcome" => name)
            .increment(1);
        metrics::histogram!("freehold_operation_attempt_duration_seconds", "kind" => operation.kind.clone())
            .record(started.elapsed());
    }
    .instrument(span)
    .await;
    drop(slot);
}
