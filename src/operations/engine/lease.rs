//! Runs an attempt, and renews its lease for as long as the attempt takes.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{self, Interrupted, Signals},
    kind::Kinds,
    outcome::is_deadly,
};
use crate::{
    control::{
        operation_claims::{self, Claim, Permission},
        operations::Operation,
    },
    error::{Error, Result},
    operations::Context,
};

/// Runs one attempt for as long as its lease can be renewed. A panic of a step becomes an error.
pub(super) async fn attempt(
    ctx: &Context,
    kinds: Kinds,
    (operation, claim): (&Operation, Claim),
    stop: &CancellationToken,
) -> Result<(), Interrupted> {
    if is_deadly(ctx, operation) {
        let detail =
            "its lease was lost at the same step time after time: replicas may die of it, and their logs say why";
        return Err(Error::conflict("operation_abandoned", detail).into());
    }
    let signals = Signals { stop: stop.clone(), cancel: CancellationToken::new() };
    let steps = AssertUnwindSafe(attempt::run(ctx, kinds, operation, &signals)).catch_unwind();
    tokio::select! {
        outcome = steps => outcome.unwrap_or_else(|_| Err(Error::defect("a step panicked").into())),
        () = renew(ctx, claim, &signals.cancel) => Err(Interrupted::LeaseLost),
    }
}

/// Renews the lease, and returns when the lease is lost.
///
/// While the control database does not answer, the lease may run out without notice. So a lease that was not renewed
/// for its whole length counts as lost. A renewal that learns of a request to cancel the operation triggers `cancel`.
async fn renew(ctx: &Context, claim: Claim, cancel: &CancellationToken) {
    let (lease, mut renewed) = (ctx.settings.pace.lease, Instant::now());
    while renewed.elapsed() < lease {
        tokio::time::sleep(ctx.settings.pace.renewal).await;
        let asked = Instant::now();
        let outcome = async {
            let mut connection = ctx.db.acquire().await?;
            operation_claims::renew(&mut connection, claim, lease).await
        };
        // Never waits past the end of the lease: a lease that is not known to be held counts as lost.
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
