//! Decides and records what happens to an operation after an attempt: the table in [`super`] as code.

use std::time::Duration;

use sqlx::PgConnection;

use super::{
    attempt::Interrupted,
    kind::{Kinds, OnDefect},
};
use crate::{
    control::{
        bounded,
        operation_claims::{self, Claim, Failing, Pause},
        operation_steps,
        operations::{Direction, Operation},
    },
    error::{Error, Result, Severity},
    operations::Context,
};

/// Records how an attempt ended, and returns the outcome's name for metrics. If the record fails too, the lease runs
/// out, and the next replica that claims the operation finds the steps as they were last recorded.
pub(super) async fn settle(
    ctx: &Context,
    kinds: Kinds,
    (operation, claim): (&Operation, Claim),
    outcome: Result<(), Interrupted>,
) -> &'static str {
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
                let (mut connection, pause) =
                    (ctx.db.acquire().await?, Pause::Leave(ctx.settings.pace.unknown, &reason));
                Ok((operation_claims::release(&mut connection, claim, pause).await?, "handed_over"))
            }
            Err(Interrupted::Failed(error)) => fail(ctx, kinds, (operation, claim), &error).await,
        }
    };
    // After the length of a lease the operation may belong to another replica.
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

/// What follows a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Retry,
    Undo,
    Block,
}

/// Decides what follows a failed attempt, and records it. It holds the lock on the operation's row, so a request to
/// cancel comes either before the decision or after it. Returns whether the claim still held, and the outcome's name.
async fn fail(
    ctx: &Context,
    kinds: Kinds,
    (operation, claim): (&Operation, Claim),
    error: &Error,
) -> Result<(bool, &'static str)> {
    let stays = error.severity() != Severity::Dependency;
    let mut txn = ctx.db.begin().await?;
    let noted = operation_claims::fail_in_txn(&mut txn, claim, &error.summary(), stays).await?;
    let Some(failing) = noted else { return Ok((false, "lease_lost")) };
    let next = next(ctx, kinds, &mut txn, (operation, &failing, error)).await?;
    report(error, next);
    let (recorded, name) = match next {
        Next::Retry => {
            let pause = Pause::Retry(ctx.settings.pace.pause_after(failing.attempts, ctx.random));
            (operation_claims::release(&mut txn, claim, pause).await?, "retried")
        }
        Next::Undo => {
            operation_claims::begin_undo(&mut txn, claim).await?;
            (operation_claims::release(&mut txn, claim, Pause::Retry(Duration::ZERO)).await?, "turned")
        }
        Next::Block => (operation_claims::block(&mut txn, claim).await?, "blocked"),
    };
    txn.commit().await?;
    Ok((recorded, name))
}

async fn next(
    ctx: &Context,
    kinds: Kinds,
    txn: &mut PgConnection,
    (operation, failing, error): (&Operation, &Failing, &Error),
) -> Result<Next> {
    let pace = &ctx.settings.pace;
    let is_forward = failing.direction == Direction::Forward;
    if is_forward && failing.is_cancelled {
        return Ok(Next::Undo);
    }
    let is_refused = kinds.find(&operation.kind).is_ok_and(|kind| kind.refusals.contains(&error.code()));
    let is_hopeless = is_refused || failing.failures >= pace.failures || is_deadly(ctx, operation);
    let is_long = failing.attempts >= pace.patience || failing.stuck >= pace.longest_patience;
    let unwinds = is_forward && (is_hopeless || is_long) && unwinds(kinds, txn, operation).await?;
    Ok(match (unwinds, is_hopeless) {
        (true, _) => Next::Undo,
        (false, true) => Next::Block,
        (false, false) => Next::Retry,
    })
}

/// Whether the operation may be killing the replicas that attempt it: it lost too many leases in a row.
pub(super) const fn is_deadly(ctx: &Context, operation: &Operation) -> bool {
    operation.abandoned >= ctx.settings.pace.lost_leases
}

/// Whether the operation is undone when it cannot go on. Its kind must say so, and every begun step must have an undo.
async fn unwinds(kinds: Kinds, txn: &mut PgConnection, operation: &Operation) -> Result<bool> {
    let kind = kinds.find(&operation.kind)?;
    Ok(kind.on_defect == OnDefect::Unwind && kind.can_undo(&operation_steps::list(txn, operation.id).await?))
}

/// Logs the failure, and what follows. The level says whether the failure is a defect.
fn report(error: &Error, next: Next) {
    let follows = match next {
        Next::Retry => "an attempt failed and will be repeated",
        Next::Undo => "an attempt failed, and the operation will be undone",
        Next::Block => "an attempt failed, and the operation waits for an operator",
    };
    match error.severity() {
        Severity::Defect => tracing::error!(error = error.chain(), "{follows}"),
        Severity::Client | Severity::Dependency => tracing::warn!(error = error.chain(), "{follows}"),
    }
}
