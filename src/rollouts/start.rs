//! Starts a rollout, or an undo: one transaction that writes its row, its waves and its tenants. Replicas do the rest.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    change::audit_in_txn,
    obstacles,
    plan::Plan,
    request::{Members, Request},
    undo,
};
use crate::{
    control::{
        audit::Origin,
        idempotency, migration_files, rollout_tenants, rollout_waves,
        rollouts::{self, NewRollout, Rollout, RolloutState},
    },
    error::{Error, Result},
    faults::crash_point,
    operations::Context,
    types::{Idempotency, RolloutId, Stream, TenantId},
};

/// Starts a rollout. One with nothing to do has succeeded at once.
///
/// # Errors
/// `rollout_in_progress` (409) while another one is unfinished; `replicas_outdated`, `backfill_unfinished` (409);
/// `validation_failed`; `idempotency_key_reused` (422).
pub async fn start(
    ctx: &Context,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Rollout> {
    record(ctx, &Wanted::Forward(request), origin, idempotency).await
}

/// What is asked for.
pub(super) enum Wanted<'a> {
    /// A rollout.
    Forward(&'a Request),
    /// The way back from this one.
    Undo(RolloutId, &'a Request),
}

impl Wanted<'_> {
    const fn request(&self) -> &Request {
        match self {
            Self::Forward(request) | Self::Undo(_, request) => request,
        }
    }

    async fn plan(&self, ctx: &Context, txn: &mut PgConnection) -> Result<Plan> {
        match self {
            Self::Forward(request) => {
                let plan = Plan::without_times(txn, request).await?;
                let obstacles = obstacles::of_going_forward(ctx, txn, &plan.members).await?;
                obstacles.into_iter().next().map_or(Ok(plan), |obstacle| Err(obstacle.into()))
            }
            Self::Undo(of, request) => undo::ready(ctx, txn, *of, request).await,
        }
    }
}

/// Records what is asked for, as one that has succeeded if there is nothing to do.
pub(super) async fn record(
    ctx: &Context,
    wanted: &Wanted<'_>,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Rollout> {
    let mut txn = ctx.db.begin().await?;
    let id = RolloutId::generate(&ctx.clock, ctx.random);
    if let Some(idempotency) = idempotency
        && let Some(earlier) = idempotency::claim_in_txn(&mut txn, &ctx.keys, idempotency, id.uuid()).await?
    {
        let earlier = rollouts::get(&mut txn, RolloutId::from_uuid(earlier)).await?;
        return earlier.ok_or_else(|| Error::not_found("rollout"));
    }
    if let Some(unfinished) = rollouts::unfinished(&mut txn).await? {
        return Err(rollouts::in_progress(Some(unfinished.id)));
    }
    let (plan, request) = (wanted.plan(ctx, &mut txn).await?, wanted.request());
    let state = if plan.is_idle() { RolloutState::Succeeded } else { RolloutState::Planned };
    let new = NewRollout {
        id,
        state,
        target: plan.target,
        undoes: plan.undoes,
        concurrency: request.concurrency,
        max_failures: &request.max_failures.to_string(),
        requested_by: &origin.actor,
    };
    rollouts::insert_in_txn(&mut txn, &new).await?;
    let members: Vec<_> = plan.members.into_iter().map(|(_, member)| member).collect();
    if state != RolloutState::Succeeded {
        rollout_waves::insert_in_txn(&mut txn, id, &plan.waves).await?;
    }
    rollout_tenants::insert_in_txn(&mut txn, id, &members).await?;
    let details = json!({
        "freehold_version": plan.target.freehold, "schema_version": plan.target.product, "tenants": members.len(),
        "waves": plan.waves.iter().map(|(_, members)| members).collect::<Vec<_>>(), "undoes": plan.undoes,
    });
    let action = if plan.undoes.is_some() { "rollout.undo" } else { "rollout.start" };
    audit_in_txn(ctx, &mut txn, origin, (action, &id.to_string()), &details).await?;
    crash_point!("rollout.start.before_commit", members.first().map_or(NOBODY, |member| member.tenant_id));
    let rollout = rollouts::get(&mut txn, id).await?;
    txn.commit().await?;
    crash_point!("rollout.start.after_commit", members.first().map_or(NOBODY, |member| member.tenant_id));
    tracing::info!(rollout.id = %id, rollout.tenants = members.len(), "started a rollout");
    rollout.ok_or_else(|| Error::defect("a rollout that was just recorded is gone"))
}

/// Whom crash points are passed for where there is no tenant.
pub(super) const NOBODY: TenantId = TenantId::from_uuid(uuid::Uuid::nil());

/// What `serve` does that was told to roll out when it starts. A replica that cannot serves all the same.
pub async fn on_start(ctx: &Context) {
    match start_if_behind(ctx).await {
        Ok(Some(rollout)) => tracing::info!(rollout.id = %rollout.id, "rolls out what is published"),
        Ok(None) => {}
        Err(error) => tracing::warn!(error = error.chain(), "no rollout could be started"),
    }
}

/// Starts a rollout of everything that is published, in one wave, if a tenant is behind and no rollout is unfinished. What
/// was undone is not done again, until something newer is published or an operator goes further.
async fn start_if_behind(ctx: &Context) -> Result<Option<Rollout>> {
    let mut request = Request { waves: vec![Members::ALL], ..Request::default() };
    {
        let mut connection = ctx.db.acquire().await?;
        request.target = held_back(&mut connection).await?;
        let is_busy = rollouts::unfinished(&mut connection).await?.is_some();
        if is_busy || Plan::without_times(&mut connection, &request).await?.is_idle() {
            return Ok(None);
        }
    }
    match start(ctx, &request, &ctx.origin(), None).await {
        // Another replica was faster.
        Err(Error::Conflict { code: "rollout_in_progress", .. }) => Ok(None),
        started => started.map(Some),
    }
}

/// The version of the product's stream beyond which nobody is taken by itself: that of the last undo since something was
/// published. Rollouts after it that went no further change nothing of that, and one that an operator took further ends it.
async fn held_back(connection: &mut PgConnection) -> Result<Option<i32>> {
    let Some(published) = migration_files::latest(connection, Stream::Product).await? else { return Ok(None) };
    let mut furthest = None;
    for rollout in rollouts::since(connection, published).await? {
        let version = rollout.target.product;
        if rollout.undoes.is_none() {
            furthest = furthest.max(Some(version));
        } else if rollout.finished_at != Some(rollout.created_at) {
            // One that found nothing to take back ended as it began, and says nothing.
            return Ok((furthest <= Some(version)).then_some(version));
        }
    }
    Ok(None)
}
