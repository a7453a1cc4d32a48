//! What an operator does with a rollout. Each is one transaction, with its line in the audit log; the replicas hear of
//! it. What is asked for again changes nothing.

use serde_json::json;
use sqlx::PgConnection;

use super::{change::Change, obstacles};
use crate::{
    control::{
        audit::Origin,
        rollout_plan, rollout_tenants,
        rollouts::{self, Rollout, RolloutState},
    },
    error::{Error, FieldError, Result},
    operations::Context,
    types::{Reason, RolloutId, TenantId},
};

/// Pauses a rollout: tenants that are under way are finished, and no other one is begun.
///
/// # Errors
/// `not_found`; `rollout_finished` (409).
pub async fn pause(ctx: &Context, id: RolloutId, origin: &Origin) -> Result<()> {
    let mut change = Change::begin(ctx, id, origin).await?;
    refuse_finished(&change.rollout)?;
    if change.rollout.state == RolloutState::Paused {
        return change.leave().await;
    }
    let (tolerated, reason) = (change.rollout.tolerated, "requested: an operator has paused it");
    rollouts::set_state_in_txn(change.txn(), id, RolloutState::Paused, Some(reason), tolerated).await?;
    change.record("rollout.pause", &json!({})).await?.commit().await
}

/// Goes on with a paused rollout. Whatever has failed so far is not counted against it any more.
///
/// # Errors
/// `not_found`; `rollout_finished` (409); `replicas_outdated`, `replicas_need_newer` (409) while such replicas run.
pub async fn resume(ctx: &Context, id: RolloutId, origin: &Origin) -> Result<()> {
    let mut change = Change::begin(ctx, id, origin).await?;
    refuse_finished(&change.rollout)?;
    if change.rollout.state != RolloutState::Paused {
        return change.leave().await;
    }
    refuse_obstructed(ctx, &mut change).await?;
    let failed = failed(change.txn(), id).await?;
    rollouts::set_state_in_txn(change.txn(), id, RolloutState::Running, None, failed).await?;
    change.record("rollout.resume", &json!({ "failed": failed })).await?.commit().await
}

/// Ends a rollout. Tenants that are under way are finished; all others stay on their versions.
///
/// # Errors
/// `not_found`; `rollout_finished` (409).
pub async fn abort(ctx: &Context, id: RolloutId, origin: &Origin) -> Result<()> {
    let mut change = Change::begin(ctx, id, origin).await?;
    if change.rollout.state == RolloutState::Aborted {
        return change.leave().await;
    }
    refuse_finished(&change.rollout)?;
    let why = ("aborted", "the rollout was aborted before the tenant's turn");
    let skipped = rollout_tenants::skip_in_txn(change.txn(), id, None, why).await?;
    let (tolerated, reason) = (change.rollout.tolerated, "requested: an operator has aborted it");
    rollouts::set_state_in_txn(change.txn(), id, RolloutState::Aborted, Some(reason), tolerated).await?;
    change.record("rollout.abort", &json!({ "left": skipped.len() })).await?.commit().await
}

/// Has failed tenants tried again: these, or all of them. A rollout that has ended with failures goes on, and so does
/// one that paused because of them. How many tenants there are.
///
/// # Errors
/// `not_found`; `rollout_finished` (409) when it was aborted, has no failures, or has ended and was followed by another
/// one; `rollout_in_progress` (409) when that one is unfinished; `replicas_outdated`, `replicas_need_newer` (409) while
/// such replicas run; `validation_failed` on `only` when a tenant is not one of its failed ones.
pub async fn retry(ctx: &Context, id: RolloutId, only: Option<&[String]>, origin: &Origin) -> Result<u64> {
    let mut change = Change::begin(ctx, id, origin).await?;
    let rollout = change.rollout.clone();
    if matches!(rollout.state, RolloutState::Aborted | RolloutState::Succeeded) {
        return Err(finished());
    }
    let ids = match only {
        None => None,
        Some(references) => Some(resolve(change.txn(), "only", references).await?),
    };
    let count = rollout_tenants::retry_in_txn(change.txn(), id, ids.as_deref()).await?;
    if ids.is_some_and(|ids| ids.len() as u64 != count) {
        return Err(FieldError::new("only", "not_failed", "must name tenants that failed in this rollout").into());
    }
    if count == 0 {
        return change.leave().await.map(|()| 0);
    }
    let was_requested = rollout.reason.as_deref().is_some_and(|reason| reason.starts_with("requested:"));
    let (state, reason) = match rollout.state {
        RolloutState::Paused if was_requested => (RolloutState::Paused, rollout.reason.as_deref()),
        RolloutState::Planned => (RolloutState::Planned, None),
        _ => (RolloutState::Running, None),
    };
    let tolerated = rollout.tolerated.min(failed(change.txn(), id).await?);
    rollouts::set_state_in_txn(change.txn(), id, state, reason, tolerated).await?;
    // Nobody can start another one from here on, since this one is unfinished.
    if rollout.state.is_finished() {
        refuse_superseded(change.txn(), id).await?;
    }
    refuse_obstructed(ctx, &mut change).await?;
    change.record("rollout.retry", &json!({ "tenants": count })).await?.commit().await?;
    Ok(count)
}

/// Leaves tenants out that are waiting, or have failed.
///
/// # Errors
/// `not_found`; `rollout_finished` (409) when it was aborted, or has no failures; `validation_failed` on `tenants` when
/// one is neither waiting nor failed in this rollout.
pub async fn skip(
    ctx: &Context,
    id: RolloutId,
    tenants: &[String],
    reason: &Reason,
    origin: &Origin,
) -> Result<Vec<TenantId>> {
    let mut change = Change::begin(ctx, id, origin).await?;
    if matches!(change.rollout.state, RolloutState::Aborted | RolloutState::Succeeded) {
        return Err(finished());
    }
    let ids = resolve(change.txn(), "tenants", tenants).await?;
    let why = ("skipped", reason.as_str());
    let skipped = rollout_tenants::skip_in_txn(change.txn(), id, Some(&ids), why).await?;
    if skipped.len() != ids.len() {
        let message = "must name tenants that are waiting, or failed, in this rollout";
        return Err(FieldError::new("tenants", "not_waiting", message).into());
    }
    let Rollout { state, tolerated, reason: why, .. } = change.rollout.clone();
    let failed = failed(change.txn(), id).await?;
    // The last failure of a rollout that has ended may have been left out.
    let state = if state == RolloutState::Failed && failed == 0 { RolloutState::Succeeded } else { state };
    rollouts::set_state_in_txn(change.txn(), id, state, why.as_deref(), tolerated.min(failed)).await?;
    let details = json!({ "tenants": skipped, "reason": reason });
    change.record("rollout.skip", &details).await?.commit().await?;
    Ok(skipped)
}

fn refuse_finished(rollout: &Rollout) -> Result<()> {
    if rollout.state.is_finished() { Err(finished()) } else { Ok(()) }
}

/// What a later rollout has done may have built on this one, or have undone it.
async fn refuse_superseded(txn: &mut PgConnection, id: RolloutId) -> Result<()> {
    match rollouts::page(txn, None, None, 1).await?.first() {
        Some(newest) if newest.id != id => {
            let newest = newest.id;
            let detail = format!("the rollout has ended, and {newest} came after it: start another one");
            Err(Error::conflict("rollout_finished", detail))
        }
        _ => Ok(()),
    }
}

/// Refuses what could not begin either: meanwhile replicas may have come that could not serve the tenants.
async fn refuse_obstructed(ctx: &Context, change: &mut Change<'_>) -> Result<()> {
    let rollout = change.rollout.clone();
    obstacles::of_a_wave(ctx, change.txn(), &rollout).await?.map_or(Ok(()), |obstacle| Err(obstacle.into()))
}

fn finished() -> Error {
    Error::conflict("rollout_finished", "the rollout has ended")
}

/// How many tenants have failed.
async fn failed(txn: &mut PgConnection, id: RolloutId) -> Result<i32> {
    let counts = rollout_tenants::counts(txn, id).await?;
    let failed: i64 = counts.iter().map(|(_, counts)| counts.failed).sum();
    Ok(i32::try_from(failed).unwrap_or(i32::MAX))
}

/// The tenants of these ids or slugs.
async fn resolve(txn: &mut PgConnection, field: &'static str, references: &[String]) -> Result<Vec<TenantId>> {
    let known = rollout_plan::named(txn, references).await?;
    let is_unknown = |reference: &String| !known.iter().any(|(name, _)| name == reference);
    if references.iter().any(is_unknown) {
        return Err(FieldError::new(field, "unknown_tenant", "must name tenants by id or slug").into());
    }
    let mut ids: Vec<_> = known.into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
