//! Waiting for an operation to end, woken by what replicas tell each other.

use std::time::Duration;

use super::Context;
use crate::{
    control::{
        audit::{self, Origin},
        listener::Signal,
        operations::{self, Operation},
    },
    error::{Error, Result},
    types::{AuditEventId, OperationId},
};

/// Behind the signals, in case one was lost.
const POLL: Duration = Duration::from_millis(500);

/// Waits until the operation has ended or is blocked, for `at_most`; answers with how it is then.
pub async fn finished(ctx: &Context, id: OperationId, at_most: Duration) -> Result<Operation> {
    let mut signals = ctx.signals.subscribe();
    let deadline = tokio::time::Instant::now() + at_most;
    loop {
        let found = operations::get(&mut *ctx.db.acquire().await?, id).await?;
        let operation = found.ok_or_else(|| Error::not_found("operation"))?;
        if operation.is_finished() || operation.state == "blocked" || tokio::time::Instant::now() >= deadline {
            return Ok(operation);
        }
        let wake = async { while !matches!(signals.next().await, Signal::OperationFinished(done) if done == id) {} };
        let pause = POLL.min(deadline.saturating_duration_since(tokio::time::Instant::now()));
        // Woken or not, the row decides.
        let _ = tokio::time::timeout(pause, wake).await;
    }
}

/// Queues a blocked operation again.
///
/// # Errors
/// `not_found`; `operation_not_blocked` (409).
pub async fn retry(ctx: &Context, id: OperationId, origin: &Origin) -> Result<()> {
    let mut txn = ctx.db.begin().await?;
    let queued = operations::retry_in_txn(&mut txn, id).await?;
    operations::get(&mut txn, id).await?.ok_or_else(|| Error::not_found("operation"))?;
    if !queued {
        return Err(Error::conflict("operation_not_blocked", "only a blocked operation can be retried"));
    }
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    let action = ("operation.retry", &*id.to_string());
    audit::record_in_txn(&mut txn, event, origin, action, &serde_json::json!({})).await?;
    Ok(txn.commit().await?)
}
