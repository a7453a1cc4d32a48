//! Follows an operation to its end. Notifications from other replicas say when to look again.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    control::{
        listener::{Signal, Subscription},
        operation_steps::{self, Step},
        operations::{self, Operation},
    },
    error::{Error, Result},
    operations::Context,
    types::OperationId,
};

/// An operation and its steps, as they are at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The operation.
    pub operation: Operation,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// Follows one operation.
pub struct Follower {
    ctx: Context,
    id: OperationId,
    signals: Subscription,
    last: Option<Snapshot>,
}

impl Follower {
    /// Subscribes to changes. Looks nothing up yet.
    #[must_use]
    pub fn new(ctx: &Context, id: OperationId) -> Self {
        Self { ctx: ctx.clone(), id, signals: ctx.signals.subscribe(), last: None }
    }

    /// The operation and its steps: at once the first time, then as soon as they have changed. Waits without a limit.
    ///
    /// # Errors
    /// `not_found`; the control database is unavailable.
    pub async fn next(&mut self) -> Result<Snapshot> {
        loop {
            let now = look(&self.ctx, self.id).await?;
            if self.last.as_ref() != Some(&now) {
                self.last = Some(now.clone());
                return Ok(now);
            }
            let changes = |signal| match signal {
                Signal::OperationStepped(id) | Signal::OperationSettled(id) => id == self.id,
                _ => false,
            };
            stir(&self.ctx, &mut self.signals, changes).await;
        }
    }
}

/// Returns on a signal that matters, or after a while without one. The caller then reads the rows again.
async fn stir(ctx: &Context, signals: &mut Subscription, matters: impl Fn(Signal) -> bool) {
    let wake = async { while !matters(signals.next().await) {} };
    let _ = tokio::time::timeout(ctx.settings.pace.follow, wake).await;
}

/// The operation and its steps as they are now.
///
/// # Errors
/// `not_found`; the control database is unavailable.
pub async fn look(ctx: &Context, id: OperationId) -> Result<Snapshot> {
    let mut connection = ctx.db.acquire().await?;
    let found = operations::get(&mut connection, id).await?;
    let operation = found.ok_or_else(|| Error::not_found("operation"))?;
    Ok(Snapshot { operation, steps: operation_steps::list(&mut connection, id).await? })
}

/// Waits until the operation has ended or is blocked, or `at_most` has passed. Returns it and its steps.
///
/// # Errors
/// As [`look`].
pub async fn finished(ctx: &Context, id: OperationId, at_most: Duration) -> Result<Snapshot> {
    let operation = settled(ctx, id, at_most).await?;
    Ok(Snapshot { operation, steps: operation_steps::list(&mut *ctx.db.acquire().await?, id).await? })
}

/// Waits until the operation has ended or is blocked, or `at_most` has passed. Returns the operation. If it has ended,
/// this replica already knows the tenant's new state.
///
/// # Errors
/// As [`look`].
pub async fn settled(ctx: &Context, id: OperationId, at_most: Duration) -> Result<Operation> {
    let mut signals = ctx.signals.subscribe();
    let deadline = Instant::now() + at_most;
    loop {
        let found = operations::get(&mut *ctx.db.acquire().await?, id).await?;
        let operation = found.ok_or_else(|| Error::not_found("operation"))?;
        if operation.is_settled() {
            ctx.tenancy.refresh(operation.tenant_id).await;
            return Ok(operation);
        }
        if Instant::now() >= deadline {
            return Ok(operation);
        }
        // Looks again when the operation is settled, not at each of its steps.
        let settles = |signal| matches!(signal, Signal::OperationSettled(settled) if settled == id);
        let _ = tokio::time::timeout_at(deadline, stir(ctx, &mut signals, settles)).await;
    }
}
